package bridgeotel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otelmetric "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeotel"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/pace"
)

// bundle is a handler whose spans and metrics are kept in memory.
type bundle struct {
	t       *testing.T
	knock   *bridgetest.Knock
	cfg     bridge.Config // instrumented
	handler *bridge.Handler
	spans   *tracetest.InMemoryExporter
	reader  *metric.ManualReader
}

func setup(t *testing.T, cfg bridge.Config, o bridgeotel.Options) *bundle {
	t.Helper()
	b := &bundle{
		t: t, knock: bridgetest.NewKnock(t),
		spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader(),
	}
	if cfg.Knock == nil {
		h := &actions.HTTP{APIKey: "sk_test_1", BaseURL: b.knock.URL}
		t.Cleanup(h.CloseIdleConnections)
		cfg.Knock = h
	}
	cfg.SigningSecrets = []string{bridgetest.Secret}
	cfg.Logger = slog.New(slog.DiscardHandler)
	o.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(b.spans))
	o.MeterProvider = metric.NewMeterProvider(metric.WithReader(b.reader))
	require.NoError(t, bridgeotel.Instrument(&cfg, o))
	b.cfg = cfg
	var err error
	b.handler, err = bridge.New(cfg)
	require.NoError(t, err)
	return b
}

func serve(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// span returns the one span of that name.
func (b *bundle) span(name string) tracetest.SpanStub {
	b.t.Helper()
	var found []tracetest.SpanStub
	var names []string
	for _, s := range b.spans.GetSpans() {
		names = append(names, s.Name)
		if s.Name == name {
			found = append(found, s)
		}
	}
	require.Len(b.t, found, 1, "%s among %q", name, names)
	return found[0]
}

func attributes(s *tracetest.SpanStub) map[string]string {
	return texts(attribute.NewSet(s.Attributes...))
}

func texts(set attribute.Set) map[string]string {
	out := map[string]string{}
	for _, kv := range set.ToSlice() {
		out[string(kv.Key)] = kv.Value.String()
	}
	return out
}

// metrics collects, and returns the points of each metric: their attributes and
// their count or value.
func (b *bundle) metrics() map[string]map[string]float64 {
	b.t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(b.t, b.reader.Collect(b.t.Context(), &collected))
	out := map[string]map[string]float64{}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			points := map[string]float64{}
			name := func(set attribute.Set) string { return set.Encoded(attribute.DefaultEncoder()) }
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					points[name(p.Attributes)] = float64(p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					points[name(p.Attributes)] = float64(p.Count)
					assert.Contains(b.t, p.Bounds, 15.0)
					assert.Less(b.t, p.Sum, 15.0, "seconds")
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					points[name(p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					points[name(p.Attributes)] = p.Value
				}
			default:
				b.t.Errorf("%s is a %T", m.Name, m.Data)
			}
			out[m.Name] = points
		}
	}
	return out
}

