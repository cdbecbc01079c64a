package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

// dryRun shows the calls that mappings would make of one event.
func dryRun(mappings bridge.Mappings, eventType, data string) {
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          &actions.HTTP{APIKey: "sk_test_123"},
		Logger:         slog.New(slog.DiscardHandler),
		Mappings:       mappings,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	body := fmt.Appendf(nil, `{"type":%q,"data":%s}`, eventType, data)
	res, err := handler.DryRun(context.Background(), bridge.Delivery{ID: "msg_1", Body: body})
	for _, step := range res.Steps {
		if step.Request == nil {
			fmt.Println(step.Name)
			continue
		}
		fmt.Println(step.Request.Method, step.Request.Path, string(step.Request.Body))
	}
	fmt.Println(res.Outcome, err)
}

// exampleHandler returns a handler that calls the fake.
func exampleHandler(knock *bridgetest.Knock, mappings ...bridge.Mapping) *bridge.Handler {
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(),
		Logger:         slog.New(slog.DiscardHandler),
		Mappings:       mappings,
	})
	if err != nil {
		panic(err)
	}
	return handler
}

var exampleDeliveries atomic.Int64

// exampleDelivery returns a delivery of an event that happens now. A test has
// bridgetest.NewDelivery.
func exampleDelivery(eventType string, data any) bridge.Delivery {
	body, err := bridgetest.Body(eventType, data)
	if err != nil {
		panic(err)
	}
	return bridge.Delivery{ID: "msg_" + strconv.FormatInt(exampleDeliveries.Add(1), 10), Body: body}
}

// processExample processes a delivery of its own and prints the outcome.
func processExample(handler *bridge.Handler, eventType string, data any) {
	res, err := handler.Process(context.Background(), exampleDelivery(eventType, data))
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(res.Outcome)
}

func Example() {
	knock := bridgetest.StartKnock() // stands for Knock
	defer knock.Close()

	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(), // &actions.HTTP{APIKey: os.Getenv("KNOCK_API_KEY")}
		Logger:         slog.New(slog.DiscardHandler),
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
		},
		OnResult: func(_ context.Context, res *bridge.Result) {
			for _, step := range res.Steps {
				fmt.Println(step.Name, step.Status)
			}
			fmt.Println(res.EventType, res.Outcome)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/clerk", handler)

	// What Clerk does.
	body, err := bridgetest.Body("user.created", clerk.User{ID: "user_1", FirstName: clerk.Value("Ada")})
	if err != nil {
		fmt.Println(err)
		return
	}
	header, err := bridge.Sign(bridgetest.Secret, "msg_1", time.Now(), body)
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	send(server.URL+"/webhooks/clerk", header, body)
	// Output:
	// users.identify:user_1 200
	// workflows.trigger:welcome:user_1 200
	// user.created done
	// 200 OK
}

func ExampleOn() {
	dryRun(bridge.Mappings{
		bridge.On(clerk.UserUpdated, func(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
			return knock.IdentifyUser(ctx, actions.IdentifyUser{ID: e.Data.ID, Name: e.Data.FullName()})
		}),
	}, "user.updated", `{"id":"user_1","first_name":"Ada","last_name":"Lovelace","locale":"en"}`)
	// Output:
	// PUT /v1/users/user_1 {"name":"Ada Lovelace"}
	// done <nil>
}

func ExampleAlso() {
	dryRun(bridge.Mappings{
		bridge.Also(clerk.OrganizationMembershipCreated, bridge.TriggerForUser[clerk.OrganizationMembership]("joined")),
	}, "organizationMembership.created",
		`{"organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"},"role":"org:admin"}`)
	// Output:
	// POST /v1/objects/$tenants/org_1/subscriptions {"recipients":["user_1"],"properties":{"role":"org:admin"}}
	// POST /v1/workflows/joined/trigger {"tenant":"org_1","recipients":["user_1"]}
	// done <nil>
}

func ExampleDisable() {
	dryRun(bridge.Mappings{bridge.Disable(clerk.UserDeleted)}, "user.deleted", `{"id":"user_1","deleted":true}`)
	// Output:
	// ignored <nil>
}

