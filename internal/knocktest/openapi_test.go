package knocktest_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/knocktest"
)

const document = "../../../shared/knock/openapi.yml"

// operations is how many operations the fake knows.
const operations = 49

func load(t *testing.T) *knocktest.Spec {
	t.Helper()
	spec, err := knocktest.Load(document)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("Knock's OpenAPI document is not here: %v", err)
	}
	require.NoError(t, err)
	return spec
}

// exchange is one request of the walk through the whole API.
type exchange struct {
	operation string // as the document names it
	target    string
	body      string
	status    int
}

const (
	channel   = "8209f26c-62a5-461d-95e2-a5716a26e652"
	schedule  = "{schedule}"
	operation = "{operation}"
)

var walk = []exchange{
	{"PUT /v1/users/{user_id}", "/v1/users/u", `{"name":"U","email":null,"plan":{"a":[1,null]},"created_at":"2026-11-20T09:15:02.123Z",
		"preferences":{"default":{"channel_types":{"email":true}}},"channel_data":{"` + channel + `":{"tokens":["t"]}}}`, 200},
	{"PUT /v1/users/{user_id}", "/v1/users/v", `{}`, 200},
	{"GET /v1/users/{user_id}", "/v1/users/u", "", 200},
	{"GET /v1/users", "/v1/users?include[]=preferences&page_size=1", "", 200},
	{"PUT /v1/users/{user_id}/preferences/{id}", "/v1/users/u/preferences/default", `{"__persistence_strategy__":"merge","categories":{"a":true,"b":{"channel_types":{"sms":false}}},
		"channel_types":{"sms":{"conditions":[{"variable":"recipient.country","operator":"equal_to","argument":"US"}]}},"workflows":null,"commercial_subscribed":true}`, 200},
	{"GET /v1/users/{user_id}/preferences/{id}", "/v1/users/u/preferences/default?tenant=org", "", 200},
	{"PUT /v1/users/{user_id}/channel_data/{channel_id}", "/v1/users/u/channel_data/" + channel, `{"data":{"connections":[{"user_id":"U1","access_token":"x"}]}}`, 200},
	{"PUT /v1/users/{user_id}/channel_data/{channel_id}", "/v1/users/u/channel_data/" + channel, `{"data":{"tokens":["t"]}}`, 200},
	{"GET /v1/users/{user_id}/channel_data/{channel_id}", "/v1/users/u/channel_data/" + channel, "", 200},

	{"PUT /v1/tenants/{id}", "/v1/tenants/org?resolve_full_preference_settings=true", `{"name":"Acme","slug":"acme","settings":{"branding":{"primary_color":"#111","icon_url":null},
		"preference_set":{"channel_types":{"email":true}}}}`, 200},
	{"PUT /v1/tenants/{id}", "/v1/tenants/org", `{"name":null,"settings":{"preference_set":null}}`, 200},
	{"GET /v1/tenants/{id}", "/v1/tenants/org", "", 200},
	{"GET /v1/tenants", "/v1/tenants?name=Acme&page_size=10", "", 200},
	{"GET /v1/tenants", "/v1/tenants", "", 200},

	{"PUT /v1/objects/{collection}/{id}", "/v1/objects/teams/red", `{"name":"Red","meta":{"a":null}}`, 200},
	{"GET /v1/objects/{collection}/{id}", "/v1/objects/$tenants/org", "", 200},
	{"GET /v1/objects/{collection}/{id}", "/v1/objects/teams/red", "", 200},
	{"GET /v1/objects/{collection}", "/v1/objects/teams?include[]=preferences", "", 200},
	{"PUT /v1/objects/{collection}/{object_id}/preferences/{id}", "/v1/objects/teams/red/preferences/default", `{"channel_types":{"email":false}}`, 200},
	{"GET /v1/objects/{collection}/{object_id}/preferences/{id}", "/v1/objects/teams/red/preferences/default", "", 200},
	{"PUT /v1/objects/{collection}/{object_id}/channel_data/{channel_id}", "/v1/objects/teams/red/channel_data/" + channel, `{"data":{"connections":[{"channel_id":"C1"}]}}`, 200},
	{"PUT /v1/objects/{collection}/{object_id}/channel_data/{channel_id}", "/v1/objects/$tenants/org/channel_data/" + channel, `{"data":{"token":{"access_token":"x"}}}`, 200},
	{"GET /v1/objects/{collection}/{object_id}/channel_data/{channel_id}", "/v1/objects/$tenants/org/channel_data/" + channel, "", 200},

	{"POST /v1/objects/{collection}/{object_id}/subscriptions", "/v1/objects/$tenants/org/subscriptions", `{"recipients":["u","ghost",{"id":"v","name":"V"},{"collection":"teams","id":"red"}],"properties":{"role":"admin","n":null}}`, 200},
	{"POST /v1/objects/{collection}/{object_id}/subscriptions", "/v1/objects/%24tenants/org/subscriptions", `{"recipients":["u"],"properties":null}`, 200},
	{"GET /v1/objects/{collection}/{object_id}/subscriptions", "/v1/objects/$tenants/org/subscriptions?mode=object&recipients[]=u&include[]=preferences", "", 200},
	{"GET /v1/objects/{collection}/{object_id}/subscriptions", "/v1/objects/teams/red/subscriptions?mode=recipient", "", 200},
	{"GET /v1/users/{user_id}/subscriptions", "/v1/users/u/subscriptions", "", 200},
	{"DELETE /v1/objects/{collection}/{object_id}/subscriptions", "/v1/objects/$tenants/org/subscriptions", `{"recipients":["u",{"collection":"teams","id":"red"}]}`, 200},

	{"POST /v1/audiences/{key}/members", "/v1/audiences/paid/members?create_audience=true", `{"members":[{"user":{"id":"u"}},{"user":{"id":"w","name":"W"},"tenant":"org"}]}`, 204},
	{"GET /v1/audiences/{key}/members", "/v1/audiences/paid/members", "", 200},
	{"DELETE /v1/audiences/{key}/members", "/v1/audiences/paid/members", `{"members":[{"user":{"id":"w"},"tenant":"org"}]}`, 204},

	{"POST /v1/workflows/{key}/trigger", "/v1/workflows/welcome/trigger", `{"recipients":["u",{"id":"x","name":"X","$trigger_data":{"a":1}},{"collection":"$tenants","id":"org"}],
		"actor":{"id":"boss"},"tenant":{"id":"org","name":"Acme"},"data":{"a":null},"cancellation_key":"c","settings":{"skip_delay":true}}`, 200},
	{"POST /v1/workflows/{key}/trigger", "/v1/workflows/welcome/trigger", `{"recipients":["u"],"actor":null,"tenant":null,"data":null,"cancellation_key":null,"settings":null}`, 200},
	{"POST /v1/workflows/{key}/cancel", "/v1/workflows/welcome/cancel", `{"cancellation_key":"c","recipients":["u",{"collection":"teams","id":"red"}]}`, 204},
	{"POST /v1/workflows/{key}/cancel", "/v1/workflows/welcome/cancel", `{"cancellation_key":"c","recipients":null}`, 204},

	{"POST /v1/schedules", "/v1/schedules", `{"workflow":"digest","recipients":["u",{"id":"v"}],"actor":"boss","tenant":"org","data":{"a":1},
		"repeats":[{"frequency":"weekly","days":["mon","fri"],"hours":8,"minutes":30}],"scheduled_at":"2026-12-01T09:00:00Z"}`, 200},
	{"GET /v1/schedules", "/v1/schedules?workflow=digest&recipients[]=u&tenant=org", "", 200},
	{"PUT /v1/schedules", "/v1/schedules", `{"schedule_ids":["` + schedule + `"],"ending_at":"2027-01-01T00:00:00Z","data":null}`, 200},
	{"DELETE /v1/schedules", "/v1/schedules", `{"schedule_ids":["` + schedule + `"]}`, 200},

	{"POST /v1/users/bulk/identify", "/v1/users/bulk/identify", `{"users":[{"id":"b1","name":"B"},{"id":"b2"}]}`, 200},
	{"POST /v1/users/bulk/preferences", "/v1/users/bulk/preferences", `{"user_ids":["b1"],"preferences":{"id":"org","channel_types":{"email":false}}}`, 200},
	{"POST /v1/users/bulk/delete", "/v1/users/bulk/delete", `{"user_ids":["b1","missing"]}`, 200},
	{"GET /v1/bulk_operations/{id}", "/v1/bulk_operations/" + operation, "", 200},
	{"GET /v1/bulk_operations/{id}", "/v1/bulk_operations/" + operation, "", 200},
	{"POST /v1/objects/{collection}/bulk/set", "/v1/objects/teams/bulk/set", `{"objects":[{"id":"o1","name":"O","x":null},{"id":"o2"}]}`, 200},
	{"POST /v1/objects/{collection}/bulk/subscriptions/add", "/v1/objects/$tenants/bulk/subscriptions/add", `{"subscriptions":[{"id":"org","recipients":["u",{"id":"v"}],"properties":{"a":1}}]}`, 200},
	{"POST /v1/objects/{collection}/bulk/subscriptions/delete", "/v1/objects/$tenants/bulk/subscriptions/delete", `{"subscriptions":[{"id":"org","recipients":["u"]}]}`, 200},
	{"POST /v1/objects/{collection}/bulk/delete", "/v1/objects/teams/bulk/delete", `{"object_ids":["o1","missing"]}`, 200},
	{"GET /v1/bulk_operations/{id}", "/v1/bulk_operations/" + operation, "", 200},
	{"GET /v1/bulk_operations/{id}", "/v1/bulk_operations/" + operation, "", 200},
	{"POST /v1/tenants/bulk/set", "/v1/tenants/bulk/set", `{"tenants":[{"id":"t1","name":"T"},"t2"]}`, 200},
	{"POST /v1/tenants/bulk/delete", "/v1/tenants/bulk/delete?tenant_ids[]=t1&tenant_ids[]=t2", "", 200},
	{"POST /v1/schedules/bulk/create", "/v1/schedules/bulk/create", `{"schedules":[{"workflow":"digest","recipient":"u","scheduled_at":"2026-12-01T09:00:00Z"}]}`, 200},

	{"POST /v1/users/{user_id}/merge", "/v1/users/u/merge", `{"from_user_id":"v"}`, 200},
	{"DELETE /v1/users/{user_id}/preferences/{id}", "/v1/users/u/preferences/default", "", 204},
	{"DELETE /v1/users/{user_id}/channel_data/{channel_id}", "/v1/users/u/channel_data/" + channel, "", 204},
	{"DELETE /v1/objects/{collection}/{object_id}/preferences/{id}", "/v1/objects/teams/red/preferences/default", "", 204},
	{"DELETE /v1/objects/{collection}/{object_id}/channel_data/{channel_id}", "/v1/objects/teams/red/channel_data/" + channel, "", 204},
	{"DELETE /v1/users/{user_id}", "/v1/users/u", "", 204},
	{"DELETE /v1/objects/{collection}/{id}", "/v1/objects/teams/red", "", 204},
	{"DELETE /v1/tenants/{id}", "/v1/tenants/org", "", 204},
}

