package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

// history makes up what happens at Clerk: users and organizations come, change
// and go, members join, change roles, leave and join anew.
type history struct {
	r          *rand.Rand
	now        int
	deliveries []bridge.Delivery
}

func (h *history) addf(eventType, format string, args ...any) {
	h.now += h.r.IntN(3) // several things happen within one second
	h.deliveries = append(h.deliveries,
		event(fmt.Sprintf("msg_%06d", len(h.deliveries)), eventType, h.now, fmt.Sprintf(format, args...)))
}

func (h *history) updated() int { return 1760000000000 + h.now*1000 }

func newHistory(seed uint64, users, organizations, steps int) []bridge.Delivery {
	h := &history{r: rand.New(rand.NewPCG(seed, 1))}
	userAlive, orgAlive := map[int]bool{}, map[int]bool{}
	members := map[[2]int]string{} // (organization, user) to the membership's id
	user := func(eventType string, u int) {
		h.addf(eventType, `{"id":"user_%d","first_name":"U%d","username":null,"updated_at":%d,"last_sign_in_at":%d}`,
			u, h.r.IntN(3), h.updated(), h.r.IntN(1e6))
	}
	organization := func(eventType string, o int) {
		h.addf(eventType, `{"id":"org_%d","name":"O%d","updated_at":%d}`, o, h.r.IntN(3), h.updated())
	}
	member := func(eventType string, p [2]int) {
		h.addf(eventType, `{"id":%q,"organization":{"id":"org_%d"},"public_user_data":{"user_id":"user_%d"},"role":"r%d","updated_at":%d}`,
			members[p], p[0], p[1], h.r.IntN(4), h.updated())
	}
	pick := func(n int) int { return h.r.IntN(n) }
	for range steps {
		u, o := pick(users), pick(organizations)
		p := [2]int{o, u}
		switch pick(12) {
		case 0, 1, 2:
			if !userAlive[u] {
				if _, was := userAlive[u]; was {
					continue // ids are not used again
				}
				userAlive[u] = true
				user("user.created", u)
				continue
			}
			user("user.updated", u)
		case 3, 4:
			if !orgAlive[o] {
				if _, was := orgAlive[o]; was {
					continue
				}
				orgAlive[o] = true
				organization("organization.created", o)
				continue
			}
			organization("organization.updated", o)
		case 5, 6, 7, 8:
			switch {
			case !userAlive[u] || !orgAlive[o]:
			case members[p] == "":
				members[p] = fmt.Sprintf("mem_%d", len(h.deliveries))
				member("organizationMembership.created", p)
			case pick(2) == 0:
				member("organizationMembership.updated", p)
			default:
				member("organizationMembership.deleted", p)
				delete(members, p)
			}
		case 9:
			if userAlive[u] {
				h.addf("session.created", `{"id":"sess_%d","user_id":"user_%d"}`, len(h.deliveries), u)
			}
		case 10:
			if userAlive[u] && pick(2) == 0 {
				for p := range members { // Clerk ends the memberships too
					if p[1] == u {
						delete(members, p)
					}
				}
				userAlive[u] = false
				h.addf("user.deleted", `{"id":"user_%d","deleted":true}`, u)
			}
		case 11:
			if orgAlive[o] && pick(4) == 0 {
				for p := range members {
					if p[0] == o {
						delete(members, p)
					}
				}
				orgAlive[o] = false
				h.addf("organization.deleted", `{"id":"org_%d","deleted":true}`, o)
			}
		}
	}
	return h.deliveries
}

// told is what Knock holds, without times, and how often each workflow ran.
func told(knock *bridgetest.Knock) map[string]any {
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

// historyConfig maps what is to be seen in a history: workflows for every event,
// with the user inline, which would bring a deleted one back.
func historyConfig() bridge.Config {
	inline := func(workflow, user string) actions.TriggerWorkflow {
		return actions.TriggerWorkflow{Workflow: workflow, Recipients: []actions.Recipient{actions.IdentifyUser{ID: user}}}
	}
	return bridge.Config{
		SigningSecrets: []string{secretA},
		Logger:         slog.New(slog.DiscardHandler),
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, func(c ctx, e *userEvent, k *actions.Client) error {
				_, err := k.TriggerWorkflow(c, inline("welcome", e.Data.ID))
				return err
			}),
			bridge.On(clerk.SessionCreated, func(c ctx, e *clerk.Event[clerk.Session], k *actions.Client) error {
				_, err := k.TriggerWorkflow(c, inline("sign-in-"+e.Data.ID, e.Data.UserID))
				return err
			}),
			bridge.Also(clerk.OrganizationMembershipCreated, bridge.TriggerForUser[clerk.OrganizationMembership]("joined")),
		},
	}
}

