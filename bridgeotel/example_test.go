package bridgeotel_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgeotel"
	"github.com/clerkknock/bridge/bridgetest"
)

func Example() {
	knock := bridgetest.StartKnock() // stands for Knock
	defer knock.Close()
	spans := tracetest.NewInMemoryExporter() // stands for the program's exporter

	cfg := bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(), // &actions.HTTP{APIKey: os.Getenv("KNOCK_API_KEY")}
		Logger:         slog.New(slog.DiscardHandler),
	}
	err := bridgeotel.Instrument(&cfg, bridgeotel.Options{ // bridgeotel.Options{} for the global providers
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler, err := bridge.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/clerk", bridgeotel.Middleware(handler, nil))

	// What Clerk does.
	body := []byte(`{"type":"user.created","data":{"id":"user_1","first_name":"Ada"}}`)
	header, err := bridge.Sign(bridgetest.Secret, "msg_1", time.Now(), body)
	if err != nil {
		fmt.Println(err)
		return
	}
	deliver(mux, header, body)
	for _, span := range spans.GetSpans() {
		fmt.Println(span.SpanKind, span.Name)
	}
	// Output:
	// 200
	// client PUT /v1/users/{user_id}
	// consumer process user.created
}

// inbox stands for a queue that tells what waits in it.
type inbox struct{ waiting int }

type inboxStats struct {
	Waiting int
	Oldest  time.Duration
	Dead    int
}

func (i inbox) Stats(context.Context) (inboxStats, error) {
	return inboxStats{Waiting: i.waiting, Oldest: time.Minute}, nil
}

func ExampleOptions_queueStats() {
	queue := inbox{waiting: 3}
	o := bridgeotel.Options{
		QueueStats: func(ctx context.Context) (bridgeotel.QueueStats, error) {
			stats, err := queue.Stats(ctx)
			return bridgeotel.QueueStats(stats), err
		},
	}
	fmt.Println(o.QueueStats(context.Background()))
	// Output:
	// {3 1m0s 0} <nil>
}

func deliver(h http.Handler, header http.Header, body []byte) {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/webhooks/clerk", bytes.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code)
}
