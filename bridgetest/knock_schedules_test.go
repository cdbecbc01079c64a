package bridgetest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSchedules(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	created := f.call("POST", "/v1/schedules", object{
		"workflow": "digest", "recipients": []any{"u", object{"id": "v", "name": "V"}},
		"actor": object{"id": "boss"}, "tenant": "org", "data": object{"a": 1},
		"repeats":      []any{object{"frequency": "weekly", "days": []any{"mon"}, "hours": 8}},
		"scheduled_at": "2026-12-01T09:00:00Z", "ending_at": nil,
	}).want(200).array()
	require.Len(t, created, 2)
	first := created[0]
	assert.Equal(t, "Schedule", first["__typename"])
	assert.Equal(t, "u", first["recipient"].(object)["id"])
	assert.Equal(t, "V", created[1]["recipient"].(object)["name"])
	assert.Equal(t, "boss", first["actor"].(object)["id"])
	assert.Equal(t, "org", first["tenant"])
	assert.Equal(t, "2026-12-01T09:00:00Z", first["next_occurrence_at"])
	rule := first["repeats"].([]any)[0].(object)
	assert.Equal(t, "weekly", rule["frequency"])
	assert.InDelta(t, 1, rule["interval"], 0)
	assert.Equal(t, []string{"v", "boss"}, f.Users())
	assert.Equal(t, []string{"org"}, f.Tenants())
	plain := f.call("POST", "/v1/schedules", object{"workflow": "other", "recipients": []any{"u"}}).want(200).array()[0]
	assert.Nil(t, plain["actor"])
	assert.Equal(t, []any{}, plain["repeats"])

	list := func(query string) []object { return f.call("GET", "/v1/schedules?"+query, nil).want(200).entries() }
	assert.Len(t, list("workflow=digest"), 2)
	assert.Len(t, list("workflow=digest&page_size=1"), 1)
	assert.Len(t, list("workflow=digest&recipients[]=v"), 1)
	assert.Empty(t, list("workflow=digest&tenant=nope"))
	assert.Len(t, list("workflow=digest&tenant=org"), 2)
	f.call("GET", "/v1/schedules", nil).refused(422, "invalid_params")
	f.call("GET", "/v1/schedules?workflow=digest&recipients=u", nil).refused(422, "invalid_params")

	ids := []any{created[0]["id"], created[1]["id"]}
	updated := f.call("PUT", "/v1/schedules", object{"schedule_ids": ids, "data": object{"b": 2}, "tenant": nil, "actor": nil}).want(200).array()
	require.Len(t, updated, 2)
	for _, sc := range updated {
		assert.Equal(t, object{"b": float64(2)}, sc["data"])
		assert.Nil(t, sc["tenant"])
		assert.Nil(t, sc["actor"])
		assert.Equal(t, "2026-12-01T09:00:00Z", sc["next_occurrence_at"])
	}
	f.call("PUT", "/v1/schedules", object{"schedule_ids": ids, "actor": object{"id": "new boss", "name": "Ada"}}).want(200)
	boss, _ := f.User("new boss")
	assert.Equal(t, "Ada", boss["name"])
	f.call("PUT", "/v1/schedules", object{"schedule_ids": []any{ids[0], "missing"}, "data": nil}).refused(404, "resource_missing")
	assert.Equal(t, object{"b": float64(2)}, f.Schedules()[0]["data"], "none was changed")

	removed := f.call("DELETE", "/v1/schedules", object{"schedule_ids": []any{ids[0], "missing"}}).want(200).array()
	require.Len(t, removed, 1)
	assert.Equal(t, ids[0], removed[0]["id"])
	assert.Len(t, f.Schedules(), 2)
}

func TestScheduleRefusals(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	recipients := []any{object{"id": "u"}}
	for name, body := range map[string]object{
		"no workflow":    {"recipients": recipients},
		"no recipients":  {"workflow": "w"},
		"101 recipients": {"workflow": "w", "recipients": repeat(101, func(int) any { return "u" })},
		"bad recipient":  {"workflow": "w", "recipients": []any{1}},
		"scheduled_at":   {"workflow": "w", "recipients": recipients, "scheduled_at": "tomorrow"},
		"ending_at":      {"workflow": "w", "recipients": recipients, "ending_at": 1},
		"data":           {"workflow": "w", "recipients": recipients, "data": 1},
		"tenant":         {"workflow": "w", "recipients": recipients, "tenant": 1},
		"repeats":        {"workflow": "w", "recipients": recipients, "repeats": "daily"},
		"rule":           {"workflow": "w", "recipients": recipients, "repeats": []any{1}},
		"frequency":      {"workflow": "w", "recipients": recipients, "repeats": []any{object{"frequency": "yearly"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.call("POST", "/v1/schedules", body).refused(422, "invalid_params")
			assert.Empty(t, f.Schedules(), "a refused request changes nothing")
			assert.Empty(t, f.Users())
		})
	}
	for _, method := range []string{"PUT", "DELETE"} {
		f.call(method, "/v1/schedules", object{}).refused(422, "invalid_params")
		f.call(method, "/v1/schedules", object{"schedule_ids": []any{1}}).refused(422, "invalid_params")
		f.call(method, "/v1/schedules", object{"schedule_ids": repeat(101, func(int) any { return "x" })}).refused(422, "invalid_params")
	}
}