// assertNothingPrivate looks for the sample's data in all that was exported.
func (b *bundle) assertNothingPrivate() {
	b.t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(b.t, b.reader.Collect(b.t.Context(), &collected))
	for _, exported := range []string{fmt.Sprintf("%+v", b.spans.GetSpans()), fmt.Sprintf("%+v", collected)} {
		require.Contains(b.t, exported, "user.created")
		for _, private := range []string{"okafor", "Okafor", "Mira", "crm-4711", "gold", "sk_test", "whsec"} {
			assert.NotContains(b.t, exported, private)
		}
	}
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{Mappings: bridge.Mappings{
		bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
	}}, bridgeotel.Options{})
	d := bridgetest.NewDelivery(t, "user.created", nil)
	require.Equal(t, http.StatusOK, serve(b.handler, bridgetest.Attempt(t, d)))

	parent := b.span("process user.created")
	assert.Equal(t, trace.SpanKindConsumer, parent.SpanKind)
	assert.Equal(t, codes.Unset, parent.Status.Code)
	assert.False(t, parent.Parent.IsValid())
	assert.Equal(t, map[string]string{
		"messaging.system":            "svix",
		"messaging.operation.name":    "process",
		"messaging.operation.type":    "process",
		"messaging.destination.name":  "user.created",
		"messaging.message.id":        d.ID,
		"messaging.message.body.size": strconv.Itoa(len(d.Body)),
		"bridge.outcome":              "done",
		"bridge.attempt":              "1",
		"bridge.entity":               "user/user_3A11bGju0S48v4cQq2bQsGEKuDy",
	}, attributes(&parent))

	host, err := url.Parse(b.knock.URL)
	require.NoError(t, err)
	for name, template := range map[string]string{
		"PUT /v1/users/{user_id}":          "/v1/users/{user_id}",
		"POST /v1/workflows/{key}/trigger": "/v1/workflows/{key}/trigger",
	} {
		call := b.span(name)
		assert.Equal(t, parent.SpanContext.SpanID(), call.Parent.SpanID())
		assert.Equal(t, parent.SpanContext.TraceID(), call.SpanContext.TraceID())
		assert.Equal(t, trace.SpanKindClient, call.SpanKind)
		assert.Equal(t, codes.Unset, call.Status.Code)
		got := attributes(&call)
		assert.NotEmpty(t, got["http.response.header.x-request-id"])
		delete(got, "http.response.header.x-request-id")
		assert.Equal(t, template, got["url.template"])
		assert.Equal(t, "200", got["http.response.status_code"])
		assert.Equal(t, host.Hostname(), got["server.address"])
		assert.Equal(t, host.Port(), got["server.port"])
		assert.Len(t, got, 6, "%v", got)
	}
	assert.Equal(t, map[string]map[string]float64{
		"bridge.deliveries":        {"bridge.outcome=done,messaging.destination.name=user.created": 1},
		"bridge.delivery.duration": {"bridge.outcome=done,messaging.destination.name=user.created": 1},
		"bridge.knock.call.duration": {
			"bridge.knock.tier=3,http.request.method=PUT,http.response.status_code=200,url.template=/v1/users/{user_id}":          1,
			"bridge.knock.tier=5,http.request.method=POST,http.response.status_code=200,url.template=/v1/workflows/{key}/trigger": 1,
		},
	}, b.metrics())
	b.assertNothingPrivate()
}

func TestFailure(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	b.knock.Fail(1, bridgetest.Fault{
		Status: http.StatusUnprocessableEntity,
		Body: `{"code":"invalid_params","message":"m.okafor@example.net is not an address",
			"errors":[{"field":"email","message":"m.okafor@example.net"}]}`,
	})
	assert.Equal(t, http.StatusUnprocessableEntity, serve(b.handler, bridgetest.NewRequest(t, "user.created", nil)))

	parent := b.span("process user.created")
	assert.Equal(t, codes.Error, parent.Status.Code)
	assert.Contains(t, parent.Status.Description, ": 422 invalid_params (request req_00000001); field email")
	assert.Equal(t, "rejected", attributes(&parent)["error.type"])
	call := b.span("PUT /v1/users/{user_id}")
	assert.Equal(t, codes.Error, call.Status.Code)
	assert.Equal(t, "422", attributes(&call)["error.type"])
	assert.Equal(t, map[string]float64{"bridge.outcome=rejected,messaging.destination.name=user.created": 1},
		b.metrics()["bridge.deliveries"])
	b.assertNothingPrivate()
}

func TestRepeatedCall(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	b.knock.Fail(1, bridgetest.Fault{Status: http.StatusServiceUnavailable})
	assert.Equal(t, http.StatusOK, serve(b.handler, bridgetest.NewRequest(t, "user.created", nil)))
	call := b.span("PUT /v1/users/{user_id}")
	assert.Equal(t, codes.Unset, call.Status.Code)
	assert.Equal(t, "1", attributes(&call)["http.request.resend_count"])
}