func ExampleOnUnmapped() {
	dryRun(bridge.Mappings{
		bridge.OnUnmapped(func(_ context.Context, e *clerk.AnyEvent, _ *actions.Client) error {
			fmt.Printf("%s: %s\n", e.Type, e.Data)
			return nil
		}),
	}, "seat.added", `{"id":"seat_1"}`)
	// Output:
	// seat.added: {"id":"seat_1"}
	// done <nil>
}

func ExampleChain() {
	audit := func(ctx context.Context, _ *clerk.Event[clerk.User], knock *actions.Client) error {
		return knock.Step(ctx, "audit", func(context.Context) error { return nil }) // a row in a database
	}
	dryRun(bridge.Mappings{bridge.On(clerk.UserCreated, bridge.Chain(audit, bridge.SyncUser))},
		"user.created", `{"id":"user_1","username":"ada"}`)
	// Output:
	// step:audit
	// PUT /v1/users/user_1 {"name":"ada"}
	// done <nil>
}

func ExampleTriggerForUser() {
	dryRun(bridge.Mappings{
		bridge.On(clerk.SessionCreated, bridge.TriggerForUser("signed-in",
			func(e *clerk.Event[clerk.Session], t *actions.TriggerWorkflow) {
				t.Data = map[string]any{"session": e.Data.ID}
			})),
	}, "session.created", `{"id":"sess_1","user_id":"user_1"}`)
	// Output:
	// POST /v1/workflows/signed-in/trigger {"data":{"session":"sess_1"},"recipients":["user_1"]}
	// done <nil>
}

// All members hear of a new one. With an event that comes with every change,
// such as organization.updated, they would be notified each time.
func ExampleTriggerForOrganization() {
	dryRun(bridge.Mappings{
		bridge.Also(clerk.OrganizationMembershipCreated,
			bridge.TriggerForOrganization[clerk.OrganizationMembership]("new-member")),
	}, "organizationMembership.created", `{"organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"}}`)
	// Output:
	// POST /v1/objects/$tenants/org_1/subscriptions {"recipients":["user_1"],"properties":{}}
	// POST /v1/workflows/new-member/trigger {"tenant":"org_1","recipients":[{"collection":"$tenants","id":"org_1"}]}
	// done <nil>
}

func ExampleTriggerFor() {
	dryRun(bridge.Mappings{
		bridge.On(clerk.UserDeleted, bridge.TriggerFor("account-closed", []actions.Recipient{actions.UserID("support")},
			func(e *clerk.Event[clerk.DeletedObject], t *actions.TriggerWorkflow) {
				t.Data = map[string]any{"user": e.Data.ID}
			})),
	}, "user.deleted", `{"id":"user_1","deleted":true}`)
	// Output:
	// POST /v1/workflows/account-closed/trigger {"data":{"user":"user_1"},"recipients":["support"]}
	// done <nil>
}

func ExampleCancelWorkflow() {
	dryRun(bridge.Mappings{
		bridge.On(clerk.SessionEnded, bridge.CancelWorkflow("come-back", func(e *clerk.Event[clerk.Session]) string {
			return e.Data.ID
		})),
	}, "session.ended", `{"id":"sess_1","user_id":"user_1"}`)
	// Output:
	// POST /v1/workflows/come-back/cancel {"cancellation_key":"sess_1"}
	// done <nil>
}

func ExampleAddToAudience() {
	dryRun(bridge.Mappings{bridge.On(clerk.WaitlistEntryCreated, bridge.AddToAudience("waitlist"))},
		"waitlistEntry.created", `{"id":"wait_1","email_address":"ada@example.com"}`)
	// Output:
	// POST /v1/audiences/waitlist/members {"members":[{"user":{"email":"ada@example.com","id":"wait_1"}}]}
	// done <nil>
}

func ExampleKnockUser() {
	withUsername := func(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
		if bridge.Stale(ctx) {
			return nil // a newer state was applied before
		}
		user := bridge.KnockUser(&e.Data)
		if username, ok := e.Data.Username.Get(); ok {
			user.Properties["username"] = username
		}
		delete(user.Properties, "locale")
		return knock.IdentifyUser(actions.AllowBulk(ctx), user)
	}
	dryRun(bridge.Mappings{bridge.On(clerk.UserCreated, withUsername)},
		"user.created", `{"id":"user_1","username":"ada","locale":"en"}`)
	// Output:
	// PUT /v1/users/user_1 {"name":"ada","username":"ada"}
	// done <nil>
}

