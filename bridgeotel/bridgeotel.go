// Package bridgeotel reports to OpenTelemetry what a [bridge.Handler] does: a
// span for each delivery, with a child span for each call to Knock, and metrics.
//
//	cfg := bridge.Config{…}
//	if err := bridgeotel.Instrument(&cfg, bridgeotel.Options{}); err != nil {
//		return err
//	}
//	handler, err := bridge.New(cfg)
//	mux.Handle("/webhooks/clerk", bridgeotel.Middleware(handler, nil))
//
// # Spans
//
// The span of a delivery is named "process" and the event's type, and is of the
// consumer kind, following the semantic conventions for messaging: Svix is the
// messaging system, the event's type the destination. It begins when the delivery is
// verified, so that forged requests can't fill a tracing backend. It is an error when
// the outcome is not OK; its description then is [bridge.Result.Problem], as in the
// log line. There is one for [bridge.Handler.ServeHTTP], Process, Replay and DryRun
// alike. Its attributes:
//
//   - messaging.system ("svix"), messaging.operation.name and
//     messaging.operation.type ("process"), messaging.destination.name (the event's
//     type, see below), messaging.message.id (the svix-id),
//     messaging.message.body.size
//   - bridge.outcome; error.type, the same when it is not OK
//   - bridge.attempt, where the ledger was asked; bridge.entity there and when the
//     delivery was stored in Config.Queue
//   - bridge.replay and bridge.dry_run, where they are true
//
// The span of a call to Knock follows the semantic conventions for HTTP clients:
// the name is method and path template ("PUT /v1/users/{user_id}"), the
// attributes are http.request.method, url.template, http.response.status_code,
// server.address, server.port, error.type, http.request.resend_count and
// http.response.header.x-request-id, by which Knock's support finds the call. It
// covers the repeats of the call and the waits between them. url.full is left
// out, because a path holds ids. A DELETE that is answered with 404 is not an
// error.
//
// With Config.Queue, storing the delivery is a span of the producer kind,
// "enqueue" and the event's type. The work on it is a trace of its own: it has
// the same messaging.message.id.
//
// # Metrics
//
//   - bridge.deliveries counts requests and deliveries by bridge.outcome,
//     messaging.destination.name and, when true, bridge.replay and bridge.dry_run.
//     What was refused before its type was known has no destination name.
//   - bridge.delivery.duration is a histogram in seconds, with the same attributes.
//   - bridge.knock.call.duration is a histogram in seconds of the calls to Knock,
//     by http.request.method, url.template, http.response.status_code, error.type
//     and bridge.knock.tier, the tier (1 to 5) of Knock's rate limit.
//   - bridge.enqueue.duration is a histogram in seconds, by bridge.enqueue.stored,
//     which is false for a delivery that the queue knows already, and error.type.
//   - bridge.queue.waiting, bridge.queue.dead and bridge.queue.oldest (in seconds)
//     are gauges of what Options.QueueStats returns.
//
// Of event types that Clerk does not document, up to 32 appear by name, in spans and
// metrics alike; the others are "_OTHER", and the log line has their type. Spans and
// metrics hold ids and names, and nothing of the payload. The text of an error that
// a mapping function creates is the exception: it is in the span's description, as
// it is in the log.
package bridgeotel

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/clerk"
)

const scope = "github.com/clerkknock/bridge/bridgeotel"

// The attributes that no semantic convention names.
const (
	outcomeKey = attribute.Key("bridge.outcome")
	attemptKey = attribute.Key("bridge.attempt")
	entityKey  = attribute.Key("bridge.entity")
	replayKey  = attribute.Key("bridge.replay")
	dryRunKey  = attribute.Key("bridge.dry_run")
	tierKey    = attribute.Key("bridge.knock.tier")
	storedKey  = attribute.Key("bridge.enqueue.stored")
)

// Options say where spans and metrics go. The zero value is ready to use.
type Options struct {
	// TracerProvider makes the spans. Defaults to the global one.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. Defaults to the global one.
	MeterProvider metric.MeterProvider

	// QueueStats says what waits in Config.Queue, as the method Stats of package
	// inbox's Inbox does. It is called whenever metrics are collected, until the
	// MeterProvider is shut down, and should respect its context. Its error goes
	// to OpenTelemetry's error handler. Defaults to no metrics of the queue.
	QueueStats func(context.Context) (bridge.QueueStats, error)
}

