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
	"github.com/clerkknock/bridge/inbox"
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

func ExampleOptions_queueStats() {
	var box *inbox.Inbox // the Queue of the config
	o := bridgeotel.Options{
		QueueStats: box.Stats,
	}
	fmt.Println(o.QueueStats != nil)
	// Output:
	// true
}

func deliver(h http.Handler, header http.Header, body []byte) {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/webhooks/clerk", bytes.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code)
}
