// Package history makes up what happens at Clerk, for tests that deliver it in
// other orders.
package history

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

const epoch int64 = 1760000000000

// Event returns the delivery of an event that happened at a number of seconds
// after the epoch of histories.
func Event(id, eventType string, at int, data string) bridge.Delivery {
	return bridge.Delivery{ID: id, Body: fmt.Appendf(nil, `{"type":%q,"timestamp":%d,"data":%s}`, eventType, epoch+int64(at)*1000, data)}
}

type history struct {
	r          *rand.Rand
	now        int
	deliveries []bridge.Delivery

	users, organizations map[int]bool      // false once deleted: ids are not used again
	members              map[[2]int]string // (organization, user) to the membership's id
}

// New returns a history, in order: users and organizations come, change and go,
// members join, change roles, leave and join anew. The same arguments give the
// same history.
func New(seed uint64, users, organizations, steps int) []bridge.Delivery {
	h := &history{
		r:     rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // it has to be the same every time
		users: map[int]bool{}, organizations: map[int]bool{}, members: map[[2]int]string{},
	}
	for range steps {
		u, o := h.r.IntN(users), h.r.IntN(organizations)
		switch h.r.IntN(12) {
		case 0, 1, 2:
			h.user(u)
		case 3, 4:
			h.organization(o)
		case 5, 6, 7, 8:
			h.member(o, u)
		case 9:
			if h.users[u] {
				h.addf("session.created", `{"id":"sess_%d","user_id":"user_%d"}`, len(h.deliveries), u)
			}
		case 10:
			if h.users[u] && h.r.IntN(2) == 0 {
				h.end(1, u)
				h.users[u] = false
				h.addf("user.deleted", `{"id":"user_%d","deleted":true}`, u)
			}
		case 11:
			if h.organizations[o] && h.r.IntN(4) == 0 {
				h.end(0, o)
				h.organizations[o] = false
				h.addf("organization.deleted", `{"id":"org_%d","deleted":true}`, o)
			}
		}
	}
	return h.deliveries
}

func (h *history) addf(eventType, format string, args ...any) {
	h.now += h.r.IntN(3) // several things happen within one second
	h.deliveries = append(h.deliveries,
		Event(fmt.Sprintf("msg_%06d", len(h.deliveries)), eventType, h.now, fmt.Sprintf(format, args...)))
}

func (h *history) updated() int64 { return epoch + int64(h.now)*1000 }

// begun says what happens to one that is there, that comes, or that is gone.
func begun(alive map[int]bool, i int, kind string) (eventType string, ok bool) {
	is, was := alive[i]
	if is || !was {
		alive[i] = true
	}
	if is {
		return kind + ".updated", true
	}
	return kind + ".created", !was
}

func (h *history) user(u int) {
	if eventType, ok := begun(h.users, u, "user"); ok {
		h.addf(eventType, `{"id":"user_%d","first_name":"U%d","username":null,"updated_at":%d,"last_sign_in_at":%d}`,
			u, h.r.IntN(3), h.updated(), h.r.IntN(1e6))
	}
}

func (h *history) organization(o int) {
	if eventType, ok := begun(h.organizations, o, "organization"); ok {
		h.addf(eventType, `{"id":"org_%d","name":"O%d","updated_at":%d}`, o, h.r.IntN(3), h.updated())
	}
}

func (h *history) member(o, u int) {
	if !h.users[u] || !h.organizations[o] {
		return
	}
	p := [2]int{o, u}
	id := h.members[p]
	eventType := "organizationMembership.updated"
	switch {
	case id == "":
		id = fmt.Sprintf("mem_%d", len(h.deliveries))
		h.members[p] = id
		eventType = "organizationMembership.created"
	case h.r.IntN(2) == 0:
		delete(h.members, p)
		eventType = "organizationMembership.deleted"
	}
	h.addf(eventType, `{"id":%q,"organization":{"id":"org_%d"},"public_user_data":{"user_id":"user_%d"},"role":"r%d","updated_at":%d}`,
		id, o, u, h.r.IntN(4), h.updated())
}

// end ends the memberships in an organization (side 0) or of a user (side 1).
func (h *history) end(side, i int) {
	for p := range h.members {
		if p[side] == i {
			delete(h.members, p)
		}
	}
}

// Told is what Knock holds, without times, and how often each workflow ran.
func Told(knock *bridgetest.Knock) map[string]any {
	state := map[string]any{}
	for _, id := range knock.Users() {
		u, _ := knock.User(id)
		delete(u, "updated_at")
		state["user "+id] = u
	}
	for _, id := range knock.Tenants() {
		tenant, _ := knock.Tenant(id)
		delete(tenant, "created_at")
		delete(tenant, "updated_at")
		state["tenant "+id] = tenant
		for _, s := range knock.Subscriptions(actions.TenantCollection, id) {
			state["subscription "+id+" "+s.Recipient.ID] = s.Properties
		}
	}
	for _, run := range knock.Runs() {
		key := fmt.Sprint("run ", run.Workflow, " ", run.Recipients)
		n, _ := state[key].(int)
		state[key] = n + 1
	}
	return state
}

// Ordered is what Knock is told when the deliveries come in their order, to the
// mappings given.
func Ordered(t testing.TB, mappings bridge.Mappings, deliveries []bridge.Delivery) map[string]any {
	t.Helper()
	knock := bridgetest.NewKnock(t)
	cfg := Config()
	cfg.Knock, cfg.Mappings = knock.Transport(), mappings
	h, err := bridge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deliveries {
		if _, err := h.Process(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	return Told(knock)
}

// Config maps what is to be seen in a history: workflows for every event,
// with the user inline, which would bring a deleted one back. The rest is the
// caller's.
func Config() bridge.Config {
	inline := func(workflow, user string) actions.TriggerWorkflow {
		return actions.TriggerWorkflow{Workflow: workflow, Recipients: []actions.Recipient{actions.IdentifyUser{ID: user}}}
	}
	return bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Logger:         slog.New(slog.DiscardHandler),
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, func(ctx context.Context, e *clerk.Event[clerk.User], k *actions.Client) error {
				_, err := k.TriggerWorkflow(ctx, inline("welcome", e.Data.ID))
				return err
			}),
			bridge.On(clerk.SessionCreated, func(ctx context.Context, e *clerk.Event[clerk.Session], k *actions.Client) error {
				_, err := k.TriggerWorkflow(ctx, inline("sign-in-"+e.Data.ID, e.Data.UserID))
				return err
			}),
			bridge.Also(clerk.OrganizationMembershipCreated, bridge.TriggerForUser[clerk.OrganizationMembership]("joined")),
		},
	}
}
