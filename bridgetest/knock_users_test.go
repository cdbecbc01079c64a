package bridgetest_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/bridgetest"
)

func TestIdentifyMerges(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.useClock()
	created := f.call("PUT", "/v1/users/u", object{
		"name": "Ada", "email": "ada@example.com", "plan": object{"tier": "pro", "seats": 3}, "tags": []any{"a", "b"},
	}).want(200)
	assert.JSONEq(t, `{
		"__typename": "User", "id": "u", "created_at": null, "updated_at": "2026-01-02T03:04:05.000Z",
		"name": "Ada", "email": "ada@example.com", "plan": {"tier": "pro", "seats": 3}, "tags": ["a", "b"]
	}`, string(created.raw))

	c.Advance(time.Minute)
	updated := f.call("PUT", "/v1/users/u", object{
		"email": nil, "plan": object{"seats": nil, "extra": object{"x": 1}}, "tags": []any{"c"}, "id": "other",
		"created_at": "2025-05-06T07:08:09.123Z",
	}).want(200)
	want := `{
		"__typename": "User", "id": "u", "created_at": "2025-05-06T07:08:09.123Z", "updated_at": "2026-01-02T03:05:05.000Z",
		"name": "Ada", "email": null, "plan": {"tier": "pro", "seats": null, "extra": {"x": 1}}, "tags": ["c"]
	}`
	assert.JSONEq(t, want, string(updated.raw))
	assert.JSONEq(t, want, string(f.call("GET", "/v1/users/u", nil).want(200).raw))

	user, found := f.User("u")
	require.True(t, found)
	assert.Contains(t, user, "email", "null is kept")
	assert.NotContains(t, user, "avatar", "absent is absent")
	user["plan"].(object)["tier"] = "free"
	again, _ := f.User("u")
	assert.Equal(t, "pro", again["plan"].(object)["tier"], "a copy was returned")
	_, found = f.User("missing")
	assert.False(t, found)
}

func TestIdentifyRefusals(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for name, body := range map[string]object{
		"created_at as a number": {"created_at": int64(1795166102123)},
		"created_at as a date":   {"created_at": "2026-01-02"},
		"name":                   {"name": 1},
		"email":                  {"email": []any{"a"}},
		"phone_number":           {"phone_number": true},
		"avatar":                 {"avatar": object{}},
		"locale":                 {"locale": 1},
		"timezone":               {"timezone": 1},
		"preferences":            {"preferences": []any{}},
		"preference set":         {"preferences": object{"default": true}},
		"preference member":      {"preferences": object{"default": object{"categories": 1}}},
		"channel data":           {"channel_data": "x"},
		"channel id":             {"channel_data": object{"slack": object{}}},
		"channel content":        {"channel_data": object{channelID: nil}},
		"too large":              {"blob": strings.Repeat("x", 256<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.call("PUT", "/v1/users/u", body).refused(422, "invalid_params")
			assert.Empty(t, f.Users(), "a refused request changes nothing")
		})
	}
	for _, id := range []string{"a/b", "a#b", strings.Repeat("é", 257)} {
		f.call("PUT", "/v1/users/"+url.PathEscape(id), object{}).refused(422, "invalid_params")
		f.call("PUT", "/v1/users/"+url.PathEscape(id)+"/preferences/default", object{}).refused(422, "invalid_params")
		f.call("PUT", "/v1/users/"+url.PathEscape(id)+"/channel_data/"+channelID, object{"data": object{}}).refused(422, "invalid_params")
	}
	assert.Empty(t, f.Users())
	f.call("PUT", "/v1/users/"+url.PathEscape(strings.Repeat("é", 256)), object{"blob": strings.Repeat("x", 200<<10)}).want(200)
}

func TestPropertiesAddUpToTheirLimit(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/users/u", object{"a": strings.Repeat("x", 150<<10)}).want(200)
	f.call("PUT", "/v1/users/u", object{"b": strings.Repeat("x", 150<<10)}).refused(422, "invalid_params")
	user, _ := f.User("u")
	assert.NotContains(t, user, "b")
}

func TestDeletingAUserTakesEverythingAlong(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/users/u", object{
		"preferences":  object{"default": object{"channel_types": object{"email": false}}},
		"channel_data": object{channelID: object{"tokens": []any{"t"}}},
	}).want(200)
	f.call("PUT", "/v1/tenants/t", object{}).want(200)
	f.call("POST", "/v1/objects/$tenants/t/subscriptions", object{"recipients": []any{"u", "v"}}).want(200)
	f.call("POST", "/v1/audiences/a/members?create_audience=true", object{"members": []any{
		object{"user": object{"id": "u"}}, object{"user": object{"id": "v"}},
	}}).want(204)
	f.call("POST", "/v1/schedules", object{"workflow": "w", "recipients": []any{"u", "v"}}).want(200)

	f.call("DELETE", "/v1/users/u", nil).want(204)
	f.call("GET", "/v1/users/u", nil).refused(404, "resource_missing")
	f.call("PUT", "/v1/users/u", object{}).want(200) // the id may be used anew
	_, found := f.Preferences(bridgetest.Ref{ID: "u"}, "default")
	assert.False(t, found)
	_, found = f.ChannelData(bridgetest.Ref{ID: "u"}, channelID)
	assert.False(t, found)
	assert.Equal(t, []bridgetest.Subscription{{Recipient: bridgetest.Ref{ID: "v"}}}, f.Subscriptions("$tenants", "t"))
	members, _ := f.Audience("a")
	assert.Equal(t, []bridgetest.Member{{User: "v"}}, members)
	require.Len(t, f.Schedules(), 1)
	assert.Equal(t, "v", f.Schedules()[0]["recipient"].(object)["id"])
}

