package sqltest_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/inbox"
	"github.com/clerkknock/bridge/internal/history"
	"github.com/clerkknock/bridge/internal/inboxstore"
	"github.com/clerkknock/bridge/sqlledger"
)

// box is an inbox and its handler, on a database of its own.
type box struct {
	*inbox.Inbox

	database database
	handler  *bridge.Handler
	knock    *bridgetest.Knock
}

func newBox(t testing.TB, d database, change func(*bridge.Config, *inbox.Config)) *box {
	t.Helper()
	b := &box{database: d, knock: bridgetest.NewKnock(t)}
	ledger := d.ledger(t)
	cfg, icfg := history.Config(), inbox.Config{Logger: slog.New(slog.DiscardHandler)}
	cfg.Knock, cfg.Ledger = b.knock.Transport(), ledger
	if change != nil {
		change(&cfg, &icfg)
	}
	var err error
	b.Inbox, err = inbox.New(ledger, icfg)
	require.NoError(t, err)
	cfg.Queue = b.Inbox
	b.handler, err = bridge.New(cfg)
	require.NoError(t, err)
	return b
}

func (b *box) enqueue(t testing.TB, deliveries ...bridge.Delivery) {
	t.Helper()
	for _, d := range deliveries {
		stored, err := b.Enqueue(t.Context(), d)
		require.NoError(t, err)
		require.True(t, stored, d.ID)
	}
}

// run runs the inbox until done returns true, and waits until it has ended.
func (b *box) run(t testing.TB, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, b.handler) }()
	assert.Eventually(t, done, 50*time.Second, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

// drained reports whether nothing waits.
func (b *box) drained(t testing.TB) func() bool {
	t.Helper()
	return func() bool {
		s, err := b.Stats(t.Context())
		return assert.NoError(t, err) && s.Waiting == 0
	}
}

// quickly attempts again at once, and gives up after the third time.
func quickly(res *bridge.Result, attempt int) bridge.Retry {
	next := res.Retry(attempt)
	next.After, next.Again = time.Millisecond, next.Free || next.Again && attempt < 3
	return next
}

// TestInboxHistory is TestKilled in one process and without its death: what was
// stored in any order, and doubled, ends as the ordered history does.
func TestInboxHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			deliveries := history.New(seed, 40, 5, 600)
			want := history.Ordered(t, history.Config().Mappings, deliveries)
			watcher := &history.Watcher{}
			b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
				watcher.Knock = cfg.Knock
				cfg.Knock = watcher
			})
			r := rand.New(rand.NewPCG(seed, 4))
			queue := slices.Concat(deliveries, deliveries)
			r.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { assert.NoError(t, b.Run(ctx, b.handler)) })
			var senders sync.WaitGroup
			for part := range slices.Chunk(queue, len(queue)/8+1) {
				senders.Go(func() {
					for _, d := range part {
						_, err := b.Enqueue(t.Context(), d)
						assert.NoError(t, err)
					}
				})
			}
			senders.Wait()
			assert.Eventually(t, b.drained(t), 50*time.Second, 5*time.Millisecond)
			cancel()
			running.Wait()
			assert.Equal(t, want, history.Told(b.knock))
			assert.Empty(t, watcher.Problems())
		})
	}
}

// TestInboxOneOfMany is TestOneOfMany with a queue.
func TestInboxOneOfMany(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.SigningSecrets = []string{bridgetest.Secret}
	})
	delivery := history.Event("msg_1", "user.created", 1, `{"id":"user_1","first_name":"Ada"}`)
	answers := make(map[int]int)
	var mu sync.Mutex
	deliver := func(n int) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				w := httptest.NewRecorder()
				b.handler.ServeHTTP(w, bridgetest.Attempt(t, delivery))
				mu.Lock()
				defer mu.Unlock()
				answers[w.Code]++
			})
		}
		wg.Wait()
	}
	b.run(t, func() bool {
		deliver(1000)
		return true
	})
	b.run(t, b.drained(t))
	assert.Equal(t, map[int]int{http.StatusAccepted: 1, http.StatusOK: 999}, answers)
	assert.Len(t, b.knock.Calls(), 2, "identify and welcome")

	deliver(200)
	assert.Equal(t, 1199, answers[http.StatusOK], "nor after it is done")
	assert.True(t, b.drained(t)())
}

// TestInboxCoalesces: of the states that wait, the newest is written. Workflows
// start for all.
func TestInboxCoalesces(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Mappings = bridge.Mappings{bridge.Also(clerk.UserUpdated, bridge.TriggerForUser[clerk.User]("changed"))}
	})
	const versions = 100 // more than a worker takes at once
	for _, i := range rand.New(rand.NewPCG(1, 5)).Perm(versions) {
		b.enqueue(t, userUpdated(fmt.Sprint("msg_", i), 1, i))
	}
	b.run(t, b.drained(t))
	identified := 0
	for _, c := range b.knock.Calls() {
		if c.Method == http.MethodPut {
			identified++
			assert.Contains(t, string(c.Body), strconv.Itoa(versions-1))
		}
	}
	assert.Equal(t, 1, identified)
	assert.Len(t, b.knock.Runs(), versions)
}

