package ledgertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clerkknock/bridge"
)

var checks = map[string]func(t *scene){
	"a new delivery":                            newDelivery,
	"a delivery that is worked on":              busyDelivery,
	"steps":                                     steps,
	"a delivery that failed":                    failedDelivery,
	"a finished delivery":                       finishedDelivery,
	"a delivery taken over":                     takenOver,
	"a save and a takeover at once":             saveRace,
	"a late save":                               lateSave,
	"a save without a claim":                    saveWithoutClaim,
	"an entity at work":                         busyEntity,
	"all or nothing":                            allOrNothing,
	"an entity taken over":                      entityTakenOver,
	"states":                                    states,
	"the first attempt without a save":          openSince,
	"a deletion":                                deletion,
	"a deletion waits for what is below":        deletionWaits,
	"a deletion while its delivery is busy":     deletionBusy,
	"a deletion and an entity below it at once": deletionRace,
	"one delivery claimed by many":              manyClaims,
	"one entity changed by many":                manyWriters,
	"entities in any order":                     anyOrder,
	"odd ids":                                   oddIDs,
	"odd steps":                                 oddSteps,
	"a context that has ended":                  endedContext,
}

func newDelivery(t *scene) {
	a, _ := t.ends()
	c := reading(claim("msg_1", "organization/1/user/1", "user/1"), "organization/1")
	claimed := a.grant(c)
	if claimed.Attempt != 1 || !claimed.OpenSince.IsZero() || claimed.Forgotten || len(claimed.Steps) != 0 || claimed.Now.IsZero() {
		t.Errorf("claimed %+v, want the first attempt and nothing known", claimed)
	}
	if len(claimed.Entities) != 3 {
		t.Errorf("entities %+v, want 3", claimed.Entities)
	}
	for _, key := range append(c.Entities, c.Reads...) {
		if e := entity(t, claimed, key); e.Gone || e.Crashed || len(e.State) != 0 {
			t.Errorf("entity %+v, want its key alone", e)
		}
	}
	if a.grant(claim("msg_2")).Attempt != 1 { // no entities at all
		t.Error("not the first attempt")
	}
	zero := claim("msg_3")
	zero.ReceivedAt, zero.EventType = time.Time{}, ""
	a.finish(zero, a.grant(zero), nil)
}

func busyDelivery(t *scene) {
	a, b := t.ends()
	c := claim("msg_1")
	claimed := a.grant(c)
	b.refused(c, bridge.ClaimBusy)
	a.refused(c, bridge.ClaimBusy)
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: claimed.Attempt}) // the work goes on
	b.refused(c, bridge.ClaimBusy)
	a.finish(c, claimed, nil)
	b.refused(c, bridge.ClaimFinished)
}

// sampleSteps are a step of each shape.
func sampleSteps(now time.Time) []bridge.StepRecord {
	return []bridge.StepRecord{
		{
			Name: "workflows.trigger:welcome", Kind: "workflows_trigger", Done: true, StartedAt: now, Duration: 1234567 * time.Nanosecond,
			Status: 200, RequestID: "req_1", Attempts: 2, Result: json.RawMessage(`"run_<1> & \u0000 é"`),
		},
		{Name: "a name that sorts before", Kind: "step", StartedAt: now.Add(-time.Hour)},
		{Name: "users.identify:user_1", Kind: "users_identify", Done: true, StartedAt: now.Add(time.Second), Duration: 25 * time.Hour, Status: 404},
	}
}

func checkSteps(t testing.TB, got, want []bridge.StepRecord) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("steps %+v, want %+v", got, want)
	}
	for i, g := range got {
		w := want[i]
		if g.StartedAt.Sub(w.StartedAt).Abs() >= time.Millisecond {
			t.Errorf("step %d started at %v, want %v", i, g.StartedAt, w.StartedAt)
		}
		if (g.Duration - w.Duration).Abs() >= time.Millisecond {
			t.Errorf("step %d took %v, want %v", i, g.Duration, w.Duration)
		}
		if string(g.Result) != string(w.Result) {
			t.Errorf("step %d has result %q, want %q", i, g.Result, w.Result)
		}
		if g.Name != w.Name || g.Kind != w.Kind || g.Done != w.Done || g.Status != w.Status ||
			g.RequestID != w.RequestID || g.Attempts != w.Attempts {
			t.Errorf("step %d is %+v, want %+v", i, g, w)
		}
	}
}

