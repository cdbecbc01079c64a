package bridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/clerkknock/bridge/actions"
)

const (
	// triggerWindow is for how long Knock drops a repeated workflow trigger, less
	// a little for clocks that differ.
	triggerWindow = 24*time.Hour - 10*time.Minute

	// unchangedWindow is for how long what Knock was told is taken for what it holds.
	// People edit there, too, and a new key may belong to another environment.
	unchangedWindow = 24 * time.Hour

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
	logger    *slog.Logger

	claimed Claimed
	since   time.Time // when it was claimed, on this machine's clock
	gone    bool      // the subject, or what it belongs to, has been deleted

	saving sync.Mutex // held before mu, so that records are saved in order

	mu       sync.Mutex
	steps    []*Step
	running  []*Step      // those of steps that have not ended
	records  []StepRecord // in the order they were begun in
	held     []held
	sent     int  // steps of this attempt that were not skipped
	same     int  // steps skipped as unchanged
	asked    bool // a function has asked whether the event is stale, and it is not
	sawStale bool // or it is
	over     bool // the functions have returned
}

// held is an entity taken with the delivery. The first is the subject's.
type held struct {
	target

	loaded  Entity // as the ledger has it
	state   state
	touches int // steps that may have written it
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
		for _, t := range s.entities {
			c.Entities = append(c.Entities, t.key)
		}
		c.Reads = s.reads
		if s.deletes != nil {
			c.Bury = c.Entities[0]
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
			err := w.begin(claimed)
			if err != nil { // somebody else may be able to read it
				err = RetryAfter(0, errors.Join(err, w.ledger.Save(ctx, Progress{
					Delivery: c.Delivery, Attempt: claimed.Attempt, OpenSince: claimed.OpenSince,
					Steps: claimed.Steps, Held: c.Entities, Outcome: OutcomeTransient,
				})))
			}
			return "", err
		}
		pause := wait/2 + rand.N(wait) //nolint:gosec // a wait need not be unpredictable
		if time.Now().Add(pause).After(giveUp) {
			return "", RetryAfter(claimed.RetryAfter, ErrBusy)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (w *work) begin(claimed Claimed) error {
	w.claimed, w.since = claimed, time.Now()
	w.records = slices.Clone(claimed.Steps)
	if w.subject == nil {
		return nil
	}
	for _, e := range claimed.Entities {
		if !e.Gone {
			continue
		}
		known, err := readState(e)
		if err != nil {
			return err
		}
		// A membership also ends where a function has kept in Knock what Clerk has deleted.
		w.gone = w.gone || known.Removed || !w.subject.leaves
	}
	w.held = make([]held, len(w.subject.entities))
	for i, t := range w.subject.entities {
		loaded, _ := claimed.entity(t.key)
		known, err := readState(loaded)
		if err != nil {
			return err
		}
		w.held[i] = held{target: t, loaded: loaded, state: known}
	}
	w.held[0].state.learn(w.subject)
	return nil
}

// entity returns what the claim tells of an entity.
func (c *Claimed) entity(key string) (e Entity, told bool) {
	i := slices.IndexFunc(c.Entities, func(e Entity) bool { return e.Key == key })
	if i < 0 {
		return Entity{}, false
	}
	return c.Entities[i], true
}

// now is the ledger's clock.
func (w *work) now() time.Time { return w.claimed.Now.Add(time.Since(w.since)) }

// goneOf returns those of some users and organizations that Clerk has deleted, so
// that no call brings them back. What was claimed is known.
func (w *work) goneOf(ctx context.Context, of []actions.Reference) (gone []actions.Reference, err error) {
	unknown := make(map[string]actions.Reference)
	for _, ref := range of {
		var key string
		switch r := ref.(type) {
		case actions.UserID:
			key = userKey(string(r))
		case actions.ObjectRef:
			key = organizationKey(r.ID)
		}
		if e, told := w.claimed.entity(key); !told {
			unknown[key] = ref
		} else if e.Gone {
			gone = append(gone, ref)
		}
	}
	if len(unknown) == 0 {
		return gone, nil
	}
	defer blame("Ledger")
	keys, err := w.ledger.Gone(ctx, slices.Collect(maps.Keys(unknown)))
	if err != nil {
		return nil, RetryAfter(0, fmt.Errorf("bridge: look up deletions: %w", err))
	}
	for _, key := range keys {
		gone = append(gone, unknown[key])
	}
	return gone, nil
}

// run is the [actions.Runner] of a delivery.
func (w *work) run(ctx context.Context, s *Step, do func(context.Context) error) error {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return errOver
	}
	w.steps, w.running = append(w.steps, s), append(w.running, s)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running = slices.DeleteFunc(w.running, func(other *Step) bool { return other == s })
	}()
	defer w.logStep(ctx, s)
	if w.ledger == nil {
		return nil // a dry run
	}
	if s.Skipped != "" {
		return nil
	}
	if s.Request != nil && s.Request.Method == http.MethodGet {
		return w.do(ctx, s, do)
	}
	name := stepName(s.Name)
	p, err := w.prepare(s, name)
	if err != nil || !p.send {
		s.Err = err
		return err
	}
	s.Err = errUnfinished // stays when something panics
	if p.save {
		if err := w.save(ctx, ""); err != nil {
			s.Err = err
			return err
		}
	}
	err = w.do(ctx, s, do)
	w.record(s, name, p)
	return err
}

