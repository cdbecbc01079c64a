package sqlledger

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shop is what a gatherer works with: each item takes a while, alone or together.
// All of it is in a bubble of synctest, which also says when a goroutine is left.
type shop struct {
	*gatherer[int]

	together, alone time.Duration // how long it takes; negative for until the context ends
	poison          int           // it fails, and all that are with it
	mu              sync.Mutex
	written         []int
	shared, single  int
}

var errPoison = errors.New("poison")

const hangs = time.Duration(-1)

func newShop(several bool) *shop {
	s := &shop{poison: -1}
	s.gatherer = newGatherer(func(ctx context.Context, all []int) error {
		if len(all) == 1 {
			return s.work(ctx, s.alone, &s.single, all)
		}
		return s.work(ctx, s.together, &s.shared, all)
	})
	s.several = several
	return s
}

func (s *shop) work(ctx context.Context, takes time.Duration, count *int, all []int) error {
	s.mu.Lock()
	*count++
	s.mu.Unlock()
	var after <-chan time.Time
	if takes >= 0 {
		after = time.After(takes)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-after:
	}
	if slices.Contains(all, s.poison) {
		return errPoison
	}
	s.mu.Lock()
	s.written = append(s.written, all...)
	s.mu.Unlock()
	return nil
}

// answer is what a caller was told, and when.
type answer struct {
	err  error
	took time.Duration
}

// call runs do in a goroutine of its own, and returns once that waits.
func (s *shop) call(ctx context.Context, item int) *answer {
	a := &answer{took: -1}
	began := time.Now()
	go func() {
		err := s.do(ctx, item)
		a.err, a.took = err, time.Since(began)
	}()
	synctest.Wait()
	return a
}

// settle waits until all have been told.
func settle() {
	time.Sleep(time.Minute)
	synctest.Wait()
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func inBubble(t *testing.T, do func(t *testing.T, several bool)) {
	t.Helper()
	for name, several := range map[string]bool{"one at a time": false, "several": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { do(t, several) })
		})
	}
}

// TestGatherWhatHangs: nobody is told later than the end of its context, or than
// the end of the shared attempt that it is in.
func TestGatherWhatHangs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		s := newShop(several)
		s.together, s.alone = hangs, hangs
		answers := make(map[time.Duration]*answer)
		s.call(within(t, 300*time.Millisecond), 0) // the others are together
		for i := range 60 {
			deadline := time.Duration(i+2) * 200 * time.Millisecond
			answers[deadline] = s.call(within(t, deadline), i+1)
		}
		settle()
		for deadline, a := range answers {
			require.ErrorIs(t, a.err, context.DeadlineExceeded)
			assert.Equal(t, max(deadline, 300*time.Millisecond+groupTime), a.took, deadline)
		}
		assert.Empty(t, s.written)
		assert.Empty(t, s.waiting)
	})
}

// TestGatherPoison: one fails, and all others are told as soon as they are done.
func TestGatherPoison(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		s := newShop(several)
		s.together, s.alone, s.poison = 10*time.Millisecond, 100*time.Millisecond, 3
		first := s.call(t.Context(), 0)
		var answers []*answer
		for i := range 5 {
			answers = append(answers, s.call(t.Context(), i+1))
		}
		settle()
		require.NoError(t, first.err)
		var took []time.Duration
		for i, a := range answers {
			if i+1 == s.poison {
				require.ErrorIs(t, a.err, errPoison)
			} else {
				require.NoError(t, a.err)
			}
			took = append(took, a.took)
		}
		slices.Sort(took)
		for i, d := range took {
			assert.Equal(t, 110*time.Millisecond+time.Duration(i+1)*100*time.Millisecond, d)
		}
		assert.ElementsMatch(t, []int{0, 1, 2, 4, 5}, s.written)
	})
}

// TestGatherEndsInTheQueue: what was not begun is not done.
func TestGatherEndsInTheQueue(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		s := newShop(several)
		s.alone = 500 * time.Millisecond
		first, second := s.call(t.Context(), 1), s.call(within(t, 100*time.Millisecond), 2)
		third := s.call(t.Context(), 3)
		settle()
		require.NoError(t, first.err)
		require.ErrorIs(t, second.err, context.DeadlineExceeded)
		require.EqualError(t, second.err, "wait for the other writers: context deadline exceeded")
		assert.Equal(t, 100*time.Millisecond, second.took)
		require.NoError(t, third.err)
		assert.Equal(t, []int{1, 3}, s.written)

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 {
			require.ErrorIs(t, s.do(ended, 4), context.Canceled)
		}
		assert.Equal(t, []int{1, 3}, s.written)
	})
}

// TestGatherEndsAtItsTurn: whoever gets the turn in the moment that its context ends
// leads nobody, and what it wants is not done with what the others want.
func TestGatherEndsAtItsTurn(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		s := newShop(several)
		s.together, s.alone = 10*time.Millisecond, 10*time.Millisecond
		ended, cancel := context.WithCancel(t.Context())
		s.turn <- struct{}{}
		other := s.call(t.Context(), 1)
		late := &waiter[int]{what: 2, decided: make(chan struct{})}
		s.waiting = append(s.waiting, late)
		cancel()
		require.ErrorIs(t, s.gatherer.work(ended, late), context.Canceled)
		settle()
		require.NoError(t, other.err)
		assert.Equal(t, []int{1}, s.written)
		assert.Zero(t, s.shared)
	})
}