func steps(t *scene) {
	a, b := t.ends()
	c := claim("msg_1", "user/1")
	first := a.grant(c)
	want := sampleSteps(first.Now)
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: 1, Held: c.Entities, Steps: want[:1]})
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: 1, Held: c.Entities, Steps: want, Outcome: bridge.OutcomeTransient})
	checkSteps(t, b.grant(c).Steps, want)
	// An attempt that changes nothing keeps what it got.
	b.save(bridge.Progress{Delivery: "msg_1", Attempt: 2, Held: c.Entities, Steps: want[1:], Outcome: bridge.OutcomeRejected})
	checkSteps(t, a.grant(c).Steps, want[1:])
}

func failedDelivery(t *scene) {
	a, b := t.ends()
	for i, outcome := range []bridge.Outcome{
		bridge.OutcomeTransient, bridge.OutcomeRejected, bridge.OutcomeMisconfigured, bridge.OutcomePermanent, bridge.OutcomeMalformed,
	} {
		c := claim(fmt.Sprintf("msg_%d", i), "user/1")
		a.release(c, a.grant(c), nil, outcome)
		again := b.grant(c)
		if again.Attempt != 2 || again.Forgotten || !again.OpenSince.IsZero() {
			t.Errorf("after %q claimed %+v, want the second attempt", outcome, again)
		}
		if entity(t, again, "user/1").Crashed {
			t.Errorf("after %q the entity counts as crashed", outcome)
		}
		b.finish(c, again, nil)
	}
}

func finishedDelivery(t *scene) {
	a, b := t.ends()
	for i, outcome := range []bridge.Outcome{
		bridge.OutcomeDone, bridge.OutcomeIgnored, bridge.OutcomeDuplicate, bridge.OutcomeStale, bridge.OutcomeUnchanged,
	} {
		c := claim(fmt.Sprintf("msg_%d", i), "user/1")
		a.release(c, a.grant(c), nil, outcome)
		b.refused(c, bridge.ClaimFinished)
		a.refused(c, bridge.ClaimFinished)
	}
}

// lost checks that nothing of p can be saved.
func lost(w worker, p bridge.Progress) {
	w.t.Helper()
	for _, outcome := range []bridge.Outcome{"", bridge.OutcomeTransient, bridge.OutcomeDone} {
		p.Outcome = outcome
		if err := w.ledger.Save(w.t.Context(), p); !errors.Is(err, bridge.ErrClaimLost) {
			w.t.Errorf("save of attempt %d with outcome %q returns %v, want ErrClaimLost", p.Attempt, outcome, err)
		}
	}
}

func takenOver(t *scene) {
	a, b := t.ends()
	c := claim("msg_1", "user/1")
	first := a.grant(briefly(c))
	kept := sampleSteps(first.Now)
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: 1, Held: c.Entities, Steps: kept})
	second := b.await(c)
	if second.Attempt != 2 {
		t.Errorf("attempt %d, want 2", second.Attempt)
	}
	checkSteps(t, second.Steps, kept)
	lost(a, bridge.Progress{
		Delivery: "msg_1", Attempt: 1, Held: c.Entities, Steps: kept[:1],
		Entities: []bridge.Entity{{Key: "user/1", State: json.RawMessage(`"late"`)}},
	})
	a.refused(c, bridge.ClaimBusy)
	b.release(c, second, nil, bridge.OutcomeTransient)
	third := a.grant(c)
	if third.Attempt != 3 || len(entity(t, third, "user/1").State) != 0 {
		t.Errorf("claimed %+v, want the third attempt and no state", third)
	}
	if len(third.Steps) != 0 { // as b saved none
		t.Errorf("steps %+v, want none", third.Steps)
	}
}

