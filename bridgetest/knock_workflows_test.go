package bridgetest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/bridgetest"
)

func TestTrigger(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	res := f.keyed("POST", "/v1/workflows/welcome/trigger", object{
		"recipients": []any{
			"stranger",
			object{"id": "u", "name": "U", "$trigger_data": object{"x": 1}},
			object{"collection": "teams", "id": "red", "name": "Red"},
			object{"collection": "$tenants", "id": "other"},
		},
		"actor":            object{"id": "boss", "name": "Boss"},
		"tenant":           "org",
		"data":             object{"role": "admin", "none": nil},
		"cancellation_key": "c",
		"settings":         object{"sandbox_mode": true, "skip_delay": nil},
	}, "key").want(200).object()

	runs := f.Runs()
	require.Len(t, runs, 1)
	assert.Equal(t, bridgetest.WorkflowRun{
		ID:       res["workflow_run_id"].(string),
		Workflow: "welcome",
		Recipients: []bridgetest.Ref{
			{ID: "stranger"}, {ID: "u"}, {Collection: "teams", ID: "red"}, {Collection: "$tenants", ID: "other"},
		},
		Reached:         []string{"u"},
		Actor:           bridgetest.Ref{ID: "boss"},
		Tenant:          "org",
		Data:            object{"role": "admin", "none": nil},
		CancellationKey: "c",
		IdempotencyKey:  "key",
	}, runs[0])
	assert.Equal(t, []string{"u", "boss"}, f.Users(), "inline recipients are identified, bare ids are not")
	user, _ := f.User("u")
	assert.NotContains(t, user, "$trigger_data")
	assert.Equal(t, []string{"red"}, f.Objects("teams"))
	assert.Equal(t, []string{"other", "org"}, f.Tenants(), "a stub tenant is created")

	f.call("POST", "/v1/workflows/welcome/trigger", object{"recipients": []any{"u"}, "tenant": object{"id": "org", "name": "Acme"}}).want(200)
	tenant, _ := f.Tenant("org")
	assert.Equal(t, "Acme", tenant["name"])
	f.call("POST", "/v1/workflows/welcome/trigger", object{
		"recipients": []any{}, "actor": nil, "tenant": nil, "data": nil, "cancellation_key": nil, "settings": nil,
	}).want(200)
	runs[0].Data["role"] = "changed"
	assert.Equal(t, "admin", f.Runs()[0].Data["role"], "a copy was returned")
}

func TestTriggerReachesSubscribers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	team := func(id string) any { return object{"collection": "teams", "id": id} }
	subscribe := func(path string, recipients ...any) {
		f.call("POST", "/v1/objects/"+path+"/subscriptions", object{"recipients": recipients}).want(200)
	}
	f.call("PUT", "/v1/tenants/org", object{}).want(200)
	subscribe("$tenants/org", object{"id": "a"}, object{"id": "actor"}, "stranger", team("one"))
	subscribe("teams/one", object{"id": "b"}, object{"id": "a"}, team("two"))
	subscribe("teams/two", object{"id": "too-deep"})
	org := object{"collection": "$tenants", "id": "org"}

	f.call("POST", "/v1/workflows/w/trigger", object{"recipients": []any{org}, "actor": "actor"}).want(200)
	f.call("POST", "/v1/workflows/w/trigger", object{"recipients": []any{org, "actor"}, "actor": "actor"}).want(200)
	runs := f.Runs()
	assert.Equal(t, []string{"a", "b"}, runs[0].Reached)
	assert.Equal(t, []string{"actor", "a", "b"}, runs[1].Reached, "a direct recipient is reached, actor or not")
}

