package actions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
)

const channelID = "8209f26c-62a5-461d-95e2-a5716a26e652"

// calls is every operation with the exact request and the step's name.
var calls = []struct {
	name   string
	call   func(context.Context, *actions.Client) error
	method string
	path   string
	body   string
	step   string
	kind   string
}{
	{
		"identify", func(ctx context.Context, c *actions.Client) error {
			return c.IdentifyUser(ctx, actions.IdentifyUser{
				ID: "user_1", Name: "Ada <Lovelace>", Email: "ada@example.com", PhoneNumber: "+46701740605",
				Avatar: "https://x.y/a?b&c", Locale: "sv-SE", Timezone: "Europe/Stockholm",
				CreatedAt: time.Date(2026, 11, 21, 9, 0, 0, 123456789, time.FixedZone("", 3600)),
				Properties: map[string]any{
					"z": nil, "a": json.RawMessage(`{"b":[1,null]}`), "n": 7, "f": 1.5, "ok": true, "s": "\"\\\n\u2028ü",
					"m": map[string]any{"x": nil, "html": "<&>"}, "p": (*string)(nil),
				},
				ChannelData: map[string]any{channelID: map[string]any{"tokens": []string{"t"}}},
				Preferences: map[string]actions.PreferenceSet{"default": {ChannelTypes: map[string]any{"email": true}}},
			})
		},
		"PUT", "/v1/users/user_1",
		`{"a":{"b":[1,null]},"f":1.5,"m":{"html":"<&>","x":null},"n":7,"ok":true,"p":null,"s":"\"\\\n\u2028ü","z":null,` +
			`"name":"Ada <Lovelace>","email":"ada@example.com","phone_number":"+46701740605","avatar":"https://x.y/a?b&c",` +
			`"locale":"sv-SE","timezone":"Europe/Stockholm","created_at":"2026-11-21T08:00:00.123Z",` +
			`"channel_data":{"` + channelID + `":{"tokens":["t"]}},"preferences":{"default":{"channel_types":{"email":true}}}}`,
		"users.identify:user_1", "users_identify",
	},
	{
		"identify, nothing but an id", func(ctx context.Context, c *actions.Client) error {
			return c.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1"})
		}, "PUT", "/v1/users/user_1", `{}`, "users.identify:user_1", "users_identify",
	},
	{
		"identify, members cleared", func(ctx context.Context, c *actions.Client) error {
			return c.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Properties: map[string]any{"name": nil, "email": nil, "created_at": nil}})
		}, "PUT", "/v1/users/user_1", `{"created_at":null,"email":null,"name":null}`, "users.identify:user_1", "users_identify",
	},
	{
		"get user", func(ctx context.Context, c *actions.Client) error {
			_, err := c.GetUser(ctx, "a b")
			return err
		}, "GET", "/v1/users/a%20b", "", "users.get:a b", "users_get",
	},
	{
		"delete user", func(ctx context.Context, c *actions.Client) error {
			return c.DeleteUser(ctx, actions.DeleteUser{ID: "user_1"})
		}, "DELETE", "/v1/users/user_1", "", "users.delete:user_1", "users_delete",
	},
	{
		"merge users", func(ctx context.Context, c *actions.Client) error {
			return c.MergeUser(ctx, actions.MergeUser{ID: "user_1", FromID: "user_2"})
		}, "POST", "/v1/users/user_1/merge", `{"from_user_id":"user_2"}`, "users.merge:user_1:user_2", "users_merge",
	},
	{
		"set object", func(ctx context.Context, c *actions.Client) error {
			return c.SetObject(ctx, actions.SetObject{
				Collection: "teams", ID: "t1", Name: "Red", Locale: "en", Timezone: "UTC", CreatedAt: time.Unix(0, 0),
				Properties: map[string]any{"x": nil}, ChannelData: map[string]any{channelID: nil},
				Preferences: map[string]actions.PreferenceSet{"default": {}},
			})
		},
		"PUT", "/v1/objects/teams/t1",
		`{"x":null,"name":"Red","locale":"en","timezone":"UTC","created_at":"1970-01-01T00:00:00.000Z",` +
			`"channel_data":{"` + channelID + `":null},"preferences":{"default":{}}}`,
		"objects.set:teams/t1", "objects_set",
	},
	{
		"delete object", func(ctx context.Context, c *actions.Client) error {
			return c.DeleteObject(ctx, actions.DeleteObject{Collection: "my teams", ID: "t1"})
		}, "DELETE", "/v1/objects/my%20teams/t1", "", "objects.delete:my teams/t1", "objects_delete",
	},
	{
		"subscribe", func(ctx context.Context, c *actions.Client) error {
			return c.Subscribe(ctx, actions.Subscribe{
				Object: actions.Tenant("org_1"),
				Recipients: []actions.Recipient{
					actions.UserID("u"), actions.ObjectRef{Collection: "teams", ID: "t"}, actions.IdentifyUser{ID: "v", Name: "V"},
					actions.SetObject{Collection: "teams", ID: "s", Name: "S"},
				},
				Properties: map[string]any{"role": "admin", "role_name": nil},
			})
		},
		"POST", "/v1/objects/$tenants/org_1/subscriptions",
		`{"recipients":["u",{"collection":"teams","id":"t"},{"name":"V","id":"v"},{"name":"S","collection":"teams","id":"s"}],` +
			`"properties":{"role":"admin","role_name":null}}`,
		"objects.subscribe:$tenants/org_1:u,teams/t,v,teams/s", "objects_subscribe",
	},
	{
		"unsubscribe", func(ctx context.Context, c *actions.Client) error {
			return c.Unsubscribe(ctx, actions.Unsubscribe{
				Object: actions.Tenant("org_1"), Recipients: []actions.Reference{actions.UserID("u"), actions.Tenant("org_2")},
			})
		},
		"DELETE", "/v1/objects/$tenants/org_1/subscriptions", `{"recipients":["u",{"collection":"$tenants","id":"org_2"}]}`,
		"objects.unsubscribe:$tenants/org_1:u,$tenants/org_2", "objects_unsubscribe",
	},
	{
		"set tenant", func(ctx context.Context, c *actions.Client) error {
			return c.SetTenant(ctx, actions.SetTenant{
				ID: "org_1", Name: "Acme", Properties: map[string]any{"slug": nil}, ChannelData: map[string]any{},
				Settings: &actions.TenantSettings{
					Branding:      map[string]any{"primary_color": "#111", "icon_url": nil},
					PreferenceSet: &actions.PreferenceSet{PersistenceStrategy: actions.Replace, CommercialSubscribed: false},
				},
			})
		},
		"PUT", "/v1/tenants/org_1",
		`{"slug":null,"name":"Acme","channel_data":{},"settings":{"branding":{"icon_url":null,"primary_color":"#111"},` +
			`"preference_set":{"commercial_subscribed":false,"__persistence_strategy__":"replace"}}}`,
		"tenants.set:org_1", "tenants_set",
	},
	{
		"set tenant, preferences cleared", func(ctx context.Context, c *actions.Client) error {
			return c.SetTenant(ctx, actions.SetTenant{ID: "org_1", Settings: &actions.TenantSettings{ClearPreferenceSet: true}})
		}, "PUT", "/v1/tenants/org_1", `{"settings":{"preference_set":null}}`, "tenants.set:org_1", "tenants_set",
	},
	{
		"delete tenant", func(ctx context.Context, c *actions.Client) error {
			return c.DeleteTenant(ctx, actions.DeleteTenant{ID: "org_1"})
		}, "DELETE", "/v1/tenants/org_1", "", "tenants.delete:org_1", "tenants_delete",
	},
	{
		"add audience member", func(ctx context.Context, c *actions.Client) error {
			return c.AddAudienceMember(ctx, actions.AddAudienceMember{
				Audience: "paid", CreateAudience: true,
				Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "u", Name: "U"}}, {User: actions.IdentifyUser{ID: "v"}, Tenant: "org_1"}},
			})
		},
		"POST", "/v1/audiences/paid/members?create_audience=true", `{"members":[{"user":{"name":"U","id":"u"}},{"user":{"id":"v"},"tenant":"org_1"}]}`,
		"audiences.add_member:paid:u,v@org_1", "audiences_add_member",
	},
	{
		"remove audience member", func(ctx context.Context, c *actions.Client) error {
			return c.RemoveAudienceMember(ctx, actions.RemoveAudienceMember{
				Audience: "paid", Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "u", Name: "U"}, Tenant: "org_1"}},
			})
		},
		"DELETE", "/v1/audiences/paid/members", `{"members":[{"user":{"id":"u"},"tenant":"org_1"}]}`,
		"audiences.remove_member:paid:u@org_1", "audiences_remove_member",
	},
	{
		"trigger", func(ctx context.Context, c *actions.Client) error {
			id, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{
				Workflow: "welcome",
				Recipients: []actions.Recipient{
					actions.UserID("u"), actions.Tenant("org_1"),
					actions.WithTriggerData(actions.UserID("v"), map[string]any{"n": nil}),
					actions.WithTriggerData(actions.IdentifyUser{ID: "w", Name: "W"}, map[string]any{"n": 1}),
					actions.WithTriggerData(actions.Tenant("org_2"), map[string]any{"n": 2}),
					actions.WithTriggerData(actions.WithTriggerData(actions.UserID("x"), map[string]any{"n": 3}), nil),
				},
				Actor: actions.IdentifyUser{ID: "boss"}, Tenant: actions.SetTenant{ID: "org_1", Name: "Acme"},
				Data: map[string]any{"b": nil, "a": "<x>"}, CancellationKey: "c1",
				Settings: &actions.TriggerSettings{SkipDelay: true},
			})
			if err == nil && id != "run_1" {
				return errors.New("run id " + id)
			}
			return err
		},
		"POST", "/v1/workflows/welcome/trigger",
		`{"actor":{"id":"boss"},"tenant":{"name":"Acme","id":"org_1"},"data":{"a":"<x>","b":null},"cancellation_key":"c1",` +
			`"settings":{"sandbox_mode":false,"skip_delay":true},"recipients":["u",{"collection":"$tenants","id":"org_1"},{"id":"v","$trigger_data":{"n":null}},` +
			`{"name":"W","id":"w","$trigger_data":{"n":1}},{"collection":"$tenants","id":"org_2","$trigger_data":{"n":2}},{"id":"x"}]}`,
		"workflows.trigger:welcome:u,$tenants/org_1,v,w,$tenants/org_2,x", "workflows_trigger",
	},
	{
		"cancel", func(ctx context.Context, c *actions.Client) error {
			return c.CancelWorkflow(ctx, actions.CancelWorkflow{Workflow: "welcome", CancellationKey: "c1"})
		}, "POST", "/v1/workflows/welcome/cancel", `{"cancellation_key":"c1"}`, "workflows.cancel:welcome:c1", "workflows_cancel",
	},
	{
		"cancel for some", func(ctx context.Context, c *actions.Client) error {
			return c.CancelWorkflow(ctx, actions.CancelWorkflow{
				Workflow: "welcome", CancellationKey: "c1", Recipients: []actions.Reference{actions.UserID("u"), actions.Tenant("o")},
			})
		},
		"POST", "/v1/workflows/welcome/cancel", `{"cancellation_key":"c1","recipients":["u",{"collection":"$tenants","id":"o"}]}`,
		"workflows.cancel:welcome:c1:u,$tenants/o", "workflows_cancel",
	},
	{
		"set channel data", func(ctx context.Context, c *actions.Client) error {
			return c.SetChannelData(ctx, actions.SetChannelData{
				Owner: actions.Tenant("org_1"), ChannelID: channelID, Data: map[string]any{"token": map[string]any{"access_token": "x"}},
			})
		},
		"PUT", "/v1/objects/$tenants/org_1/channel_data/" + channelID, `{"data":{"token":{"access_token":"x"}}}`,
		"channel_data.set:$tenants/org_1:" + channelID, "channel_data_set",
	},
	{
		"unset channel data", func(ctx context.Context, c *actions.Client) error {
			return c.UnsetChannelData(ctx, actions.UnsetChannelData{Owner: actions.UserID("u"), ChannelID: channelID})
		}, "DELETE", "/v1/users/u/channel_data/" + channelID, "", "channel_data.unset:u:" + channelID, "channel_data_unset",
	},
	{
		"set preferences", func(ctx context.Context, c *actions.Client) error {
			return c.SetPreferences(ctx, actions.SetPreferences{
				Owner: actions.UserID("u"), Preferences: actions.PreferenceSet{
					Categories: map[string]any{"a": true}, Channels: map[string]any{channelID: false},
					Workflows: map[string]any{"w": nil}, PersistenceStrategy: actions.Merge,
				},
			})
		},
		"PUT", "/v1/users/u/preferences/default",
		`{"categories":{"a":true},"channels":{"` + channelID + `":false},"workflows":{"w":null},"__persistence_strategy__":"merge"}`,
		"preferences.set:u:default", "preferences_set",
	},
	{
		"set preferences of an object in a tenant", func(ctx context.Context, c *actions.Client) error {
			return c.SetPreferences(ctx, actions.SetPreferences{Owner: actions.ObjectRef{Collection: "teams", ID: "t"}, ID: "org_1"})
		}, "PUT", "/v1/objects/teams/t/preferences/org_1", `{}`, "preferences.set:teams/t:org_1", "preferences_set",
	},
}

