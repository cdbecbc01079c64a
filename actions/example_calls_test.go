package actions_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/clerkknock/bridge/actions"
)

// The examples in this file print the request that Knock would get.

func ExampleClient_IdentifyUser() {
	knock := actions.NewClient(printing{})
	err := knock.IdentifyUser(context.Background(), actions.IdentifyUser{
		ID:        "user_1",
		Name:      "Ada Lovelace",
		Email:     "ada@example.com",
		CreatedAt: time.Date(2026, time.March, 10, 8, 0, 0, 0, time.UTC),
		Properties: map[string]any{
			"public_metadata": map[string]any{"plan": "pro"},
			"phone_number":    nil, // clears
		},
	})
	fmt.Println(err)
	// Output:
	// PUT /v1/users/user_1 {"phone_number":null,"public_metadata":{"plan":"pro"},"name":"Ada Lovelace","email":"ada@example.com","created_at":"2026-03-10T08:00:00.000Z"}
	// <nil>
}

func ExampleClient_GetUser() {
	knock := actions.NewClient(answers(http.StatusOK, nil, `{"id":"user_1","name":"Ada Lovelace","plan":"pro"}`)) // a Transport with this answer
	user, err := knock.GetUser(context.Background(), "user_1")
	if refused, ok := errors.AsType[*actions.Error](err); ok && refused.Status == http.StatusNotFound {
		fmt.Println("Knock does not know the user")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(user.Name)
	fmt.Println(string(user.Raw)) // custom properties included
	// Output:
	// Ada Lovelace
	// {"id":"user_1","name":"Ada Lovelace","plan":"pro"}
}

// A user that Knock does not have is as good as deleted.
func ExampleClient_DeleteUser() {
	knock := actions.NewClient(answers(http.StatusNotFound, nil, `{"code":"resource_missing"}`)) // a Transport with this answer
	err := knock.DeleteUser(context.Background(), actions.DeleteUser{ID: "user_1"})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleClient_MergeUser() {
	knock := actions.NewClient(printing{})
	err := knock.MergeUser(context.Background(), actions.MergeUser{ID: "user_1", FromID: "visitor_7"})
	fmt.Println(err)
	// Output:
	// POST /v1/users/user_1/merge {"from_user_id":"visitor_7"}
	// <nil>
}

func ExampleClient_SetTenant() {
	knock := actions.NewClient(printing{})
	err := knock.SetTenant(context.Background(), actions.SetTenant{
		ID:         "org_1",
		Name:       "Acme",
		Properties: map[string]any{"slug": "acme"},
		Settings: &actions.TenantSettings{
			Branding: map[string]any{"primary_color": "#334455"},
		},
	})
	fmt.Println(err)
	// Output:
	// PUT /v1/tenants/org_1 {"slug":"acme","name":"Acme","settings":{"branding":{"primary_color":"#334455"}}}
	// <nil>
}

func ExampleClient_DeleteTenant() {
	knock := actions.NewClient(printing{})
	err := knock.DeleteTenant(context.Background(), actions.DeleteTenant{ID: "org_1"})
	fmt.Println(err)
	// Output:
	// DELETE /v1/tenants/org_1
	// <nil>
}

func ExampleClient_SetObject() {
	knock := actions.NewClient(printing{})
	err := knock.SetObject(context.Background(), actions.SetObject{
		Collection: "projects",
		ID:         "42",
		Name:       "Analytical Engine",
		Properties: map[string]any{"stage": "beta"},
	})
	fmt.Println(err)
	// Output:
	// PUT /v1/objects/projects/42 {"stage":"beta","name":"Analytical Engine"}
	// <nil>
}

func ExampleClient_DeleteObject() {
	knock := actions.NewClient(printing{})
	err := knock.DeleteObject(context.Background(), actions.DeleteObject{Collection: "projects", ID: "42"})
	fmt.Println(err)
	// Output:
	// DELETE /v1/objects/projects/42
	// <nil>
}

// What is sent to the tenant from now on reaches both.
func ExampleClient_Subscribe() {
	knock := actions.NewClient(printing{})
	err := knock.Subscribe(context.Background(), actions.Subscribe{
		Object: actions.Tenant("org_1"),
		Recipients: []actions.Recipient{
			actions.UserID("user_1"),
			actions.IdentifyUser{ID: "user_2", Name: "Grace Hopper"}, // identified on the way
		},
		Properties: map[string]any{"role": "org:member"},
	})
	fmt.Println(err)
	// Output:
	// POST /v1/objects/$tenants/org_1/subscriptions {"recipients":["user_1",{"name":"Grace Hopper","id":"user_2"}],"properties":{"role":"org:member"}}
	// <nil>
}

func ExampleClient_Unsubscribe() {
	knock := actions.NewClient(printing{})
	err := knock.Unsubscribe(context.Background(), actions.Unsubscribe{
		Object:     actions.ObjectRef{Collection: "projects", ID: "42"},
		Recipients: []actions.Reference{actions.UserID("user_1")},
	})
	fmt.Println(err)
	// Output:
	// DELETE /v1/objects/projects/42/subscriptions {"recipients":["user_1"]}
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

// A reminder that waits in a delay step is called off once the invitation has
// been accepted.
func ExampleClient_CancelWorkflow() {
	knock := actions.NewClient(printing{})
	_, err := knock.TriggerWorkflow(context.Background(), actions.TriggerWorkflow{
		Workflow:        "remind",
		Recipients:      []actions.Recipient{actions.UserID("user_1")},
		CancellationKey: "orginv_1",
	})
	fmt.Println(err)

	err = knock.CancelWorkflow(context.Background(), actions.CancelWorkflow{
		Workflow:        "remind",
		CancellationKey: "orginv_1",
	})
	fmt.Println(err)
	// Output:
	// POST /v1/workflows/remind/trigger {"cancellation_key":"orginv_1","recipients":["user_1"]}
	// <nil>
	// POST /v1/workflows/remind/cancel {"cancellation_key":"orginv_1"}
	// <nil>
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

func ExampleClient_AddAudienceMember() {
	knock := actions.NewClient(printing{})
	err := knock.AddAudienceMember(context.Background(), actions.AddAudienceMember{
		Audience:       "beta",
		CreateAudience: true,
		Members: []actions.AudienceMember{
			{User: actions.IdentifyUser{ID: "user_1"}},
			{User: actions.IdentifyUser{ID: "user_2"}, Tenant: "org_1"}, // within the tenant only
		},
	})
	fmt.Println(err)
	// Output:
	// POST /v1/audiences/beta/members?create_audience=true {"members":[{"user":{"id":"user_1"}},{"user":{"id":"user_2"},"tenant":"org_1"}]}
	// <nil>
}

func ExampleClient_RemoveAudienceMember() {
	knock := actions.NewClient(printing{})
	err := knock.RemoveAudienceMember(context.Background(), actions.RemoveAudienceMember{
		Audience: "beta",
		Members:  []actions.AudienceMember{{User: actions.IdentifyUser{ID: "user_1"}}},
	})
	fmt.Println(err)
	// Output:
	// DELETE /v1/audiences/beta/members {"members":[{"user":{"id":"user_1"}}]}
	// <nil>
}

// pushChannel is the id that Knock's dashboard shows for a channel.
const pushChannel = "5d9a1f0e-3c47-4f7b-8a5d-0c6e2b91f4aa"

func ExampleClient_SetChannelData() {
	knock := actions.NewClient(printing{})
	err := knock.SetChannelData(context.Background(), actions.SetChannelData{
		Owner:     actions.UserID("user_1"),
		ChannelID: pushChannel,
		Data:      map[string]any{"tokens": []string{"device-token"}},
	})
	fmt.Println(err)
	// Output:
	// PUT /v1/users/user_1/channel_data/5d9a1f0e-3c47-4f7b-8a5d-0c6e2b91f4aa {"data":{"tokens":["device-token"]}}
	// <nil>
}

func ExampleClient_UnsetChannelData() {
	knock := actions.NewClient(printing{})
	err := knock.UnsetChannelData(context.Background(), actions.UnsetChannelData{
		Owner:     actions.Tenant("org_1"),
		ChannelID: pushChannel,
	})
	fmt.Println(err)
	// Output:
	// DELETE /v1/objects/$tenants/org_1/channel_data/5d9a1f0e-3c47-4f7b-8a5d-0c6e2b91f4aa
	// <nil>
}

// One choice is changed and the others are kept.
func ExampleClient_SetPreferences() {
	knock := actions.NewClient(printing{})
	err := knock.SetPreferences(context.Background(), actions.SetPreferences{
		Owner: actions.UserID("user_1"),
		Preferences: actions.PreferenceSet{
			Workflows:           map[string]any{"digest": false},
			PersistenceStrategy: actions.Merge,
		},
	})
	fmt.Println(err)
	// Output:
	// PUT /v1/users/user_1/preferences/default {"workflows":{"digest":false},"__persistence_strategy__":"merge"}
	// <nil>
}