func TestTriggerRefusals(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for name, body := range map[string]object{
		"no recipients":    {},
		"1001 recipients":  {"recipients": repeat(1001, func(i int) any { return fmt.Sprint("u", i) })},
		"number":           {"recipients": []any{1}},
		"data":             {"recipients": []any{"u"}, "data": []any{}},
		"data too large":   {"recipients": []any{"u"}, "data": object{"x": strings.Repeat("x", 10_000_000)}},
		"cancellation key": {"recipients": []any{"u"}, "cancellation_key": 1},
		"settings":         {"recipients": []any{"u"}, "settings": true},
		"sandbox mode":     {"recipients": []any{"u"}, "settings": object{"sandbox_mode": "yes"}},
		"actor":            {"recipients": []any{object{"id": "u"}}, "actor": 1},
		"tenant":           {"recipients": []any{object{"id": "u"}}, "tenant": 1},
		"tenant id":        {"recipients": []any{object{"id": "u"}}, "tenant": ""},
		"inline tenant":    {"recipients": []any{object{"id": "u"}}, "tenant": object{"name": "x"}},
		"created_at":       {"recipients": []any{object{"id": "v"}, object{"id": "u", "created_at": 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.call("POST", "/v1/workflows/w/trigger", body).refused(422, "invalid_params")
			assert.Empty(t, f.Users(), "a refused trigger identifies nobody")
			assert.Empty(t, f.Runs())
		})
	}
	f.call("POST", "/v1/workflows/w/trigger", object{"recipients": repeat(1000, func(i int) any { return fmt.Sprint("u", i) })}).want(200)
}

func TestActorMustBeKnown(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	body := object{"recipients": []any{"u"}, "actor": "boss"}
	f.call("POST", "/v1/workflows/w/trigger", body).refused(422, "actor_missing")
	f.call("POST", "/v1/schedules", object{"workflow": "w", "recipients": []any{"u"}, "actor": "boss"}).refused(422, "actor_missing")
	f.call("PUT", "/v1/users/boss", object{}).want(200)
	f.call("POST", "/v1/workflows/w/trigger", body).want(200)
	f.call("POST", "/v1/workflows/w/trigger", object{"recipients": []any{object{"id": "new"}}, "actor": "new"}).want(200)
}

func TestDeclaredWorkflows(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	body := object{"recipients": []any{"u"}}
	f.call("POST", "/v1/workflows/anything/trigger", body).want(200)
	f.Configure(func(o *bridgetest.KnockOptions) { o.Workflows, o.InactiveWorkflows = []string{"on"}, []string{"off"} })
	f.call("POST", "/v1/workflows/on/trigger", body).want(200)
	f.call("POST", "/v1/workflows/off/trigger", body).refused(422, "workflow_inactive")
	f.call("POST", "/v1/workflows/other/trigger", body).refused(404, "workflow_missing")
	f.call("POST", "/v1/workflows/other/cancel", object{"cancellation_key": "c"}).refused(404, "workflow_missing")
	f.call("POST", "/v1/workflows/off/cancel", object{"cancellation_key": "c"}).want(204)
	f.call("POST", "/v1/schedules", object{"workflow": "other", "recipients": []any{"u"}}).refused(404, "workflow_missing")
	assert.Len(t, f.Runs(), 2)
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.useClock()
	trigger := func(workflow string, body object) *answer {
		return f.keyed("POST", "/v1/workflows/"+workflow+"/trigger", body, "key")
	}
	body := object{"recipients": []any{"u"}, "data": object{"a": 1, "b": nil}}

	f.Configure(func(o *bridgetest.KnockOptions) { o.InactiveWorkflows = []string{"w"} })
	trigger("w", body).refused(422, "workflow_inactive")
	f.Configure(func(o *bridgetest.KnockOptions) { o.InactiveWorkflows = nil })
	first := trigger("w", body).want(200) // a failure was not remembered
	assert.Empty(t, first.header.Get("idempotent-replayed"))

	c.Advance(24*time.Hour - time.Millisecond)
	again := trigger("w", body).want(200)
	assert.Equal(t, "true", again.header.Get("idempotent-replayed"))
	assert.Equal(t, first.header.Get("x-request-id"), again.header.Get("original-x-request-id"))
	assert.NotEqual(t, first.header.Get("x-request-id"), again.header.Get("x-request-id"))
	assert.Equal(t, string(first.raw), string(again.raw))
	require.Len(t, f.Runs(), 1)

	for _, other := range []object{{"recipients": []any{"v"}}, {"recipients": []any{"u"}, "data": object{"a": 1}}} {
		trigger("w", other).refused(400, "idempotency_key_mismatch")
	}
	trigger("other", body).refused(400, "idempotency_key_mismatch")
	f.Configure(func(o *bridgetest.KnockOptions) { o.IdempotencyMismatch = "idempotency_error" })
	trigger("other", body).refused(400, "idempotency_error")

	c.Advance(time.Millisecond)
	later := trigger("w", body).want(200)
	assert.Empty(t, later.header.Get("idempotent-replayed"), "forgotten after 24 hours")
	assert.Len(t, f.Runs(), 2)

	f.keyed("POST", "/v1/workflows/w/trigger", body, strings.Repeat("k", 256)).refused(422, "invalid_params")
	f.keyed("POST", "/v1/workflows/w/trigger", body, strings.Repeat("k", 255)).want(200)
}

func TestIdempotencyIsForTriggersOnly(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	body := object{"workflow": "w", "recipients": []any{"u"}}
	f.keyed("POST", "/v1/schedules", body, "key").want(200)
	f.keyed("POST", "/v1/schedules", body, "key").want(200)
	assert.Len(t, f.Schedules(), 2)
	f.keyed("PUT", "/v1/users/u", object{"name": "A"}, "key").want(200)
	f.keyed("PUT", "/v1/users/u", object{"name": "B"}, "key").want(200)
	user, _ := f.User("u")
	assert.Equal(t, "B", user["name"])
}

func TestCancel(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	trigger := func(workflow, key string, recipients ...any) {
		f.call("POST", "/v1/workflows/"+workflow+"/trigger", object{"recipients": recipients, "cancellation_key": key}).want(200)
	}
	f.call("PUT", "/v1/objects/teams/red", object{}).want(200)
	f.call("POST", "/v1/objects/teams/red/subscriptions", object{"recipients": []any{object{"id": "sub"}}}).want(200)
	red := object{"collection": "teams", "id": "red"}
	trigger("w", "all", "u", "v")
	trigger("w", "other", "u")
	trigger("other", "all", "u")
	trigger("w", "some", "u", "v", red)

	f.call("POST", "/v1/workflows/w/cancel", object{"cancellation_key": "all", "recipients": nil}).want(204)
	f.call("POST", "/v1/workflows/w/cancel", object{"cancellation_key": "some", "recipients": []any{"u", "sub", "stranger"}}).want(204)
	f.call("POST", "/v1/workflows/w/cancel", object{"cancellation_key": "nothing"}).want(204)
	runs := f.Runs()
	assert.True(t, runs[0].Canceled)
	assert.False(t, runs[1].Canceled)
	assert.False(t, runs[2].Canceled)
	assert.False(t, runs[3].Canceled)
	assert.Equal(t, []bridgetest.Ref{{ID: "u"}, {ID: "sub"}}, runs[3].CanceledFor)
	want := f.Runs()[3]
	runs[3].CanceledFor[0], runs[3].Recipients[0], runs[3].Reached[0] = bridgetest.Ref{}, bridgetest.Ref{}, ""
	assert.Equal(t, want, f.Runs()[3], "what is returned is a copy")

	f.call("POST", "/v1/workflows/w/cancel", object{"cancellation_key": "some", "recipients": []any{"u", "v", red}}).want(204)
	assert.True(t, f.Runs()[3].Canceled, "canceled for all, one by one")
	assert.Len(t, f.Runs()[3].CanceledFor, 4)

	for _, body := range []object{{}, {"cancellation_key": nil}, {"cancellation_key": "c", "recipients": "u"}, {"cancellation_key": "c", "recipients": []any{object{"id": "u", "name": "inline"}}}} {
		f.call("POST", "/v1/workflows/w/cancel", body).refused(422, "invalid_params")
	}
}
