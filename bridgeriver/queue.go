package bridgeriver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/clerkknock/bridge"
)

// The limits of what is inserted at once.
const (
	maxBatch     = 200
	maxBatchSize = 4 << 20 // bytes of bodies, unless one alone is larger
	batchTimeout = 5 * time.Second

	// leadTime is how long others wait for a batch. One with the id of a job that an
	// open transaction has inserted waits for that one.
	leadTime = time.Second
)

// Queue returns a [bridge.Queue] that stores deliveries as jobs of client, which
// need not be started. Deliveries that come at the same time are inserted together,
// at most 200 in one transaction. An Enqueue whose context ends before its turn
// stores nothing; once its turn has come, it waits for the outcome, about five
// seconds at most. If another transaction has inserted the same delivery and is
// still open then, it fails, as do those inserted together with it.
func Queue[TTx any](client *river.Client[TTx]) bridge.Queue {
	return &queue{insertMany: client.InsertMany}
}

// queue gathers deliveries. There is no goroutine for that: the first that comes
// inserts its own at once, and the next one, when it is done or takes long, all that
// have come meanwhile.
type queue struct {
	insertMany func(context.Context, []river.InsertManyParams) ([]*rivertype.JobInsertResult, error)

	mu      sync.Mutex
	leads   bool // somebody inserts, or has been told to
	waiting []*insertion
}

// insertion is one delivery on its way.
type insertion struct {
	args Args
	turn chan struct{} // closed when it is to insert the next batch
	done chan struct{} // closed when the following is known

	stored bool
	err    error
}

// Enqueue implements [bridge.Queue].
func (q *queue) Enqueue(ctx context.Context, d bridge.Delivery) (stored bool, err error) {
	if d.ID == "" || !storable(d.ID) {
		return false, errors.New("bridgeriver: the delivery's id is empty or not a text that PostgreSQL can hold")
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	in := &insertion{args: NewArgs(d), turn: make(chan struct{}), done: make(chan struct{})}
	q.join(in)
	select {
	case <-in.turn:
		q.insert(ctx)
	case <-in.done:
	case <-ctx.Done():
		if q.leave(in) {
			return false, ctx.Err()
		}
	}
	<-in.done
	return in.stored, in.err
}

func (q *queue) join(in *insertion) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, in)
	if !q.leads {
		q.lead()
	}
}

// leave takes a delivery back, if it is not being inserted yet.
func (q *queue) leave(in *insertion) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, in)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	select {
	case <-in.turn:
		q.lead()
	default:
	}
	return true
}

// lead tells the first in line to go on. The caller holds mu.
func (q *queue) lead() {
	q.leads = len(q.waiting) > 0
	if q.leads {
		close(q.waiting[0].turn)
	}
}

// insert inserts the caller's delivery and those behind it, and has the next one
// go on.
func (q *queue) insert(ctx context.Context) {
	batch := q.take()
	next := sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.lead()
	})
	defer time.AfterFunc(leadTime, next).Stop()
	defer func() {
		for _, in := range batch {
			close(in.done)
		}
		next()
	}()
	for _, in := range batch {
		in.err = errPanicked
	}
	// The others' deliveries must not depend on the caller's context.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	q.insertBatch(ctx, batch)
}

var errPanicked = errors.New("bridgeriver: a hook or middleware of the client panicked")

// take takes the next batch out of the line.
func (q *queue) take() []*insertion {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < min(len(q.waiting), maxBatch) {
		size += len(q.waiting[n].args.Body)
		if n > 0 && size > maxBatchSize {
			break
		}
		n++
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return batch
}

// insertBatch inserts each id of the batch once: River refuses others.
func (q *queue) insertBatch(ctx context.Context, batch []*insertion) {
	params := make([]river.InsertManyParams, 0, len(batch))
	first := make([]*insertion, 0, len(batch))
	known := make(map[string]bool, len(batch))
	for _, in := range batch {
		if !known[in.args.ID] {
			known[in.args.ID] = true
			params, first = append(params, river.InsertManyParams{Args: in.args}), append(first, in)
		}
	}
	results, err := q.insertMany(ctx, params)
	if err == nil && len(results) != len(params) { // an insert middleware can do that
		err = fmt.Errorf("%d jobs instead of %d", len(results), len(params))
	}
	if err != nil {
		err = fmt.Errorf("bridgeriver: insert: %w", err)
	}
	for _, in := range batch {
		in.err = err
	}
	if err != nil {
		return
	}
	for i, in := range first {
		in.stored = !results[i].UniqueSkippedAsDuplicate
	}
}
