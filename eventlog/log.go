package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/internal/safelog"
)

// Options configures [New]. The zero value is fine.
type Options struct {
	// Bodies makes the log keep the payload of each delivery, the body of each call,
	// and error texts that may quote them, all redacted. Defaults to false: of the
	// payload only ids and names are kept, and, redacted, what a mapping function
	// writes into an error of its own or into the name of a step.
	Bodies bool

	// KeepOriginals makes the log also keep the original of each payload that was
	// redacted, so that these deliveries can be replayed. The page does not show
	// originals, but the store has them, with private metadata and one-time codes.
	// It implies Bodies. Defaults to false.
	KeepOriginals bool

	// MaxBodyBytes is the largest payload or body that is kept; larger ones are
	// left out. Zero or less means 64 KiB.
	MaxBodyBytes int

	// Logger is told when records are lost, at level Warn. Defaults to
	// [slog.Default].
	Logger *slog.Logger

	// OnResult is called after the log's own. Defaults to nothing.
	OnResult func(context.Context, *bridge.Result)
}

const (
	defaultBodyBytes = 64 << 10

	// storeTime bounds how long a store may take for one batch.
	storeTime = 5 * time.Second

	// What waits for the store is bounded by number and by the size of the bodies.
	maxPending      = 2000
	maxPendingBytes = 64 << 20
	maxBatch        = 100

	// A sender that is not Clerk can have this many requests a second recorded.
	unverifiedRate  = 5
	unverifiedBurst = 50
)

// Log records what a [bridge.Handler] does. Give its OnResult to the Handler's
// Config:
//
//	log := eventlog.New(eventlog.NewMemory(0), eventlog.Options{})
//	handler, err := bridge.New(bridge.Config{OnResult: log.OnResult, ...})
//
// It is safe for concurrent use.
type Log struct {
	store   Store
	memory  *Memory // the store, if it is fast enough to be called within a delivery
	options Options
	drift   *drift

	lost, unrecorded atomic.Int64

	telling    sync.Mutex // guards what follows
	told       int64      // of the records that were lost, those that the Logger knows of
	toldAt     time.Time
	tellsLater bool
	failure    error // the store's last, since then

	mu      sync.Mutex
	pending []*Record
	waiting int // the bytes of the bodies of pending
	working bool
	added   int           // to pending, since the start
	ended   int           // of those: stored, or lost
	stored  chan struct{} // closed when the batch at work has ended
	budget  float64       // unverified requests that may be recorded
	earned  time.Time
}

// New returns a Log that keeps its records in store. It panics when store is nil,
// so that the mistake shows when the program starts.
func New(store Store, o Options) *Log {
	memory, inMemory := store.(*Memory)
	if store == nil || inMemory && memory == nil {
		panic(errors.New("eventlog: New needs a Store, such as NewMemory(0), and got nil"))
	}
	o.Bodies = o.Bodies || o.KeepOriginals
	if o.MaxBodyBytes <= 0 {
		o.MaxBodyBytes = defaultBodyBytes
	}
	o.Logger = safelog.New(o.Logger)
	return &Log{store: store, memory: memory, options: o, drift: newDrift(), budget: unverifiedBurst, earned: time.Now(), stored: make(chan struct{})}
}

// Store returns the store.
func (l *Log) Store() Store { return l.store }

// Drift returns what has arrived since the start that is unmapped or unknown.
func (l *Log) Drift() Drift { return l.drift.report() }

// Lost returns how many records were lost since the start, because the store
// failed or panicked, or was too slow.
func (l *Log) Lost() int64 { return l.lost.Load() }

// Unrecorded returns how many requests that were not verified were left out since
// the start, because there were more than five a second.
func (l *Log) Unrecorded() int64 { return l.unrecorded.Load() }

type previewKey struct{}

// OnResult records a result. It is for [bridge.Config]. The delivery does not
// depend on the store: records for a database are stored by a goroutine that
// ends when there are no more, see [Log.Flush]. Call it with the Result of a
// Handler only.
func (l *Log) OnResult(ctx context.Context, res *bridge.Result) {
	if preview, _ := ctx.Value(previewKey{}).(bool); !preview {
		l.record(res) //nolint:contextcheck // what is stored later is no part of the delivery
	}
	if l.options.OnResult != nil {
		l.options.OnResult(ctx, res)
	}
}

func (l *Log) record(res *bridge.Result) {
	at := time.Now()
	if res.EventType != "" {
		l.drift.see(res, at)
	}
	if res.DeliveryID == "" && !l.mayRecord(at) {
		l.unrecorded.Add(1)
		return
	}
	r := l.recordOf(res, at)
	if l.memory != nil {
		l.memory.add(r)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	size := bodySize(r)
	if len(l.pending) >= maxPending || l.waiting+size > maxPendingBytes {
		l.lost.Add(1)
		return
	}
	l.pending = append(l.pending, r)
	l.added++
	l.waiting += size
	if !l.working {
		l.working = true
		go l.work()
	}
}

// mayRecord lets unverified requests through at a bounded rate.
func (l *Log) mayRecord(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget = min(l.budget+max(now.Sub(l.earned).Seconds(), 0)*unverifiedRate, unverifiedBurst)
	l.earned = now
	if l.budget < 1 {
		return false
	}
	l.budget--
	return true
}

// work stores what is pending, and ends when that is nothing.
func (l *Log) work() {
	for {
		l.mu.Lock()
		n := min(len(l.pending), maxBatch)
		if n == 0 {
			l.working = false
			l.mu.Unlock()
			return
		}
		batch := l.pending[:n:n]
		l.pending = slices.Clone(l.pending[n:])
		for _, r := range batch {
			l.waiting -= bodySize(r)
		}
		l.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		err := l.append(ctx, batch)
		cancel()
		if err != nil {
			l.telling.Lock()
			l.lost.Add(int64(n))
			l.failure = err
			l.telling.Unlock()
		}
		l.tell()
		l.mu.Lock()
		l.ended += n
		close(l.stored)
		l.stored = make(chan struct{})
		l.mu.Unlock()
	}
}

// append has the store add a batch. One that panics has failed: nobody else could
// recover what happens in this goroutine, so it would end the process.
func (l *Log) append(ctx context.Context, batch []*Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &storePanicError{value: v, stack: debug.Stack()}
		}
	}()
	return l.store.Append(ctx, batch)
}

