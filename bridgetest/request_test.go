package bridgetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

// fakeT is a testing.TB for what must fail a test, and for examples.
type fakeT struct {
	testing.TB

	failure  string
	cleanups []func()
}

func (*fakeT) Helper()                             {}
func (*fakeT) Context() context.Context            { return context.Background() }
func (f *fakeT) Cleanup(fn func())                 { f.cleanups = append(f.cleanups, fn) }
func (f *fakeT) Fatal(args ...any)                 { f.fail(fmt.Sprint(args...)) }
func (*fakeT) Errorf(format string, args ...any)   { fmt.Printf(format, args...) }
func (f *fakeT) Fatalf(format string, args ...any) { f.fail(fmt.Sprintf(format, args...)) }
func (f *fakeT) FailNow()                          { f.fail("") }
func (f *fakeT) fail(failure string)               { f.failure = failure; runtime.Goexit() }

func (f *fakeT) done() {
	for _, cleanup := range f.cleanups {
		cleanup()
	}
}

// failure returns how fn fails its test, or "".
func failure(fn func(t *fakeT)) string {
	t := new(fakeT)
	var wg sync.WaitGroup
	wg.Go(func() { fn(t) })
	wg.Wait()
	t.done()
	return t.failure
}

// newHandler returns a handler of genuine deliveries, whose outcome goes to
// results.
func newHandler(t testing.TB, knock actions.Transport, mappings ...bridge.Mapping) (h *bridge.Handler, last func() *bridge.Result) {
	t.Helper()
	var result *bridge.Result
	h, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock,
		Mappings:       mappings,
		Logger:         slog.New(slog.DiscardHandler),
		OnResult:       func(_ context.Context, res *bridge.Result) { result = res },
	})
	require.NoError(t, err)
	return h, func() *bridge.Result { return result }
}

func TestNewRequest(t *testing.T) {
	t.Parallel()
	before := time.Now()
	r := bridgetest.NewRequest(t, "user.created", map[string]any{"id": "user_1", "first_name": "<Ada>"})

	assert.Equal(t, http.MethodPost, r.Method)
	assert.Equal(t, "/webhooks/clerk", r.URL.Path)
	assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
	assert.Regexp(t, `^Svix-Webhooks/\d`, r.Header.Get("User-Agent"))
	assert.Regexp(t, `^msg_\w{20,}$`, r.Header.Get("Svix-Id"))
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.EqualValues(t, len(body), r.ContentLength)

	v, err := bridge.NewVerifier(0, bridgetest.Secret)
	require.NoError(t, err)
	id, err := v.Verify(r.Header, body)
	require.NoError(t, err)

	e, err := clerk.Parse(id, body)
	require.NoError(t, err)
	assert.Equal(t, "user.created", e.Type)
	assert.Contains(t, string(body), `{"data":{"first_name":"<Ada>","id":"user_1"},`)
	assert.WithinRange(t, e.Timestamp, before.Truncate(time.Millisecond), time.Now().Add(time.Minute), "no two are the same: other tests push it on")
	assert.NotEmpty(t, e.InstanceID)
	assert.NotEmpty(t, e.Attributes.ClientIP)
	assert.NotEmpty(t, e.Attributes.UserAgent)
	var envelope map[string]any
	require.NoError(t, json.Unmarshal(body, &envelope))
	assert.Equal(t, "event", envelope["object"])

	other := bridgetest.NewRequest(t, "user.created", nil)
	assert.NotEqual(t, id, other.Header.Get("Svix-Id"))
}

func TestNewRequestOverAConnection(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	h, _ := newHandler(t, knock.Transport())
	server := httptest.NewServer(h)
	defer server.Close()
	r := bridgetest.NewRequest(t, "user.created", map[string]any{"id": "user_1"})
	r.URL.Scheme, r.URL.Host = "http", server.Listener.Addr().String()
	res, err := server.Client().Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, http.StatusOK, res.StatusCode)
	assert.Equal(t, []string{"user_1"}, knock.Users())
}

func TestAttempt(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	h, last := newHandler(t, knock.Transport(), bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")))
	d := bridgetest.NewDelivery(t, "user.created", nil)
	assert.WithinDuration(t, time.Now(), d.ReceivedAt, time.Minute)

	// An attempt that fails halfway, the one that mends it, and one too many.
	knock.Fail(1, bridgetest.Fault{Path: "/trigger", Status: http.StatusServiceUnavailable})
	for _, want := range []int{http.StatusServiceUnavailable, http.StatusOK, http.StatusOK} {
		w := httptest.NewRecorder()
		r := bridgetest.Attempt(t, d)
		assert.Equal(t, d.ID, r.Header.Get("Svix-Id"))
		h.ServeHTTP(w, r)
		assert.Equal(t, want, w.Code)
		assert.Equal(t, d.ID, last().DeliveryID)
	}
	assert.Len(t, knock.Users(), 1)
	assert.Len(t, knock.Runs(), 1)

	res, err := h.Process(t.Context(), d)
	require.NoError(t, err)
	assert.Equal(t, bridge.OutcomeDuplicate, res.Outcome)
}

func TestBodyData(t *testing.T) {
	t.Parallel()
	const text = `{"b": 1, "a": 12345678901234567890}`
	for name, data := range map[string]any{
		"raw": json.RawMessage(text), "bytes": []byte(text), "string": text,
	} {
		body, err := bridgetest.Body("user.created", data)
		require.NoError(t, err, name)
		e, err := clerk.Parse("msg_1", body)
		require.NoError(t, err, name)
		assert.Equal(t, `{"b":1,"a":12345678901234567890}`, string(e.Data), name)
	}

	// What is decoded from a sample goes back into the same JSON.
	sample, ok := bridgetest.SampleData("user.created")
	require.True(t, ok)
	body, err := bridgetest.Body("user.created", nil)
	require.NoError(t, err)
	e, err := clerk.Parse("msg_1", body)
	require.NoError(t, err)
	assert.JSONEq(t, string(sample), string(e.Data))
}

func TestBodyErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		event string
		data  any
		want  string
	}{
		{"", nil, "bridgetest: the event type is empty"},
		{"user.created", `{"id":`, "bridgetest: data of user.created is not JSON: unexpected end of JSON input"},
		{"user.created", []byte(nil), "bridgetest: data of user.created is not JSON: unexpected end of JSON input"},
		{"user.created", json.RawMessage(`{} {}`), "bridgetest: data of user.created is not JSON: invalid character '{' after top-level value"},
		{"user.created", math.NaN(), "bridgetest: data of user.created can't be marshalled: json: unsupported value: NaN"},
		{"user.teleported", nil, "bridgetest: data of user.teleported is nil, and there is no sample of this type"},
	} {
		_, err := bridgetest.Body(test.event, test.data)
		require.EqualError(t, err, test.want)
		assert.Equal(t, test.want, failure(func(t *fakeT) { bridgetest.NewDelivery(t, test.event, test.data) }))
		assert.Equal(t, test.want, failure(func(t *fakeT) { bridgetest.NewRequest(t, test.event, test.data) }))
	}
	assert.Empty(t, failure(func(t *fakeT) { bridgetest.NewRequest(t, "user.teleported", "{}") }))
}

func TestNoTwoMomentsAreTheSame(t *testing.T) {
	t.Parallel()
	var last time.Time
	for range 100 {
		body, err := bridgetest.Body("user.created", nil)
		require.NoError(t, err)
		e, err := clerk.Parse("msg_1", body)
		require.NoError(t, err)
		require.True(t, e.Timestamp.After(last))
		last = e.Timestamp
	}
}