// saveRace: of a late save and a takeover of the delivery or of its entity, the
// one fails or the other sees what was saved.
func saveRace(t *scene) {
	a, b := t.ends()
	for i := range 60 {
		c := claim(fmt.Sprintf("msg_%d", i), fmt.Sprintf("user/%d", i))
		next := c
		if i%2 == 0 {
			next.Delivery = fmt.Sprintf("other_%d", i)
		}
		c.Lease = time.Millisecond
		claimed := a.grant(c)
		time.Sleep(2 * time.Millisecond)
		p := bridge.Progress{
			Delivery: c.Delivery, Attempt: claimed.Attempt, Held: c.Entities, Steps: sampleSteps(claimed.Now)[:1],
			Entities: []bridge.Entity{{Key: c.Entities[0], State: json.RawMessage(`"saved"`)}},
		}
		var saved error
		var taken bridge.Claimed
		var wg sync.WaitGroup
		wg.Go(func() { saved = a.ledger.Save(t.Context(), p) })
		wg.Go(func() { taken = b.insist(next) })
		wg.Wait()
		if t.Failed() {
			return
		}
		if saved != nil && !errors.Is(saved, bridge.ErrClaimLost) {
			t.Fatalf("save: %v", saved)
		}
		told := string(entity(t, taken, c.Entities[0]).State) == `"saved"`
		if i%2 != 0 && told != (len(taken.Steps) == 1) {
			t.Fatalf("half of what was saved is seen: %+v", taken)
		}
		if told != (saved == nil) {
			t.Fatalf("the save returns %v, and the next one sees it: %t", saved, told)
		}
	}
}

// lateSave: a lease that ran out still holds as long as nobody takes over.
func lateSave(t *scene) {
	a, b := t.ends()
	c := claim("msg_1", "user/1")
	c.Lease = time.Millisecond
	claimed := a.grant(c)
	time.Sleep(20 * time.Millisecond)
	a.finish(c, claimed, json.RawMessage(`{"v":1}`))
	b.refused(c, bridge.ClaimFinished)
}

func saveWithoutClaim(t *scene) {
	a, b := t.ends()
	lost(a, bridge.Progress{Delivery: "msg_1", Attempt: 1})
	c := claim("msg_1", "user/1")
	claimed := a.grant(c)
	lost(a, bridge.Progress{Delivery: "msg_1", Attempt: 2})
	lost(a, bridge.Progress{Delivery: "msg_1", Attempt: 1, Held: []string{"user/1", "user/2"}})
	a.release(c, claimed, nil, bridge.OutcomeTransient)
	lost(b, bridge.Progress{Delivery: "msg_1", Attempt: 1, Held: c.Entities})
	if again := b.grant(c); again.Attempt != 2 {
		t.Errorf("attempt %d, want 2", again.Attempt)
	}
	for i, outcome := range []bridge.Outcome{bridge.OutcomeTransient, bridge.OutcomeDone} {
		c = claim(fmt.Sprintf("msg_2%d", i)) // no entities
		a.release(c, a.grant(c), nil, outcome)
		lost(b, bridge.Progress{Delivery: c.Delivery, Attempt: 1})
	}
}

func busyEntity(t *scene) {
	a, b := t.ends()
	one, two := claim("msg_1", "user/1"), claim("msg_2", "organization/1/user/1", "user/1")
	claimed := a.grant(one)
	b.refused(two, bridge.ClaimBusy)
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: 1, Held: one.Entities}) // the work goes on
	b.refused(two, bridge.ClaimBusy)
	b.grant(claim("msg_3", "user/2"))
	b.grant(reading(claim("msg_4"), "user/1")) // to read takes nothing
	a.finish(one, claimed, nil)
	if got := b.grant(two); entity(t, got, "user/1").Crashed {
		t.Error("the entity was given back and counts as crashed")
	}
}

func allOrNothing(t *scene) {
	a, b := t.ends()
	one := claim("msg_1", "user/1")
	claimed := a.grant(one)
	b.refused(claim("msg_2", "organization/1/user/1", "user/1"), bridge.ClaimBusy)
	b.refused(claim("msg_2", "user/1", "user/2"), bridge.ClaimBusy)
	b.grant(claim("msg_3", "organization/1/user/1"))
	b.grant(claim("msg_4", "user/2"))
	a.finish(one, claimed, nil)
	if got := b.grant(claim("msg_2", "user/1")); got.Attempt != 1 || !got.OpenSince.IsZero() || entity(t, got, "user/1").Crashed {
		t.Errorf("claimed %+v: a claim that was refused counts", got)
	}
	// Nor does a delivery that is busy take its entities.
	b.refused(claim("msg_2", "user/9"), bridge.ClaimBusy)
	a.grant(claim("msg_5", "user/9"))
}

