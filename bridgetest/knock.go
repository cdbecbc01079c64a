package bridgetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clerkknock/bridge/actions"
)

// maxRequestBody is the size of a request body above which Knock is not asked
// any more. Knock documents 10 MB for the data of a trigger and nothing for a
// body as a whole.
const maxRequestBody = 10 << 20

// Knock is a stateful, in-memory fake of Knock's REST API behind a real HTTP
// server on the loopback interface. It keeps users, objects, tenants,
// subscriptions, audiences, preferences, channel data, schedules and workflow
// runs, answers with Knock's statuses, bodies and errors, and lets a test
// inspect the result.
//
// Any bearer key that does not start with "pk_" is accepted, and any workflow
// key runs, unless [KnockOptions] say otherwise. Nothing is ever sent to
// anyone.
//
// A Knock is safe for concurrent use; requests take effect one at a time. Bulk
// operations are done later, as at Knock: a client sees their effect once it
// has polled them to completion. The methods that inspect the fake first finish
// whatever is under way.
type Knock struct {
	// URL is the base URL of the server, without a trailing slash. Hand it to
	// whatever client is under test, or use [Knock.Transport].
	URL string

	server   *http.Server
	served   chan struct{} // closed when Serve has returned
	closing  chan struct{} // closed by Close; lets waiting requests go
	report   func(error)
	routes   []*route
	handlers sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	options KnockOptions
	faults  []*armedFault
	calls   []*Call
	serial  uint64 // of request ids
	limits  map[*route]rateWindow
	*store  //nolint:embeddedstructfieldcheck // guarded by mu, like what stands above
}

// NewKnock starts a [Knock] for the duration of the test. The test fails when
// the server can't start or when the fake itself breaks; a request that Knock
// would refuse is refused and fails nothing.
func NewKnock(t testing.TB) *Knock {
	t.Helper()
	k, err := startKnock(func(err error) { t.Errorf("bridgetest: the fake of Knock broke: %v", err) })
	if err != nil {
		t.Fatalf("bridgetest: start the fake of Knock: %v", err)
	}
	t.Cleanup(k.Close)
	return k
}

// StartKnock is [NewKnock] for programs that are not tests. The caller closes
// what it returns. It panics when no loopback port can be opened, and a bug
// within the fake shows as status 500.
func StartKnock() *Knock {
	k, err := startKnock(func(error) {})
	if err != nil {
		panic(fmt.Sprintf("bridgetest: start the fake of Knock: %v", err))
	}
	return k
}

func startKnock(report func(error)) (*Knock, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	k := &Knock{
		URL:     "http://" + listener.Addr().String(),
		served:  make(chan struct{}),
		closing: make(chan struct{}),
		report:  report,
		routes:  newRoutes(),
		limits:  make(map[*route]rateWindow),
		store:   newStore(),
	}
	k.server = &http.Server{Handler: http.HandlerFunc(k.serve), ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(k.served)
		_ = k.server.Serve(listener) // always ends with http.ErrServerClosed
	}()
	return k, nil
}

// Close stops the server, cuts requests that are still waiting, and returns
// when everything the fake started has ended. What it holds stays readable.
// Closing twice is a no-op.
func (k *Knock) Close() {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	k.closed = true
	k.mu.Unlock()

	close(k.closing)
	_ = k.server.Close()
	<-k.served
	k.handlers.Wait()
}

// Reset forgets everything that was stored and recorded, and every fault that
// is still armed. Options stay as they are.
func (k *Knock) Reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = nil
	k.calls = nil
	k.limits = make(map[*route]rateWindow)
	k.store = newStore()
}

