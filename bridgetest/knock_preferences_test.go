package bridgetest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/bridgetest"
)

const channelID = "8209f26c-62a5-461d-95e2-a5716a26e652"

// owners are the paths below which preferences and channel data live.
var owners = map[string]bridgetest.Ref{
	"/v1/users/u":              {ID: "u"},
	"/v1/objects/teams/red":    {Collection: "teams", ID: "red"},
	"/v1/objects/$tenants/org": {Collection: "$tenants", ID: "org"},
}

func TestPreferencesReplaceUnlessMerged(t *testing.T) {
	t.Parallel()
	for owner, ref := range owners {
		t.Run(owner, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			path := owner + "/preferences/default"
			f.call("GET", path, nil).refused(404, "resource_missing")
			f.call("PUT", path, object{"categories": object{"a": true}, "workflows": object{"w": object{"channel_types": object{"email": false}}}}).want(200)
			merged := f.call("PUT", path, object{
				"__persistence_strategy__": "merge", "categories": object{"b": false}, "commercial_subscribed": true, "channels": nil,
			}).want(200)
			assert.JSONEq(t, `{
				"id": "default", "categories": {"a": true, "b": false}, "channel_types": null, "channels": null,
				"commercial_subscribed": true, "workflows": {"w": {"channel_types": {"email": false}}}
			}`, string(merged.raw))
			replaced := f.call("PUT", path, object{"channel_types": object{"sms": true}}).want(200)
			assert.JSONEq(t, `{
				"id": "default", "categories": null, "channel_types": {"sms": true}, "channels": null,
				"commercial_subscribed": null, "workflows": null
			}`, string(replaced.raw))
			assert.JSONEq(t, string(replaced.raw), string(f.call("GET", path, nil).want(200).raw))

			f.call("PUT", owner, object{"preferences": object{"default": object{"categories": object{"c": true}}}}).want(200)
			set, found := f.Preferences(ref, "default")
			require.True(t, found)
			assert.Equal(t, object{"sms": true}, set["channel_types"], "inline preferences merge")
			assert.Equal(t, object{"c": true}, set["categories"])
			set["categories"].(object)["c"] = false
			set, _ = f.Preferences(ref, "default")
			assert.Equal(t, object{"c": true}, set["categories"], "what is returned is a copy")

			f.call("DELETE", path, nil).want(204)
			_, found = f.Preferences(ref, "default")
			assert.False(t, found)
			assert.Nil(t, f.call("GET", path, nil).want(200).object()["categories"])

			for _, bad := range []object{{"categories": 1}, {"workflows": true}, {"__persistence_strategy__": "x"}, {"commercial_subscribed": "yes"}} {
				f.call("PUT", path, bad).refused(422, "invalid_params")
			}
		})
	}
}

func TestUserPreferencesBehindATenant(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/tenants/org", object{"settings": object{"preference_set": object{"categories": object{"a": false, "b": false}}}}).want(200)
	f.call("PUT", "/v1/users/u/preferences/default", object{"categories": object{"a": true}}).want(200)
	alone := f.call("GET", "/v1/users/u/preferences/default", nil).want(200).object()
	assert.Equal(t, object{"a": true}, alone["categories"])
	behind := f.call("GET", "/v1/users/u/preferences/default?tenant=org", nil).want(200).object()
	assert.Equal(t, object{"a": true, "b": false}, behind["categories"])
	assert.Equal(t, "default", behind["id"])
	_, created := f.User("u")
	assert.True(t, created, "setting preferences creates the user")
}

func TestChannelDataIsOverwritten(t *testing.T) {
	t.Parallel()
	for owner, ref := range owners {
		t.Run(owner, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			path := owner + "/channel_data/" + channelID
			f.call("GET", path, nil).refused(404, "resource_missing")
			f.call("PUT", path, object{"data": object{"connections": []any{object{"channel_id": "C1"}}, "token": nil}}).want(200)
			f.call("GET", owner, nil).want(200) // created
			set := f.call("PUT", path, object{"data": object{"token": object{"access_token": "x"}}}).want(200)
			want := `{"__typename": "ChannelData", "channel_id": "` + channelID + `", "data": {"token": {"access_token": "x"}}}`
			assert.JSONEq(t, want, string(set.raw))
			assert.JSONEq(t, want, string(f.call("GET", path, nil).want(200).raw))
			f.call("PUT", owner, object{"channel_data": object{channelID: object{"tokens": []any{"t"}}}, "preferences": nil}).want(200)
			data, found := f.ChannelData(ref, channelID)
			require.True(t, found)
			assert.Equal(t, object{"tokens": []any{"t"}}, data)
			f.call("PUT", owner, object{"channel_data": nil}).want(200)

			f.call("DELETE", path, nil).want(204)
			f.call("DELETE", path, nil).refused(404, "resource_missing")
			f.call("GET", path, nil).refused(404, "resource_missing")
			f.call("PUT", owner+"/channel_data/slack", object{"data": object{}}).refused(422, "invalid_params")
			f.call("PUT", path, object{}).refused(422, "invalid_params")
			f.call("PUT", path, object{"data": []any{}}).refused(422, "invalid_params")
		})
	}
}

func TestPushTokensAreAnsweredBothWays(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	path := "/v1/users/u/channel_data/" + channelID
	data := func(sent object) any { return f.call("PUT", path, object{"data": sent}).want(200).object()["data"] }
	both := object{"tokens": []any{"t"}, "devices": []any{object{"token": "t", "locale": nil, "timezone": nil}}}
	assert.Equal(t, both, data(object{"tokens": []any{"t"}}))
	assert.Equal(t, both, data(object{"devices": []any{object{"token": "t", "locale": nil, "timezone": nil}}}))
	assert.Equal(t, []any{"arn"}, data(object{"devices": []any{object{"target_arn": "arn"}}}).(object)["target_arns"])
	assert.Equal(t, []any{object{"target_arn": "arn", "locale": nil, "timezone": nil}}, data(object{"target_arns": []any{"arn"}}).(object)["devices"])
}
