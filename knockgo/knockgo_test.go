package knockgo_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/knockgo"
	"github.com/knocklabs/knock-go"
	"github.com/knocklabs/knock-go/option"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type received struct {
	method, uri, body string
	header            http.Header
}

// server records what it receives and answers with answer.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	requests []received
}

func newServer(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		s.mu.Lock()
		s.requests = append(s.requests, received{r.Method, r.RequestURI, string(body), r.Header.Clone()})
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) received() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// client answers every call of the test's server with the options given on top.
func (s *server) client(opts ...option.RequestOption) *knock.Client {
	return knock.NewClient(append([]option.RequestOption{option.WithBaseURL(s.URL), option.WithAPIKey("sk_test_1")}, opts...)...)
}

func ok(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":"user_1"}`)
}

func status(code int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func TestNewNil(t *testing.T) {
	t.Parallel()
	if knockgo.New(nil) != nil { // and not merely a nil pointer in an interface
		t.Error("want a nil Transport, which bridge.New reports")
	}
}

func TestPathsArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	s := newServer(t, ok)
	for _, base := range []string{"", "/", "/proxy/knock", "/proxy/knock/"} {
		for _, path := range []string{
			"/v1/users/user_1",
			"/v1/users/a%2Fb",
			"/v1/users/a%20b%3Fc=d%23e",
			"/v1/users/%252Fpercent",
			"/v1/users/%2E%2E",
			"/v1/users/a-._~!$&'()*+,;=:@b",
			"/v1/users/%C3%A9%E2%82%AC",
			"/v1/users/%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D",
			"/v1/objects/$tenants/org_1/subscriptions",
			"/v1/audiences/beta/members?create_audience=true",
			"/v1/tenants/bulk/delete?tenant_ids[]=a%2Fb&tenant_ids[]=c+d",
		} {
			transport := knockgo.New(s.client(option.WithBaseURL(s.URL + base)))
			_, err := transport.Do(t.Context(), &actions.Request{Method: http.MethodGet, Path: path})
			require.NoError(t, err, path)
			got := s.received()
			assert.Equal(t, strings.TrimSuffix(base, "/")+path, got[len(got)-1].uri)
		}
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	const body = `{"b":null,"a":[null, 1.0],"html":"<&>é\u00e9","n":12345678901234567890}`
	cases := map[string]struct {
		request actions.Request
		opts    []option.RequestOption
		body    string
		header  map[string]string // "" means that it must not be sent
	}{
		"a write carries its bytes and no key": {
			request: actions.Request{Method: http.MethodPut, Path: "/v1/users/user_1", Body: json.RawMessage(body)},
			body:    body,
			header: map[string]string{
				"Authorization": "Bearer sk_test_1", "Content-Type": "application/json", "Idempotency-Key": "", "X-Knock-Branch": "",
			},
		},
		"a trigger carries its key": {
			request: actions.Request{
				Method: http.MethodPost, Path: "/v1/workflows/welcome/trigger", Body: json.RawMessage(`{}`), IdempotencyKey: "msg_1:x",
			},
			body:   `{}`,
			header: map[string]string{"Idempotency-Key": "msg_1:x"},
		},
		"a delete without a body has no content type": {
			request: actions.Request{Method: http.MethodDelete, Path: "/v1/users/user_1"},
			header:  map[string]string{"Content-Type": "", "Idempotency-Key": ""},
		},
		"a delete may have a body": {
			request: actions.Request{
				Method: http.MethodDelete, Path: "/v1/objects/$tenants/org_1/subscriptions", Body: json.RawMessage(`{"recipients":["user_1"]}`),
			},
			body:   `{"recipients":["user_1"]}`,
			header: map[string]string{"Content-Type": "application/json"},
		},
		"the client's options apply": {
			request: actions.Request{Method: http.MethodPut, Path: "/v1/users/user_1", Body: json.RawMessage(`{}`)},
			opts: []option.RequestOption{
				option.WithBranch("my-branch"),
				option.WithHeader("X-Mine", "1"),
				option.WithIdempotencyKey("one for all would be wrong"),
				option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
					r.Header.Set("X-Middleware", "1")
					return next(r)
				}),
			},
			body:   `{}`,
			header: map[string]string{"X-Knock-Branch": "my-branch", "X-Mine": "1", "X-Middleware": "1", "Idempotency-Key": ""},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, ok)
			res, err := knockgo.New(s.client(tc.opts...)).Do(t.Context(), &tc.request)
			require.NoError(t, err)
			assert.Equal(t, 200, res.Status)
			assert.JSONEq(t, `{"id":"user_1"}`, string(res.Body))
			assert.Equal(t, 1, res.Attempts)

			got := s.received()
			require.Len(t, got, 1)
			assert.Equal(t, tc.request.Method, got[0].method)
			assert.Equal(t, tc.body, got[0].body, "byte for byte")
			for k, v := range tc.header {
				assert.Equal(t, v, got[0].header.Get(k), k)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	const jsonType, missing = "application/json", `{"code":"resource_missing","message":"no","status":404,"type":"api_error"}`
	cases := map[string]struct {
		status int
		header map[string]string
		body   string
	}{
		"json":               {200, map[string]string{"Content-Type": jsonType, "X-Request-Id": "req_1"}, `[{"a":null}]`},
		"no content":         {204, nil, ""},
		"empty json":         {200, map[string]string{"Content-Type": jsonType}, ""},
		"not json":           {200, map[string]string{"Content-Type": "text/html"}, "<html>"},
		"broken json":        {200, map[string]string{"Content-Type": jsonType}, `{"a":`},
		"not modified":       {304, nil, ""},
		"refused":            {404, map[string]string{"Content-Type": jsonType, "X-Request-Id": "req_2"}, missing},
		"refused in html":    {403, map[string]string{"Content-Type": "text/html"}, "<html>no</html>"},
		"refused, empty":     {401, nil, ""},
		"refused, an array":  {400, map[string]string{"Content-Type": jsonType}, `[1]`},
		"refused, odd types": {422, map[string]string{"Content-Type": jsonType}, `{"StatusCode":"x","code":7,"errors":{}}`},
		"rate limit":         {429, map[string]string{"Retry-After": "3600"}, ""},
		"conflict":           {409, map[string]string{"X-Should-Retry": "true"}, missing},
		"server error":       {500, map[string]string{"Content-Type": "text/html"}, "<html>oops</html>"},
		"unavailable":        {503, map[string]string{"Retry-After": "7"}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, status(tc.status, tc.header, tc.body))
			res, err := knockgo.New(s.client()).Do(t.Context(), &actions.Request{
				Method: http.MethodPost, Path: "/v1/workflows/w/trigger", Body: json.RawMessage(`{}`), IdempotencyKey: "k",
			})
			require.NoError(t, err)
			assert.Equal(t, tc.status, res.Status)
			assert.Equal(t, tc.body, string(res.Body))
			for k, v := range tc.header {
				assert.Equal(t, v, res.Header.Get(k), k)
			}
			assert.Len(t, s.received(), 1, "sent once")
			assert.Equal(t, 1, res.Attempts)
		})
	}
}

