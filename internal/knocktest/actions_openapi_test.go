package knocktest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
)

// keeping is a Transport that keeps the requests of package actions.
type keeping struct {
	mu       sync.Mutex
	requests []*actions.Request
}

func (k *keeping) Do(_ context.Context, r *actions.Request) (*actions.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.requests = append(k.requests, r)
	return &actions.Response{Status: http.StatusOK}, nil
}

type intent struct {
	name string
	call func(context.Context, *actions.Client) error
}

func trigger(t actions.TriggerWorkflow) func(context.Context, *actions.Client) error {
	t.Workflow = "welcome"
	if t.Recipients == nil {
		t.Recipients = []actions.Recipient{actions.UserID("u")}
	}
	return func(ctx context.Context, c *actions.Client) error {
		_, err := c.TriggerWorkflow(ctx, t)
		return err
	}
}

func identify(u actions.IdentifyUser) func(context.Context, *actions.Client) error {
	return func(ctx context.Context, c *actions.Client) error { return c.IdentifyUser(ctx, u) }
}

func setTenant(s actions.SetTenant) func(context.Context, *actions.Client) error {
	s.ID = "org_1"
	return func(ctx context.Context, c *actions.Client) error { return c.SetTenant(ctx, s) }
}

func setPreferences(owner actions.Reference, p actions.PreferenceSet) func(context.Context, *actions.Client) error {
	return func(ctx context.Context, c *actions.Client) error {
		return c.SetPreferences(ctx, actions.SetPreferences{Owner: owner, Preferences: p})
	}
}

func setChannelData(owner actions.Reference, data map[string]any) func(context.Context, *actions.Client) error {
	return func(ctx context.Context, c *actions.Client) error {
		return c.SetChannelData(ctx, actions.SetChannelData{Owner: owner, ChannelID: channel, Data: data})
	}
}