// done returns the steps for the Result. One that a goroutine left behind is still at
// work on is there without what that may write.
func (w *work) done() []*Step {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.steps {
		if slices.Contains(w.running, s) {
			w.steps[i] = &Step{Name: s.Name, Kind: s.Kind, Request: s.Request, Err: errUnfinished}
		}
	}
	return w.steps
}

func (w *work) do(ctx context.Context, s *Step, do func(context.Context) error) error {
	if s.Request != nil {
		defer blame("Knock")
	}
	started := time.Now()
	s.Err = errUnfinished
	s.Err = do(ctx)
	if p := unsound(s.Err); p != nil {
		s.Err = p
	}
	s.Duration = time.Since(started)
	return s.Err
}

// blame says what of the Config has panicked within a mapping function's call, which
// would be taken for the function's otherwise. It is to be deferred.
func blame(in string) {
	if v := recover(); v != nil {
		panic(panicError(v, in))
	}
}

var errOver = errors.New("bridge: the mapping function has returned, and a goroutine it has left behind still uses its client")

var errUnfinished = errors.New("bridge: the step has not finished")

// plan is what to do about a step.
type plan struct {
	send    bool
	save    bool   // what is known, first
	doubted bool   // an earlier attempt may have sent it
	digest  string // of the subject's step
	touches int    // the subject's, with this step
}

// prepare decides whether a step is to be sent, and whether what is known has to
// be saved before that. The first call of an attempt needs no saving: that the
// attempt was begun says as much, see [Claimed.OpenSince].
func (w *work) prepare(s *Step, name string) (plan, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return plan{}, errOver
	}
	known := w.find(name)
	var p plan
	if len(w.held) > 0 && w.held[0].step != "" && s.Name == w.held[0].step {
		p.digest = digest(s.Request)
	}
	switch {
	case known != nil && known.Done:
		s.Skipped = actions.SkippedFinished
		s.Status, s.RequestID, s.Attempts, s.Result = known.Status, known.RequestID, known.Attempts, known.Result
		w.noteRemoval(s)
		return plan{}, nil
	case w.claimed.Forgotten && !w.retrigger && !writesState(s.Kind):
		s.Skipped = actions.SkippedReplay
		return plan{}, nil
	// A delivery that comes again after a long time is to mend things, and is sent.
	case p.digest != "" && w.held[0].state.holds(p.digest, w.now()) && !w.claimed.Forgotten:
		s.Skipped = actions.SkippedUnchanged
		w.same++
		w.held[0].state.apply(w.subject)
		return plan{}, nil
	}
	since := w.claimed.OpenSince
	if known != nil {
		since = known.StartedAt
	}
	if s.Kind == kindTrigger && !since.IsZero() && w.now().Sub(since) > triggerWindow {
		return plan{}, Permanent(errInDoubt)
	}
	p.send, p.save, p.doubted = true, w.sent+w.same > 0, !since.IsZero()
	if known == nil {
		if since.IsZero() {
			since = w.now()
		}
		w.records = append(w.records, StepRecord{Name: name, Kind: s.Kind, StartedAt: since})
	}
	w.touch(s, &p)
	w.sent++
	return p, nil
}

// touch forgets what a step may be about to change, until it is known to have
// succeeded.
func (w *work) touch(s *Step, p *plan) {
	for i := range w.held {
		if w.held[i].touchedBy(s) {
			w.held[i].state.sent("", time.Time{})
			w.held[i].touches++
		}
	}
	if p.digest != "" {
		p.touches = w.held[0].touches
	}
}

var errInDoubt = errors.New("bridge: earlier attempts at this workflow trigger did not succeed, and the first is too long ago for Knock to drop a repeat: it may have run, and is not sent again")

// digest tells calls apart: two with the same tell Knock the same.
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
func (w *work) record(s *Step, name string, p plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// What an attempt may have sent that has crashed was its first call, which is this
	// one, and on record now. Others that are under way may have been first then.
	w.claimed.OpenSince = time.Time{}
	if s.Err != nil {
		if !p.doubted && refused(s.Err) {
			w.records = slices.DeleteFunc(w.records, func(r StepRecord) bool { return r.Name == name })
		}
		return
	}
	r := w.find(name)
	r.Done, r.Duration = true, s.Duration
	r.Status, r.RequestID, r.Attempts, r.Result = s.Status, s.RequestID, s.Attempts, runOf(s)
	if p.digest != "" && p.touches == w.held[0].touches { // no other call has come in between
		w.held[0].state.sent(p.digest, w.now())
	}
	if w.subject != nil && w.subject.isWrittenBy(s, w.asked) {
		w.held[0].state.apply(w.subject)
	}
	w.noteRemoval(s)
}