// storePanicError is a panic of a store.
type storePanicError struct {
	value any
	stack []byte
}

// Error prints the value only when it is an error of the runtime, as
// [bridge.PanicError] does: another one may hold data of the event.
func (p *storePanicError) Error() string {
	if err, ok := p.value.(runtime.Error); ok {
		return "the store panicked: " + err.Error()
	}
	return fmt.Sprintf("the store panicked with a %T", p.value)
}

// tell logs what was lost since it last did, once a second at most. What is left then is
// told later.
func (l *Log) tell() {
	l.telling.Lock()
	defer l.telling.Unlock()
	if l.lost.Load() == l.told {
		return
	}
	if wait := time.Second - time.Since(l.toldAt); wait > 0 {
		if !l.tellsLater {
			l.tellsLater = true
			time.AfterFunc(wait, l.tell)
		}
		return
	}
	l.tellNow(context.Background())
}

// tellNow is tell without the wait. It is to be called with telling held.
func (l *Log) tellNow(ctx context.Context) {
	lost := l.lost.Load()
	if lost == l.told {
		return
	}
	attrs := []slog.Attr{slog.Int64("records", lost-l.told), slog.Any("error", cmp.Or(l.failure, errBehind))}
	if p, ok := errors.AsType[*storePanicError](l.failure); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	l.told, l.toldAt, l.tellsLater, l.failure = lost, time.Now(), false, nil
	l.options.Logger.LogAttrs(ctx, slog.LevelWarn, "eventlog: records were lost", attrs...)
}

var errBehind = errors.New("they come faster than the store takes them")

// Flush waits until what was recorded before is stored, or lost, and logged as such.
// Call it before the process ends. It returns an error only if ctx ends first.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	last := l.added
	for l.ended < last {
		stored := l.stored
		l.mu.Unlock()
		select {
		case <-stored:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
	l.telling.Lock()
	defer l.telling.Unlock()
	l.tellNow(ctx)
	return nil
}

// recordOf builds the record of a result.
func (l *Log) recordOf(res *bridge.Result, at time.Time) *Record {
	clean := &redactor{event: res.EventType}
	if !l.options.Bodies {
		if mayQuote(res) {
			_, _, _ = clean.payload(res.Body)
			clean.keep(res)
		}
		r := newRecord(res, at, clean, false)
		r.NoPayload = "Options.Bodies is not set"
		return r
	}
	payload, members, err := clean.payload(res.Body)
	clean.keep(res)
	r := newRecord(res, at, clean, true)
	switch {
	case res.DeliveryID == "":
		r.NoPayload = "the request was not verified"
		return r
	case err != nil:
		r.NoPayload = "it is not JSON, so private data can't be told from the rest"
	case len(res.Body) > l.options.MaxBodyBytes:
		r.NoPayload = "it is larger than Options.MaxBodyBytes"
	default:
		r.Payload, r.Redacted = payload, members
		if l.options.KeepOriginals && len(members) > 0 {
			r.Original = res.Body
		}
	}
	l.addCalls(r, res.Steps, clean)
	return r
}

// mayQuote reports whether a record without bodies may quote the event all the
// same: in an error that a mapping function has made, in the name of a step, in an
// id that it has chosen. It costs more than all the rest to look for what is secret
// there, and most calls are about what the event is about.
func mayQuote(res *bridge.Result) bool {
	if res.DeliveryID == "" {
		return false
	}
	entity := strings.Split(res.Entity, "/")
	return res.Err != nil || isMessage(res.EventType) || slices.ContainsFunc(res.Steps, func(s *bridge.Step) bool {
		if s.Request == nil || s.Err != nil || s.Warning != "" || s.Request.IdempotencyKey != "" {
			return true
		}
		_, target, _ := strings.Cut(s.Name, ":") // behind the operation
		return namesOther(entity, target) || namesOther(entity, s.Request.Path)
	})
}

// namesOther reports whether a target or a path names anything but the event's
// entity, which is stored in any case.
func namesOther(entity []string, s string) bool {
	for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == '/' || c == ':' }) {
		switch word {
		case "v1", "users", "tenants", "objects", "$tenants", "subscriptions":
			continue
		}
		if !slices.Contains(entity, word) {
			return true
		}
	}
	return false
}

// addCalls adds the bodies of the calls.
func (l *Log) addCalls(r *Record, steps []*bridge.Step, clean *redactor) {
	for i := range r.Steps {
		s := steps[i]
		if s.Request == nil || len(s.Request.Body) == 0 {
			continue
		}
		if len(s.Request.Body) > l.options.MaxBodyBytes {
			r.Steps[i].NoBody = "it is larger than Options.MaxBodyBytes"
			continue
		}
		body, err := clean.call(s.Request.Body)
		switch {
		case errors.Is(err, errTooManySecrets):
			r.Steps[i].NoBody = "more private values came with the event than can be looked for in it"
		case err != nil:
			r.Steps[i].NoBody = "it is not JSON, so private data can't be told from the rest"
		default:
			r.Steps[i].Body = body
		}
	}
}
