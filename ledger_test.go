package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/history"
)

// event is [history.Event].
func event(id, eventType string, at int, data string) bridge.Delivery {
	return history.Event(id, eventType, at, data)
}

func userAt(at int, name string) string {
	return fmt.Sprintf(`{"id":"user_1","first_name":%q,"updated_at":%d}`, name, 1760000000000+int64(at)*1000)
}

func memberAt(at int, id, role string) string {
	return fmt.Sprintf(`{"id":%q,"organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"},"role":%q,"updated_at":%d}`,
		id, role, 1760000000000+int64(at)*1000)
}

const (
	goneUser = `{"id":"user_1","deleted":true}`
	goneOrg  = `{"id":"org_1","deleted":true}`
)

// outcomes works deliveries off in order, and returns how each ended.
func outcomes(t testing.TB, h *bridge.Handler, deliveries ...bridge.Delivery) []bridge.Outcome {
	t.Helper()
	got := make([]bridge.Outcome, 0, len(deliveries))
	for _, d := range deliveries {
		res, err := h.Process(t.Context(), d)
		require.Equal(t, res.Err, err)
		got = append(got, res.Outcome)
	}
	return got
}

// TestOrder delivers out of order, and shows what Knock is told and how each
// delivery ends.
func TestOrder(t *testing.T) {
	t.Parallel()
	const (
		subscribe   = `POST /v1/objects/$tenants/org_1/subscriptions {"properties":{"role":%q},"recipients":["user_1"]}`
		unsubscribe = `DELETE /v1/objects/$tenants/org_1/subscriptions {"recipients":["user_1"]}`
		done        = bridge.OutcomeDone
		stale       = bridge.OutcomeStale
		unchanged   = bridge.OutcomeUnchanged
	)
	identify := func(name string) string { return fmt.Sprintf(`PUT /v1/users/user_1 {"name":%q}`, name) }
	tests := map[string]struct {
		deliveries []bridge.Delivery
		outcomes   []bridge.Outcome
		calls      []string
	}{
		"a late update": {
			[]bridge.Delivery{
				event("2", "user.updated", 20, userAt(20, "B")), event("1", "user.created", 10, userAt(10, "A")),
				event("3", "user.updated", 30, userAt(30, "C")),
			},
			[]bridge.Outcome{done, stale, done}, []string{identify("B"), identify("C")},
		},
		"the same updated_at, told apart by the timestamp": {
			[]bridge.Delivery{event("1", "user.updated", 11, userAt(10, "B")), event("2", "user.updated", 10, userAt(10, "A"))},
			[]bridge.Outcome{done, stale}, []string{identify("B")},
		},
		"the same in all, told apart by the id": {
			[]bridge.Delivery{event("2", "user.updated", 10, userAt(10, "B")), event("1", "user.updated", 10, userAt(10, "A"))},
			[]bridge.Outcome{done, stale}, []string{identify("B")},
		},
		"the same in all, but a creation and an update": {
			[]bridge.Delivery{event("1", "user.updated", 10, userAt(10, "B")), event("2", "user.created", 10, userAt(10, "A"))},
			[]bridge.Outcome{done, stale}, []string{identify("B")},
		},
		"no updated_at": {
			[]bridge.Delivery{
				event("2", "user.updated", 20, `{"id":"user_1","first_name":"B"}`), event("1", "user.created", 10, `{"id":"user_1","first_name":"A"}`),
			},
			[]bridge.Outcome{done, stale}, []string{identify("B")},
		},
		"updated_at in seconds": {
			[]bridge.Delivery{
				event("2", "user.updated", 20, `{"id":"user_1","first_name":"B","updated_at":1760000020}`), event("1", "user.updated", 10, userAt(10, "A")),
			},
			[]bridge.Outcome{done, stale}, []string{identify("B")},
		},
		"no time at all": {
			[]bridge.Delivery{
				{ID: "2", Body: []byte(`{"type":"user.updated","data":{"id":"user_1","first_name":"B"}}`)},
				{ID: "1", Body: []byte(`{"type":"user.updated","data":{"id":"user_1","first_name":"A"}}`)},
			},
			[]bridge.Outcome{done, done}, []string{identify("B"), identify("A")},
		},
		"late events of a deleted user": {
			[]bridge.Delivery{
				event("2", "user.deleted", 20, goneUser), event("1", "user.created", 10, userAt(10, "A")),
				event("3", "organizationMembership.created", 15, memberAt(15, "m1", "admin")),
				event("4", "organizationMembership.deleted", 16, memberAt(15, "m1", "admin")),
				event("5", "user.updated", 30, userAt(30, "Z")),
			},
			[]bridge.Outcome{done, stale, stale, stale, stale}, []string{"DELETE /v1/users/user_1"},
		},
		"late members of a deleted organization": {
			[]bridge.Delivery{
				event("2", "organization.deleted", 20, goneOrg), event("1", "organization.created", 10, `{"id":"org_1","name":"A"}`),
				event("3", "organizationMembership.created", 15, memberAt(15, "m1", "admin")),
			},
			[]bridge.Outcome{done, stale, stale}, []string{"DELETE /v1/tenants/org_1"},
		},
		"left and joined anew": {
			[]bridge.Delivery{
				event("1", "organizationMembership.created", 10, memberAt(10, "m1", "a")),
				event("2", "organizationMembership.deleted", 20, memberAt(10, "m1", "a")),
				event("3", "organizationMembership.created", 30, memberAt(30, "m2", "b")),
			},
			[]bridge.Outcome{done, done, done}, []string{fmt.Sprintf(subscribe, "a"), unsubscribe, fmt.Sprintf(subscribe, "b")},
		},
		"joined anew before having left": {
			[]bridge.Delivery{
				event("1", "organizationMembership.created", 10, memberAt(10, "m1", "a")),
				event("3", "organizationMembership.created", 20, memberAt(20, "m2", "b")),
				event("2", "organizationMembership.deleted", 20, memberAt(10, "m1", "a")),
				event("4", "organizationMembership.updated", 15, memberAt(15, "m1", "c")),
			},
			[]bridge.Outcome{done, done, stale, stale}, []string{fmt.Sprintf(subscribe, "a"), fmt.Sprintf(subscribe, "b")},
		},
		"left before having joined": {
			[]bridge.Delivery{
				event("2", "organizationMembership.deleted", 20, memberAt(10, "m1", "a")),
				event("1", "organizationMembership.created", 10, memberAt(10, "m1", "a")),
			},
			[]bridge.Outcome{done, stale}, []string{unsubscribe},
		},
		"roles out of order": {
			[]bridge.Delivery{
				event("2", "organizationMembership.updated", 20, memberAt(20, "m1", "b")),
				event("1", "organizationMembership.created", 10, memberAt(10, "m1", "a")),
			},
			[]bridge.Outcome{done, stale}, []string{fmt.Sprintf(subscribe, "b")},
		},
		"a membership without an id": {
			[]bridge.Delivery{
				event("2", "organizationMembership.deleted", 20, memberAt(10, "", "a")),
				event("1", "organizationMembership.created", 10, memberAt(10, "", "a")),
				event("3", "organizationMembership.created", 30, memberAt(30, "", "b")),
			},
			[]bridge.Outcome{done, stale, done}, []string{unsubscribe, fmt.Sprintf(subscribe, "b")},
		},
		"nothing that is mapped has changed": {
			[]bridge.Delivery{
				event("1", "user.created", 10, userAt(10, "A")), event("2", "user.updated", 20, userAt(20, "A")),
				event("4", "user.updated", 40, userAt(40, "B")), event("3", "user.updated", 30, userAt(30, "A")),
				event("5", "user.updated", 50, userAt(50, "A")),
			},
			[]bridge.Outcome{done, unchanged, done, stale, done}, []string{identify("A"), identify("B"), identify("A")},
		},
		"left, joined anew and left": {
			[]bridge.Delivery{
				event("1", "organizationMembership.created", 10, memberAt(10, "m1", "a")),
				event("2", "organizationMembership.deleted", 20, memberAt(10, "m1", "a")),
				event("3", "organizationMembership.created", 30, memberAt(30, "m2", "b")),
				event("4", "organizationMembership.deleted", 40, memberAt(30, "m2", "b")),
			},
			[]bridge.Outcome{done, done, done, done},
			[]string{fmt.Sprintf(subscribe, "a"), unsubscribe, fmt.Sprintf(subscribe, "b"), unsubscribe},
		},
		"the same delivery again": {
			[]bridge.Delivery{event("1", "user.created", 10, userAt(10, "A")), event("1", "user.created", 10, userAt(10, "A"))},
			[]bridge.Outcome{done, bridge.OutcomeDuplicate}, []string{identify("A")},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := &transport{}
			h := newHandler(t, bridge.Config{Knock: knock})
			assert.Equal(t, test.outcomes, outcomes(t, h, test.deliveries...))
			assert.Equal(t, test.calls, knock.calls())
		})
	}
}

