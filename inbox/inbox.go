// Package inbox is a [bridge.Queue] on one machine that needs no server: the
// handler stores deliveries in a SQLite file and answers, and workers in the same
// process do the work.
//
//	ledger, err := sqlledger.Open(ctx, db, sqlledger.Config{})
//	box, err := inbox.New(ledger, inbox.Config{})
//	handler, err := bridge.New(bridge.Config{Ledger: ledger, Queue: box, …})
//	mux.Handle("/webhooks/clerk", handler)
//	err = box.Run(ctx, handler) // until ctx ends
//
// The tables are those of package sqlledger, in the same file, so that a delivery
// is stored, processed and remembered in one place. Several processes may share
// the file. On PostgreSQL, and for many machines, use the module bridgeriver.
//
// # What it does
//
//   - A delivery is acknowledged once it is committed. Whether it then survives a power
//     cut is up to SQLite: keep its default, synchronous=FULL.
//   - Deliveries about one user, organization or membership are processed one at a time.
//     When several wait, the newest state goes first: the older ones are then stale, and
//     start their workflows but write nothing. A deletion goes last.
//   - One that fails is attempted again as [bridge.Result.Retry] says, while the others
//     go on. One that is given up becomes a [Letter], which stays for 90 days, to be
//     looked at and retried, or until a replay has completed it.
//   - When Run ends, what is under way is finished, and the rest stays stored. When the
//     process dies, the next one takes over its deliveries within half a minute; the
//     ledger ensures that no step known to have succeeded is repeated. A delivery
//     during which the process dies five times in a row is given up.
//   - Bodies are stored until their delivery is done, or for 90 days when it is given
//     up. They hold personal data, and where email.created or sms.created is mapped also
//     one-time codes: restrict access to the file as to a database, or leave these two
//     unmapped. What is not mapped is not stored, but [bridge.OnUnmapped] maps
//     everything: bridge.Disable(clerk.EmailCreated, clerk.SMSCreated) excludes these
//     two.
package inbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/internal/inboxstore"
	"github.com/clerkknock/bridge/internal/safelog"
	"github.com/clerkknock/bridge/sqlledger"
)

const defaultWorkers = 64

// Config configures an [Inbox]. The zero value is fine.
type Config struct {
	// Logger is told of the start, at level Info, of deliveries that are given up, at
	// level Error, and when the database fails or the handler makes dry runs, at level
	// Warn. Defaults to [slog.Default].
	Logger *slog.Logger

	// Retry says what to do with a delivery after an attempt; attempt is its
	// number, from 1, not counting those that were Free. It is not asked about
	// attempts in which the process ended, nor about a delivery that
	// [bridge.Result.Retry] calls done. Defaults to that method.
	Retry func(res *bridge.Result, attempt int) bridge.Retry

	// Workers is how many deliveries are processed at once. Most of them wait for
	// Knock: where package pace sends in bulk, a few hundred make large bulk
	// calls. New refuses less than 0. Defaults to 64.
	Workers int
}

// Inbox is a queue in a SQLite file. It is safe for concurrent use.
type Inbox struct {
	store   inboxstore.Store
	logger  *slog.Logger
	retry   func(*bridge.Result, int) bridge.Retry
	workers int

	running atomic.Bool
	wake    chan struct{} // holds an element when there is something to do
}

// New returns the Inbox in the file of a ledger, which must also be the Ledger in the
// handler's Config: with another one, which nothing checks, a delivery that this
// process did not finish is done again from its beginning. It returns an error when the
// ledger is not on SQLite, and when cfg is not valid.
func New(ledger *sqlledger.Ledger, cfg Config) (*Inbox, error) {
	switch {
	case ledger == nil:
		return nil, errors.New("inbox: the ledger is nil")
	case cfg.Workers < 0:
		return nil, errors.New("inbox: Workers is negative")
	}
	store, err := ledger.Inbox()
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	b := &Inbox{
		store: store, logger: safelog.New(cfg.Logger), retry: cfg.Retry,
		workers: cmp.Or(cfg.Workers, defaultWorkers), wake: make(chan struct{}, 1),
	}
	if b.retry == nil {
		b.retry = (*bridge.Result).Retry
	}
	return b, nil
}

