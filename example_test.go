package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

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

func ExampleTriggerForOrganization() {
	dryRun(bridge.Mappings{
		bridge.Also(clerk.OrganizationUpdated, bridge.TriggerForOrganization[clerk.Organization]("renamed")),
	}, "organization.updated", `{"id":"org_1","name":"Analytical Engines"}`)
	// Output:
	// PUT /v1/tenants/org_1 {"name":"Analytical Engines"}
	// POST /v1/workflows/renamed/trigger {"tenant":"org_1","recipients":[{"collection":"$tenants","id":"org_1"}]}
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
		user := bridge.KnockUser(&e.Data)
		user.Properties["username"] = e.Data.Username.Or("")
		delete(user.Properties, "locale")
		return knock.IdentifyUser(ctx, user)
	}
	dryRun(bridge.Mappings{bridge.On(clerk.UserCreated, withUsername)},
		"user.created", `{"id":"user_1","username":"ada","locale":"en"}`)
	// Output:
	// PUT /v1/users/user_1 {"name":"ada","username":"ada"}
	// done <nil>
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

// reportTo returns an OnResult that reports what did not go well. Body and the
// requests of the Steps stay here, for they hold what is private. So does Err,
// which quotes what Knock says of them; Problem leaves that out.
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
