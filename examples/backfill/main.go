// Command backfill brings to Knock what Clerk holds already: users, then
// organizations, then memberships. Clerk sends no events about these until they
// change.
//
//	cd examples/backfill
//	CLERK_SECRET_KEY=sk_… KNOCK_API_KEY=sk_… go run . -db bridge.db
//
// The file is the ledger of the server that receives the webhooks, which keeps
// running meanwhile: nothing that Clerk has deleted comes back, and no newer state
// is overwritten. Started again, the program skips what it has done. It starts no
// workflows.
//
// KNOCK_BASE_URL is where Knock is, if it is a fake.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"time"

	sdk "github.com/clerk/clerk-sdk-go/v2"
	"github.com/clerk/clerk-sdk-go/v2/user"
	_ "modernc.org/sqlite"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/pace"
	"github.com/clerkknock/bridge/sqlledger"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("backfill", flag.ExitOnError)
	file := flags.String("db", "bridge.db", "SQLite `file` with the server's ledger")
	number := flags.Int("run", 1, "`number` of this backfill: another one takes all anew")
	_ = flags.Parse(args)
	secret, key := os.Getenv("CLERK_SECRET_KEY"), os.Getenv("KNOCK_API_KEY")
	if secret == "" || key == "" {
		return errors.New("set CLERK_SECRET_KEY and KNOCK_API_KEY (sk_…)")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	// What the server opens: its file, or PostgreSQL.
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(*file)+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	ledger, err := sqlledger.Open(ctx, db, sqlledger.Config{})
	if err != nil {
		return err
	}
	// Half of Knock's rate limits is left to the server.
	knock := &pace.Transport{Knock: &actions.HTTP{APIKey: key, BaseURL: os.Getenv("KNOCK_BASE_URL")}, Share: 0.5}
	handler, err := newHandler(knock, ledger)
	if err != nil {
		return err
	}
	b := &backfill{clerk: sdk.NewBackend(&sdk.BackendConfig{Key: &secret}), handler: handler, number: *number, limit: 500}
	return b.all(ctx, os.Stdout)
}

// newHandler returns a handler for the backfill alone. It shares the ledger with the
// server's handler, which is safe despite different mappings, because its deliveries
// have ids of their own. It must write what the server's handler writes: map your own
// functions in place of these, but none that start workflows.
func newHandler(knock actions.Transport, ledger bridge.Ledger) (*bridge.Handler, error) {
	return bridge.New(bridge.Config{
		// It receives no requests: a secret that nobody has.
		SigningSecrets: []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte(rand.Text()))},
		Knock:          knock,
		Ledger:         ledger,
		NoDefaults:     true,
		Mappings: bridge.Mappings{
			bridge.On(clerk.UserUpdated, bridge.SyncUser),
			bridge.On(clerk.OrganizationUpdated, bridge.SyncTenant),
			bridge.On(clerk.OrganizationMembershipUpdated, bridge.SyncMembership),
		},
	})
}

// backfill is one run through all lists.
type backfill struct {
	clerk   sdk.Backend
	handler *bridge.Handler
	number  int
	limit   int64 // of a page
}

// all goes through the lists, in the order in which one refers to another, and prints
// how many objects ended in which outcome.
func (b *backfill) all(ctx context.Context, out io.Writer) error {
	for _, list := range []struct{ path, eventType string }{
		{"/users", clerk.UserUpdated.EventName()},
		{"/organizations", clerk.OrganizationUpdated.EventName()},
		{"/organization_memberships", clerk.OrganizationMembershipUpdated.EventName()},
	} {
		counts, err := b.list(ctx, list.path, list.eventType)
		fmt.Fprintln(out, list.path, counts)
		if err != nil {
			return fmt.Errorf("%w; start it again to go on", err)
		}
	}
	return nil
}

func (b *backfill) list(ctx context.Context, path, eventType string) (map[bridge.Outcome]int, error) {
	counts := make(map[bridge.Outcome]int)
	seen := make(map[string]bool)
	// When something is deleted meanwhile, what comes after it moves up: so pages
	// overlap by a tenth.
	for offset := int64(0); ; offset += b.limit - max(b.limit/10, 1) {
		asked := time.Now()
		var p page
		request := sdk.NewAPIRequest(http.MethodGet, path)
		request.SetParams(&user.ListParams{ // all lists take these
			ListParams: sdk.ListParams{Limit: &b.limit, Offset: &offset},
			OrderBy:    new("+created_at"), // new ones come last
		})
		if err := b.clerk.Call(ctx, request, &p); err != nil {
			return counts, fmt.Errorf("clerk: GET %s: %w", path, err)
		}
		for _, object := range p.objects {
			var named struct {
				ID string `json:"id"`
			}
			_ = json.Unmarshal(object, &named) // one without an id ends as permanent
			if seen[named.ID] {
				continue
			}
			seen[named.ID] = true
			res, err := b.one(ctx, eventType, asked, named.ID, object)
			counts[res.Outcome]++
			if res.Outcome == bridge.OutcomeTransient || res.Outcome == bridge.OutcomeMisconfigured {
				return counts, err // so would be the others
			}
		}
		if int64(len(p.objects)) < b.limit {
			return counts, nil
		}
	}
}

// one hands an object to the handler as if an event had brought it.
func (b *backfill) one(ctx context.Context, eventType string, at time.Time, id string, object json.RawMessage) (*bridge.Result, error) {
	body, err := json.Marshal(map[string]any{
		"type": eventType, "object": "event", "timestamp": at.UnixMilli(), "data": object,
	})
	if err != nil {
		return &bridge.Result{Outcome: bridge.OutcomePermanent}, err
	}
	return b.handler.Process(ctx, bridge.Delivery{ID: fmt.Sprintf("backfill-%d-%s", b.number, id), ReceivedAt: at, Body: body})
}

// page is a part of a list, with the objects as they were sent: the SDK's structs
// leave out members, a user's timezone for one.
type page struct {
	sdk.APIResource

	objects []json.RawMessage
}

// UnmarshalJSON takes an array, as users come in, or one under "data".
func (p *page) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(raw, []byte("[")) {
		return json.Unmarshal(raw, &p.objects)
	}
	var list struct {
		Data []json.RawMessage `json:"data"`
	}
	err := json.Unmarshal(raw, &list)
	p.objects = list.Data
	return err
}
