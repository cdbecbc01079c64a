package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/clerk/backend"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	key = "sk_test_abc"

	userJSON = `{
		"id": "user_1", "object": "user", "first_name": "Ada", "last_name": null, "username": null,
		"primary_email_address_id": "idn_2",
		"email_addresses": [
			{"id": "idn_1", "object": "email_address", "email_address": "old@example.com"},
			{"id": "idn_2", "object": "email_address", "email_address": "ada@example.com"}
		],
		"phone_numbers": [], "public_metadata": {"plan": "pro"}, "timezone": "Europe/London",
		"created_at": 1735689600000, "updated_at": 1735689600000, "added_by_clerk_later": {"x": [1]}
	}`

	organizationJSON = `{
		"id": "org_1", "object": "organization", "name": "Analytical Engines", "slug": "engines",
		"public_metadata": {}, "created_at": 1735689600000, "updated_at": 1735689600000
	}`

	notFoundJSON = `{"errors":[{"code":"resource_not_found","message":"not found","long_message":"No user was found with id user_9."}],` +
		`"clerk_trace_id":"trace_body"}`
)

// fakeClerk answers like Clerk's Backend API to a request with the right key,
// and else with 401.
type fakeClerk struct {
	*httptest.Server

	mu   sync.Mutex
	uris []string
}

func newFakeClerk(t *testing.T, answer http.HandlerFunc) *fakeClerk {
	t.Helper()
	f := &fakeClerk{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.uris = append(f.uris, r.Method+" "+r.RequestURI)
		f.mu.Unlock()
		assert.NotEmpty(t, r.Header.Get("Clerk-Api-Version"), "answers depend on it")
		if r.Header.Get("Authorization") != "Bearer "+key {
			answerJSON(http.StatusUnauthorized, `{"errors":[{"code":"secret_key_invalid","message":"The key is invalid"}]}`)(w, r)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeClerk) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.uris
}

func (f *fakeClerk) client(t *testing.T, change ...func(*backend.Config)) *backend.Client {
	t.Helper()
	cfg := backend.Config{SecretKey: key, BaseURL: f.URL + "/v1", HTTPClient: f.Client()}
	for _, c := range change {
		c(&cfg)
	}
	c, err := backend.New(cfg)
	require.NoError(t, err)
	return c
}

func answerJSON(status int, body string) http.HandlerFunc {
	return answer(status, "application/json", body)
}

func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Clerk-Trace-Id", "trace_header")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cfg  backend.Config
		want []string
	}{
		"no key":             {backend.Config{}, []string{"SecretKey is empty"}},
		"publishable key":    {backend.Config{SecretKey: "pk_test_1"}, []string{"publishable"}},
		"line break in key":  {backend.Config{SecretKey: key + "\n"}, []string{"white space"}},
		"relative URL":       {backend.Config{SecretKey: key, BaseURL: "api.clerk.com/v1"}, []string{"BaseURL"}},
		"URL without a host": {backend.Config{SecretKey: key, BaseURL: "https:///v1"}, []string{"BaseURL"}},
		"other scheme":       {backend.Config{SecretKey: key, BaseURL: "ftp://example.com"}, []string{"BaseURL"}},
		"unreadable URL":     {backend.Config{SecretKey: key, BaseURL: "https://a b"}, []string{"BaseURL"}},
		"fragment in URL":    {backend.Config{SecretKey: key, BaseURL: "https://example.com#x"}, []string{"a fragment"}},
		"password in URL":    {backend.Config{SecretKey: key, BaseURL: "https://u:p@example.com"}, []string{"a user"}},
		"query in URL":       {backend.Config{SecretKey: key, BaseURL: "https://example.com?x"}, []string{"a query"}},
		"several at once":    {backend.Config{BaseURL: "x", Timeout: -1}, []string{"SecretKey", "BaseURL", "Timeout is negative"}},
		"key and URL":        {backend.Config{SecretKey: key, BaseURL: "http://127.0.0.1:1"}, nil},
		"the key is enough":  {backend.Config{SecretKey: key}, nil},
		"a client of my own": {backend.Config{SecretKey: key, HTTPClient: &http.Client{}}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := backend.New(tc.cfg)
			if tc.want == nil {
				require.NoError(t, err)
				assert.NotNil(t, c)
				return
			}
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "abc", "no key in errors")
			assert.Nil(t, c)
		})
	}
}