func TestStaleEventsStillTrigger(t *testing.T) {
	t.Parallel()
	trigger := func(workflow string) bridge.Func[clerk.User] { return bridge.TriggerForUser[clerk.User](workflow) }
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.Also(clerk.UserCreated, bridge.Chain(trigger("welcome"), bridge.SkipStale(trigger("tour")))),
	}})
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, h,
		event("2", "user.updated", 20, userAt(20, "B")), event("1", "user.created", 10, userAt(10, "A"))))
	assert.Equal(t, []string{
		`PUT /v1/users/user_1 {"name":"B"}`, `POST /v1/workflows/welcome/trigger {"recipients":["user_1"]}`,
	}, knock.calls())
}

// TestGoneIsNotNamedInline: Knock creates what a call describes.
func TestGoneIsNotNamedInline(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.EmailCreated, func(c ctx, _ *clerk.Event[clerk.Email], k *actions.Client) error {
			for _, id := range []string{"user_1", "user_2"} {
				user := actions.IdentifyUser{ID: id, Name: "Ada"}
				_, err := k.TriggerWorkflow(c, actions.TriggerWorkflow{
					Workflow: "w" + id, Actor: user, Tenant: actions.TenantID("org" + id[4:]),
					Recipients: []actions.Recipient{user, actions.WithTriggerData(actions.UserID(id), map[string]any{"x": 1}), actions.SetObject{Collection: "$tenants", ID: "org" + id[4:]}},
				})
				if err != nil {
					return err
				}
				err = k.Subscribe(c, actions.Subscribe{Object: actions.Tenant("t"), Recipients: []actions.Recipient{user}})
				if err != nil {
					return err
				}
				err = k.AddAudienceMember(c, actions.AddAudienceMember{Audience: "a", Members: []actions.AudienceMember{{User: user}}})
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}})
	outcomes(t, h, event("1", "user.deleted", 1, goneUser), event("2", "organization.deleted", 1, goneOrg))
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, event("3", "email.created", 1, `{"id":"ema_1"}`)))
	assert.Equal(t, []string{
		`POST /v1/workflows/wuser_1/trigger {"recipients":["user_1","user_1"]}`,
		`POST /v1/objects/$tenants/t/subscriptions {"recipients":["user_1"]}`,
		`POST /v1/workflows/wuser_2/trigger {"actor":{"id":"user_2","name":"Ada"},"recipients":[{"id":"user_2","name":"Ada"},{"$trigger_data":{"x":1},"id":"user_2"},{"collection":"$tenants","id":"org_2"}],"tenant":"org_2"}`,
		`POST /v1/objects/$tenants/t/subscriptions {"recipients":[{"id":"user_2","name":"Ada"}]}`,
		`POST /v1/audiences/a/members {"members":[{"user":{"id":"user_2","name":"Ada"}}]}`,
	}, knock.calls()[2:])
}

// TestGoneTenantStaysGone: Knock creates the objects that a trigger or a subscription
// names. While the tenant is still there, in the delivery that deletes it, it is named.
func TestGoneTenantStaysGone(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	tell := func(workflow string) bridge.Func[clerk.DeletedObject] {
		return func(c ctx, e *clerk.Event[clerk.DeletedObject], k *actions.Client) error {
			_, err := k.TriggerWorkflow(c, actions.TriggerWorkflow{
				Workflow: workflow, Recipients: []actions.Recipient{actions.Tenant(e.Data.ID)}, Tenant: actions.SetTenant{ID: e.Data.ID, Name: "A"},
			})
			return err
		}
	}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.OrganizationDeleted, bridge.Chain(tell("closing"), bridge.RemoveTenant, tell("closed"))),
		bridge.Also(clerk.OrganizationMembershipDeleted, bridge.Chain(
			bridge.TriggerForOrganization[clerk.OrganizationMembership]("left"),
			func(c ctx, _ *clerk.Event[clerk.OrganizationMembership], k *actions.Client) error {
				return k.Subscribe(c, actions.Subscribe{Object: actions.Tenant("org_1"), Recipients: []actions.Recipient{actions.UserID("u")}})
			})),
	}})
	res, err := h.Process(t.Context(), event("1", "organization.deleted", 1, goneOrg))
	require.NoError(t, err)
	require.Len(t, res.Steps, 3)
	assert.Equal(t, actions.SkippedGone, res.Steps[2].Skipped)
	res, err = h.Process(t.Context(), event("2", "organizationMembership.deleted", 2, memberAt(2, "m1", "a")))
	require.NoError(t, err)
	require.Len(t, res.Steps, 2)
	assert.Equal(t, "workflows.trigger:left:$tenants/org_1", res.Steps[0].Name)
	assert.Equal(t, actions.SkippedGone, res.Steps[0].Skipped)
	assert.Equal(t, "objects.subscribe:$tenants/org_1:u", res.Steps[1].Name)
	assert.Equal(t, actions.SkippedGone, res.Steps[1].Skipped)
	assert.Equal(t, []string{
		`POST /v1/workflows/closing/trigger {"recipients":[{"collection":"$tenants","id":"org_1"}],"tenant":"org_1"}`,
		`DELETE /v1/tenants/org_1`,
	}, knock.calls())
}

// TestTriggerKeepsItsKey: a deletion between two attempts does not make another
// trigger of the second.
func TestTriggerKeepsItsKey(t *testing.T) {
	t.Parallel()
	lost := errors.New("no answer")
	down := true
	knock := &transport{answer: func(c context.Context, r *actions.Request) (*actions.Response, error) {
		if down && strings.HasSuffix(r.Path, "/trigger") {
			return nil, lost
		}
		return status(200, `{}`)(c, r)
	}}
	h := newHandler(t, bridge.Config{Knock: knock, NoDefaults: true, Mappings: bridge.Mappings{
		bridge.On(clerk.OrganizationDeleted, bridge.RemoveTenant),
		bridge.On(clerk.EmailCreated, func(c ctx, _ *clerk.Event[clerk.Email], k *actions.Client) error {
			_, err := k.TriggerWorkflow(c, actions.TriggerWorkflow{Workflow: "w", Tenant: actions.TenantID("org_1"), Recipients: []actions.Recipient{
				actions.UserID("u"), actions.Tenant("org_1"),
			}})
			return err
		}),
	}})
	mail := event("1", "email.created", 1, `{"id":"ema_1"}`)
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeTransient, bridge.OutcomeDone}, outcomes(t, h, mail, event("2", "organization.deleted", 2, goneOrg)))
	down = false
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, mail))
	sent := knock.sent
	require.Len(t, sent, 3)
	assert.JSONEq(t, `{"recipients":["u"]}`, string(sent[2].Body))
	assert.NotEmpty(t, sent[0].IdempotencyKey)
	assert.Equal(t, sent[0].IdempotencyKey, sent[2].IdempotencyKey)
}

func TestMembershipBeforeItsOrganization(t *testing.T) {
	t.Parallel()
	tenant := false
	knock := &transport{answer: func(c context.Context, r *actions.Request) (*actions.Response, error) {
		if r.Method == http.MethodPut {
			tenant = true
		}
		if !tenant {
			return status(404, `{"code":"resource_missing","message":"no such object","status":404,"type":"api_error"}`)(c, r)
		}
		return status(200, `[]`)(c, r)
	}}
	h := newHandler(t, bridge.Config{Knock: knock})
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h,
		event("1", "organizationMembership.created", 10, memberAt(10, "m1", "a"))))
	require.Len(t, knock.calls(), 3)
	assert.Equal(t, "PUT /v1/tenants/org_1 {}", knock.calls()[1])
}