// dying is one process that may die: from then on nothing it does has any
// effect.
type dying struct {
	bridge.Ledger

	ops  atomic.Int64 // until it dies
	next actions.Transport
}

var errDead = errors.New("the process is dead")

func (d *dying) alive() bool { return d.ops.Add(-1) > 0 }

func (d *dying) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	if !d.alive() {
		return nil, errDead
	}
	res, err := d.next.Do(ctx, r)
	if !d.alive() {
		return nil, errDead // Knock has done it, and nobody knows
	}
	return res, err
}

func (d *dying) Claim(ctx context.Context, c bridge.Claim) (bridge.Claimed, error) {
	if !d.alive() {
		return bridge.Claimed{}, errDead
	}
	claimed, err := d.Ledger.Claim(ctx, c)
	if !d.alive() {
		return bridge.Claimed{}, errDead
	}
	return claimed, err
}

func (d *dying) Save(ctx context.Context, p bridge.Progress) error {
	if !d.alive() {
		return errDead
	}
	err := d.Ledger.Save(ctx, p)
	if !d.alive() {
		return errDead
	}
	return err
}

// TestHistories plays histories in any order, doubled, on several workers that
// die, against a Knock that fails, until everything is acknowledged, and holds
// the end against that of the ordered history.
func TestHistories(t *testing.T) {
	t.Parallel()
	seeds := 6
	if testing.Short() {
		seeds = 1
	}
	for seed := range uint64(seeds) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			deliveries := newHistory(seed, 40, 5, 600)
			ordered := bridgetest.NewKnock(t)
			cfg := historyConfig()
			cfg.Knock = ordered.Transport()
			for i, o := range outcomes(t, newHandler(t, cfg), deliveries...) {
				require.True(t, o.OK(), "%s: %s", deliveries[i].Body, o)
			}
			playHistory(t, seed, deliveries, told(ordered))
		})
	}
}

func playHistory(t *testing.T, seed uint64, deliveries []bridge.Delivery, want map[string]any) {
	t.Helper()
	const workers = 8
	r := rand.New(rand.NewPCG(seed, 2))
	knock := bridgetest.NewKnock(t)
	ledger := bridge.NewMemoryLedger(0, 0)
	deleted := deletions(deliveries)

	pending := make(map[string]bridge.Delivery, len(deliveries))
	for _, d := range deliveries {
		pending[d.ID] = d
	}
	var calls, deaths int
	for round := 0; len(pending) > 0; round++ {
		require.Less(t, round, 200, "%d deliveries are never acknowledged", len(pending))
		var queue []bridge.Delivery
		for range 2 {
			queue = append(queue, slices.Collect(maps.Values(pending))...)
		}
		r.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
		if round < 3 {
			knock.Fail(len(deliveries)/20, bridgetest.Fault{Status: http.StatusServiceUnavailable, Applied: r.IntN(2) == 0})
		}
		var mu sync.Mutex
		var acknowledged []string
		var wg sync.WaitGroup
		for w := range workers {
			transport := &actions.HTTP{APIKey: "sk_test", BaseURL: knock.URL, MaxAttempts: 1}
			p := &dying{next: transport, Ledger: ledger}
			p.ops.Store(1 << 40)
			if round < 3 {
				p.ops.Store(r.Int64N(int64(8 * len(deliveries) / workers)))
				deaths++
			}
			cfg := historyConfig()
			cfg.Knock, cfg.Ledger, cfg.Timeout = p, p, 400*time.Millisecond
			h := newHandler(t, cfg)
			part := queue[w*len(queue)/workers : (w+1)*len(queue)/workers]
			wg.Go(func() {
				defer transport.CloseIdleConnections()
				for _, d := range part {
					res, _ := h.Process(t.Context(), d)
					if p.ops.Load() <= 0 {
						return
					}
					if res.Outcome.OK() {
						mu.Lock()
						acknowledged = append(acknowledged, d.ID)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		for _, id := range acknowledged {
			delete(pending, id)
		}
		calls = len(knock.Calls())
	}
	assert.Equal(t, want, told(knock), "I1, I2, I3")
	for entity := range deleted {
		assert.NotContains(t, told(knock), entity)
	}
	t.Logf("%d deliveries, %d deaths, %d calls", len(deliveries), deaths, calls)
}

func deletions(deliveries []bridge.Delivery) map[string]bool {
	gone := map[string]bool{}
	for _, d := range deliveries {
		for kind, name := range map[string]string{"user": "user ", "organization": "tenant "} {
			if strings.Contains(string(d.Body), `"type":"`+kind+`.deleted"`) {
				_, rest, _ := strings.Cut(string(d.Body), `"data":{"id":"`)
				id, _, _ := strings.Cut(rest, `"`)
				gone[name+id] = true
			}
		}
	}
	return gone
}