// Enqueue implements [bridge.Queue]. It stores a delivery that is neither stored nor
// done already; one that was given up is queued again. It returns an error, and
// stores nothing, for a delivery without an id, for a body that is not an event, and
// when the database fails.
func (b *Inbox) Enqueue(ctx context.Context, d bridge.Delivery) (stored bool, err error) {
	if d.ID == "" { // all those without one would be the same delivery
		return false, errors.New("inbox: the delivery has no id")
	}
	subject, err := bridge.SubjectOf(d)
	if err != nil {
		return false, fmt.Errorf("inbox: %w", err)
	}
	stored, err = b.store.Add(ctx, inboxstore.Delivery{
		ID: d.ID, EventType: subject.EventType, Entity: subject.Entity, Deletes: subject.Deletes,
		Version: subject.Version, Timestamp: subject.Timestamp, ReceivedAt: d.ReceivedAt, Body: d.Body,
	})
	if err != nil {
		return false, fmt.Errorf("inbox: %w", err)
	}
	if stored {
		b.notify()
	}
	return stored, nil
}

func (b *Inbox) notify() {
	select {
	case b.wake <- struct{}{}:
	default: // there is one already
	}
}

// Stats counts what is in the inbox, for all processes on the file. Its error is the
// database's.
func (b *Inbox) Stats(ctx context.Context) (bridge.QueueStats, error) {
	s, err := b.store.Stats(ctx)
	if err != nil {
		return bridge.QueueStats{}, fmt.Errorf("inbox: %w", err)
	}
	return s, nil
}

// Letter is a delivery that was given up.
type Letter struct {
	bridge.Delivery

	// EventType is the event's name, and Entity the key of what it is about, as in a
	// [bridge.Claim].
	EventType, Entity string

	// Attempts is how often it was attempted.
	Attempts int

	// Outcome is that of the last attempt, and Problem says why, as that of the
	// [bridge.Result] does.
	Outcome bridge.Outcome
	Problem string

	// DeadAt is when it was given up.
	DeadAt time.Time

	// Cursor is where the next page begins, for [Inbox.Dead].
	Cursor int64
}

// Dead returns deliveries that were given up, the last to arrive first: at most
// limit (at most 1,000, zero or less means 100), starting before a Letter's Cursor
// (zero means from the first).
func (b *Inbox) Dead(ctx context.Context, before int64, limit int) ([]Letter, error) {
	const standard, most = 100, 1000
	stored, err := b.store.Dead(ctx, before, min(cmp.Or(max(limit, 0), standard), most))
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	letters := make([]Letter, len(stored))
	for i, l := range stored {
		letters[i] = Letter{
			Delivery:  bridge.Delivery{ID: l.ID, ReceivedAt: l.ReceivedAt, Body: l.Body},
			EventType: l.EventType, Entity: l.Entity, Attempts: l.Attempt,
			Outcome: bridge.Outcome(l.Outcome), Problem: l.Problem, DeadAt: l.DeadAt, Cursor: l.Seq,
		}
	}
	return letters, nil
}

// Retry puts deliveries that were given up back into the queue, as if they were new,
// and returns how many there were. Other ids are ignored.
func (b *Inbox) Retry(ctx context.Context, ids ...string) (int, error) {
	n, err := b.store.Revive(ctx, ids)
	if err != nil {
		return 0, fmt.Errorf("inbox: %w", err)
	}
	b.notify()
	return n, nil
}

// Remove forgets deliveries that were given up, and returns how many there were.
// Other ids are ignored.
func (b *Inbox) Remove(ctx context.Context, ids ...string) (int, error) {
	n, err := b.store.Remove(ctx, ids)
	if err != nil {
		return 0, fmt.Errorf("inbox: %w", err)
	}
	return n, nil
}

const (
	// lease is for how long a process has what it has taken, and renewEvery how often
	// it says that it is alive. Another one takes over when it has been silent for the
	// lease.
	lease      = 30 * time.Second
	renewEvery = lease / 3

	// pollEvery is how often to look for what other processes have stored, and busyEvery
	// how often for what could not be taken yet.
	pollEvery = time.Second
	busyEvery = 50 * time.Millisecond

	// slowSearch is how long a search for deliveries may keep the database. After a
	// longer one there is none for searchShare times as long: thousands about one user,
	// who is at work already, are looked through each time.
	slowSearch  = 10 * time.Millisecond
	searchShare = 4

	// othersAfter is when those that waited behind one that failed come again.
	othersAfter = time.Second

	// settled is for how long a process has to run before it takes deliveries that are
	// suspected of ending it: one that ends soon after its start does so for another
	// reason.
	settled = 10 * time.Second

	// turnTime bounds a turn, and stopTime how long after it was told to end Run tries
	// to tell the database what was done: once in any case, when the workers have ended.
	turnTime = 10 * time.Second
	stopTime = 10 * time.Second
)

