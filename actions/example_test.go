package actions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/clerkknock/bridge/actions"
)

// printing is a Transport that prints what it is given, for examples.
type printing struct{}

func (printing) Do(_ context.Context, r *actions.Request) (*actions.Response, error) {
	line := r.Method + " " + r.Path
	if r.Body != nil {
		line += " " + string(r.Body)
	}
	fmt.Println(line)
	return &actions.Response{Status: http.StatusOK, Body: json.RawMessage(`{"workflow_run_id":"run_1"}`)}, nil
}

func ExampleNewClient() {
	// In a program: actions.NewClient(&actions.HTTP{APIKey: "sk_…"})
	knock := actions.NewClient(printing{})
	err := knock.IdentifyUser(context.Background(), actions.IdentifyUser{
		ID:         "user_1",
		Name:       "Ada Lovelace",
		Properties: map[string]any{"phone_number": nil, "plan": "pro"}, // nil clears
	})
	fmt.Println(err)
	// Output:
	// PUT /v1/users/user_1 {"phone_number":null,"plan":"pro","name":"Ada Lovelace"}
	// <nil>
}

// A script that may be started again: the same id and recipients give the same
// idempotency key, so within 24 hours Knock runs the workflow once.
func ExampleClient_ForDelivery() {
	report := func(ctx context.Context, s *actions.Step, do func(context.Context) error) error {
		err := do(ctx)
		fmt.Println("step:", s.Name)
		fmt.Println("key:", s.Request.IdempotencyKey)
		return err
	}
	knock := actions.NewClient(printing{}).ForDelivery(actions.Delivery{ID: "launch-2026-03", Run: report})
	_, err := knock.TriggerWorkflow(context.Background(), actions.TriggerWorkflow{
		Workflow:   "launch",
		Recipients: []actions.Recipient{actions.UserID("user_1")},
	})
	fmt.Println(err)
	// Output:
	// POST /v1/workflows/launch/trigger {"recipients":["user_1"]}
	// step: workflows.trigger:launch:user_1
	// key: launch-2026-03:workflows.trigger:launch:user_1
	// <nil>
}

// A side effect of one's own is a step like a call to Knock.
func ExampleClient_Step() {
	knock := actions.NewClient(printing{}) // in a mapping function: the one it is given
	err := knock.Step(context.Background(), "crm", func(context.Context) error {
		fmt.Println("the CRM knows user_1")
		return nil
	})
	fmt.Println(err)
	// Output:
	// the CRM knows user_1
	// <nil>
}

// A Runner that calls nothing is a dry run.
func ExampleRunner() {
	var planned []string
	plan := func(_ context.Context, s *actions.Step, _ func(context.Context) error) error {
		planned = append(planned, s.Kind+" "+s.Name)
		return nil
	}
	knock := actions.NewClient(printing{}).ForDelivery(actions.Delivery{ID: "msg_1", Run: plan})

	err := knock.DeleteUser(context.Background(), actions.DeleteUser{ID: "user_1"})
	fmt.Println(planned, err)
	// Output: [users_delete users.delete:user_1] <nil>
}

func ExampleHTTP() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "req_1")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"code":"invalid_params","message":"One or more parameters supplied were invalid."}`)
	}))
	defer server.Close()

	transport := &actions.HTTP{APIKey: "sk_test_1", BaseURL: server.URL} // leave BaseURL out for Knock itself
	defer transport.CloseIdleConnections()

	err := actions.NewClient(transport).SetTenant(context.Background(), actions.SetTenant{ID: "org_1", Name: "Acme"})
	if refused, ok := errors.AsType[*actions.Error](err); ok {
		fmt.Println(refused.Status, refused.Code, refused.RequestID)
	}
	// Output: 422 invalid_params req_1
}

// All problems are reported at once, before the first call.
func ExampleHTTP_Validate() {
	transport := &actions.HTTP{APIKey: "pk_test_1", BaseURL: "api.knock.app"}
	fmt.Println(transport.Validate())
	// Output:
	// actions.HTTP: BaseURL is not an absolute http or https URL
	// actions.HTTP: APIKey is a public key (pk_…); use the secret one (sk_…)
}

func ExampleFromEnv() {
	_ = os.Setenv("KNOCK_API_KEY", "sk_test_1") // stands for the program's environment
	_ = os.Setenv("KNOCK_BRANCH", "main")

	transport := actions.FromEnv(&actions.HTTP{Branch: "welcome-mails"}) // what is set stays
	if err := transport.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(transport.APIKey, transport.Branch)
	// Output: sk_test_1 welcome-mails
}

// Branch on what Knock documents; pass everything else on.
func ExampleError() {
	knock := actions.NewClient(answers(http.StatusUnprocessableEntity, nil, `{
		"code": "workflow_inactive",
		"type": "invalid_request_error",
		"message": "The workflow is not active.",
		"status": 422
	}`)) // a Transport with this answer
	_, err := knock.TriggerWorkflow(context.Background(), actions.TriggerWorkflow{
		Workflow:   "welcome",
		Recipients: []actions.Recipient{actions.UserID("user_1")},
	})

	refused, ok := errors.AsType[*actions.Error](err)
	switch {
	case ok && refused.Code == "workflow_inactive":
		fmt.Println("switched off for now")
	case ok && refused.RetryAfter > 0:
		fmt.Println("again in", refused.RetryAfter)
	default:
		fmt.Println(err) // nil, or one of the other errors
	}
	// Output: switched off for now
}

// Nothing was sent: the call can't succeed as it is.
func ExampleInvalidError() {
	knock := actions.NewClient(printing{})
	err := knock.IdentifyUser(context.Background(), actions.IdentifyUser{
		ID:         "user_1",
		Properties: map[string]any{"preferences": "none"}, // not a property to Knock
	})
	if invalid, ok := errors.AsType[*actions.InvalidError](err); ok {
		fmt.Println(invalid.Op)
		fmt.Println(invalid.Field)
		fmt.Println(invalid.Reason)
	}
	// Output:
	// users.identify
	// properties.preferences
	// is reserved by Knock
}

// No answer came; what Knock did is not known.
func ExampleSendError() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	knock := actions.NewClient(&actions.HTTP{APIKey: "sk_test_1"})

	err := knock.DeleteUser(ctx, actions.DeleteUser{ID: "user_1"})
	if failed, ok := errors.AsType[*actions.SendError](err); ok {
		fmt.Println(failed.Method, failed.Path, failed.Attempts)
	}
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// DELETE /v1/users/user_1 0
	// true
}

func ExampleParseRetryAfter() {
	now := time.Date(2026, time.March, 10, 8, 0, 0, 0, time.UTC)
	for _, value := range []string{"1.5", "Tue, 10 Mar 2026 08:01:00 GMT", "soon"} {
		fmt.Println(actions.ParseRetryAfter(http.Header{"Retry-After": {value}}, now))
	}
	// Output:
	// 1.5s
	// 1m0s
	// 0s
}
