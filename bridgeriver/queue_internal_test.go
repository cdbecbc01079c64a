package bridgeriver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
)

// TestLeaveHandsOver: a delivery that is told to insert at the moment in which its
// context ends passes that on. Otherwise nobody would insert any more.
func TestLeaveHandsOver(t *testing.T) {
	t.Parallel()
	q := &queue{}
	first, second := &insertion{turn: make(chan struct{})}, &insertion{turn: make(chan struct{})}
	q.join(first)
	q.join(second)
	require.True(t, closed(first.turn))
	require.False(t, closed(second.turn))
	require.True(t, q.leave(first))
	assert.True(t, closed(second.turn))
	require.True(t, q.leave(second))
	third := &insertion{turn: make(chan struct{})}
	q.join(third)
	assert.True(t, closed(third.turn))
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestEnqueueGivesUp: one whose context ends before its turn stores nothing, and
// holds up nobody.
func TestEnqueueGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stored []string
		q := &queue{insertMany: func(_ context.Context, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
			time.Sleep(leadTime - leadTime/10)
			results := make([]*rivertype.JobInsertResult, len(params))
			for i, p := range params {
				stored = append(stored, p.Args.(Args).ID)
				results[i] = &rivertype.JobInsertResult{}
			}
			return results, nil
		}}
		enqueue := func(id string, limit time.Duration) chan error {
			ended := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				_, err := q.Enqueue(ctx, bridge.Delivery{ID: id})
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		first, hasty, patient := enqueue("1", time.Minute), enqueue("2", time.Second/2), enqueue("3", time.Minute)
		require.ErrorIs(t, <-hasty, context.DeadlineExceeded)
		require.NoError(t, <-first)
		require.NoError(t, <-patient)
		assert.Equal(t, []string{"1", "3"}, stored)
	})
}

// TestOneWaits: a delivery that somebody else's open transaction has inserted waits
// for that one, and holds those that come later up for a second only.
func TestOneWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := &queue{insertMany: func(ctx context.Context, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
			results := make([]*rivertype.JobInsertResult, len(params))
			for i, p := range params {
				if p.Args.(Args).ID == "held" {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				results[i] = &rivertype.JobInsertResult{}
			}
			return results, nil
		}}
		started := time.Now()
		held := make(chan error)
		go func() {
			_, err := q.Enqueue(t.Context(), bridge.Delivery{ID: "held"})
			held <- err
		}()
		synctest.Wait()
		for _, id := range []string{"1", "2"} {
			stored, err := q.Enqueue(t.Context(), bridge.Delivery{ID: id})
			require.NoError(t, err)
			assert.True(t, stored)
			assert.Equal(t, leadTime, time.Since(started))
		}
		require.ErrorIs(t, <-held, context.DeadlineExceeded)
		assert.Equal(t, batchTimeout, time.Since(started))
		stored, err := q.Enqueue(t.Context(), bridge.Delivery{ID: "3"})
		require.NoError(t, err)
		assert.True(t, stored)
	})
}
