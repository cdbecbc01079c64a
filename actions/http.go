package actions

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// version is part of the User-Agent header. It is the module's, which package
// bridge exports.
const version = "0.1.0-dev"

const (
	defaultBaseURL          = "https://api.knock.app"
	defaultMaxAttempts      = 3
	defaultAttemptTimeout   = 5 * time.Second
	defaultMaxRetryAfter    = 5 * time.Second
	defaultMaxResponseBytes = 1 << 20

	firstBackoff   = 250 * time.Millisecond
	longestBackoff = 2 * time.Second

	// leastAttempt is what must be left of the context's time after a wait for
	// another attempt to be worth it.
	leastAttempt = 100 * time.Millisecond
)

// HTTP is the built-in [Transport]: it speaks Knock's REST API over net/http.
//
//	knock := &actions.HTTP{APIKey: "sk_…"}
//
// It repeats what may succeed when repeated: calls that got no answer, or were
// answered 408, 429 or 5xx. Between attempts it waits 250 ms, doubled each time
// up to 2 s, less a random half; or as long as Retry-After asks. It never waits
// past the context's deadline: it returns what it has instead. All of Knock's
// operations here can be repeated without harm, except a POST that has neither
// an idempotency key nor a path that ends in /subscriptions, /members or
// /cancel (merging users is one): that is repeated only when Knock can't have
// acted on it, because no connection was made or the answer is 429.
//
// Redirects are not followed: net/http would turn a PUT into a GET whose 200
// says nothing. They come back as the answer.
//
// HTTP must be used by pointer, is safe for concurrent use, and must not be
// changed once it is in use.
type HTTP struct {
	// APIKey is the secret key, sk_…, of one of Knock's environments. Required.
	APIKey string

	// BaseURL is where Knock is. It may end in a slash and may hold a path,
	// which goes before every request's. Defaults to "https://api.knock.app".
	BaseURL string

	// Branch is the slug of a branch of Knock's development environment.
	// Defaults to none.
	Branch string

	// Client sends the requests. It is copied, so that redirects can be turned
	// off. Defaults to one of its own that keeps up to 256 idle connections,
	// where net/http's default keeps two.
	Client *http.Client

	// MaxAttempts is how often one call is sent at most. What net/http sends again
	// by itself, because a connection kept from before turned out to be closed, does
	// not count. Defaults to 3.
	MaxAttempts int

	// AttemptTimeout bounds each attempt, so that one connection that hangs does
	// not use up the time for all attempts. Defaults to 5 seconds.
	AttemptTimeout time.Duration

	// MaxRetryAfter is the longest Retry-After that is waited for; an answer
	// that asks for more is returned at once. Defaults to 5 seconds.
	MaxRetryAfter time.Duration

	// MaxResponseBytes bounds the body of an answer. A longer one is left out of
	// the Response, whose status counts as usual. Defaults to 1 MiB.
	MaxResponseBytes int64

	once     sync.Once
	problem  error
	client   *http.Client
	do       func(*http.Request) (*http.Response, error)
	traced   bool         // do always tells of its connections: others may have several ways to send
	template http.Request // what all requests have in common
	prefix   string       // the base URL's path, escaped, without a slash at its end
	headers  commonHeaders
}

// commonHeaders are header values that every request shares. They have no spare
// capacity, so that a RoundTripper which adds a value gets a slice of its own.
type commonHeaders struct {
	authorization, userAgent, branch []string
}

//nolint:gochecknoglobals // constants in all but name
var (
	jsonHeader = []string{"application/json"}
	// identity: most answers are short, and to unpack one takes more than a third of
	// the call.
	identity = []string{"identity"}
	// repeatable takes the place of an idempotency key's value: net/http does not
	// send a header without values, but takes it as leave to send the request
	// again by itself when a kept connection turns out to be closed.
	repeatable = []string{}
)