// Instrument makes handlers of cfg trace and count their work. It wraps
// OnStart, OnResult, Knock and Queue: call it once, when these are set and
// before [bridge.New]. What is set there runs as before: OnStart with the span
// in its context, and OnResult before the span ends.
//
// Calls to Knock are measured as mapping functions see them, including what a
// Transport spends on pacing or retries. Outside deliveries, a client made with
// the new cfg.Knock is traced as well.
//
// The error is that of a MeterProvider that can't create an instrument; cfg is
// then unchanged.
func Instrument(cfg *bridge.Config, o Options) error {
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	tracer := o.TracerProvider.Tracer(scope,
		trace.WithInstrumentationVersion(bridge.Version), trace.WithSchemaURL(semconv.SchemaURL))
	meter := o.MeterProvider.Meter(scope,
		metric.WithInstrumentationVersion(bridge.Version), metric.WithSchemaURL(semconv.SchemaURL))
	t, err := newTelemetry(tracer, meter)
	if err != nil {
		return err
	}
	if o.QueueStats != nil {
		if err := observeQueue(meter, o.QueueStats); err != nil {
			return err
		}
	}
	h := &hooks{telemetry: t, start: cfg.OnStart, result: cfg.OnResult}
	cfg.OnStart, cfg.OnResult = h.onStart, h.onResult
	if cfg.Knock != nil {
		cfg.Knock = newTransport(cfg.Knock, t)
	}
	if cfg.Queue != nil {
		cfg.Queue = &queue{telemetry: t, next: cfg.Queue}
	}
	return nil
}

// Middleware takes the parent of the delivery's span from the headers of the
// request, unless instrumentation in front has already done so. The headers are
// not covered by the signature: whoever has a genuine delivery can say what
// they like in them. A nil p stands for the global propagator, which is none
// until the program sets one.
func Middleware(next http.Handler, p propagation.TextMapPropagator) http.Handler {
	if p == nil {
		p = otel.GetTextMapPropagator()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !trace.SpanContextFromContext(r.Context()).IsValid() {
			r = r.WithContext(p.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		}
		next.ServeHTTP(w, r)
	})
}

// hooks are OnStart and OnResult.
type hooks struct {
	*telemetry

	start  func(context.Context, bridge.Delivery, string) context.Context
	result func(context.Context, *bridge.Result)
}

// delivery is what the hooks pass on in the context.
type delivery struct {
	id        string
	span      trace.Span
	eventType string // bounded
}

type deliveryKey struct{}

func (h *hooks) onStart(ctx context.Context, d bridge.Delivery, eventType string) context.Context {
	name := bounded(eventType)
	ctx, span := h.tracer.Start(ctx, "process "+name, trace.WithSpanKind(trace.SpanKindConsumer))
	if span.IsRecording() {
		span.SetAttributes(
			system,
			semconv.MessagingOperationName("process"),
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingDestinationName(name),
			semconv.MessagingMessageID(d.ID),
			semconv.MessagingMessageBodySize(len(d.Body)),
		)
	}
	if h.start != nil {
		begun := false
		defer func() {
			if !begun { // it has panicked, and onResult does not get this context
				span.SetStatus(codes.Error, "panic")
				span.End()
			}
		}()
		if c := h.start(ctx, d, eventType); c != nil {
			ctx = c
		}
		begun = true
	}
	return context.WithValue(ctx, deliveryKey{}, &delivery{id: d.ID, span: span, eventType: name}) // onResult ends it
}

func (h *hooks) onResult(ctx context.Context, res *bridge.Result) {
	current, _ := ctx.Value(deliveryKey{}).(*delivery)
	if current != nil && current.id != res.DeliveryID { // of one around this one
		current = nil
	}
	h.count(ctx, current, res)
	if current != nil {
		describe(current.span, res)
		defer current.span.End() // also when the user's function panics
	}
	if h.result != nil {
		h.result(ctx, res)
	}
}

