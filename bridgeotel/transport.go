package bridgeotel

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/pace"
)

// transport is a Transport whose calls are spans.
type transport struct {
	*telemetry

	next   actions.Transport
	server []attribute.KeyValue // where Knock is, when that is known
}

func newTransport(next actions.Transport, common *telemetry) *transport {
	t := &transport{telemetry: common, next: next}
	if p, ok := next.(*pace.Transport); ok && p != nil {
		next = p.Knock
	}
	if h, ok := next.(*actions.HTTP); ok && h != nil {
		t.server = server(h.BaseURL)
	}
	return t
}

// server describes where Knock is. A base URL that is wrong is for Validate to
// report.
func server(base string) []attribute.KeyValue {
	if base == "" {
		base = "https://api.knock.app"
	}
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = 443
		if u.Scheme == "http" {
			port = 80
		}
	}
	return []attribute.KeyValue{semconv.ServerAddress(u.Hostname()), semconv.ServerPort(port)}
}

// Validate is for bridge.New, which asks a Transport for its problems.
func (t *transport) Validate() error {
	if v, ok := t.next.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// Do implements [actions.Transport].
func (t *transport) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	template, tier := routeOf(r)
	name := r.Method
	if template != "" {
		name += " " + template
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	started := time.Now()
	res, err := t.next.Do(ctx, r)
	taken := time.Since(started)

	traced, measured := span.IsRecording(), t.callDuration.Enabled(ctx)
	if !traced && !measured {
		return res, err
	}
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs, semconv.HTTPRequestMethodKey.String(r.Method))
	if template != "" {
		attrs = append(attrs, semconv.URLTemplate(template), tierKey.Int(tier))
	}
	attrs, failed := appendAnswer(attrs, r, res, err)
	if traced {
		span.SetAttributes(attrs...)
		span.SetAttributes(t.server...)
		if n := resent(res, err); n > 0 {
			span.SetAttributes(semconv.HTTPRequestResendCount(n))
		}
		if id := requestID(res); id != "" {
			span.SetAttributes(semconv.HTTPResponseHeader("x-request-id", id))
		}
		if failed {
			span.SetStatus(codes.Error, "") // error.type says why
		}
	}
	if measured {
		t.callDuration.Record(ctx, taken.Seconds(), metric.WithAttributeSet(attribute.NewSet(attrs...)))
	}
	return res, err
}

// appendAnswer appends what came of a call, and reports whether it failed. That
// there is nothing to remove is no failure.
func appendAnswer(
	attrs []attribute.KeyValue, r *actions.Request, res *actions.Response, err error,
) (_ []attribute.KeyValue, failed bool) {
	if err != nil || res == nil { // neither is the Transport's mistake, which package actions reports
		return append(attrs, errorType(err)), true
	}
	attrs = append(attrs, semconv.HTTPResponseStatusCode(res.Status))
	if res.Status < http.StatusBadRequest || r.Method == http.MethodDelete && res.Status == http.StatusNotFound {
		return attrs, false
	}
	return append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(res.Status))), true
}

// resent is how often a request was sent again.
func resent(res *actions.Response, err error) int {
	if res != nil {
		return res.Attempts - 1
	}
	if e, ok := errors.AsType[*actions.SendError](err); ok {
		return e.Attempts - 1
	}
	return 0
}

func requestID(res *actions.Response) string {
	if res == nil {
		return ""
	}
	return res.Header.Get("X-Request-Id")
}

// errorType names the error of a call that got no answer. Its text may hold
// anything.
func errorType(err error) attribute.KeyValue {
	name := other
	var timeout net.Error
	_, paused := errors.AsType[*pace.PausedError](err)
	switch e, _ := errors.AsType[*actions.SendError](err); {
	case paused:
		name = "paused" // by package pace, since Knock refused a call like it
	case e != nil && e.RetryAfter > 0:
		name = "rate_limited" // by a Transport that keeps Knock's limits
	case errors.Is(err, context.Canceled):
		name = "canceled"
	case errors.As(err, &timeout) && timeout.Timeout(): // context.DeadlineExceeded is one
		name = "timeout"
	case e != nil && e.Unsent:
		name = "unreachable"
	}
	return semconv.ErrorTypeKey.String(name)
}