// TestTheFakeAnswersAsDocumented walks through every operation of the fake and
// holds requests and answers against the document.
func TestTheFakeAnswersAsDocumented(t *testing.T) {
	t.Parallel()
	spec := load(t)
	transport := bridgetest.NewKnock(t).Transport()
	ids := make(map[string]string) // of the newest schedule and bulk operation
	covered := make(map[string]bool)
	for _, e := range walk {
		target, body := replace(e.target, ids), replace(e.body, ids)
		name, err := spec.Operation(method(e.operation), target)
		require.NoError(t, err)
		require.Equal(t, e.operation, name)
		covered[name] = true

		req := &actions.Request{Method: method(e.operation), Path: target}
		if body != "" {
			req.Body = json.RawMessage(body)
		}
		require.NoError(t, spec.ValidateRequest(req.Method, target, req.Body), "request %s", e.operation)
		res, err := transport.Do(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, e.status, res.Status, "%s: %s", e.operation, res.Body)
		require.NoError(t, spec.ValidateResponse(req.Method, target, res.Status, res.Header, res.Body), "answer to %s: %s", e.operation, res.Body)
		remember(ids, res)
	}
	assert.Len(t, covered, operations, "operations of the fake")
}

func method(operation string) string {
	method, _, _ := strings.Cut(operation, " ")
	return method
}