func entityTakenOver(t *scene) {
	a, b := t.ends()
	one, two := claim("msg_1", "organization/1/user/1", "user/1"), claim("msg_2", "user/1")
	first := a.grant(briefly(one))
	a.save(bridge.Progress{
		Delivery: "msg_1", Attempt: 1, Held: one.Entities, Entities: []bridge.Entity{{Key: "user/1", State: json.RawMessage(`"a"`)}},
	})
	second := b.await(two)
	if e := entity(t, second, "user/1"); !e.Crashed || string(e.State) != `"a"` {
		t.Errorf("entity %+v, want it crashed with its last state", e)
	}
	lost(a, bridge.Progress{
		Delivery: "msg_1", Attempt: first.Attempt, Held: one.Entities, Steps: sampleSteps(first.Now),
		Entities: []bridge.Entity{{Key: "user/1", State: json.RawMessage(`"late"`)}},
	})
	a.refused(claim("msg_3", "user/1"), bridge.ClaimBusy)
	b.finish(two, second, nil)
	third := a.grant(claim("msg_3", "user/1"))
	if e := entity(t, third, "user/1"); e.Crashed || string(e.State) != `"a"` {
		t.Errorf("entity %+v, want it given back with its last state", e)
	}
	a.finish(claim("msg_3", "user/1"), third, nil)

	fourth := b.await(one) // the other entity's lease has run out, too
	if fourth.Attempt != 2 || len(fourth.Steps) != 0 {
		t.Errorf("claimed %+v, want the second attempt without steps", fourth)
	}
	if !entity(t, fourth, "organization/1/user/1").Crashed || entity(t, fourth, "user/1").Crashed {
		t.Errorf("entities %+v, want only the membership crashed", fourth.Entities)
	}
}

func states(t *scene) {
	a, b := t.ends()
	one := claim("msg_1", "user/1", "user/2")
	first := a.grant(one)
	state := json.RawMessage(`{"f":1,"m":{"v":1760000000000},"sent":"a<b>&\\ \"é\u2028","live":{}}`)
	a.save(bridge.Progress{ // also before the outcome is known
		Delivery: "msg_1", Attempt: 1, Held: one.Entities,
		Entities: []bridge.Entity{{Key: "user/1", State: json.RawMessage(`{}`)}, {Key: "user/2", State: json.RawMessage(`"2"`)}},
	})
	a.release(one, first, state, bridge.OutcomeTransient) // also when the delivery failed
	for i, w := range []worker{b, a, b} {
		c := reading(claim(fmt.Sprintf("msg_2%d", i), "user/1"), "user/2", "user/3")
		claimed := w.grant(c)
		if got := entity(t, claimed, "user/1").State; string(got) != string(state) {
			t.Errorf("state %s, want %s", got, state)
		}
		if got := entity(t, claimed, "user/2").State; string(got) != `"2"` {
			t.Errorf("the state that is only read is %s", got)
		}
		if e := entity(t, claimed, "user/3"); e.Gone || len(e.State) != 0 {
			t.Errorf("an entity never seen is %+v", e)
		}
		w.finish(c, claimed, nil)
	}
	third := claim("msg_3", "user/1")
	long := json.RawMessage(`"` + strings.Repeat("x", 10_000) + `"`)
	a.finish(third, a.grant(third), long)
	if got := entity(t, b.grant(claim("msg_4", "user/1")), "user/1").State; string(got) != string(long) {
		t.Errorf("a state of 10 KB came back as one of %d bytes", len(got))
	}
}

func openSince(t *scene) {
	a, b := t.ends()
	c := claim("msg_1")
	first := a.grant(briefly(c))
	second := b.await(briefly(c))
	near := func(what string, got, want time.Time) {
		t.Helper()
		if got.Sub(want).Abs() > 5*time.Millisecond {
			t.Errorf("%s: open since %v, want %v", what, got, want)
		}
	}
	near("one attempt lost", second.OpenSince, first.Now)
	third := a.await(briefly(c))
	near("two attempts lost", third.OpenSince, first.Now)
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: third.Attempt})
	fourth := b.await(c)
	if !fourth.OpenSince.IsZero() {
		t.Errorf("open since %v after a save", fourth.OpenSince)
	}
	b.release(c, fourth, nil, bridge.OutcomeTransient)
	fifth := a.grant(briefly(c))
	if !fifth.OpenSince.IsZero() {
		t.Errorf("open since %v after an attempt that was given back", fifth.OpenSince)
	}
	sixth := b.await(c)
	near("lost after a save", sixth.OpenSince, fifth.Now)
	if sixth.Attempt != 6 {
		t.Errorf("attempt %d, want 6", sixth.Attempt)
	}
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: sixth.Attempt, OpenSince: sixth.OpenSince, Outcome: bridge.OutcomeTransient})
	seventh := b.grant(c)
	near("handed back by a save", seventh.OpenSince, fifth.Now)
}

