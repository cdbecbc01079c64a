package inbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/inboxstore"
)

// hot is a store in which all that is due is about somebody who is at work, and
// which takes a tenth of a second to see that.
type hot struct {
	inboxstore.Store

	searches int
}

func (*hot) Stats(context.Context) (bridge.QueueStats, error) { return bridge.QueueStats{}, nil }

func (h *hot) Turn(_ context.Context, t inboxstore.Turn) (inboxstore.Taken, error) {
	const each = 100 * time.Millisecond
	if t.Take == 0 {
		return inboxstore.Taken{}, nil
	}
	time.Sleep(each)
	h.searches++
	return inboxstore.Taken{Searched: each}, nil
}

// TestSearchesAreShort: whatever there is to look through, and however often there
// is a reason to, most of the time the database is free for others.
func TestSearchesAreShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &hot{}
		b := &Inbox{store: store, logger: slog.New(slog.DiscardHandler), workers: 8, wake: make(chan struct{}, 1)}
		ctx, cancel := context.WithTimeout(t.Context(), 9800*time.Millisecond)
		defer cancel()
		var enqueuing sync.WaitGroup
		enqueuing.Go(func() {
			for ctx.Err() == nil {
				b.notify()
				time.Sleep(time.Millisecond)
			}
		})
		require.NoError(t, b.Run(ctx, &bridge.Handler{}))
		assert.Equal(t, 20, store.searches)
		enqueuing.Wait()
	})
}

// young notes from when on suspects are taken.
type young struct {
	inboxstore.Store

	began, from time.Time
}

func (*young) Stats(context.Context) (bridge.QueueStats, error) { return bridge.QueueStats{}, nil }

func (y *young) Turn(_ context.Context, t inboxstore.Turn) (inboxstore.Taken, error) {
	if t.Suspects && y.from.IsZero() {
		y.from = time.Now()
	}
	return inboxstore.Taken{Next: -1}, nil
}

// TestSettled: a process that has just begun to run takes no suspects.
func TestSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &young{began: time.Now()}
		b := &Inbox{store: store, logger: slog.New(slog.DiscardHandler), workers: 1, wake: make(chan struct{}, 1)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, b.Run(ctx, &bridge.Handler{}))
		assert.GreaterOrEqual(t, store.from.Sub(store.began), settled)
		assert.Less(t, store.from.Sub(store.began), settled+2*pollEvery)
	})
}

// locked hands one delivery out, and is locked by somebody else from then on.
type locked struct {
	inboxstore.Store

	taken bool
}

func (*locked) Stats(context.Context) (bridge.QueueStats, error) { return bridge.QueueStats{}, nil }

func (l *locked) Turn(ctx context.Context, _ inboxstore.Turn) (inboxstore.Taken, error) {
	if l.taken {
		<-ctx.Done()
		return inboxstore.Taken{}, ctx.Err()
	}
	l.taken = true
	return inboxstore.Taken{Lists: [][]inboxstore.Delivery{{{ID: "msg_1"}}}, Next: -1}, nil
}

// TestStopLocked: the time that what was under way has taken is not given to a
// database that fails once more.
func TestStopLocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const work = 12 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		b := &Inbox{store: &locked{}, logger: slog.New(slog.DiscardHandler), workers: 1, wake: make(chan struct{}, 1)}
		b.retry = func(res *bridge.Result, attempt int) bridge.Retry { // asked by the worker
			cancel()
			time.Sleep(work)
			return res.Retry(attempt)
		}
		started := time.Now()
		require.ErrorIs(t, b.Run(ctx, &bridge.Handler{}), context.DeadlineExceeded)
		assert.LessOrEqual(t, time.Since(started), work+2*turnTime) // a turn to renew was under way
	})
}

// handedOut hands out a list once, and keeps what becomes of it.
type handedOut struct {
	inboxstore.Store

	list  []inboxstore.Delivery
	ended []inboxstore.Ended
	done  func() // called when all has ended
}

func (*handedOut) Stats(context.Context) (bridge.QueueStats, error) { return bridge.QueueStats{}, nil }

func (h *handedOut) Turn(_ context.Context, t inboxstore.Turn) (inboxstore.Taken, error) {
	h.ended = append(h.ended, t.Ended...)
	if h.list == nil {
		h.done()
		return inboxstore.Taken{Next: -1}, nil
	}
	taken := inboxstore.Taken{Lists: [][]inboxstore.Delivery{h.list}, Next: -1}
	h.list = nil
	return taken, nil
}

// TestOthersComeFirst: those that waited behind one that failed come again before it,
// and soon.
func TestOthersComeFirst(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{200 * time.Millisecond: 100 * time.Millisecond, time.Hour: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			handler, err := bridge.New(bridge.Config{
				SigningSecrets: []string{bridgetest.Secret}, Knock: &actions.HTTP{APIKey: "sk_test_1"},
				Logger: slog.New(slog.DiscardHandler), NoDefaults: true,
				Mappings: bridge.Mappings{bridge.OnUnmapped(func(context.Context, *clerk.AnyEvent, *actions.Client) error {
					return bridge.RetryAfter(asked, errors.New("not yet"))
				})},
			})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body := []byte(`{"type":"user.updated","timestamp":1760000000000,"data":{"id":"user_1"}}`)
			store := &handedOut{list: []inboxstore.Delivery{{ID: "msg_1", Body: body}, {ID: "msg_2", Body: body}}, done: cancel}
			b := &Inbox{
				store: store, logger: slog.New(slog.DiscardHandler), workers: 1, retry: (*bridge.Result).Retry, wake: make(chan struct{}, 1),
			}
			require.NoError(t, b.Run(ctx, handler))
			require.Len(t, store.ended, 2)
			assert.Equal(t, asked, store.ended[0].After)
			assert.Equal(t, inboxstore.Ended{ID: "msg_2", After: want, Free: true}, store.ended[1])
		})
	}
}

func TestRunWithoutHandler(t *testing.T) {
	t.Parallel()
	require.EqualError(t, (&Inbox{}).Run(t.Context(), nil), "inbox: the handler is nil")
}

func TestEnqueueWithoutID(t *testing.T) {
	t.Parallel()
	_, err := (&Inbox{}).Enqueue(t.Context(), bridge.Delivery{Body: []byte(`{"type":"user.created","data":{}}`)})
	require.EqualError(t, err, "inbox: the delivery has no id")
}