func TestRedirectsAreAnswers(t *testing.T) {
	t.Parallel()
	stay := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for name, opts := range map[string][]option.RequestOption{
		"followed":     nil,
		"not followed": {option.WithHTTPClient(stay)},
	} {
		for _, code := range []int{301, 302, 303, 307, 308} {
			t.Run(name+" "+http.StatusText(code), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/v1/users/user_1":
						http.Redirect(w, r, "/elsewhere", code)
					case "/elsewhere":
						http.Redirect(w, r, "/there", http.StatusFound)
					default:
						ok(w, r)
					}
				})
				res, err := knockgo.New(s.client(opts...)).Do(t.Context(), &actions.Request{
					Method: http.MethodPut, Path: "/v1/users/user_1", Body: json.RawMessage(`{}`),
				})
				require.NoError(t, err)
				assert.Equal(t, code, res.Status)
				assert.Equal(t, "/elsewhere", res.Header.Get("Location"))
				if opts != nil {
					assert.Len(t, s.received(), 1)
				}
			})
		}
	}
}

func TestBodiesThatCantBeRead(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	broken := map[string]string{"Content-Length": "100"}
	cases := map[string]struct {
		method string
		status int
		header map[string]string
		body   string
		want   int // bytes; -1 for an error
	}{
		"as long as can be":            {http.MethodGet, 200, nil, strings.Repeat("x", limit), limit},
		"too long":                     {http.MethodPut, 200, nil, strings.Repeat("x", limit+1), 0},
		"endless error":                {http.MethodPut, 500, nil, strings.Repeat("x", 3*limit), 0},
		"too long for a look-up":       {http.MethodGet, 200, nil, strings.Repeat("x", limit+1), -1},
		"breaks off":                   {http.MethodPut, 200, broken, "{", 0},
		"an error breaks off":          {http.MethodPut, 503, broken, "{", 0},
		"a look-up breaks off":         {http.MethodGet, 200, broken, "{", -1},
		"a look-up's error breaks off": {http.MethodGet, 404, broken, "{", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, status(tc.status, tc.header, tc.body))
			res, err := knockgo.New(s.client()).Do(t.Context(), &actions.Request{Method: tc.method, Path: "/v1/users/user_1"})
			if tc.want < 0 {
				var failed *actions.SendError
				require.ErrorAs(t, err, &failed)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.status, res.Status)
			assert.Len(t, res.Body, tc.want)
		})
	}
}