func deletion(t *scene) {
	a, b := t.ends()
	if a.gone("user/1") {
		t.Error("an entity never seen is gone")
	}
	write := claim("msg_1", "user/1")
	a.finish(write, a.grant(write), json.RawMessage(`{"v":1}`))
	bury := burying(claim("msg_2", "user/1"))
	claimed := a.grant(bury)
	if !entity(t, claimed, "user/1").Gone || !b.gone("user/1") {
		t.Error("not gone when granted")
	}
	a.finish(bury, claimed, json.RawMessage(`{"v":2}`))
	later := reading(claim("msg_3", "user/1"), "user/2")
	got := b.grant(later)
	if e := entity(t, got, "user/1"); !e.Gone || string(e.State) != `{"v":2}` {
		t.Errorf("entity %+v, want it gone with its state", e)
	}
	b.finish(later, got, json.RawMessage(`{"v":3}`)) // a state does not bring it back
	if got := a.allGone("user/1", "user/2", "user/", "user/1/x"); !slices.Equal(got, []string{"user/1"}) {
		t.Errorf("gone of several: %q", got)
	}
	if got := a.allGone(); len(got) > 0 {
		t.Errorf("gone of none: %q", got)
	}
	if a.gone("user/2") || a.gone("user/") || a.gone("user/1/x") {
		t.Error("want user/1 gone and nothing else")
	}
	if e := entity(t, a.grant(reading(claim("msg_4"), "user/1")), "user/1"); !e.Gone || string(e.State) != `{"v":3}` {
		t.Errorf("read %+v, want it gone", e)
	}
}

func deletionWaits(t *scene) {
	a, b := t.ends()
	member := reading(claim("msg_1", "organization/1/user/1", "user/1"), "organization/1")
	claimed := a.grant(member)
	// None of these is below organization/1.
	for i, key := range []string{"organization/10", "organization/1-", "organization/", "organization/10/user/1", "a/organization/1/b"} {
		a.grant(claim(fmt.Sprintf("msg_2%d", i), key))
	}
	bury := burying(claim("msg_3", "organization/1"))
	b.refused(bury, bridge.ClaimBusy)
	if !a.gone("organization/1") {
		t.Error("not gone when refused as busy")
	}
	late := reading(claim("msg_4", "organization/1/user/2", "user/2"), "organization/1")
	lateClaim := a.grant(late)
	if !entity(t, lateClaim, "organization/1").Gone {
		t.Error("one that comes later is not told that the organization is gone")
	}
	a.finish(member, claimed, nil)
	b.refused(bury, bridge.ClaimBusy) // for msg_4
	a.finish(late, lateClaim, nil)
	b.finish(bury, b.grant(bury), nil)

	crashed := claim("msg_5", "organization/2/user/1")
	a.grant(briefly(crashed))
	b.await(burying(claim("msg_6", "organization/2")))
}

func deletionBusy(t *scene) {
	a, b := t.ends()
	held := claim("msg_1", "user/1")
	a.grant(held)
	b.refused(burying(claim("msg_2", "user/1")), bridge.ClaimBusy)
	if !a.gone("user/1") {
		t.Error("not gone when somebody else has it")
	}
	b.refused(burying(claim("msg_1", "user/2")), bridge.ClaimBusy)
	if !a.gone("user/2") {
		t.Error("not gone when somebody else has the delivery")
	}
}

