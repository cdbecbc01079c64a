package bridgetest_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
)

func TestRateLimitsByTier(t *testing.T) {
	t.Parallel()
	for _, tier := range []struct {
		name, method, path string
		body               any
		limit              int
	}{
		{"bulk", "POST", "/v1/users/bulk/identify", object{"users": []any{}}, 1},
		{"delete", "DELETE", "/v1/users/u", nil, 5},
		{"delete tenant", "DELETE", "/v1/tenants/t", nil, 5},
		{"merge", "POST", "/v1/users/u/merge", object{"from_user_id": "v"}, 5},
		{"write", "PUT", "/v1/users/u", object{}, 60},
		{"read", "GET", "/v1/users/u", nil, 200},
		{"trigger", "POST", "/v1/workflows/w/trigger", object{"recipients": []any{"u"}}, 1000},
	} {
		t.Run(tier.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			c := f.useClock()
			f.Configure(func(o *bridgetest.KnockOptions) { o.RateLimits = true })
			for range tier.limit {
				require.NotEqual(t, 429, f.call(tier.method, tier.path, tier.body).status)
			}
			over := f.call(tier.method, tier.path, tier.body)
			over.refused(429, "rate_limit_exceeded")
			assert.NotContains(t, over.header, "Retry-After")
			f.call("GET", "/v1/tenants", nil).want(200) // another endpoint

			f.Configure(func(o *bridgetest.KnockOptions) { o.RetryAfter = true })
			c.Advance(300 * time.Millisecond)
			over = f.call(tier.method, tier.path, tier.body)
			over.refused(429, "rate_limit_exceeded")
			assert.Equal(t, "1", over.header.Get("Retry-After"))
			c.Advance(700 * time.Millisecond)
			assert.NotEqual(t, 429, f.call(tier.method, tier.path, tier.body).status)
		})
	}
}

func TestRateLimitsAreOffByDefault(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.useClock()
	for range 7 {
		f.call("POST", "/v1/users/bulk/identify", object{"users": []any{}}).want(200)
	}
}

func TestBatchRateLimits(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.useClock()
	f.Configure(func(o *bridgetest.KnockOptions) { o.RateLimits = true })
	users := object{"users": []any{object{"id": "a", "n": 1}, object{"id": "b"}, object{"id": "a", "n": 2}}}
	first := f.call("POST", "/v1/users/bulk/identify", users).want(200)
	assert.Equal(t, "a", first.header.Get("x-ratelimited-users"))
	assert.InDelta(t, 2, first.object()["estimated_total_rows"], 0)

	prefs := object{"user_ids": []any{"a", "b", "c"}, "preferences": object{"id": "default"}}
	second := f.call("POST", "/v1/users/bulk/preferences", prefs).want(200)
	assert.Equal(t, "a,b", second.header.Get("x-ratelimited-user_ids"))
	user, _ := f.User("a")
	assert.InDelta(t, 1, user["n"], 0, "the second update within the second was skipped")

	c.Advance(time.Second)
	third := f.call("POST", "/v1/users/bulk/preferences", prefs).want(200)
	assert.Empty(t, third.header.Get("x-ratelimited-user_ids"))
}

func TestFaultsAnswer(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	html := "<!DOCTYPE html><html><body>Bad gateway</body></html>"
	for _, fault := range []bridgetest.Fault{
		{Status: 408}, {Status: 409, Body: `{"code":"conflict"}`}, {Status: 429, Header: http.Header{"Retry-After": {"7"}}},
		{Status: 500}, {Status: 502, Body: html}, {Status: 503, Body: "busy"}, {Status: 200},
		{Status: 302, Header: http.Header{"Location": {"/v1/users/u"}}},
		{Status: 500, Body: "?", Header: http.Header{"Content-Type": {"application/x-odd"}}},
	} {
		f.Fail(1, fault)
		a := f.call("PUT", "/v1/users/u", object{}).want(fault.Status)
		assert.Equal(t, fault.Body, string(a.raw))
		assert.NotEmpty(t, a.header.Get("X-Request-Id"))
		for name := range fault.Header {
			assert.Equal(t, fault.Header.Get(name), a.header.Get(name))
		}
		switch fault.Body {
		case html:
			assert.Contains(t, a.header.Get("Content-Type"), "text/html")
		case `{"code":"conflict"}`:
			assert.Contains(t, a.header.Get("Content-Type"), "application/json")
		}
		calls := f.Calls()
		assert.Equal(t, fault.Status, calls[len(calls)-1].Status)
	}
	assert.Empty(t, f.Users(), "none of them took effect")
	f.call("PUT", "/v1/users/u", object{}).want(200)
}

