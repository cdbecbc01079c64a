package bridge_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/ledgertest"
)

func TestMemoryLedger(t *testing.T) {
	t.Parallel()
	ledgertest.Run(t, func(*testing.T) []bridge.Ledger { return []bridge.Ledger{bridge.NewMemoryLedger(0, 0)} })
}

func TestMemoryLedgerForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ledgertest.Forgotten(t, bridge.NewMemoryLedger(0, 0), func() { time.Sleep(97 * time.Hour) })
	})
}

// write claims an entity, checks what is known of it, and writes a state.
func write(t *testing.T, l *bridge.MemoryLedger, delivery, key, want, state string) {
	t.Helper()
	claimed, err := l.Claim(t.Context(), bridge.Claim{Delivery: delivery, Lease: time.Minute, Entities: []string{key}})
	require.NoError(t, err)
	require.Equal(t, bridge.ClaimGranted, claimed.Status)
	require.Equal(t, want, string(claimed.Entities[0].State), key)
	require.NoError(t, l.Save(t.Context(), bridge.Progress{
		Delivery: delivery, Attempt: claimed.Attempt, Held: []string{key}, Outcome: bridge.OutcomeDone,
		Entities: []bridge.Entity{{Key: key, State: []byte(state)}},
	}))
}

// TestMemoryLedgerStates: states of all sizes are kept, also when a short one
// takes the place of a long one and when there are more entities than a block
// holds.
func TestMemoryLedgerStates(t *testing.T) {
	t.Parallel()
	const entities = 1000
	l := bridge.NewMemoryLedger(0, entities)
	last := make([]string, entities)
	for round := range 4 {
		for i := range entities {
			state := strings.Repeat(string(rune('a'+round)), (i*7+round*150)%400)
			write(t, l, fmt.Sprintf("%d/%d", round, i), fmt.Sprintf("user/%d", i), last[i], state)
			last[i] = state
		}
	}
}

// TestMemoryLedgerForgetsTheOldest: what was written again since its turn came
// stays when others are forgotten.
func TestMemoryLedgerForgetsTheOldest(t *testing.T) {
	t.Parallel()
	l := bridge.NewMemoryLedger(0, 300)
	long := strings.Repeat("x", 1000)
	for i := range 300 {
		write(t, l, fmt.Sprintf("first/%d", i), fmt.Sprintf("user/%d", i), "", long)
	}
	for i := range 100 {
		write(t, l, fmt.Sprintf("again/%d", i), fmt.Sprintf("user/%d", i), long, "again")
	}
	for i := range 200 {
		write(t, l, fmt.Sprintf("new/%d", i), fmt.Sprintf("user/new%d", i), "", "new")
	}
	for i := range 100 {
		write(t, l, fmt.Sprintf("kept/%d", i), fmt.Sprintf("user/%d", i), "again", "kept")
	}
	for i := range 200 {
		write(t, l, fmt.Sprintf("known/%d", i), fmt.Sprintf("user/new%d", i), "new", "known")
	}
	for i := 100; i < 300; i++ {
		write(t, l, fmt.Sprintf("forgotten/%d", i), fmt.Sprintf("user/%d", i), "", "back")
	}
}

// TestMemoryLedgerForgetsDeliveries: an entity whose holder never came back is
// known to have crashed also when the holder is forgotten, and a deletion stays.
func TestMemoryLedgerForgetsDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := bridge.NewMemoryLedger(1, 0)
		write(t, l, "0", "user/1", "", "state")
		claim := bridge.Claim{Delivery: "1", Lease: time.Minute, Entities: []string{"user/1"}, Bury: "user/1"}
		_, err := l.Claim(t.Context(), claim)
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		write(t, l, "2", "user/2", "", "")
		require.ErrorIs(t, l.Save(t.Context(), bridge.Progress{Delivery: "1", Attempt: 1, Held: claim.Entities}), bridge.ErrClaimLost)

		claimed, err := l.Claim(t.Context(), bridge.Claim{Delivery: "3", Lease: time.Minute, Entities: []string{"user/1"}})
		require.NoError(t, err)
		assert.Equal(t, []bridge.Entity{{Key: "user/1", Gone: true, Crashed: true, State: []byte("state")}}, claimed.Entities)
		require.NoError(t, l.Save(t.Context(), bridge.Progress{
			Delivery: "3", Attempt: 1, Held: claim.Entities, Outcome: bridge.OutcomeTransient,
		}))
		claimed, err = l.Claim(t.Context(), bridge.Claim{Delivery: "3", Lease: time.Minute, Entities: []string{"user/1"}})
		require.NoError(t, err)
		assert.False(t, claimed.Entities[0].Crashed, "the last holder has given it back")
	})
}

// TestMemoryLedgerForgetsWhatIsHeld: when others take an entity's place while a
// delivery holds it, its state is kept in another one, and theirs stay.
func TestMemoryLedgerForgetsWhatIsHeld(t *testing.T) {
	t.Parallel()
	l := bridge.NewMemoryLedger(0, 3)
	write(t, l, "1", "user/1", "", "one")
	claim := bridge.Claim{Delivery: "2", Lease: time.Minute, Entities: []string{"user/1"}}
	claimed, err := l.Claim(t.Context(), claim)
	require.NoError(t, err)
	for i := range 3 {
		write(t, l, fmt.Sprintf("new/%d", i), fmt.Sprintf("user/new%d", i), "", "new")
	}
	require.NoError(t, l.Save(t.Context(), bridge.Progress{
		Delivery: "2", Attempt: claimed.Attempt, Held: claim.Entities, Outcome: bridge.OutcomeDone,
		Entities: []bridge.Entity{{Key: "user/1", State: []byte("two")}},
	}))
	write(t, l, "3", "user/1", "two", "three")
	write(t, l, "again/2", "user/new2", "new", "newer")
	write(t, l, "again/1", "user/new1", "new", "newer")
	write(t, l, "again/0", "user/new0", "", "back")
}

// TestMemoryLedgerFreesStates: long states of entities that are forgotten, and
// those that a short one replaces, do not stay.
//
//nolint:paralleltest // it looks at the memory of the process
func TestMemoryLedgerFreesStates(t *testing.T) {
	const entities, mebibyte = 300, 1 << 20
	l := bridge.NewMemoryLedger(0, 10)
	state := strings.Repeat("x", 100_000)
	for i := range entities {
		write(t, l, strconv.Itoa(i), fmt.Sprintf("user/%d", i), "", state)
	}
	many := bridge.NewMemoryLedger(0, 0)
	for i := range entities {
		key := fmt.Sprintf("user/%d", i)
		write(t, many, strconv.Itoa(i), key, "", state)
		write(t, many, fmt.Sprint(i, "again"), key, state, "short")
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	assert.Less(t, m.HeapAlloc, uint64(20*mebibyte))
	runtime.KeepAlive(l)
	runtime.KeepAlive(many)
}

func TestMemoryLedgerZero(t *testing.T) {
	t.Parallel()
	l := &bridge.MemoryLedger{}
	gone, err := l.Gone(t.Context(), []string{"user/1"})
	require.NoError(t, err)
	assert.Empty(t, gone)
	h := newHandler(t, bridge.Config{Ledger: l})
	d := event("1", "user.created", 10, userAt(10, "A"))
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDuplicate}, outcomes(t, h, d, d))
}
