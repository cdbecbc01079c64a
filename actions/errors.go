package actions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/clerkknock/bridge/internal/nettext"
)

// Error is Knock's refusal of one request: any answer with a status of 300 or
// more. Branch on Code where Knock documents one, else on Status.
type Error struct {
	// Status is the HTTP status code.
	Status int

	// Code is Knock's machine-readable code, such as "resource_missing". It is
	// empty when the answer held none (a proxy's HTML page, an empty body).
	Code string

	// Type groups codes, such as "invalid_request_error". It may be empty.
	Type string

	// Message is Knock's text for people. It may quote what was sent; do not
	// hand it to Clerk or to end users.
	Message string

	// Fields lists what was wrong with which member of the body, when Knock
	// says so (422 invalid_params). It holds 20 at most.
	Fields []FieldError

	// RequestID is the x-request-id of the answer. It may be empty.
	RequestID string

	// RetryAfter is how long Knock asked to wait. Zero means it did not say.
	RetryAfter time.Duration

	// Attempts is how often the request was sent.
	Attempts int

	// NoEffectBefore is true when Knock can't have acted on any attempt before the
	// last. It says nothing of the last, to which Status is the answer.
	NoEffectBefore bool

	// Method and Path are the request's.
	Method, Path string

	foreign bool // the answer is a web page, or the one for a path that Knock does not know
}

// FieldError is one entry of the "errors" member of a 422 answer.
type FieldError struct {
	// Field is the member of the body, such as "recipients".
	Field string `json:"field"`
	// Message says what is wrong with it.
	Message string `json:"message"`
}

// Error names the request and the answer.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "knock: %s %s: %d", e.Method, e.Path, e.Status)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	for _, f := range e.Fields {
		b.WriteString("; " + f.Field + " " + f.Message)
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	return b.String()
}

// An Error keeps no more than this of an answer: bytes of each text, and fields.
const (
	maxText   = 512
	maxFields = 20
)

func newError(r *Request, res *Response) *Error {
	path, _, _ := strings.Cut(r.Path, "?")
	e := &Error{
		Status:         res.Status,
		RequestID:      clip(res.Header.Get("X-Request-Id")),
		RetryAfter:     ParseRetryAfter(res.Header, time.Now()),
		Attempts:       max(res.Attempts, 1),
		NoEffectBefore: res.NoEffectBefore,
		Method:         r.Method,
		Path:           path,
	}
	// Knock answers with {"code","message","status","type","errors":[…]} or, where no
	// route matches, {"errors":{"detail":…}}; whatever else comes is not Knock's.
	var body struct {
		Code    string          `json:"code"`
		Type    string          `json:"type"`
		Message string          `json:"message"`
		Errors  json.RawMessage `json:"errors"`
	}
	// A member of another type than expected does not hide the others.
	err := json.Unmarshal(res.Body, &body)
	if _, mistyped := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mistyped {
		e.Message, e.foreign = "the answer was not Knock's JSON", isWebPage(res.Body)
		return e
	}
	e.Code, e.Type, e.Message = clip(body.Code), clip(body.Type), clip(body.Message)
	var fields []FieldError
	var detail struct {
		Detail string `json:"detail"`
	}
	switch {
	case json.Unmarshal(body.Errors, &fields) == nil:
		for _, f := range fields[:min(len(fields), maxFields)] {
			e.Fields = append(e.Fields, FieldError{Field: clip(f.Field), Message: clip(f.Message)})
		}
	case json.Unmarshal(body.Errors, &detail) == nil && e.Message == "":
		e.Message = clip(detail.Detail)
		e.foreign = e.Code == "" && detail.Detail != ""
	}
	return e
}

// isWebPage: no JSON begins like that.
func isWebPage(body []byte) bool {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// clip bounds a text of the answer.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// warningNotKnocks is the Warning of a removal whose 404 has neither code nor type, as
// Knock's have.
const warningNotKnocks = "the answer to the removal was a 404 without Knock's code, and counts as success: if something else than Knock has answered, nothing was removed"

// missing reports whether Knock says that it does not have the resource. When
// it does not have the branch, or no such route (a wrong base URL), or when a proxy
// says so, that says nothing about the resource.
func (e *Error) missing() bool {
	return e.Status == http.StatusNotFound && e.Code != "branch_not_found" && !e.foreign
}

// idempotencyMismatch reports whether Knock refused a key that it remembers
// with other parameters. The status (400) is known from a user's report and the
// code is undocumented, so the text decides. A 409 is none: elsewhere it says
// that the first call is still under way, and that one may yet fail.
func (e *Error) idempotencyMismatch() bool {
	if e.Status != http.StatusBadRequest && e.Status != http.StatusUnprocessableEntity {
		return false
	}
	if strings.Contains(strings.ToLower(e.Code+" "+e.Type), "idempoten") {
		return true
	}
	message := strings.ToLower(e.Message)
	return e.Code != "workflow_inactive" && e.Code != "invalid_params" &&
		strings.Contains(message, "idempoten") && strings.Contains(message, "key")
}

// InvalidError says that a call was refused before anything was sent, because
// Knock would not take it or would take it for something else. Repeating the
// call with the same arguments can't succeed.
type InvalidError struct {
	// Op is the operation, such as "users.identify", or the type whose fields are
	// wrong, such as "actions.HTTP".
	Op string
	// Field is the argument or the field at fault.
	Field string
	// Reason completes the sentence that begins with the field.
	Reason string
	// Data is true when the fault is in the data: an id, a key or a size. Otherwise
	// the code, or its configuration, has to change.
	Data bool
}

// Error names the operation, the field and the reason.
func (e *InvalidError) Error() string { return e.Op + ": " + e.Field + " " + e.Reason }

// SendError says that no answer came from Knock, after all attempts: the
// network, a deadline, a cancelled context, or a web page that something other
// than Knock sent. Unwrap gives the last cause.
type SendError struct {
	// Attempts is how often the request was sent.
	Attempts int
	// Unsent is true when Knock can't have acted on any of them, because no connection
	// was made, or it answered 429. False does not mean that it has: behind a
	// RoundTripper of your own, of all that fails before a connection is made only a
	// dial counts, and only when nothing has read the request's body.
	Unsent bool
	// RetryAfter is how long to wait before it is worth sending again, if the
	// Transport knows, as package pace does. Zero means unknown.
	RetryAfter time.Duration
	// Method and Path are the request's.
	Method, Path string
	// Err is the last attempt's error. Its text may quote what was sent; do not log it.
	// The SendError's own text leaves out what is in quotes.
	Err error
}

// Error names the request and the cause, without what the cause has in quotes:
// there net/http quotes bytes from the other side, which may include the request's.
func (e *SendError) Error() string {
	if e.Attempts == 0 {
		return fmt.Sprintf("knock: %s %s: not sent: %s", e.Method, e.Path, nettext.Of(e.Err))
	}
	return fmt.Sprintf("knock: %s %s: no answer after %d attempt(s): %s", e.Method, e.Path, e.Attempts, nettext.Of(e.Err))
}

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

// ParseRetryAfter reads the Retry-After header, in seconds (also with a
// fraction) or as an HTTP date, counted from now. It returns 0 when the header
// is absent, unreadable, negative or in the past, and never more than a day.
func ParseRetryAfter(h http.Header, now time.Time) time.Duration {
	const longest = 24 * time.Hour
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if !(s > 0) || math.IsInf(s, 1) { // the parser takes words such as "inf"
			return 0
		}
		if s > longest.Seconds() {
			return longest
		}
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), longest)
	}
	return 0
}