// TestInboxDeletionLast: what comes before a deletion happens before it.
func TestInboxDeletionLast(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), nil)
	b.enqueue(t,
		history.Event("msg_2", "user.deleted", 20, `{"id":"user_1","deleted":true}`),
		history.Event("msg_1", "user.created", 10, `{"id":"user_1","first_name":"Ada"}`))
	b.run(t, b.drained(t))
	assert.Empty(t, b.knock.Users())
	assert.Len(t, b.knock.Runs(), 1)
	calls := b.knock.Calls()
	assert.Equal(t, http.MethodDelete, calls[len(calls)-1].Method)
}

// TestInboxOrder: the newest state comes first, and a deletion last, whatever version
// it has.
func TestInboxOrder(t *testing.T) {
	t.Parallel()
	store, err := newSQLite(t).ledger(t).Inbox()
	require.NoError(t, err)
	for _, d := range []inboxstore.Delivery{
		{ID: "deleted", Deletes: true, Version: 9, Timestamp: 9}, {ID: "old", Version: 1}, {ID: "new", Version: 2},
		{ID: "newer", Version: 2, Timestamp: 1}, {ID: "new, too", Version: 2},
	} {
		d.Entity, d.Body = "user/1", []byte("{}")
		_, err = store.Add(t.Context(), d)
		require.NoError(t, err)
	}
	taken, err := store.Turn(t.Context(), inboxstore.Turn{Owner: "me", Lease: time.Minute, Take: 1})
	require.NoError(t, err)
	require.Len(t, taken.Lists, 1)
	var ids []string
	for _, d := range taken.Lists[0] {
		ids = append(ids, d.ID)
	}
	assert.Equal(t, []string{"newer", "new", "new, too", "old", "deleted"}, ids)
}

// TestDeadLetter is a delivery that panics every time.
func TestDeadLetter(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	var mended bool
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, icfg *inbox.Config) {
		icfg.Retry, icfg.Workers = quickly, 1 // so that it would be in everybody's way
		icfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		cfg.Mappings = bridge.Mappings{
			bridge.On(clerk.OrganizationCreated, func(context.Context, *clerk.Event[clerk.Organization], *actions.Client) error {
				if mended {
					return nil
				}
				panic("secret")
			}),
		}
	})
	poison := history.Event("msg_poison", "organization.created", 1, `{"id":"org_1","name":"secret"}`)
	poison.ReceivedAt = time.UnixMilli(1760000000123)
	b.enqueue(t, poison)
	for i := range 50 {
		b.enqueue(t, userUpdated(fmt.Sprint("msg_", i), i, 1))
	}
	b.run(t, b.drained(t))
	assert.Len(t, b.knock.Users(), 50)

	stats, err := b.Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, bridge.QueueStats{Dead: 1}, stats)
	letters, err := b.Dead(t.Context(), 0, -1)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	assert.WithinDuration(t, time.Now(), letters[0].DeadAt, time.Minute)
	letters[0].DeadAt = time.Time{}
	assert.Equal(t, inbox.Letter{
		Delivery: poison, EventType: "organization.created", Entity: "organization/org_1", Attempts: 3, Cursor: 1,
		Outcome: bridge.OutcomeMisconfigured, Problem: "bridge: mapping function panicked with a string",
	}, letters[0])
	assert.Contains(t, log.String(), "delivery=msg_poison event=organization.created outcome=misconfigured attempts=3")
	assert.NotContains(t, log.String(), "secret")
	letters, err = b.Dead(t.Context(), letters[0].Cursor, 0)
	require.NoError(t, err)
	assert.Empty(t, letters, "the next page")

	mended = true
	b.database.exec(t, "update {p}inbox set stored_at = 0")
	n, err := b.Retry(t.Context(), "msg_poison", "msg_1")
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	stats, err = b.Stats(t.Context())
	require.NoError(t, err)
	assert.Less(t, stats.Oldest, time.Minute, "as if it were new")
	b.run(t, b.drained(t))
	stats, err = b.Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, bridge.QueueStats{}, stats)
}

// TestDeadLetterComesAgain: somebody has replayed the delivery in Clerk's
// dashboard.
func TestDeadLetterComesAgain(t *testing.T) {
	t.Parallel()
	fail := errors.New("not yet")
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Mappings = bridge.Mappings{
			bridge.On(clerk.RoleCreated, func(context.Context, *clerk.Event[clerk.Role], *actions.Client) error {
				return bridge.Permanent(fail)
			}),
		}
	})
	d := history.Event("msg_1", "role.created", 1, `{"id":"role_1"}`)
	dead := func() int {
		b.run(t, b.drained(t))
		s, err := b.Stats(t.Context())
		require.NoError(t, err)
		return s.Dead
	}
	b.enqueue(t, d)
	assert.Equal(t, 1, dead())
	b.enqueue(t, d)
	fail = nil
	assert.Zero(t, dead())

	fail = errors.New("for good")
	d.ID = "msg_2"
	b.enqueue(t, d)
	assert.Equal(t, 1, dead())
	n, err := b.Remove(t.Context(), "msg_2", "msg_3")
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Zero(t, dead())
}