func TestRequests(t *testing.T) {
	t.Parallel()
	for _, tc := range calls {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var knock recorder
			var log steps
			client := actions.NewClient(&knock)
			require.NoError(t, tc.call(t.Context(), client))
			require.NoError(t, tc.call(t.Context(), client.ForDelivery(actions.Delivery{ID: "msg_1", Run: log.run})))
			sent := knock.sent()
			require.Len(t, sent, 2)
			for _, r := range sent {
				assert.Equal(t, tc.method, r.Method)
				assert.Equal(t, tc.path, r.Path)
				assert.Equal(t, tc.body, string(r.Body))
				if tc.body != "" {
					assert.True(t, json.Valid(r.Body))
				}
			}
			require.Len(t, log.list, 1)
			s := log.list[0]
			assert.Equal(t, tc.step, s.Name)
			assert.Equal(t, tc.kind, s.Kind)
			assert.Equal(t, http.StatusOK, s.Status)
			assert.Equal(t, 1, s.Attempts)
			if s.Kind == "workflows_trigger" {
				assert.Equal(t, "msg_1:"+tc.step, sent[1].IdempotencyKey)
				assert.Regexp(t, `^clerkknock-\w{26}$`, sent[0].IdempotencyKey)
			} else {
				assert.Empty(t, sent[0].IdempotencyKey)
				assert.Empty(t, sent[1].IdempotencyKey)
			}
		})
	}
}