func TestMiddlewareThatRepeatsIsCounted(t *testing.T) {
	t.Parallel()
	s := newServer(t, ok)
	twice := option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		res, err := next(r)
		if err != nil {
			return nil, err
		}
		_ = res.Body.Close()
		return next(r)
	})
	res, err := knockgo.New(s.client(twice)).Do(t.Context(), &actions.Request{Method: http.MethodGet, Path: "/v1/users/user_1"})
	require.NoError(t, err)
	assert.Equal(t, 2, res.Attempts)
	assert.Len(t, s.received(), 2)
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	request := &actions.Request{Method: http.MethodPut, Path: "/v1/users/user_1?x=y", Body: json.RawMessage(`{}`)}
	fails := func(t *testing.T, ctx context.Context, client *knock.Client) *actions.SendError {
		t.Helper()
		res, err := knockgo.New(client).Do(ctx, request)
		require.Error(t, err)
		assert.Nil(t, res)
		var failed *actions.SendError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, "/v1/users/user_1", failed.Path)
		assert.NotContains(t, err.Error(), "sk_test_1")
		return failed
	}

	t.Run("connection closed", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		assert.Equal(t, 1, fails(t, t.Context(), s.client()).Attempts)
		assert.Len(t, s.received(), 1)
	})
	t.Run("context cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		s := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		assert.ErrorIs(t, fails(t, ctx, s.client()), context.Canceled)
	})
	t.Run("the client's own timeout", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		client := s.client(option.WithRequestTimeout(20 * time.Millisecond))
		assert.ErrorIs(t, fails(t, t.Context(), client), context.DeadlineExceeded)
	})
	t.Run("nothing could be sent", func(t *testing.T) {
		t.Parallel()
		client := knock.NewClient(option.WithAPIKey("sk_test_1"), option.WithBaseURL("http://a b/"))
		assert.Zero(t, fails(t, t.Context(), client).Attempts)
	})
	t.Run("a middleware refuses", func(t *testing.T) {
		t.Parallel()
		refused := errors.New("not today")
		client := knock.NewClient(option.WithMiddleware(func(*http.Request, option.MiddlewareNext) (*http.Response, error) {
			return nil, refused
		}))
		failed := fails(t, t.Context(), client)
		assert.Zero(t, failed.Attempts)
		assert.ErrorIs(t, failed, refused)
	})
}

// A server closes connections that were kept for too long. What can be repeated
// is, once, by net/http.
func TestKeptConnectionThatWasClosed(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]bool{http.MethodPut: true, http.MethodDelete: true, http.MethodPost: false} {
		var broken atomic.Bool
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/users/user_2" && broken.CompareAndSwap(false, true) {
				panic(http.ErrAbortHandler)
			}
			ok(w, r)
		})
		transport := knockgo.New(s.client(option.WithHTTPClient(s.Client())))
		_, err := transport.Do(t.Context(), &actions.Request{Method: http.MethodGet, Path: "/v1/users/user_1"})
		require.NoError(t, err)
		_, err = transport.Do(t.Context(), &actions.Request{Method: method, Path: "/v1/users/user_2", Body: json.RawMessage(`{}`)})
		assert.Equal(t, want, err == nil, "%s: %v", method, err)
	}
}