// TestDeadLetterIsMended by a replay, which the queue does not see.
func TestDeadLetterIsMended(t *testing.T) {
	t.Parallel()
	fail := errors.New("not yet")
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Mappings = bridge.Mappings{
			bridge.On(clerk.RoleCreated, func(context.Context, *clerk.Event[clerk.Role], *actions.Client) error {
				return bridge.Permanent(fail)
			}),
		}
	})
	one, two := history.Event("msg_1", "role.created", 1, `{"id":"role_1"}`), history.Event("msg_2", "role.created", 2, `{"id":"role_2"}`)
	b.enqueue(t, one, two)
	b.run(t, b.drained(t))
	fail = nil
	res, err := b.handler.Replay(t.Context(), one)
	require.NoError(t, err)
	require.Equal(t, bridge.OutcomeDone, res.Outcome)
	for range 2 {
		s, err := b.Stats(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, s.Dead)
		letters, err := b.Dead(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Len(t, letters, 1)
		assert.Equal(t, "msg_2", letters[0].ID)
		_, err = b.database.ledger(t).Clean(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, 1, b.database.count(t, "select count(*) from {p}inbox"))
}

// givenUp is an inbox that gives up a delivery, before which something else happens.
func givenUp(t *testing.T, l *sqlledger.Ledger, before func()) inboxstore.Store {
	t.Helper()
	store, err := l.Inbox()
	require.NoError(t, err)
	stored, err := store.Add(t.Context(), inboxstore.Delivery{ID: "msg_1", Body: []byte("{}")})
	require.NoError(t, err)
	require.True(t, stored)
	turn := inboxstore.Turn{Owner: "me", Lease: time.Minute, Take: 1}
	_, err = store.Turn(t.Context(), turn)
	require.NoError(t, err)
	before()
	turn.Ended = []inboxstore.Ended{{ID: "msg_1", Dead: true}}
	_, err = store.Turn(t.Context(), turn)
	require.NoError(t, err)
	return store
}

// TestDeadLetterIsMendedMeanwhile: a replay finishes it before the queue gives it up.
func TestDeadLetterIsMendedMeanwhile(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	l := d.ledger(t)
	store := givenUp(t, l, func() { use(t, l, "msg_1") })
	s, err := store.Stats(t.Context())
	require.NoError(t, err)
	assert.Zero(t, s.Dead)
	assert.Zero(t, d.count(t, "select count(*) from {p}inbox_bodies"))
}

// TestDeadLetterOfLongAgo: that it was finished before it was given up does not mend
// it, whether or not more than its id is left of that.
func TestDeadLetterOfLongAgo(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	l := d.ledger(t)
	use(t, l, "msg_1")
	d.exec(t, "update {p}deliveries set finished_at = finished_at - 5 * 86400000")
	store := givenUp(t, l, func() {})
	for range 3 {
		s, err := store.Stats(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, s.Dead)
		letters, err := store.Dead(t.Context(), 0, 10)
		require.NoError(t, err)
		assert.Len(t, letters, 1)
		_, err = l.Clean(t.Context())
		require.NoError(t, err)
	}
	assert.Zero(t, d.count(t, "select count(*) from {p}deliveries"))
}

// TestInboxWaits as long as Knock asks, and counts what counts.
func TestInboxWaits(t *testing.T) {
	t.Parallel()
	answers := make(chan *actions.Response, 1)
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Knock = transportFunc(func(context.Context, *actions.Request) (*actions.Response, error) { return <-answers, nil })
	})
	due := func() time.Duration {
		at := b.database.count(t, "select coalesce(max(due_at), 0) from {p}inbox where lease_until is null")
		return time.Until(time.UnixMilli(int64(at)))
	}
	b.enqueue(t, userUpdated("msg_1", 1, 1))
	for attempt, header := range []http.Header{{"Retry-After": {"90"}}, nil, {"Retry-After": {"3000"}}} {
		status := http.StatusServiceUnavailable
		if attempt == 1 {
			status = http.StatusUnprocessableEntity // a minute
		}
		answers <- &actions.Response{Status: status, Header: header}
		b.run(t, func() bool { return due() > time.Second })
		want := []time.Duration{90 * time.Second, 2 * time.Minute, 50 * time.Minute}[attempt]
		if attempt == 1 {
			assert.InEpsilon(t, want, due(), 0.25)
		} else {
			assert.InDelta(t, want, due(), float64(5*time.Second))
		}
		assert.Equal(t, attempt+1, b.database.count(t, "select attempt from {p}inbox"))
		b.database.exec(t, "update {p}inbox set due_at = 0")
	}
	answers <- &actions.Response{Status: http.StatusOK}
	b.run(t, b.drained(t))
}

type transportFunc func(context.Context, *actions.Request) (*actions.Response, error)

func (f transportFunc) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	return f(ctx, r)
}

// TestInboxStops in the middle, again and again: nothing is lost, and nothing is
// done twice.
func TestInboxStops(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), func(_ *bridge.Config, icfg *inbox.Config) { icfg.Workers = 8 })
	b.knock.Configure(func(o *bridgetest.KnockOptions) { o.Latency = 5 * time.Millisecond })
	const users = 300
	for i := range users {
		b.enqueue(t, userUpdated(fmt.Sprint("msg_", i), i, 1))
	}
	for stop := 50; stop < users; stop += 50 {
		b.run(t, func() bool { return len(b.knock.Calls()) >= stop })
		assert.Zero(t, b.database.count(t, "select count(*) from {p}inbox where lease_until is not null"))
		s, err := b.Stats(t.Context())
		require.NoError(t, err)
		assert.Equal(t, users-len(b.knock.Calls()), s.Waiting)
	}
	b.run(t, b.drained(t))
	assert.Len(t, b.knock.Calls(), users)
	assert.Len(t, b.knock.Users(), users)
}

