package bridgetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
)

type object = map[string]any

// fake is a Knock with what the tests need to talk to it in one line.
type fake struct {
	*bridgetest.Knock

	t         *testing.T
	transport actions.Transport
}

func newFake(t *testing.T) *fake {
	t.Helper()
	k := bridgetest.NewKnock(t)
	return &fake{Knock: k, t: t, transport: k.Transport()}
}

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (f *fake) useClock() *clock {
	c := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	f.Configure(func(o *bridgetest.KnockOptions) { o.Now = c.Now })
	return c
}

type answer struct {
	t      *testing.T
	status int
	header http.Header
	raw    []byte
}

// call sends a request; body is marshaled unless it is nil.
func (f *fake) call(method, path string, body any) *answer { return f.keyed(method, path, body, "") }

func (f *fake) keyed(method, path string, body any, key string) *answer {
	f.t.Helper()
	req := &actions.Request{Method: method, Path: path, IdempotencyKey: key}
	if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(f.t, err)
		req.Body = raw
	}
	res, err := f.transport.Do(f.t.Context(), req)
	require.NoError(f.t, err)
	return &answer{f.t, res.Status, res.Header, res.Body}
}

// want asserts the status and returns the answer.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	require.Equal(a.t, status, a.status, "%s", a.raw)
	if status == http.StatusNoContent {
		require.Empty(a.t, a.raw)
		require.Empty(a.t, a.header.Get("Content-Type"))
	}
	return a
}

func (a *answer) object() object {
	a.t.Helper()
	var o object
	require.NoError(a.t, json.Unmarshal(a.raw, &o), "%s", a.raw)
	return o
}

func (a *answer) array() []object {
	a.t.Helper()
	var o []object
	require.NoError(a.t, json.Unmarshal(a.raw, &o), "%s", a.raw)
	return o
}

func (a *answer) entries() []object {
	a.t.Helper()
	var page struct{ Entries []object }
	require.NoError(a.t, json.Unmarshal(a.raw, &page), "%s", a.raw)
	return page.Entries
}

// refused asserts a refusal in Knock's form.
func (a *answer) refused(status int, code string) {
	a.t.Helper()
	a.want(status)
	o := a.object()
	assert.Equal(a.t, code, o["code"], "%s", a.raw)
	assert.InDelta(a.t, status, o["status"], 0)
	assert.NotEmpty(a.t, o["type"])
	assert.NotEmpty(a.t, o["message"])
	assert.NotEmpty(a.t, a.header.Get("X-Request-Id"))
	if code == "invalid_params" {
		errs, _ := o["errors"].([]any)
		require.Len(a.t, errs, 1)
		assert.Contains(a.t, errs[0], "field")
	}
}

// repeat returns n values made from their index.
func repeat(n int, value func(i int) any) []any {
	values := make([]any, n)
	for i := range values {
		values[i] = value(i)
	}
	return values
}