// TestResume fails a delivery in the middle: what was done is not done again,
// and mapping functions get the answer they got before.
func TestResume(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	failing.Store(true)
	var sideEffects atomic.Int32
	knock := &transport{answer: func(c context.Context, r *actions.Request) (*actions.Response, error) {
		if strings.Contains(r.Path, "/second/") && failing.Load() {
			return status(503, "")(c, r)
		}
		return status(200, `{"workflow_run_id":"run_1"}`)(c, r)
	}}
	var runs []string
	swap := false // the order of calls is not what identifies them
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.Also(clerk.UserCreated, func(c ctx, _ *userEvent, k *actions.Client) error {
			effect := func() error {
				return k.Step(c, "crm", func(context.Context) error { sideEffects.Add(1); return nil })
			}
			first := func() error {
				id, err := k.TriggerWorkflow(c, actions.TriggerWorkflow{Workflow: "first", Recipients: []actions.Recipient{actions.UserID("user_1")}})
				runs = append(runs, id)
				return err
			}
			fns := []func() error{effect, first}
			if swap {
				fns = []func() error{first, effect}
			}
			for _, fn := range fns {
				if err := fn(); err != nil {
					return err
				}
			}
			_, err := k.TriggerWorkflow(c, actions.TriggerWorkflow{Workflow: "second", Recipients: []actions.Recipient{actions.UserID("user_1")}})
			return err
		}),
	}})
	d := event("1", "user.created", 10, userAt(10, "A"))
	res, err := h.Process(t.Context(), d)
	require.Error(t, err)
	assert.Equal(t, bridge.OutcomeTransient, res.Outcome)
	assert.Equal(t, 1, res.Attempt)

	before := len(knock.sent)
	failing.Store(false)
	swap = true
	res, err = h.Process(t.Context(), d)
	require.NoError(t, err)
	assert.Equal(t, bridge.OutcomeDone, res.Outcome)
	assert.Equal(t, 2, res.Attempt)
	assert.Equal(t, []string{`POST /v1/workflows/second/trigger {"recipients":["user_1"]}`}, knock.calls()[before:])
	assert.Equal(t, []string{"run_1", "run_1"}, runs)
	assert.EqualValues(t, 1, sideEffects.Load())
	require.Len(t, res.Steps, 4)
	for i, want := range []actions.Skipped{actions.SkippedFinished, actions.SkippedFinished, actions.SkippedFinished, ""} {
		assert.Equal(t, want, res.Steps[i].Skipped)
	}
}

// TestNewerStateWhileRetrying: the state of a delivery that failed after it
// wrote is known, so that an older one can't overwrite it.
func TestNewerStateWhileRetrying(t *testing.T) {
	t.Parallel()
	fail := true
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.Also(clerk.UserUpdated, func(ctx, *userEvent, *actions.Client) error {
			if fail {
				return errors.New("not yet")
			}
			return nil
		}),
	}})
	newer, older := event("2", "user.updated", 20, userAt(20, "B")), event("1", "user.created", 10, userAt(10, "A"))
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeMisconfigured, bridge.OutcomeStale}, outcomes(t, h, newer, older))
	fail = false
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, newer))
	assert.Equal(t, []string{`PUT /v1/users/user_1 {"name":"B"}`}, knock.calls())
}

func TestOneOfManyAttemptsWorks(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	ledger := bridge.NewMemoryLedger(0, 0)
	handlers := []*bridge.Handler{ // two processes
		newHandler(t, bridge.Config{Knock: knock, Ledger: ledger}), newHandler(t, bridge.Config{Knock: knock, Ledger: ledger}),
	}
	var done, duplicate atomic.Int32
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			switch res, _ := handlers[i%2].Process(t.Context(), event("1", "user.created", 10, userAt(10, "A"))); res.Outcome {
			case bridge.OutcomeDone:
				done.Add(1)
			case bridge.OutcomeDuplicate:
				duplicate.Add(1)
			default:
				t.Errorf("%s: %v", res.Outcome, res.Err)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, done.Load())
	assert.EqualValues(t, 999, duplicate.Load())
	assert.Len(t, knock.calls(), 1)
}

// TestTakenOver: a worker that outlives its lease can't undo what came after.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		knock := &transport{}
		var first atomic.Bool
		first.Store(true)
		h := newHandler(t, bridge.Config{Knock: knock, Timeout: time.Second, Mappings: bridge.Mappings{
			bridge.On(clerk.UserUpdated, func(c ctx, e *userEvent, k *actions.Client) error {
				if first.Swap(false) {
					<-slow // whatever c says
					return nil
				}
				return bridge.SyncUser(c, e, k)
			}),
		}})
		results := make(chan *bridge.Result)
		go func() {
			res, _ := h.Process(t.Context(), event("1", "user.updated", 10, userAt(10, "A")))
			results <- res
		}()
		synctest.Wait()

		res, err := h.Process(t.Context(), event("1", "user.updated", 10, userAt(10, "A")))
		require.Error(t, err)
		assert.Equal(t, bridge.OutcomeTransient, res.Outcome, "another attempt is at work")
		assert.Equal(t, http.StatusServiceUnavailable, res.Status())
		assert.Positive(t, res.RetryAfter)

		time.Sleep(2 * time.Second) // the lease is over
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, event("1", "user.updated", 10, userAt(10, "A"))))
		close(slow)
		late := <-results
		require.ErrorIs(t, late.Err, bridge.ErrClaimLost)
		assert.Equal(t, bridge.OutcomeTransient, late.Outcome)
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDuplicate}, outcomes(t, h, event("1", "user.updated", 10, userAt(10, "A"))))
	})
}

// TestLostAnswerToATrigger: Knock drops a repeat for 24 hours only.
func TestLostAnswerToATrigger(t *testing.T) {
	t.Parallel()
	lose := func(context.Context, *actions.Request) (*actions.Response, error) {
		return nil, &actions.SendError{Attempts: 1, Err: errors.New("connection reset")}
	}
	for name, test := range map[string]struct {
		after time.Duration
		want  bridge.Outcome
	}{
		"within Knock's window": {23 * time.Hour, bridge.OutcomeDone},
		"after it":              {25 * time.Hour, bridge.OutcomePermanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				knock := &transport{answer: lose}
				h := newHandler(t, bridge.Config{Knock: knock, NoDefaults: true, Mappings: bridge.Mappings{
					bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
				}})
				d := event("1", "user.created", 10, userAt(10, "A"))
				assert.Equal(t, []bridge.Outcome{bridge.OutcomeTransient}, outcomes(t, h, d))
				knock.answer = nil
				time.Sleep(test.after)
				assert.Equal(t, []bridge.Outcome{test.want}, outcomes(t, h, d))
			})
		})
	}
	t.Run("refused in so many words", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			knock := &transport{answer: status(422, `{}`)}
			h := newHandler(t, bridge.Config{Knock: knock, NoDefaults: true, Mappings: bridge.Mappings{
				bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
			}})
			d := event("1", "user.created", 10, userAt(10, "A"))
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeRejected}, outcomes(t, h, d))
			knock.answer = nil
			time.Sleep(25 * time.Hour)
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, d))
		})
	})
}

// TestReplayedLongAfter: what is harmless is done again, people are not notified
// again.
func TestReplayedLongAfter(t *testing.T) {
	t.Parallel()
	for _, retrigger := range []bool{false, true} {
		t.Run(strconv.FormatBool(retrigger), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				knock := &transport{}
				h := newHandler(t, bridge.Config{Knock: knock, Retrigger: retrigger, Mappings: bridge.Mappings{
					bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
				}})
				d := event("1", "user.created", 10, userAt(10, "A"))
				outcomes(t, h, d)
				time.Sleep(95 * time.Hour)
				assert.Equal(t, []bridge.Outcome{bridge.OutcomeDuplicate}, outcomes(t, h, d))
				time.Sleep(2 * time.Hour)
				assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, d))
				want := []string{`PUT /v1/users/user_1 {"name":"A"}`}
				if retrigger {
					want = append(want, `POST /v1/workflows/welcome/trigger {"recipients":["user_1"]}`)
				}
				assert.Equal(t, want, knock.calls()[2:])
			})
		})
	}
}

// TestReplayedLongAfterIsSent: it is to mend things, and sent although Knock was told
// the same by another delivery not long ago.
func TestReplayedLongAfterIsSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		knock := &transport{}
		h := newHandler(t, bridge.Config{Knock: knock})
		d := event("1", "user.created", 10, userAt(10, "A"))
		outcomes(t, h, d)
		time.Sleep(97 * time.Hour)
		timeless := bridge.Delivery{ID: "2", Body: []byte(`{"type":"user.updated","data":{"id":"user_1","first_name":"A"}}`)}
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, h, timeless, d))
		assert.Len(t, knock.calls(), 3)
	})
}

// TestMembershipsThatEndedAreBounded: what is kept of one user in one organization does
// not grow for ever.
func TestMembershipsThatEndedAreBounded(t *testing.T) {
	t.Parallel()
	var largest int
	ledger := &watched{Ledger: bridge.NewMemoryLedger(0, 0), save: func(p bridge.Progress) {
		for _, e := range p.Entities {
			largest = max(largest, len(e.State))
		}
	}}
	h := newHandler(t, bridge.Config{Ledger: ledger})
	for i := range 200 {
		outcomes(t, h, event(strconv.Itoa(i), "organizationMembership.deleted", i, memberAt(i, fmt.Sprintf("orgmem_%03d", i), "a")))
	}
	assert.Greater(t, largest, 64*len(`"orgmem_000",`))
	assert.Less(t, largest, 80*len(`"orgmem_000",`))
}

// watched is a Ledger whose Save is seen.
type watched struct {
	bridge.Ledger

	save func(bridge.Progress)
}