// What is not an id, and must not reach a path.
var badIDs = []string{
	"", ".", "..", "a/b", "../tenants/x", "a#b", "\x00", "a\nb", "a\x7f", "a\u0085b", "\xff\xfe", "a\xc3", strings.Repeat("ü", 257),
}

func TestRefusesIDs(t *testing.T) {
	t.Parallel()
	user := actions.UserID("u")
	for name, call := range map[string]func(context.Context, *actions.Client, string) error{
		"identify": func(ctx context.Context, c *actions.Client, id string) error {
			return c.IdentifyUser(ctx, actions.IdentifyUser{ID: id})
		},
		"get": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.GetUser(ctx, id)
			return err
		},
		"delete user": func(ctx context.Context, c *actions.Client, id string) error {
			return c.DeleteUser(ctx, actions.DeleteUser{ID: id})
		},
		"merge": func(ctx context.Context, c *actions.Client, id string) error {
			return c.MergeUser(ctx, actions.MergeUser{ID: id, FromID: "u"})
		},
		"merge from": func(ctx context.Context, c *actions.Client, id string) error {
			return c.MergeUser(ctx, actions.MergeUser{ID: "u", FromID: id})
		},
		"collection": func(ctx context.Context, c *actions.Client, id string) error {
			return c.SetObject(ctx, actions.SetObject{Collection: id, ID: "x"})
		},
		"object": func(ctx context.Context, c *actions.Client, id string) error {
			return c.SetObject(ctx, actions.SetObject{Collection: "x", ID: id})
		},
		"delete object": func(ctx context.Context, c *actions.Client, id string) error {
			return c.DeleteObject(ctx, actions.DeleteObject{Collection: "x", ID: id})
		},
		"tenant": func(ctx context.Context, c *actions.Client, id string) error {
			return c.SetTenant(ctx, actions.SetTenant{ID: id})
		},
		"delete tenant": func(ctx context.Context, c *actions.Client, id string) error {
			return c.DeleteTenant(ctx, actions.DeleteTenant{ID: id})
		},
		"subscribe to": func(ctx context.Context, c *actions.Client, id string) error {
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.Tenant(id), Recipients: []actions.Recipient{user}})
		},
		"subscriber": func(ctx context.Context, c *actions.Client, id string) error {
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.Tenant("o"), Recipients: []actions.Recipient{user, actions.UserID(id)}})
		},
		"unsubscribe": func(ctx context.Context, c *actions.Client, id string) error {
			return c.Unsubscribe(ctx, actions.Unsubscribe{Object: actions.Tenant("o"), Recipients: []actions.Reference{actions.Tenant(id)}})
		},
		"workflow": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: id, Recipients: []actions.Recipient{user}})
			return err
		},
		"inline user": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.IdentifyUser{ID: id}}})
			return err
		},
		"inline object": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{
				actions.WithTriggerData(actions.SetObject{Collection: "x", ID: id}, map[string]any{}),
			}})
			return err
		},
		"user with data": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{
				actions.WithTriggerData(actions.UserID(id), map[string]any{}),
			}})
			return err
		},
		"actor": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{user}, Actor: actions.UserID(id)})
			return err
		},
		"in tenant": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{user}, Tenant: actions.TenantID(id)})
			return err
		},
		"inline tenant": func(ctx context.Context, c *actions.Client, id string) error {
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{user}, Tenant: actions.SetTenant{ID: id}})
			return err
		},
		"cancel": func(ctx context.Context, c *actions.Client, id string) error {
			return c.CancelWorkflow(ctx, actions.CancelWorkflow{Workflow: id, CancellationKey: "k"})
		},
		"audience": func(ctx context.Context, c *actions.Client, id string) error {
			return c.AddAudienceMember(ctx, actions.AddAudienceMember{Audience: id, Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "u"}}}})
		},
		"member": func(ctx context.Context, c *actions.Client, id string) error {
			return c.RemoveAudienceMember(ctx, actions.RemoveAudienceMember{Audience: "a", Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: id}}}})
		},
		"channel": func(ctx context.Context, c *actions.Client, id string) error {
			return c.SetChannelData(ctx, actions.SetChannelData{Owner: user, ChannelID: id})
		},
		"channel owner": func(ctx context.Context, c *actions.Client, id string) error {
			return c.UnsetChannelData(ctx, actions.UnsetChannelData{Owner: actions.Tenant(id), ChannelID: "c"})
		},
		"preferences owner": func(ctx context.Context, c *actions.Client, id string) error {
			return c.SetPreferences(ctx, actions.SetPreferences{Owner: actions.UserID(id)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var knock recorder
			for _, id := range badIDs {
				require.ErrorAs(t, call(t.Context(), actions.NewClient(&knock), id), new(*actions.InvalidError))
			}
			assert.Empty(t, knock.sent())
			for _, id := range []string{"a..b", "...", "a b", "%2F", "a?b", "ü😀", strings.Repeat("ü", 256), "$tenants", `a"b\`} {
				require.NoError(t, call(t.Context(), actions.NewClient(&knock), id), id)
			}
			for _, r := range knock.sent() {
				if r.Body != nil {
					assert.True(t, json.Valid(r.Body), "%s", r.Body)
				}
			}
		})
	}
}

// Whatever a text holds, the body is the JSON that encoding/json would write.
func TestTexts(t *testing.T) {
	t.Parallel()
	texts := []string{"ü", "\u2028", "\xff", "a\xc3", "<&>", "😀", "\x00\x1f", strings.Repeat("x", 1000)}
	for c := range rune(0x100) {
		texts = append(texts, string(c), "a"+string(c)+"b", string([]byte{byte(c)}))
	}
	for _, text := range texts {
		properties := map[string]any{"value": text, "raw": json.RawMessage("[1, 2]"), "none": json.RawMessage(nil), "x" + text: -7}
		var knock recorder
		require.NoError(t, actions.NewClient(&knock).IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u", Properties: properties}))
		want, err := json.Marshal(properties)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(knock.sent()[0].Body), "%q", text)
	}
}

func TestRefusesArguments(t *testing.T) {
	t.Parallel()
	user := []actions.Recipient{actions.UserID("u")}
	identify := func(u actions.IdentifyUser) func(context.Context, *actions.Client) error {
		u.ID = "u"
		return func(ctx context.Context, c *actions.Client) error { return c.IdentifyUser(ctx, u) }
	}
	trigger := func(w actions.TriggerWorkflow) func(context.Context, *actions.Client) error {
		w.Workflow = "w"
		return func(ctx context.Context, c *actions.Client) error { _, err := c.TriggerWorkflow(ctx, w); return err }
	}
	tenant := func(s actions.SetTenant) func(context.Context, *actions.Client) error {
		s.ID = "o"
		return func(ctx context.Context, c *actions.Client) error { return c.SetTenant(ctx, s) }
	}
	tests := map[string]func(context.Context, *actions.Client) error{
		"field and property":      identify(actions.IdentifyUser{Name: "A", Properties: map[string]any{"name": nil}}),
		"created_at twice":        identify(actions.IdentifyUser{CreatedAt: time.Now(), Properties: map[string]any{"created_at": nil}}),
		"properties too large":    identify(actions.IdentifyUser{Properties: map[string]any{"a": strings.Repeat("x", 256<<10)}}),
		"not JSON":                identify(actions.IdentifyUser{Properties: map[string]any{"a": make(chan int)}}),
		"not a number":            identify(actions.IdentifyUser{Properties: map[string]any{"a": math.NaN()}}),
		"broken raw JSON":         identify(actions.IdentifyUser{Properties: map[string]any{"a": json.RawMessage(`{"x":1},"id":"other"`)}}),
		"empty raw JSON":          identify(actions.IdentifyUser{Properties: map[string]any{"a": json.RawMessage{}}}),
		"settings as a property":  tenant(actions.SetTenant{Properties: map[string]any{"settings": nil}}),
		"set and cleared":         tenant(actions.SetTenant{Settings: &actions.TenantSettings{ClearPreferenceSet: true, PreferenceSet: &actions.PreferenceSet{}}}),
		"no recipients":           trigger(actions.TriggerWorkflow{}),
		"nil recipient":           trigger(actions.TriggerWorkflow{Recipients: []actions.Recipient{nil}}),
		"nil with data":           trigger(actions.TriggerWorkflow{Recipients: []actions.Recipient{actions.WithTriggerData(nil, nil)}}),
		"actor with data":         trigger(actions.TriggerWorkflow{Recipients: user, Actor: actions.WithTriggerData(user[0], nil)}),
		"data too large":          trigger(actions.TriggerWorkflow{Recipients: user, Data: map[string]any{"a": strings.Repeat("x", 10<<20)}}),
		"data not JSON":           trigger(actions.TriggerWorkflow{Recipients: user, Data: map[string]any{"a": func() {}}}),
		"key too long":            trigger(actions.TriggerWorkflow{Recipients: user, IdempotencyKey: strings.Repeat("x", 256)}),
		"key with a line break":   trigger(actions.TriggerWorkflow{Recipients: user, IdempotencyKey: "a\r\nX: y"}),
		"key with a space":        trigger(actions.TriggerWorkflow{Recipients: user, IdempotencyKey: " a"}),
		"key too long when split": trigger(actions.TriggerWorkflow{Recipients: slices.Repeat(user, 1001), IdempotencyKey: strings.Repeat("x", 254)}),
		"subscribe with data": func(ctx context.Context, c *actions.Client) error {
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.Tenant("o"), Recipients: []actions.Recipient{actions.WithTriggerData(user[0], nil)}})
		},
		"merge with itself": func(ctx context.Context, c *actions.Client) error {
			return c.MergeUser(ctx, actions.MergeUser{ID: "u", FromID: "u"})
		},
		"no cancellation key": func(ctx context.Context, c *actions.Client) error {
			return c.CancelWorkflow(ctx, actions.CancelWorkflow{Workflow: "w"})
		},
		"cancel for too many": func(ctx context.Context, c *actions.Client) error {
			return c.CancelWorkflow(ctx, actions.CancelWorkflow{Workflow: "w", CancellationKey: "k", Recipients: make1001()})
		},
		"tenant of a member": func(ctx context.Context, c *actions.Client) error {
			return c.AddAudienceMember(ctx, actions.AddAudienceMember{
				Audience: "a", Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "u"}, Tenant: "a/b"}},
			})
		},
		"nobody's channel data": func(ctx context.Context, c *actions.Client) error {
			return c.SetChannelData(ctx, actions.SetChannelData{ChannelID: channelID})
		},
		"channel data not JSON": func(ctx context.Context, c *actions.Client) error {
			return c.SetChannelData(ctx, actions.SetChannelData{Owner: actions.UserID("u"), ChannelID: channelID, Data: map[string]any{"a": func() {}}})
		},
		"preferences not JSON": func(ctx context.Context, c *actions.Client) error {
			return c.SetPreferences(ctx, actions.SetPreferences{Owner: actions.UserID("u"), Preferences: actions.PreferenceSet{CommercialSubscribed: func() {}}})
		},
		"subscription not JSON": func(ctx context.Context, c *actions.Client) error {
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.Tenant("o"), Recipients: user, Properties: map[string]any{"a": func() {}}})
		},
		"a nil pointer's channel data": func(ctx context.Context, c *actions.Client) error {
			return c.SetChannelData(ctx, actions.SetChannelData{Owner: (*actions.ObjectRef)(nil), ChannelID: channelID})
		},
		"step without a name":     func(ctx context.Context, c *actions.Client) error { return c.Step(ctx, "", nil) },
		"step without a function": func(ctx context.Context, c *actions.Client) error { return c.Step(ctx, "s", nil) },
	}
	for _, reserved := range []string{"id", "collection", "channel_data", "preferences", "$trigger_data"} {
		tests["property "+reserved] = identify(actions.IdentifyUser{Properties: map[string]any{reserved: nil}})
		tests["property of an inline tenant "+reserved] = trigger(actions.TriggerWorkflow{
			Recipients: user, Tenant: actions.SetTenant{ID: "o", Properties: map[string]any{reserved: "x"}},
		})
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var knock recorder
			err := requireInvalid(t, call(t.Context(), actions.NewClient(&knock)))
			assert.NotEmpty(t, err.Op)
			assert.NotEmpty(t, err.Field)
			assert.Less(t, len(err.Error()), 300)
			assert.Empty(t, knock.sent(), "nothing is sent")
		})
	}
}

func make1001() []actions.Reference {
	return slices.Repeat([]actions.Reference{actions.UserID("u")}, 1001)
}

func TestSplitsCalls(t *testing.T) {
	t.Parallel()
	ids := func(n int) (recipients []actions.Recipient, references []actions.Reference, members []actions.AudienceMember) {
		for i := range n {
			id := fmt.Sprintf("user_%d", i)
			recipients = append(recipients, actions.UserID(id))
			references = append(references, actions.UserID(id))
			members = append(members, actions.AudienceMember{User: actions.IdentifyUser{ID: id}})
		}
		return recipients, references, members
	}
	for name, tc := range map[string]struct {
		size int
		call func(context.Context, *actions.Client, int) error
	}{
		"trigger": {1000, func(ctx context.Context, c *actions.Client, n int) error {
			rs, _, _ := ids(n)
			_, err := c.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "w", Recipients: rs, Data: map[string]any{"a": 1}})
			return err
		}},
		"subscribe": {100, func(ctx context.Context, c *actions.Client, n int) error {
			rs, _, _ := ids(n)
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.Tenant("o"), Recipients: rs, Properties: map[string]any{"a": 1}})
		}},
		"unsubscribe": {100, func(ctx context.Context, c *actions.Client, n int) error {
			_, rs, _ := ids(n)
			return c.Unsubscribe(ctx, actions.Unsubscribe{Object: actions.Tenant("o"), Recipients: rs})
		}},
		"add members": {1000, func(ctx context.Context, c *actions.Client, n int) error {
			_, _, ms := ids(n)
			return c.AddAudienceMember(ctx, actions.AddAudienceMember{Audience: "a", Members: ms})
		}},
		"remove members": {1000, func(ctx context.Context, c *actions.Client, n int) error {
			_, _, ms := ids(n)
			return c.RemoveAudienceMember(ctx, actions.RemoveAudienceMember{Audience: "a", Members: ms})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, n := range []int{1, tc.size, tc.size + 1, 3 * tc.size} {
				var knock recorder
				var first, second steps
				client := actions.NewClient(&knock)
				require.NoError(t, tc.call(t.Context(), client.ForDelivery(actions.Delivery{ID: "msg_1", Run: first.run}), n))
				sent := knock.sent()
				require.Len(t, sent, (n+tc.size-1)/tc.size)
				total := 0
				for _, r := range sent {
					var lists struct {
						Recipients, Members []any
					}
					require.NoError(t, json.Unmarshal(r.Body, &lists))
					here := len(lists.Recipients) + len(lists.Members)
					assert.LessOrEqual(t, here, tc.size)
					total += here
				}
				assert.Equal(t, n, total)

				require.NoError(t, tc.call(t.Context(), client.ForDelivery(actions.Delivery{ID: "msg_1", Run: second.run}), n))
				assert.Equal(t, first.names(), second.names(), "the same on every attempt")
				names := first.names()
				slices.Sort(names)
				assert.Len(t, slices.Compact(names), len(sent))
				for i, r := range knock.sent()[len(sent):] {
					assert.Equal(t, sent[i], r)
				}
			}
		})
	}
	for _, empty := range []func(context.Context, *actions.Client) error{
		func(ctx context.Context, c *actions.Client) error {
			return c.Subscribe(ctx, actions.Subscribe{Object: actions.Tenant("o")})
		},
		func(ctx context.Context, c *actions.Client) error {
			return c.Unsubscribe(ctx, actions.Unsubscribe{Object: actions.Tenant("o")})
		},
		func(ctx context.Context, c *actions.Client) error {
			return c.AddAudienceMember(ctx, actions.AddAudienceMember{Audience: "a"})
		},
	} {
		var knock recorder
		require.NoError(t, empty(t.Context(), actions.NewClient(&knock)))
		assert.Empty(t, knock.sent())
	}
}

// The calls of one trigger share their data, but not the memory of their bodies:
// a Runner keeps the requests.
func TestSplitBodiesAreNotShared(t *testing.T) {
	t.Parallel()
	for size := 1 << 10; size <= 64<<10; size += 3 << 10 {
		var knock recorder
		recipients := append(slices.Repeat([]actions.Recipient{actions.UserID("a")}, 1000), slices.Repeat([]actions.Recipient{actions.UserID("b")}, 1000)...)
		_, err := actions.NewClient(&knock).TriggerWorkflow(t.Context(), actions.TriggerWorkflow{
			Workflow: "w", Recipients: recipients, Data: map[string]any{"x": strings.Repeat("x", size)},
		})
		require.NoError(t, err)
		for i, r := range knock.sent() {
			assert.Equal(t, 1000*(1-i), strings.Count(string(r.Body), `"a"`))
			assert.Equal(t, 1000*i, strings.Count(string(r.Body), `"b"`))
			assert.True(t, json.Valid(r.Body))
		}
	}
}

func TestSplitStopsAtTheFirstError(t *testing.T) {
	t.Parallel()
	knock := &recorder{answer: func(n int, _ *actions.Request) (*actions.Response, error) {
		if n == 2 {
			return &actions.Response{Status: http.StatusServiceUnavailable}, nil
		}
		return &actions.Response{Status: http.StatusOK, Body: json.RawMessage(fmt.Sprintf(`{"workflow_run_id":"run_%d"}`, n))}, nil
	}}
	id, err := actions.NewClient(knock).TriggerWorkflow(t.Context(), actions.TriggerWorkflow{
		Workflow: "w", Recipients: slices.Repeat([]actions.Recipient{actions.UserID("u")}, 2500), IdempotencyKey: "mine",
	})
	require.Error(t, err)
	assert.Equal(t, "run_1", id)
	sent := knock.sent()
	require.Len(t, sent, 2)
	assert.Equal(t, "mine:1", sent[0].IdempotencyKey)
	assert.Equal(t, "mine:2", sent[1].IdempotencyKey)
}

func TestStepNames(t *testing.T) {
	t.Parallel()
	var log steps
	c := actions.NewClient(&recorder{}).ForDelivery(actions.Delivery{ID: "msg_1", Run: log.run})
	nothing := func(context.Context) error { return nil }
	for _, name := range []string{"x", "x#2", "x", "x", "x#2"} {
		require.NoError(t, c.Step(t.Context(), name, nothing))
	}
	for range 3 {
		require.NoError(t, c.DeleteUser(t.Context(), actions.DeleteUser{ID: "u"}))
	}
	assert.Equal(t, []string{
		"step:x", "step:x#2", "step:x#3", "step:x#4", "step:x#2#2",
		"users.delete:u", "users.delete:u#2", "users.delete:u#3",
	}, log.names())
}

func TestStepNamesAreUniqueUnderConcurrency(t *testing.T) {
	t.Parallel()
	var log steps
	knock := &recorder{}
	c := actions.NewClient(knock).ForDelivery(actions.Delivery{ID: "msg_1", Run: log.run})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.UserID("u")}})
			assert.NoError(t, err)
		})
	}
	all.Wait()
	names := log.names()
	slices.Sort(names)
	assert.Len(t, slices.Compact(names), 50)
	keys := map[string]bool{}
	for _, r := range knock.sent() {
		keys[r.IdempotencyKey] = true
	}
	assert.Len(t, keys, 50)
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	key := func(delivery, workflow string, ids ...string) string {
		var knock recorder
		rs := make([]actions.Recipient, len(ids))
		for i, id := range ids {
			rs[i] = actions.UserID(id)
		}
		_, err := actions.NewClient(&knock).ForDelivery(actions.Delivery{ID: delivery}).TriggerWorkflow(t.Context(), actions.TriggerWorkflow{Workflow: workflow, Recipients: rs})
		require.NoError(t, err)
		return knock.sent()[0].IdempotencyKey
	}
	long := strings.Repeat("x", 250)
	assert.Equal(t, "msg_1:workflows.trigger:w:u", key("msg_1", "w", "u"))
	seen := map[string]bool{}
	for _, k := range []string{
		key("msg_1", "w", "u"), key("msg_2", "w", "u"), key("msg_1", "v", "u"), key("msg_1", "w", "v"), key("msg_1", "w", "u", "v"),
		key(long, "w", "u"), key(long+"y", "w", "u"), key("msg_1", "w", long), key("msg_1", "w", long+"y"), key("msg_1", "w", "ü"),
		key("msg_1", "w", long, "a"), key("msg_1", "w", long, "b"), key("msg_1", "w", "a", long),
	} {
		assert.False(t, seen[k], k)
		seen[k] = true
		assert.LessOrEqual(t, len(k), 255)
		assert.Regexp(t, `^[!-~]+$`, k, "fit for a header")
	}
	first, again := key(long, "w", "ü"), key(long, "w", "ü")
	assert.Equal(t, first, again)
	first, again = key("", "w", "u"), key("", "w", "u")
	assert.NotEqual(t, first, again, "no delivery, no key to find again")

	var knock recorder // the same twice within one delivery, with the default Runner
	c := actions.NewClient(&knock).ForDelivery(actions.Delivery{ID: "msg_1"})
	for range 2 {
		_, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.UserID("u")}})
		require.NoError(t, err)
	}
	assert.Equal(t, "msg_1:workflows.trigger:w:u#2", knock.sent()[1].IdempotencyKey)
}

func TestDeletesOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body    string
		success bool
	}{
		"Knock's answer": {`{"code":"resource_missing","message":"The resource you requested does not exist","status":404,"type":"api_error"}`, true},
		"no body":        {``, true},
		"no JSON":        {`404 page not found`, true},
		"a proxy's page": {"\n<html><title>404</title></html>", false},
		"no branch":      {`{"code":"branch_not_found","type":"invalid_request_error"}`, false},
		"no route":       {`{"errors":{"detail":"404 Not Found"}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := answers(http.StatusNotFound, nil, tc.body)
			for _, call := range calls {
				var log steps
				err := call.call(t.Context(), actions.NewClient(knock).ForDelivery(actions.Delivery{ID: "msg_1", Run: log.run}))
				if tc.success && call.method == http.MethodDelete {
					require.NoError(t, err, call.name)
					assert.NotEmpty(t, log.list[0].Warning)
					continue
				}
				var failure *actions.Error
				require.ErrorAs(t, err, &failure, call.name)
				assert.Equal(t, 404, failure.Status)
			}
		})
	}
}

func TestIdempotencyMismatch(t *testing.T) {
	t.Parallel()
	trigger := actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.UserID("u")}}
	for _, body := range []string{
		`{"code":"idempotency_key_mismatch","message":"x"}`, `{"type":"idempotency_error","message":"x"}`, `{"message":"The Idempotency-Key was used with other parameters"}`,
	} {
		var log steps
		c := actions.NewClient(answers(http.StatusBadRequest, nil, body)).ForDelivery(actions.Delivery{ID: "msg_1", Run: log.run})
		id, err := c.TriggerWorkflow(t.Context(), trigger)
		require.NoError(t, err)
		assert.Empty(t, id)
		assert.Contains(t, log.list[0].Warning, "other parameters")
		require.Error(t, c.IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u"}), "only triggers have keys")
	}
	for body, status := range map[string]int{
		`{"message":"bad"}`: 400, `{"message":"the key is unknown"}`: 400, `{"message":"is not idempotent"}`: 400,
		`{"code":"workflow_inactive","message":"the idempotency key is kept"}`:  400,
		`{"code":"invalid_params","message":"the idempotency key is too long"}`: 422,
		`{"message":"idempotent request in progress"}`:                          409, `{"message":"idempotency"}`: 500,
	} {
		_, err := actions.NewClient(answers(status, nil, body)).TriggerWorkflow(t.Context(), trigger)
		require.Error(t, err, body)
	}
}

