package sqlledger

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// maxGroup is how much is done together at most: PostgreSQL holds up to four locks
	// for each, in a table of some 6,400 that it shares with all its clients. groupTime
	// is how long it may take before each is tried by itself.
	maxGroup  = 64
	groupTime = time.Second
)

// gatherer has what waits at the same time done together: in one transaction, with
// one wait for the disk. There is nothing in the background: one of those that wait
// does the work for all. When that fails, each does its own in turn, within its own
// context.
//
// Nobody leaves while another one is at work on what it wants: it is told what has
// become of that, and what it wants remains its own to read and write. So it may be
// told after its context has ended, by groupTime at most.
type gatherer[T any] struct {
	// run does all or nothing. What was undone may be done again.
	run func(context.Context, []T) error

	// several can be at work at once: whoever is alone for longer than groupTime, as
	// what it needs hangs or is locked, does not hold up the others. SQLite has one
	// writer, and its drivers can't always be interrupted while they wait to be it.
	several bool

	turn chan struct{} // holds one element while somebody is at work

	mu      sync.Mutex
	waiting []*waiter[T]
}

// waiter is first in gatherer.waiting, then with whoever has the turn, and then
// decided upon.
type waiter[T any] struct {
	what    T
	decided chan struct{}
	done    bool // else it is to be done alone
}

func newGatherer[T any](run func(context.Context, []T) error) *gatherer[T] {
	return &gatherer[T]{run: run, turn: make(chan struct{}, 1)}
}

// do returns once what is done. When ctx ends before it was begun, it is not.
func (g *gatherer[T]) do(ctx context.Context, what T) error {
	w := &waiter[T]{what: what, decided: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	select {
	case <-w.decided:
	case g.turn <- struct{}{}:
		return g.work(ctx, w)
	case <-ctx.Done():
		if !g.withdraw(w) {
			<-w.decided
		}
	}
	if w.done {
		return nil
	}
	if ctx.Err() == nil {
		select {
		case g.turn <- struct{}{}:
			return g.work(ctx, w)
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("wait for the other writers: %w", ctx.Err())
}

// withdraw takes back what nobody has begun.
func (g *gatherer[T]) withdraw(w *waiter[T]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// work does w, which has the turn.
func (g *gatherer[T]) work(ctx context.Context, w *waiter[T]) error {
	next := sync.OnceFunc(func() { <-g.turn })
	defer next()
	if g.withdraw(w) {
		if ctx.Err() == nil {
			g.share(ctx, w)
		}
	} else {
		<-w.decided
	}
	if w.done {
		return nil
	}
	if g.several {
		defer time.AfterFunc(groupTime, next).Stop()
	}
	return g.run(ctx, []T{w.what})
}

// share does what waits together with w.
func (g *gatherer[T]) share(ctx context.Context, w *waiter[T]) {
	g.mu.Lock()
	n := min(len(g.waiting), maxGroup-1)
	batch := append(slices.Clone(g.waiting[:n]), w)
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.mu.Unlock()
	if n == 0 {
		return
	}
	done := false
	defer func() { // also when it panics
		for _, w := range batch {
			w.done = done
			close(w.decided)
		}
	}()
	all := make([]T, len(batch))
	for i, w := range batch {
		all[i] = w.what
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTime)
	defer cancel()
	done = g.run(ctx, all) == nil
}