func (l *watched) Save(ctx context.Context, p bridge.Progress) error {
	l.save(p)
	return l.Ledger.Save(ctx, p)
}

// faulty is a Ledger that fails when told to.
type faulty struct {
	bridge.Ledger

	claim, save atomic.Pointer[error]
}

func (f *faulty) Claim(ctx context.Context, c bridge.Claim) (bridge.Claimed, error) {
	if err := f.claim.Load(); err != nil {
		return bridge.Claimed{}, *err
	}
	return f.Ledger.Claim(ctx, c)
}

func (f *faulty) Save(ctx context.Context, p bridge.Progress) error {
	if err := f.save.Load(); err != nil {
		return *err
	}
	return f.Ledger.Save(ctx, p)
}

func TestLedgerDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		knock := &transport{}
		ledger := &faulty{Ledger: bridge.NewMemoryLedger(0, 0)}
		h := newHandler(t, bridge.Config{Knock: knock, Ledger: ledger})
		d := event("1", "user.created", 10, userAt(10, "A"))
		down := errors.New("no database")

		ledger.claim.Store(&down)
		res, err := h.Process(t.Context(), d)
		require.ErrorIs(t, err, down)
		assert.Equal(t, http.StatusServiceUnavailable, res.Status())
		assert.Empty(t, knock.calls())
		ledger.claim.Store(nil)

		ledger.save.Store(&down)
		res, err = h.Process(t.Context(), d)
		require.ErrorIs(t, err, down)
		assert.Equal(t, http.StatusServiceUnavailable, res.Status(), "nothing is acknowledged that is not recorded")
		assert.Len(t, knock.calls(), 1)
		ledger.save.Store(nil)

		time.Sleep(time.Minute)
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDuplicate}, outcomes(t, h, d, d))
		assert.Len(t, knock.calls(), 2, "a state call is repeated")
	})
}

func TestLongStepName(t *testing.T) {
	t.Parallel()
	runs := 0
	fail := true
	h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{
		bridge.On(clerk.UserCreated, func(c ctx, _ *userEvent, k *actions.Client) error {
			if err := k.Step(c, strings.Repeat("x", 10<<10), func(context.Context) error { runs++; return nil }); err != nil {
				return err
			}
			if fail {
				return errors.New("not yet")
			}
			return nil
		}),
	}})
	d := event("1", "user.created", 10, userAt(10, "A"))
	outcomes(t, h, d)
	fail = false
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, d))
	assert.Equal(t, 1, runs)
}

func TestMemoryLedgerIsBounded(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Ledger: bridge.NewMemoryLedger(2, 1)})
	user := func(id, user string) bridge.Delivery {
		return event(id, "user.updated", 10, fmt.Sprintf(`{"id":%q,"first_name":"A"}`, user))
	}
	outcomes(t, h, user("1", "user_1"), user("2", "user_2"), user("3", "user_3"))
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDuplicate, bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h,
		user("3", "user_3"), user("1", "user_1"), user("4", "user_1")), "the oldest are forgotten")
}

// TestCrashedWriter: what a worker sent that died is not known, so that nothing
// is taken for unchanged.
func TestCrashedWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		knock := &transport{}
		ledger := &faulty{Ledger: bridge.NewMemoryLedger(0, 0)}
		h := newHandler(t, bridge.Config{Knock: knock, Ledger: ledger})
		outcomes(t, h, event("1", "user.created", 10, userAt(10, "A")))

		dead := errors.New("dead")
		ledger.save.Store(&dead)
		outcomes(t, h, event("2", "user.updated", 20, userAt(20, "B"))) // reaches Knock, is not recorded
		ledger.save.Store(nil)
		time.Sleep(time.Minute)
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeStale, bridge.OutcomeUnchanged}, outcomes(t, h,
			event("3", "user.updated", 30, userAt(30, "A")), event("2", "user.updated", 20, userAt(20, "B")),
			event("4", "user.updated", 40, userAt(40, "A"))))
		assert.Equal(t, []string{
			`PUT /v1/users/user_1 {"name":"A"}`, `PUT /v1/users/user_1 {"name":"B"}`, `PUT /v1/users/user_1 {"name":"A"}`,
		}, knock.calls())
	})
}

func TestStateOfANewerVersion(t *testing.T) {
	t.Parallel()
	ledger := bridge.NewMemoryLedger(0, 0)
	claimed, err := ledger.Claim(t.Context(), bridge.Claim{Delivery: "0", Lease: time.Minute, Entities: []string{"user/user_1"}})
	require.NoError(t, err)
	require.NoError(t, ledger.Save(t.Context(), bridge.Progress{
		Delivery: "0", Attempt: claimed.Attempt, Held: []string{"user/user_1"}, Outcome: bridge.OutcomeDone,
		Entities: []bridge.Entity{{Key: "user/user_1", State: []byte(`{"f":99}`)}},
	}))
	knock := &transport{}
	res, err := newHandler(t, bridge.Config{Knock: knock, Ledger: ledger}).Process(t.Context(), event("1", "user.created", 10, userAt(10, "A")))
	require.ErrorContains(t, err, "newer version")
	assert.Equal(t, bridge.OutcomeTransient, res.Outcome, "a process of that version can do it")
	claimed, err = ledger.Claim(t.Context(), bridge.Claim{Delivery: "2", Lease: time.Minute, Entities: []string{"user/user_1"}})
	require.NoError(t, err)
	assert.Equal(t, bridge.ClaimGranted, claimed.Status, "and need not wait")
	assert.Empty(t, knock.calls())
}

// TestOnlyTriggersAreNoState: an event that only starts a workflow makes no
// older one stale.
func TestOnlyTriggersAreNoState(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.UserUpdated, bridge.TriggerForUser[clerk.User]("changed")),
	}})
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, h,
		event("2", "user.updated", 20, userAt(20, "B")), event("1", "user.created", 10, userAt(10, "A"))))
	assert.Equal(t, `PUT /v1/users/user_1 {"name":"A"}`, knock.calls()[1])
}

// TestDoubtOutlivesARefusal: that Knock refuses a repeat says nothing of the
// first call, whose answer was lost; nor does it that an attempt saved something
// else in between.
func TestDoubtOutlivesARefusal(t *testing.T) {
	t.Parallel()
	d := event("1", "user.created", 10, userAt(10, "A"))
	for _, code := range []int{401, 409, 429} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				knock := &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
					return nil, &actions.SendError{Attempts: 1, Err: errors.New("connection reset")}
				}}
				h := newHandler(t, bridge.Config{Knock: knock, NoDefaults: true, Mappings: bridge.Mappings{
					bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
				}})
				outcomes(t, h, d)
				knock.answer = status(code, "{}")
				outcomes(t, h, d)
				knock.answer = nil
				time.Sleep(25 * time.Hour)
				assert.Equal(t, []bridge.Outcome{bridge.OutcomePermanent}, outcomes(t, h, d))
				assert.Len(t, knock.calls(), 2)
			})
		})
	}
	t.Run("a crash, and an attempt that did not get as far", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			knock := &transport{}
			ledger := &faulty{Ledger: bridge.NewMemoryLedger(0, 0)}
			var lookUp error
			h := newHandler(t, bridge.Config{Knock: knock, Ledger: ledger, NoDefaults: true, Mappings: bridge.Mappings{
				bridge.On(clerk.UserCreated, func(c ctx, e *userEvent, k *actions.Client) error {
					if lookUp != nil {
						return lookUp
					}
					return bridge.TriggerForUser[clerk.User]("welcome")(c, e, k)
				}),
			}})
			dead := errors.New("dead")
			ledger.save.Store(&dead)
			outcomes(t, h, d) // triggers, and is not recorded
			ledger.save.Store(nil)
			time.Sleep(time.Minute)
			lookUp = bridge.RetryAfter(0, errors.New("Clerk is down"))
			outcomes(t, h, d)
			lookUp = nil
			time.Sleep(25 * time.Hour)
			assert.Equal(t, []bridge.Outcome{bridge.OutcomePermanent}, outcomes(t, h, d))
			assert.Len(t, knock.calls(), 1)
		})
	})
}

