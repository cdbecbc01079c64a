package backend

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/clerk/clerk-sdk-go/v2"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/internal/nettext"
)

var (
	// ErrNotFound says that Clerk does not have what was asked for. A 404 that
	// is not in Clerk's form (a wrong base URL, a proxy) is not ErrNotFound.
	ErrNotFound = errors.New("not found")

	// ErrInvalidID says that nothing was sent, because the id can't be one. It comes
	// with an [*actions.InvalidError]: a mapping function that returns it ends the
	// delivery as permanent.
	ErrInvalidID = errors.New("clerk: invalid id")

	// ErrRateLimited says that the instance has used up its rate limit (429).
	// [Error] has the wait that Clerk asks for. It is a [net.Error], which the
	// bridge counts as transient: a mapping function that returns it is tried
	// again.
	ErrRateLimited error = temporaryError("rate limited")

	// ErrUnavailable says that Clerk could not answer (408, 5xx). Like
	// ErrRateLimited it is a [net.Error].
	ErrUnavailable error = temporaryError("unavailable")
)

// temporaryError implements net.Error.
type temporaryError string

// Error returns the text.
func (e temporaryError) Error() string { return string(e) }

// Temporary returns true.
func (temporaryError) Temporary() bool { return true }

// Timeout returns false.
func (temporaryError) Timeout() bool { return false }

// sendError says that no usable answer came. Its text leaves out what the other side
// has sent.
type sendError struct {
	path string
	err  error
}

// Error names the request and the cause.
func (e *sendError) Error() string { return "clerk: GET " + e.path + ": " + nettext.Of(e.err) }

// Unwrap returns the cause.
func (e *sendError) Unwrap() error { return e.err }

// Error is Clerk's refusal of a look-up: any answer but a 200. With [errors.Is]
// it is [ErrNotFound], [ErrRateLimited] or [ErrUnavailable], or none of them, as
// for a wrong key (401).
//
// To have the delivery tried again when Clerk says so, and not after the
// bridge's own default:
//
//	if e, ok := errors.AsType[*backend.Error](err); ok && errors.Is(err, backend.ErrRateLimited) {
//		return bridge.RetryAfter(e.RetryAfter, err)
//	}
type Error struct {
	// Status is the HTTP status code.
	Status int

	// Code is Clerk's machine-readable code, such as "resource_not_found". It
	// is empty when the answer was not in Clerk's form: an HTML page, an empty
	// body.
	Code string

	// Message is Clerk's text for people. It may be empty.
	Message string

	// TraceID is for Clerk's support. It may be empty.
	TraceID string

	// RetryAfter is how long Clerk asked to wait. Zero means it did not say.
	RetryAfter time.Duration

	// Path is what was asked for, below the base URL.
	Path string
}

// maxMessage bounds how much of an answer's text an Error keeps.
const maxMessage = 512

// newError tells what Clerk refused from what was seen of the answer and from
// the SDK's error, which is nil for a redirect.
func newError(path string, seen *sighting, err error) *Error {
	e := &Error{
		Status:     seen.status, // the SDK's own is overwritten by a "status" member of the body
		TraceID:    seen.header.Get("Clerk-Trace-Id"),
		RetryAfter: actions.ParseRetryAfter(seen.header, time.Now()),
		Path:       path,
	}
	answer, ok := errors.AsType[*clerk.APIErrorResponse](err)
	if !ok {
		return e
	}
	e.TraceID = cmp.Or(answer.TraceID, e.TraceID)
	if len(answer.Errors) > 0 {
		first := answer.Errors[0]
		e.Code, e.Message = first.Code, cmp.Or(first.LongMessage, first.Message)
	}
	if len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage], "") + "…"
	}
	return e
}

// Error names the request and the answer.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "clerk: GET %s: %d", e.Path, e.Status)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.TraceID != "" {
		b.WriteString(" (trace " + e.TraceID + ")")
	}
	return b.String()
}

// Unwrap returns the sentinel for the status, or nil.
func (e *Error) Unwrap() error {
	switch {
	case e.Status == http.StatusNotFound && e.Code != "":
		return ErrNotFound
	case e.Status == http.StatusTooManyRequests:
		return ErrRateLimited
	case e.Status == http.StatusRequestTimeout, e.Status >= http.StatusInternalServerError:
		return ErrUnavailable
	}
	return nil
}