func TestNothingToRemoveIsNoError(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	assert.Equal(t, http.StatusOK, serve(b.handler, bridgetest.NewRequest(t, "user.deleted", nil)))
	call := b.span("DELETE /v1/users/{user_id}")
	assert.Equal(t, codes.Unset, call.Status.Code)
	assert.Equal(t, "404", attributes(&call)["http.response.status_code"])
	assert.Equal(t, map[string]float64{
		"bridge.knock.tier=2,http.request.method=DELETE,http.response.status_code=404,url.template=/v1/users/{user_id}": 1,
	}, b.metrics()["bridge.knock.call.duration"])
}

func TestRefusedRequestsAreCountedOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	forged := bridgetest.NewRequest(t, "user.created", nil)
	forged.Header.Set("Svix-Id", "msg_forged")
	assert.Equal(t, http.StatusUnauthorized, serve(b.handler, forged))
	assert.Equal(t, http.StatusBadRequest, serve(b.handler, httptest.NewRequest(http.MethodPost, "/", nil)))
	assert.Equal(t, http.StatusMethodNotAllowed, serve(b.handler, httptest.NewRequest(http.MethodGet, "/", nil)))
	assert.Empty(t, b.spans.GetSpans())
	assert.Equal(t, map[string]float64{
		"bridge.outcome=unverified": 1, "bridge.outcome=malformed": 1, "bridge.outcome=refused": 1,
	}, b.metrics()["bridge.deliveries"])
}

func TestRemoteParent(t *testing.T) {
	t.Parallel()
	const header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	mounted := bridgeotel.Middleware(b.handler, propagation.TraceContext{})

	r := bridgetest.NewRequest(t, "user.created", nil)
	r.Header.Set("Traceparent", header)
	require.Equal(t, http.StatusOK, serve(mounted, r))
	parent := b.span("process user.created")
	assert.True(t, parent.Parent.IsRemote())
	assert.Equal(t, "0af7651916cd43dd8448eb211c80319c", parent.SpanContext.TraceID().String())
	assert.Equal(t, "b7ad6b7169203331", parent.Parent.SpanID().String())

	// An instrumentation in front has a span of its own.
	b.spans.Reset()
	front := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	r = bridgetest.NewRequest(t, "user.updated", nil)
	r.Header.Set("Traceparent", header)
	require.Equal(t, http.StatusOK, serve(mounted, r.WithContext(trace.ContextWithSpanContext(r.Context(), front))))
	assert.Equal(t, front.SpanID(), b.span("process user.updated").Parent.SpanID())

	// The global propagator is none.
	b.spans.Reset()
	r = bridgetest.NewRequest(t, "session.created", nil)
	r.Header.Set("Traceparent", header)
	require.Equal(t, http.StatusOK, serve(bridgeotel.Middleware(b.handler, nil), r))
	assert.False(t, b.span("process session.created").Parent.IsValid())
}

// memoryQueue is a queue for one test.
type memoryQueue struct {
	stored []bridge.Delivery
	err    error
}

func (q *memoryQueue) Enqueue(_ context.Context, d bridge.Delivery) (bool, error) {
	if q.err != nil {
		return false, q.err
	}
	for _, known := range q.stored {
		if known.ID == d.ID {
			return false, nil
		}
	}
	q.stored = append(q.stored, d)
	return true, nil
}