func TestMerge(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/users/keep", object{"name": "Keep", "preferences": object{"default": object{"categories": object{"a": true}}}}).want(200)
	f.call("PUT", "/v1/users/gone", object{
		"name": "Gone", "email": "gone@example.com", "created_at": "2025-01-01T00:00:00Z",
		"preferences":  object{"default": object{"categories": object{"a": false}}, "org": object{}},
		"channel_data": object{channelID: object{"tokens": []any{"t"}}},
	}).want(200)
	f.call("PUT", "/v1/objects/teams/one", object{}).want(200)
	f.call("PUT", "/v1/objects/teams/both", object{}).want(200)
	f.call("POST", "/v1/objects/teams/one/subscriptions", object{"recipients": []any{"gone"}}).want(200)
	f.call("POST", "/v1/objects/teams/both/subscriptions", object{"recipients": []any{"gone", "keep"}}).want(200)
	f.call("POST", "/v1/audiences/a/members?create_audience=true", object{"members": []any{object{"user": object{"id": "gone"}}}}).want(204)
	f.call("POST", "/v1/schedules", object{"workflow": "w", "recipients": []any{"gone"}}).want(200)

	merged := f.call("POST", "/v1/users/keep/merge", object{"from_user_id": "gone"}).want(200).object()
	assert.Equal(t, "keep", merged["id"])
	assert.Equal(t, "Keep", merged["name"])
	assert.Equal(t, "gone@example.com", merged["email"])
	assert.Equal(t, "2025-01-01T00:00:00Z", merged["created_at"])
	assert.Equal(t, []string{"keep"}, f.Users())
	keep := bridgetest.Ref{ID: "keep"}
	assert.Equal(t, []bridgetest.Subscription{{Recipient: keep}}, f.Subscriptions("teams", "one"))
	assert.Equal(t, []bridgetest.Subscription{{Recipient: keep}}, f.Subscriptions("teams", "both"))
	members, _ := f.Audience("a")
	assert.Equal(t, []bridgetest.Member{{User: "keep"}}, members)
	assert.Equal(t, "keep", f.Schedules()[0]["recipient"].(object)["id"])
	set, _ := f.Preferences(keep, "default")
	assert.Equal(t, object{"a": true}, set["categories"])
	_, found := f.Preferences(keep, "org")
	assert.True(t, found)
	_, found = f.ChannelData(keep, channelID)
	assert.True(t, found)

	f.call("POST", "/v1/users/keep/merge", object{"from_user_id": "gone"}).refused(404, "resource_missing")
	f.call("POST", "/v1/users/gone/merge", object{"from_user_id": "keep"}).refused(404, "resource_missing")
	f.call("POST", "/v1/users/keep/merge", object{"from_user_id": "keep"}).refused(422, "invalid_params")
	f.call("POST", "/v1/users/keep/merge", object{}).refused(422, "invalid_params")
}

func TestPaging(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var all []string
	for i := range 7 {
		id := fmt.Sprintf("user_%d", 9-i) // the order is that of creation
		all = append(all, id)
		f.call("PUT", "/v1/users/"+id, object{}).want(200)
	}
	page := func(query string) (ids []string, after, before string) {
		o := f.call("GET", "/v1/users?"+query, nil).want(200).object()
		for _, e := range o["entries"].([]any) {
			ids = append(ids, e.(object)["id"].(string))
		}
		info := o["page_info"].(object)
		assert.Equal(t, "PageInfo", info["__typename"])
		after, _ = info["after"].(string)
		before, _ = info["before"].(string)
		return ids, after, before
	}

	ids, after, before := page("page_size=3")
	assert.Equal(t, all[:3], ids)
	assert.Empty(t, before)
	assert.True(t, strings.HasSuffix(after, "=="), "cursors need escaping: %s", after)
	ids, after, before = page("page_size=3&after=" + url.QueryEscape(after))
	assert.Equal(t, all[3:6], ids)
	f.call("DELETE", "/v1/users/"+all[0], nil).want(204)
	ids, _, _ = page("page_size=2&before=" + url.QueryEscape(before))
	assert.Equal(t, all[1:3], ids)
	ids, after, _ = page("page_size=3&after=" + url.QueryEscape(after))
	assert.Equal(t, all[6:], ids)
	assert.Empty(t, after)
	ids, after, before = page("")
	assert.Equal(t, all[1:], ids)
	assert.Empty(t, after+before)

	for _, query := range []string{"page_size=0", "page_size=51", "page_size=x", "after=%21", "before=AAAA", "include=preferences", "include[]=x", "include[][x]=1"} {
		f.call("GET", "/v1/users?"+query, nil).refused(422, "invalid_params")
	}
}

func TestPagesHoldFiftyAtMost(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("POST", "/v1/users/bulk/identify", object{"users": repeat(51, func(i int) any {
		return object{"id": fmt.Sprint("u", i)}
	})}).want(200)
	require.Len(t, f.Users(), 51)
	assert.Len(t, f.call("GET", "/v1/users", nil).want(200).entries(), 50)
}

func TestListIncludesPreferences(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/users/u", object{"preferences": object{"default": object{"categories": object{"a": true}}}}).want(200)
	plain := f.call("GET", "/v1/users", nil).want(200).entries()
	assert.NotContains(t, plain[0], "preferences")
	shown := f.call("GET", "/v1/users?include[]=preferences", nil).want(200).entries()
	assert.Equal(t, object{"a": true}, shown[0]["preferences"].(object)["default"].(object)["categories"])
}