// A key of the public metadata becomes a property of its own, which is cleared when
// the key, or all metadata, is removed in Clerk.
func ExampleKnockUser_metadata() {
	withPlan := func(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
		if bridge.Stale(ctx) {
			return nil
		}
		user := bridge.KnockUser(&e.Data)
		if !e.Data.PublicMetadata.IsAbsent() {
			var keys map[string]any
			if metadata, ok := e.Data.PublicMetadata.Get(); ok {
				if err := json.Unmarshal(metadata, &keys); err != nil {
					return bridge.Permanent(fmt.Errorf("public_metadata: %w", err))
				}
			}
			user.Properties["plan"] = keys["plan"]
			delete(user.Properties, "public_metadata")
		}
		return knock.IdentifyUser(actions.AllowBulk(ctx), user)
	}
	mappings := bridge.Mappings{bridge.On(clerk.UserUpdated, withPlan)}
	dryRun(mappings, "user.updated", `{"id":"user_1","public_metadata":{"plan":"pro"}}`)
	dryRun(mappings, "user.updated", `{"id":"user_1","public_metadata":{}}`)
	dryRun(mappings, "user.updated", `{"id":"user_1","public_metadata":null}`)
	dryRun(mappings, "user.updated", `{"id":"user_1"}`)
	// Output:
	// PUT /v1/users/user_1 {"plan":"pro"}
	// done <nil>
	// PUT /v1/users/user_1 {"plan":null}
	// done <nil>
	// PUT /v1/users/user_1 {"plan":null}
	// done <nil>
	// PUT /v1/users/user_1 {}
	// done <nil>
}

// An idempotency key of your own: Knock starts the workflow once in 24 hours,
// whoever triggers it with that key and the same parameters, such as another part of
// your program.
func ExampleEditTrigger() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler := exampleHandler(knock, bridge.Also(clerk.UserCreated, bridge.TriggerForUser("welcome",
		func(e *clerk.Event[clerk.User], t *actions.TriggerWorkflow) {
			t.IdempotencyKey = "welcome-" + e.Data.ID
		})))
	for range 2 { // two deliveries, each with an id of its own
		processExample(handler, "user.created", map[string]any{"id": "user_1"})
	}
	fmt.Println(len(knock.Runs()), knock.Runs()[0].IdempotencyKey)
	// Output:
	// done
	// done
	// 1 welcome-user_1
}

// The later event goes first, as when the earlier one was delayed, which is then
// out of date.
func ExampleStale() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler := exampleHandler(knock, bridge.On(clerk.UserUpdated,
		func(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
			if bridge.Stale(ctx) {
				return nil
			}
			return knock.IdentifyUser(ctx, bridge.KnockUser(&e.Data))
		}))
	earlier := exampleDelivery("user.updated", map[string]any{"id": "user_1", "first_name": "Augusta"})
	later := exampleDelivery("user.updated", map[string]any{"id": "user_1", "first_name": "Ada"})
	for _, d := range []bridge.Delivery{later, earlier} {
		res, err := handler.Process(context.Background(), d)
		fmt.Println(res.Outcome, err)
	}
	user, _ := knock.User("user_1")
	fmt.Println(user["name"])
	// Output:
	// done <nil>
	// stale <nil>
	// Ada
}

// renamed starts a workflow when Knock has another name than the event. It has to
// come before the function that writes the name: each attempt looks the user up
// again, and after the write it would find nothing changed if an attempt had
// failed in between. A trigger that has succeeded is not repeated.
func renamed(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
	name := e.Data.FullName()
	if name == "" || bridge.Stale(ctx) {
		return nil
	}
	known, err := knock.GetUser(ctx, e.Data.ID)
	if refusal, ok := errors.AsType[*actions.Error](err); ok && refusal.Status == http.StatusNotFound {
		return nil // new to Knock
	}
	if err != nil || known.Name == name {
		return err
	}
	_, err = knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
		Workflow: "renamed", Recipients: []actions.Recipient{actions.UserID(e.Data.ID)},
		Data: map[string]any{"name": name}, // from the event: what was looked up may differ at the next attempt
	})
	return err
}