// TestInboxTakenOver: what a process had that died is taken over when its lease
// ends, and not before.
func TestInboxTakenOver(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), nil)
	b.enqueue(t, userUpdated("msg_1", 1, 1), userUpdated("msg_2", 1, 2), userUpdated("msg_3", 2, 1))
	b.database.exec(t, fmt.Sprintf("update {p}inbox set owner = 'another', lease_until = %d where id = 'msg_1'",
		time.Now().Add(30*time.Second).UnixMilli()))
	b.run(t, func() bool { return len(b.knock.Calls()) == 1 })
	assert.Equal(t, []string{"user_2"}, b.knock.Users(), "the first user is somebody else's")

	b.database.exec(t, fmt.Sprintf("update {p}inbox set lease_until = %d where id = 'msg_1'", time.Now().UnixMilli()))
	b.run(t, b.drained(t))
	assert.Len(t, b.knock.Users(), 2)
}

// crashing is an inbox whose processes die.
type crashing struct {
	*box

	ledger *sqlledger.Ledger
	store  inboxstore.Store
}

func newCrashing(t testing.TB, change func(*bridge.Config, *inbox.Config)) *crashing {
	t.Helper()
	c := &crashing{box: newBox(t, newSQLite(t), change)}
	c.ledger = c.database.ledger(t)
	var err error
	c.store, err = c.ledger.Inbox()
	require.NoError(t, err)
	return c
}

// take returns the first delivery of each list that a process takes.
func (c *crashing) take(t testing.TB, turn inboxstore.Turn) []string {
	t.Helper()
	turn.Owner, turn.Lease = rand.N[time.Duration](1<<60).String(), time.Minute
	taken, err := c.store.Turn(t.Context(), turn)
	require.NoError(t, err)
	var first []string
	for _, list := range taken.Lists {
		first = append(first, list[0].ID)
	}
	return first
}

// crash has a process take what it can, begin the first of each list, and die. It
// returns what it has begun.
func (c *crashing) crash(t testing.TB, suspects bool) []string {
	t.Helper()
	began := c.take(t, inboxstore.Turn{Take: 8, Suspects: suspects})
	for _, id := range began {
		grant(t, c.ledger, claim(id, "user/"+id))
	}
	c.expire(t)
	return began
}

// expire ends all leases.
func (c *crashing) expire(t testing.TB) {
	t.Helper()
	past := time.Now().Add(-time.Second).UnixMilli()
	for _, table := range []string{"inbox", "deliveries", "leases"} {
		c.database.exec(t, fmt.Sprintf("update {p}%s set lease_until = %d where lease_until is not null", table, past))
	}
}

// TestInboxCrashes: a delivery in the middle of which the process dies again and
// again is given up. Those that were under way with it, and the one that waited
// behind it, are not.
func TestInboxCrashes(t *testing.T) {
	t.Parallel()
	var logged strings.Builder
	c := newCrashing(t, func(_ *bridge.Config, icfg *inbox.Config) {
		icfg.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))
	})
	c.enqueue(t, userUpdated("msg_poison", 1, 2), userUpdated("msg_behind", 1, 1), userUpdated("msg_2", 2, 1), userUpdated("msg_3", 3, 1))
	all := []string{"msg_poison", "msg_2", "msg_3"}
	assert.Equal(t, all, c.crash(t, false))
	assert.Equal(t, all, c.crash(t, false), "once is nothing")
	assert.Equal(t, []string{"msg_behind"}, c.crash(t, false), "the others are suspect")

	// One at a time, the least suspect first.
	assert.Equal(t, []string{"msg_poison"}, c.crash(t, true))
	assert.Equal(t, []string{"msg_2", "msg_behind"}, c.take(t, inboxstore.Turn{Take: 8, Suspects: true}))
	assert.Empty(t, c.take(t, inboxstore.Turn{Take: 8, Suspects: true}), "another one is under way")
	c.expire(t)                                                   // they were not begun
	for _, id := range []string{"msg_behind", "msg_2", "msg_3"} { // they get done
		assert.Contains(t, c.take(t, inboxstore.Turn{Take: 8, Suspects: true}), id)
		c.database.exec(t, "delete from {p}inbox where id = '"+id+"'")
		c.expire(t)
	}
	for crashes := range 2 {
		assert.Equal(t, []string{"msg_poison"}, c.crash(t, true))
		assert.Equal(t, 3+crashes, c.database.count(t, "select crashes from {p}inbox"))
	}
	c.run(t, c.drained(t))

	letters, err := c.Dead(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	assert.Equal(t, "msg_poison", letters[0].ID)
	assert.Equal(t, 5, letters[0].Attempts)
	assert.Equal(t, bridge.OutcomeMisconfigured, letters[0].Outcome)
	assert.Equal(t, "the process ended in the middle of the attempt", letters[0].Problem)
	assert.WithinDuration(t, time.Now(), letters[0].DeadAt, time.Minute)
	assert.Contains(t, logged.String(), `msg="inbox: delivery given up" delivery=msg_poison event=user.updated outcome=misconfigured attempts=5`)

	// Once it is tried again, it is as good as new.
	n, err := c.Retry(t.Context(), "msg_poison")
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	c.run(t, c.drained(t))
	s, err := c.Stats(t.Context())
	require.NoError(t, err)
	assert.Zero(t, s.Dead)
	assert.Len(t, c.knock.Calls(), 1)
}