func TestStepRecords(t *testing.T) {
	t.Parallel()
	var log steps
	header := http.Header{"X-Request-Id": {"req_1"}, "Idempotent-Replayed": {"true"}}
	knock := &recorder{answer: func(int, *actions.Request) (*actions.Response, error) {
		return &actions.Response{Status: 200, Header: header, Attempts: 2, Body: json.RawMessage(`{"workflow_run_id":"run_1","id":"x"}`)}, nil
	}}
	c := actions.NewClient(knock).ForDelivery(actions.Delivery{ID: "msg_1", Run: log.run})
	_, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.UserID("u")}})
	require.NoError(t, err)
	s := log.list[0]
	assert.Equal(t, "req_1", s.RequestID)
	assert.True(t, s.Replayed)
	assert.Equal(t, 2, s.Attempts)
	assert.JSONEq(t, `{"workflow_run_id":"run_1","id":"x"}`, string(s.Result))

	broken := errors.New("broken")
	require.ErrorIs(t, c.Step(t.Context(), "mine", func(context.Context) error { return broken }), broken)
	assert.Equal(t, "step", log.list[1].Kind)
	assert.Nil(t, log.list[1].Request)
	var invalid *actions.InvalidError
	require.ErrorAs(t, c.Step(t.Context(), "mine", nil), &invalid)
	require.ErrorAs(t, c.Step(t.Context(), "", func(context.Context) error { return nil }), &invalid)
	assert.Len(t, log.list, 2)

	knock.answer = func(int, *actions.Request) (*actions.Response, error) {
		return nil, &actions.SendError{Attempts: 3, Err: context.DeadlineExceeded}
	}
	require.ErrorIs(t, c.DeleteUser(t.Context(), actions.DeleteUser{ID: "u"}), context.DeadlineExceeded)
	assert.Equal(t, 3, log.list[2].Attempts)
	assert.Zero(t, log.list[2].Status)

	header.Set("X-Request-Id", strings.Repeat("x", 50_000))
	knock.answer = func(int, *actions.Request) (*actions.Response, error) {
		return &actions.Response{Status: 422, Header: header}, nil
	}
	err = c.DeleteUser(t.Context(), actions.DeleteUser{ID: "u2"})
	assert.Less(t, len(log.list[3].RequestID), 600)
	assert.Less(t, len(err.Error()), 700)
}