func (w *work) noteRemoval(s *Step) {
	if w.subject != nil && w.subject.isRemovedBy(s) {
		w.held[0].state.Removed = true
	}
}

// refused reports whether Knock can't have acted on a step that failed.
func refused(err error) bool {
	if e, ok := errors.AsType[*actions.SendError](err); ok {
		return e.Unsent || e.Attempts == 0
	}
	if _, ok := errors.AsType[*actions.InvalidError](err); ok {
		return true
	}
	e, ok := errors.AsType[*actions.Error](err)
	return ok && (e.Attempts <= 1 || e.NoEffectBefore) && e.Status < http.StatusInternalServerError &&
		e.Status != http.StatusRequestTimeout && e.Status != http.StatusConflict
}

// touchedBy reports whether a step may have changed what Sent is the digest of:
// another call that writes or deletes the same user or tenant, or one that describes
// it inline.
func (h *held) touchedBy(s *Step) bool {
	if h.step == "" || s.Request == nil {
		return false
	}
	call, id, _ := strings.Cut(h.step, ":")
	var writes bool
	switch s.Kind {
	case "users_identify", "users_merge", "users_delete":
		writes = call == "users.identify"
	case "tenants_set", "tenants_delete":
		writes = call == "tenants.set"
	case "objects_set", "objects_delete": // tenants are objects, too
		writes = call == "tenants.set" && strings.Contains(s.Name, actions.TenantCollection+"/")
	}
	return writes && strings.Contains(s.Name, id) || describes(s.Request.Body, id)
}

// describes reports whether a body describes what has that id inline, and does not
// only name it.
func describes(body json.RawMessage, id string) bool {
	if !bytes.Contains(body, []byte(id)) {
		return false
	}
	var call struct {
		Recipients []json.RawMessage `json:"recipients"`
		Actor      json.RawMessage   `json:"actor"`
		Tenant     json.RawMessage   `json:"tenant"`
		Members    []struct {
			User json.RawMessage `json:"user"`
		} `json:"members"`
	}
	// Users may put any JSON into a trigger's data.
	lenient := []jsonv2.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	if err := jsonv2.Unmarshal(body, &call, lenient...); err != nil {
		return true // which costs a call, at most
	}
	described := slices.Concat(call.Recipients, []json.RawMessage{call.Actor, call.Tenant})
	for _, m := range call.Members {
		described = append(described, m.User)
	}
	for _, raw := range described {
		var members map[string]json.RawMessage
		_ = jsonv2.Unmarshal(raw, &members, lenient...) // an id alone is no object
		var its string
		_ = jsonv2.Unmarshal(members["id"], &its, lenient...)
		delete(members, "id")
		delete(members, "collection")
		delete(members, "$trigger_data")
		if its == id && len(members) > 0 {
			return true
		}
	}
	return false
}

// runOf is what a later attempt needs of a trigger's answer.
func runOf(s *Step) json.RawMessage {
	var run struct {
		ID string `json:"workflow_run_id"`
	}
	if s.Result == nil || json.Unmarshal(s.Result, &run) != nil || run.ID == "" {
		return nil
	}
	return fmt.Appendf(nil, `{"workflow_run_id":%q}`, run.ID)
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
	p.OpenSince = w.claimed.OpenSince
	p.Steps = slices.Clone(w.records)
	for i := range w.held {
		h := &w.held[i]
		p.Held = append(p.Held, h.key)
		if i > 0 && len(h.loaded.State) == 0 {
			continue
		}
		raw, err := jsonv2.Marshal(&h.state, jsonv2.Deterministic(true))
		if err != nil {
			w.mu.Unlock()
			return err
		}
		if !bytes.Equal(raw, h.loaded.State) {
			p.Entities = append(p.Entities, Entity{Key: h.key, State: raw})
		}
	}
	w.mu.Unlock()
	defer blame("Ledger")
	if err := w.ledger.Save(ctx, p); err != nil {
		return RetryAfter(0, fmt.Errorf("bridge: save the delivery: %w", err))
	}
	return nil
}

// finish judges the work by the error of the mapping functions and gives the
// delivery back.
func (w *work) finish(ctx context.Context, err error) (Outcome, error) {
	outcome := OutcomeOf(err)
	w.mu.Lock()
	w.over = true
	if err == nil {
		switch {
		case w.sent == 0 && w.sawStale:
			outcome = OutcomeStale
		case w.sent == 0 && w.same > 0:
			outcome = OutcomeUnchanged
		}
		if w.asked {
			w.held[0].state.apply(w.subject)
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