// Transport returns an [actions.Transport] that talks to the fake over HTTP
// with a secret key. It makes one attempt per request, follows no redirect and
// opens a new connection every time, so that an armed [Fault] meets exactly
// the requests the caller made.
func (k *Knock) Transport() actions.Transport {
	return &transport{
		baseURL: k.URL,
		client: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

type transport struct {
	baseURL string
	client  *http.Client
}

// Do sends r once.
func (t *transport) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, t.baseURL+r.Path, body)
	if err != nil {
		return nil, fmt.Errorf("bridgetest: %w", err)
	}
	req.Header.Set("Authorization", "Bearer sk_test_bridgetest")
	req.Header.Set("Accept", "application/json")
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.IdempotencyKey != "" {
		req.Header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	res, err := t.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("bridgetest: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("bridgetest: read the answer: %w", err)
	}
	return &actions.Response{Status: res.StatusCode, Header: res.Header, Body: answer, Attempts: 1}, nil
}

// reply is an answer before it is written. A nil body is no body.
type reply struct {
	status int
	header http.Header
	body   any
}

// request is what an operation sees of an HTTP request.
type request struct {
	params []string // the decoded path parameters, left to right
	path   string
	query  *query
	body   map[string]any
	header http.Header
	now    time.Time
	id     string // the x-request-id of the answer
	route  *route
}

func (k *Knock) serve(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	k.handlers.Add(1)
	k.mu.Unlock()
	defer k.handlers.Done()

	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away while sending
	}
	// A client that still writes when the connection closes never sees the answer.
	_, _ = io.CopyN(io.Discard, r.Body, maxRequestBody)

	k.mu.Lock()
	k.serial++
	requestID := fmt.Sprintf("req_%08d", k.serial)
	call := newCall(r, body, k.now())
	k.calls = append(k.calls, call)
	latency := k.options.Latency
	fault := k.takeFault(r)
	k.mu.Unlock()

	if !k.wait(r.Context(), latency) {
		panic(http.ErrAbortHandler)
	}

	var answer reply
	if fault == nil {
		answer = k.answer(r, body, requestID)
	} else {
		if fault.Applied {
			answer = k.answer(r, body, requestID)
		}
		if !k.wait(r.Context(), fault.Delay) {
			panic(http.ErrAbortHandler)
		}
		switch {
		case fault.Hang:
			k.hang(r.Context())
			panic(http.ErrAbortHandler)
		case fault.Drop:
			drop(w)
			return
		case fault.Status != 0:
			k.setStatus(call, fault.Status)
			fault.write(w, requestID)
			return
		case !fault.Applied:
			answer = k.answer(r, body, requestID)
		}
	}
	k.setStatus(call, answer.status)
	answer.write(w, requestID)
}

// answer runs the operation behind a request.
func (k *Knock) answer(r *http.Request, body []byte, requestID string) (answer reply) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() {
		if v := recover(); v != nil {
			k.report(fmt.Errorf("%s %s: panic: %v\n%s", r.Method, r.URL.EscapedPath(), v, debug.Stack()))
			answer = errorReply(&apiError{status: http.StatusInternalServerError, code: "internal_server_error", kind: typeAPI, message: "The fake broke while answering."})
		}
	}()
	answer, err := k.dispatch(r, body, requestID)
	if err != nil {
		refusal, ok := errors.AsType[*apiError](err)
		if !ok {
			panic(err)
		}
		return errorReply(refusal)
	}
	return answer
}

func (k *Knock) dispatch(r *http.Request, body []byte, requestID string) (reply, error) {
	rt, params := k.match(r.Method, r.URL.EscapedPath())
	if rt == nil {
		return reply{
			status: http.StatusNotFound,
			body:   map[string]any{"errors": map[string]any{"detail": "404 Not Found"}},
		}, nil
	}
	if err := k.authorize(r.Header.Get("Authorization")); err != nil {
		return reply{}, err
	}
	now := k.now()
	if err := k.limit(rt, now); err != nil {
		return reply{}, err
	}
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return reply{}, err
	}
	req := &request{
		params: params,
		path:   r.URL.EscapedPath(),
		query:  q,
		header: r.Header,
		now:    now,
		id:     requestID,
		route:  rt,
	}
	if rt.body {
		if req.body, err = decodeBody(body); err != nil {
			return reply{}, err
		}
	}
	return rt.run(k, req)
}