// A Runner that does not send may say what the method returns.
func TestRunnerGivesResult(t *testing.T) {
	t.Parallel()
	var knock recorder
	c := actions.NewClient(&knock).ForDelivery(actions.Delivery{ID: "msg_1", Run: func(_ context.Context, s *actions.Step, _ func(context.Context) error) error {
		s.Result = json.RawMessage(`{"workflow_run_id":"run_9","name":"Ada","created_at":5}`)
		return nil
	}})
	id, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.UserID("u")}})
	require.NoError(t, err)
	assert.Equal(t, "run_9", id)
	u, err := c.GetUser(t.Context(), "u")
	require.NoError(t, err)
	assert.Equal(t, "u", u.ID)
	assert.Equal(t, "Ada", u.Name, "a member of another type does not fail the rest")
	assert.Empty(t, knock.sent())
}

func TestLenientAnswers(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `null`, `[]`, `{`, `{"workflow_run_id":7}`, `{"id":{}}`} {
		for _, call := range calls {
			if call.kind == "workflows_trigger" {
				continue // checks the run id
			}
			require.NoError(t, call.call(t.Context(), actions.NewClient(answers(200, nil, body))), call.name)
		}
		id, err := actions.NewClient(answers(200, nil, body)).TriggerWorkflow(t.Context(),
			actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.UserID("u")}})
		require.NoError(t, err)
		assert.Empty(t, id)
	}
}

