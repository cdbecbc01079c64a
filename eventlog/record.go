package eventlog

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clerkknock/bridge"
)

// Record is what is kept of one attempt of a delivery, or of a request that was
// not verified. It must not be changed once it is in a [Store].
type Record struct {
	// ID identifies the record. Ids of later records are greater, as strings.
	ID string `json:"id"`

	// At is when the attempt ended, on the clock of the process.
	At time.Time `json:"at"`

	// ReceivedAt is the delivery's. It is zero when unknown, and for what was not
	// verified.
	ReceivedAt time.Time `json:"received_at,omitzero"`

	// Duration is the time the bridge took.
	Duration time.Duration `json:"duration_ns"`

	// EventType, DeliveryID and Entity are the [bridge.Result]'s. Any may be empty.
	EventType  string `json:"event_type,omitempty"`
	DeliveryID string `json:"delivery_id,omitempty"`
	Entity     string `json:"entity,omitempty"`

	// Verification says whether the signature held, or which check failed.
	Verification Verification `json:"verification"`

	// Outcome is how the attempt ended.
	Outcome bridge.Outcome `json:"outcome"`

	// Attempt counts the attempts that the ledger knows of, from 1. It is zero when
	// the ledger was not asked.
	Attempt int `json:"attempt,omitzero"`

	// Replay is true when a person has sent the delivery again.
	Replay bool `json:"replay,omitzero"`

	// DryRun is true when nothing was sent.
	DryRun bool `json:"dry_run,omitzero"`

	// RetryAfter is how long the sender was asked to wait.
	RetryAfter time.Duration `json:"retry_after_ns,omitzero"`

	// Functions are the names of the functions mapped to the event's type.
	Functions []string `json:"functions,omitempty"`

	// Problem says why the attempt failed. Unless bodies are stored, it is what
	// [bridge.Result.Problem] returns. It is redacted.
	Problem string `json:"problem,omitempty"`

	// Fault says what kind of problem it is. It is nil when there is none.
	Fault *Fault `json:"fault,omitempty"`

	// Steps are the calls to Knock and the side effects, in the order they were
	// started.
	Steps []Step `json:"steps,omitempty"`

	// Payload is the redacted body of the delivery. It is nil when not stored:
	// NoPayload says why.
	Payload json.RawMessage `json:"payload,omitempty"`

	// NoPayload says why there is no Payload.
	NoPayload string `json:"no_payload,omitempty"`

	// Redacted are the members of the body whose values are left out of Payload,
	// 20 at most.
	Redacted []string `json:"redacted,omitempty"`

	// Original is the body as it was received, private data included. It is nil
	// unless Options.KeepOriginals is set and something was redacted. The page does
	// not show it.
	Original json.RawMessage `json:"-"`
}

// Step is what is kept of one call to Knock, or of one side effect.
type Step struct {
	// Name and Kind are those of the [bridge.Step].
	Name string `json:"name"`
	Kind string `json:"kind"`

	// Method and Path are the request's. They are empty for a side effect.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`

	// Status is Knock's HTTP status. It is 0 when no answer came, and when nothing
	// was sent.
	Status int `json:"status,omitzero"`

	// RequestID is Knock's x-request-id.
	RequestID string `json:"request_id,omitempty"`

	// IdempotencyKey is the one that was sent. It may be empty.
	IdempotencyKey string `json:"idempotency_key,omitempty"`

	// Attempts counts how often the request was sent.
	Attempts int `json:"attempts,omitzero"`

	// Duration is the time the step took, repeats and waits included.
	Duration time.Duration `json:"duration_ns,omitzero"`

	// Skipped says why nothing was sent. It is empty when something was.
	Skipped string `json:"skipped,omitempty"`

	// Replayed is true when Knock had seen the idempotency key before.
	Replayed bool `json:"replayed,omitzero"`

	// Warning says what a person should know although the step succeeded.
	Warning string `json:"warning,omitempty"`

	// Error says why the step failed, as Problem does.
	Error string `json:"error,omitempty"`

	// Body is the redacted body of the request. It is nil when there was none, and
	// when it is not stored: NoBody says why.
	Body json.RawMessage `json:"body,omitempty"`

	// NoBody says why there is no Body although one was sent.
	NoBody string `json:"no_body,omitempty"`
}

// Verification says whether a request was verified, or which check failed.
type Verification string