// Run processes deliveries with a handler until ctx ends, and returns nil once those in
// progress are finished, which takes no longer than the handler's Timeout. It returns
// later if a function ignores its context, as Run waits for it, or, by about 20 seconds
// at most, if another process has locked the file. The handler must have the ledger of
// the inbox. A database that fails is tried again every second; Run returns an error
// only when it is running already, when the handler is nil, and when at its end it
// can't store what has been done. The next Run takes such deliveries over half a minute
// later; the ledger knows that they are done, and nothing is repeated.
func (b *Inbox) Run(ctx context.Context, handler *bridge.Handler) error {
	if handler == nil {
		return errors.New("inbox: the handler is nil")
	}
	if !b.running.CompareAndSwap(false, true) {
		return errors.New("inbox: Run is running already")
	}
	defer b.running.Store(false)
	r := &run{Inbox: b, handler: handler, owner: rand.Text(), began: time.Now()}
	if s, err := b.Stats(ctx); err == nil {
		b.logger.LogAttrs(ctx, slog.LevelInfo, "inbox: started; what another process had is taken over when its lease ends",
			slog.Int("waiting", s.Waiting), slog.Int("dead", s.Dead), slog.Duration("lease", lease))
	}
	return r.loop(ctx)
}

// run is the work of one call of Run.
type run struct {
	*Inbox

	handler *bridge.Handler
	owner   string
	began   time.Time
	renewed time.Time
	takeAt  time.Time // nothing is taken before
	dry     sync.Once // to say that nothing is sent

	mu    sync.Mutex
	ended []inboxstore.Ended // not yet told to the database
	busy  int                // workers
}

func (r *run) loop(ctx context.Context) error {
	var stopBy time.Time
	for {
		r.mu.Lock()
		ended, busy := r.ended, r.busy
		r.ended = nil
		r.mu.Unlock()
		room, stopping := r.workers-busy, ctx.Err() != nil
		wait, pause := renewEvery, time.Until(r.takeAt)
		switch {
		case stopping && busy == 0 && len(ended) == 0:
			return nil
		case stopping:
			room = 0
			if stopBy.IsZero() {
				stopBy = time.Now().Add(stopTime)
			}
		case pause > 0:
			room, wait = 0, pause
		}
		if len(ended) > 0 || room > 0 || time.Since(r.renewed) >= renewEvery {
			next, err := r.turn(ctx, ended, room)
			switch {
			case err != nil && stopping && busy == 0 && time.Now().After(stopBy):
				return fmt.Errorf("inbox: %w", err)
			case err != nil:
				r.logger.LogAttrs(ctx, slog.LevelWarn, "inbox: the database failed", slog.Any("error", err))
				wait = pollEvery
			case room > 0:
				wait = next
			case stopping && busy == 0:
				continue
			}
		}
		r.rest(ctx, wait, stopping)
	}
}

// rest waits until there may be something to do.
func (r *run) rest(ctx context.Context, wait time.Duration, stopping bool) {
	done := ctx.Done()
	if stopping {
		done = nil
	}
	select {
	case <-r.wake:
	case <-time.After(wait):
	case <-done:
	}
}

// turn tells the database what has ended, takes as much as there is room for, and
// returns when to look again.
func (r *run) turn(ctx context.Context, ended []inboxstore.Ended, room int) (time.Duration, error) {
	t := inboxstore.Turn{
		Owner: r.owner, Lease: lease, Ended: ended, Take: room, Renew: time.Since(r.renewed) >= renewEvery,
		Suspects: time.Since(r.began) >= settled,
	}
	started := time.Now()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), turnTime)
	defer cancel()
	taken, err := r.store.Turn(limited, t)
	if err != nil {
		r.mu.Lock()
		r.ended = append(ended, r.ended...)
		r.mu.Unlock()
		return 0, err
	}
	if t.Renew {
		r.renewed = started
	}
	for _, d := range taken.GivenUp {
		r.logGivenUp(ctx, d.ID, d.EventType, string(bridge.OutcomeMisconfigured), d.Attempt)
	}
	r.mu.Lock()
	r.busy += len(taken.Lists)
	r.mu.Unlock()
	if taken.Searched >= slowSearch {
		r.takeAt = time.Now().Add(searchShare * taken.Searched)
	}
	for _, list := range taken.Lists {
		go r.work(ctx, list)
	}
	switch {
	case taken.Next < 0:
		return pollEvery, nil
	case taken.Next == 0 && len(taken.Lists) == room:
		return renewEvery, nil // until a worker is done
	default:
		return min(max(taken.Next, busyEvery), pollEvery), nil
	}
}