// FromEnv fills the empty fields of h from the environment variables of Knock's
// own SDKs, KNOCK_API_KEY, KNOCK_BASE_URL and KNOCK_BRANCH, and returns h. A
// field that is set stays as it is. A nil h stands for an empty one. Nothing
// else in this package reads the environment.
//
//	knock := actions.FromEnv(&actions.HTTP{})
func FromEnv(h *HTTP) *HTTP {
	if h == nil {
		h = &HTTP{}
	}
	for name, field := range map[string]*string{
		"KNOCK_API_KEY": &h.APIKey, "KNOCK_BASE_URL": &h.BaseURL, "KNOCK_BRANCH": &h.Branch,
	} {
		*field = cmp.Or(*field, os.Getenv(name))
	}
	return h
}

// Validate reports everything that is wrong with the fields, an [*InvalidError] each,
// joined by [errors.Join], or nil. The error never quotes the API key. Do returns the
// same error when there is one.
func (h *HTTP) Validate() error {
	if h == nil {
		return &InvalidError{Op: opHTTP, Field: "the pointer", Reason: "is nil"}
	}
	var problems []error
	problem := func(field, reason string) {
		problems = append(problems, &InvalidError{Op: opHTTP, Field: field, Reason: reason})
	}
	if _, reason := h.parseBase(); reason != "" {
		problem("BaseURL", reason)
	}
	switch {
	case h.APIKey == "":
		problem("APIKey", "is empty: is the environment variable set?")
	case !printable(h.APIKey):
		problem("APIKey", "holds white space, control or non-ASCII characters")
	case strings.Trim(h.APIKey, `"'`) != h.APIKey:
		problem("APIKey", "has quotes around it")
	case strings.HasPrefix(h.APIKey, "whsec_"):
		problem("APIKey", "is a signing secret (whsec_…); use a secret key of Knock (sk_…)")
	case strings.HasPrefix(h.APIKey, "pk_"):
		problem("APIKey", "is a public key (pk_…); use the secret one (sk_…)")
	}
	if !printable(h.Branch) {
		problem("Branch", fmt.Sprintf("%q holds white space, control or non-ASCII characters", h.Branch))
	}
	if h.MaxAttempts < 0 || h.AttemptTimeout < 0 || h.MaxRetryAfter < 0 || h.MaxResponseBytes < 0 {
		problem("MaxAttempts, AttemptTimeout, MaxRetryAfter and MaxResponseBytes", "can't be negative")
	}
	return errors.Join(problems...)
}

const opHTTP = "actions.HTTP"

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// parseBase says what is wrong with BaseURL, without quoting it: it may hold a
// password.
func (h *HTTP) parseBase() (u *url.URL, wrong string) {
	u, err := url.Parse(cmp.Or(h.BaseURL, defaultBaseURL))
	switch {
	case err != nil:
		return nil, "is not a URL"
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, "is not an absolute http or https URL"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, "holds a user, a query or a fragment"
	case u.Host == "api.knock.app" && strings.Trim(u.Path, "/") == "v1":
		return nil, "ends in /v1, with which the paths of all calls begin"
	}
	return u, ""
}

// prepare does once what all calls have in common.
func (h *HTTP) prepare() error {
	h.once.Do(func() {
		if h.problem = h.Validate(); h.problem != nil {
			return
		}
		base, _ := h.parseBase()
		h.prefix = strings.TrimRight(base.EscapedPath(), "/")
		h.template = http.Request{
			URL: base, Host: base.Host,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		h.headers = commonHeaders{
			authorization: []string{"Bearer " + h.APIKey},
			userAgent:     []string{"clerkknock-bridge/" + version},
		}
		if h.Branch != "" {
			h.headers.branch = []string{h.Branch}
		}
		h.client = &http.Client{}
		if h.Client != nil {
			*h.client = *h.Client
		} else {
			h.client.Transport = newRoundTripper()
		}
		h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		_, h.traced = cmp.Or(h.client.Transport, http.DefaultTransport).(*http.Transport)
		h.do = h.client.Do
		if h.Client == nil {
			// All that is left for a client to do is to copy headers for redirects.
			h.do = h.client.Transport.RoundTrip
		}
	})
	return h.problem
}

// newRoundTripper returns a net/http Transport for many calls at a time to one
// host.
func newRoundTripper() *http.Transport {
	const connections = 256
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    3 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           connections,
		MaxIdleConnsPerHost:    connections,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		// Over HTTP/2 all calls share a connection. When it dies without a word,
		// only pings tell, and every repeat would go into it as well.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second},
	}
}