// The checks. The bridge makes them in this order, but for Unread, which comes
// before WrongSignature.
const (
	Verified       Verification = "verified"
	NotPOST        Verification = "not_post"        // the method is not POST
	TooLarge       Verification = "too_large"       // the body is over the limit
	MissingHeader  Verification = "missing_header"  // [bridge.ErrMissingHeader]
	BadHeader      Verification = "bad_header"      // [bridge.ErrBadHeader]
	TooOld         Verification = "too_old"         // [bridge.ErrTooOld]
	TooNew         Verification = "too_new"         // [bridge.ErrTooNew]
	NoSignature    Verification = "no_signature"    // [bridge.ErrNoSignature]
	WrongSignature Verification = "wrong_signature" // [bridge.ErrSignature]
	Unread         Verification = "unread"          // the body did not arrive
)

// Failed reports whether the attempt failed, so that the sender was not told
// that the delivery is done.
func (r *Record) Failed() bool { return !r.Outcome.OK() }

// ReplayBody returns the body to send the delivery again with, or else a
// sentence that says why that is not possible.
func (r *Record) ReplayBody() (body json.RawMessage, reason string) {
	switch {
	case r.Verification != Verified || r.DeliveryID == "":
		return nil, "The request was not verified, so it is no delivery."
	case r.Original != nil:
		return r.Original, ""
	case r.Payload == nil:
		return nil, "The payload is not stored: " + r.NoPayload + "."
	case len(r.Redacted) > 0:
		return nil, "Private data was removed from the payload before it was stored (" + strings.Join(r.Redacted, ", ") + "), so what is left is not what Clerk has sent. Set Options.KeepOriginals to keep such payloads as they are, or replay the message in Clerk's dashboard."
	}
	return r.Payload, ""
}

func verificationOf(res *bridge.Result) Verification {
	if res.DeliveryID != "" {
		return Verified
	}
	for _, check := range checks {
		if errors.Is(res.Err, check.err) {
			return check.verification
		}
	}
	switch {
	case res.Outcome == bridge.OutcomeRefused && res.Status() == http.StatusRequestEntityTooLarge:
		return TooLarge
	case res.Outcome == bridge.OutcomeRefused:
		return NotPOST
	}
	return Unread
}

var checks = []struct {
	err          error
	verification Verification
}{
	{bridge.ErrMissingHeader, MissingHeader},
	{bridge.ErrBadHeader, BadHeader},
	{bridge.ErrTooOld, TooOld},
	{bridge.ErrTooNew, TooNew},
	{bridge.ErrNoSignature, NoSignature},
	{bridge.ErrSignature, WrongSignature},
}

// maxText bounds each text of a record that somebody else chooses.
const maxText = 1000

// plain makes a text one that every store can hold: valid, bounded, no NUL.
func plain(s string) string {
	if len(s) <= maxText && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// maxSteps bounds the steps of a record.
const maxSteps = 200

// newRecord builds the record of a result, all but the bodies. With quotes, errors
// are as they are and may quote the event.
func newRecord(res *bridge.Result, at time.Time, clean *redactor, quotes bool) *Record {
	r := &Record{
		ID: NewID(at), At: at, ReceivedAt: res.ReceivedAt, Duration: res.Duration,
		EventType: plain(res.EventType), DeliveryID: plain(res.DeliveryID), Entity: plain(res.Entity),
		Verification: verificationOf(res), Outcome: res.Outcome, Attempt: res.Attempt,
		Replay: res.Replay, DryRun: res.DryRun, RetryAfter: res.RetryAfter, Functions: res.Functions,
	}
	if res.Err != nil {
		r.Problem, r.Fault = errorText(res.Err, clean, quotes), faultOf(res.Err)
		r.Fault.Target = plain(clean.path(r.Fault.Target))
		for i, field := range r.Fault.Fields {
			r.Fault.Fields[i] = plain(clean.text(field))
		}
	}
	steps := res.Steps[:min(len(res.Steps), maxSteps)]
	if len(steps) == 0 {
		return r
	}
	r.Steps = make([]Step, len(steps))
	for i, s := range steps {
		r.Steps[i] = newStep(s, clean, quotes)
	}
	return r
}

func errorText(err error, clean *redactor, quotes bool) string {
	text := (&bridge.Result{Err: err}).Problem()
	if quotes {
		text = err.Error()
	}
	return plain(clean.text(text))
}

func newStep(s *bridge.Step, clean *redactor, quotes bool) Step {
	step := Step{
		Name: plain(clean.text(s.Name)), Kind: s.Kind, Status: s.Status, RequestID: plain(s.RequestID), Attempts: s.Attempts,
		Duration: s.Duration, Skipped: string(s.Skipped), Replayed: s.Replayed, Warning: plain(clean.text(s.Warning)),
	}
	if s.Request != nil {
		step.Method, step.Path = s.Request.Method, plain(clean.path(s.Request.Path))
		step.IdempotencyKey = plain(clean.text(s.Request.IdempotencyKey))
	}
	if s.Err != nil {
		step.Error = errorText(s.Err, clean, quotes)
	}
	return step
}
