// Command quickstart receives Clerk's webhooks and keeps Knock in step.
//
// Without any account it plays a short story against a fake of Knock:
//
//	go run ./examples/quickstart
//
// With CLERK_WEBHOOK_SIGNING_SECRET and KNOCK_API_KEY set it is the real thing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

const defaultAddr = "127.0.0.1:8080"

const usage = `Usage: go run ./examples/quickstart [-addr host:port] [-once]

Receives Clerk's webhooks at /webhooks/clerk and keeps Knock in step.

With CLERK_WEBHOOK_SIGNING_SECRET (whsec_...) and KNOCK_API_KEY (sk_...) in the
environment it waits for Clerk, and calls Knock at KNOCK_BASE_URL if that is
set. With neither it plays a story: it starts a fake of Knock, sends itself
signed events over HTTP and shows what came of them.

`

// run returns the exit status: 2 for a wrong invocation, 1 for a failure.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env func(string) string) int {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	addr := flags.String("addr", defaultAddr, "`address` to listen on; when it is not given and the default is\ntaken, the story uses a free port")
	once := flags.Bool("once", false, "end after the story, with status 0 when all went as it should")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "quickstart: unexpected argument %q; see -help\n", flags.Arg(0))
		return 2
	}

	chosen := false // by whoever sends to that address
	flags.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "addr" })
	secret, key := env("CLERK_WEBHOOK_SIGNING_SECRET"), env("KNOCK_API_KEY")
	var err error
	switch {
	case secret == "" && key == "":
		err = demonstrate(ctx, *addr, chosen, *once, stdout)
	case secret == "":
		err = usageError("KNOCK_API_KEY is set but CLERK_WEBHOOK_SIGNING_SECRET is not: set both, or neither for the story")
	case key == "":
		err = usageError("CLERK_WEBHOOK_SIGNING_SECRET is set but KNOCK_API_KEY is not: set both, or neither for the story")
	case *once:
		err = usageError("-once plays the story, which needs CLERK_WEBHOOK_SIGNING_SECRET and KNOCK_API_KEY to be unset")
	default:
		logger := slog.New(slog.NewTextHandler(stderr, nil))
		knock := &actions.HTTP{APIKey: key, BaseURL: env("KNOCK_BASE_URL")}
		err = receive(ctx, *addr, secret, knock, logger, stdout)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "quickstart: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

type usageError string

func (e usageError) Error() string { return string(e) }

// newHandler is all it takes: the defaults keep users, tenants and
// subscriptions, and one line adds a welcome to every new user.
func newHandler(
	secret string, knock actions.Transport, logger *slog.Logger, onResult func(context.Context, *bridge.Result),
) (*bridge.Handler, error) {
	return bridge.New(bridge.Config{
		SigningSecrets: []string{secret},
		Knock:          knock,
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
		},
		Logger:   logger,
		OnResult: onResult,
	})
}

// receive serves Clerk until ctx ends.
func receive(
	ctx context.Context, addr, secret string, knock actions.Transport, logger *slog.Logger, stdout io.Writer,
) error {
	handler, err := newHandler(secret, knock, logger, nil)
	if err != nil {
		return err
	}
	server, err := listen(ctx, addr, handler)
	if err != nil {
		return err
	}
	printSetup(stdout, server.url, handler.EventNames())
	return server.wait(ctx)
}

// server is an HTTP server that listens already.
type server struct {
	http   *http.Server
	url    string // of the webhook
	failed chan error
}

func listen(ctx context.Context, addr string, handler http.Handler) (*server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another address with -addr", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/clerk", handler)
	s := &server{
		http:   &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second},
		url:    "http://" + listener.Addr().String() + "/webhooks/clerk",
		failed: make(chan error, 1),
	}
	go func() { s.failed <- s.http.Serve(listener) }()
	return s, nil
}

// wait returns when ctx has ended and the deliveries under way are done.
func (s *server) wait(ctx context.Context) error {
	select {
	case err := <-s.failed:
		return err
	case <-ctx.Done():
	}
	return s.close(ctx)
}

func (s *server) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second) // a delivery takes 12 at most
	defer cancel()
	return s.http.Shutdown(ctx)
}
