// Command bridge helps to develop a receiver of Clerk's webhooks: it sends
// signed sample events to it, says why a delivery does not verify, and sends
// captured deliveries again.
//
//	go install github.com/clerkknock/bridge/cmd/bridge@latest
//	bridge help
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/clerkknock/bridge/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}