// intents is every operation of package actions, in every form it has.
func intents() []intent {
	conditions := map[string]any{"conditions": []any{map[string]any{"variable": "recipient.plan", "operator": "equal_to", "argument": "pro"}}}
	preferences := actions.PreferenceSet{
		Categories:           map[string]any{"a": true, "b": map[string]any{"channel_types": map[string]any{"email": false}}},
		Channels:             map[string]any{channel: false},
		ChannelTypes:         map[string]any{"email": true, "sms": conditions, "in_app_feed": true, "push": true, "chat": true, "http": true},
		Workflows:            map[string]any{"welcome": map[string]any{"channel_types": map[string]any{"sms": false}}},
		CommercialSubscribed: true,
		PersistenceStrategy:  actions.Merge,
	}
	user := actions.IdentifyUser{
		ID: "user_1", Name: "Åsa", Email: "asa@example.com", PhoneNumber: "+46701740605", Avatar: "https://x.y/z",
		Locale: "sv-SE", Timezone: "Europe/Stockholm", CreatedAt: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC),
		Properties:  map[string]any{"external_id": nil, "public_metadata": json.RawMessage(`{"plan":"pro","a":[1,null]}`), "n": 1.5, "ok": true},
		ChannelData: map[string]any{channel: map[string]any{"tokens": []string{"t"}}},
		Preferences: map[string]actions.PreferenceSet{"default": preferences, "org_1": {}},
	}
	cleared := actions.IdentifyUser{ID: "user_1", Properties: map[string]any{
		"name": nil, "email": nil, "phone_number": nil, "avatar": nil, "locale": nil, "timezone": nil, "created_at": nil,
	}}
	object := actions.SetObject{
		Collection: "teams", ID: "t", Name: "Red", Locale: "sv", Timezone: "UTC", CreatedAt: user.CreatedAt, Properties: map[string]any{"x": nil},
		ChannelData: map[string]any{channel: map[string]any{"connections": []any{map[string]any{"channel_id": "C1"}}}},
		Preferences: map[string]actions.PreferenceSet{"default": preferences},
	}
	branding := map[string]any{
		"logo_url": "https://x.y/l", "icon_url": nil, "primary_color": "#112233", "primary_color_contrast": "#fff", "dark_logo_url": nil,
		"dark_icon_url": nil, "dark_primary_color": "#000", "dark_primary_color_contrast": nil,
	}
	tenant := actions.SetTenant{
		ID: "org_1", Name: "Acme", Properties: map[string]any{"slug": "acme", "image_url": nil},
		ChannelData: map[string]any{channel: map[string]any{"token": map[string]any{"access_token": "x"}}},
		Settings:    &actions.TenantSettings{Branding: branding, PreferenceSet: &preferences},
	}
	everyone := []actions.Recipient{actions.UserID("u"), actions.Tenant("org_1"), actions.ObjectRef{Collection: "teams", ID: "t"}, user, cleared, object}
	withData := make([]actions.Recipient, len(everyone))
	for i, r := range everyone {
		withData[i] = actions.WithTriggerData(r, map[string]any{"a": nil, "b": 1})
	}
	references := []actions.Reference{actions.UserID("u"), actions.Tenant("org_1"), actions.ObjectRef{Collection: "teams", ID: "t"}}
	members := []actions.AudienceMember{{User: user}, {User: actions.IdentifyUser{ID: "v"}, Tenant: "org_1"}}

	return []intent{
		{"identify", identify(user)},
		{"identify, nothing", identify(actions.IdentifyUser{ID: "user_1"})},
		{"identify, cleared", identify(cleared)},
		{"identify, an odd id", identify(actions.IdentifyUser{ID: "a b?c%2Fü$"})},
		{"get user", func(ctx context.Context, c *actions.Client) error { _, err := c.GetUser(ctx, "user_1"); return err }},
		{"delete user", func(ctx context.Context, c *actions.Client) error {
			return c.DeleteUser(ctx, actions.DeleteUser{ID: "user_1"})
		}},
		{"merge users", func(ctx context.Context, c *actions.Client) error {
			return c.MergeUser(ctx, actions.MergeUser{ID: "user_1", FromID: "user_2"})
		}},
		{"set object", func(ctx context.Context, c *actions.Client) error { return c.SetObject(ctx, object) }},
		{"set object, cleared", func(ctx context.Context, c *actions.Client) error {
			return c.SetObject(ctx, actions.SetObject{Collection: "teams", ID: "t", Properties: map[string]any{"name": nil, "locale": nil, "timezone": nil}})
		}},
		{"delete object", func(ctx context.Context, c *actions.Client) error {
			return c.DeleteObject(ctx, actions.DeleteObject{Collection: "teams", ID: "t"})
		}},
		{"subscribe", func(ctx context.Context, c *actions.Client) error {
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.Tenant("org_1"), Recipients: everyone, Properties: map[string]any{"role": "admin", "x": nil}})
		}},
		{"subscribe, plain", func(ctx context.Context, c *actions.Client) error {
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.ObjectRef{Collection: "teams", ID: "t"}, Recipients: everyone[:1]})
		}},
		{"unsubscribe", func(ctx context.Context, c *actions.Client) error {
			return c.Unsubscribe(ctx, actions.Unsubscribe{Object: actions.Tenant("org_1"), Recipients: references})
		}},
		{"set tenant", setTenant(tenant)},
		{"set tenant, nothing", setTenant(actions.SetTenant{})},
		{"set tenant, empty settings", setTenant(actions.SetTenant{Settings: &actions.TenantSettings{}})},
		{"set tenant, cleared", setTenant(actions.SetTenant{
			Properties: map[string]any{"name": nil, "slug": nil}, Settings: &actions.TenantSettings{ClearPreferenceSet: true},
		})},
		{"delete tenant", func(ctx context.Context, c *actions.Client) error {
			return c.DeleteTenant(ctx, actions.DeleteTenant{ID: "org_1"})
		}},
		{"add members", func(ctx context.Context, c *actions.Client) error {
			return c.AddAudienceMember(ctx, actions.AddAudienceMember{Audience: "paid", Members: members})
		}},
		{"add members to a new audience", func(ctx context.Context, c *actions.Client) error {
			return c.AddAudienceMember(ctx, actions.AddAudienceMember{Audience: "paid", Members: members, CreateAudience: true})
		}},
		{"remove members", func(ctx context.Context, c *actions.Client) error {
			return c.RemoveAudienceMember(ctx, actions.RemoveAudienceMember{Audience: "paid", Members: members})
		}},
		{"trigger", trigger(actions.TriggerWorkflow{})},
		{"trigger, every recipient", trigger(actions.TriggerWorkflow{Recipients: everyone})},
		{"trigger, every recipient with data", trigger(actions.TriggerWorkflow{Recipients: withData})},
		{"trigger, everything", trigger(actions.TriggerWorkflow{
			Actor: actions.UserID("boss"), Tenant: actions.TenantID("org_1"), Data: map[string]any{"a": nil, "b": map[string]any{"c": []any{1, nil}}},
			CancellationKey: "key", Settings: &actions.TriggerSettings{SandboxMode: true, SkipDelay: true}, IdempotencyKey: "mine",
		})},
		{"trigger, inline actor and tenant", trigger(actions.TriggerWorkflow{Actor: user, Tenant: tenant, Settings: &actions.TriggerSettings{}, Data: map[string]any{}})},
		{"trigger, object as actor, cleared tenant", trigger(actions.TriggerWorkflow{
			Actor: object, Tenant: actions.SetTenant{ID: "org_1", Settings: &actions.TenantSettings{ClearPreferenceSet: true}},
		})},
		{"trigger, 1,001 recipients", trigger(actions.TriggerWorkflow{Recipients: slices.Repeat(everyone[:1], 1001)})},
		{"cancel", func(ctx context.Context, c *actions.Client) error {
			return c.CancelWorkflow(ctx, actions.CancelWorkflow{Workflow: "welcome", CancellationKey: "key"})
		}},
		{"cancel for some", func(ctx context.Context, c *actions.Client) error {
			return c.CancelWorkflow(ctx, actions.CancelWorkflow{Workflow: "welcome", CancellationKey: "key", Recipients: references})
		}},
		{"push tokens", setChannelData(actions.UserID("u"), map[string]any{"tokens": []string{"t"}})},
		{"Slack of a user", setChannelData(actions.UserID("u"), map[string]any{"connections": []any{map[string]any{"access_token": "x", "user_id": "U1"}}})},
		{"Slack of an object", setChannelData(actions.ObjectRef{Collection: "teams", ID: "t"}, map[string]any{"connections": []any{map[string]any{"channel_id": "C1"}}})},
		{"Slack of a tenant", setChannelData(actions.Tenant("org_1"), map[string]any{"token": map[string]any{"access_token": "x"}})},
		{"Teams of a tenant", setChannelData(actions.Tenant("org_1"), map[string]any{"ms_teams_tenant_id": "11111111-2222-4333-8444-555555555555"})},
		{"unset channel data", func(ctx context.Context, c *actions.Client) error {
			return c.UnsetChannelData(ctx, actions.UnsetChannelData{Owner: actions.UserID("u"), ChannelID: channel})
		}},
		{"unset channel data of a tenant", func(ctx context.Context, c *actions.Client) error {
			return c.UnsetChannelData(ctx, actions.UnsetChannelData{Owner: actions.Tenant("org_1"), ChannelID: channel})
		}},
		{"preferences", setPreferences(actions.UserID("u"), preferences)},
		{"preferences, nothing", setPreferences(actions.UserID("u"), actions.PreferenceSet{PersistenceStrategy: actions.Replace})},
		{"preferences, with conditions", setPreferences(actions.UserID("u"), actions.PreferenceSet{CommercialSubscribed: conditions})},
		{"preferences of an object", setPreferences(actions.ObjectRef{Collection: "teams", ID: "t"}, preferences)},
	}
}

