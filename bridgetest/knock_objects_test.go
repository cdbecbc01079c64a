package bridgetest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestObjectsKeepPropertiesInside(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.useClock()
	f.call("PUT", "/v1/objects/teams/red", object{"name": "Red", "meta": object{"a": 1, "b": 2}}).want(200)
	updated := f.call("PUT", "/v1/objects/teams/red", object{
		"meta": object{"b": nil}, "email": 5, "created_at": "2025-01-01T00:00:00Z",
	}).want(200)
	want := `{
		"__typename": "Object", "id": "red", "collection": "teams",
		"created_at": "2025-01-01T00:00:00Z", "updated_at": "2026-01-02T03:04:05.000Z",
		"properties": {"name": "Red", "meta": {"a": 1, "b": null}, "email": 5}
	}`
	assert.JSONEq(t, want, string(updated.raw))
	assert.JSONEq(t, want, string(f.call("GET", "/v1/objects/teams/red", nil).want(200).raw))
	f.call("PUT", "/v1/objects/teams/blue", object{}).want(200)
	f.call("PUT", "/v1/objects/squads/red", object{}).want(200)
	assert.Equal(t, []string{"red", "blue"}, f.Objects("teams"))
	assert.Nil(t, f.Objects(""))
	entries := f.call("GET", "/v1/objects/teams?page_size=1", nil).want(200).entries()
	require.Len(t, entries, 1)
	assert.Equal(t, "red", entries[0]["id"])

	object_, found := f.Object("teams", "red")
	require.True(t, found)
	assert.Equal(t, "Red", object_["properties"].(object)["name"])
	_, found = f.Object("teams", "missing")
	assert.False(t, found)

	f.call("PUT", "/v1/objects/teams/a%2Fb", object{}).refused(422, "invalid_params")
	f.call("PUT", "/v1/objects/te%23ams/a", object{}).refused(422, "invalid_params")
	f.call("PUT", "/v1/objects/teams/red", object{"created_at": 1}).refused(422, "invalid_params")
	f.call("GET", "/v1/objects/teams/green", nil).refused(404, "resource_missing")
}

func TestTenantsAreObjects(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.useClock()
	f.call("PUT", "/v1/tenants/org", object{"name": "Acme", "slug": "acme", "logo": nil}).want(200)
	f.call("PUT", "/v1/objects/$tenants/org", object{"slug": "acme-2"}).want(200)
	tenant := f.call("GET", "/v1/tenants/org", nil).want(200)
	assert.JSONEq(t, `{
		"__typename": "Tenant", "id": "org", "name": "Acme", "slug": "acme-2", "logo": null,
		"created_at": null, "updated_at": "2026-01-02T03:04:05.000Z"
	}`, string(tenant.raw))
	asObject := f.call("GET", "/v1/objects/$tenants/org", nil).want(200).object()
	assert.Equal(t, "Object", asObject["__typename"])
	assert.Equal(t, object{"name": "Acme", "slug": "acme-2", "logo": nil}, asObject["properties"])
	listed := f.call("GET", "/v1/objects/$tenants", nil).want(200).entries()
	assert.Equal(t, "$tenants", listed[0]["collection"])

	shown, found := f.Tenant("org")
	require.True(t, found)
	assert.Equal(t, "Acme", shown["name"])
	assert.Equal(t, []string{"org"}, f.Tenants())

	f.call("DELETE", "/v1/objects/%24tenants/org", nil).want(204)
	f.call("GET", "/v1/tenants/org", nil).refused(404, "resource_missing")
}

func TestDeletingObjectsRemovesTheirSubscriptions(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/tenants/org", object{}).want(200)
	f.call("PUT", "/v1/objects/teams/red", object{}).want(200)
	f.call("POST", "/v1/objects/$tenants/org/subscriptions", object{"recipients": []any{"u", object{"collection": "teams", "id": "red"}}}).want(200)
	f.call("POST", "/v1/objects/teams/red/subscriptions", object{"recipients": []any{"u"}}).want(200)
	f.call("DELETE", "/v1/objects/teams/red", nil).want(204)
	assert.Len(t, f.Subscriptions("$tenants", "org"), 1)
	assert.Empty(t, f.Subscriptions("teams", "red"))
	f.call("DELETE", "/v1/tenants/org", nil).want(204)
	f.call("PUT", "/v1/tenants/org", object{}).want(200)
	assert.Empty(t, f.Subscriptions("$tenants", "org"))
}

func TestTenantSettings(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	settings := func(body any) object {
		o := f.call("PUT", "/v1/tenants/org?resolve_full_preference_settings=true", object{"settings": body}).want(200).object()
		s, _ := o["settings"].(object)
		return s
	}
	set := func(o object) object { return o["preference_set"].(object) }

	s := settings(object{"branding": object{"primary_color": "#111"}, "preference_set": object{"categories": object{"a": true}}})
	assert.Equal(t, object{"id": "default", "categories": object{"a": true}}, set(s))
	s = settings(object{"branding": object{"icon_url": nil}, "preference_set": object{"categories": object{"b": false}}})
	assert.Equal(t, object{"primary_color": "#111", "icon_url": nil}, s["branding"])
	assert.Equal(t, object{"a": true, "b": false}, set(s)["categories"], "merged")
	s = settings(object{"preference_set": object{"__persistence_strategy__": "replace", "categories": object{"c": true}}})
	assert.Equal(t, object{"id": "default", "categories": object{"c": true}}, set(s), "replaced")
	s = settings(object{"preference_set": nil})
	assert.Contains(t, s, "preference_set")
	assert.Nil(t, s["preference_set"], "cleared")
	assert.Empty(t, settings(nil))

	for _, bad := range []any{1, object{"preference_set": 1}, object{"preference_set": object{"__persistence_strategy__": "x"}}} {
		f.call("PUT", "/v1/tenants/org", object{"settings": bad}).refused(422, "invalid_params")
	}
	f.call("PUT", "/v1/tenants/org?resolve_full_preference_settings=1", object{}).refused(422, "invalid_params")
	f.call("GET", "/v1/tenants/org?resolve_full_preference_settings=x", nil).refused(422, "invalid_params")
}

func TestListTenantsFilters(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.call("PUT", "/v1/tenants/a", object{"name": "Acme"}).want(200)
	f.call("PUT", "/v1/tenants/b", object{"name": "Bolt"}).want(200)
	assert.Len(t, f.call("GET", "/v1/tenants", nil).want(200).entries(), 2)
	byName := f.call("GET", "/v1/tenants?name=Bolt", nil).want(200).entries()
	require.Len(t, byName, 1)
	assert.Equal(t, "b", byName[0]["id"])
	byID := f.call("GET", "/v1/tenants?tenant_id=a", nil).want(200).entries()
	require.Len(t, byID, 1)
	assert.Equal(t, "Acme", byID[0]["name"])
}