func (h *hooks) count(ctx context.Context, current *delivery, res *bridge.Result) {
	if !h.deliveries.Enabled(ctx) && !h.deliveryDuration.Enabled(ctx) {
		return
	}
	attrs := make([]attribute.KeyValue, 0, 4)
	attrs = append(attrs, outcomeKey.String(string(res.Outcome)))
	if current != nil {
		attrs = append(attrs, semconv.MessagingDestinationName(current.eventType))
	}
	attrs = append(attrs, flags(res)...)
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	h.deliveries.Add(ctx, 1, set)
	h.deliveryDuration.Record(ctx, res.Duration.Seconds(), set)
}

func describe(span trace.Span, res *bridge.Result) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(outcomeKey.String(string(res.Outcome)))
	span.SetAttributes(flags(res)...)
	if res.Attempt > 0 {
		span.SetAttributes(attemptKey.Int(res.Attempt))
	}
	if res.Entity != "" {
		span.SetAttributes(entityKey.String(res.Entity))
	}
	if !res.Outcome.OK() {
		span.SetAttributes(semconv.ErrorTypeKey.String(string(res.Outcome)))
		span.SetStatus(codes.Error, res.Problem())
	}
}

func flags(res *bridge.Result) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	if res.Replay {
		attrs = append(attrs, replayKey.Bool(true))
	}
	if res.DryRun {
		attrs = append(attrs, dryRunKey.Bool(true))
	}
	return attrs
}

// queue is a Queue whose storing is a span.
type queue struct {
	*telemetry

	next bridge.Queue
}

// Enqueue implements [bridge.Queue].
func (q *queue) Enqueue(ctx context.Context, d bridge.Delivery) (bool, error) {
	name := "enqueue"
	current, _ := ctx.Value(deliveryKey{}).(*delivery)
	if current != nil {
		name += " " + current.eventType
	}
	ctx, span := q.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindProducer))
	defer span.End()
	if span.IsRecording() {
		span.SetAttributes(system, semconv.MessagingOperationName("enqueue"), semconv.MessagingOperationTypeSend,
			semconv.MessagingMessageID(d.ID), semconv.MessagingMessageBodySize(len(d.Body)))
		if current != nil {
			span.SetAttributes(semconv.MessagingDestinationName(current.eventType))
		}
	}
	started := time.Now()
	stored, err := q.next.Enqueue(ctx, d)
	taken := time.Since(started)
	came := storedKey.Bool(stored)
	if err != nil {
		came = errorType(err)
		span.SetStatus(codes.Error, "")
	}
	span.SetAttributes(came)
	q.enqueueDuration.Record(ctx, taken.Seconds(), metric.WithAttributeSet(attribute.NewSet(came)))
	return stored, err
}

//nolint:gochecknoglobals // a constant in all but name
var system = semconv.MessagingSystemKey.String("svix")

// other stands for what is not told apart.
const other = "_OTHER"

// maxOthers is how many types of events are told apart beside Clerk's own.
const maxOthers = 32

// types are the names of events that are used in metrics and spans. A sender's typing
// errors must not make as many time series, also where those are made of spans.
type types struct {
	known map[string]bool

	mu     sync.Mutex
	others map[string]bool
}

//nolint:gochecknoglobals // what is bounded is the process's number of time series
var seen = func() *types {
	t := &types{known: map[string]bool{}, others: map[string]bool{}}
	for _, name := range clerk.EventNames() {
		t.known[name] = true
	}
	return t
}()

func bounded(eventType string) string { return seen.bounded(eventType) }

func (t *types) bounded(eventType string) string {
	if t.known[eventType] {
		return eventType
	}
	name := clip(eventType)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.others[name] {
		if len(t.others) == maxOthers {
			return other
		}
		t.others[name] = true
	}
	return name
}

// clip bounds a name that the sender has chosen.
func clip(name string) string {
	const longest = 100
	if len(name) <= longest {
		return strings.ToValidUTF8(name, "")
	}
	return strings.ToValidUTF8(name[:longest], "") + "…"
}