func TestQueue(t *testing.T) {
	t.Parallel()
	queue := &memoryQueue{}
	b := setup(t, bridge.Config{Queue: queue}, bridgeotel.Options{
		QueueStats: func(context.Context) (bridge.QueueStats, error) {
			return bridge.QueueStats{Waiting: len(queue.stored), Oldest: 1500 * time.Millisecond, Dead: 2}, nil
		},
	})
	d := bridgetest.NewDelivery(t, "user.created", nil)
	require.Equal(t, http.StatusAccepted, serve(b.handler, bridgetest.Attempt(t, d)))
	received, stored := b.span("process user.created"), b.span("enqueue user.created")
	assert.Equal(t, "queued", attributes(&received)["bridge.outcome"])
	assert.Equal(t, received.SpanContext.SpanID(), stored.Parent.SpanID())
	assert.Equal(t, trace.SpanKindProducer, stored.SpanKind)
	assert.Equal(t, d.ID, attributes(&stored)["messaging.message.id"])
	assert.Equal(t, "user.created", attributes(&stored)["messaging.destination.name"])
	assert.Equal(t, "true", attributes(&stored)["bridge.enqueue.stored"])

	b.spans.Reset()
	require.Equal(t, http.StatusOK, serve(b.handler, bridgetest.Attempt(t, d)))
	queue.err = errors.New("no disk")
	require.Equal(t, http.StatusServiceUnavailable, serve(b.handler, bridgetest.NewRequest(t, "user.updated", nil)))
	failed := b.span("enqueue user.updated")
	assert.Equal(t, codes.Error, failed.Status.Code)

	b.spans.Reset()
	res, err := b.handler.Process(t.Context(), queue.stored[0])
	require.NoError(t, err)
	require.Equal(t, bridge.OutcomeDone, res.Outcome)
	worked, call := b.span("process user.created"), b.span("PUT /v1/users/{user_id}")
	assert.Equal(t, worked.SpanContext.SpanID(), call.Parent.SpanID())
	assert.Equal(t, d.ID, attributes(&worked)["messaging.message.id"])
	assert.NotEqual(t, received.SpanContext.TraceID(), worked.SpanContext.TraceID())

	metrics := b.metrics()
	assert.Equal(t, map[string]float64{
		"bridge.enqueue.stored=true": 1, "bridge.enqueue.stored=false": 1, "error.type=_OTHER": 1,
	}, metrics["bridge.enqueue.duration"])
	assert.Equal(t, map[string]float64{"": 1}, metrics["bridge.queue.waiting"])
	assert.Equal(t, map[string]float64{"": 2}, metrics["bridge.queue.dead"])
	assert.Equal(t, map[string]float64{"": 1.5}, metrics["bridge.queue.oldest"])
	b.assertNothingPrivate()
}

func TestQueueStatsFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the database is away")
	b := setup(t, bridge.Config{}, bridgeotel.Options{
		QueueStats: func(context.Context) (bridge.QueueStats, error) { return bridge.QueueStats{}, broken },
	})
	var collected metricdata.ResourceMetrics
	require.ErrorIs(t, b.reader.Collect(t.Context(), &collected), broken)
}

func TestReplayAndDryRun(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	d := bridgetest.NewDelivery(t, "user.created", nil)
	_, err := b.handler.DryRun(t.Context(), d)
	require.NoError(t, err)
	dry := b.span("process user.created")
	assert.Equal(t, "true", attributes(&dry)["bridge.dry_run"])
	b.spans.Reset()
	_, err = b.handler.Replay(t.Context(), d)
	require.NoError(t, err)
	replayed := b.span("process user.created")
	assert.Equal(t, "true", attributes(&replayed)["bridge.replay"])
	assert.Equal(t, map[string]float64{
		"bridge.dry_run=true,bridge.outcome=done,messaging.destination.name=user.created": 1,
		"bridge.outcome=done,bridge.replay=true,messaging.destination.name=user.created":  1,
	}, b.metrics()["bridge.deliveries"])
}

func TestTheUsersHooksStillRun(t *testing.T) {
	t.Parallel()
	type key struct{}
	var b *bundle
	calls := 0
	b = setup(t, bridge.Config{
		OnStart: func(ctx context.Context, _ bridge.Delivery, eventType string) context.Context {
			trace.SpanFromContext(ctx).SetAttributes(attribute.String("team", "accounts"))
			return context.WithValue(context.Background(), key{}, eventType) // not made of ctx
		},
		OnResult: func(ctx context.Context, res *bridge.Result) {
			calls++
			assert.Equal(t, res.EventType, ctx.Value(key{}))
			assert.Len(t, b.spans.GetSpans(), len(res.Steps), "the delivery's span has not ended")
			panic("a mistake")
		},
	}, bridgeotel.Options{})
	assert.Equal(t, http.StatusOK, serve(b.handler, bridgetest.NewRequest(t, "user.created", nil)))
	assert.Equal(t, 1, calls)
	s := b.span("process user.created")
	assert.Equal(t, "accounts", attributes(&s)["team"])
	assert.Equal(t, "done", attributes(&s)["bridge.outcome"])
}

