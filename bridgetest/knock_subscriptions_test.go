package bridgetest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/bridgetest"
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.useClock()
	f.call("PUT", "/v1/tenants/org", object{"name": "Acme"}).want(200)
	subs := f.call("POST", "/v1/objects/$tenants/org/subscriptions", object{
		"recipients": []any{"u", object{"id": "v", "name": "V"}, object{"collection": "teams", "id": "red", "name": "Red"}},
		"properties": object{"role": "admin"},
	}).want(200).array()
	require.Len(t, subs, 3)
	assert.Equal(t, "Subscription", subs[0]["__typename"])
	assert.Equal(t, "Acme", subs[0]["object"].(object)["properties"].(object)["name"])
	assert.Equal(t, object{"role": "admin"}, subs[0]["properties"])
	assert.Equal(t, "V", subs[1]["recipient"].(object)["name"])
	assert.Equal(t, "Object", subs[2]["recipient"].(object)["__typename"])
	assert.Equal(t, []string{"v"}, f.Users(), "a bare id creates nobody")
	assert.Equal(t, []string{"red"}, f.Objects("teams"))

	c.Advance(time.Second)
	again := f.call("POST", "/v1/objects/$tenants/org/subscriptions", object{
		"recipients": []any{"u"}, "properties": object{"title": "x"},
	}).want(200).array()
	assert.Equal(t, object{"title": "x"}, again[0]["properties"], "replaced")
	assert.Equal(t, subs[0]["inserted_at"], again[0]["inserted_at"])
	assert.NotEqual(t, subs[0]["updated_at"], again[0]["updated_at"])
	f.call("POST", "/v1/objects/$tenants/org/subscriptions", object{"recipients": []any{"u"}}).want(200)
	assert.Equal(t, bridgetest.Subscription{Recipient: bridgetest.Ref{ID: "u"}, Properties: object{"title": "x"}},
		f.Subscriptions("$tenants", "org")[0], "properties that are not sent are kept")

	f.Configure(func(o *bridgetest.KnockOptions) { o.MergeProperties = true })
	f.call("POST", "/v1/objects/$tenants/org/subscriptions", object{"recipients": []any{"u"}, "properties": object{"role": nil}}).want(200)
	assert.Equal(t, object{"title": "x", "role": nil}, f.Subscriptions("$tenants", "org")[0].Properties)
	f.call("POST", "/v1/objects/$tenants/org/subscriptions", object{"recipients": []any{"u"}, "properties": nil}).want(200)
	assert.Nil(t, f.Subscriptions("$tenants", "org")[0].Properties)
	assert.Len(t, f.Subscriptions("$tenants", "org"), 3)
}

func TestSubscribeToAMissingObject(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	body := object{"recipients": []any{object{"id": "u", "name": "U"}}}
	f.call("POST", "/v1/objects/$tenants/org/subscriptions", body).refused(404, "resource_missing")
	assert.Empty(t, f.Users(), "nothing took effect")
	f.Configure(func(o *bridgetest.KnockOptions) { o.CreateObjects = true })
	f.call("POST", "/v1/objects/$tenants/org/subscriptions", body).want(200)
	assert.Equal(t, []string{"org"}, f.Tenants())
	f.call("POST", "/v1/objects/teams/a%2Fb/subscriptions", body).refused(422, "invalid_params")
}

func TestSubscribeRefusals(t *testing.T) {
	t.Parallel()
	setUp := func(t *testing.T) *fake {
		t.Helper()
		f := newFake(t)
		f.call("PUT", "/v1/objects/teams/red", object{}).want(200)
		return f
	}
	for name, body := range map[string]object{
		"no recipients":    {},
		"not a list":       {"recipients": "u"},
		"101 recipients":   {"recipients": repeat(101, func(i int) any { return fmt.Sprint("u", i) })},
		"a number":         {"recipients": []any{1}},
		"no id":            {"recipients": []any{object{"name": "x"}}},
		"empty id":         {"recipients": []any{""}},
		"a slash":          {"recipients": []any{object{"id": "a/b"}}},
		"empty collection": {"recipients": []any{object{"id": "a", "collection": ""}}},
		"bad member":       {"recipients": []any{object{"id": "fine"}, object{"id": "a", "name": 1}}},
		"properties":       {"recipients": []any{"u"}, "properties": []any{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			f.call("POST", "/v1/objects/teams/red/subscriptions", body).refused(422, "invalid_params")
			assert.Empty(t, f.Subscriptions("teams", "red"), "a refused request changes nothing")
			assert.Empty(t, f.Users())
		})
	}
	f := setUp(t)
	f.call("DELETE", "/v1/objects/teams/red/subscriptions", object{"recipients": repeat(101, func(int) any { return "u" })}).refused(422, "invalid_params")
	f.call("DELETE", "/v1/objects/teams/red/subscriptions", object{"recipients": []any{object{"id": "u"}}}).refused(422, "invalid_params")
	assert.Empty(t, f.Users(), "a refused request changes nothing")
	f.call("POST", "/v1/objects/teams/red/subscriptions", object{"recipients": repeat(100, func(i int) any { return fmt.Sprint("u", i) })}).want(200)
}

