package bridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/clerkknock/bridge/actions"
)

const (
	// triggerWindow is for how long Knock drops a repeated workflow trigger, less
	// a little for clocks that differ.
	triggerWindow = 24*time.Hour - 10*time.Minute

	// maxStepName is the longest step name that a ledger gets as it is.
	maxStepName = 255
)

// The kinds of steps that are treated in a way of their own.
const (
	kindTrigger    = "workflows_trigger"
	kindCancel     = "workflows_cancel"
	kindSideEffect = "step"
)

// work is the work on one delivery: what the ledger knows of it, and the steps
// of this attempt. In a dry run there is no ledger.
type work struct {
	ledger    Ledger
	delivery  Delivery
	eventType string
	subject   *subject
	lease     time.Duration
	retrigger bool

	claimed Claimed
	since   time.Time // when it was claimed, on this machine's clock
	gone    bool      // the subject, or what it belongs to, has been deleted
	loaded  Entity    // the subject's, as the ledger has it

	saving sync.Mutex // held before mu, so that records are saved in order

	mu       sync.Mutex
	steps    []*Step
	records  []StepRecord // in the order they were begun in
	state    state
	sent     int  // steps of this attempt that were not skipped
	same     int  // steps skipped as unchanged
	wrote    bool // a step of this attempt may have changed the subject in Knock
	sawStale bool
}

type workKey struct{}

func workOf(ctx context.Context) *work {
	w, _ := ctx.Value(workKey{}).(*work)
	return w
}

// claim takes the delivery, and waits while somebody else has it or one of its
// entities, until giveUp. It returns OutcomeDuplicate for a delivery that is
// finished, and else nothing or an error.
func (w *work) claim(ctx context.Context, giveUp time.Time) (Outcome, error) {
	c := Claim{
		Delivery: w.delivery.ID, EventType: w.eventType, ReceivedAt: w.delivery.ReceivedAt, Lease: w.lease,
	}
	if s := w.subject; s != nil {
		c.Entities, c.Reads = append([]string{s.entity}, s.also...), s.reads
		if s.deletes {
			c.Bury = s.entity
		}
	}
	const firstWait, longestWait = 2 * time.Millisecond, 250 * time.Millisecond
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		claimed, err := w.ledger.Claim(ctx, c)
		switch {
		case err != nil:
			return "", RetryAfter(0, fmt.Errorf("bridge: claim the delivery: %w", err))
		case claimed.Status == ClaimFinished:
			return OutcomeDuplicate, nil
		case claimed.Status == ClaimGranted:
			return "", w.begin(claimed)
		}
		pause := wait/2 + rand.N(wait) //nolint:gosec // a wait need not be unpredictable
		if time.Now().Add(pause).After(giveUp) {
			return "", RetryAfter(claimed.RetryAfter, errBusy)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", ctx.Err()
		}
	}
}

var errBusy = errors.New("bridge: another attempt works on this delivery, or on another one of the same user or organization")

func (w *work) begin(claimed Claimed) error {
	w.claimed, w.since = claimed, time.Now()
	w.records = slices.Clone(claimed.Steps)
	for _, e := range claimed.Entities {
		w.gone = w.gone || e.Gone
		if w.subject != nil && e.Key == w.subject.entity {
			w.loaded = e
		}
	}
	if w.subject == nil {
		return nil
	}
	var err error
	w.state, err = readState(w.loaded)
	w.state.learn(w.subject)
	return err
}

// now is the ledger's clock.
func (w *work) now() time.Time { return w.claimed.Now.Add(time.Since(w.since)) }

