package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
)

// printer shows the story. Its lines fit into 80 columns.
type printer struct {
	mu    sync.Mutex
	w     io.Writer
	title string // of the delivery that is next
}

func (p *printer) printf(format string, args ...any) {
	fmt.Fprintf(p.w, format, args...)
}

func (p *printer) opening(url, knockURL string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printf(`No account needed: this story plays on your machine, over real HTTP.

  Clerk    played by this program, signs its events like Clerk
  bridge   %s
  Knock    %s, a fake that keeps what it is told

`, url, knockURL)
	p.printf("%-32s%-31s%s\n", "EVENT FROM CLERK", "WHAT HAPPENED", "ANSWER")
	p.printf("  → %-59s%s\n\n", "CALL TO KNOCK", "KNOCK'S ANSWER")
}

// next sets what happens at Clerk before the delivery that is next.
func (p *printer) next(title string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.title = title
}

// result prints a delivery and the calls made for it. It is the handler's
// OnResult.
func (p *printer) result(_ context.Context, res *bridge.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	event := res.EventType
	if event == "" {
		event = "(not read)"
	}
	p.printf("%-32s%-31s%d %s\n", event, p.title, res.Status(), res.Outcome)
	p.title = ""
	for _, s := range res.Steps {
		call := s.Name
		if s.Request != nil {
			call = s.Request.Method + " " + s.Request.Path
		}
		p.printf("  → %-59s%d\n", call, s.Status)
	}
	if res.Err != nil {
		p.printf("  %v\n", res.Err)
	}
}

func (p *printer) holdings(rows [][]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printf("\nWHAT KNOCK HOLDS NOW\n\n%s\n", table(rows))
}

func (p *printer) serving(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printf(`Still serving at %s
Press Ctrl-C to stop. Send an event from another terminal, in this folder:

  go run ./cmd/bridge trigger user.created \
    --secret %s \
    --to %s

With your own Clerk and Knock: go run ./examples/quickstart -help

`, url, bridgetest.Secret, url)
}

// table aligns rows.
func table(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush()
	var lines strings.Builder
	for line := range strings.Lines(b.String()) {
		lines.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return lines.String()
}

// printSetup says how to bring Clerk's events here.
func printSetup(w io.Writer, url string, events []string) {
	fmt.Fprintf(w, `Serving at %s
Press Ctrl-C to stop.

Clerk must reach it from the internet: put a tunnel or a proxy with TLS before
it, and enter its public address, with the path /webhooks/clerk, as an endpoint
in Clerk's dashboard (Configure, Webhooks). Tick these events there:

  %s

Knock needs a workflow with the key "welcome".
`, url, strings.Join(events, "\n  "))
}