func TestRoutingIsOnTheRawPath(t *testing.T) {
	t.Parallel()
	f := newFake(t)

	f.call("PUT", "/v1/tenants/org_1", object{"name": "Acme"}).want(200)
	literal := f.call("GET", "/v1/objects/$tenants/org_1", nil).want(200)
	escaped := f.call("GET", "/v1/objects/%24tenants/org_1", nil).want(200)
	assert.JSONEq(t, string(literal.raw), string(escaped.raw))

	// One segment stays one segment, and is decoded once.
	f.call("PUT", "/v1/users/a%20b%3Fc%25", object{}).want(200)
	f.call("PUT", "/v1/users/%252F", object{}).want(200)
	assert.Equal(t, []string{"a b?c%", "%2F"}, f.Users())
	f.call("GET", "/v1/users/a%2Fmerge", nil).refused(404, "resource_missing")
	f.call("GET", "/v1/users/..%2Ftenants%2Forg_1", nil).refused(404, "resource_missing")
	f.call("GET", "/v1/users/", nil).want(200)
	assert.Equal(t, "/v1/users/a%2Fmerge", f.Calls()[5].Path)
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for _, r := range [][2]string{
		{"GET", "/"}, {"GET", "/v1"}, {"GET", "/v2/users"}, {"GET", "/v1/users/a/b"}, {"PATCH", "/v1/users/a"},
		{"DELETE", "/v1/users/"}, {"POST", "/v1/object/teams/bulk/set"}, {"GET", "/v1/tenants/a/subscriptions"},
	} {
		a := f.call(r[0], r[1], nil).want(404)
		assert.JSONEq(t, `{"errors":{"detail":"404 Not Found"}}`, string(a.raw), "%s %s", r[0], r[1])
		assert.NotEmpty(t, a.header.Get("X-Request-Id"))
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(header string) *answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.URL+"/v1/users/u", strings.NewReader("{}"))
		require.NoError(t, err)
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		res, err := client.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return &answer{t, res.StatusCode, res.Header, raw}
	}

	for _, header := range []string{"", "Bearer ", "Basic c2s6", "sk_test_1"} {
		send(header).refused(401, "api_key_missing")
	}
	send("Bearer pk_test_1").refused(403, "authorization")
	assert.Empty(t, f.Users())
	send("Bearer sk_test_1").want(200)

	f.Configure(func(o *bridgetest.KnockOptions) { o.APIKey = "sk_test_1" })
	send("Bearer sk_test_1").want(200)
	send("Bearer sk_test_2").refused(401, "api_key_missing")
	send("Bearer pk_test_2").refused(403, "authorization")
	for _, c := range f.Calls() {
		assert.NotContains(t, c.Header, "Authorization")
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	send := func(body string) *answer {
		res, err := f.transport.Do(t.Context(), &actions.Request{Method: "PUT", Path: "/v1/users/u", Body: json.RawMessage(body)})
		require.NoError(t, err)
		return &answer{t, res.Status, res.Header, res.Body}
	}
	send(`{"name":`).refused(400, "bad_request")
	send(`[]`).refused(422, "invalid_params")
	send(`{"name":"`+strings.Repeat("a", 11<<20)+`"}`).refused(422, "invalid_params")
	send(`{}`).want(200)
	f.call("PUT", "/v1/users/u", nil).refused(400, "bad_request")
}

func TestCallsAreRecorded(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.useClock()
	f.call("GET", "/v1/users?page_size=2&include[]=preferences", nil).want(200)
	c.Advance(time.Second)
	f.keyed("POST", "/v1/workflows/welcome/trigger", object{"recipients": []any{"u"}}, "key_1").want(200)
	f.call("DELETE", "/v1/users/u", nil).want(404)

	calls := f.Calls()
	require.Len(t, calls, 3)
	assert.Equal(t, "GET", calls[0].Method)
	assert.Equal(t, "/v1/users", calls[0].Path)
	assert.Equal(t, url.Values{"page_size": {"2"}, "include[]": {"preferences"}}, calls[0].Query)
	assert.Nil(t, calls[0].Body)
	assert.Equal(t, 200, calls[0].Status)
	assert.Equal(t, "application/json", calls[1].Header.Get("Content-Type"))
	assert.Equal(t, "key_1", calls[1].IdempotencyKey)
	assert.JSONEq(t, `{"recipients":["u"]}`, string(calls[1].Body))
	assert.Equal(t, time.Second, calls[1].Time.Sub(calls[0].Time))
	assert.Equal(t, 404, calls[2].Status)

	calls[1].Body[0], calls[0].Query["page_size"][0] = '!', "9"
	assert.JSONEq(t, `{"recipients":["u"]}`, string(f.Calls()[1].Body), "a copy was returned")
	assert.Equal(t, "2", f.Calls()[0].Query.Get("page_size"), "a copy was returned")
}