// TestWebPageIsNoAnswer: a proxy that answers 200 by itself has not asked Knock.
func TestWebPageIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, call := range calls {
		err := call.call(t.Context(), actions.NewClient(answers(200, nil, "\n<!doctype html><title>Maintenance</title>")))
		e, ok := errors.AsType[*actions.SendError](err)
		require.True(t, ok, "%s: %v", call.name, err)
		assert.Equal(t, 1, e.Attempts)
		assert.False(t, e.Unsent)
		require.ErrorContains(t, err, "web page")
	}
}

func TestClientConcurrently(t *testing.T) {
	t.Parallel()
	_, knock := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	c := actions.NewClient(knock)
	properties := map[string]any{"b": map[string]any{"c": 1}, "a": nil} // shared, only read
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			d := c.ForDelivery(actions.Delivery{ID: fmt.Sprint("msg_", i)})
			for range 5 {
				assert.NoError(t, d.IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u", Name: "A", Properties: properties}))
			}
		})
	}
	all.Wait()
}

// TestPointers: a pointer to a recipient or a tenant is as good as its value, and
// a nil one is none.
// TestDeletingConcurrently: a delivery about a deletion may write and delete at the
// same time.
func TestDeletingConcurrently(t *testing.T) {
	t.Parallel()
	var knock recorder
	c := actions.NewClient(&knock).ForDelivery(actions.Delivery{
		ID: "msg_1", Deleted: actions.UserID("u"),
		Gone: func(_ context.Context, of []actions.Reference) ([]actions.Reference, error) { return of, nil },
	})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { assert.NoError(t, c.DeleteUser(t.Context(), actions.DeleteUser{ID: "u"})) })
		all.Go(func() { assert.NoError(t, c.IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u", Name: "former"})) })
	}
	all.Wait()
	require.NoError(t, c.IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u", Name: "back"}))
	for _, r := range knock.sent() {
		assert.NotContains(t, string(r.Body), "back")
	}
}

func TestPointers(t *testing.T) {
	t.Parallel()
	trigger := func(t *testing.T, w actions.TriggerWorkflow) (string, error) {
		t.Helper()
		knock := &recorder{}
		w.Workflow = "w"
		_, err := actions.NewClient(knock).TriggerWorkflow(t.Context(), w)
		if err != nil {
			return "", err
		}
		return string(knock.sent()[0].Body), nil
	}
	user := []actions.Recipient{actions.UserID("u")}
	data := map[string]any{"a": 1}
	for name, tc := range map[string]struct {
		w    actions.TriggerWorkflow
		want string
	}{
		"id with data": {
			actions.TriggerWorkflow{Recipients: []actions.Recipient{actions.WithTriggerData(new(actions.UserID("u")), data)}},
			`{"recipients":[{"id":"u","$trigger_data":{"a":1}}]}`,
		},
		"user with data": {
			actions.TriggerWorkflow{Recipients: []actions.Recipient{actions.WithTriggerData(&actions.IdentifyUser{ID: "u"}, data)}},
			`{"recipients":[{"id":"u","$trigger_data":{"a":1}}]}`,
		},
		"tenant id":  {actions.TriggerWorkflow{Recipients: user, Tenant: new(actions.TenantID("o"))}, `{"tenant":"o","recipients":["u"]}`},
		"tenant":     {actions.TriggerWorkflow{Recipients: user, Tenant: &actions.SetTenant{ID: "o"}}, `{"tenant":{"id":"o"},"recipients":["u"]}`},
		"nil tenant": {actions.TriggerWorkflow{Recipients: user, Tenant: (*actions.SetTenant)(nil)}, `{"recipients":["u"]}`},
		"nil id":     {actions.TriggerWorkflow{Recipients: user, Tenant: (*actions.TenantID)(nil)}, `{"recipients":["u"]}`},
	} {
		got, err := trigger(t, tc.w)
		require.NoError(t, err, name)
		assert.Equal(t, tc.want, got, name)
	}
	for _, nothing := range []actions.Recipient{nil, (*actions.IdentifyUser)(nil), (*actions.UserID)(nil)} {
		_, err := trigger(t, actions.TriggerWorkflow{Recipients: []actions.Recipient{actions.WithTriggerData(nothing, data)}})
		_, ok := errors.AsType[*actions.InvalidError](err)
		assert.True(t, ok, "%T: %v", nothing, err)
	}

	deleted := func(_ context.Context, of []actions.Reference) (gone []actions.Reference, err error) {
		for _, r := range of {
			if _, ok := r.(actions.ObjectRef); ok {
				gone = append(gone, r)
			}
		}
		return gone, nil
	}
	for _, tenant := range []actions.TenantRef{new(actions.TenantID("o")), &actions.SetTenant{ID: "o"}} {
		knock := &recorder{}
		c := actions.NewClient(knock).ForDelivery(actions.Delivery{ID: "msg_1", Gone: deleted})
		_, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{Workflow: "w", Recipients: user, Tenant: tenant})
		require.NoError(t, err)
		assert.JSONEq(t, `{"recipients":["u"]}`, string(knock.sent()[0].Body), "%T", tenant)
	}
}

// TestGetUserIsLenient: a member of an unexpected form costs no other.
func TestGetUserIsLenient(t *testing.T) {
	t.Parallel()
	c := actions.NewClient(answers(200, nil, `{"created_at":"2024-01-02","name":7,"email":"a@example.com","updated_at":"2024-01-02T00:00:00Z"}`))
	u, err := c.GetUser(t.Context(), "u")
	require.NoError(t, err)
	assert.Equal(t, "a@example.com", u.Email)
	assert.Empty(t, u.Name)
	assert.True(t, u.CreatedAt.IsZero())
	assert.Equal(t, 2024, u.UpdatedAt.Year())
}

// TestWhatIsBeingDeleted is named, by the delivery that is about its deletion, until
// that has deleted it. The caller's recipients stay as they are.
func TestWhatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		deleted actions.Reference
		remove  func(context.Context, *actions.Client) error
		want    [2]string
	}{
		"a user": {
			new(actions.UserID("u")),
			func(ctx context.Context, c *actions.Client) error {
				return c.DeleteUser(ctx, actions.DeleteUser{ID: "u"})
			},
			[2]string{
				`POST /v1/workflows/w/trigger {"actor":"u","recipients":["u"]}`,
				`POST /v1/workflows/w/trigger {"recipients":["u"]}`,
			},
		},
		"a tenant": {
			actions.Tenant("o"),
			func(ctx context.Context, c *actions.Client) error {
				return c.DeleteTenant(ctx, actions.DeleteTenant{ID: "o"})
			},
			[2]string{
				`POST /v1/workflows/w/trigger {"tenant":"o","recipients":["u",{"collection":"$tenants","id":"o"}]} ` +
					`POST /v1/objects/$tenants/o/subscriptions {"recipients":["u"]}`,
				`POST /v1/workflows/w/trigger {"recipients":["u"]}`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := &recorder{}
			c := actions.NewClient(knock).ForDelivery(actions.Delivery{ID: "msg_1", Deleted: tc.deleted,
				Gone: func(_ context.Context, of []actions.Reference) ([]actions.Reference, error) { return of, nil },
				Run: func(ctx context.Context, s *actions.Step, do func(context.Context) error) error {
					if s.Skipped != "" {
						return nil
					}
					return do(ctx)
				},
			})
			recipients := []actions.Recipient{actions.IdentifyUser{ID: "u", Name: "Ada"}, actions.Tenant("o")}
			both := func() string {
				before := len(knock.sent())
				_, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{
					Workflow: "w", Recipients: recipients,
					Actor: actions.IdentifyUser{ID: "u", Name: "Ada"}, Tenant: actions.SetTenant{ID: "o", Name: "A"},
				})
				require.NoError(t, err)
				require.NoError(t, c.Subscribe(t.Context(), actions.Subscribe{
					Object: actions.Tenant("o"), Recipients: []actions.Recipient{actions.UserID("u")},
				}))
				var calls []string
				for _, r := range knock.sent()[before:] {
					calls = append(calls, r.Method+" "+r.Path+" "+string(r.Body))
				}
				return strings.Join(calls, " ")
			}
			assert.Equal(t, tc.want[0], both())
			require.NoError(t, tc.remove(t.Context(), c))
			assert.Equal(t, tc.want[1], both())
			assert.Equal(t, []actions.Recipient{actions.IdentifyUser{ID: "u", Name: "Ada"}, actions.Tenant("o")}, recipients)
		})
	}
}

