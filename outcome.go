package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

// Outcome says how a delivery ended. It decides the HTTP status, and with it
// what Svix does next: any 2xx ends the delivery, anything else is repeated on
// Svix's schedule, eight attempts within 28 to 66 hours.
type Outcome string

const (
	// OutcomeDone means that the mapping functions have run without an error.
	OutcomeDone Outcome = "done"

	// OutcomeQueued means that the delivery is stored durably in Config.Queue, and
	// that the work on it is still to come.
	OutcomeQueued Outcome = "queued"

	// OutcomeIgnored means that nothing is mapped to the event's type.
	OutcomeIgnored Outcome = "ignored"

	// OutcomeDuplicate means that the delivery has been processed before, or that
	// it is already in Config.Queue.
	OutcomeDuplicate Outcome = "duplicate"

	// OutcomeStale means that a newer state of the event's user, organization or
	// membership has been applied before, and that there was nothing else to do.
	OutcomeStale Outcome = "stale"

	// OutcomeUnchanged means that within the last 24 hours Knock was told what the
	// event says, and since then nothing different by deliveries about the same user
	// or organization; and that there was nothing else to do.
	OutcomeUnchanged Outcome = "unchanged"

	// OutcomeMalformed means that signature headers are missing or unreadable, or
	// that a genuine body is not a webhook event in JSON.
	OutcomeMalformed Outcome = "malformed"

	// OutcomeUnverified means that the signature does not match, or that the
	// timestamp is outside the tolerance.
	OutcomeUnverified Outcome = "unverified"

	// OutcomeRefused means not a POST, or a body that is too large.
	OutcomeRefused Outcome = "refused"

	// OutcomeTransient means no answer from Knock, or one that asks to try again;
	// also that the ledger did not answer, or that another attempt is in progress.
	// A later attempt can succeed without any change.
	OutcomeTransient Outcome = "transient"

	// OutcomeRejected means that Knock refused a call for this event. Attempts go
	// on, because a later one succeeds once the mapping is fixed.
	OutcomeRejected Outcome = "rejected"

	// OutcomeMisconfigured means that Knock refused the API key or does not have
	// what the call names, that a mapping function failed with a plain error, or
	// that it or something else in the Config panicked.
	OutcomeMisconfigured Outcome = "misconfigured"

	// OutcomePermanent means that no attempt can succeed. Svix is told to stop, by
	// the header "webhook-delivery: abort-message".
	OutcomePermanent Outcome = "permanent"
)

// OK reports whether the delivery needs no further attempt by the sender.
func (o Outcome) OK() bool {
	switch o {
	case OutcomeDone, OutcomeQueued, OutcomeIgnored, OutcomeDuplicate, OutcomeStale, OutcomeUnchanged:
		return true
	default:
		return false
	}
}

// Result is the record of one delivery, or of a request that did not become
// one. It is handed to Config.OnResult and returned by [Handler.Process].
type Result struct {
	// DeliveryID is the svix-id. It is empty for a request that was not verified.
	DeliveryID string

	// EventType is the event's name. It is empty when the body was not read.
	EventType string

	// Outcome is how it ended.
	Outcome Outcome

	// ReceivedAt is the delivery's. It is zero when unknown, and for what was not
	// verified.
	ReceivedAt time.Time

	// Body is what was received, once it is verified. It must not be changed, and
	// may hold what is private.
	Body json.RawMessage

	// Entity is the key of the user, organization or membership that the event is
	// about, as in a [Claim]. It is empty for an event that is about none, for one
	// that is ignored or malformed, and in a dry run.
	Entity string

	// Replay is true for a delivery that was handed to [Handler.Replay].
	Replay bool

	// Attempt counts, from 1, the attempts of the delivery that the ledger knows of.
	// It is zero for a duplicate, and when the ledger was not asked or did not answer.
	Attempt int

	// Functions are the names of the functions mapped to the event's type, as in
	// [MappingInfo], in the order they run in. It must not be changed.
	Functions []string

	// Err says why, nil when Outcome is OK. Its text may quote what Knock
	// answered; it is not shown to the sender.
	Err error

	// Steps are the calls made, in the order they were started, including failed
	// ones and those that were left out: their Skipped says why. In a dry run they
	// are the calls that would be made.
	Steps []*Step

	// DryRun is true when nothing was sent.
	DryRun bool

	// RetryAfter is how long the sender is asked to wait. It is zero unless
	// Outcome is OutcomeTransient.
	RetryAfter time.Duration

	// Duration is the time the bridge took, reading the body included.
	Duration time.Duration

	refusal int  // HTTP status of OutcomeRefused
	unread  bool // the body, or some of it, was left unread
}