// work processes deliveries about one entity, in their order.
func (r *run) work(ctx context.Context, list []inboxstore.Delivery) {
	var at *inboxstore.Delivery // the one under way
	defer func() {
		if at != nil { // a mapping function has called runtime.Goexit
			r.logError(ctx, errGoexit.Error(), slog.String("delivery", at.ID), slog.String("stack", string(debug.Stack())))
			r.end(ctx, at, &bridge.Result{DeliveryID: at.ID, Outcome: bridge.OutcomeMisconfigured, Err: errGoexit})
		}
		r.giveBack(list, 0)
		r.mu.Lock()
		r.busy--
		r.mu.Unlock()
		r.notify()
	}()
	for len(list) > 0 && ctx.Err() == nil {
		at, list = &list[0], list[1:]
		res := r.process(context.WithoutCancel(ctx), bridge.Delivery{ID: at.ID, ReceivedAt: at.ReceivedAt, Body: at.Body})
		e := r.end(ctx, at, res)
		at = nil
		r.notify()
		if res.Outcome == bridge.OutcomeTransient {
			// So would be the others, most likely. But it may be this one's fault alone:
			// they come again before it, and not with it behind it.
			r.giveBack(list, min(e.After/2, othersAfter))
			list = nil
		}
	}
}

var errGoexit = errors.New("inbox: a mapping function has ended the goroutine")

// process attempts a delivery once. The handler recovers nearly everything. The
// rest, such as http.ErrAbortHandler, nobody else would: the goroutine is ours.
func (r *run) process(ctx context.Context, d bridge.Delivery) (res *bridge.Result) {
	defer func() {
		if v := recover(); v != nil {
			err := &bridge.PanicError{Value: v, Stack: debug.Stack()}
			res = &bridge.Result{DeliveryID: d.ID, Outcome: bridge.OutcomeMisconfigured, Err: err}
		}
	}()
	res, _ = r.handler.Process(ctx, d) // the error is in res
	return res
}

// judge says what becomes of a delivery. Config.Retry and the text of an error are
// not ours, and may panic: then Result.Retry holds.
func (r *run) judge(ctx context.Context, d *inboxstore.Delivery, res *bridge.Result) (e inboxstore.Ended) {
	e = inboxstore.Ended{ID: d.ID, Outcome: string(res.Outcome)}
	decide := func(next bridge.Retry) {
		e.Done, e.Dead = !next.Again && res.Outcome.OK(), !next.Again && !res.Outcome.OK()
		e.After, e.Free = next.After, next.Free
	}
	decide(res.Retry(d.Attempt + 1))
	defer func() {
		if v := recover(); v != nil {
			text := fmt.Sprintf("a %T", v) // the value may hold data of the event
			if err, ok := v.(runtime.Error); ok {
				text = err.Error()
			}
			r.logError(ctx, "inbox: Config.Retry panicked, or the text of an error", slog.String("delivery", d.ID),
				slog.String("panic", text), slog.String("stack", string(debug.Stack())))
		}
	}()
	e.Problem = res.Problem()
	if e.Done {
		return e
	}
	decide(r.retry(res, d.Attempt+1))
	return e
}

// end notes what becomes of a delivery.
func (r *run) end(ctx context.Context, d *inboxstore.Delivery, res *bridge.Result) inboxstore.Ended {
	e := r.judge(ctx, d, res)
	if res.DryRun {
		r.dry.Do(func() {
			r.logger.LogAttrs(ctx, slog.LevelWarn, "inbox: the handler makes dry runs: nothing is sent, and deliveries stay until Config.DryRun is taken back")
		})
	}
	if e.Dead {
		r.logGivenUp(ctx, d.ID, d.EventType, e.Outcome, d.Attempt+1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = append(r.ended, e)
	return e
}

func (r *run) logGivenUp(ctx context.Context, id, eventType, outcome string, attempts int) {
	r.logError(ctx, "inbox: delivery given up", slog.String("delivery", id),
		slog.String("event", eventType), slog.String("outcome", outcome), slog.Int("attempts", attempts))
}

func (r *run) logError(ctx context.Context, message string, attrs ...slog.Attr) {
	r.logger.LogAttrs(ctx, slog.LevelError, message, attrs...)
}

// giveBack returns deliveries that were not attempted.
func (r *run) giveBack(list []inboxstore.Delivery, after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range list {
		r.ended = append(r.ended, inboxstore.Ended{ID: d.ID, After: after, Free: true})
	}
}

var _ bridge.Queue = (*Inbox)(nil)
