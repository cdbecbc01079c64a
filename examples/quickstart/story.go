package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
)

// forgedSecret is not the secret that the handler knows.
const forgedSecret = "whsec_someoneElsesSecret00000000000000" //nolint:gosec // guards nothing

// demonstrate plays the story against a fake of Knock, and then, unless once is
// set, serves until ctx ends. When addr is taken and nobody has chosen it, it
// listens elsewhere.
func demonstrate(ctx context.Context, addr string, chosen, once bool, stdout io.Writer) error {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	out := &printer{w: stdout}
	transport := &actions.HTTP{APIKey: "sk_test_quickstart", BaseURL: knock.URL} //nolint:gosec // the fake takes any key
	handler, err := newHandler(bridgetest.Secret, transport, slog.New(slog.DiscardHandler), out.result)
	if err != nil {
		return err
	}
	server, err := listen(ctx, addr, handler)
	if err != nil && !chosen {
		out.printf("%s can't be used, so this is on another port; -addr chooses one.\n\n", addr)
		server, err = listen(ctx, "127.0.0.1:0", handler)
	}
	if err != nil {
		return err
	}

	out.opening(server.url, knock.URL)
	problem := tell(ctx, server.url, out)
	held := holdings(knock)
	out.holdings(held)
	if problem == nil && !slices.EqualFunc(held, happyEnd(), slices.Equal) {
		problem = fmt.Errorf("in the end, Knock should hold this:\n%s", table(happyEnd()))
	}
	if once || problem != nil {
		return errors.Join(problem, server.close(ctx))
	}
	out.serving(server.url)
	return server.wait(ctx)
}

// scene is one delivery of the story and how it should end.
type scene struct {
	title  string
	event  string
	data   map[string]any
	repeat bool   // sends the delivery before it once more
	secret string // signs it; empty means the right one
	want   bridge.Outcome
}

// story is what happens at Clerk. The data is what Clerk would send, less what
// does not matter here.
func story() []scene {
	var (
		lumen = map[string]any{"id": "org_lumen", "name": "Lumen Labs", "slug": "lumen-labs"}
		mira  = user("mira", "Mira", "Okafor", "mira@example.com")
		tomas = user("tomas", "Tomas", "Varga", "tomas@example.com")
		nadia = user("nadia", "Nadia", "Haddad", "nadia@example.com")
	)
	return []scene{
		{title: "Lumen Labs is set up", event: "organization.created", data: lumen, want: bridge.OutcomeDone},
		{title: "Mira signs up", event: "user.created", data: mira, want: bridge.OutcomeDone},
		{title: "Tomas signs up", event: "user.created", data: tomas, want: bridge.OutcomeDone},
		{title: "Nadia signs up", event: "user.created", data: nadia, want: bridge.OutcomeDone},
		{title: "the same delivery comes again", repeat: true, want: bridge.OutcomeDuplicate},
		{title: "Mira joins", event: "organizationMembership.created", data: membership(lumen, "mira", "admin", "Admin"), want: bridge.OutcomeDone},
		{title: "Tomas joins", event: "organizationMembership.created", data: membership(lumen, "tomas", "member", "Member"), want: bridge.OutcomeDone},
		{title: "Nadia joins", event: "organizationMembership.created", data: membership(lumen, "nadia", "member", "Member"), want: bridge.OutcomeDone},
		{title: "Mira changes her address", event: "user.updated", data: user("mira", "Mira", "Okafor", "mira@lumen.example.com"), want: bridge.OutcomeDone},
		{title: "Tomas becomes an admin", event: "organizationMembership.updated", data: membership(lumen, "tomas", "admin", "Admin"), want: bridge.OutcomeDone},
		{title: "Mira signs in", event: "session.created", data: map[string]any{"id": "sess_1", "user_id": "user_mira", "status": "active"}, want: bridge.OutcomeIgnored},
		{title: "someone forges a deletion", event: "user.deleted", data: deleted("user", "user_mira"), secret: forgedSecret, want: bridge.OutcomeUnverified},
		{title: "Nadia deletes her account", event: "user.deleted", data: deleted("user", "user_nadia"), want: bridge.OutcomeDone},
	}
}