func TestReset(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.Configure(func(o *bridgetest.KnockOptions) { o.Workflows = []string{"welcome"} })
	f.call("PUT", "/v1/users/u", object{}).want(200)
	f.keyed("POST", "/v1/workflows/welcome/trigger", object{"recipients": []any{"u"}}, "k").want(200)
	f.Configure(func(o *bridgetest.KnockOptions) {
		o.RateLimits = true
		o.Now = func() time.Time { return time.UnixMilli(1760000000000) }
	})
	for range 5 {
		f.call("DELETE", "/v1/users/nobody", nil).want(404)
	}
	f.call("DELETE", "/v1/users/nobody", nil).want(429)
	f.Fail(5, bridgetest.Fault{Status: 500})

	f.Reset()
	f.call("DELETE", "/v1/users/nobody", nil).want(404)
	f.Reset()
	assert.Empty(t, f.Users())
	assert.Empty(t, f.Runs())
	assert.Empty(t, f.Calls())
	f.keyed("POST", "/v1/workflows/welcome/trigger", object{"recipients": []any{"v"}}, "k").want(200)
	f.call("POST", "/v1/workflows/other/trigger", object{"recipients": []any{"v"}}).refused(404, "workflow_missing")
}

func TestSameRequestsGiveTheSameAnswers(t *testing.T) {
	t.Parallel()
	run := func() string {
		var all strings.Builder
		f := newFake(t)
		f.useClock()
		for _, a := range []*answer{
			f.call("PUT", "/v1/users/u", object{"name": "U"}),
			f.call("PUT", "/v1/tenants/t", object{"name": "T"}),
			f.call("POST", "/v1/objects/$tenants/t/subscriptions", object{"recipients": []any{"u"}}),
			f.call("POST", "/v1/workflows/w/trigger", object{"recipients": []any{"u"}}),
			f.call("POST", "/v1/schedules", object{"workflow": "w", "recipients": []any{"u"}}),
			f.call("GET", "/v1/users/missing", nil),
		} {
			fmt.Fprintln(&all, a.status, a.header.Get("X-Request-Id"), string(a.raw))
		}
		return all.String()
	}
	first, again := run(), run()
	assert.Equal(t, first, again)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			id := fmt.Sprintf("user_%d", i)
			f.call("PUT", "/v1/users/"+id, object{"name": id}).want(200)
			f.keyed("POST", "/v1/workflows/w/trigger", object{"recipients": []any{"x"}}, "same").want(200)
			f.Configure(func(o *bridgetest.KnockOptions) { o.DeleteMissing = !o.DeleteMissing })
			_, found := f.User(id)
			assert.True(t, found)
			f.Calls()
		})
	}
	wg.Wait()
	assert.Len(t, f.Users(), 8)
	assert.Len(t, f.Runs(), 1, "equal keys in flight run once")
	assert.Len(t, f.Calls(), 16)
}

func TestStartAndClose(t *testing.T) {
	t.Parallel()
	k := bridgetest.StartKnock()
	transport := k.Transport()
	res, err := transport.Do(t.Context(), &actions.Request{Method: "PUT", Path: "/v1/users/u", Body: json.RawMessage(`{}`)})
	require.NoError(t, err)
	assert.Equal(t, 200, res.Status)

	k.Fail(1, bridgetest.Fault{Hang: true})
	hanging := make(chan error, 1)
	go func() {
		_, err := transport.Do(context.Background(), &actions.Request{Method: "GET", Path: "/v1/users"})
		hanging <- err
	}()
	require.Eventually(t, func() bool { return len(k.Calls()) == 2 }, 10*time.Second, time.Millisecond)
	k.Close()
	k.Close()
	require.Error(t, <-hanging)
	assert.Equal(t, []string{"u"}, k.Users(), "stays readable")
	_, err = transport.Do(t.Context(), &actions.Request{Method: "GET", Path: "/v1/users"})
	require.Error(t, err)
}

func TestTransportReportsABrokenRequest(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	_, err := f.transport.Do(t.Context(), &actions.Request{Method: "no method", Path: "/v1/users"})
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.transport.Do(ctx, &actions.Request{Method: "GET", Path: "/v1/users"})
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, io.EOF)
}