// Step is one call to Knock, or one side effect run through
// [actions.Client.Step].
type Step = actions.Step

// Status returns the HTTP status that the sender gets.
func (r *Result) Status() int {
	switch r.Outcome {
	case OutcomeDone, OutcomeIgnored, OutcomeDuplicate, OutcomeStale, OutcomeUnchanged:
		return http.StatusOK
	case OutcomeQueued:
		return http.StatusAccepted
	case OutcomeMalformed:
		return http.StatusBadRequest
	case OutcomeUnverified:
		return http.StatusUnauthorized
	case OutcomeRefused:
		return r.refusal
	case OutcomeTransient:
		return http.StatusServiceUnavailable
	case OutcomeRejected, OutcomePermanent:
		return http.StatusUnprocessableEntity
	case OutcomeMisconfigured:
	}
	return http.StatusInternalServerError
}

// abort reports whether Svix should not try again: the bytes are genuine and
// will be the same next time.
func (r *Result) abort() bool {
	return r.Outcome == OutcomePermanent || r.Outcome == OutcomeMalformed && r.DeliveryID != ""
}

// OutcomeOf says how a delivery ends when its mapping function returns err:
// OutcomeDone for nil, else by the first of these found in err's tree:
//
//   - a panic: OutcomeMisconfigured
//   - an error made by [Permanent]: OutcomePermanent; made by [RetryAfter]:
//     OutcomeTransient
//   - data that can't be decoded (*[clerk.DecodeError]): OutcomePermanent
//   - arguments refused before sending (*[actions.InvalidError]): OutcomePermanent for
//     an id, a key or a size that comes from the event (Data), else
//     OutcomeMisconfigured
//   - Knock's answer (*[actions.Error]): 408, 409, 429 and 5xx OutcomeTransient;
//     3xx, 401, 403 and 404 OutcomeMisconfigured; any other OutcomeRejected
//   - no answer, a network error, a context that ended: OutcomeTransient
//   - any other error: OutcomeMisconfigured
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OutcomeDone
	}
	if _, ok := errors.AsType[*PanicError](err); ok {
		return OutcomeMisconfigured
	}
	if e, ok := errors.AsType[*verdict](err); ok {
		return e.outcome
	}
	if _, ok := errors.AsType[*clerk.DecodeError](err); ok {
		return OutcomePermanent
	}
	if e, ok := errors.AsType[*actions.InvalidError](err); ok {
		if e.Data {
			return OutcomePermanent
		}
		return OutcomeMisconfigured
	}
	if e, ok := errors.AsType[*actions.Error](err); ok {
		return knockOutcome(e.Status)
	}
	if _, ok := errors.AsType[*actions.SendError](err); ok {
		return OutcomeTransient
	}
	if e, ok := errors.AsType[net.Error](err); ok && isOfNetwork(e) {
		return OutcomeTransient
	}
	for _, transient := range [...]error{context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, transient) {
			return OutcomeTransient
		}
	}
	return OutcomeMisconfigured
}

// networkErrnos are those of connections, among all that an Errno can be.
var networkErrnos = [...]syscall.Errno{
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
}

// isOfNetwork leaves out what has the methods of a net.Error without being one: the
// errors of files, and addresses that can't be read.
func isOfNetwork(err net.Error) bool {
	if op, ok := err.(*net.OpError); ok {
		if _, errno := errors.AsType[syscall.Errno](op.Err); errno && !strings.HasPrefix(op.Net, "unix") {
			return true
		}
		if inner, ok := errors.AsType[net.Error](op.Err); ok {
			err = inner
		}
	}
	switch e := err.(type) {
	case *net.AddrError, *net.ParseError, net.InvalidAddrError, net.UnknownNetworkError:
		return false
	case syscall.Errno:
		return e.Timeout() || slices.Contains(networkErrnos[:], e)
	case *url.Error:
		return e.Op != "parse"
	}
	return true
}