func TestFaultsMatchAndQueue(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.Fail(2, bridgetest.Fault{Method: "PUT", Path: "/users/u", Status: 500})
	stop := f.Fail(1000, bridgetest.Fault{Path: "/users/u", Status: 503})

	f.call("PUT", "/v1/users/other", object{}).want(200)
	f.call("GET", "/v1/users/u", nil).want(503)
	f.call("PUT", "/v1/users/u", object{}).want(500)
	f.call("PUT", "/v1/users/u", object{}).want(500)
	f.call("PUT", "/v1/users/u", object{}).want(503)
	stop()
	f.call("PUT", "/v1/users/u", object{}).want(200)
}

func TestDroppedConnection(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	put := &actions.Request{Method: "PUT", Path: "/v1/users/u", Body: []byte(`{}`)}
	f.Fail(1, bridgetest.Fault{Drop: true})
	_, err := f.transport.Do(t.Context(), put)
	require.Error(t, err)
	assert.Empty(t, f.Users())

	f.Fail(1, bridgetest.Fault{Drop: true, Applied: true})
	_, err = f.transport.Do(t.Context(), put)
	require.Error(t, err)
	assert.Equal(t, []string{"u"}, f.Users(), "applied, only the answer was lost")
	assert.Zero(t, f.Calls()[1].Status)
}

func TestLostAnswerOfATriggerReplays(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.Fail(1, bridgetest.Fault{Status: 504, Applied: true})
	body := object{"recipients": []any{"u"}}
	f.keyed("POST", "/v1/workflows/w/trigger", body, "k").want(504)
	again := f.keyed("POST", "/v1/workflows/w/trigger", body, "k").want(200)
	assert.Equal(t, "true", again.header.Get("idempotent-replayed"))
	assert.Len(t, f.Runs(), 1)
}

func TestHangUntilTheClientGivesUp(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.Fail(1, bridgetest.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := f.transport.Do(ctx, &actions.Request{Method: "PUT", Path: "/v1/users/u", Body: []byte(`{}`)})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, f.Users())
}

func TestDelayAndLatency(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.Fail(1, bridgetest.Fault{Delay: 20 * time.Millisecond})
	start := time.Now()
	f.call("PUT", "/v1/users/u", object{}).want(200)
	assert.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)

	f.Configure(func(o *bridgetest.KnockOptions) { o.Latency = time.Hour })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := f.transport.Do(ctx, &actions.Request{Method: "DELETE", Path: "/v1/users/u"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, []string{"u"}, f.Users(), "the wait comes before the effect")
}

func TestDeletingWhatIsNotThere(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	type call struct {
		method, path string
		body         any
		status       int
	}
	const channel = "8209f26c-62a5-461d-95e2-a5716a26e652"
	members := object{"members": []any{object{"user": object{"id": "u"}}}}
	calls := []call{
		{"DELETE", "/v1/users/u", nil, 204},
		{"DELETE", "/v1/tenants/t", nil, 204},
		{"DELETE", "/v1/objects/teams/t", nil, 204},
		{"DELETE", "/v1/objects/teams/t/subscriptions", object{"recipients": []any{"u"}}, 200},
		{"DELETE", "/v1/audiences/a/members", members, 204},
		{"DELETE", "/v1/users/u/channel_data/" + channel, nil, 204},
		{"DELETE", "/v1/users/u/preferences/default", nil, 204},
	}
	for _, c := range calls {
		f.call(c.method, c.path, c.body).refused(404, "resource_missing")
	}
	f.Configure(func(o *bridgetest.KnockOptions) { o.DeleteMissing = true })
	for _, c := range calls {
		f.call(c.method, c.path, c.body).want(c.status)
	}
}