// A workflow for one change only: user.updated comes with every change, each
// sign-in included, and does not say what changed.
func Example_onlyWhenChanged() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler := exampleHandler(knock, bridge.On(clerk.UserUpdated, bridge.Chain(renamed, bridge.SyncUser)))

	processExample(handler, "user.created", map[string]any{"id": "user_1", "first_name": "Augusta"})
	processExample(handler, "user.updated", map[string]any{"id": "user_1", "first_name": "Augusta", "last_sign_in_at": 1})
	fmt.Println(len(knock.Runs()))
	processExample(handler, "user.updated", map[string]any{"id": "user_1", "first_name": "Ada"})
	fmt.Println(len(knock.Runs()), knock.Runs()[0].Data)
	// Output:
	// done
	// unchanged
	// 0
	// done
	// 1 map[name:Ada]
}

// TestOnlyWhenChanged: whatever fails on the way, in whatever order events come, the
// workflow runs once for a change and not without one.
func TestOnlyWhenChanged(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]bridgetest.Fault{
		"look-up":                      {Method: http.MethodGet, Status: http.StatusServiceUnavailable},
		"trigger":                      {Path: "/trigger", Status: http.StatusServiceUnavailable},
		"trigger, applied":             {Path: "/trigger", Status: http.StatusServiceUnavailable, Applied: true},
		"write":                        {Method: http.MethodPut, Status: http.StatusServiceUnavailable},
		"write, applied":               {Method: http.MethodPut, Status: http.StatusServiceUnavailable, Applied: true},
		"write, refused for good once": {Method: http.MethodPut, Status: http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := bridgetest.NewKnock(t)
			handler := exampleHandler(knock, bridge.On(clerk.UserUpdated, bridge.Chain(renamed, bridge.SyncUser)))
			user := func(name string) bridge.Delivery {
				return bridgetest.NewDelivery(t, "user.updated", map[string]any{"id": "user_1", "first_name": name})
			}
			process := func(d bridge.Delivery, want bridge.Outcome) {
				t.Helper()
				res, err := handler.Process(t.Context(), d)
				require.Equal(t, want, res.Outcome, err)
			}
			process(user("Augusta"), bridge.OutcomeDone)
			late, changed := user("Augusta Ada"), user("Ada")
			stop := knock.Fail(100, fault)
			failed, err := handler.Process(t.Context(), changed)
			require.Error(t, err, failed.Outcome)
			stop()
			process(changed, bridge.OutcomeDone)
			process(late, bridge.OutcomeStale)
			process(changed, bridge.OutcomeDuplicate)
			process(user("Ada"), bridge.OutcomeUnchanged)
			require.Len(t, knock.Runs(), 1)
			stored, _ := knock.User("user_1")
			require.Equal(t, "Ada", stored["name"])
		})
	}
}

// joined starts a workflow for a new member, once Knock has the user: Svix keeps no
// order, and the membership of somebody who has just signed up may come first.
func joined(ctx context.Context, e *clerk.Event[clerk.OrganizationMembership], knock *actions.Client) error {
	_, err := knock.GetUser(ctx, e.Data.UserID())
	if refusal, ok := errors.AsType[*actions.Error](err); ok && refusal.Status == http.StatusNotFound {
		if time.Since(e.Timestamp) > time.Hour {
			return nil // deleted since, it seems
		}
		return bridge.RetryAfter(5*time.Second, errors.New("Knock does not have the user yet"))
	}
	if err != nil {
		return err
	}
	return bridge.TriggerForUser[clerk.OrganizationMembership]("joined")(ctx, e, knock)
}

// A workflow that needs its recipient to exist: for an unknown one, Knock accepts
// the trigger and sends nothing.
func Example_recipientNotYetThere() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler := exampleHandler(knock, bridge.Also(clerk.OrganizationMembershipCreated, joined))
	membership := exampleDelivery("organizationMembership.created", map[string]any{
		"id": "orgmem_1", "organization": map[string]any{"id": "org_1"}, "public_user_data": map[string]any{"user_id": "user_1"},
	})
	for _, d := range []bridge.Delivery{membership, exampleDelivery("user.created", map[string]any{"id": "user_1"}), membership} {
		res, err := handler.Process(context.Background(), d)
		fmt.Println(res.EventType, res.Outcome, err)
	}
	fmt.Println(len(knock.Runs()), knock.Runs()[0].Workflow)
	// Output:
	// organizationMembership.created transient Knock does not have the user yet
	// user.created done <nil>
	// organizationMembership.created done <nil>
	// 1 joined
}

