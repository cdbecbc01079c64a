package actions

import (
	"context"
	"encoding/json"
	"net/http"
)

// Request is one call to Knock's REST API.
type Request struct {
	// Method is the HTTP method.
	Method string

	// Path starts with "/v1/", is already escaped segment by segment and may
	// end in a query. A Transport appends it to its base URL as it stands.
	Path string

	// Body is the JSON body, or nil when the operation has none.
	Body json.RawMessage

	// IdempotencyKey goes into the header of the same name when it is not
	// empty. Knock honours it on workflow triggers only, for 24 hours, and
	// takes at most 255 characters.
	IdempotencyKey string

	// Paced is set by a Transport that keeps Knock's rate limits, such as package
	// pace's, for the Transport that it wraps: that one returns a 429 at once
	// instead of waiting it out.
	Paced bool
}

type bulkKey struct{}

// AllowBulk returns a context for calls that may be combined with those of other
// deliveries, in one of Knock's bulk calls, when there are more than Knock
// accepts one by one. It is for [Client.IdentifyUser], [Client.SetTenant] and
// [Client.Subscribe], with a Transport that sends in bulk, such as package
// pace's; otherwise it changes nothing. The call returns when Knock has applied
// it, which takes longer in bulk.
func AllowBulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// BulkAllowed reports whether ctx comes from [AllowBulk]. It is for Transports.
func BulkAllowed(ctx context.Context) bool { return ctx.Value(bulkKey{}) != nil }

// Response is Knock's answer to a [Request], whatever its status.
type Response struct {
	// Status is the HTTP status code.
	Status int

	// Header may be nil.
	Header http.Header

	// Body is empty for 204. It must not be changed once it is returned.
	Body json.RawMessage

	// Attempts counts how often the request was sent to get this answer.
	// Zero means that the Transport does not count.
	Attempts int

	// NoEffectBefore is true when the Transport knows that Knock can't have acted on
	// any attempt before the last: each found no connection or was answered 429. It
	// says nothing about the last, whose answer this is.
	NoEffectBefore bool
}

// Transport sends requests to Knock. [HTTP] is the built-in one.
//
// Do returns a nil error whenever Knock answered, with whatever status: the
// [Client] turns statuses into an [*Error]. An error means that no answer came:
// the network, a deadline, a cancelled context. It may be a [*SendError], which
// says more; the Client wraps any other in one, unless it is an [*Error] or an
// [*InvalidError]. Implementations must be safe for concurrent use and must not
// keep or change the request.
type Transport interface {
	Do(ctx context.Context, r *Request) (*Response, error)
}