// operationsOfActions is what package actions can do; a new one has to be added
// to the intents above.
var operationsOfActions = []string{
	"DELETE /v1/audiences/{key}/members",
	"DELETE /v1/objects/{collection}/{id}",
	"DELETE /v1/objects/{collection}/{object_id}/channel_data/{channel_id}",
	"DELETE /v1/objects/{collection}/{object_id}/subscriptions",
	"DELETE /v1/tenants/{id}",
	"DELETE /v1/users/{user_id}",
	"DELETE /v1/users/{user_id}/channel_data/{channel_id}",
	"GET /v1/users/{user_id}",
	"POST /v1/audiences/{key}/members",
	"POST /v1/objects/{collection}/{object_id}/subscriptions",
	"POST /v1/users/{user_id}/merge",
	"POST /v1/workflows/{key}/cancel",
	"POST /v1/workflows/{key}/trigger",
	"PUT /v1/objects/{collection}/{id}",
	"PUT /v1/objects/{collection}/{object_id}/channel_data/{channel_id}",
	"PUT /v1/objects/{collection}/{object_id}/preferences/{id}",
	"PUT /v1/tenants/{id}",
	"PUT /v1/users/{user_id}",
	"PUT /v1/users/{user_id}/channel_data/{channel_id}",
	"PUT /v1/users/{user_id}/preferences/{id}",
}