// syncAdmins keeps an object of each organization to which its admins are subscribed,
// beside the tenant, to which all members are.
func syncAdmins(ctx context.Context, e *clerk.Event[clerk.OrganizationMembership], knock *actions.Client) error {
	if bridge.Stale(ctx) {
		return nil
	}
	admins, user := adminsOf(e), actions.UserID(e.Data.UserID())
	role, _ := e.Data.Role.Get()
	if role != "org:admin" || e.Type == clerk.OrganizationMembershipDeleted.EventName() {
		return knock.Unsubscribe(ctx, actions.Unsubscribe{Object: admins, Recipients: []actions.Reference{user}})
	}
	if err := knock.SetObject(ctx, actions.SetObject{Collection: admins.Collection, ID: admins.ID}); err != nil {
		return err // it has to exist before anybody can subscribe
	}
	return knock.Subscribe(ctx, actions.Subscribe{Object: admins, Recipients: []actions.Recipient{user}})
}

func adminsOf(e *clerk.Event[clerk.OrganizationMembership]) actions.ObjectRef {
	return actions.ObjectRef{Collection: "organization-admins", ID: e.Data.OrganizationID()}
}

func tellAdmins(ctx context.Context, e *clerk.Event[clerk.OrganizationMembership], knock *actions.Client) error {
	_, err := knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
		Workflow: "member-joined", Recipients: []actions.Recipient{adminsOf(e)}, Tenant: actions.TenantID(e.Data.OrganizationID()),
	})
	return err
}

// A workflow for some members of an organization, such as its admins: TriggerForOrganization
// reaches all. Delete the object, too, where organization.deleted is mapped.
func Example_organizationAdmins() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler := exampleHandler(knock,
		bridge.Also(clerk.OrganizationMembershipCreated, bridge.Chain(syncAdmins, tellAdmins)),
		bridge.Also(clerk.OrganizationMembershipUpdated, syncAdmins),
		bridge.Also(clerk.OrganizationMembershipDeleted, syncAdmins),
	)
	for i, role := range []string{"org:admin", "org:member"} {
		user := fmt.Sprint("user_", i)
		processExample(handler, "user.created", map[string]any{"id": user})
		processExample(handler, "organizationMembership.created", map[string]any{
			"id": fmt.Sprint("orgmem_", i), "role": role, "organization": map[string]any{"id": "org_1"},
			"public_user_data": map[string]any{"user_id": user},
		})
	}
	fmt.Println(knock.Runs()[1].Reached, len(knock.Subscriptions("$tenants", "org_1")))
	// Output:
	// done
	// done
	// done
	// done
	// [user_0] 2
}

// anonymize keeps a deleted user in Knock, with the messages, but without anything
// that identifies the person. Add to the list whatever else you store with users:
// custom properties, and the data of the channels that you use.
func anonymize(ctx context.Context, e *clerk.Event[clerk.DeletedObject], knock *actions.Client) error {
	nothing := map[string]any{
		"name": nil, "email": nil, "phone_number": nil, "avatar": nil, "external_id": nil, "public_metadata": nil,
	}
	if err := knock.IdentifyUser(ctx, actions.IdentifyUser{ID: e.Data.ID, Properties: nothing}); err != nil {
		return err
	}
	return knock.UnsetChannelData(ctx, actions.UnsetChannelData{
		Owner: actions.UserID(e.Data.ID), ChannelID: "8209f26c-62a5-461d-95e2-a5716a26e652", // push
	})
}

// A user that stays in Knock after the deletion in Clerk. Late events do not write
// it again; wrap workflows that must not run for it in SkipStale.
func Example_keepDeletedUsers() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler := exampleHandler(knock,
		bridge.On(clerk.UserDeleted, anonymize),
		bridge.Also(clerk.UserCreated, bridge.SkipStale(bridge.TriggerForUser[clerk.User]("welcome"))),
	)
	created := exampleDelivery("user.created", map[string]any{"id": "user_1", "first_name": "Ada"})
	deleted := exampleDelivery("user.deleted", map[string]any{"id": "user_1", "deleted": true})
	for _, d := range []bridge.Delivery{deleted, created} {
		res, err := handler.Process(context.Background(), d)
		fmt.Println(res.EventType, res.Outcome, err)
	}
	user, _ := knock.User("user_1")
	fmt.Println(user["name"], len(knock.Runs()))
	// Output:
	// user.deleted done <nil>
	// user.created stale <nil>
	// <nil> 0
}