// TestWhoseFault: what the code has put together wrongly is told from what the event
// has brought.
func TestWhoseFault(t *testing.T) {
	t.Parallel()
	c := actions.NewClient(&recorder{})
	ctx := t.Context()
	trigger := func(w actions.TriggerWorkflow) error {
		_, err := c.TriggerWorkflow(ctx, w)
		return err
	}
	user := []actions.Recipient{actions.UserID("u")}
	large := map[string]any{"x": strings.Repeat("x", 300_000)}
	for name, tc := range map[string]struct {
		err  error
		data bool
	}{
		"a user's id":         {c.IdentifyUser(ctx, actions.IdentifyUser{ID: "a/b"}), true},
		"a recipient's id":    {trigger(actions.TriggerWorkflow{Workflow: "w", Recipients: []actions.Recipient{actions.UserID("")}}), true},
		"large properties":    {c.IdentifyUser(ctx, actions.IdentifyUser{ID: "u", Properties: large}), true},
		"a long key":          {trigger(actions.TriggerWorkflow{Workflow: "w", Recipients: user, IdempotencyKey: strings.Repeat("k", 256)}), true},
		"a user into itself":  {c.MergeUser(ctx, actions.MergeUser{ID: "u", FromID: "u"}), true},
		"a workflow":          {trigger(actions.TriggerWorkflow{Workflow: "a/b", Recipients: user}), false},
		"an audience":         {c.AddAudienceMember(ctx, actions.AddAudienceMember{Audience: "a/b"}), false},
		"a channel":           {c.SetChannelData(ctx, actions.SetChannelData{Owner: actions.UserID("u")}), false},
		"a collection":        {c.SetObject(ctx, actions.SetObject{ID: "o"}), false},
		"an object's":         {c.Subscribe(ctx, actions.Subscribe{Object: actions.ObjectRef{ID: "o"}, Recipients: user}), false},
		"a reserved property": {c.IdentifyUser(ctx, actions.IdentifyUser{ID: "u", Properties: map[string]any{"preferences": 1}}), false},
		"nobody":              {trigger(actions.TriggerWorkflow{Workflow: "w"}), false},
		"no JSON":             {trigger(actions.TriggerWorkflow{Workflow: "w", Recipients: user, Data: map[string]any{"x": func() {}}}), false},
	} {
		e, ok := errors.AsType[*actions.InvalidError](tc.err)
		require.True(t, ok, "%s: %v", name, tc.err)
		assert.Equal(t, tc.data, e.Data, name)
	}
}