// TestUnchangedKnowsOfOtherWrites: what else writes the user, or may have, makes
// the next update be sent.
func TestUnchangedKnowsOfOtherWrites(t *testing.T) {
	t.Parallel()
	identify := func(ban bool) bridge.Func[clerk.User] {
		return func(c ctx, e *userEvent, k *actions.Client) error {
			if err := bridge.SyncUser(c, e, k); err != nil || !ban {
				return err
			}
			return k.IdentifyUser(c, actions.IdentifyUser{ID: e.Data.ID, Name: "(banned)"})
		}
	}
	mention := func(c ctx, e *clerk.Event[clerk.OrganizationMembership], k *actions.Client) error {
		_, err := k.TriggerWorkflow(c, actions.TriggerWorkflow{
			Workflow: "w", Recipients: []actions.Recipient{actions.IdentifyUser{ID: e.Data.UserID(), Name: "member"}},
		})
		return err
	}
	t.Run("in the same delivery", func(t *testing.T) {
		t.Parallel()
		knock := &transport{}
		h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{bridge.On(clerk.UserCreated, identify(true))}})
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, h,
			event("1", "user.created", 10, userAt(10, "A")), event("2", "user.updated", 20, userAt(20, "A"))))
	})
	t.Run("inline, in a membership's", func(t *testing.T) {
		t.Parallel()
		knock := &transport{}
		h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{bridge.On(clerk.OrganizationMembershipCreated, mention)}})
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, h,
			event("1", "user.created", 10, userAt(10, "A")),
			event("2", "organizationMembership.created", 15, memberAt(15, "m1", "a")),
			event("3", "user.updated", 20, userAt(20, "A"))))
	})
	t.Run("by a deletion", func(t *testing.T) {
		t.Parallel()
		const org = `{"id":"org_1","name":"A","updated_at":%d}`
		knock := &transport{}
		removeIf := func(name string, remove func(ctx, *actions.Client) error) bridge.Mappings {
			return bridge.Mappings{
				bridge.Also(clerk.UserUpdated, func(c ctx, e *userEvent, k *actions.Client) error {
					if e.Data.FirstName.Or("") != name {
						return nil
					}
					return remove(c, k)
				}),
				bridge.Also(clerk.OrganizationUpdated, func(c ctx, _ *clerk.Event[clerk.Organization], k *actions.Client) error {
					return remove(c, k)
				}),
			}
		}
		user := newHandler(t, bridge.Config{Knock: knock, Mappings: removeIf("A", func(c ctx, k *actions.Client) error {
			return k.DeleteUser(c, actions.DeleteUser{ID: "user_1"})
		})})
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, user,
			event("1", "user.created", 10, userAt(10, "A")), event("2", "user.updated", 20, userAt(20, "A")),
			event("3", "user.created", 30, userAt(30, "A"))))
		assert.Equal(t, []string{`PUT /v1/users/user_1 {"name":"A"}`, "DELETE /v1/users/user_1", `PUT /v1/users/user_1 {"name":"A"}`}, knock.calls())
		for name, remove := range map[string]func(ctx, *actions.Client) error{
			"tenant": func(c ctx, k *actions.Client) error { return k.DeleteTenant(c, actions.DeleteTenant{ID: "org_1"}) },
			"object": func(c ctx, k *actions.Client) error {
				return k.DeleteObject(c, actions.DeleteObject{Collection: actions.TenantCollection, ID: "org_1"})
			},
		} {
			h := newHandler(t, bridge.Config{Mappings: removeIf("", remove)})
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone, bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h,
				event("1", "organization.created", 10, fmt.Sprintf(org, 10)), event("2", "organization.updated", 21, fmt.Sprintf(org, 21)),
				event("3", "organization.created", 30, fmt.Sprintf(org, 30)), event("4", "organization.created", 40, fmt.Sprintf(org, 40))), name)
		}
	})
	t.Run("by another call of the same delivery", func(t *testing.T) {
		t.Parallel()
		for name, also := range map[string]bridge.Mapping{
			"merge": bridge.Also(clerk.UserCreated, func(c ctx, e *userEvent, k *actions.Client) error {
				return k.MergeUser(c, actions.MergeUser{ID: e.Data.ID, FromID: "guest"})
			}),
			"tenant": bridge.Also(clerk.OrganizationCreated, func(c ctx, e *clerk.Event[clerk.Organization], k *actions.Client) error {
				return k.SetTenant(c, actions.SetTenant{ID: e.Data.ID, Name: "other"})
			}),
		} {
			h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{also}})
			what, data := "user", userAt(10, "A")
			if name == "tenant" {
				what, data = "organization", `{"id":"org_1","name":"N"}`
			}
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h,
				event("1", what+".created", 10, data), event("2", what+".updated", 20, data), event("3", what+".updated", 30, data)), name)
		}
	})
	t.Run("but not by one that leaves it as it is", func(t *testing.T) {
		t.Parallel()
		knock := &transport{}
		h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
			bridge.Also(clerk.UserUpdated, func(c ctx, e *userEvent, k *actions.Client) error {
				user := actions.UserID(e.Data.ID)
				return errors.Join(
					k.SetPreferences(c, actions.SetPreferences{Owner: user}),
					k.SetChannelData(c, actions.SetChannelData{Owner: user, ChannelID: "c"}),
					k.Subscribe(c, actions.Subscribe{Object: actions.ObjectRef{Collection: "c", ID: e.Data.ID}, Recipients: []actions.Recipient{user}}),
					k.SetObject(c, actions.SetObject{Collection: "plans", ID: e.Data.ID}),
					k.DeleteTenant(c, actions.DeleteTenant{ID: e.Data.ID}),
				)
			}),
		}})
		outcomes(t, h, event("1", "user.updated", 10, userAt(10, "A")), event("2", "user.updated", 20, userAt(20, "A")), event("3", "user.updated", 30, userAt(30, "A")))
		assert.Len(t, knock.calls(), 1+3*5)
	})
	t.Run("nor by one to something else of the same id", func(t *testing.T) {
		t.Parallel()
		const org = `{"id":"org_1","name":"A","updated_at":%d}`
		h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{
			bridge.Also(clerk.OrganizationCreated, func(c ctx, e *clerk.Event[clerk.Organization], k *actions.Client) error {
				return errors.Join(
					k.SetObject(c, actions.SetObject{Collection: "plans", ID: e.Data.ID}),
					k.IdentifyUser(c, actions.IdentifyUser{ID: e.Data.ID}),
				)
			}),
		}})
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h,
			event("1", "organization.created", 10, fmt.Sprintf(org, 10)), event("2", "organization.updated", 20, fmt.Sprintf(org, 20))))
	})
	t.Run("by a machine whose clock was ahead", func(t *testing.T) {
		t.Parallel()
		clock := &ahead{Ledger: bridge.NewMemoryLedger(0, 0), by: 48 * time.Hour}
		h := newHandler(t, bridge.Config{Ledger: clock})
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, event("1", "user.updated", 10, userAt(10, "A"))))
		clock.by = 0
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h,
			event("2", "user.updated", 20, userAt(20, "A")), event("3", "user.updated", 30, userAt(30, "A"))))
	})
	t.Run("but not when only the ledger's clock is ahead", func(t *testing.T) {
		t.Parallel()
		h := newHandler(t, bridge.Config{Ledger: &ahead{Ledger: bridge.NewMemoryLedger(0, 0), by: 48 * time.Hour}})
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h,
			event("1", "user.updated", 10, userAt(10, "A")), event("2", "user.updated", 20, userAt(20, "A"))))
	})
	t.Run("by a call at the same time", func(t *testing.T) {
		t.Parallel()
		begun, ended := make(chan struct{}), make(chan struct{})
		knock := &transport{answer: func(_ context.Context, r *actions.Request) (*actions.Response, error) {
			if strings.Contains(string(r.Body), "banned") {
				return &actions.Response{Status: http.StatusOK}, nil
			}
			begun <- struct{}{}
			<-ended
			return &actions.Response{Status: http.StatusOK}, nil
		}}
		h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
			bridge.On(clerk.UserCreated, func(c ctx, e *userEvent, k *actions.Client) error {
				var group sync.WaitGroup
				group.Go(func() { assert.NoError(t, bridge.SyncUser(c, e, k)) })
				<-begun
				err := k.IdentifyUser(c, actions.IdentifyUser{ID: e.Data.ID, Name: "banned"})
				close(ended)
				group.Wait()
				return err
			}),
		}})
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, event("1", "user.created", 10, userAt(10, "A"))))
		go func() { <-begun }()
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, event("2", "user.updated", 20, userAt(20, "A"))))
	})
	t.Run("by somebody else, a day ago", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newHandler(t, bridge.Config{})
			update := func(at int) bridge.Delivery { return event(strconv.Itoa(at), "user.updated", at, userAt(at, "A")) }
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h, update(10), update(20)))
			time.Sleep(24*time.Hour - time.Minute)
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeUnchanged}, outcomes(t, h, update(30)))
			time.Sleep(2 * time.Minute)
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeUnchanged}, outcomes(t, h, update(40), update(50)))
		})
	})
	t.Run("in a crash, before a membership", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			knock := &transport{}
			ledger := &faulty{Ledger: bridge.NewMemoryLedger(0, 0)}
			h := newHandler(t, bridge.Config{Knock: knock, Ledger: ledger})
			outcomes(t, h, event("1", "user.created", 10, userAt(10, "A")))
			dead := errors.New("dead")
			ledger.save.Store(&dead)
			outcomes(t, h, event("2", "user.updated", 20, userAt(20, "B")))
			ledger.save.Store(nil)
			time.Sleep(time.Minute)
			assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, h,
				event("3", "organizationMembership.created", 25, memberAt(25, "m1", "a")),
				event("4", "user.updated", 30, userAt(30, "A"))))
		})
	})
}