func ExamplePermanent() {
	verified := func(_ context.Context, e *clerk.Event[clerk.User], _ *actions.Client) error {
		if e.Data.PrimaryEmail() == "" {
			return bridge.Permanent(errors.New("no address to write to"))
		}
		return nil
	}
	dryRun(bridge.Mappings{bridge.On(clerk.UserCreated, verified)}, "user.created", `{"id":"user_1"}`)
	// Output:
	// permanent no address to write to
}

func ExampleRetryAfter() {
	err := bridge.RetryAfter(time.Minute, errors.New("the CRM is being updated"))
	fmt.Println(bridge.OutcomeOf(err), err)
	// Output:
	// transient the CRM is being updated
}

func ExampleNew_problems() {
	_, err := bridge.New(bridge.Config{SigningSecrets: []string{"whsec_"}})
	fmt.Println(err)
	// Output:
	// bridge: invalid config:
	// SigningSecrets[0] is only the prefix "whsec_"
	// Knock is nil: give an *actions.HTTP with an API key
}

// reporter stands for the client of a service that collects errors, such as
// Sentry: what has the same fingerprint is one issue there.
type reporter interface {
	Report(fingerprint []string, text string, tags map[string]string)
}

type printer struct{}

func (printer) Report(fingerprint []string, text string, tags map[string]string) {
	fmt.Println(fingerprint, tags)
	fmt.Println(text)
}

// reportTo returns an OnResult that reports failures. Body and the requests of
// the Steps are not reported, because they hold private data. Nor is Err, which
// quotes what Knock says about them; Problem leaves that out.
func reportTo(r reporter) func(context.Context, *bridge.Result) {
	return func(_ context.Context, res *bridge.Result) {
		if res.Outcome.OK() {
			return
		}
		r.Report([]string{string(res.Outcome), res.EventType}, res.Problem(), map[string]string{
			"delivery": res.DeliveryID, "attempt": strconv.Itoa(res.Attempt),
		})
	}
}

// An OnResult that hands errors to a service which collects them.
func ExampleConfig_errorReporting() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(),
		Logger:         slog.New(slog.DiscardHandler),
		OnResult:       reportTo(printer{}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	created := func(id, user string) bridge.Delivery {
		return bridge.Delivery{ID: id, Body: fmt.Appendf(nil,
			`{"type":"user.created","data":{"id":%q,"first_name":"Ada"}}`, user)}
	}
	_, _ = handler.Process(context.Background(), created("msg_1", "user_1"))
	knock.Fail(1, bridgetest.Fault{Status: http.StatusForbidden, Body: `{"code":"forbidden","message":"not Ada"}`})
	_, _ = handler.Process(context.Background(), created("msg_2", "user_2"))
	// Output:
	// [misconfigured user.created] map[attempt:1 delivery:msg_2]
	// knock: PUT /v1/users/user_2: 403 forbidden (request req_00000002)
}

func ExampleHandler_Process() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(),
		Logger:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A delivery that was verified before, say by what put it into a queue.
	res, err := handler.Process(context.Background(), bridge.Delivery{
		ID: "msg_1", ReceivedAt: time.Now(), Body: []byte(`{"type":"organization.created","data":{"id":"org_1","name":"Acme"}}`),
	})
	fmt.Println(res.Outcome, err, knock.Tenants())
	// Output:
	// done <nil> [org_1]
}

func ExampleHandler_EventNames() {
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          &actions.HTTP{APIKey: "sk_test_123"},
		NoDefaults:     true,
		Mappings:       bridge.Mappings{bridge.On(clerk.UserCreated, bridge.SyncUser), bridge.On(clerk.UserUpdated, bridge.SyncUser)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(handler.EventNames())
	// Output:
	// [user.created user.updated]
}

func ExampleVerifier() {
	body := []byte(`{"type":"user.created"}`)
	header, err := bridge.Sign(bridgetest.Secret, "msg_1", time.Now(), body)
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := bridge.NewVerifier(0, bridgetest.Secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(verifier.Verify(header, body))
	_, err = verifier.Verify(header, append(body, ' '))
	fmt.Println(errors.Is(err, bridge.ErrSignature))
	// Output:
	// msg_1 <nil>
	// true
}

func send(url string, header http.Header, body []byte) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header = header
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
}