// Do sends r, more than once where that can help, and returns Knock's last
// answer, whatever its status. The error is a [*SendError] when no answer came:
// it wraps the last attempt's cause, [context.Canceled] and
// [context.DeadlineExceeded] among them. It is that of [HTTP.Validate] when the
// fields are wrong, and an [*InvalidError] when r's path is not escaped.
func (h *HTTP) Do(ctx context.Context, r *Request) (*Response, error) {
	if err := h.prepare(); err != nil {
		return nil, err
	}
	target, err := h.target(r)
	if err != nil {
		return nil, err
	}
	again := r.IdempotencyKey != "" || idempotent(r)
	unsent := true
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return nil, sendError(r, attempt-1, unsent, err)
		}
		res, harmless, err := h.send(ctx, r, *target)
		if res != nil {
			res.Attempts, res.NoEffectBefore = attempt, unsent
		}
		unsent = unsent && harmless
		wait, ok := h.wait(res, attempt)
		if r.Paced && res != nil && res.Status == http.StatusTooManyRequests {
			ok = false
		}
		if ok && (again || harmless) && ctx.Err() == nil && fits(ctx, wait) && sleep(ctx, wait) {
			continue
		}
		if err != nil {
			return nil, sendError(r, attempt, unsent, stopped(ctx, err))
		}
		return res, nil
	}
}

// CloseIdleConnections closes idle connections. Programs need not call it
// before they end; tests that check for leaks do.
func (h *HTTP) CloseIdleConnections() {
	if h.prepare() == nil {
		h.client.CloseIdleConnections()
	}
}

// target is r's address. Its path is sent byte for byte.
func (h *HTTP) target(r *Request) (*url.URL, error) {
	path, query, force := strings.Cut(r.Path, "?")
	u := *h.template.URL
	u.Path, u.RawPath, u.RawQuery, u.ForceQuery = h.prefix+path, "", query, force
	var err error
	if escaped := u.Path; u.EscapedPath() != escaped { // it holds what is escaped, or has to be
		u.RawPath = escaped
		u.Path, err = url.PathUnescape(escaped)
	}
	if err != nil || !strings.HasPrefix(path, "/") || u.RawPath != "" && u.EscapedPath() != u.RawPath ||
		strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		return nil, &InvalidError{Op: r.Method, Field: "path", Reason: "is not an escaped path"}
	}
	return &u, nil
}

func (h *HTTP) header(r *Request) http.Header {
	header := make(http.Header, 8) // one group of the map's
	header["Authorization"] = h.headers.authorization
	header["User-Agent"] = h.headers.userAgent
	header["Accept"] = jsonHeader
	header["Accept-Encoding"] = identity
	if len(r.Body) > 0 {
		header["Content-Type"] = jsonHeader
	}
	if h.headers.branch != nil {
		header["X-Knock-Branch"] = h.headers.branch
	}
	switch {
	case r.IdempotencyKey != "":
		header["Idempotency-Key"] = []string{r.IdempotencyKey}
	case idempotent(r):
		header["Idempotency-Key"] = repeatable
	}
	return header
}

// idempotent reports whether a request without a key does the same when sent
// twice. PUT and DELETE do; of the POSTs, those that add to a set or cancel.
func idempotent(r *Request) bool {
	if r.Method != http.MethodPost {
		return true
	}
	path, _, _ := strings.Cut(r.Path, "?")
	return strings.HasSuffix(path, "/subscriptions") || strings.HasSuffix(path, "/members") ||
		strings.HasSuffix(path, "/cancel")
}

