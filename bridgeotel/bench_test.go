package bridgeotel_test

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeotel"
	"github.com/clerkknock/bridge/bridgetest"
)

// BenchmarkHandler is the work on one user.created without the network: without
// instrumentation, with one that goes nowhere, and with the SDK's, whose spans
// are thrown away.
//
//	go test -run '^$' -bench . -benchmem
func BenchmarkHandler(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmark(b, nil) })
	b.Run("noop", func(b *testing.B) {
		benchmark(b, &bridgeotel.Options{
			TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider(),
		})
	})
	b.Run("sdk", func(b *testing.B) {
		benchmark(b, &bridgeotel.Options{
			TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(tracetest.NewNoopExporter())),
			MeterProvider:  metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
		})
	})
}

func benchmark(b *testing.B, o *bridgeotel.Options) {
	b.Helper()
	cfg := bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          fixed{res: &actions.Response{Status: http.StatusOK}},
		Ledger:         bridge.NewMemoryLedger(ring/2, ring/2),
		Logger:         slog.New(slog.DiscardHandler),
	}
	if o != nil {
		require.NoError(b, bridgeotel.Instrument(&cfg, *o))
	}
	h, err := bridge.New(cfg)
	require.NoError(b, err)
	deliveries := make([]bridge.Delivery, ring)
	for i := range deliveries {
		deliveries[i] = bridgetest.NewDelivery(b, "user.created", map[string]any{
			"object": "user", "id": "user_" + strconv.Itoa(i), "first_name": "Ada", "last_name": "Lovelace",
		})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		res, err := h.Process(context.Background(), deliveries[i%ring])
		if err != nil || res.Outcome != bridge.OutcomeDone {
			b.Fatal(res.Outcome, err)
		}
		i++
	}
}

// ring is how many deliveries a benchmark goes round. The ledger forgets half of
// them before they come again.
const ring = 4096