// TestGoneIsNotWritten: a deleted user does not come back by calls of events
// that have no order of their own.
func TestGoneIsNotWritten(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.EmailCreated, func(c ctx, _ *clerk.Event[clerk.Email], k *actions.Client) error {
			user, tenant := actions.UserID("user_1"), actions.Tenant("org_1")
			return errors.Join(
				k.IdentifyUser(c, actions.IdentifyUser{ID: "user_1"}), k.SetTenant(c, actions.SetTenant{ID: "org_1"}),
				k.SetChannelData(c, actions.SetChannelData{Owner: &tenant, ChannelID: "c"}),
				k.SetPreferences(c, actions.SetPreferences{Owner: user}),
			)
		}),
	}})
	outcomes(t, h, event("1", "user.deleted", 1, goneUser), event("2", "organization.deleted", 1, goneOrg))
	res, err := h.Process(t.Context(), event("3", "email.created", 1, `{"id":"ema_1"}`))
	require.NoError(t, err)
	assert.Len(t, knock.calls(), 2)
	require.Len(t, res.Steps, 4)
	for _, s := range res.Steps {
		assert.Equal(t, actions.SkippedGone, s.Skipped, s.Name)
	}
}

// ahead is a ledger whose clock is.
type ahead struct {
	bridge.Ledger

	by time.Duration
}

func (l *ahead) Claim(ctx context.Context, c bridge.Claim) (bridge.Claimed, error) {
	claimed, err := l.Ledger.Claim(ctx, c)
	claimed.Now = claimed.Now.Add(l.by)
	return claimed, err
}

// TestOwnFunctionsAreOrdered: what a function of the user's own has written, or has
// asked about, has its place in the order.
func TestOwnFunctionsAreOrdered(t *testing.T) {
	t.Parallel()
	const done, stale = bridge.OutcomeDone, bridge.OutcomeStale
	t.Run("that asks and calls something else", func(t *testing.T) {
		t.Parallel()
		ran := 0
		h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{
			bridge.On(clerk.UserUpdated, bridge.SkipStale(func(ctx, *userEvent, *actions.Client) error { ran++; return nil })),
		}})
		assert.Equal(t, []bridge.Outcome{done, stale}, outcomes(t, h, event("1", "user.updated", 20, userAt(20, "B")), event("2", "user.updated", 10, userAt(10, "A"))))
		assert.Equal(t, 1, ran)
	})
	t.Run("that does not ask", func(t *testing.T) {
		t.Parallel()
		h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{
			bridge.On(clerk.UserCreated, func(c ctx, e *userEvent, k *actions.Client) error {
				return k.IdentifyUser(c, bridge.KnockUser(&e.Data))
			}),
		}})
		assert.Equal(t, []bridge.Outcome{done, done, stale}, outcomes(t, h, event("1", "user.updated", 30, userAt(30, "C")),
			event("2", "user.created", 10, userAt(10, "A")), event("3", "user.updated", 20, userAt(20, "B"))))
	})
	t.Run("that subscribes", func(t *testing.T) {
		t.Parallel()
		h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{
			bridge.On(clerk.OrganizationMembershipUpdated, func(c ctx, e *clerk.Event[clerk.OrganizationMembership], k *actions.Client) error {
				return k.Subscribe(c, actions.Subscribe{
					Object: actions.Tenant(e.Data.OrganizationID()), Recipients: []actions.Recipient{actions.UserID(e.Data.UserID())},
				})
			}),
		}})
		assert.Equal(t, []bridge.Outcome{done, stale}, outcomes(t, h, event("1", "organizationMembership.updated", 30, memberAt(30, "m1", "a")),
			event("2", "organizationMembership.created", 10, memberAt(10, "m1", "b"))))
	})
}

// TestTriggerInDoubt: a trigger that may have run is not sent again after Knock has
// forgotten its key; one that can't have is.
func TestTriggerInDoubt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer actions.Response
		err    error
		want   bridge.Outcome
	}{
		"refused":                 {actions.Response{Status: 422}, nil, bridge.OutcomeDone},
		"refused, then a 503":     {actions.Response{Status: 503, Attempts: 2, NoEffectBefore: true}, nil, bridge.OutcomePermanent},
		"refused after a 503":     {actions.Response{Status: 429, Attempts: 3}, nil, bridge.OutcomePermanent},
		"refused each time":       {actions.Response{Status: 429, Attempts: 3, NoEffectBefore: true}, nil, bridge.OutcomeDone},
		"a conflict":              {actions.Response{Status: 409}, nil, bridge.OutcomePermanent},
		"a timeout, Knock's":      {actions.Response{Status: 408}, nil, bridge.OutcomePermanent},
		"a page in between, 200?": {actions.Response{Status: 200, Body: []byte("<html>")}, nil, bridge.OutcomePermanent},
		"never sent":              {actions.Response{}, &actions.SendError{Attempts: 3, Unsent: true, Err: errors.New("no route to host")}, bridge.OutcomeDone},
		"refused before that":     {actions.Response{}, &actions.InvalidError{Op: "actions.HTTP", Field: "APIKey", Reason: "is empty"}, bridge.OutcomeDone},
		"sent, and no answer":     {actions.Response{}, &actions.SendError{Attempts: 3, Err: errors.New("reset")}, bridge.OutcomePermanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				knock := &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
					if tc.err != nil {
						return nil, tc.err
					}
					return &tc.answer, nil
				}}
				h := newHandler(t, bridge.Config{Knock: knock, NoDefaults: true, Mappings: bridge.Mappings{
					bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
				}})
				d := event("1", "user.created", 10, userAt(10, "A"))
				outcomes(t, h, d)
				knock.answer = nil
				time.Sleep(25 * time.Hour)
				assert.Equal(t, []bridge.Outcome{tc.want}, outcomes(t, h, d))
			})
		})
	}
}

// TestDoubtIsOfTheFirstCall: what an attempt sends after its first call is saved
// before, so that a crash puts no other call in doubt.
func TestDoubtIsOfTheFirstCall(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		noDefaults bool
		want       bridge.Outcome
	}{
		"another call": {false, bridge.OutcomeDone},
		"the trigger":  {true, bridge.OutcomePermanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				knock := &transport{answer: status(401, `{}`)}
				l := &crashing{Ledger: bridge.NewMemoryLedger(0, 0), down: true}
				h := newHandler(t, bridge.Config{Ledger: l, Knock: knock, NoDefaults: tc.noDefaults, Mappings: bridge.Mappings{
					bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
				}})
				d := event("1", "user.created", 10, userAt(10, "A"))
				outcomes(t, h, d)
				l.down = false
				for range 3 { // refused, and saved
					time.Sleep(9 * time.Hour)
					outcomes(t, h, d)
				}
				knock.answer = nil
				assert.Equal(t, []bridge.Outcome{tc.want}, outcomes(t, h, d))
			})
		})
	}
}

// TestTriggerAfterUnchanged: which calls an attempt skips as unchanged differs, so the
// first that it sends is not the first of another one.
func TestTriggerAfterUnchanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		knock := &transport{}
		l := &crashing{Ledger: bridge.NewMemoryLedger(0, 0)}
		h := newHandler(t, bridge.Config{Ledger: l, Knock: knock, Mappings: bridge.Mappings{
			bridge.Also(clerk.UserUpdated, bridge.TriggerForUser[clerk.User]("changed")),
		}})
		outcomes(t, h, event("1", "user.created", 10, userAt(10, "A")))
		d := event("2", "user.updated", 20, userAt(20, "A"))
		knock.answer = func(c ctx, r *actions.Request) (*actions.Response, error) {
			l.down = l.down || strings.HasSuffix(r.Path, "/trigger") // accepted, and the process ends
			return status(200, `{}`)(c, r)
		}
		outcomes(t, h, d)
		l.down = false
		time.Sleep(5 * time.Hour)
		knock.answer = status(503, `{}`) // for the user
		outcomes(t, h, d)
		time.Sleep(20 * time.Hour)
		knock.answer = nil
		assert.Equal(t, []bridge.Outcome{bridge.OutcomePermanent}, outcomes(t, h, d))
		triggers := 0
		for _, call := range knock.calls() {
			if strings.Contains(call, "/trigger") {
				triggers++
			}
		}
		assert.Equal(t, 1, triggers)
	})
}