func TestNewLeavesTheHTTPClientAlone(t *testing.T) {
	t.Parallel()
	mine := &http.Client{}
	_, err := backend.New(backend.Config{SecretKey: key, HTTPClient: mine})
	require.NoError(t, err)
	assert.Nil(t, mine.Transport)
	assert.Nil(t, mine.CheckRedirect)
}

func TestUser(t *testing.T) {
	t.Parallel()
	f := newFakeClerk(t, answerJSON(http.StatusOK, userJSON))
	got, err := f.client(t).User(t.Context(), "user_1")
	require.NoError(t, err)

	want, err := clerk.Decode[clerk.User](&clerk.AnyEvent{Type: "user.created", Data: json.RawMessage(userJSON)})
	require.NoError(t, err)
	assert.Equal(t, &want.Data, got, "the same as in an event")
	assert.Equal(t, "user_1", got.ID)
	assert.Equal(t, []string{"GET /v1/users/user_1"}, f.requests())
}

func TestOrganization(t *testing.T) {
	t.Parallel()
	f := newFakeClerk(t, answerJSON(http.StatusOK, organizationJSON))
	for _, id := range []string{"org_1", "engines"} {
		got, err := f.client(t).Organization(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, "org_1", got.ID)
	}
	assert.Equal(t, []string{"GET /v1/organizations/org_1", "GET /v1/organizations/engines"}, f.requests())
}

func TestBaseURLMayEndInASlash(t *testing.T) {
	t.Parallel()
	f := newFakeClerk(t, answerJSON(http.StatusOK, userJSON))
	_, err := f.client(t, func(c *backend.Config) { c.BaseURL += "/" }).User(t.Context(), "user_1")
	require.NoError(t, err)
	assert.Equal(t, []string{"GET /v1/users/user_1"}, f.requests())
}

func TestInvalidIDs(t *testing.T) {
	t.Parallel()
	f := newFakeClerk(t, answerJSON(http.StatusOK, userJSON))
	for _, id := range []string{
		"", ".", "..", "a/b", "../users", `a\b`, "a\nb", "a\x00", "\u0085", "\xff", strings.Repeat("x", 257),
	} {
		_, err := f.client(t).User(t.Context(), id)
		require.ErrorIs(t, err, backend.ErrInvalidID, "%q", id)
		assert.Equal(t, bridge.OutcomePermanent, bridge.OutcomeOf(err), "%q", id)
		_, err = f.client(t).Organization(t.Context(), id)
		require.ErrorIs(t, err, backend.ErrInvalidID, "%q", id)
	}
	assert.Empty(t, f.requests())
}