func knockOutcome(status int) Outcome {
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooManyRequests,
		status >= http.StatusInternalServerError:
		return OutcomeTransient
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status < http.StatusBadRequest:
		return OutcomeMisconfigured
	}
	return OutcomeRejected
}

// The bounds of the Retry-After header sent to Svix.
const (
	minRetryAfter     = 1 * time.Second
	maxRetryAfter     = 300 * time.Second
	defaultRetryAfter = 5 * time.Second
)

// retryAfter picks the wait for a transient error.
func retryAfter(err error) time.Duration {
	wait := askedWait(err)
	if wait <= 0 {
		return defaultRetryAfter
	}
	return min(max(wait, minRetryAfter), maxRetryAfter)
}

// askedWait is the wait that a transient error asks for: the mapping's own, else
// Knock's or the transport's. Zero or less means that it asks for none.
func askedWait(err error) time.Duration {
	if e, ok := errors.AsType[*verdict](err); ok {
		return e.after
	}
	if e, ok := errors.AsType[*actions.Error](err); ok {
		return e.RetryAfter
	}
	if e, ok := errors.AsType[*actions.SendError](err); ok {
		return e.RetryAfter
	}
	return 0
}

// verdict is an error that a mapping function has judged itself.
type verdict struct {
	outcome Outcome
	after   time.Duration
	err     error
}

func (v *verdict) Error() string { return v.err.Error() }
func (v *verdict) Unwrap() error { return v.err }

// Permanent marks err as one that no further attempt can resolve: the delivery
// ends with OutcomePermanent and Svix is told to stop. The mark holds when the
// error is wrapped further. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &verdict{outcome: OutcomePermanent, err: err}
}

// RetryAfter marks err as one that a later attempt can resolve, and asks Svix to wait for d first:
// between one second and five minutes, rounded up to seconds; zero or less means five seconds. Svix
// treats it as a hint; a [Queue] waits for exactly d, at most a day. The mark holds when the error
// is wrapped further. RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &verdict{outcome: OutcomeTransient, after: d, err: err}
}

// PanicError is a recovered panic of a mapping function, or of something in the
// Config.
type PanicError struct {
	// Value is what was passed to panic.
	Value any
	// Stack is the stack of the goroutine that panicked.
	Stack []byte

	in string // what of the Config panicked, empty for a mapping function
}

// panicError is of a panic in what of the Config panicked, unless it is known already.
func panicError(v any, in string) *PanicError {
	if p, ok := v.(*PanicError); ok && p != nil {
		return p
	}
	return &PanicError{Value: v, Stack: debug.Stack(), in: in}
}

// Error says what panicked. The value is printed only when it is a runtime
// error: any other may hold data of the event.
func (p *PanicError) Error() string {
	who := cmp.Or(p.in, "mapping function")
	if err, ok := p.Value.(interface {
		error
		RuntimeError()
	}); ok {
		return "bridge: " + who + " panicked: " + err.Error()
	}
	return fmt.Sprintf("bridge: %s panicked with a %T", who, p.Value)
}

// Unwrap returns the value when it is an error.
func (p *PanicError) Unwrap() error {
	if err, ok := p.Value.(error); ok && unsound(err) == nil {
		return err
	}
	return nil
}

// unsound returns the panic that looking at err ends in, as it does for a nil pointer
// that a function returns as an error.
func unsound(err error) (p *PanicError) {
	defer func() {
		if v := recover(); v != nil {
			p = panicError(v, "")
		}
	}()
	if OutcomeOf(err) != OutcomeDone {
		_ = err.Error()
	}
	return nil
}

// Problem says why the delivery failed, for logs and for queues that keep a text,
// without what Knock said, which may quote the event. An error that a mapping
// function has created is included as it is. It is empty when Err is nil.
func (r *Result) Problem() string {
	if r.Err == nil {
		return ""
	}
	return logText(r.Err)
}

// logText is err without Knock's messages, which quote what was sent to it.
func logText(err error) string {
	if p, ok := errors.AsType[*PanicError](err); ok {
		return p.Error()
	}
	e, ok := errors.AsType[*actions.Error](err)
	if !ok {
		return err.Error()
	}
	public := *e
	public.Message, public.Fields = "", nil
	text := []string{public.Error()}
	for _, f := range e.Fields {
		text = append(text, "field "+f.Field)
	}
	return strings.ToValidUTF8(strings.Join(text, "; "), "")
}