// TestManyAtOnce: a function may make calls at the same time.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.UserCreated, func(c ctx, _ *clerk.Event[clerk.User], k *actions.Client) error {
			errs := make([]error, 20)
			var all sync.WaitGroup
			for i := range errs {
				all.Go(func() {
					_, errs[i] = k.TriggerWorkflow(c, actions.TriggerWorkflow{
						Workflow: fmt.Sprint("w", i), Recipients: []actions.Recipient{actions.UserID("u")},
					})
				})
			}
			all.Wait()
			return errors.Join(errs...)
		}),
	}})
	d := event("1", "user.created", 10, userAt(10, "A"))
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDuplicate}, outcomes(t, h, d, d))
	assert.Len(t, knock.calls(), 20)
}

// crashing is a ledger to which nothing gets through any more.
type crashing struct {
	bridge.Ledger

	down bool
}

func (l *crashing) Save(ctx context.Context, p bridge.Progress) error {
	if l.down {
		return errors.New("down")
	}
	return l.Ledger.Save(ctx, p)
}

// TestNamedIsNotDescribed: a trigger that names an organization leaves open what Knock
// holds of it as it was.
func TestNamedIsNotDescribed(t *testing.T) {
	t.Parallel()
	trigger := func(w actions.TriggerWorkflow) func(ctx, *actions.Client) error {
		w.Workflow = "w"
		if w.Recipients == nil {
			w.Recipients = []actions.Recipient{actions.UserID("u")}
		}
		return func(c ctx, k *actions.Client) error {
			_, err := k.TriggerWorkflow(c, w)
			return err
		}
	}
	to := func(r actions.Recipient) func(ctx, *actions.Client) error {
		return trigger(actions.TriggerWorkflow{Recipients: []actions.Recipient{r}})
	}
	described := actions.SetObject{Collection: actions.TenantCollection, ID: "org_1", Name: "B"}
	twice := map[string]any{"x": json.RawMessage(`{"a":1,"a":2}`)}
	for name, tc := range map[string]struct {
		call func(ctx, *actions.Client) error
		want int
	}{
		"named":                {to(actions.Tenant("org_1")), 1},
		"with data":            {to(actions.WithTriggerData(actions.Tenant("org_1"), map[string]any{"x": 1})), 1},
		"another":              {to(actions.SetObject{Collection: actions.TenantCollection, ID: "org_2", Name: "org_1"}), 1},
		"as the tenant, named": {trigger(actions.TriggerWorkflow{Tenant: actions.TenantID("org_1")}), 1},
		"described":            {to(described), 2},
		"as the actor":         {trigger(actions.TriggerWorkflow{Actor: described}), 2},
		"as the tenant":        {trigger(actions.TriggerWorkflow{Tenant: actions.SetTenant{ID: "org_1", Name: "B"}}), 2},
		"beside a name twice":  {trigger(actions.TriggerWorkflow{Recipients: []actions.Recipient{described}, Data: twice}), 2},
		"as an audience member": {func(c ctx, k *actions.Client) error {
			return k.AddAudienceMember(c, actions.AddAudienceMember{
				Audience: "a", Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "org_1", Name: "B"}}},
			})
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := &transport{}
			h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
				bridge.Also(clerk.OrganizationUpdated, func(c ctx, _ *clerk.Event[clerk.Organization], k *actions.Client) error {
					return tc.call(c, k)
				}),
			}})
			outcomes(t, h, event("1", "organization.updated", 10, `{"id":"org_1","name":"A","updated_at":1700000000010}`),
				event("2", "organization.updated", 20, `{"id":"org_1","name":"A","updated_at":1700000000020}`))
			puts := 0
			for _, call := range knock.calls() {
				if strings.HasPrefix(call, "PUT") {
					puts++
				}
			}
			assert.Equal(t, tc.want, puts)
		})
	}
}

// TestSaveIsTriedAgain: one hiccup of the ledger does not undo a delivery.
func TestSaveIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHandler(t, bridge.Config{Ledger: &hiccup{Ledger: bridge.NewMemoryLedger(0, 0)}})
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, event("1", "user.created", 10, userAt(10, "A"))))
}

type hiccup struct {
	bridge.Ledger

	over bool
}

func (l *hiccup) Save(ctx context.Context, p bridge.Progress) error {
	if !l.over {
		l.over = true
		return errors.New("not now")
	}
	return l.Ledger.Save(ctx, p)
}

// TestDeletionMayKeep: a function mapped to a deletion may write what is deleted,
// to keep it without a name, say. Others may not, before and after.
func TestDeletionMayKeep(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.UserDeleted, func(c ctx, e *clerk.Event[clerk.DeletedObject], k *actions.Client) error {
			return errors.Join(
				k.IdentifyUser(c, actions.IdentifyUser{ID: e.Data.ID, Name: "Deleted"}),
				k.SetPreferences(c, actions.SetPreferences{Owner: new(actions.UserID(e.Data.ID))}),
				k.SetTenant(c, actions.SetTenant{ID: e.Data.ID}),
				k.IdentifyUser(c, actions.IdentifyUser{ID: "user_2", Name: "Deleted before"}),
			)
		}),
		bridge.On(clerk.OrganizationDeleted, func(c ctx, e *clerk.Event[clerk.DeletedObject], k *actions.Client) error {
			return k.SetTenant(c, actions.SetTenant{ID: e.Data.ID, Properties: map[string]any{"archived": true}})
		}),
	}})
	outcomes(t, h,
		event("1", "user.deleted", 1, `{"id":"user_2","deleted":true}`), event("2", "user.deleted", 20, goneUser),
		event("3", "organization.deleted", 20, goneOrg), event("4", "user.updated", 10, userAt(10, "Late")))
	assert.Equal(t, []string{
		`PUT /v1/users/user_2 {"name":"Deleted"}`, `PUT /v1/users/user_2/preferences/default {}`, `PUT /v1/tenants/user_2 {}`,
		`PUT /v1/users/user_2 {"name":"Deleted before"}`,
		`PUT /v1/users/user_1 {"name":"Deleted"}`, `PUT /v1/users/user_1/preferences/default {}`, `PUT /v1/tenants/user_1 {}`,
		`PUT /v1/tenants/org_1 {"archived":true}`,
	}, knock.calls())
}

// TestMembershipEndsAfterDeletion: also when the user or the organization has been
// deleted in Clerk before, and only where it is still in Knock.
func TestMembershipEndsAfterDeletion(t *testing.T) {
	t.Parallel()
	keep := func(ctx, *clerk.Event[clerk.DeletedObject], *actions.Client) error { return nil }
	removeLater := func(c ctx, e *clerk.Event[clerk.DeletedObject], k *actions.Client) error {
		if e.ID == "1" {
			return errors.New("not yet")
		}
		return bridge.RemoveUser(c, e, k)
	}
	const unsubscribe = `DELETE /v1/objects/$tenants/org_1/subscriptions {"recipients":["user_1"]}`
	user, org := event("1", "user.deleted", 20, goneUser), event("2", "organization.deleted", 20, goneOrg)
	joins := event("3", "organizationMembership.created", 5, memberAt(5, "m1", "a"))
	ends := event("4", "organizationMembership.deleted", 30, memberAt(5, "m1", "a"))
	for name, tt := range map[string]struct {
		mapping bridge.Mapping
		first   []bridge.Delivery
		ends    bridge.Outcome
		calls   []string
	}{
		"user removed":         {nil, []bridge.Delivery{user}, bridge.OutcomeStale, []string{"DELETE /v1/users/user_1"}},
		"organization removed": {nil, []bridge.Delivery{org}, bridge.OutcomeStale, []string{"DELETE /v1/tenants/org_1"}},
		"user kept":            {bridge.On(clerk.UserDeleted, keep), []bridge.Delivery{user}, bridge.OutcomeDone, []string{unsubscribe}},
		"organization kept":    {bridge.On(clerk.OrganizationDeleted, keep), []bridge.Delivery{org}, bridge.OutcomeDone, []string{unsubscribe}},
		"one of them kept": {
			bridge.On(clerk.UserDeleted, keep), []bridge.Delivery{user, org}, bridge.OutcomeStale, []string{"DELETE /v1/tenants/org_1"},
		},
		"user kept, who does not join": {
			bridge.On(clerk.UserDeleted, keep), []bridge.Delivery{user, joins}, bridge.OutcomeDone, []string{unsubscribe},
		},
		"user kept at first": {
			bridge.On(clerk.UserDeleted, removeLater), []bridge.Delivery{user, event("5", "user.deleted", 25, goneUser)},
			bridge.OutcomeStale, []string{"DELETE /v1/users/user_1"},
		},
	} {
		knock := &transport{}
		mappings := bridge.Mappings{}
		if tt.mapping != nil {
			mappings = bridge.Mappings{tt.mapping}
		}
		h := newHandler(t, bridge.Config{Knock: knock, Mappings: mappings})
		outcomes(t, h, tt.first...)
		assert.Equal(t, []bridge.Outcome{tt.ends}, outcomes(t, h, ends), name)
		assert.Equal(t, tt.calls, knock.calls(), name)
	}
}