func TestIDsAreEscaped(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"a?limit=1":   "a%3Flimit=1",
		"a#b":         "a%23b",
		"a%2Fb":       "a%252Fb",
		"a b":         "a%20b",
		"é":           "%C3%A9",
		"http:x":      "http:x",
		"%2e%2e":      "%252e%252e",
		"a&b=c;d":     "a&b=c%3Bd",
		"user_2abcDE": "user_2abcDE",
	} {
		f := newFakeClerk(t, answerJSON(http.StatusNotFound, notFoundJSON))
		_, err := f.client(t).User(t.Context(), id)
		require.ErrorIs(t, err, backend.ErrNotFound)
		assert.Equal(t, []string{"GET /v1/users/" + want}, f.requests())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const tooMany = `{"errors":[{"code":"too_many_requests","message":"Too many requests","meta":{}}],"clerk_trace_id":"trace_body"}`
	const page = "<html>sorry</html>"
	cases := map[string]struct {
		answer http.HandlerFunc
		is     error
		want   backend.Error
	}{
		"unknown user": {
			answerJSON(404, notFoundJSON), backend.ErrNotFound,
			backend.Error{Status: 404, Code: "resource_not_found", Message: "No user was found with id user_9.", TraceID: "trace_body"},
		},
		"404 of something else": {answer(404, "text/html", page), nil, backend.Error{Status: 404}},
		"404 without a body":    {answerJSON(404, ""), nil, backend.Error{Status: 404}},
		"404, other JSON":       {answerJSON(404, `{"error":"x"}`), nil, backend.Error{Status: 404}},
		"404, no errors listed": {answerJSON(404, `{"errors":[]}`), nil, backend.Error{Status: 404}},
		"401":                   {answerJSON(401, `{"errors":[{"code":"x","message":"y"}]}`), nil, backend.Error{Status: 401, Code: "x", Message: "y"}},
		"403 in HTML":           {answer(403, "text/html", page), nil, backend.Error{Status: 403}},
		"422":                   {answerJSON(422, `{"errors":[{"code":"x"}],"status":404}`), nil, backend.Error{Status: 422, Code: "x"}},
		"429": {
			answerJSON(429, tooMany), backend.ErrRateLimited,
			backend.Error{Status: 429, Code: "too_many_requests", Message: "Too many requests", TraceID: "trace_body"},
		},
		"429 in HTML":        {answer(429, "text/html", page), backend.ErrRateLimited, backend.Error{Status: 429}},
		"429 without a body": {answer(429, "text/plain", ""), backend.ErrRateLimited, backend.Error{Status: 429}},
		"500":                {answerJSON(500, `{"errors":[{"code":"internal"}]}`), backend.ErrUnavailable, backend.Error{Status: 500, Code: "internal"}},
		"502 in HTML":        {answer(502, "text/html", page), backend.ErrUnavailable, backend.Error{Status: 502}},
		"503 without a body": {answer(503, "", ""), backend.ErrUnavailable, backend.Error{Status: 503}},
		"503, endless":       {answer(503, "", strings.Repeat("x", 5<<20)), backend.ErrUnavailable, backend.Error{Status: 503}},
		"408":                {answer(408, "", ""), backend.ErrUnavailable, backend.Error{Status: 408}},
		"204":                {answer(204, "", ""), nil, backend.Error{Status: 204}},
		"302":                {answer(302, "text/html", page), nil, backend.Error{Status: 302}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeClerk(t, tc.answer)
			u, err := f.client(t).User(t.Context(), "user_9")
			require.Error(t, err)
			assert.Nil(t, u)
			var got *backend.Error
			require.ErrorAs(t, err, &got)
			tc.want.Path, tc.want.RetryAfter = "/users/user_9", 7*time.Second
			if tc.want.TraceID == "" {
				tc.want.TraceID = "trace_header"
			}
			assert.Equal(t, &tc.want, got)
			for _, sentinel := range []error{backend.ErrNotFound, backend.ErrRateLimited, backend.ErrUnavailable, backend.ErrInvalidID} {
				assert.Equal(t, sentinel == tc.is, errors.Is(err, sentinel), "%v", sentinel) //nolint:errorlint // identity is meant
			}
			outcome := bridge.OutcomeMisconfigured
			if errors.Is(tc.is, backend.ErrRateLimited) || errors.Is(tc.is, backend.ErrUnavailable) {
				outcome = bridge.OutcomeTransient
			}
			assert.Equal(t, outcome, bridge.OutcomeOf(fmt.Errorf("wrapped: %w", err)), "of a mapping that returns it")
			assert.Len(t, f.requests(), 1)
			assert.NotContains(t, err.Error(), "sorry", "no foreign pages in messages")
			assert.Less(t, len(err.Error()), 700)
		})
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 400)
	f := newFakeClerk(t, answerJSON(400, `{"errors":[{"code":"bad","message":"`+long+`"}]}`))
	_, err := f.client(t).User(t.Context(), "user_1")
	require.EqualError(t, err, "clerk: GET /users/user_1: 400 bad: "+strings.Repeat("é", 256)+"… (trace trace_header)")
	require.EqualError(t, &backend.Error{Path: "/users/user_1", Status: 502}, "clerk: GET /users/user_1: 502")
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	f := newFakeClerk(t, answerJSON(http.StatusOK, userJSON))
	_, err := f.client(t, func(c *backend.Config) { c.SecretKey = "sk_test_other" }).User(t.Context(), "user_1")
	var got *backend.Error
	require.ErrorAs(t, err, &got)
	assert.Equal(t, http.StatusUnauthorized, got.Status)
	assert.NotContains(t, err.Error(), "sk_test_other")
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	t.Cleanup(other.Close)
	follow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	t.Cleanup(follow.CloseIdleConnections)
	for _, code := range []int{301, 302, 303, 307, 308} {
		f := newFakeClerk(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, code) })
		_, err := f.client(t, func(c *backend.Config) { c.HTTPClient = follow }).User(t.Context(), "user_1")
		var got *backend.Error
		require.ErrorAs(t, err, &got)
		assert.Equal(t, code, got.Status)
	}
}

func TestUselessAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":            "",
		"garbage":          "<html>hello</html>",
		"cut short":        `{"id":"user_1"`,
		"null":             "null",
		"an array":         "[]",
		"a string":         `"user_1"`,
		"no id":            "{}",
		"another user":     `{"id":"user_2"}`,
		"an id of a kind":  `{"id":7}`,
		"more than 4 MiB":  `{"id":"user_1","x":"` + strings.Repeat("x", 4<<20) + `"}`,
		"two things":       userJSON + userJSON,
		"white space only": "  \n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeClerk(t, answerJSON(http.StatusOK, body))
			u, err := f.client(t).User(t.Context(), "user_1")
			require.ErrorContains(t, err, "/users/user_1")
			assert.Nil(t, u)
			var refused *backend.Error
			require.NotErrorAs(t, err, &refused, "Clerk has not refused")
			require.NotErrorIs(t, err, backend.ErrNotFound)
			assert.Equal(t, bridge.OutcomeMisconfigured, bridge.OutcomeOf(err), "the delivery must not be given up for it")
			if name != "another user" {
				_, err = f.client(t).Organization(t.Context(), "org_1")
				require.Error(t, err)
			}
		})
	}
}

// TestNoHTTP: what the other side has sent in place of HTTP is in no text.
func TestNoHTTP(t *testing.T) {
	t.Parallel()
	f := newFakeClerk(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_, _ = io.WriteString(conn, "HTTP/1.1 sk_secret OK\r\n\r\n")
			_ = conn.Close()
		}
	})
	_, err := f.client(t).User(t.Context(), "user_1")
	require.ErrorContains(t, err, "clerk: GET /users/user_1: ")
	assert.NotContains(t, err.Error(), "sk_secret")
}

func TestLargestAnswer(t *testing.T) {
	t.Parallel()
	frame := `{"id":"user_1","x":""}`
	body := frame[:len(frame)-2] + strings.Repeat("x", 4<<20-len(frame)) + frame[len(frame)-2:]
	f := newFakeClerk(t, answerJSON(http.StatusOK, body))
	u, err := f.client(t).User(t.Context(), "user_1")
	require.NoError(t, err)
	assert.Equal(t, "user_1", u.ID)
}