// TestInboxCrashLoop: a process that dies soon after its start, each time, costs no
// delivery anything.
func TestInboxCrashLoop(t *testing.T) {
	t.Parallel()
	c := newCrashing(t, nil)
	for i := range 20 {
		c.enqueue(t, userUpdated(fmt.Sprint("msg_", i), i, 1))
	}
	for range 12 {
		c.crash(t, false)
	}
	s, err := c.Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 20, s.Waiting)
	assert.Zero(t, s.Dead)
	assert.Equal(t, 2, c.database.count(t, "select max(crashes) from {p}inbox"))
}

// TestInboxCrashesInARow: an attempt that ends, however it does, shows that the
// delivery is not what ends the process.
func TestInboxCrashesInARow(t *testing.T) {
	t.Parallel()
	c := newCrashing(t, func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Knock = transportFunc(func(context.Context, *actions.Request) (*actions.Response, error) {
			return &actions.Response{Status: http.StatusServiceUnavailable}, nil
		})
	})
	c.enqueue(t, userUpdated("msg_1", 1, 1))
	for round := range 5 {
		c.database.exec(t, "update {p}inbox set due_at = 0")
		require.Len(t, c.crash(t, false), 1)
		c.run(t, func() bool { return c.database.count(t, "select attempt from {p}inbox") > round })
	}
	assert.Zero(t, c.database.count(t, "select crashes from {p}inbox"))
}

// TestInboxCrashesOfWhatIsPutBack: an attempt that does not count does not show that
// the delivery is not what ends the process.
func TestInboxCrashesOfWhatIsPutBack(t *testing.T) {
	t.Parallel()
	c := newCrashing(t, nil)
	c.enqueue(t, userUpdated("msg_1", 1, 1))
	require.Len(t, c.crash(t, false), 1)
	for _, tc := range []struct {
		free    bool
		crashes int
	}{{true, 1}, {false, 0}} {
		taken, err := c.store.Turn(t.Context(), inboxstore.Turn{Owner: "me", Lease: time.Minute, Take: 1})
		require.NoError(t, err)
		require.Len(t, taken.Lists, 1)
		_, err = c.store.Turn(t.Context(), inboxstore.Turn{Owner: "me", Ended: []inboxstore.Ended{{ID: "msg_1", Free: tc.free}}})
		require.NoError(t, err)
		assert.Equal(t, tc.crashes, c.database.count(t, "select crashes from {p}inbox"))
	}
}

// TestInboxCrashesAfterTheLastWord: a process that dies after the ledger has been
// told how an attempt has ended, in OnResult, say, dies in the middle of it.
func TestInboxCrashesAfterTheLastWord(t *testing.T) {
	t.Parallel()
	c := newCrashing(t, nil)
	c.enqueue(t, userUpdated("msg_1", 1, 1))
	for range 2 {
		require.Equal(t, []string{"msg_1"}, c.take(t, inboxstore.Turn{Take: 1}))
		cl := claim("msg_1", "user/user_1")
		save(t, c.ledger, cl, grant(t, c.ledger, cl), bridge.OutcomeTransient)
		c.expire(t)
	}
	c.take(t, inboxstore.Turn{})
	assert.Equal(t, 2, c.database.count(t, "select crashes from {p}inbox"))
}

// TestInboxCrashedComesAtOnce: what a process was in the middle of goes on before
// all that came later.
func TestInboxCrashedComesAtOnce(t *testing.T) {
	t.Parallel()
	c := newCrashing(t, nil)
	for i := range 20 {
		c.enqueue(t, userUpdated(fmt.Sprint("msg_", i), i, 1))
	}
	began := c.crash(t, false)
	require.Len(t, began, 8)
	assert.Equal(t, began, c.take(t, inboxstore.Turn{Take: 8}))
}

// TestInboxClockJumps: a worker that lives keeps what it has when the clock is set
// forward, and what a dead one had is taken over when it is set back.
func TestInboxClockJumps(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	store, err := d.ledger(t).Inbox()
	require.NoError(t, err)
	_, err = store.Add(t.Context(), inboxstore.Delivery{ID: "msg_1", Body: []byte("{}")})
	require.NoError(t, err)
	take := func(owner string) int {
		taken, err := store.Turn(t.Context(), inboxstore.Turn{Owner: owner, Lease: time.Minute, Take: 1})
		require.NoError(t, err)
		return len(taken.Lists)
	}
	assert.Equal(t, 1, take("me"))
	d.exec(t, "update {p}inbox set lease_until = lease_until - 3600000")
	assert.Zero(t, take("me"))
	assert.Equal(t, 1, take("you"))
	d.exec(t, "update {p}inbox set lease_until = lease_until + 3600000")
	assert.Equal(t, 1, take("me"))
}