// TestGoneOfMany: all recipients are looked up at once, and who is left out counts in
// the steps' names.
func TestGoneOfMany(t *testing.T) {
	t.Parallel()
	var asked [][]actions.Reference
	knock := &recorder{}
	var steps []*actions.Step
	c := actions.NewClient(knock).ForDelivery(actions.Delivery{
		ID: "msg_1",
		Gone: func(_ context.Context, of []actions.Reference) (gone []actions.Reference, err error) {
			asked = append(asked, of)
			for _, ref := range of {
				if o, ok := ref.(actions.ObjectRef); ok && o.ID != "kept" || ref == actions.UserID("u0") {
					gone = append(gone, ref)
				}
			}
			return gone, nil
		},
		Run: func(ctx context.Context, s *actions.Step, do func(context.Context) error) error {
			steps = append(steps, s)
			if s.Skipped != "" {
				return nil
			}
			return do(ctx)
		},
	})
	recipients := make([]actions.Recipient, 2001) // three calls, and the second has nobody left
	for i := range recipients {
		recipients[i] = actions.Tenant(fmt.Sprint("t", i))
	}
	recipients[0], recipients[1], recipients[2000] = actions.IdentifyUser{ID: "u0", Name: "Ada"}, actions.UserID("u0"), actions.Tenant("kept")
	run, err := c.TriggerWorkflow(t.Context(), actions.TriggerWorkflow{Workflow: "w", Recipients: recipients})
	require.NoError(t, err)
	assert.Equal(t, "run_1", run)
	require.Len(t, asked, 1)
	assert.Len(t, asked[0], 2000) // but for the bare user

	subscribers := []actions.Recipient{actions.UserID("u")}
	require.NoError(t, c.Subscribe(t.Context(), actions.Subscribe{Object: actions.Tenant("t1"), Recipients: subscribers}))
	assert.Equal(t, []actions.Recipient{actions.UserID("u")}, subscribers, "the caller's list")
	require.NoError(t, c.AddAudienceMember(t.Context(), actions.AddAudienceMember{
		Audience: "a", Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "u0"}}},
	}))
	err = c.Subscribe(t.Context(), actions.Subscribe{Object: actions.Tenant("t1"), Recipients: []actions.Recipient{nil}})
	require.ErrorContains(t, err, "holds nil")
	var bodies []string
	for _, r := range knock.sent() {
		bodies = append(bodies, string(r.Body))
	}
	assert.Equal(t, []string{`{"recipients":["u0","u0"]}`, `{"recipients":[{"collection":"$tenants","id":"kept"}]}`}, bodies)
	require.Len(t, steps, 5)
	for i, skipped := range []actions.Skipped{"", actions.SkippedGone, "", actions.SkippedGone, actions.SkippedGone} {
		assert.Equal(t, skipped, steps[i].Skipped, steps[i].Name)
	}
	assert.Regexp(t, "^workflows.trigger:w:1000-", steps[0].Name)
	assert.Equal(t, "objects.subscribe:$tenants/t1:u", steps[3].Name)
	assert.Equal(t, "audiences.add_member:a:u0", steps[4].Name)
}

// TestGoneUnknown: while it is not known what is deleted, nothing is described.
func TestGoneUnknown(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	knock := &recorder{}
	c := actions.NewClient(knock).ForDelivery(actions.Delivery{
		ID: "msg_1", Gone: func(context.Context, []actions.Reference) ([]actions.Reference, error) { return nil, down },
	})
	for _, w := range []actions.TriggerWorkflow{
		{Recipients: []actions.Recipient{actions.IdentifyUser{ID: "u"}}},
		{Recipients: []actions.Recipient{actions.UserID("u")}, Actor: actions.IdentifyUser{ID: "a"}},
		{Recipients: []actions.Recipient{actions.UserID("u")}, Tenant: actions.SetTenant{ID: "o"}},
	} {
		w.Workflow = "w"
		_, err := c.TriggerWorkflow(t.Context(), w)
		require.ErrorIs(t, err, down)
	}
	require.ErrorIs(t, c.IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u"}), down)
	require.ErrorIs(t, c.SetTenant(t.Context(), actions.SetTenant{ID: "o"}), down)
	require.ErrorIs(t, c.SetPreferences(t.Context(), actions.SetPreferences{Owner: actions.UserID("u")}), down)
	require.ErrorIs(t, c.Subscribe(t.Context(), actions.Subscribe{Object: actions.Tenant("o"), Recipients: []actions.Recipient{actions.UserID("u")}}), down)
	require.ErrorIs(t, c.AddAudienceMember(t.Context(), actions.AddAudienceMember{
		Audience: "a", Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "u"}}},
	}), down)
	assert.Empty(t, knock.sent())
}

// TestNotJSONIsNotQuoted: an error is logged, and a value may be private.
func TestNotJSONIsNotQuoted(t *testing.T) {
	t.Parallel()
	c := actions.NewClient(&recorder{})
	object := actions.ObjectRef{Collection: "c", ID: "o"}
	for _, value := range []any{json.Number("private"), json.RawMessage(`{private}`), failingJSON{}} {
		bad := map[string]any{"x": value}
		for _, err := range []error{
			c.IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u", Properties: bad}),
			c.Subscribe(t.Context(), actions.Subscribe{Object: object, Recipients: []actions.Recipient{actions.UserID("u")}, Properties: bad}),
			c.SetPreferences(t.Context(), actions.SetPreferences{Owner: object, Preferences: actions.PreferenceSet{Workflows: bad}}),
		} {
			require.ErrorContains(t, err, "is not JSON")
			assert.NotContains(t, err.Error(), "private")
		}
	}
	err := c.IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u", Properties: map[string]any{"x": make(chan int)}})
	require.ErrorContains(t, err, "is not JSON: json: unsupported type: chan int")
}

type failingJSON struct{}

func (failingJSON) MarshalJSON() ([]byte, error) { return nil, errors.New("private") }