// TestDeliveryWithinADelivery: what a mapping function has worked off, and is no
// event, does not end the span of the delivery around it.
func TestDeliveryWithinADelivery(t *testing.T) {
	t.Parallel()
	var b *bundle
	b = setup(t, bridge.Config{Mappings: bridge.Mappings{bridge.On(clerk.SessionCreated, func(ctx context.Context, _ *clerk.Event[clerk.Session], _ *actions.Client) error {
		_, err := b.handler.Process(ctx, bridge.Delivery{ID: "msg_inner", Body: []byte("{}")})
		if err == nil {
			return errors.New("it is no event")
		}
		return nil
	})}}, bridgeotel.Options{})
	require.Equal(t, http.StatusOK, serve(b.handler, bridgetest.NewRequest(t, "session.created", nil)))
	span := b.span("process session.created")
	assert.Equal(t, "done", attributes(&span)["bridge.outcome"])
	assert.Equal(t, codes.Unset, span.Status.Code)
	assert.Len(t, b.spans.GetSpans(), 1)
}

// TestPanicOfTheUsersHook: the span that was begun is ended.
func TestPanicOfTheUsersHook(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{OnStart: func(context.Context, bridge.Delivery, string) context.Context { panic("x") }}, bridgeotel.Options{})
	assert.Equal(t, http.StatusInternalServerError, serve(b.handler, bridgetest.NewRequest(t, "session.created", nil)))
	span := b.span("process session.created")
	assert.Equal(t, codes.Error, span.Status.Code)
	assert.Len(t, b.spans.GetSpans(), 1)
}

func TestUsersHookWithoutContext(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{OnStart: func(context.Context, bridge.Delivery, string) context.Context { return nil }}, bridgeotel.Options{})
	assert.Equal(t, http.StatusOK, serve(b.handler, bridgetest.NewRequest(t, "user.created", nil)))
	span := b.span("process user.created")
	assert.Equal(t, "done", attributes(&span)["bridge.outcome"])
}

func TestUnknownTypesAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	serve(b.handler, bridgetest.NewRequest(t, strings.Repeat("x", 1000), map[string]any{}))
	for i := range 100 {
		serve(b.handler, bridgetest.NewRequest(t, "made.up."+strconv.Itoa(i), map[string]any{}))
	}
	for _, s := range b.spans.GetSpans() {
		assert.Equal(t, "process "+attributes(&s)["messaging.destination.name"], s.Name)
		assert.LessOrEqual(t, len(s.Name), len("process ")+100+len("…"))
	}
	serve(b.handler, bridgetest.NewRequest(t, "user.created", nil))
	points := b.metrics()["bridge.deliveries"]
	assert.LessOrEqual(t, len(points), 34)
	assert.GreaterOrEqual(t, points["bridge.outcome=ignored,messaging.destination.name=_OTHER"], 68.0)
	assert.InDelta(t, 1, points["bridge.outcome=done,messaging.destination.name=user.created"], 0)
}

func TestConcurrentDeliveries(t *testing.T) {
	t.Parallel()
	const n = 40
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	var wg sync.WaitGroup
	for i := range n {
		r := bridgetest.NewRequest(t, "user.created", map[string]any{"object": "user", "id": "user_" + strconv.Itoa(i)})
		wg.Go(func() { assert.Equal(t, http.StatusOK, serve(b.handler, r)) })
	}
	wg.Wait()
	children := map[trace.SpanID]int{}
	for _, s := range b.spans.GetSpans() {
		if s.SpanKind == trace.SpanKindClient {
			children[s.Parent.SpanID()]++
		}
	}
	assert.Len(t, children, n)
	assert.Equal(t, map[string]float64{"bridge.outcome=done,messaging.destination.name=user.created": n},
		b.metrics()["bridge.deliveries"])
}

