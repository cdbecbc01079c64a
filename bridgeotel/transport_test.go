package bridgeotel_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeotel"
	"github.com/clerkknock/bridge/pace"
)

// fixed is a Transport that answers the same each time.
type fixed struct {
	res *actions.Response
	err error
}

func (f fixed) Do(context.Context, *actions.Request) (*actions.Response, error) { return f.res, f.err }

// call sends one request through an instrumented Transport and returns its span.
func call(t *testing.T, next actions.Transport, method, path string) tracetest.SpanStub {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	cfg := bridge.Config{Knock: next}
	require.NoError(t, bridgeotel.Instrument(&cfg, bridgeotel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
	}))
	_, _ = cfg.Knock.Do(t.Context(), &actions.Request{Method: method, Path: path})
	require.Len(t, spans.GetSpans(), 1)
	return spans.GetSpans()[0]
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	ok := fixed{res: &actions.Response{Status: http.StatusOK}}
	for _, tc := range []struct{ method, path, template, tier string }{
		{"PUT", "/v1/users/user_1", "/v1/users/{user_id}", "3"},
		{"GET", "/v1/users/a%20b?x=y", "/v1/users/{user_id}", "4"},
		{"DELETE", "/v1/users/user_1", "/v1/users/{user_id}", "2"},
		{"POST", "/v1/users/user_1/merge", "/v1/users/{user_id}/merge", "2"},
		{"PUT", "/v1/users/u/channel_data/c", "/v1/users/{user_id}/channel_data/{channel_id}", "3"},
		{"PUT", "/v1/users/u/preferences/default", "/v1/users/{user_id}/preferences/{id}", "3"},
		{"POST", "/v1/users/bulk/identify", "/v1/users/bulk/{operation}", "1"},
		{"PUT", "/v1/objects/teams/t1", "/v1/objects/{collection}/{id}", "3"},
		{"DELETE", "/v1/objects/teams/t1", "/v1/objects/{collection}/{id}", "3"},
		{"POST", "/v1/objects/$tenants/org_1/subscriptions", "/v1/objects/{collection}/{object_id}/subscriptions", "3"},
		{"POST", "/v1/objects/$tenants/bulk/subscriptions/add", "/v1/objects/{collection}/bulk/subscriptions/{operation}", "1"},
		{"POST", "/v1/objects/teams/bulk/set", "/v1/objects/{collection}/bulk/{operation}", "1"},
		{"DELETE", "/v1/objects/c/o/channel_data/x", "/v1/objects/{collection}/{object_id}/channel_data/{channel_id}", "3"},
		{"GET", "/v1/objects/teams", "/v1/objects/{collection}", "4"},
		{"POST", "/v1/objects/teams/t1/preferences/x", "/v1/objects/{collection}/{object_id}/preferences/{id}", "3"},
		{"POST", "/v1/schedules", "/v1/schedules", "3"},
		{"POST", "/v1/schedules/bulk/create", "/v1/schedules/bulk/{operation}", "1"},
		{"PUT", "/v1/tenants/org_1", "/v1/tenants/{id}", "3"},
		{"DELETE", "/v1/tenants/org_1", "/v1/tenants/{id}", "2"},
		{"POST", "/v1/tenants/bulk/set", "/v1/tenants/bulk/{operation}", "1"},
		{"POST", "/v1/audiences/paid/members?create_audience=true", "/v1/audiences/{key}/members", "3"},
		{"POST", "/v1/workflows/welcome/trigger", "/v1/workflows/{key}/trigger", "5"},
		{"POST", "/v1/workflows/welcome/cancel", "/v1/workflows/{key}/cancel", "5"},
		{"GET", "/v1/bulk_operations/x", "/v1/bulk_operations/{id}", "4"},
		{"GET", "/v1/users/", "", ""},
		{"GET", "/v1/users/u/", "", ""},
		{"POST", "/v1/ada@example.com/x", "", ""},
	} {
		s := call(t, ok, tc.method, tc.path)
		name := tc.method
		if tc.template != "" {
			name += " " + tc.template
		}
		assert.Equal(t, name, s.Name, tc.path)
		assert.Equal(t, tc.template, attributes(&s)["url.template"], tc.path)
		assert.Equal(t, tc.tier, attributes(&s)["bridge.knock.tier"], tc.path)
	}
}

type slow struct{ error }

func (slow) Timeout() bool   { return true }
func (slow) Temporary() bool { return true }

func TestErrorTypes(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"timeout":      &actions.SendError{Attempts: 1, Err: context.DeadlineExceeded},
		"canceled":     &actions.SendError{Attempts: 1, Err: context.Canceled},
		"rate_limited": &actions.SendError{Unsent: true, RetryAfter: time.Second, Err: errors.New("no room")},
		"paused":       &actions.SendError{Unsent: true, RetryAfter: time.Second, Err: &pace.PausedError{Calls: "all calls", Status: 401}},
		"unreachable":  &actions.SendError{Attempts: 3, Unsent: true, Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}},
		"_OTHER":       errors.New("ada@example.com"),
	} {
		s := call(t, fixed{err: err}, "PUT", "/v1/users/user_1")
		assert.Equal(t, want, attributes(&s)["error.type"])
		assert.Equal(t, codes.Error, s.Status.Code)
		assert.Empty(t, s.Status.Description)
		assert.NotContains(t, attributes(&s), "http.response.status_code")
	}
	s := call(t, fixed{err: slow{errors.New("read")}}, "PUT", "/v1/users/user_1")
	assert.Equal(t, "timeout", attributes(&s)["error.type"])
	s = call(t, fixed{err: &actions.SendError{Attempts: 3, Err: errors.New("reset")}}, "PUT", "/v1/users/user_1")
	assert.Equal(t, "_OTHER", attributes(&s)["error.type"], "Knock was reached")
	assert.Equal(t, "2", attributes(&s)["http.request.resend_count"])
	s = call(t, fixed{}, "PUT", "/v1/users/user_1") // neither an answer nor an error
	assert.Equal(t, "_OTHER", attributes(&s)["error.type"])
	assert.Equal(t, codes.Error, s.Status.Code)
}

func TestServer(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for base, want := range map[string][2]string{
		"":                          {"api.knock.app", "443"},
		"https://knock.example.com": {"knock.example.com", "443"},
		"http://127.0.0.1/proxy":    {"127.0.0.1", "80"},
		"http://127.0.0.1:8080":     {"127.0.0.1", "8080"},
		"::":                        {"", ""},
	} {
		knock := &actions.HTTP{APIKey: "sk_test_1", BaseURL: base}
		for _, next := range []actions.Transport{knock, &pace.Transport{Knock: knock}} {
			spans := tracetest.NewInMemoryExporter()
			cfg := bridge.Config{Knock: next}
			require.NoError(t, bridgeotel.Instrument(&cfg, bridgeotel.Options{
				TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
			}))
			_, err := cfg.Knock.Do(canceled, &actions.Request{Method: http.MethodGet, Path: "/v1/users/u"}) // nothing is sent
			require.Error(t, err)
			got := attributes(&spans.GetSpans()[0])
			assert.Equal(t, want, [2]string{got["server.address"], got["server.port"]}, "%T, %s", next, base)
		}
	}
}
