// Command durable answers Clerk's webhooks at once and processes them afterwards,
// from a SQLite file or, with DATABASE_URL set, from PostgreSQL with River, which
// any number of copies can share.
//
//	cd examples/durable
//	CLERK_WEBHOOK_SIGNING_SECRET=whsec_… KNOCK_API_KEY=sk_… go run .
//
// KNOCK_BASE_URL is where Knock is, if it is a fake.
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
	"github.com/clerkknock/bridge/pace"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

const usage = `Usage: go run . [-addr host:port] [-db file] [-share part] [-workers n]

Receives Clerk's webhooks at /webhooks/clerk, stores them, and keeps Knock in step.

In the environment:
  CLERK_WEBHOOK_SIGNING_SECRET  whsec_..., required
  KNOCK_API_KEY                 sk_..., required
  KNOCK_BASE_URL                where Knock is, if not at https://api.knock.app
  DATABASE_URL                  postgres://...: PostgreSQL and River instead of a file
  PORT                          the port, if there is no -addr; then on all interfaces

`

// config is what the program is told.
type config struct {
	addr, file, databaseURL string
	secret, key, knockURL   string
	share                   float64
	workers                 int
	logger                  *slog.Logger
}

// run returns the exit status: 2 for a wrong invocation, 1 for a failure.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env func(string) string) int {
	c := config{
		secret: env("CLERK_WEBHOOK_SIGNING_SECRET"), key: env("KNOCK_API_KEY"), knockURL: env("KNOCK_BASE_URL"),
		databaseURL: env("DATABASE_URL"), logger: slog.New(slog.NewTextHandler(stderr, nil)),
	}
	addr := "127.0.0.1:8080"
	if port := env("PORT"); port != "" {
		addr = ":" + port
	}
	flags := flag.NewFlagSet("durable", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&c.addr, "addr", addr, "`address` to listen on")
	flags.StringVar(&c.file, "db", "bridge.db", "SQLite `file`, without DATABASE_URL")
	flags.Float64Var(&c.share, "share", 1, "`part` of Knock's rate limits that this copy may use, such as 0.25 for four copies")
	flags.IntVar(&c.workers, "workers", 256, "`number` of deliveries to process at once")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "durable: unexpected argument %q; see -help\n", flags.Arg(0))
		return 2
	case c.secret == "" || c.key == "":
		fmt.Fprintln(stderr, "durable: set CLERK_WEBHOOK_SIGNING_SECRET and KNOCK_API_KEY; see -help")
		return 2
	}
	if err := serve(ctx, &c, stdout); err != nil {
		fmt.Fprintf(stderr, "durable: %v\n", err)
		return 1
	}
	return 0
}

// engine is where deliveries wait: SQLite or PostgreSQL.
type engine interface {
	// configure sets the Ledger and the Queue.
	configure(cfg *bridge.Config)

	// start processes deliveries until stop is called, which returns when those in
	// progress are done.
	start(ctx context.Context, handler *bridge.Handler) (stop func() error, err error)

	close()
}

func open(ctx context.Context, c *config) (engine, error) {
	if c.databaseURL != "" {
		return openPostgres(ctx, c)
	}
	return openSQLite(ctx, c)
}

// serve receives and processes deliveries until ctx ends. It stops receiving
// first.
func serve(ctx context.Context, c *config, stdout io.Writer) error {
	queue, err := open(ctx, c)
	if err != nil {
		return err
	}
	defer queue.close()
	handler, err := newHandler(c, queue)
	if err != nil {
		return err
	}
	stop, err := queue.start(context.WithoutCancel(ctx), handler)
	if err != nil {
		return err
	}
	err = listen(ctx, c.addr, handler, stdout)
	return errors.Join(err, stop())
}

// mappings add a welcome to the defaults.
func mappings() bridge.Mappings {
	return bridge.Mappings{
		bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
	}
}

func newHandler(c *config, queue engine) (*bridge.Handler, error) {
	cfg := bridge.Config{
		SigningSecrets: []string{c.secret},
		Knock:          &pace.Transport{Knock: &actions.HTTP{APIKey: c.key, BaseURL: c.knockURL}, Share: c.share},
		Mappings:       mappings(),
		Logger:         c.logger,
	}
	queue.configure(&cfg)
	return bridge.New(cfg)
}

// listen receives until ctx ends and the requests under way are answered.
func listen(ctx context.Context, addr string, handler http.Handler, stdout io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -addr", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/clerk", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "listening on http://%s/webhooks/clerk\n", listener.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}
