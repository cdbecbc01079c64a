package bridge_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/history"
)

// dying is one process that may die: from then on nothing it does has any
// effect.
type dying struct {
	bridge.Ledger

	ops  atomic.Int64 // until it dies
	next actions.Transport
}

var errDead = errors.New("the process is dead")

func (d *dying) alive() bool { return d.ops.Add(-1) > 0 }

func (d *dying) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	if !d.alive() {
		return nil, errDead
	}
	res, err := d.next.Do(ctx, r)
	if !d.alive() {
		return nil, errDead // Knock has done it, and nobody knows
	}
	return res, err
}

func (d *dying) Claim(ctx context.Context, c bridge.Claim) (bridge.Claimed, error) {
	if !d.alive() {
		return bridge.Claimed{}, errDead
	}
	claimed, err := d.Ledger.Claim(ctx, c)
	if !d.alive() {
		return bridge.Claimed{}, errDead
	}
	return claimed, err
}

func (d *dying) Save(ctx context.Context, p bridge.Progress) error {
	if !d.alive() {
		return errDead
	}
	err := d.Ledger.Save(ctx, p)
	if !d.alive() {
		return errDead
	}
	return err
}

// TestHistories plays histories in any order, doubled, on several workers that
// die, against a Knock that fails, until everything is acknowledged, and holds
// the end against that of the ordered history.
func TestHistories(t *testing.T) {
	t.Parallel()
	seeds := 6
	if testing.Short() {
		seeds = 1
	}
	for seed := range uint64(seeds) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			deliveries := history.New(seed, 40, 5, 600)
			ordered := bridgetest.NewKnock(t)
			cfg := history.Config()
			cfg.Knock = ordered.Transport()
			for i, o := range outcomes(t, newHandler(t, cfg), deliveries...) {
				require.True(t, o.OK(), "%s: %s", deliveries[i].Body, o)
			}
			playHistory(t, seed, deliveries, history.Told(ordered))
		})
	}
}

func playHistory(t *testing.T, seed uint64, deliveries []bridge.Delivery, want map[string]any) {
	t.Helper()
	const workers = 8
	r := rand.New(rand.NewPCG(seed, 2))
	knock := bridgetest.NewKnock(t)
	ledger := bridge.NewMemoryLedger(0, 0)
	pending := make(map[string]bridge.Delivery, len(deliveries))
	for _, d := range deliveries {
		pending[d.ID] = d
	}
	var calls, deaths int
	for round := 0; len(pending) > 0; round++ {
		require.Less(t, round, 200, "%d deliveries are never acknowledged", len(pending))
		var queue []bridge.Delivery
		for range 2 {
			queue = append(queue, slices.Collect(maps.Values(pending))...)
		}
		r.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
		if round < 3 {
			knock.Fail(len(deliveries)/20, bridgetest.Fault{Status: http.StatusServiceUnavailable, Applied: r.IntN(2) == 0})
		}
		var mu sync.Mutex
		var acknowledged []string
		var wg sync.WaitGroup
		for w := range workers {
			transport := &actions.HTTP{APIKey: "sk_test", BaseURL: knock.URL, MaxAttempts: 1}
			p := &dying{next: transport, Ledger: ledger}
			p.ops.Store(1 << 40)
			if round < 3 {
				p.ops.Store(r.Int64N(int64(8 * len(deliveries) / workers)))
				deaths++
			}
			cfg := history.Config()
			cfg.Knock, cfg.Ledger, cfg.Timeout = p, p, 400*time.Millisecond
			h := newHandler(t, cfg)
			part := queue[w*len(queue)/workers : (w+1)*len(queue)/workers]
			wg.Go(func() {
				defer transport.CloseIdleConnections()
				for _, d := range part {
					res, _ := h.Process(t.Context(), d)
					if p.ops.Load() <= 0 {
						return
					}
					if res.Outcome.OK() {
						mu.Lock()
						acknowledged = append(acknowledged, d.ID)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		for _, id := range acknowledged {
			delete(pending, id)
		}
		calls = len(knock.Calls())
	}
	assert.Equal(t, want, history.Told(knock), "I1, I2, I3")
	t.Logf("%d deliveries, %d deaths, %d calls", len(deliveries), deaths, calls)
}
