// Package ledgertest checks that an implementation of [bridge.Ledger] keeps its
// contract:
//
//	func TestLedger(t *testing.T) {
//		ledgertest.Run(t, func(t *testing.T) []bridge.Ledger {
//			db := newDatabase(t)
//			return []bridge.Ledger{openLedger(t, db), openLedger(t, db)}
//		})
//	}
package ledgertest

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/clerkknock/bridge"
)

// Run runs the checks as parallel subtests. Each calls open, which returns a
// new and empty ledger: one or more handles on the same store, as several
// processes would have them. A ledger for one process has one.
//
// No check takes longer than a few seconds, unless it fails.
func Run(t *testing.T, open func(t *testing.T) []bridge.Ledger) {
	t.Helper()
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(&scene{t, open(t)})
		})
	}
}

// Forgotten checks what becomes of a finished delivery when the ledger keeps
// only its id. It calls age to make the ledger forget everything else.
func Forgotten(t *testing.T, ledger bridge.Ledger, age func()) {
	t.Helper()
	w := worker{t, ledger}
	c := claim("msg_1", "user/1")
	first := w.grant(c)
	w.finish(c, first, nil)
	age()
	second := w.grant(c)
	if !second.Forgotten || len(second.Steps) != 0 || !second.OpenSince.IsZero() {
		t.Errorf("claimed %+v, want one that is forgotten and has no steps", second)
	}
	w.save(bridge.Progress{Delivery: c.Delivery, Attempt: second.Attempt, Held: c.Entities, Outcome: bridge.OutcomeTransient})
	third := w.grant(c)
	if !third.Forgotten {
		t.Error("not forgotten any more after an attempt that failed")
	}
	w.finish(c, third, nil)
	w.refused(c, bridge.ClaimFinished)
}

// scene is the place of a check: the handles of a new ledger.
type scene struct {
	*testing.T

	ledgers []bridge.Ledger
}

// ends returns the first and the last handle, which may be the same. They stand
// for two processes.
func (t *scene) ends() (a, b worker) {
	return worker{t, t.ledgers[0]}, worker{t, t.ledgers[len(t.ledgers)-1]}
}

// The leases of the checks: one that does not end, and one that ends soon.
const (
	lease = time.Minute
	brief = 50 * time.Millisecond
	// patience is how long a check waits for what must happen.
	patience = 20 * time.Second
)

// claim asks for a delivery and entities.
func claim(delivery string, entities ...string) bridge.Claim {
	return bridge.Claim{
		Delivery: delivery, EventType: "user.updated", ReceivedAt: time.Now(), Lease: lease, Entities: entities,
	}
}

func briefly(c bridge.Claim) bridge.Claim {
	c.Lease = brief
	return c
}

func reading(c bridge.Claim, keys ...string) bridge.Claim {
	c.Reads = keys
	return c
}

func burying(c bridge.Claim) bridge.Claim {
	c.Bury = c.Entities[0]
	return c
}

// worker uses one handle and fails the test when that errs.
type worker struct {
	t      testing.TB
	ledger bridge.Ledger
}

func (w worker) claim(c bridge.Claim) bridge.Claimed {
	w.t.Helper()
	claimed, err := w.ledger.Claim(w.t.Context(), c)
	if err != nil {
		w.t.Fatalf("claim %s: %v", c.Delivery, err)
	}
	return claimed
}

// grant claims what is to be had at once.
func (w worker) grant(c bridge.Claim) bridge.Claimed {
	w.t.Helper()
	claimed := w.claim(c)
	if claimed.Status != bridge.ClaimGranted {
		w.t.Fatalf("claimed %s: %+v, want it granted", c.Delivery, claimed)
	}
	return claimed
}

// await claims until it is granted.
func (w worker) await(c bridge.Claim) bridge.Claimed {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		claimed := w.claim(c)
		if claimed.Status == bridge.ClaimGranted {
			return claimed
		}
		if claimed.Status == bridge.ClaimFinished || time.Now().After(end) {
			w.t.Fatalf("claimed %s: %+v after %v, want it granted", c.Delivery, claimed, patience)
		}
	}
}

// refused claims what is not to be had.
func (w worker) refused(c bridge.Claim, want bridge.ClaimStatus) {
	w.t.Helper()
	claimed := w.claim(c)
	if claimed.Status != want {
		w.t.Fatalf("claimed %s: %+v, want status %d", c.Delivery, claimed, want)
	}
	if want == bridge.ClaimBusy && (claimed.RetryAfter <= 0 || claimed.RetryAfter > lease) {
		w.t.Errorf("busy for %v, want more than nothing and no more than the lease", claimed.RetryAfter)
	}
	if len(claimed.Steps) != 0 || len(claimed.Entities) != 0 {
		w.t.Errorf("refused with %+v", claimed)
	}
}

func (w worker) save(p bridge.Progress) {
	w.t.Helper()
	if err := w.ledger.Save(w.t.Context(), p); err != nil {
		w.t.Fatalf("save %s: %v", p.Delivery, err)
	}
}

// finish gives a delivery back as done, with a new state of its first entity
// unless that is nil.
func (w worker) finish(c bridge.Claim, claimed bridge.Claimed, state json.RawMessage) {
	w.t.Helper()
	w.release(c, claimed, state, bridge.OutcomeDone)
}

func (w worker) release(c bridge.Claim, claimed bridge.Claimed, state json.RawMessage, outcome bridge.Outcome) {
	w.t.Helper()
	p := bridge.Progress{Delivery: c.Delivery, Attempt: claimed.Attempt, Held: c.Entities, Outcome: outcome}
	if state != nil {
		p.Entities = []bridge.Entity{{Key: c.Entities[0], State: state}}
	}
	w.save(p)
}

func (w worker) gone(key string) bool {
	w.t.Helper()
	return len(w.allGone(key)) > 0
}

// allGone returns what of keys is gone, sorted.
func (w worker) allGone(keys ...string) []string {
	w.t.Helper()
	gone, err := w.ledger.Gone(w.t.Context(), keys)
	if err != nil {
		w.t.Fatalf("gone %s: %v", keys, err)
	}
	return slices.Sorted(slices.Values(gone))
}

// entity returns one of a claim's entities.
func entity(t testing.TB, claimed bridge.Claimed, key string) bridge.Entity {
	t.Helper()
	for _, e := range claimed.Entities {
		if e.Key == key {
			return e
		}
	}
	t.Fatalf("claimed %+v, which lacks %s", claimed, key)
	return bridge.Entity{}
}

// canceled is a context that has ended.
func canceled(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