// deletionRace: of a deletion and of work on an entity below it, the one waits
// or the other knows.
func deletionRace(t *scene) {
	a, b := t.ends()
	for i := range 50 {
		organization := fmt.Sprintf("organization/%d", i)
		var bury, member bridge.Claimed
		var wg sync.WaitGroup
		wg.Go(func() { bury = a.try(burying(claim(fmt.Sprintf("bury_%d", i), organization))) })
		wg.Go(func() {
			member = b.try(reading(claim(fmt.Sprintf("member_%d", i), organization+"/user/1", fmt.Sprintf("user/%d", i)), organization))
		})
		wg.Wait()
		if t.Failed() {
			return
		}
		if member.Status != bridge.ClaimGranted {
			t.Fatalf("the member is refused: %+v", member)
		}
		if told := entity(t, member, organization).Gone; told == (bury.Status == bridge.ClaimBusy) {
			t.Fatalf("the deletion has status %d and the member is told %t", bury.Status, told)
		}
	}
}

// try is claim for goroutines other than the test's.
func (w worker) try(c bridge.Claim) bridge.Claimed {
	w.t.Helper()
	claimed, err := w.ledger.Claim(w.t.Context(), c)
	if err != nil {
		w.t.Errorf("claim %s: %v", c.Delivery, err)
	}
	return claimed
}

func manyClaims(t *scene) {
	const each = 16
	for kind, entity := range map[string]func(i int) []string{
		"none": func(int) []string { return nil },
		"same": func(int) []string { return []string{"user/1"} },
		"own":  func(i int) []string { return []string{fmt.Sprintf("user/own_%d", i)} },
	} {
		var granted atomic.Int32
		var wg sync.WaitGroup
		for i := range each * len(t.ledgers) {
			w := worker{t, t.ledgers[i%len(t.ledgers)]}
			wg.Go(func() {
				switch got := w.try(claim("msg_"+kind, entity(i)...)); got.Status {
				case bridge.ClaimGranted:
					granted.Add(1)
				case bridge.ClaimBusy:
				default:
					t.Errorf("claimed %+v", got)
				}
			})
		}
		wg.Wait()
		if n := granted.Load(); n != 1 {
			t.Errorf("entities %s: granted %d times, want once", kind, n)
		}
	}
}

// manyWriters counts in an entity's state: no two have it at once, and each sees
// what the one before it wrote.
func manyWriters(t *scene) {
	const writers, each = 6, 5
	var holders atomic.Int32
	var wg sync.WaitGroup
	for i := range writers {
		w := worker{t, t.ledgers[i%len(t.ledgers)]}
		wg.Go(func() {
			for j := range each {
				c := claim(fmt.Sprintf("msg_%d_%d", i, j), "user/1")
				claimed := w.insist(c)
				if claimed.Status != bridge.ClaimGranted {
					return
				}
				if holders.Add(1) != 1 {
					t.Error("two have the entity")
				}
				count := 0
				if state := claimed.Entities[0].State; state != nil {
					if err := json.Unmarshal(state, &count); err != nil {
						t.Errorf("state %s: %v", state, err)
					}
				}
				holders.Add(-1)
				err := w.ledger.Save(t.Context(), bridge.Progress{
					Delivery: c.Delivery, Attempt: claimed.Attempt, Held: c.Entities, Outcome: bridge.OutcomeDone,
					Entities: []bridge.Entity{{Key: "user/1", State: fmt.Appendf(nil, "%d", count+1)}},
				})
				if err != nil {
					t.Errorf("save %s: %v", c.Delivery, err)
				}
			}
		})
	}
	wg.Wait()
	w := worker{t, t.ledgers[0]}
	if got := string(entity(t, w.grant(claim("msg_last", "user/1")), "user/1").State); got != strconv.Itoa(writers*each) && !t.Failed() {
		t.Errorf("counted to %s, want %d", got, writers*each)
	}
}

// insist is await for goroutines other than the test's.
func (w worker) insist(c bridge.Claim) bridge.Claimed {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		claimed := w.try(c)
		if claimed.Status == bridge.ClaimGranted || w.t.Failed() {
			return claimed
		}
		if time.Now().After(end) {
			w.t.Errorf("claim %s: busy for %v", c.Delivery, patience)
			return claimed
		}
	}
}