// TestRemovedInAnyWay: it does not matter how a function has deleted a user or an
// organization, nor in which attempt.
func TestRemovedInAnyWay(t *testing.T) {
	t.Parallel()
	ends := event("4", "organizationMembership.deleted", 30, memberAt(5, "m1", "a"))
	user, org := event("1", "user.deleted", 20, goneUser), event("2", "organization.deleted", 20, goneOrg)
	twice := bridge.On(clerk.UserDeleted, func(c ctx, e *clerk.Event[clerk.DeletedObject], k *actions.Client) error {
		if bridge.RemoveUser(c, e, k) != nil {
			return bridge.RemoveUser(c, e, k)
		}
		return nil
	})
	asObject := bridge.On(clerk.OrganizationDeleted, func(c ctx, e *clerk.Event[clerk.DeletedObject], k *actions.Client) error {
		return k.DeleteObject(c, actions.DeleteObject(actions.Tenant(e.Data.ID)))
	})
	failed := false
	later := bridge.Also(clerk.UserDeleted, func(ctx, *clerk.Event[clerk.DeletedObject], *actions.Client) error {
		if !failed {
			failed = true
			return errors.New("not yet")
		}
		return nil
	})
	for name, tt := range map[string]struct {
		mapping bridge.Mapping
		first   []bridge.Delivery
		calls   []string
	}{
		"at the second try":                {twice, []bridge.Delivery{user}, []string{"DELETE /v1/users/user_1", "DELETE /v1/users/user_1"}},
		"as an object":                     {asObject, []bridge.Delivery{org}, []string{"DELETE /v1/objects/$tenants/org_1"}},
		"by a version that did not say so": {later, []bridge.Delivery{user, user}, []string{"DELETE /v1/users/user_1"}},
	} {
		knock := &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			if name == "at the second try" && !failed {
				failed = true
				return &actions.Response{Status: http.StatusServiceUnavailable}, nil
			}
			return &actions.Response{Status: http.StatusNoContent}, nil
		}}
		failed = false
		ledger := &older{bridge.NewMemoryLedger(0, 0)}
		h := newHandler(t, bridge.Config{Knock: knock, Ledger: ledger, Mappings: bridge.Mappings{tt.mapping}})
		outcomes(t, h, tt.first...)
		assert.Equal(t, []bridge.Outcome{bridge.OutcomeStale}, outcomes(t, h, ends), name)
		assert.Equal(t, tt.calls, knock.calls(), name)
	}
}

// older is a Ledger of a version that did not say what was removed, until a delivery is
// done.
type older struct{ bridge.Ledger }

func (l *older) Save(ctx context.Context, p bridge.Progress) error {
	if p.Outcome != bridge.OutcomeDone {
		for i := range p.Entities {
			p.Entities[i].State = []byte(strings.ReplaceAll(string(p.Entities[i].State), `,"removed":true`, ""))
		}
	}
	return l.Ledger.Save(ctx, p)
}

// TestDeletionStands: what a delivery has deleted, it does not bring back; nor on
// another attempt.
func TestDeletionStands(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	failed := errors.New("not yet")
	after := func(write func(ctx, string, *actions.Client) error) bridge.Func[clerk.DeletedObject] {
		return func(c ctx, e *clerk.Event[clerk.DeletedObject], k *actions.Client) error {
			return errors.Join(write(c, e.Data.ID, k), failed)
		}
	}
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.Also(clerk.UserDeleted, after(func(c ctx, id string, k *actions.Client) error {
			return k.SetPreferences(c, actions.SetPreferences{Owner: actions.UserID(id)})
		})),
		bridge.Also(clerk.OrganizationDeleted, after(func(c ctx, id string, k *actions.Client) error {
			return k.SetTenant(c, actions.SetTenant{ID: id})
		})),
	}})
	user, organization := event("1", "user.deleted", 20, goneUser), event("2", "organization.deleted", 20, goneOrg)
	outcomes(t, h, user, organization)
	failed = nil
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDone}, outcomes(t, h, user, organization))
	assert.Equal(t, []string{"DELETE /v1/users/user_1", "DELETE /v1/tenants/org_1"}, knock.calls())
}

func TestLongIDsMakeShortKeys(t *testing.T) {
	t.Parallel()
	ledger := &keys{Ledger: bridge.NewMemoryLedger(0, 0)}
	h := newHandler(t, bridge.Config{Ledger: ledger})
	for i, id := range []string{strings.Repeat("ü", 256), strings.Repeat("x", 300_000)} {
		outcomes(t, h, event(strconv.Itoa(i), "user.created", 10, fmt.Sprintf(`{"id":%q}`, id)))
	}
	require.Len(t, ledger.seen, 2)
	for _, key := range ledger.seen {
		assert.LessOrEqual(t, len(key), 1024)
	}
}

// keys is a Ledger that notes the entities it is asked for.
type keys struct {
	bridge.Ledger

	seen []string
}

func (k *keys) Claim(ctx context.Context, c bridge.Claim) (bridge.Claimed, error) {
	k.seen = append(k.seen, c.Entities...)
	return k.Ledger.Claim(ctx, c)
}

// TestPanicOnTheWay: what was sent by a call that panicked is not known.
func TestPanicOnTheWay(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock})
	outcomes(t, h, event("1", "user.created", 10, userAt(10, "A")))
	knock.answer = func(context.Context, *actions.Request) (*actions.Response, error) { panic("a bug") }
	outcomes(t, h, event("2", "user.updated", 20, userAt(20, "B")))
	knock.answer = nil
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, outcomes(t, h, event("3", "user.updated", 30, userAt(30, "A"))))
}

// saves is a ledger that notes the contexts of the last word on each delivery.
type saves struct {
	*bridge.MemoryLedger

	contexts []context.Context
	errors   []error
}

func (s *saves) Save(ctx context.Context, p bridge.Progress) error {
	if p.Outcome != "" {
		s.contexts, s.errors = append(s.contexts, ctx), append(s.errors, ctx.Err())
	}
	return s.MemoryLedger.Save(ctx, p)
}

// TestLastWord: the ledger is told how a delivery has ended, whatever has become of
// the context that the functions had.
func TestLastWord(t *testing.T) {
	t.Parallel()
	type key struct{}
	const timeout = 12 * time.Second
	for name, test := range map[string]struct {
		work    func(ctx context.Context, cancel func())
		onStart func(context.Context) context.Context
	}{
		"at once":               {work: func(context.Context, func()) {}},
		"the caller has gone":   {work: func(_ context.Context, cancel func()) { cancel() }},
		"time is up":            {work: func(ctx context.Context, _ func()) { <-ctx.Done() }},
		"just before half time": {work: func(context.Context, func()) { time.Sleep(timeout/2 - time.Millisecond) }},
		"just after half time":  {work: func(context.Context, func()) { time.Sleep(timeout/2 + time.Millisecond) }},
		"OnStart gives less time": {
			work: func(ctx context.Context, _ func()) { <-ctx.Done() },
			onStart: func(ctx context.Context) context.Context {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				context.AfterFunc(ctx, cancel)
				return ctx
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, cancellable := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					ledger := &saves{MemoryLedger: bridge.NewMemoryLedger(0, 0)}
					parent, cancel := context.WithValue(context.Background(), key{}, "kept"), func() {}
					if cancellable {
						parent, cancel = context.WithCancel(parent)
						defer cancel()
					}
					h := newHandler(t, bridge.Config{
						Ledger: ledger, Timeout: timeout,
						OnStart: func(ctx context.Context, _ bridge.Delivery, _ string) context.Context {
							if test.onStart != nil {
								return test.onStart(ctx)
							}
							return ctx
						},
						Mappings: bridge.Mappings{bridge.On(userCreated, func(ctx ctx, _ *userEvent, _ *actions.Client) error {
							test.work(ctx, cancel)
							return nil
						})},
					})
					deadline := time.Now().Add(timeout)
					_, err := h.Process(parent, event("1", "user.created", 10, userAt(10, "A")))
					require.NoError(t, err)
					require.Equal(t, []error{nil}, ledger.errors)
					assert.Equal(t, "kept", ledger.contexts[0].Value(key{}))
					until, ok := ledger.contexts[0].Deadline()
					assert.True(t, ok)
					assert.WithinRange(t, until, time.Now().Add(time.Nanosecond), deadline)
				})
			}
		})
	}
}