// broken is a MeterProvider whose Meter can't make one kind of instrument.
type broken struct {
	noop.MeterProvider

	meter brokenMeter
}

func (p broken) Meter(string, ...otelmetric.MeterOption) otelmetric.Meter { return p.meter }

type brokenMeter struct {
	noop.Meter

	histogram, gauge error
}

func (m brokenMeter) Float64Histogram(string, ...otelmetric.Float64HistogramOption) (otelmetric.Float64Histogram, error) {
	return noop.Float64Histogram{}, m.histogram
}

func (m brokenMeter) Float64ObservableGauge(string, ...otelmetric.Float64ObservableGaugeOption) (otelmetric.Float64ObservableGauge, error) {
	return noop.Float64ObservableGauge{}, m.gauge
}

func TestInstrumentFails(t *testing.T) {
	t.Parallel()
	stats := func(context.Context) (bridge.QueueStats, error) { return bridge.QueueStats{}, nil }
	no := errors.New("no more instruments")
	for _, meter := range []brokenMeter{{histogram: no}, {gauge: no}} {
		cfg := bridge.Config{Knock: &actions.HTTP{}, Queue: &memoryQueue{}}
		err := bridgeotel.Instrument(&cfg, bridgeotel.Options{MeterProvider: broken{meter: meter}, QueueStats: stats})
		require.ErrorIs(t, err, no)
		assert.Equal(t, bridge.Config{Knock: &actions.HTTP{}, Queue: &memoryQueue{}}, cfg)
	}
}

// The line of a delivery and those of its steps are written within its trace.
func TestLogLinesHaveTheTrace(t *testing.T) {
	t.Parallel()
	lines := &traced{}
	b := setup(t, bridge.Config{}, bridgeotel.Options{})
	cfg := b.cfg
	cfg.Logger = slog.New(lines)
	h, err := bridge.New(cfg)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, serve(h, bridgetest.NewRequest(t, "user.created", nil)))
	id := b.span("process user.created").SpanContext.SpanID()
	assert.Equal(t, []trace.SpanID{id, id}, lines.spans)
}

// traced is a log handler that notes which span a line belongs to.
type traced struct{ spans []trace.SpanID }

func (*traced) Enabled(context.Context, slog.Level) bool { return true }
func (l *traced) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *traced) WithGroup(string) slog.Handler          { return l }

func (l *traced) Handle(ctx context.Context, _ slog.Record) error {
	l.spans = append(l.spans, trace.SpanContextFromContext(ctx).SpanID())
	return nil
}

// The problems of a Transport come through, and a missing one is still missed.
func TestConfigIsStillChecked(t *testing.T) {
	t.Parallel()
	cfg := bridge.Config{SigningSecrets: []string{bridgetest.Secret}, Knock: &actions.HTTP{}}
	require.NoError(t, bridgeotel.Instrument(&cfg, bridgeotel.Options{}))
	_, err := bridge.New(cfg)
	require.ErrorContains(t, err, "APIKey is empty")
	for _, knock := range []actions.Transport{nil, (*actions.HTTP)(nil), (*pace.Transport)(nil)} {
		cfg = bridge.Config{SigningSecrets: []string{bridgetest.Secret}, Knock: knock}
		require.NoError(t, bridgeotel.Instrument(&cfg, bridgeotel.Options{}))
		_, err = bridge.New(cfg)
		require.ErrorContains(t, err, "is nil", "%T", knock)
	}
	cfg = bridge.Config{SigningSecrets: []string{bridgetest.Secret}, Knock: bridgetest.NewKnock(t).Transport()}
	require.NoError(t, bridgeotel.Instrument(&cfg, bridgeotel.Options{}))
	_, err = bridge.New(cfg)
	require.NoError(t, err)
}
