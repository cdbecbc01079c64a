package bridgeotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/clerkknock/bridge"
)

// telemetry is what all that is instrumented shares.
type telemetry struct {
	tracer trace.Tracer

	deliveries       metric.Int64Counter
	deliveryDuration metric.Float64Histogram
	callDuration     metric.Float64Histogram
	enqueueDuration  metric.Float64Histogram
}

func newTelemetry(tracer trace.Tracer, meter metric.Meter) (*telemetry, error) {
	// From what an answer out of memory takes up to the 15 seconds that Svix waits.
	buckets := metric.WithExplicitBucketBoundaries(
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 12.5, 15)
	var problems [4]error
	t := &telemetry{tracer: tracer}
	t.deliveries, problems[0] = meter.Int64Counter("bridge.deliveries",
		metric.WithUnit("{delivery}"), metric.WithDescription("Requests and deliveries, by how they ended."))
	t.deliveryDuration, problems[1] = meter.Float64Histogram("bridge.delivery.duration", buckets,
		metric.WithUnit("s"), metric.WithDescription("Time that the bridge took for a request or a delivery."))
	t.callDuration, problems[2] = meter.Float64Histogram("bridge.knock.call.duration", buckets,
		metric.WithUnit("s"), metric.WithDescription("Time that a call to Knock took, with its repeats and waits."))
	t.enqueueDuration, problems[3] = meter.Float64Histogram("bridge.enqueue.duration", buckets,
		metric.WithUnit("s"), metric.WithDescription("Time that the queue took to store a delivery."))
	return t, errors.Join(problems[:]...)
}

func observeQueue(meter metric.Meter, stats func(context.Context) (bridge.QueueStats, error)) error {
	waiting, err1 := meter.Int64ObservableGauge("bridge.queue.waiting",
		metric.WithUnit("{delivery}"), metric.WithDescription("Deliveries in the queue that are still to be processed."))
	dead, err2 := meter.Int64ObservableGauge("bridge.queue.dead",
		metric.WithUnit("{delivery}"), metric.WithDescription("Deliveries that have been given up and are kept."))
	oldest, err3 := meter.Float64ObservableGauge("bridge.queue.oldest",
		metric.WithUnit("s"), metric.WithDescription("How long the oldest delivery in the queue has waited."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		s, err := stats(ctx)
		if err != nil {
			return err
		}
		o.ObserveInt64(waiting, int64(s.Waiting))
		o.ObserveInt64(dead, int64(s.Dead))
		o.ObserveFloat64(oldest, s.Oldest.Seconds())
		return nil
	}, waiting, dead, oldest)
	return err
}
