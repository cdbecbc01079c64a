package bridgetest_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/bridgetest"
)

// poll returns the operation as the next poll finds it.
func (f *fake) poll(op object) object {
	f.t.Helper()
	return f.call("GET", "/v1/bulk_operations/"+op["id"].(string), nil).want(200).object()
}

// finish polls an operation to its end and returns the ids that failed.
func (f *fake) finish(a *answer) (failed []string) {
	f.t.Helper()
	op := a.want(200).object()
	require.Equal(f.t, "queued", op["status"])
	op = f.poll(op)
	require.Equal(f.t, "processing", op["status"])
	op = f.poll(op)
	require.Equal(f.t, "completed", op["status"])
	items := op["error_items"].([]any)
	assert.InDelta(f.t, len(items), op["error_count"], 0)
	assert.InDelta(f.t, op["estimated_total_rows"], op["processed_rows"], 0)
	assert.InDelta(f.t, op["processed_rows"], op["success_count"].(float64)+op["error_count"].(float64), 0)
	for _, item := range items {
		failed = append(failed, item.(object)["id"].(string))
	}
	return failed
}

func TestBulkOperationsAreAsynchronous(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	op := f.call("POST", "/v1/users/bulk/identify", object{"users": []any{object{"id": "a", "name": "A"}, object{"id": "a/b"}}}).want(200).object()
	assert.Equal(t, "BulkOperation", op["__typename"])
	assert.Equal(t, "queued", op["status"])
	assert.Equal(t, "users.identify", op["name"])
	assert.InDelta(t, 2, op["estimated_total_rows"], 0)
	assert.Nil(t, op["started_at"])
	assert.Equal(t, f.URL+"/v1/bulk_operations/"+op["id"].(string), op["progress_path"])
	f.call("GET", "/v1/users/a", nil).refused(404, "resource_missing")

	op = f.poll(op)
	assert.Equal(t, "processing", op["status"])
	assert.NotNil(t, op["started_at"])
	f.call("GET", "/v1/users/a", nil).refused(404, "resource_missing")

	op = f.poll(op)
	assert.Equal(t, "completed", op["status"])
	assert.NotNil(t, op["completed_at"])
	assert.InDelta(t, 1, op["success_count"], 0)
	assert.Equal(t, []any{object{"id": "a/b", "collection": nil}}, op["error_items"])
	f.call("GET", "/v1/users/a", nil).want(200)
	assert.Equal(t, op, f.poll(op), "completed stays completed")
	f.call("GET", "/v1/bulk_operations/missing", nil).refused(404, "resource_missing")
}

func TestLookingInsideFinishesBulkOperations(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	op := f.call("POST", "/v1/users/bulk/identify", object{"users": []any{object{"id": "a"}}}).want(200).object()
	assert.Equal(t, []string{"a"}, f.Users())
	assert.Equal(t, "completed", f.poll(op)["status"])
}

func TestBulkUsers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.finish(f.call("POST", "/v1/users/bulk/identify", object{"users": []any{object{"id": "a", "n": object{"x": 1}}, object{"id": "b"}}}))
	f.finish(f.call("POST", "/v1/users/bulk/identify", object{"users": []any{object{"id": "a", "n": object{"y": nil}}}}))
	user, _ := f.User("a")
	assert.Equal(t, object{"x": float64(1), "y": nil}, user["n"])

	set := func(body object) {
		assert.Equal(t, []string{"a/b"}, f.finish(f.call("POST", "/v1/users/bulk/preferences", object{"user_ids": []any{"a", "a/b"}, "preferences": body})))
	}
	set(object{"id": "org", "categories": object{"x": true}})
	set(object{"id": "org", "workflows": object{"w": true}})
	prefs, found := f.Preferences(bridgetest.Ref{ID: "a"}, "org")
	require.True(t, found)
	assert.Nil(t, prefs["categories"], "bulk preferences replace")
	set(object{})
	_, found = f.Preferences(bridgetest.Ref{ID: "a"}, "default")
	assert.True(t, found)

	failed := f.finish(f.call("POST", "/v1/users/bulk/delete", object{"user_ids": []any{"a", "missing"}}))
	assert.Equal(t, []string{"missing"}, failed)
	assert.Equal(t, []string{"b"}, f.Users())
	f.Configure(func(o *bridgetest.KnockOptions) { o.DeleteMissing = true })
	assert.Empty(t, f.finish(f.call("POST", "/v1/users/bulk/delete", object{"user_ids": []any{"a"}})))
}

