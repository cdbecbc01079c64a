package bridgetest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

// welcome is the mapping function that the examples test.
func welcome(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
	_, err := knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
		Workflow:   "welcome",
		Recipients: []actions.Recipient{actions.UserID(e.Data.ID)},
	})
	return err
}

// newExampleHandler returns a handler that runs welcome after the default.
func newExampleHandler(t *fakeT, knock *bridgetest.Knock) *bridge.Handler {
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(),
		Mappings:       bridge.Mappings{bridge.Also(clerk.UserCreated, welcome)},
		Logger:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// A delivery as Clerk makes it, through the handler that the program mounts.
func ExampleNewRequest() {
	t := new(fakeT) // stands for the *testing.T of your test
	defer t.done()

	knock := bridgetest.NewKnock(t)
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(),
		Logger:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}

	user := bridgetest.Sample(clerk.UserCreated)
	user.ID = "user_1"
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, bridgetest.NewRequest(t, "user.created", user))

	assert.Equal(t, http.StatusOK, w.Code)
	stored, _ := knock.User("user_1")
	fmt.Println(stored["name"], stored["email"])
	// Output: Mira Okafor mira.okafor@example.com
}

// A delivery that was verified elsewhere, as a queue hands it to the handler.
func ExampleNewDelivery() {
	t := new(fakeT) // stands for the *testing.T of your test
	defer t.done()

	knock := bridgetest.NewKnock(t)
	handler := newExampleHandler(t, knock)

	d := bridgetest.NewDelivery(t, "user.created", map[string]any{"id": "user_1", "first_name": "Ada"})
	res, err := handler.Process(t.Context(), d)

	require.NoError(t, err)
	for _, step := range res.Steps {
		fmt.Println(step.Name)
	}
	// Output:
	// users.identify:user_1
	// workflows.trigger:welcome:user_1
}

// The first attempt reaches Knock, but its answer is lost. The second one must
// not welcome the user again.
func ExampleAttempt() {
	t := new(fakeT) // stands for the *testing.T of your test
	defer t.done()

	knock := bridgetest.NewKnock(t)
	handler := newExampleHandler(t, knock) // runs workflow "welcome" for new users
	knock.Fail(1, bridgetest.Fault{Path: "/workflows/welcome/trigger", Applied: true, Drop: true})

	d := bridgetest.NewDelivery(t, "user.created", nil)
	for range 2 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, bridgetest.Attempt(t, d))
		fmt.Println(w.Code)
	}
	fmt.Println("runs:", len(knock.Runs()))
	// Output:
	// 503
	// 200
	// runs: 1
}

// Body is for programs that are not tests, such as one that sends a sample to a
// server under development.
func ExampleBody() {
	body, err := bridgetest.Body("user.deleted", map[string]any{"id": "user_1", "deleted": true})
	if err != nil {
		panic(err)
	}
	header, err := bridge.Sign(bridgetest.Secret, "msg_1", time.Now(), body)
	if err != nil {
		panic(err)
	}

	verifier, err := bridge.NewVerifier(0, bridgetest.Secret)
	if err != nil {
		panic(err)
	}
	fmt.Println(verifier.Verify(header, body))
	// Output: msg_1 <nil>
}

func ExampleSample() {
	user := bridgetest.Sample(clerk.UserCreated)
	user.PrimaryEmailAddressID = clerk.Null[string]() // what the test is about

	fmt.Println(user.FullName())
	fmt.Printf("%q\n", user.PrimaryEmail())
	// Output:
	// Mira Okafor
	// ""
}

// SampleData also serves event types that are known by name only.
func ExampleSampleData() {
	for _, name := range []string{"organization.deleted", "organization.renamed"} {
		data, ok := bridgetest.SampleData(name)
		fmt.Println(name, ok, len(data) > 0)
	}
	// Output:
	// organization.deleted true true
	// organization.renamed false false
}

// A mapping function is an ordinary function: call it.
func ExampleNewEvent() {
	knock := bridgetest.StartKnock() // bridgetest.NewKnock(t) in a test
	defer knock.Close()

	e := bridgetest.NewEvent(clerk.UserCreated, clerk.User{ID: "user_1", FirstName: clerk.Value("Ada")})
	err := bridge.SyncUser(context.Background(), e, actions.NewClient(knock.Transport()))

	stored, _ := knock.User("user_1")
	fmt.Println(stored["name"], err)
	// Output: Ada <nil>
}

func ExampleRun() {
	t := new(fakeT) // stands for the *testing.T of your test
	defer t.done()

	// The function under test.
	greet := func(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
		_, err := knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow:   "welcome",
			Recipients: []actions.Recipient{actions.UserID(e.Data.ID)},
		})
		return err
	}

	user := bridgetest.Sample(clerk.UserCreated)
	user.ID = "user_1"
	got := bridgetest.Run(t, greet, bridgetest.NewEvent(clerk.UserCreated, user))

	require.NoError(t, got.Err)
	for _, a := range got.Actions {
		fmt.Println(a)
	}
	// Output:
	// POST /v1/workflows/welcome/trigger {"recipients":["user_1"]}
}

