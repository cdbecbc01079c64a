package eventlog

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/pace"
)

// Fault says what kind of problem ended an attempt, for a machine. [Explain]
// says it to a person.
type Fault struct {
	// Kind is what went wrong, for a switch.
	Kind FaultKind `json:"kind"`

	// Op is the operation that was refused before it was sent, such as
	// "users.identify".
	Op string `json:"op,omitempty"`

	// Fields are the members or arguments at fault, where that is known.
	Fields []string `json:"fields,omitempty"`

	// Target is the method and path of the call that failed.
	Target string `json:"target,omitempty"`

	// Status and Code are Knock's.
	Status int    `json:"status,omitzero"`
	Code   string `json:"code,omitempty"`
}

// FaultKind is what went wrong with an attempt.
type FaultKind string

// The kinds of problems.
const (
	FaultMissingField FaultKind = "missing_field" // an argument of a call is empty
	FaultWrongPath    FaultKind = "wrong_path"    // Knock does not have what the call names
	FaultWrongType    FaultKind = "wrong_type"    // a value is of another type than expected
	FaultBadValue     FaultKind = "bad_value"     // an argument can't be sent
	FaultAPIKey       FaultKind = "api_key"       // Knock refused the key
	FaultRateLimited  FaultKind = "rate_limited"  // Knock's limit, or no turn for the call in package pace
	FaultPaused       FaultKind = "paused"        // package pace holds back such calls since Knock refused one
	FaultKnockDown    FaultKind = "knock_down"    // Knock failed
	FaultRefused      FaultKind = "refused"       // Knock refused the call for another reason
	FaultNoAnswer     FaultKind = "no_answer"     // no answer came from Knock
	FaultTimeout      FaultKind = "timeout"       // the time for the delivery was over
	FaultBusy         FaultKind = "busy"          // another attempt, or another delivery about the same, was in progress
	FaultPanic        FaultKind = "panic"         // a mapping function, or what the Config holds, panicked
	FaultNotAnEvent   FaultKind = "not_an_event"  // the body is not a webhook event
	FaultVerification FaultKind = "verification"  // the request was not verified
	FaultOther        FaultKind = "other"         // the mapping function, or the ledger, returned an error of its own
)

// faultOf classifies an error as [bridge.OutcomeOf] does.
func faultOf(err error) *Fault {
	if _, ok := errors.AsType[*bridge.PanicError](err); ok {
		return &Fault{Kind: FaultPanic}
	}
	for _, check := range checks {
		if errors.Is(err, check.err) {
			return &Fault{Kind: FaultVerification}
		}
	}
	if errors.Is(err, bridge.ErrBusy) || errors.Is(err, bridge.ErrClaimLost) {
		return &Fault{Kind: FaultBusy}
	}
	if _, ok := errors.AsType[*clerk.ParseError](err); ok {
		return &Fault{Kind: FaultNotAnEvent}
	}
	if _, ok := errors.AsType[*clerk.DecodeError](err); ok {
		return &Fault{Kind: FaultWrongType}
	}
	// The fields of a Transport are no fault of a mapping.
	if e, ok := errors.AsType[*actions.InvalidError](err); ok && e.Op != "actions.HTTP" && e.Op != "pace.Transport" {
		kind := FaultBadValue
		if strings.Contains(e.Reason, "empty") || strings.Contains(e.Reason, "nil") {
			kind = FaultMissingField
		}
		return &Fault{Kind: kind, Op: e.Op, Fields: []string{plain(e.Field)}}
	}
	if e, ok := errors.AsType[*actions.Error](err); ok {
		return knockFault(e)
	}
	if e, ok := errors.AsType[*actions.SendError](err); ok {
		return unsentFault(e)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Fault{Kind: FaultTimeout}
	}
	return &Fault{Kind: FaultOther}
}

func target(method, path string) string { return method + " " + path }

// unsentFault is of a call that got no answer. One with RetryAfter was held back by
// a Transport that keeps Knock's limits.
func unsentFault(e *actions.SendError) *Fault {
	f := &Fault{Kind: FaultNoAnswer, Target: plain(target(e.Method, e.Path))}
	if paused, ok := errors.AsType[*pace.PausedError](e); ok {
		f.Kind, f.Status = FaultPaused, paused.Status
	} else if e.RetryAfter > 0 {
		f.Kind = FaultRateLimited
	}
	return f
}

func knockFault(e *actions.Error) *Fault {
	f := &Fault{Kind: FaultRefused, Status: e.Status, Code: plain(e.Code), Target: plain(target(e.Method, e.Path))}
	for _, field := range e.Fields {
		f.Fields = append(f.Fields, plain(field.Field))
	}
	switch {
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		f.Kind = FaultAPIKey
	case e.Status == http.StatusNotFound:
		f.Kind = FaultWrongPath
	case e.Status == http.StatusTooManyRequests:
		f.Kind = FaultRateLimited
	case e.Status >= http.StatusInternalServerError:
		f.Kind = FaultKnockDown
	case requiredOnly(e.Fields):
		f.Kind = FaultMissingField
	case e.Status == http.StatusUnprocessableEntity && (len(e.Fields) > 0 || e.Code == "invalid_params"):
		f.Kind = FaultWrongType
	}
	return f
}

// requiredOnly reports whether all that Knock objects to is that something is
// missing.
func requiredOnly(fields []actions.FieldError) bool {
	for _, f := range fields {
		message := strings.ToLower(f.Message)
		if !strings.Contains(message, "required") && !strings.Contains(message, "missing") && !strings.Contains(message, "blank") {
			return false
		}
	}
	return len(fields) > 0
}
