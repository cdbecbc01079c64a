package actions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/clerkknock/bridge/actions"
)

// printing is a Transport that prints what it is given, for examples.
type printing struct{}

func (printing) Do(_ context.Context, r *actions.Request) (*actions.Response, error) {
	fmt.Println(r.Method, r.Path, string(r.Body))
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

func ExampleClient_TriggerWorkflow() {
	knock := actions.NewClient(printing{})
	run, err := knock.TriggerWorkflow(context.Background(), actions.TriggerWorkflow{
		Workflow:   "member-joined",
		Recipients: []actions.Recipient{actions.Tenant("org_1")}, // all who are subscribed to it
		Actor:      actions.UserID("user_1"),
		Tenant:     actions.TenantID("org_1"),
		Data:       map[string]any{"role": "org:admin"},
	})
	fmt.Println(run, err)
	// Output:
	// POST /v1/workflows/member-joined/trigger {"actor":"user_1","tenant":"org_1","data":{"role":"org:admin"},"recipients":[{"collection":"$tenants","id":"org_1"}]}
	// run_1 <nil>
}

func ExampleWithTriggerData() {
	knock := actions.NewClient(printing{})
	_, err := knock.TriggerWorkflow(context.Background(), actions.TriggerWorkflow{
		Workflow: "invoice",
		Recipients: []actions.Recipient{
			actions.WithTriggerData(actions.UserID("user_1"), map[string]any{"seats": 3}),
			actions.WithTriggerData(actions.IdentifyUser{ID: "user_2", Name: "Grace"}, map[string]any{"seats": 5}),
		},
		Data: map[string]any{"seats": 1},
	})
	fmt.Println(err)
	// Output:
	// POST /v1/workflows/invoice/trigger {"data":{"seats":1},"recipients":[{"id":"user_1","$trigger_data":{"seats":3}},{"name":"Grace","id":"user_2","$trigger_data":{"seats":5}}]}
	// <nil>
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