// happyEnd is what Knock holds when the story went as it should.
func happyEnd() [][]string {
	return [][]string{
		{"users", "user_mira", "Mira Okafor", "mira@lumen.example.com"},
		{"", "user_tomas", "Tomas Varga", "tomas@example.com"},
		{"tenants", "org_lumen", "Lumen Labs", ""},
		{"subscriptions", "org_lumen", "user_mira", "org:admin"},
		{"", "org_lumen", "user_tomas", "org:admin"},
		{"workflow runs", "welcome", "user_mira", ""},
		{"", "welcome", "user_tomas", ""},
		{"", "welcome", "user_nadia", ""},
	}
}

func user(name, first, last, email string) map[string]any {
	return map[string]any{
		"id": "user_" + name, "object": "user", "first_name": first, "last_name": last, "username": nil,
		"primary_email_address_id": "idn_" + name,
		"email_addresses":          []any{map[string]any{"id": "idn_" + name, "email_address": email}},
		"created_at":               int64(1772442927481),
	}
}

func membership(organization map[string]any, user, role, roleName string) map[string]any {
	return map[string]any{
		"id": "orgmem_" + user, "object": "organization_membership", "role": "org:" + role, "role_name": roleName,
		"organization": organization, "public_user_data": map[string]any{"user_id": "user_" + user},
	}
}

func deleted(object, id string) map[string]any {
	return map[string]any{"id": id, "object": object, "deleted": true}
}

// tell plays the story to the handler at url, as Svix would, and returns an
// error when a delivery does not end as it should.
func tell(ctx context.Context, url string, out *printer) error {
	var id string
	var body []byte
	for i, s := range story() {
		if !s.repeat {
			id = "msg_" + strconv.Itoa(i+1)
			var err error
			if body, err = bridgetest.Body(s.event, s.data); err != nil {
				return err
			}
		}
		secret := s.secret
		if secret == "" {
			secret = bridgetest.Secret
		}
		out.next(s.title)
		got, err := deliver(ctx, url, secret, id, body)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		if got != s.want {
			return fmt.Errorf("%s: ended as %q, should have been %q", s.title, got, s.want)
		}
	}
	return nil
}

// deliver makes one attempt to deliver body and returns the outcome that the
// answer names.
func deliver(ctx context.Context, url, secret, id string, body []byte) (bridge.Outcome, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if r.Header, err = bridge.Sign(secret, id, time.Now(), body); err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Svix-Webhooks/1.99.1")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		Outcome bridge.Outcome `json:"outcome"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return answer.Outcome, nil
}

// holdings lists what the fake holds: a kind, which is left out where it is the
// same as above, and three columns.
func holdings(knock *bridgetest.Knock) [][]string {
	var rows [][]string
	add := func(kind string, n int, row ...string) {
		if n > 0 {
			kind = ""
		}
		rows = append(rows, append([]string{kind}, row...))
	}
	for i, id := range knock.Users() {
		u, _ := knock.User(id)
		add("users", i, id, text(u["name"]), text(u["email"]))
	}
	for i, id := range knock.Tenants() {
		t, _ := knock.Tenant(id)
		add("tenants", i, id, text(t["name"]), "")
	}
	n := 0
	for _, id := range knock.Tenants() {
		for _, s := range knock.Subscriptions(actions.TenantCollection, id) {
			add("subscriptions", n, id, s.Recipient.ID, text(s.Properties["role"]))
			n++
		}
	}
	for i, run := range knock.Runs() {
		row := []string{run.Workflow, "", ""}
		if len(run.Reached) == 1 {
			row[1] = run.Reached[0]
		}
		add("workflow runs", i, row...)
	}
	return rows
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
