package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/clerkknock/bridge/bridgetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	mux, err := newMux(bridgetest.Secret, knock.Transport())
	require.NoError(t, err)
	send := func(r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	assert.Equal(t, http.StatusOK, send(bridgetest.NewRequest(t, "user.created", nil)).Code)
	assert.Equal(t, http.StatusOK, send(bridgetest.NewRequest(t, "made.up", map[string]any{})).Code)
	knock.Fail(1, bridgetest.Fault{Status: http.StatusForbidden})
	assert.Equal(t, http.StatusInternalServerError, send(bridgetest.NewRequest(t, "organization.created", nil)).Code)
	forged := bridgetest.NewRequest(t, "user.created", nil)
	forged.Header.Set("Svix-Id", "msg_forged")
	assert.Equal(t, http.StatusUnauthorized, send(forged).Code)

	page := send(httptest.NewRequest(http.MethodGet, "/metrics", nil)).Body.String()
	for _, line := range []string{
		`bridge_delivery_duration_seconds_count{event="user.created",outcome="done"} 1`,
		`bridge_delivery_duration_seconds_count{event="other",outcome="ignored"} 1`,
		`bridge_delivery_duration_seconds_count{event="organization.created",outcome="misconfigured"} 1`,
		`bridge_delivery_duration_seconds_count{event="",outcome="unverified"} 1`,
		`bridge_knock_call_duration_seconds_count{kind="users_identify",status="200"} 1`,
		`bridge_knock_call_duration_seconds_count{kind="tenants_set",status="403"} 1`,
	} {
		assert.Contains(t, page, line+"\n")
	}
	assert.NotContains(t, page, "Okafor")
}

func TestServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	mux, err := newMux(bridgetest.Secret, bridgetest.NewKnock(t).Transport())
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- serve(ctx, listener, mux) }()
	res, err := http.Get("http://" + listener.Addr().String() + "/metrics")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusOK, res.StatusCode)
	stop()
	assert.NoError(t, <-stopped)
}

func TestRunNamesWhatIsMissing(t *testing.T) {
	t.Setenv("CLERK_WEBHOOK_SIGNING_SECRET", "")
	t.Setenv("KNOCK_API_KEY", "")
	err := run()
	require.ErrorContains(t, err, "CLERK_WEBHOOK_SIGNING_SECRET")
	require.ErrorContains(t, err, "KNOCK_API_KEY")
}