func TestUnsubscribeAnswersWithWhatItRemoved(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/objects/teams/red", object{}).want(200)
	f.call("POST", "/v1/objects/teams/red/subscriptions", object{"recipients": []any{"u", "v"}}).want(200)
	removed := f.call("DELETE", "/v1/objects/teams/red/subscriptions", object{"recipients": []any{"u", "stranger"}}).want(200).array()
	require.Len(t, removed, 1)
	assert.Equal(t, "u", removed[0]["recipient"].(object)["id"])
	again := f.call("DELETE", "/v1/objects/teams/red/subscriptions", object{"recipients": []any{"u"}}).want(200)
	assert.JSONEq(t, `[]`, string(again.raw))
	assert.Equal(t, []bridgetest.Subscription{{Recipient: bridgetest.Ref{ID: "v"}}}, f.Subscriptions("teams", "red"))
}

func TestListSubscriptions(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/tenants/org", object{}).want(200)
	f.call("POST", "/v1/objects/$tenants/org/subscriptions", object{"recipients": []any{
		object{"id": "u", "preferences": object{"default": object{}}}, "v", object{"collection": "teams", "id": "red"},
	}}).want(200)
	f.call("POST", "/v1/objects/teams/red/subscriptions", object{"recipients": []any{"u"}}).want(200)
	ids := func(path, member string) (ids []string) {
		for _, e := range f.call("GET", path, nil).want(200).entries() {
			ids = append(ids, e[member].(object)["id"].(string))
		}
		return ids
	}
	const org = "/v1/objects/$tenants/org/subscriptions"
	assert.Equal(t, []string{"u", "v", "red"}, ids(org, "recipient"))
	assert.Equal(t, []string{"u", "v"}, ids(org+"?page_size=2", "recipient"))
	assert.Equal(t, []string{"v"}, ids(org+"?recipients[]=v", "recipient"))
	assert.Equal(t, []string{"red"}, ids(org+"?recipients[0][collection]=teams&recipients%5B0%5D%5Bid%5D=red", "recipient"))
	assert.Equal(t, []string{"org"}, ids("/v1/objects/teams/red/subscriptions?mode=recipient", "object"))
	assert.Empty(t, ids("/v1/objects/teams/red/subscriptions?mode=recipient&objects[0][collection]=teams&objects[0][id]=red", "object"))
	assert.Equal(t, []string{"org", "red"}, ids("/v1/users/u/subscriptions", "object"))
	assert.Equal(t, []string{"red"}, ids("/v1/users/u/subscriptions?objects[0][id]=red&objects[0][collection]=teams", "object"))
	included := f.call("GET", org+"?include[]=preferences", nil).want(200).entries()
	assert.Contains(t, included[0]["recipient"], "preferences")
	assert.Equal(t, "Object", included[2]["recipient"].(object)["__typename"])

	for _, query := range []string{"mode=x", "recipients=u", "objects=x", "recipients[][id]=u", "recipients[x][id]=u", "recipients[0][id]=u", "%zz=1", "a=%zz"} {
		f.call("GET", org+"?"+query, nil).refused(422, "invalid_params")
	}
	f.call("GET", "/v1/users/u/subscriptions?objects=x", nil).refused(422, "invalid_params")
	f.call("GET", "/v1/users/missing/subscriptions", nil).refused(404, "resource_missing")
	f.call("GET", "/v1/objects/teams/missing/subscriptions", nil).refused(404, "resource_missing")
}
