package main

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/clerkknock/bridge/bridgetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWebhook(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	router, err := newRouter(bridgetest.Secret, knock.Transport())
	require.NoError(t, err)
	url := start(t, router)
	user := func(id string) map[string]any { return map[string]any{"object": "user", "id": id, "first_name": "Ada"} }

	genuine := bridgetest.NewRequest(t, "user.created", user("user_1"))
	assert.Equal(t, http.StatusOK, deliver(t, url, genuine))
	stored, ok := knock.User("user_1")
	require.True(t, ok, "Knock has the user")
	assert.Equal(t, "Ada", stored["name"])

	forged := bridgetest.NewRequest(t, "user.created", user("user_2"))
	forged.Header.Set("Svix-Id", "msg_forged")
	assert.Equal(t, http.StatusUnauthorized, deliver(t, url, forged))
	_, ok = knock.User("user_2")
	assert.False(t, ok, "nothing came of the forged one")

	res, err := http.Get(url + "/")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode, "the app itself asks for a login")
}

func TestRunNamesWhatIsMissing(t *testing.T) {
	t.Setenv("CLERK_WEBHOOK_SIGNING_SECRET", "")
	t.Setenv("KNOCK_API_KEY", "")
	err := run()
	require.ErrorContains(t, err, "CLERK_WEBHOOK_SIGNING_SECRET")
	require.ErrorContains(t, err, "KNOCK_API_KEY")
}

// start serves until the test ends and returns the base URL.
func start(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- serve(ctx, listener, handler) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-stopped, "a clean shutdown")
	})
	return "http://" + listener.Addr().String()
}

// deliver sends what was made for a handler over the network.
func deliver(t *testing.T, url string, signed *http.Request) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), signed.Method, url+"/webhooks/clerk", signed.Body)
	require.NoError(t, err)
	req.Header = signed.Header
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}
