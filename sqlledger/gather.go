package sqlledger

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// maxGroup is how much is done together at most, and groupTime how long that may
	// take before each is tried by itself.
	maxGroup  = 256
	groupTime = time.Second
)

// gatherer has what waits at the same time done together: in one transaction, with
// one wait for the disk. There is nothing in the background: one of those that wait
// does the work for all.
type gatherer[T any] struct {
	// together does all or nothing, and alone does one. What was undone may be done
	// again.
	together func(context.Context, []T) error
	alone    func(context.Context, T) error

	leader chan struct{} // holds one element while somebody is at work

	mu      sync.Mutex
	waiting []*waiter[T]
}

type waiter[T any] struct {
	ctx  context.Context //nolint:containedctx // it waits for another goroutine, in its stead
	what T
	err  error
	done chan struct{}
}

func newGatherer[T any](together func(context.Context, []T) error, alone func(context.Context, T) error) *gatherer[T] {
	return &gatherer[T]{together: together, alone: alone, leader: make(chan struct{}, 1)}
}

// do returns once what is done. When ctx ends before it was begun, it is not.
func (g *gatherer[T]) do(ctx context.Context, what T) error {
	w := &waiter[T]{ctx: ctx, what: what, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	for {
		select {
		case <-w.done:
			return w.err
		default:
		}
		select {
		case <-w.done:
		case g.leader <- struct{}{}:
			g.lead(ctx)
			<-g.leader
		case <-ctx.Done():
			if g.withdraw(w) {
				return fmt.Errorf("wait for the other writers: %w", ctx.Err())
			}
			<-w.done // it has begun
		}
	}
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

// lead does what waits. When it fails together, each is done by itself, so that it
// fails alone.
func (g *gatherer[T]) lead(ctx context.Context) {
	g.mu.Lock()
	n := min(len(g.waiting), maxGroup)
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.mu.Unlock()
	if n == 0 { // somebody else has done it
		return
	}
	if n == 1 || g.doTogether(ctx, batch) != nil {
		for _, w := range batch {
			w.err = g.alone(w.ctx, w.what) //nolint:contextcheck // each its own
		}
	}
	for _, w := range batch {
		close(w.done)
	}
}

func (g *gatherer[T]) doTogether(ctx context.Context, batch []*waiter[T]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTime)
	defer cancel()
	all := make([]T, len(batch))
	for i, w := range batch {
		all[i] = w.what
	}
	return g.together(ctx, all)
}