// send makes one attempt, and reports whether Knock can't have acted on it.
// A RoundTripper may have changed the URL and the header of the attempt before.
func (h *HTTP) send(ctx context.Context, r *Request, target url.URL) (_ *Response, harmless bool, _ error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(h.AttemptTimeout, defaultAttemptTimeout))
	defer cancel()
	var c connection
	req := h.template.WithContext(c.watched(ctx))
	req.Method, req.URL, req.Header = r.Method, &target, h.header(r)
	if len(r.Body) > 0 {
		req.ContentLength = int64(len(r.Body))
		req.Body = io.NopCloser(bytes.NewReader(r.Body)) // as which net/http sends it with the headers
		if !h.traced {
			req.Body = io.NopCloser(&watchedReader{bytes.NewReader(r.Body), &c.begun})
		}
		req.GetBody = func() (io.ReadCloser, error) { // to send again what was read
			c.begun.Store(true)
			return io.NopCloser(bytes.NewReader(r.Body)), nil
		}
	}
	answer, err := h.do(req)
	if err != nil {
		// The address is the request's: SendError names it.
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return nil, !c.begun.Load() && (h.traced && c.wanted.Load() || dialled(err)), err
	}
	body, err := readBody(answer, min(cmp.Or(h.MaxResponseBytes, defaultMaxResponseBytes), math.MaxInt64-1))
	_ = answer.Body.Close()
	if err != nil && r.Method == http.MethodGet && answer.StatusCode < http.StatusMultipleChoices {
		return nil, false, err // the answer to a GET is its body
	}
	return &Response{Status: answer.StatusCode, Header: answer.Header, Body: body},
		answer.StatusCode == http.StatusTooManyRequests, nil
}

// connection is what is known of the connection of an attempt: whether net/http began
// to look for one, and whether something has been sent, in part at least.
type connection struct{ wanted, begun atomic.Bool }

func (c *connection) watched(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.begun.Store(true) },
	})
}

// watchedReader notes that it was read: by then, something may have been sent.
type watchedReader struct {
	io.Reader

	begun *atomic.Bool
}

func (r *watchedReader) Read(p []byte) (int, error) {
	r.begun.Store(true)
	return r.Reader.Read(p)
}

// dialled reports whether an attempt has failed to connect.
func dialled(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect")
}

//nolint:gochecknoglobals // a pool has to be
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readBody reads the whole body, so that the connection can be kept, or returns
// none when it is longer than limit or breaks off. The answer's ContentLength is left
// alone, which a RoundTripper of the user's may have left wrong.
func readBody(answer *http.Response, limit int64) ([]byte, error) {
	const keep = 64 << 10
	if answer.Body == http.NoBody {
		return nil, nil
	}
	b, _ := buffers.Get().(*bytes.Buffer)
	b.Reset()
	defer func() {
		if b.Cap() <= keep {
			buffers.Put(b)
		}
	}()
	n, err := b.ReadFrom(io.LimitReader(answer.Body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case n > limit:
		return nil, errBodySize
	case n == 0:
		return nil, nil
	}
	return bytes.Clone(b.Bytes()), nil
}

var errBodySize = errors.New("the answer is over the limit")

// wait returns how long to wait before another attempt, and whether there should
// be one, after an answer (nil when none came).
func (h *HTTP) wait(res *Response, attempt int) (time.Duration, bool) {
	if attempt >= cmp.Or(h.MaxAttempts, defaultMaxAttempts) {
		return 0, false
	}
	backoff := min(firstBackoff<<min(attempt-1, 8), longestBackoff)
	jitter := rand.N(backoff / 2) //nolint:gosec // nothing depends on its quality
	if res == nil {
		return backoff/2 + jitter, true
	}
	if res.Status < 500 && res.Status != http.StatusTooManyRequests && res.Status != http.StatusRequestTimeout {
		return 0, false
	}
	if asked := ParseRetryAfter(res.Header, time.Now()); asked > 0 {
		return asked + jitter, asked <= cmp.Or(h.MaxRetryAfter, defaultMaxRetryAfter)
	}
	return backoff/2 + jitter, true
}

// fits reports whether ctx leaves time for an attempt after the wait.
func fits(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= wait+leastAttempt
}

// sleep waits, and reports whether it did to the end.
func sleep(ctx context.Context, wait time.Duration) bool {
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

// stopped adds the context's error to that of the last attempt, when it ended
// the call.
func stopped(ctx context.Context, err error) error {
	if done := ctx.Err(); done != nil && !errors.Is(err, done) {
		return fmt.Errorf("%w (last attempt: %w)", done, err)
	}
	return err
}

func sendError(r *Request, attempts int, unsent bool, err error) *SendError {
	path, _, _ := strings.Cut(r.Path, "?")
	return &SendError{Attempts: attempts, Unsent: unsent, Method: r.Method, Path: path, Err: err}
}
