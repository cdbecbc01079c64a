// Command echo receives Clerk's webhooks in a server that routes with echo.
//
//	cd examples/echo
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
	"syscall"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
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
	router, err := newRouter(secret, &actions.HTTP{APIKey: key})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "localhost:8080") // behind a proxy or a tunnel
	if err != nil {
		return err
	}
	return serve(ctx, listener, router)
}

func newRouter(secret string, knock actions.Transport) (http.Handler, error) {
	webhooks, err := bridge.New(bridge.Config{SigningSecrets: []string{secret}, Knock: knock})
	if err != nil {
		return nil, err
	}
	router := echo.New()
	// The webhook stands outside of the group with the app's middleware: Clerk
	// signs the bytes it sends, so nothing may read or decode the body first, and
	// it has no session to log in with. The signature is the authentication.
	router.POST("/webhooks/clerk", echo.WrapHandler(webhooks))
	refuse := func(string, string, echo.Context) (bool, error) { return false, nil }
	app := router.Group("", middleware.BasicAuth(refuse)) // stands for your own
	app.GET("/", func(c echo.Context) error { return c.String(http.StatusOK, "hello") })
	return router, nil
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