// anyOrder: claims that name the same entities in different orders end.
func anyOrder(t *scene) {
	keys := []string{"user/1", "user/2", "organization/1"}
	var wg sync.WaitGroup
	for i := range 8 {
		w := worker{t, t.ledgers[i%len(t.ledgers)]}
		order := slices.Concat(keys[i%3:], keys[:i%3])
		if i%2 == 1 {
			slices.Reverse(order)
		}
		wg.Go(func() {
			for j := range 3 {
				c := claim(fmt.Sprintf("msg_%d_%d", i, j), order...)
				claimed := w.insist(c)
				if claimed.Status != bridge.ClaimGranted {
					return
				}
				slices.Reverse(order)
				err := w.ledger.Save(t.Context(), bridge.Progress{
					Delivery: c.Delivery, Attempt: claimed.Attempt, Held: order, Outcome: bridge.OutcomeDone,
				})
				if err != nil {
					t.Errorf("save %s: %v", c.Delivery, err)
				}
			}
		})
	}
	wg.Wait()
}

func oddIDs(t *scene) {
	a, b := t.ends()
	ids := []string{
		"a'b", `a"b`, `a\b`, "a,b", "{a}", "a b ", " a b", "a%b", "a_b", "$1", "?", ":a", "@a", "A'B", "--", "NULL", "null", "true", "0",
		"é", "e\u0301", "\u202e\U0001f600", "a\nb", strings.Repeat("x", 256), strings.Repeat("x", 255),
	}
	for _, id := range ids {
		c := claim(id)
		a.save(bridge.Progress{Delivery: id, Attempt: a.grant(c).Attempt, Outcome: bridge.OutcomeDone})
	}
	for _, id := range ids {
		b.refused(claim(id), bridge.ClaimFinished)
	}
	for i, key := range []string{`user/'`, `user/"`, `user/\`, `user/%`, `user/_`, "user/{,}", "user/%2F", "user/" + strings.Repeat("x", 1000)} {
		c := claim(fmt.Sprintf("msg_%d", i), key)
		a.finish(c, a.grant(c), fmt.Appendf(nil, "%d", i))
		c = burying(claim(fmt.Sprintf("bury_%d", i), key))
		got := b.grant(c)
		if e := entity(t, got, key); string(e.State) != strconv.Itoa(i) || !e.Gone {
			t.Errorf("entity %+v, want state %d", e, i)
		}
	}
	if a.gone("user/x") {
		t.Error("gone by a pattern")
	}
	// A ledger may refuse what is not text, but not take it for something else.
	for _, id := range []string{"nul\x00a", "bad\xffa"} {
		claimed, err := a.ledger.Claim(t.Context(), claim(id))
		if err == nil && claimed.Status != bridge.ClaimGranted {
			t.Errorf("claimed %q: %+v", id, claimed)
		}
	}
	for _, id := range []string{"nul", "nul\x00b", "bad", "bad\xfea", "bad\ufffda", "nula", "bada"} {
		claimed, err := b.ledger.Claim(t.Context(), claim(id))
		if err == nil && claimed.Status != bridge.ClaimGranted {
			t.Errorf("%q is taken for another id", id)
		}
	}
}

func oddSteps(t *scene) {
	a, b := t.ends()
	odd := make([]byte, 255)
	for i := range odd {
		odd[i] = byte(i)
	}
	now := a.grant(claim("msg_0")).Now
	want := []bridge.StepRecord{
		{Name: string(odd), Kind: "k\x00\xff", StartedAt: now, RequestID: "\xffr", Result: json.RawMessage(`"` + strings.Repeat("r", 10_000) + `"`)},
		{Name: "", StartedAt: now, Result: json.RawMessage(`{"a": [1, 2.50, 1e400],` + "\n" + `"\u0000": null}`)},
		{Name: "\xfe", StartedAt: now, Status: -1, Attempts: 1 << 30},
		{Name: "\ufffd", StartedAt: now},
		{Name: `"\'$1{}` + "\u2028", StartedAt: now},
	}
	c := claim("msg_1")
	a.save(bridge.Progress{Delivery: "msg_1", Attempt: a.grant(c).Attempt, Steps: want, Outcome: bridge.OutcomeTransient})
	checkSteps(t, b.grant(c).Steps, want)
}

func endedContext(t *scene) {
	a, b := t.ends()
	c := burying(claim("msg_1", "user/1"))
	if claimed, err := a.ledger.Claim(canceled(t), c); err == nil || claimed.Status == bridge.ClaimGranted {
		t.Errorf("claimed %+v, %v, want an error", claimed, err)
	}
	claimed := b.grant(c)
	if claimed.Attempt != 1 || entity(t, claimed, "user/1").Crashed {
		t.Errorf("claimed %+v: the claim that ended counts", claimed)
	}
}