// TestInboxClockSetBack: what was stored while the clock was an hour ahead does not
// wait for an hour, nor does it look new for so long. A delivery that waits for
// another reason still does.
func TestInboxClockSetBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), nil)
	b.enqueue(t, userUpdated("msg_1", 1, 1), userUpdated("msg_2", 2, 1), userUpdated("msg_3", 3, 1))
	b.database.exec(t, "update {p}inbox set stored_at = stored_at + 3600000, due_at = due_at + 3600000 where id <> 'msg_3'")
	b.database.exec(t, "update {p}inbox set due_at = due_at + 86400000 where id = 'msg_3'")
	b.database.exec(t, "update {p}inbox set dead_at = stored_at, due_at = null where id = 'msg_2'")
	b.run(t, func() bool { return len(b.knock.Users()) > 0 })
	assert.Equal(t, []string{"user_1"}, b.knock.Users())
	stats, err := b.Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, stats.Waiting)
	assert.Equal(t, 1, stats.Dead)
}

// TestInboxListsAreBounded: bodies are in memory while their list is worked off.
func TestInboxListsAreBounded(t *testing.T) {
	t.Parallel()
	store, err := newSQLite(t).ledger(t).Inbox()
	require.NoError(t, err)
	for i := range 4 {
		_, err = store.Add(t.Context(), inboxstore.Delivery{
			ID: fmt.Sprint("msg_", i), Entity: "user/1", Version: int64(i), Body: make([]byte, 600<<10),
		})
		require.NoError(t, err)
	}
	turn := inboxstore.Turn{Owner: "me", Lease: time.Minute, Take: 2}
	var ids []string
	for page := range 2 {
		taken, err := store.Turn(t.Context(), turn)
		require.NoError(t, err)
		require.Len(t, taken.Lists, 1)
		turn.Ended = nil
		for _, got := range taken.Lists[0] {
			ids = append(ids, got.ID)
			turn.Ended = append(turn.Ended, inboxstore.Ended{ID: got.ID, Done: true})
		}
		assert.Len(t, ids, 2*(page+1))
	}
	assert.Equal(t, []string{"msg_3", "msg_2", "msg_1", "msg_0"}, ids)
}