// TestGatherEndsTogether: who leads and who follows are told what became of theirs
// when their contexts end meanwhile, and the others notice nothing.
func TestGatherEndsTogether(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		s := newShop(several)
		s.together, s.alone = 500*time.Millisecond, 100*time.Millisecond
		s.call(t.Context(), 0)
		ctx := within(t, 200*time.Millisecond) // 100 ms of the shared attempt
		answers := []*answer{s.call(ctx, 1), s.call(ctx, 2), s.call(t.Context(), 3)}
		settle()
		for _, a := range answers {
			require.NoError(t, a.err)
			assert.Equal(t, 600*time.Millisecond, a.took)
		}
		assert.ElementsMatch(t, []int{0, 1, 2, 3}, s.written)
		assert.Equal(t, 1, s.shared)

		s.poison, s.written = 6, nil
		s.call(t.Context(), 0)
		ctx = within(t, 200*time.Millisecond)
		answers = []*answer{s.call(ctx, 4), s.call(ctx, 5), s.call(t.Context(), 6), s.call(t.Context(), 7)}
		settle()
		for _, a := range answers[:2] {
			require.ErrorIs(t, a.err, context.DeadlineExceeded)
			assert.Equal(t, 600*time.Millisecond, a.took, "when it is known that nothing was written")
		}
		require.ErrorIs(t, answers[2].err, errPoison)
		require.NoError(t, answers[3].err)
		assert.ElementsMatch(t, []int{0, 7}, s.written)
	})
}

// TestGatherEndsAlone: its context ends after the shared attempt, while it waits
// for its turn or while it has it.
func TestGatherEndsAlone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		s := newShop(several)
		s.together, s.alone, s.poison = 100*time.Millisecond, 300*time.Millisecond, 9
		s.call(t.Context(), 0)
		// From 400 ms on there is one after another, the first that is called first.
		const inTurn, waits = 450 * time.Millisecond, 500 * time.Millisecond
		answers := []*answer{s.call(within(t, inTurn), 1), s.call(t.Context(), 9)}
		for i := range 6 {
			answers = append(answers, s.call(within(t, waits), i+2))
		}
		last := s.call(t.Context(), 8)
		settle()
		require.ErrorIs(t, answers[1].err, errPoison)
		for i, a := range answers {
			if i != 1 {
				require.ErrorIs(t, a.err, context.DeadlineExceeded)
				assert.Equal(t, map[bool]time.Duration{true: inTurn, false: waits}[i == 0], a.took)
			}
		}
		require.NoError(t, last.err)
		assert.ElementsMatch(t, []int{0, 8}, s.written)
	})
}

// TestGatherBesideOneThatHangs: where several can be at work, one that hangs holds
// the others up for a moment only, whether it was with them or not.
func TestGatherBesideOneThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(true)
		s.together, s.alone = 10*time.Millisecond, hangs
		first := s.call(within(t, 12*time.Second), 1)
		others := []*answer{s.call(t.Context(), 2), s.call(t.Context(), 3)}
		settle()
		require.ErrorIs(t, first.err, context.DeadlineExceeded)
		for _, a := range others {
			require.NoError(t, a.err)
			assert.Equal(t, groupTime+10*time.Millisecond, a.took)
		}
		assert.Empty(t, s.turn)
	})
}

// TestGatherMany: more wait than can be done at once, and whoever leads is among
// those that it leads.
func TestGatherMany(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		s := newShop(several)
		s.together, s.alone = 10*time.Millisecond, 10*time.Millisecond
		const n = 3*maxGroup + 1
		var answers []*answer
		for i := range n {
			answers = append(answers, s.call(t.Context(), i))
		}
		settle()
		for _, a := range answers {
			require.NoError(t, a.err)
			assert.LessOrEqual(t, a.took, 40*time.Millisecond)
		}
		assert.Len(t, s.written, n)
		assert.Equal(t, 3, s.shared)
		assert.Equal(t, 1, s.single)
	})
}

// TestGatherPanic: the others are done all the same.
func TestGatherPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written, panics atomic.Int32
		work := func(_ context.Context, all []int) error {
			time.Sleep(time.Millisecond)
			if slices.Contains(all, 1) {
				panic("a driver's")
			}
			written.Add(int32(len(all)))
			return nil
		}
		g := newGatherer(work)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				defer func() {
					if recover() != nil {
						panics.Add(1)
					}
				}()
				assert.NoError(t, g.do(t.Context(), i))
			})
		}
		wg.Wait()
		assert.Positive(t, panics.Load())
		assert.Equal(t, int32(6), written.Load()+panics.Load())
		require.NoError(t, g.do(t.Context(), 7))
	})
}

// TestGatherAnyOrder: whoever is told that it is done is, once, and whoever is not
// in time is told so.
func TestGatherAnyOrder(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, several bool) {
		t.Helper()
		var mu sync.Mutex
		written := make(map[int]int)
		work := func(ctx context.Context, all []int) error {
			takes := time.Duration(rand.IntN(20)) * time.Millisecond
			if rand.IntN(20) == 0 {
				takes = 2 * groupTime
			}
			select {
			case <-time.After(takes):
			case <-ctx.Done():
				return ctx.Err()
			}
			if rand.IntN(4) == 0 {
				return errPoison
			}
			mu.Lock()
			defer mu.Unlock()
			for _, i := range all {
				written[i]++
			}
			return nil
		}
		g := newGatherer(work)
		g.several = several
		var wg sync.WaitGroup
		for i := range 2000 {
			time.Sleep(time.Duration(rand.IntN(2)) * time.Millisecond)
			deadline := time.Duration(rand.IntN(3000)) * time.Millisecond
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				began := time.Now()
				err := g.do(ctx, i)
				assert.LessOrEqual(t, time.Since(began), deadline+groupTime)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					assert.Equal(t, 1, written[i])
				} else {
					assert.Zero(t, written[i])
				}
			})
		}
		wg.Wait()
		assert.NotEmpty(t, written)
		assert.Empty(t, g.waiting)
		time.Sleep(groupTime)
		assert.Empty(t, g.turn)
	})
}