func decodeBody(raw []byte) (map[string]any, error) {
	if len(raw) > maxRequestBody {
		return nil, invalid("body", "is too large")
	}
	var body any
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, &apiError{status: http.StatusBadRequest, code: "bad_request", kind: typeInvalid, message: "The request body is not JSON."}
	}
	members, ok := body.(map[string]any)
	if !ok {
		return nil, invalid("body", "must be an object")
	}
	return members, nil
}

// authorize tells a missing key (401) from a public one (403).
func (k *Knock) authorize(header string) error {
	key, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || key == "" || k.options.APIKey != "" && key != k.options.APIKey && !strings.HasPrefix(key, "pk_") {
		return &apiError{
			status: http.StatusUnauthorized, code: "api_key_missing", kind: typeAuthentication,
			message: "An API key must be provided, and must be valid.",
		}
	}
	if strings.HasPrefix(key, "pk_") {
		return &apiError{
			status: http.StatusForbidden, code: "authorization", kind: typeAuthentication,
			message: "A public API key may not do this.",
		}
	}
	return nil
}

// wait reports whether d went by before the client or the server went away.
func (k *Knock) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
	case <-k.closing:
	}
	return false
}

func (k *Knock) hang(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-k.closing:
	}
}

func (k *Knock) setStatus(c *Call, status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.Status = status
}

func (k *Knock) now() time.Time {
	if k.options.Now != nil {
		return k.options.Now().UTC()
	}
	return time.Now().UTC()
}

func (a reply) write(w http.ResponseWriter, requestID string) {
	header := w.Header()
	for name, values := range a.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	header.Set("X-Request-Id", requestID)
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	raw, err := json.Marshal(a.body)
	if err != nil {
		panic(err) // decoded from JSON or built here: can't fail
	}
	header.Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_, _ = w.Write(raw) // the client may be gone
}

func success(body any) (reply, error) { return reply{status: http.StatusOK, body: body}, nil }

func noContent() (reply, error) { return reply{status: http.StatusNoContent}, nil }

// Call is a request that reached the fake, in the order of arrival.
type Call struct {
	// Method is the HTTP method.
	Method string

	// Path is the path as it was sent, still escaped.
	Path string

	// Query is the decoded query.
	Query url.Values

	// Header holds Accept, Content-Type, User-Agent, X-Knock-Branch and the
	// other X- headers. The key in Authorization is not kept.
	Header http.Header

	// Body is the body as it was sent, or nil.
	Body json.RawMessage

	// IdempotencyKey is the header of that name.
	IdempotencyKey string

	// Status is what the fake answered: zero while the request is under way,
	// and when the client got no answer.
	Status int

	// Time is when the request arrived, on the fake's clock.
	Time time.Time
}

func newCall(r *http.Request, body []byte, now time.Time) *Call {
	c := &Call{
		Method:         r.Method,
		Path:           r.URL.EscapedPath(),
		Query:          r.URL.Query(),
		Header:         make(http.Header),
		IdempotencyKey: r.Header.Get("Idempotency-Key"),
		Time:           now,
	}
	if len(body) > 0 {
		c.Body = body
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-") || name == "Accept" || name == "Content-Type" || name == "User-Agent" {
			c.Header[name] = values
		}
	}
	return c
}

// Calls returns the requests received since the start or the last
// [Knock.Reset], oldest first, refused requests and those that met a fault
// included.
func (k *Knock) Calls() []Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	calls := make([]Call, len(k.calls))
	for i, c := range k.calls {
		calls[i] = *c
		calls[i].Query = cloneValues(c.Query)
		calls[i].Header = c.Header.Clone()
		calls[i].Body = bytes.Clone(c.Body)
	}
	return calls
}

func cloneValues(values url.Values) url.Values {
	c := make(url.Values, len(values))
	for name, v := range values {
		c[name] = append([]string(nil), v...)
	}
	return c
}