// TestInboxTurnsAreBounded: nobody else can write to the file during a turn.
func TestInboxTurnsAreBounded(t *testing.T) {
	t.Parallel()
	const entities, each, total = 40, 64, 40 * 64
	store, err := newSQLite(t).ledger(t).Inbox()
	require.NoError(t, err)
	var all sync.WaitGroup
	for entity := range entities {
		all.Go(func() {
			for i := range each {
				_, err := store.Add(t.Context(), inboxstore.Delivery{
					ID: fmt.Sprintf("msg_%d_%d", entity, i), Entity: fmt.Sprintf("user/%d", entity), Body: make([]byte, 10),
				})
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	turn := inboxstore.Turn{Owner: "me", Lease: time.Minute, Take: 1000}
	got := 0
	for range 3 { // 1,024 and less than one list more, and the same again, and the rest
		taken, err := store.Turn(t.Context(), turn)
		require.NoError(t, err)
		n := 0
		turn.Ended = nil
		for _, list := range taken.Lists {
			n += len(list)
			for _, d := range list {
				turn.Ended = append(turn.Ended, inboxstore.Ended{ID: d.ID, Done: true})
			}
		}
		assert.LessOrEqual(t, n, 1024)
		got += n
		assert.Equal(t, got == total, taken.Next < 0, "there is more to take at once")
	}
	assert.Equal(t, total, got)
}

// TestInboxTurnBytes: and the bodies are in memory.
func TestInboxTurnBytes(t *testing.T) {
	t.Parallel()
	store, err := newSQLite(t).ledger(t).Inbox()
	require.NoError(t, err)
	for i := range 20 {
		_, err := store.Add(t.Context(), inboxstore.Delivery{ID: fmt.Sprint("msg_", i), Entity: fmt.Sprint("user/", i), Body: make([]byte, 1<<20)})
		require.NoError(t, err)
	}
	taken, err := store.Turn(t.Context(), inboxstore.Turn{Owner: "me", Lease: time.Minute, Take: 1000})
	require.NoError(t, err)
	assert.Len(t, taken.Lists, 16)
}

// TestInboxBodies: a body goes with its delivery, and one that was given up and
// comes again has it still.
func TestInboxBodies(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	store, err := d.ledger(t).Inbox()
	require.NoError(t, err)
	bodies := func() int {
		var n int
		require.NoError(t, d.open(t).QueryRowContext(t.Context(), "select count(*) from bridge_inbox_bodies").Scan(&n))
		return n
	}
	add := func(id string) {
		stored, err := store.Add(t.Context(), inboxstore.Delivery{ID: id, Body: []byte(id)})
		require.NoError(t, err)
		require.True(t, stored)
	}
	take := func(ended ...inboxstore.Ended) [][]inboxstore.Delivery {
		taken, err := store.Turn(t.Context(), inboxstore.Turn{Owner: "me", Lease: time.Minute, Take: 10, Ended: ended})
		require.NoError(t, err)
		return taken.Lists
	}
	add("a")
	add("b")
	add("c")
	require.Len(t, take(), 3)
	take(inboxstore.Ended{ID: "a", Done: true}, inboxstore.Ended{ID: "b", Dead: true}, inboxstore.Ended{ID: "c", Dead: true})
	assert.Equal(t, 2, bodies())
	letters, err := store.Dead(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, letters, 2)
	assert.Equal(t, "c", string(letters[0].Body))
	_, err = store.Remove(t.Context(), []string{"c"})
	require.NoError(t, err)
	add("b")
	assert.Equal(t, 1, bodies())
	lists := take()
	require.Len(t, lists, 1)
	assert.Equal(t, "b", string(lists[0][0].Body))
	take(inboxstore.Ended{ID: "b", Done: true})
	assert.Zero(t, bodies())
}

// TestInboxDryRun: what has been acknowledged is still there when a trial is over.
func TestInboxDryRun(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := newSQLite(t)
	b := newBox(t, d, func(cfg *bridge.Config, icfg *inbox.Config) {
		cfg.DryRun = true
		icfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	b.enqueue(t, userUpdated("msg_1", 1, 1), userUpdated("msg_2", 2, 1))
	const put = "select count(*) from {p}inbox where due_at > stored_at and lease_until is null and attempt = 0"
	b.run(t, func() bool { return d.count(t, put) == 2 })
	assert.Empty(t, b.knock.Calls())
	assert.Equal(t, 1, strings.Count(log.String(), "dry runs"), "said once")
	d.exec(t, "update {p}inbox set due_at = 0")
	b = newBox(t, d, nil)
	b.run(t, b.drained(t))
	assert.Len(t, b.knock.Users(), 2)
}

// TestInboxOldWorker: a worker that does not map what a newer one has stored leaves
// it to that one, for a while.
func TestInboxOldWorker(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	newer := newBox(t, d, func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Mappings = bridge.Mappings{bridge.On(clerk.SessionCreated, func(ctx context.Context, _ *clerk.Event[clerk.Session], k *actions.Client) error {
			return k.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1"})
		})}
	})
	older := newBox(t, d, func(cfg *bridge.Config, _ *inbox.Config) { cfg.Mappings = nil })
	session := func(id string) bridge.Delivery {
		return history.Event(id, "session.created", 1, `{"id":"sess_1","user_id":"user_1"}`)
	}
	newer.enqueue(t, session("msg_1"))
	const failed = "select coalesce(max(attempt), 0) from {p}inbox where lease_until is null"
	older.run(t, func() bool { return d.count(t, failed) == 1 })
	d.exec(t, "update {p}inbox set due_at = 0")
	newer.run(t, newer.drained(t))
	assert.Len(t, newer.knock.Users(), 1)

	newer.enqueue(t, session("msg_2"))
	for attempt := 1; attempt < 7; attempt++ {
		older.run(t, func() bool { return d.count(t, failed) == attempt })
		d.exec(t, "update {p}inbox set due_at = 0")
	}
	older.run(t, older.drained(t))
	stats, err := older.Stats(t.Context())
	require.NoError(t, err)
	assert.Zero(t, stats.Dead, "nobody maps it any more: that is no failure")
}

// TestInboxOthersCode: what is not the inbox's own may panic, or end the goroutine.
func TestInboxOthersCode(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, icfg *inbox.Config) {
		icfg.Retry = func(res *bridge.Result, _ int) bridge.Retry {
			if res.DeliveryID == "msg_panic" {
				panic("in Retry")
			}
			return bridge.Retry{}
		}
		cfg.Mappings = bridge.Mappings{bridge.On(clerk.UserUpdated, func(_ context.Context, e *clerk.Event[clerk.User], _ *actions.Client) error {
			switch e.ID {
			case "msg_exit":
				runtime.Goexit()
			case "msg_panic":
				return errors.New("no")
			case "msg_text":
				var err *textlessError
				return err
			}
			return nil
		})}
	})
	b.enqueue(t, userUpdated("msg_exit", 1, 2), userUpdated("msg_2", 2, 1), userUpdated("msg_panic", 2, 2), userUpdated("msg_3", 3, 1), userUpdated("msg_text", 3, 2))
	b.run(t, func() bool {
		s, err := b.Stats(t.Context())
		return assert.NoError(t, err) && s.Waiting == 1 && s.Dead == 2 // msg_panic comes again, a minute later
	})
	letters, err := b.Dead(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, letters, 2)
	assert.Equal(t, "msg_text", letters[0].ID)
	assert.Contains(t, letters[0].Problem, "panicked")
	assert.Equal(t, "msg_exit", letters[1].ID)
	assert.Contains(t, letters[1].Problem, "ended the goroutine")
}

// textlessError is an error whose text panics when it is nil.
type textlessError struct{ text string }

func (e *textlessError) Error() string { return e.text }

// TestInboxFailsAlone: the newest event about a user can't be worked off for an
// hour, which the others need not wait for.
func TestInboxFailsAlone(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Mappings = bridge.Mappings{
			bridge.On(clerk.UserUpdated, func(_ context.Context, e *clerk.Event[clerk.User], _ *actions.Client) error {
				if e.ID == "msg_poison" {
					return bridge.RetryAfter(time.Hour, errors.New("not yet"))
				}
				return nil
			}),
		}
	})
	b.enqueue(t, userUpdated("msg_1", 1, 1), userUpdated("msg_2", 1, 2), userUpdated("msg_poison", 1, 3))
	b.run(t, func() bool {
		s, err := b.Stats(t.Context())
		return assert.NoError(t, err) && s.Waiting == 1
	})
}

// TestInboxPanics in a hook of the handler, which is not part of the work: the
// process goes on, and so does everything else.
func TestInboxPanics(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, icfg *inbox.Config) {
		icfg.Retry = quickly
		cfg.OnStart = func(ctx context.Context, d bridge.Delivery, _ string) context.Context {
			if d.ID == "msg_poison" {
				panic("secret")
			}
			return ctx
		}
	})
	b.enqueue(t, userUpdated("msg_poison", 1, 2), userUpdated("msg_1", 1, 1), userUpdated("msg_2", 2, 1))
	b.run(t, b.drained(t))
	assert.Len(t, b.knock.Users(), 2)
	letters, err := b.Dead(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	assert.Equal(t, bridge.OutcomeMisconfigured, letters[0].Outcome)
	assert.NotContains(t, letters[0].Problem, "secret")
}

