// Command prometheus receives Clerk's webhooks and counts them for Prometheus,
// under /metrics.
//
//	cd examples/prometheus
//	CLERK_WEBHOOK_SIGNING_SECRET=whsec_… KNOCK_API_KEY=sk_… go run .
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	secret, key := os.Getenv("CLERK_WEBHOOK_SIGNING_SECRET"), os.Getenv("KNOCK_API_KEY")
	if secret == "" || key == "" {
		return errors.New("set CLERK_WEBHOOK_SIGNING_SECRET (whsec_…) and KNOCK_API_KEY (sk_…)")
	}
	mux, err := newMux(secret, &actions.HTTP{APIKey: key})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "localhost:8080") // behind a proxy or a tunnel
	if err != nil {
		return err
	}
	return serve(ctx, listener, mux)
}

func newMux(secret string, knock actions.Transport) (*http.ServeMux, error) {
	registry := prometheus.NewRegistry()
	webhooks, err := bridge.New(bridge.Config{
		SigningSecrets: []string{secret}, Knock: knock,
		OnResult: observe(registry),
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/clerk", webhooks)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux, nil
}

// observe returns an OnResult that counts deliveries, and measures them and
// their calls to Knock.
func observe(registry prometheus.Registerer) func(context.Context, *bridge.Result) {
	buckets := []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15} // Svix waits for 15 s
	deliveries := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "bridge_delivery_duration_seconds", Buckets: buckets,
		Help: "Time for a request of Clerk's, by the event's type and how it ended; its count is that of the requests.",
	}, []string{"event", "outcome"})
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "bridge_knock_call_duration_seconds", Buckets: buckets,
		Help: "Time for a call to Knock, by its kind and the last status. Status 0 means no answer.",
	}, []string{"kind", "status"})
	registry.MustRegister(deliveries, calls)
	known := clerk.EventNames()
	return func(_ context.Context, res *bridge.Result) {
		if res.DryRun {
			return
		}
		event := res.EventType // empty for what was refused
		if _, ok := slices.BinarySearch(known, event); !ok && event != "" {
			event = "other" // not as many time series as there are typing errors
		}
		deliveries.WithLabelValues(event, string(res.Outcome)).Observe(res.Duration.Seconds())
		for _, step := range res.Steps {
			if step.Skipped == "" && step.Request != nil {
				calls.WithLabelValues(step.Kind, strconv.Itoa(step.Status)).Observe(step.Duration.Seconds())
			}
		}
	}
}

// serve answers until ctx ends, then lets the deliveries under way finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second) // a delivery takes 12 at most
	defer cancel()
	return server.Shutdown(ctx)
}