// TestActionsSendWhatIsDocumented holds every request that package actions can
// make against the document.
func TestActionsSendWhatIsDocumented(t *testing.T) {
	t.Parallel()
	spec := load(t)
	covered := make(map[string]bool)
	for _, i := range intents() {
		var kept keeping
		require.NoError(t, i.call(t.Context(), actions.NewClient(&kept)), i.name)
		require.NotEmpty(t, kept.requests, i.name)
		for _, r := range kept.requests {
			require.NoError(t, spec.ValidateRequest(r.Method, r.Path, r.Body), "%s: %.2000s", i.name, r.Body)
			name, err := spec.Operation(r.Method, r.Path)
			require.NoError(t, err)
			covered[name] = true
		}
	}
	for _, name := range operationsOfActions {
		assert.True(t, covered[name], name)
		delete(covered, name)
	}
	assert.Empty(t, covered)
}

// TestTheDocumentRefusesActions shows that the check above bites: these get
// through package actions, which does not know what a custom property or a
// channel's data may hold.
func TestTheDocumentRefusesActions(t *testing.T) {
	t.Parallel()
	spec := load(t)
	for _, i := range []intent{
		{"created_at as a number", identify(actions.IdentifyUser{ID: "u", Properties: map[string]any{"created_at": 1795166102123}})},
		{"email as an array", trigger(actions.TriggerWorkflow{Recipients: []actions.Recipient{actions.IdentifyUser{ID: "u", Properties: map[string]any{"email": []int{1}}}}})},
		{"branding as a text", setTenant(actions.SetTenant{Settings: &actions.TenantSettings{Branding: map[string]any{"primary_color": 7}}})},
		{"no channel data", setChannelData(actions.UserID("u"), nil)},
		{"a preference as a number", setPreferences(actions.UserID("u"), actions.PreferenceSet{ChannelTypes: map[string]any{"email": 1}})},
		{"another strategy", setPreferences(actions.UserID("u"), actions.PreferenceSet{PersistenceStrategy: "append"})},
	} {
		var kept keeping
		require.NoError(t, i.call(t.Context(), actions.NewClient(&kept)), i.name)
		for _, r := range kept.requests {
			assert.Error(t, spec.ValidateRequest(r.Method, r.Path, r.Body), "%s: %s", i.name, r.Body)
		}
	}
}