func replace(text string, ids map[string]string) string {
	for placeholder, id := range ids {
		text = strings.ReplaceAll(text, placeholder, id)
	}
	return text
}

// remember keeps the ids that later requests of the walk need.
func remember(ids map[string]string, res *actions.Response) {
	type created struct {
		Typename string `json:"__typename"` //nolint:tagliatelle // Knock's name for it
		ID       string `json:"id"`
	}
	var one created
	var many []created
	if json.Unmarshal(res.Body, &one) != nil && json.Unmarshal(res.Body, &many) == nil && len(many) > 0 {
		one = many[0]
	}
	switch one.Typename {
	case "BulkOperation":
		ids[operation] = one.ID
	case "Schedule":
		ids[schedule] = one.ID
	}
}

// TestTheDocumentRefuses shows that the checks bite.
func TestTheDocumentRefuses(t *testing.T) {
	t.Parallel()
	spec := load(t)
	for _, r := range []struct{ method, target, body string }{
		{"POST", "/v1/workflows/w/trigger", `{}`},
		{"POST", "/v1/workflows/w/trigger", `{"recipients":"u"}`},
		{"POST", "/v1/workflows/w/trigger", `{"recipients":[1]}`},
		{"POST", "/v1/workflows/w/trigger", `{"recipients":["u"],"actor":1}`},
		{"POST", "/v1/workflows/w/cancel", `{"cancellation_key":null}`},
		{"PUT", "/v1/users/u", `{"email":1}`},
		{"PUT", "/v1/users/u", `{"created_at":1795166102123}`},
		{"PUT", "/v1/users/u/preferences/default", `{"categories":1}`},
		{"PUT", "/v1/users/u/channel_data/" + channel, `{"data":{}}`},
		{"PUT", "/v1/users/u/channel_data/slack", `{"data":{"tokens":[]}}`},
		{"POST", "/v1/audiences/a/members", `{"members":["u"]}`},
		{"POST", "/v1/tenants/bulk/delete?tenant_ids=t", ""},
		{"GET", "/v1/schedules", ""},
		{"GET", "/v1/nothing", ""},
	} {
		var body []byte
		if r.body != "" {
			body = []byte(r.body)
		}
		require.Error(t, spec.ValidateRequest(r.method, r.target, body), "%s %s %s", r.method, r.target, r.body)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	for _, r := range []struct {
		method, target string
		status         int
		body           string
	}{
		{"GET", "/v1/users/u", 200, `{"id":"u"}`},
		{"GET", "/v1/users/u", 200, `{"__typename":"User","id":"u","updated_at":"yesterday"}`},
		{"GET", "/v1/users/u", 200, ``},
		{"GET", "/v1/users/u", 201, `{"__typename":"User","id":"u","updated_at":"2026-01-01T00:00:00Z"}`},
		{"POST", "/v1/objects/teams/red/subscriptions", 200, `{}`},
		{"POST", "/v1/workflows/w/trigger", 200, `{"workflow_run_id":"run"}`},
		{"GET", "/v1/tenants/t", 200, `{"__typename":"Tenant","id":"t","settings":{"preference_set":1}}`},
	} {
		assert.Error(t, spec.ValidateResponse(r.method, r.target, r.status, header, []byte(r.body)), "%s %s %s", r.method, r.target, r.body)
	}
}

func TestLoadReportsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	_, err := knocktest.Load("missing.yml")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = knocktest.Load("openapi_test.go")
	require.Error(t, err)
}