func (w *work) stale() bool {
	if w.ledger == nil || w.subject == nil || w.subject.deletes {
		return false
	}
	if w.gone {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.stale(w.subject)
}

// isGone reports whether Clerk has deleted a user or an organization, so that
// no call brings it back.
func (w *work) isGone(ctx context.Context, collection, id string) (bool, error) {
	key := userKey(id)
	if collection != "" {
		key = organizationKey(id)
	}
	for _, e := range w.claimed.Entities {
		if e.Key == key {
			return e.Gone, nil
		}
	}
	gone, err := w.ledger.Gone(ctx, key)
	if err != nil {
		return false, RetryAfter(0, fmt.Errorf("bridge: look up a deletion: %w", err))
	}
	return gone, nil
}

// run is the [actions.Runner] of a delivery.
func (w *work) run(ctx context.Context, s *Step, do func(context.Context) error) error {
	w.mu.Lock()
	w.steps = append(w.steps, s)
	w.mu.Unlock()
	if w.ledger == nil {
		return nil // a dry run
	}
	if s.Request != nil && s.Request.Method == http.MethodGet {
		return w.do(ctx, s, do)
	}
	name := stepName(s.Name)
	send, save, err := w.prepare(s, name)
	if err != nil || !send {
		s.Err = err
		return err
	}
	if save {
		if err := w.save(ctx, ""); err != nil {
			s.Err = err
			return err
		}
	}
	err = w.do(ctx, s, do)
	w.record(s, name)
	return err
}

func (w *work) do(ctx context.Context, s *Step, do func(context.Context) error) error {
	started := time.Now()
	s.Err = errUnfinished // stays when do panics
	s.Err = do(ctx)
	s.Duration = time.Since(started)
	return s.Err
}

var errUnfinished = errors.New("bridge: the step has not finished")

// prepare decides whether a step is to be sent, and whether what is known has to
// be saved before that. The first call of an attempt needs no saving: that the
// attempt was begun says as much.
func (w *work) prepare(s *Step, name string) (send, save bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.find(name)
	switch {
	case known != nil && known.Done:
		r := known
		s.Skipped = actions.SkippedFinished
		s.Status, s.RequestID, s.Attempts, s.Result = r.Status, r.RequestID, r.Attempts, r.Result
		return false, false, nil
	case w.claimed.Forgotten && !w.retrigger && (s.Kind == kindTrigger || s.Kind == kindSideEffect):
		s.Skipped = actions.SkippedReplay
		return false, false, nil
	case w.unchanged(s):
		s.Skipped = actions.SkippedUnchanged
		w.same++
		return false, false, nil
	}
	since := w.claimed.OpenSince
	if known != nil {
		since = known.StartedAt
	}
	if s.Kind == kindTrigger && !since.IsZero() && w.now().Sub(since) > triggerWindow {
		return false, false, Permanent(errInDoubt)
	}
	if known == nil {
		if since.IsZero() {
			since = w.now()
		}
		w.records = append(w.records, StepRecord{Name: name, Kind: s.Kind, StartedAt: since})
	}
	save = w.sent > 0
	w.sent++
	w.wrote = w.wrote || writesState(s.Kind)
	return true, save, nil
}

var errInDoubt = errors.New("bridge: an earlier attempt got no answer to this workflow trigger, too long ago for Knock to drop a repeat: it may have run, and is not sent again")

// unchanged reports whether Knock was told the same by the last step that wrote
// the subject's state. A delivery that comes again after a long time is to mend
// things, and is sent.
func (w *work) unchanged(s *Step) bool {
	return w.subject != nil && s.Name == w.subject.step && !w.wrote && !w.claimed.Forgotten &&
		w.state.Sent != "" && w.state.Sent == digest(s.Request)
}

func digest(r *actions.Request) string {
	h := sha256.New()
	_, _ = h.Write([]byte(r.Method + " " + r.Path + "\n"))
	_, _ = h.Write(r.Body)
	return base64.RawStdEncoding.EncodeToString(h.Sum(nil)[:16])
}

// writesState reports whether a step of this kind changes what Knock holds.
func writesState(kind string) bool {
	return kind != kindTrigger && kind != kindCancel && kind != kindSideEffect
}

// record notes how a step has ended.
func (w *work) record(s *Step, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subject != nil && s.Name == w.subject.step {
		w.state.Sent = ""
		if s.Err == nil {
			w.state.Sent = digest(s.Request)
		}
	}
	if s.Err != nil {
		if e, ok := errors.AsType[*actions.Error](s.Err); ok && e.Status < 500 && e.Status != http.StatusRequestTimeout {
			// Knock has not acted on it.
			w.records = slices.DeleteFunc(w.records, func(r StepRecord) bool { return r.Name == name })
		}
		return
	}
	r := w.find(name)
	r.Done, r.Duration = true, s.Duration
	r.Status, r.RequestID, r.Attempts, r.Result = s.Status, s.RequestID, s.Attempts, s.Result
	if w.subject != nil && writesState(s.Kind) {
		w.state.apply(w.subject)
	}
}

// find returns the record of a step, nil when there is none.
func (w *work) find(name string) *StepRecord {
	for i := range w.records {
		if w.records[i].Name == name {
			return &w.records[i]
		}
	}
	return nil
}

// stepName is a step's name as the ledger keeps it.
func stepName(name string) string {
	if len(name) <= maxStepName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// save tells the ledger what is known. An outcome gives the delivery back.
func (w *work) save(ctx context.Context, outcome Outcome) error {
	w.saving.Lock()
	defer w.saving.Unlock()
	p := Progress{Delivery: w.delivery.ID, Attempt: w.claimed.Attempt, Outcome: outcome}
	w.mu.Lock()
	p.Steps = slices.Clone(w.records)
	if s := w.subject; s != nil {
		p.Held = append([]string{s.entity}, s.also...)
		raw, err := jsonv2.Marshal(&w.state, jsonv2.Deterministic(true))
		if err != nil {
			w.mu.Unlock()
			return err
		}
		if !bytes.Equal(raw, w.loaded.State) {
			p.Entities = []Entity{{Key: s.entity, State: raw}}
		}
	}
	w.mu.Unlock()
	if err := w.ledger.Save(ctx, p); err != nil {
		return RetryAfter(0, fmt.Errorf("bridge: save the delivery: %w", err))
	}
	return nil
}

// finish judges the work by the error of the mapping functions and gives the
// delivery back.
func (w *work) finish(ctx context.Context, err error) (Outcome, error) {
	w.mu.Lock()
	outcome := OutcomeOf(err)
	if err == nil {
		switch {
		case w.sent == 0 && w.sawStale:
			outcome = OutcomeStale
		case w.sent == 0 && w.same > 0:
			outcome = OutcomeUnchanged
		}
		if w.subject != nil && outcome != OutcomeStale {
			w.state.apply(w.subject)
		}
	}
	w.mu.Unlock()
	if w.ledger == nil {
		return outcome, err
	}
	failed := w.save(ctx, outcome)
	if failed != nil && !errors.Is(failed, ErrClaimLost) {
		failed = w.save(ctx, outcome) // nothing is lost if it fails, but all is sent again
	}
	if failed != nil {
		return OutcomeTransient, errors.Join(failed, err)
	}
	return outcome, err
}