// What is expected is written as the calls themselves, so it is checked by the
// compiler and holds for whatever Knock would be sent.
func ExampleWant() {
	t := new(fakeT) // stands for the *testing.T of your test
	defer t.done()

	deleted := bridgetest.Sample(clerk.UserDeleted)
	deleted.ID = "user_1"
	got := bridgetest.Run(t, bridge.RemoveUser, bridgetest.NewEvent(clerk.UserDeleted, deleted))

	want := bridgetest.Want(t, func(ctx context.Context, knock *actions.Client) error {
		return knock.DeleteUser(ctx, actions.DeleteUser{ID: "user_1"})
	})
	require.NoError(t, got.Err)
	fmt.Println(assert.Equal(t, want, got.Actions))
	// Output: true
}

// Whatever talks to Knock over HTTP can be pointed at the fake: knock.URL is
// its base URL.
func ExampleNewKnock() {
	t := new(fakeT) // stands for the *testing.T of your test
	defer t.done()

	knock := bridgetest.NewKnock(t) // closed when the test ends
	client := actions.NewClient(knock.Transport())

	require.NoError(t, client.SetTenant(t.Context(), actions.SetTenant{ID: "org_1", Name: "Acme"}))
	require.NoError(t, client.Subscribe(t.Context(), actions.Subscribe{
		Object:     actions.Tenant("org_1"),
		Recipients: []actions.Recipient{actions.IdentifyUser{ID: "user_1"}},
	}))
	_, err := client.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{
		Workflow:   "maintenance",
		Recipients: []actions.Recipient{actions.Tenant("org_1")},
	})
	require.NoError(t, err)

	for _, run := range knock.Runs() {
		fmt.Println(run.Workflow, "reached", run.Reached)
	}
	// Output: maintenance reached [user_1]
}

// A demonstration that needs no account.
func ExampleStartKnock() {
	knock := bridgetest.StartKnock()
	defer knock.Close()

	transport := &actions.HTTP{APIKey: "sk_test_any", BaseURL: knock.URL}
	defer transport.CloseIdleConnections()
	err := actions.NewClient(transport).IdentifyUser(context.Background(), actions.IdentifyUser{ID: "user_1"})

	fmt.Println(knock.Users(), err)
	// Output: [user_1] <nil>
}

// Knock is down for two requests, and says when to come back.
func ExampleKnock_Fail() {
	knock := bridgetest.StartKnock() // bridgetest.NewKnock(t) in a test
	defer knock.Close()
	knock.Fail(2, bridgetest.Fault{
		Method: http.MethodPut,
		Path:   "/v1/users/",
		Status: http.StatusServiceUnavailable,
		Header: http.Header{"Retry-After": {"30"}},
	})

	client := actions.NewClient(knock.Transport())
	for range 3 {
		err := client.IdentifyUser(context.Background(), actions.IdentifyUser{ID: "user_1"})
		if refused, ok := errors.AsType[*actions.Error](err); ok {
			fmt.Println(refused.Status, refused.RetryAfter)
			continue
		}
		fmt.Println(err)
	}
	// Output:
	// 503 30s
	// 503 30s
	// <nil>
}

// Ways for a request to go wrong. With Hang the client waits for its deadline.
func ExampleFault() {
	knock := bridgetest.StartKnock() // bridgetest.NewKnock(t) in a test
	defer knock.Close()
	client := actions.NewClient(knock.Transport())

	for name, fault := range map[string]bridgetest.Fault{
		"an answer that is not Knock's": {Status: http.StatusBadGateway, Body: "<html>Bad gateway</html>"},
		"a connection that is reset":    {Drop: true},
		"done, but the answer is lost":  {Applied: true, Drop: true},
	} {
		knock.Fail(1, fault)
		err := client.IdentifyUser(context.Background(), actions.IdentifyUser{ID: "user_1"})
		_, stored := knock.User("user_1")
		fmt.Printf("%s: failed %t, stored %t\n", name, err != nil, stored)
		knock.Reset()
	}
	// Unordered output:
	// an answer that is not Knock's: failed true, stored false
	// a connection that is reset: failed true, stored false
	// done, but the answer is lost: failed true, stored true
}

// Only these workflows exist, so a typo in a key fails the test.
func ExampleKnock_Configure() {
	knock := bridgetest.StartKnock() // bridgetest.NewKnock(t) in a test
	defer knock.Close()
	knock.Configure(func(o *bridgetest.KnockOptions) { o.Workflows = []string{"welcome"} })

	_, err := actions.NewClient(knock.Transport()).TriggerWorkflow(context.Background(), actions.TriggerWorkflow{
		Workflow:   "wellcome",
		Recipients: []actions.Recipient{actions.UserID("user_1")},
	})
	if refused, ok := errors.AsType[*actions.Error](err); ok {
		fmt.Println(refused.Status, refused.Code)
	}
	// Output: 404 workflow_missing
}