func TestBulkObjects(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.finish(f.call("POST", "/v1/objects/teams/bulk/set", object{"objects": []any{object{"id": "red", "name": "Red"}, object{"id": "blue"}}}))
	assert.Equal(t, []string{"red", "blue"}, f.Objects("teams"))

	failed := f.finish(f.call("POST", "/v1/objects/teams/bulk/subscriptions/add", object{"subscriptions": []any{
		object{"id": "red", "recipients": []any{"u", object{"id": "v", "name": "V"}}, "properties": object{"role": "x"}},
		object{"id": "green", "recipients": []any{"u"}},
		object{"id": "blue", "recipients": []any{1}},
	}}))
	assert.Equal(t, []string{"green", "blue"}, failed)
	require.Len(t, f.Subscriptions("teams", "red"), 2)
	assert.Equal(t, object{"role": "x"}, f.Subscriptions("teams", "red")[0].Properties)
	assert.Equal(t, []string{"v"}, f.Users())

	assert.Empty(t, f.finish(f.call("POST", "/v1/objects/teams/bulk/subscriptions/delete", object{"subscriptions": []any{
		object{"id": "red", "recipients": []any{"u", "stranger"}}, object{"id": "green", "recipients": []any{"u"}},
	}})), "what is missing is passed over")
	assert.Len(t, f.Subscriptions("teams", "red"), 1)

	failed = f.finish(f.call("POST", "/v1/objects/teams/bulk/delete", object{"object_ids": []any{"red", "green"}}))
	assert.Equal(t, []string{"green"}, failed)
	assert.Equal(t, []string{"blue"}, f.Objects("teams"))
	op := f.call("POST", "/v1/objects/teams/bulk/delete", object{"object_ids": []any{"green"}}).want(200).object()
	f.poll(op)
	assert.Equal(t, []any{object{"id": "green", "collection": "teams"}}, f.poll(op)["error_items"])
}

func TestBulkTenants(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.finish(f.call("POST", "/v1/tenants/bulk/set", object{"tenants": []any{object{"id": "a b", "name": "A"}, "plain"}}))
	assert.Equal(t, []string{"a b", "plain"}, f.Tenants())
	query := url.Values{"tenant_ids[]": {"a b", "missing"}}
	failed := f.finish(f.call("POST", "/v1/tenants/bulk/delete?"+query.Encode(), nil))
	assert.Equal(t, []string{"missing"}, failed)
	assert.Equal(t, []string{"plain"}, f.Tenants())
	for _, query := range []string{"", "?tenant_ids=plain", "?tenant_ids[0][id]=plain"} {
		f.call("POST", "/v1/tenants/bulk/delete"+query, nil).refused(422, "invalid_params")
	}
}

func TestBulkSchedules(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.Configure(func(o *bridgetest.KnockOptions) { o.Workflows = []string{"w"} })
	failed := f.finish(f.call("POST", "/v1/schedules/bulk/create", object{"schedules": []any{
		object{"workflow": "w", "recipient": object{"id": "u", "name": "U"}, "scheduled_at": "2026-12-01T09:00:00Z"},
		object{"workflow": "other", "recipient": "v"},
		object{"workflow": "w", "recipient": "x", "actor": "missing"},
		object{"workflow": "w", "recipient": object{"id": "y", "name": 1}},
	}}))
	assert.Equal(t, []string{"v", "x", "y"}, failed)
	assert.Equal(t, []string{"u"}, f.Users())
	require.Len(t, f.Schedules(), 1)
	assert.Equal(t, "U", f.Schedules()[0]["recipient"].(object)["name"])
}

func TestBulkRefusals(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	ids := func(n int) []any { return repeat(n, func(i int) any { return fmt.Sprint("i", i) }) }
	many := func(o object) []any { return repeat(1001, func(int) any { return o }) }
	for path, bodies := range map[string][]object{
		"/v1/users/bulk/identify":                      {{}, {"users": []any{"u"}}, {"users": []any{object{"name": "x"}}}, {"users": many(object{"id": "u"})}},
		"/v1/users/bulk/delete":                        {{}, {"user_ids": []any{1}}, {"user_ids": ids(1001)}},
		"/v1/users/bulk/preferences":                   {{"preferences": object{}}, {"user_ids": ids(1)}, {"user_ids": ids(1), "preferences": object{"id": 1}}, {"user_ids": ids(1), "preferences": object{"channels": 1}}},
		"/v1/objects/teams/bulk/set":                   {{}, {"objects": []any{"red"}}, {"objects": many(object{"id": "u"})}},
		"/v1/objects/teams/bulk/delete":                {{}, {"object_ids": "x"}, {"object_ids": ids(1001)}},
		"/v1/objects/teams/bulk/subscriptions/add":     {{}, {"subscriptions": []any{"red"}}, {"subscriptions": []any{object{"id": "red"}}}, {"subscriptions": []any{object{"id": "red", "recipients": ids(101)}}}},
		"/v1/objects/teams/bulk/subscriptions/delete":  {{}, {"subscriptions": []any{object{"id": "red", "recipients": []any{object{"id": "inline"}}}}}},
		"/v1/tenants/bulk/set":                         {{}, {"tenants": []any{1}}, {"tenants": ids(1001)}},
		"/v1/schedules/bulk/create":                    {{}, {"schedules": []any{1}}, {"schedules": []any{object{"workflow": "w"}}}},
		"/v1/tenants/bulk/delete?" + manyTenants(1001): {nil},
	} {
		for _, body := range bodies {
			f.call("POST", path, body).refused(422, "invalid_params")
		}
	}
	f.call("POST", "/v1/users/bulk/delete", object{"user_ids": ids(1000)}).want(200)
}

func manyTenants(n int) string {
	values := make(url.Values)
	for i := range n {
		values.Add("tenant_ids[]", fmt.Sprint("t", i))
	}
	return values.Encode()
}
