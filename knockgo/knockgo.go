// Package knockgo sends the bridge's calls through Knock's official Go client,
// for programs that hold one already: its key, base URL, branch, HTTP client,
// headers and middleware apply to the bridge's calls too.
//
//	client := knock.NewClient(option.WithAPIKey(os.Getenv("KNOCK_API_KEY")))
//	handler, err := bridge.New(bridge.Config{Knock: knockgo.New(client), …})
//
// The transport that is built into the bridge, actions.HTTP, speaks the same
// API without an additional dependency.
//
// The client's typed methods are not used. As of knock-go v1.38.0 they put ids
// into paths unescaped (user.go: fmt.Sprintf("v1/users/%s", userID)), leave nil
// values out of maps, and fail on a 204 or an HTML answer where they expect
// JSON. Requests go through [knock.Client.Execute] as the bridge has built
// them, byte for byte.
//
// To run the tests: "go mod tidy && go test -race ./..." in this folder.
package knockgo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/clerkknock/bridge/actions"
	"github.com/knocklabs/knock-go"
	"github.com/knocklabs/knock-go/option"
)

// maxAnswer bounds the body of an answer, as in actions.HTTP. The client itself
// reads without a limit.
const maxAnswer = 1 << 20

type transport struct{ client *knock.Client }

// New returns a Transport that sends through client, or nil for a nil client,
// which bridge.New reports. It is safe for concurrent use, as the client is.
//
// Some of the client's behaviour is overridden for the bridge's calls; other
// uses of the client are not affected:
//
//   - Unlike with actions.HTTP, nothing is repeated, whatever
//     option.WithMaxRetries says: the client waits as long as a Retry-After
//     header asks, without a limit, which a webhook can't. The answer goes to
//     the bridge, which has the delivery sent again. Middleware of the client
//     may repeat requests; Response.Attempts counts them.
//   - Idempotency-Key is sent on workflow triggers only, with the bridge's key.
//     The client would send a random one with every write, which makes net/http
//     repeat even writes that have a different effect the second time.
//   - A redirect is an answer like any other, not a success. The client's HTTP
//     client may still follow a redirect before the bridge sees it, unless its
//     CheckRedirect returns [http.ErrUseLastResponse].
//   - A body longer than 1 MiB, or one that breaks off, is left out of the
//     Response, whose status counts as usual: Knock has done what it was asked.
//     Only a GET fails because of it.
//
// There is no timeout but the context's (the bridge sets one for every
// delivery) and the one given with option.WithRequestTimeout.
func New(client *knock.Client) actions.Transport {
	if client == nil {
		return nil
	}
	return &transport{client}
}

// Do sends r. Whatever Knock answers is returned as a Response; the error is an
// *actions.SendError when no answer came.
func (t *transport) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	var (
		answer *http.Response
		sent   atomic.Int64
		params any
	)
	if len(r.Body) > 0 {
		params = []byte(r.Body) // sent as it is
	}
	key := option.WithHeaderDel("Idempotency-Key")
	if r.IdempotencyKey != "" {
		key = option.WithIdempotencyKey(r.IdempotencyKey)
	}
	err := t.client.Execute(ctx, r.Method, r.Path, params, nil,
		key,
		option.WithMaxRetries(0),
		option.WithResponseBodyInto(&answer),
		// The last middleware is the innermost one: it sees every request sent.
		option.WithMiddleware(func(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
			sent.Add(1)
			if r.IdempotencyKey == "" && r.Method != http.MethodPost {
				// net/http does not send a header without values, but takes it as
				// leave to repeat a request on a kept connection that was closed.
				req.Header["Idempotency-Key"] = []string{}
			}
			res, err := next(req)
			if err != nil {
				return res, err
			}
			return limited(undoRedirects(res)), nil
		}),
	)
	// From 400 on, err is what the client makes of the answer (a *knock.Error, a
	// complaint about the body) and the answer is there as well.
	if err != nil && (answer == nil || answer.StatusCode < http.StatusBadRequest) {
		return nil, sendError(r, sent.Load(), err)
	}
	body, err := readBody(answer.Body)
	if err != nil && r.Method == http.MethodGet && answer.StatusCode < http.StatusMultipleChoices {
		return nil, sendError(r, sent.Load(), err) // the answer to a GET is its body
	}
	return &actions.Response{Status: answer.StatusCode, Header: answer.Header, Body: body, Attempts: int(sent.Load())}, nil
}

func sendError(r *actions.Request, attempts int64, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the address is the request's: SendError names it
	}
	path, _, _ := strings.Cut(r.Path, "?")
	return &actions.SendError{Attempts: int(attempts), Method: r.Method, Path: path, Err: err}
}

// readBody returns the whole body or none of it.
func readBody(body io.ReadCloser) ([]byte, error) {
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if len(b) > maxAnswer {
		return nil, errors.New("the answer is over the limit")
	}
	return b, nil
}

// undoRedirects returns the first answer where the HTTP client has followed
// redirects: net/http turns a PUT into a GET, whose 200 says nothing.
func undoRedirects(res *http.Response) *http.Response {
	first := res
	for first.Request != nil && first.Request.Response != nil {
		first = first.Request.Response
	}
	if first != res {
		_ = res.Body.Close()
		first.Body = http.NoBody // read and closed by the HTTP client
	}
	return first
}

// limited lets one byte more through than an answer may have.
func limited(res *http.Response) *http.Response {
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer+1), res.Body}
	return res
}