func TestContextAndTimeout(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		f := newFakeClerk(t, func(w http.ResponseWriter, r *http.Request) {
			cancel()
			hang(w, r)
		})
		_, err := f.client(t).User(ctx, "user_1")
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("own timeout, no answer", func(t *testing.T) {
		t.Parallel()
		f := newFakeClerk(t, hang)
		_, err := f.client(t, func(c *backend.Config) { c.Timeout = 20 * time.Millisecond }).User(t.Context(), "user_1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, bridge.OutcomeTransient, bridge.OutcomeOf(err))
	})
	t.Run("own timeout, half an answer", func(t *testing.T) {
		t.Parallel()
		f := newFakeClerk(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"id":`)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		})
		_, err := f.client(t, func(c *backend.Config) { c.Timeout = 50 * time.Millisecond }).User(t.Context(), "user_1")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("connection closed", func(t *testing.T) {
		t.Parallel()
		f := newFakeClerk(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, err := f.client(t).User(t.Context(), "user_1")
		assert.Equal(t, bridge.OutcomeTransient, bridge.OutcomeOf(err))
		assert.NotContains(t, err.Error(), key)
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestDefaults: where requests go, and how long they may take.
func TestDefaults(t *testing.T) {
	t.Parallel()
	for own, want := range map[time.Duration]time.Duration{0: 5 * time.Second, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var asked string
			c, err := backend.New(backend.Config{SecretKey: key, Timeout: own, HTTPClient: &http.Client{
				Transport: transport(func(r *http.Request) (*http.Response, error) {
					asked = r.URL.String()
					<-r.Context().Done()
					return nil, r.Context().Err()
				}),
			}})
			require.NoError(t, err)
			start := time.Now()
			_, err = c.User(t.Context(), "user_1")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, want, time.Since(start))
			assert.Equal(t, "https://api.clerk.com/v1/users/user_1", asked)
		})
	}
}

func TestSessionUser(t *testing.T) {
	t.Parallel()
	embedded := `{"id":"sess_1","user_id":"user_1","status":"active","user":{"id":"user_1","first_name":"Embedded"}}`
	cases := map[string]struct {
		session string
		name    string
		asked   []string
		is      error
	}{
		"the event carries the user":  {embedded, "Embedded", nil, nil},
		"an old body":                 {`{"id":"sess_1","user_id":"user_1","status":"active"}`, "Ada", []string{"GET /v1/users/user_1"}, nil},
		"an impersonated session":     {`{"id":"sess_1","user_id":"user_1","user":null,"actor":{"sub":"user_2"}}`, "Ada", []string{"GET /v1/users/user_1"}, nil},
		"an empty user":               {`{"id":"sess_1","user_id":"user_1","user":{}}`, "Ada", []string{"GET /v1/users/user_1"}, nil},
		"a user deleted since":        {`{"id":"sess_1","user_id":"user_9"}`, "", []string{"GET /v1/users/user_9"}, backend.ErrNotFound},
		"no user and no id of a user": {`{"id":"sess_1"}`, "", nil, backend.ErrInvalidID},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeClerk(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/users/user_1" {
					answerJSON(http.StatusOK, userJSON)(w, r)
					return
				}
				answerJSON(http.StatusNotFound, notFoundJSON)(w, r)
			})
			e, err := clerk.Decode[clerk.Session](&clerk.AnyEvent{Type: "session.created", Data: json.RawMessage(tc.session)})
			require.NoError(t, err)
			u, err := f.client(t).SessionUser(t.Context(), e)
			assert.Equal(t, tc.asked, f.requests())
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.name, u.FirstName.Or(""))
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	f := newFakeClerk(t, func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, "/v1/users/")
		if strings.HasSuffix(id, "7") {
			answer(http.StatusTooManyRequests, "", "")(w, r)
			return
		}
		answerJSON(http.StatusOK, `{"id":"`+id+`"}`)(w, r)
	})
	c := f.client(t)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			id := fmt.Sprintf("user_%d", i)
			u, err := c.User(t.Context(), id)
			if i%10 == 7 {
				assert.ErrorIs(t, err, backend.ErrRateLimited)
				return
			}
			if assert.NoError(t, err) {
				assert.Equal(t, id, u.ID)
			}
		})
	}
	wg.Wait()
}