// TestInboxRenews: as long as a process lives, it keeps what it has.
func TestInboxRenews(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.Timeout = time.Minute
		cfg.Knock = transportFunc(func(context.Context, *actions.Request) (*actions.Response, error) {
			<-proceed
			return &actions.Response{Status: http.StatusOK}, nil
		})
	})
	b.enqueue(t, userUpdated("msg_1", 1, 1))
	lease := func() int { return b.database.count(t, "select coalesce(max(lease_until), 0) from {p}inbox") }
	first := 0
	b.run(t, func() bool {
		now := lease()
		if first == 0 {
			first = now
		}
		if now <= first {
			return false
		}
		close(proceed)
		return true
	})
	b.run(t, b.drained(t))
}

// TestInboxFull is a disk without room: the delivery is refused, and Svix brings it
// again.
func TestInboxFull(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), func(cfg *bridge.Config, _ *inbox.Config) {
		cfg.SigningSecrets = []string{bridgetest.Secret}
	})
	b.enqueue(t, userUpdated("msg_1", 1, 1))
	full := newBox(t, database{Dialect: b.database.Dialect, open: func(t testing.TB) *sql.DB {
		t.Helper()
		db := b.database.open(t)
		db.SetMaxOpenConns(1)
		_, err := db.ExecContext(t.Context(), "pragma max_page_count = 1") // no more than there are
		require.NoError(t, err)
		return db
	}}, func(cfg *bridge.Config, _ *inbox.Config) { cfg.SigningSecrets = []string{bridgetest.Secret} })
	large := bridgetest.NewDelivery(t, "user.created", nil)
	large.Body = slices.Concat(large.Body, []byte(strings.Repeat(" ", 200<<10)))
	w := httptest.NewRecorder()
	full.handler.ServeHTTP(w, bridgetest.Attempt(t, large))
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)

	w = httptest.NewRecorder()
	b.handler.ServeHTTP(w, bridgetest.Attempt(t, large))
	assert.Equal(t, http.StatusAccepted, w.Code, "once there is room")
	b.run(t, b.drained(t))
	assert.Len(t, b.knock.Users(), 2)
}

// TestInboxDatabaseFails while it is being worked off.
func TestInboxDatabaseFails(t *testing.T) {
	t.Parallel()
	var failures lines
	b := newBox(t, newSQLite(t), func(_ *bridge.Config, icfg *inbox.Config) {
		icfg.Workers, icfg.Logger = 2, slog.New(slog.NewTextHandler(&failures, nil))
	})
	b.knock.Configure(func(o *bridgetest.KnockOptions) { o.Latency = 5 * time.Millisecond })
	for i := range 40 {
		b.enqueue(t, userUpdated(fmt.Sprint("msg_", i), i, 1))
	}
	done := b.drained(t)
	renamed := 0
	b.run(t, func() bool {
		switch {
		case renamed == 0 && len(b.knock.Calls()) > 10:
			b.database.exec(t, "alter table {p}inbox rename column owner to elsewhere")
			renamed++
			return false
		case renamed == 1 && failures.count() > 0:
			b.database.exec(t, "alter table {p}inbox rename column elsewhere to owner")
			renamed++
			return false
		}
		return renamed == 2 && done()
	})
	assert.Len(t, b.knock.Calls(), 40)
}

// lines counts the lines of a log.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.n.Add(1)
	return len(p), nil
}

func (l *lines) count() int64 { return l.n.Load() }

func TestInboxIsForSQLite(t *testing.T) {
	t.Parallel()
	_, err := inbox.New(newPostgres(t).ledger(t), inbox.Config{})
	require.EqualError(t, err, "inbox: sqlledger: the inbox is for SQLite; use the module bridgeriver on PostgreSQL")
	_, err = inbox.New(nil, inbox.Config{})
	require.EqualError(t, err, "inbox: the ledger is nil")
}

func TestInboxRefuses(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSQLite(t), nil)
	_, err := b.Enqueue(t.Context(), bridge.Delivery{ID: "msg_1", Body: []byte("[]")})
	require.Error(t, err)
	_, err = inbox.New(b.database.ledger(t), inbox.Config{Workers: -1})
	require.EqualError(t, err, "inbox: Workers is negative")
	b.enqueue(t, userUpdated("msg_1", 1, 1))
	b.run(t, func() bool {
		return b.drained(t)() && assert.EqualError(t, b.Run(t.Context(), b.handler), "inbox: Run is running already")
	})
}