// TestClient goes the whole way: the bridge's client over the official one.
func TestClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-ID", "req_1")
		switch r.Method + " " + r.URL.EscapedPath() {
		case "PUT /v1/users/user_1":
			_, _ = io.WriteString(w, `{"id":"user_1"}`)
		case "DELETE /v1/users/user_1":
			w.WriteHeader(http.StatusNoContent)
		case "POST /v1/workflows/welcome/trigger":
			_, _ = io.WriteString(w, `{"workflow_run_id":"run_1"}`)
		default:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"code":"too_many_requests","message":"slow down","type":"api_error"}`)
		}
	})
	c := actions.NewClient(knockgo.New(s.client()))

	require.NoError(t, c.IdentifyUser(t.Context(), actions.IdentifyUser{
		ID: "user_1", Properties: map[string]any{"email": nil, "name": "Ada"},
	}))
	assert.JSONEq(t, `{"email":null,"name":"Ada"}`, s.received()[0].body, "null arrives")
	require.NoError(t, c.DeleteUser(t.Context(), actions.DeleteUser{ID: "user_1"}))

	run, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{
		Workflow: "welcome", Recipients: []actions.Recipient{actions.UserID("user_1")}, IdempotencyKey: "key_1",
	})
	require.NoError(t, err)
	assert.Equal(t, "run_1", run)
	assert.Equal(t, "key_1", s.received()[2].header.Get("Idempotency-Key"))

	err = c.DeleteUser(t.Context(), actions.DeleteUser{ID: "a b"})
	var refused *actions.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusTooManyRequests, refused.Status)
	assert.Equal(t, "too_many_requests", refused.Code)
	assert.Equal(t, "req_1", refused.RequestID)
	assert.Equal(t, 7*time.Second, refused.RetryAfter)
	assert.Equal(t, "/v1/users/a%20b", s.received()[3].uri)
}

// TestFake lets the two clients meet the fake of Knock, which refuses what Knock
// refuses.
func TestFake(t *testing.T) {
	t.Parallel()
	fake := bridgetest.NewKnock(t)
	client := knock.NewClient(option.WithBaseURL(fake.URL), option.WithAPIKey("sk_test_1"))
	c := actions.NewClient(knockgo.New(client))
	ctx := t.Context()

	require.NoError(t, c.IdentifyUser(ctx, actions.IdentifyUser{ID: "user 1", Name: "Ada", Email: "ada@example.com"}))
	require.NoError(t, c.IdentifyUser(ctx, actions.IdentifyUser{ID: "user 1", Properties: map[string]any{"email": nil}}))
	user, ok := fake.User("user 1")
	require.True(t, ok)
	assert.Equal(t, "Ada", user["name"])
	assert.Nil(t, user["email"], "null has cleared it")

	require.NoError(t, c.SetTenant(ctx, actions.SetTenant{ID: "org_1", Name: "Engines"}))
	org := actions.Tenant("org_1")
	require.NoError(t, c.Subscribe(ctx, actions.Subscribe{Object: org, Recipients: []actions.Recipient{actions.UserID("user 1")}}))
	assert.Len(t, fake.Subscriptions("$tenants", "org_1"), 1)
	require.NoError(t, c.Unsubscribe(ctx, actions.Unsubscribe{Object: org, Recipients: []actions.Reference{actions.UserID("user 1")}}))
	assert.Empty(t, fake.Subscriptions("$tenants", "org_1"))

	welcome := actions.TriggerWorkflow{
		Workflow: "welcome", Recipients: []actions.Recipient{actions.UserID("user 1")}, IdempotencyKey: "msg_1:welcome",
	}
	first, err := c.TriggerWorkflow(ctx, welcome)
	require.NoError(t, err)
	again, err := c.TriggerWorkflow(ctx, welcome)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Len(t, fake.Runs(), 1, "the key arrived")

	require.NoError(t, c.DeleteUser(ctx, actions.DeleteUser{ID: "user 1"}))
	require.NoError(t, c.DeleteUser(ctx, actions.DeleteUser{ID: "user 1"}), "a 404 on a delete is success")

	fake.Fail(1, bridgetest.Fault{Status: http.StatusServiceUnavailable})
	calls := len(fake.Calls())
	_, err = c.GetUser(ctx, "user_2")
	var refused *actions.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusServiceUnavailable, refused.Status)
	assert.Len(t, fake.Calls(), calls+1, "sent once")
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := newServer(t, ok)
	transport := knockgo.New(s.client())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := transport.Do(t.Context(), &actions.Request{Method: http.MethodGet, Path: "/v1/users/user_1"})
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Len(t, s.received(), 16)
}
