package bridgetest

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// KnockOptions change how a [Knock] behaves. The zero value is a Knock that
// accepts every workflow, is never slow and never over its limits, and is
// strict where Knock's documents are unclear. Set them with [Knock.Configure].
type KnockOptions struct {
	// APIKey is the one secret key that is accepted; others get 401. Defaults
	// to accepting any key but a public one ("pk_…").
	APIKey string

	// CreateAudiences makes adding a member create the audience even without
	// create_audience in the query. Defaults to 404 for an unknown audience.
	CreateAudiences bool

	// CreateObjects makes a subscription create the object or tenant that is
	// subscribed to. Defaults to 404 for an unknown one: Knock's documents say
	// to set it first.
	CreateObjects bool

	// DeleteMissing makes deleting and unsubscribing from what does not exist
	// succeed. Defaults to 404. Knock documents neither.
	DeleteMissing bool

	// IdempotencyMismatch is the error code for an idempotency key that comes
	// back with other parameters; the status is 400. Knock does not document
	// the code. Defaults to "idempotency_key_mismatch".
	IdempotencyMismatch string

	// InactiveWorkflows are the keys of workflows that exist and are switched
	// off: a trigger gets 422 workflow_inactive. Defaults to none.
	InactiveWorkflows []string

	// Latency is how long every request waits, in real time, before it takes
	// effect. Defaults to no wait.
	Latency time.Duration

	// MergeProperties makes a repeated subscription merge its properties into
	// those it had. Defaults to replacing them. Knock documents neither.
	MergeProperties bool

	// Now is the clock behind timestamps, rate limits and the 24 hours of an
	// idempotency key. It is called with the fake locked and must not call it.
	// Defaults to time.Now.
	Now func() time.Time

	// RateLimits switches on Knock's limits: 1, 5, 60, 200 or 1,000 requests a
	// second for each endpoint, by tier, and one update a second for each entity
	// of the bulk endpoints. Requests over the first limit get a 429; entities
	// over the second are skipped and named in an x-ratelimited-… header. Defaults
	// to no limits.
	RateLimits bool

	// RetryAfter adds the header of that name to every 429 of RateLimits.
	// Defaults to no header: Knock documents none.
	RetryAfter bool

	// Workflows are the keys that exist; others get 404 workflow_missing.
	// Nil means that every key does. Defaults to nil.
	Workflows []string
}

// Configure calls change with the options in force and applies the changed
// options to every request from then on. It may be called at any time; change
// must not call the fake.
//
//	knock.Configure(func(o *bridgetest.KnockOptions) { o.RateLimits = true })
func (k *Knock) Configure(change func(*KnockOptions)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.options)
}

// Fault is a way for a request to go wrong, see [Knock.Fail]. Of Hang, Drop
// and Status the first that is set counts; with none of them the request is
// only delayed.
type Fault struct {
	// Method is the HTTP method of the requests that are met. Empty means any.
	Method string

	// Path is a part of the path of the requests that are met, as it is sent:
	// "/trigger", or "/v1/users/user_1". Empty means any.
	Path string

	// Applied lets the request take effect first, so that only its answer is
	// lost. Otherwise it takes no effect.
	Applied bool

	// Delay is how long the client waits, in real time.
	Delay time.Duration

	// Hang keeps the client waiting until it gives up or the fake is closed.
	Hang bool

	// Drop resets the connection once the request has been read.
	Drop bool

	// Status is the status that is answered.
	Status int

	// Header goes with Status: Retry-After, Location, Content-Type. The
	// content type defaults to what Body looks like.
	Header http.Header

	// Body goes with Status, as it stands. Empty means an empty body.
	Body string
}

type armedFault struct {
	Fault

	left int
}

// Fail arms the fault for the next n requests it matches. Faults armed earlier
// go first. The returned function disarms what is left of it; ignore it when n
// is used up anyway.
func (k *Knock) Fail(n int, f Fault) (stop func()) {
	f.Header = f.Header.Clone()
	armed := &armedFault{Fault: f, left: n}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = append(k.faults, armed)
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		armed.left = 0
	}
}

func (k *Knock) takeFault(r *http.Request) *armedFault {
	for _, f := range k.faults {
		if f.left > 0 && (f.Method == "" || f.Method == r.Method) && strings.Contains(r.URL.EscapedPath(), f.Path) {
			f.left--
			return f
		}
	}
	return nil
}

func (f *Fault) write(w http.ResponseWriter, requestID string) {
	header := w.Header()
	for name, values := range f.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	header.Set("X-Request-Id", requestID)
	if f.Body != "" && header.Get("Content-Type") == "" {
		header.Set("Content-Type", sniff(f.Body))
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body)) // the client may be gone
}

func sniff(body string) string {
	if json.Valid([]byte(body)) {
		return "application/json; charset=utf-8"
	}
	return http.DetectContentType([]byte(body))
}

// drop resets the connection instead of closing it, as a crashing proxy does.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// rateWindow counts the requests to one endpoint within one second.
type rateWindow struct {
	start time.Time
	count int
}

// perSecond is the number of requests a second by tier; tiers count from one.
var perSecond = [...]int{1: 1, 2: 5, 3: 60, 4: 200, 5: 1000}

// limit counts a request against its endpoint's tier.
func (k *Knock) limit(rt *route, now time.Time) error {
	if !k.options.RateLimits {
		return nil
	}
	window := k.limits[rt]
	if now.Before(window.start) || !now.Before(window.start.Add(time.Second)) {
		window = rateWindow{start: now}
	}
	window.count++
	k.limits[rt] = window
	if window.count <= perSecond[rt.tier] {
		return nil
	}
	refusal := &apiError{
		status: http.StatusTooManyRequests, code: "rate_limit_exceeded", kind: typeAPI,
		message: "Too many requests to this endpoint.", header: make(http.Header),
	}
	if k.options.RetryAfter {
		wait := window.start.Add(time.Second).Sub(now)
		seconds := int((wait + time.Second - 1) / time.Second)
		refusal.header.Set("Retry-After", strconv.Itoa(seconds))
	}
	return refusal
}
