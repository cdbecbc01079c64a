package knocktest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
)

// captures holds what Knock's Node SDK sent, call by call.
const captures = "../../../shared/knock/captures-node.json"

// capture is one call of the SDK. Request is nil where the SDK refused it.
type capture struct {
	Call    string       `json:"call"`
	Input   captureInput `json:"input"`
	Request *struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Query   string            `json:"query"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
	} `json:"request"`
}

type captureInput struct {
	Case       string         `json:"case"`
	Key        string         `json:"key"`
	UserID     *string        `json:"user_id"`
	Collection string         `json:"collection"`
	ObjectID   string         `json:"object_id"`
	ID         string         `json:"id"`
	ChannelID  string         `json:"channel_id"`
	Branch     string         `json:"branch"`
	Body       map[string]any `json:"body"`
	Options    struct {
		IdempotencyKey string            `json:"idempotencyKey"` //nolint:tagliatelle // the SDK's option
		Headers        map[string]string `json:"headers"`
	} `json:"options"`
}

func (c capture) String() string {
	id := c.Input.ID
	switch {
	case c.Input.UserID != nil:
		id = *c.Input.UserID
	case c.Input.ObjectID != "":
		id = c.Input.ObjectID
	case c.Input.Key != "":
		id = c.Input.Key
	}
	return fmt.Sprintf("%s %s %q", c.Call, c.Input.Case, id)
}

// otherCalls are the SDK's calls that package actions does not have.
var otherCalls = map[string]string{
	"users.list":                       "reads are left to the SDK",
	"users.listSubscriptions":          "reads are left to the SDK",
	"users.getChannelData":             "reads are left to the SDK",
	"users.getPreferences":             "reads are left to the SDK",
	"objects.get":                      "reads are left to the SDK",
	"objects.listSubscriptions":        "reads are left to the SDK",
	"tenants.get":                      "reads are left to the SDK",
	"audiences.listMembers":            "reads are left to the SDK",
	"schedules.list":                   "reads are left to the SDK",
	"users.bulk.identify":              "no bulk operations",
	"users.bulk.delete":                "no bulk operations",
	"users.bulk.setPreferences":        "no bulk operations",
	"tenants.bulk.set":                 "no bulk operations",
	"tenants.bulk.delete":              "no bulk operations",
	"objects.bulk.set":                 "no bulk operations",
	"objects.bulk.delete":              "no bulk operations",
	"objects.bulk.addSubscriptions":    "no bulk operations",
	"objects.bulk.deleteSubscriptions": "no bulk operations",
	"schedules.bulk.create":            "no bulk operations",
	"bulkOperations.get":               "no bulk operations",
	"schedules.create":                 "no schedules: they can't be repeated safely",
	"schedules.update":                 "no schedules",
	"schedules.delete":                 "no schedules",
	"users.unsetPreferences":           "preferences are set, not removed",
}

// otherCases are captures of calls that package actions does have.
var otherCases = map[string]string{
	`tenants.set with-resolve-query "org_29w9IfBrPmcpi0IeBVaKtA7R94W"`: "the query only changes the answer, which is not used",
}

// refused are captures whose arguments package actions refuses, with the
// argument it names.
var refused = map[string]string{
	`workflows.trigger empty-recipients "welcome"`:                     "recipients",
	`workflows.trigger workflow-key-needs-escaping "wel come/é?x#y%z"`: "workflow",
	`users.get path-escaping "user/with/slash"`:                        "id",
	`users.get path-escaping "user#frag"`:                              "id",
	`users.get path-escaping ".."`:                                     "id",
	`users.get path-escaping "."`:                                      "id",
	`users.get path-escaping "../tenants/org_x"`:                       "id",
	`users.get path-escaping "tab\there"`:                              "id",
	`users.get path-escaping "new\nline"`:                              "id",
	`users.get path-escaping ""`:                                       "id",
	`tenants.set path-escaping "org/1"`:                                "id",
	`tenants.set path-escaping ".."`:                                   "id",
	`objects.addSubscriptions path-escaping "org/1"`:                   "object.collection",
	`objects.addSubscriptions path-escaping "org?x"`:                   "object.collection",
	`objects.addSubscriptions path-escaping ".."`:                      "object.collection",
	`objects.addSubscriptions path-escaping "org 1"`:                   "object.collection",
	`objects.addSubscriptions path-escaping "org%31"`:                  "object.collection",
}

// nulls are members that the SDK's caller gave as null where package actions
// has no null to give: to leave them out says the same.
var nulls = map[string][]string{
	`workflows.trigger explicit-nulls "welcome"`:                                                       {"actor", "tenant", "data", "cancellation_key", "settings"},
	`workflows.cancel null-recipients "welcome"`:                                                       {"recipients"},
	`objects.addSubscriptions object-subscriber-and-null-properties "org_29w9IfBrPmcpi0IeBVaKtA7R94W"`: {"properties"},
	`audiences.addMembers inline-user-tenant-create "paid-users"`:                                      {"members.1.tenant"},
}

// TestActionsSendWhatTheSDKSends makes each captured call through package
// actions and its HTTP transport, and compares what arrives.
func TestActionsSendWhatTheSDKSends(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile(captures)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the captures are not here: %v", err)
	}
	require.NoError(t, err)
	var all []capture
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&all))

	unused := make(map[string]bool)
	for _, list := range []map[string]string{otherCalls, otherCases, refused} {
		for name := range list {
			unused[name] = true
		}
	}
	for name := range nulls {
		unused[name] = true
	}
	compared := make(map[string]int)
	for _, c := range all {
		name := c.String()
		delete(unused, name)
		delete(unused, c.Call)
		if otherCalls[c.Call] != "" || otherCases[name] != "" {
			continue
		}
		got, err := replay(t, c)
		if field := refused[name]; field != "" {
			var invalid *actions.InvalidError
			require.ErrorAs(t, err, &invalid, name)
			assert.Equal(t, field, invalid.Field, name)
			assert.Nil(t, got, name)
			continue
		}
		require.NoError(t, err, name)
		require.NotNil(t, c.Request, name)
		compared[c.Call]++
		compare(t, c, got)
	}
	assert.Empty(t, unused, "entries of the lists above that no capture needs")
	assert.Len(t, compared, 20, "calls compared: %v", compared)
}

func compare(t *testing.T, c capture, got *received) {
	t.Helper()
	name, want := c.String(), c.Request
	assert.Equal(t, want.Method, got.method, name)
	target := want.Path
	if want.Query != "" {
		target += "?" + want.Query
	}
	assert.Equal(t, target, got.target, name)
	assert.Equal(t, want.Headers["authorization"], got.header.Get("Authorization"), name)
	assert.Equal(t, want.Headers["content-type"], got.header.Get("Content-Type"), name)
	assert.Equal(t, want.Headers["x-knock-branch"], got.header.Get("X-Knock-Branch"), name)
	if key := c.key(); key != "" {
		assert.Equal(t, want.Headers["idempotency-key"], key, name)
		assert.Equal(t, key, got.header.Get("Idempotency-Key"), name)
	} else if c.Call != "workflows.trigger" {
		assert.Empty(t, got.header.Get("Idempotency-Key"), name)
	}
	if len(want.Body) == 0 || string(want.Body) == "null" {
		assert.Empty(t, got.body, name)
		return
	}
	body := string(want.Body)
	if members := nulls[name]; members != nil {
		body = without(t, want.Body, members)
	}
	assert.JSONEq(t, body, string(got.body), name)
}

// without removes members that are null.
func without(t *testing.T, body json.RawMessage, members []string) string {
	t.Helper()
	var whole any
	require.NoError(t, json.Unmarshal(body, &whole))
	for _, path := range members {
		at, steps := whole, strings.Split(path, ".")
		for _, step := range steps[:len(steps)-1] {
			if list, ok := at.([]any); ok {
				i, err := strconv.Atoi(step)
				require.NoError(t, err)
				at = list[i]
				continue
			}
			at = at.(map[string]any)[step]
		}
		object := at.(map[string]any)
		last := steps[len(steps)-1]
		require.Contains(t, object, last)
		require.Nil(t, object[last])
		delete(object, last)
	}
	text, err := json.Marshal(whole)
	require.NoError(t, err)
	return string(text)
}

func (c capture) key() string {
	if key := c.Input.Options.IdempotencyKey; key != "" {
		return key
	}
	return c.Input.Options.Headers["Idempotency-Key"]
}

type received struct {
	method, target string
	header         http.Header
	body           []byte
}

// replay makes the call with package actions and returns what the server got.
func replay(t *testing.T, c capture) (*received, error) {
	t.Helper()
	var got *received
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		got = &received{r.Method, r.RequestURI, r.Header, body.Bytes()}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	transport := &actions.HTTP{APIKey: "sk_test_12345", BaseURL: server.URL, Branch: c.Input.Branch}
	defer transport.CloseIdleConnections()
	err := perform(t, c, actions.NewClient(transport))
	return got, err
}

// perform says with package actions what the capture's caller said to the SDK.
func perform(t *testing.T, c capture, knock *actions.Client) error {
	t.Helper()
	ctx, in := t.Context(), c.Input
	var owner actions.Reference = actions.ObjectRef{Collection: in.Collection, ID: in.ObjectID}
	id := ""
	if in.UserID != nil {
		id = *in.UserID
		owner = actions.UserID(id)
	}
	switch c.Call {
	case "workflows.trigger":
		return performTrigger(ctx, t, c, knock)
	case "workflows.cancel":
		return knock.CancelWorkflow(ctx, actions.CancelWorkflow{
			Workflow: in.Key, CancellationKey: text(in.Body["cancellation_key"]), Recipients: toReferences(t, in.Body["recipients"]),
		})
	case "users.update":
		return knock.IdentifyUser(ctx, toUser(t, id, in.Body))
	case "users.get":
		_, err := knock.GetUser(ctx, id)
		return err
	case "users.delete":
		return knock.DeleteUser(ctx, actions.DeleteUser{ID: id})
	case "users.merge":
		return knock.MergeUser(ctx, actions.MergeUser{ID: id, FromID: text(in.Body["from_user_id"])})
	case "objects.addSubscriptions":
		properties, _ := in.Body["properties"].(map[string]any)
		return knock.Subscribe(ctx, actions.Subscribe{
			Object: actions.ObjectRef{Collection: in.Collection, ID: in.ObjectID}, Recipients: toRecipients(t, in.Body["recipients"]), Properties: properties,
		})
	case "objects.deleteSubscriptions":
		return knock.Unsubscribe(ctx, actions.Unsubscribe{
			Object: actions.ObjectRef{Collection: in.Collection, ID: in.ObjectID}, Recipients: toReferences(t, in.Body["recipients"]),
		})
	case "objects.set":
		return knock.SetObject(ctx, toObject(t, in.Collection, in.ID, in.Body))
	case "objects.delete":
		return knock.DeleteObject(ctx, actions.DeleteObject{Collection: in.Collection, ID: in.ID})
	case "tenants.set":
		return knock.SetTenant(ctx, toTenant(t, in.ID, in.Body))
	case "tenants.delete":
		return knock.DeleteTenant(ctx, actions.DeleteTenant{ID: in.ID})
	case "audiences.addMembers":
		return knock.AddAudienceMember(ctx, actions.AddAudienceMember{
			Audience: in.Key, Members: toMembers(t, in.Body["members"]), CreateAudience: in.Body["create_audience"] == true,
		})
	case "audiences.removeMembers":
		return knock.RemoveAudienceMember(ctx, actions.RemoveAudienceMember{Audience: in.Key, Members: toMembers(t, in.Body["members"])})
	case "users.setChannelData", "objects.setChannelData":
		data, _ := in.Body["data"].(map[string]any)
		return knock.SetChannelData(ctx, actions.SetChannelData{Owner: owner, ChannelID: in.ChannelID, Data: data})
	case "users.unsetChannelData", "objects.unsetChannelData":
		return knock.UnsetChannelData(ctx, actions.UnsetChannelData{Owner: owner, ChannelID: in.ChannelID})
	case "users.setPreferences", "objects.setPreferences":
		return knock.SetPreferences(ctx, actions.SetPreferences{Owner: owner, ID: in.ID, Preferences: convert[actions.PreferenceSet](t, in.Body)})
	default:
		require.Fail(t, "a call that is neither compared nor listed", c.Call)
		return nil
	}
}

func performTrigger(ctx context.Context, t *testing.T, c capture, knock *actions.Client) error {
	t.Helper()
	b := c.Input.Body
	w := actions.TriggerWorkflow{
		Workflow: c.Input.Key, Recipients: toRecipients(t, b["recipients"]),
		CancellationKey: text(b["cancellation_key"]), IdempotencyKey: c.key(),
	}
	if b["actor"] != nil {
		w.Actor = toRecipient(t, b["actor"])
	}
	switch tenant := b["tenant"].(type) {
	case string:
		w.Tenant = actions.TenantID(tenant)
	case map[string]any:
		w.Tenant = toTenant(t, text(tenant["id"]), tenant)
	}
	w.Data, _ = b["data"].(map[string]any)
	if b["settings"] != nil {
		settings := convert[actions.TriggerSettings](t, b["settings"])
		w.Settings = &settings
	}
	_, err := knock.TriggerWorkflow(ctx, w)
	return err
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// convert reads v as a T whose JSON it is.
func convert[T any](t *testing.T, v any) T {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	var to T
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&to))
	return to
}

// take splits members into fields that are set, the time of creation when the
// library would write it alike, and all others.
func take(body map[string]any, fields map[string]*string, createdAt *time.Time, leave ...string) map[string]any {
	rest := make(map[string]any)
	for name, v := range body {
		s, isText := v.(string)
		if ms, ok := strings.CutPrefix(s, "new Date("); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(ms, ")"), 10, 64)
			*createdAt = time.UnixMilli(n)
			continue
		}
		if field := fields[name]; field != nil && isText {
			*field = s
			continue
		}
		if name == "created_at" && createdAt != nil && isText {
			const layout = "2006-01-02T15:04:05.000Z"
			if at, err := time.Parse(layout, s); err == nil {
				*createdAt = at
				continue
			}
		}
		rest[name] = v
	}
	for _, name := range leave {
		delete(rest, name)
	}
	return rest
}

func toUser(t *testing.T, id string, b map[string]any) actions.IdentifyUser {
	t.Helper()
	u := actions.IdentifyUser{ID: id}
	u.Properties = take(b, map[string]*string{
		"name": &u.Name, "email": &u.Email, "phone_number": &u.PhoneNumber, "avatar": &u.Avatar, "locale": &u.Locale, "timezone": &u.Timezone,
	}, &u.CreatedAt, "id", "channel_data", "preferences", "$trigger_data")
	u.ChannelData, _ = b["channel_data"].(map[string]any)
	u.Preferences = toSets(t, b["preferences"])
	return u
}

func toObject(t *testing.T, collection, id string, b map[string]any) actions.SetObject {
	t.Helper()
	o := actions.SetObject{Collection: collection, ID: id}
	o.Properties = take(b, map[string]*string{"name": &o.Name, "locale": &o.Locale, "timezone": &o.Timezone}, &o.CreatedAt,
		"collection", "id", "channel_data", "preferences", "$trigger_data")
	o.ChannelData, _ = b["channel_data"].(map[string]any)
	o.Preferences = toSets(t, b["preferences"])
	return o
}

func toTenant(t *testing.T, id string, b map[string]any) actions.SetTenant {
	t.Helper()
	tenant := actions.SetTenant{ID: id}
	tenant.Properties = take(b, map[string]*string{"name": &tenant.Name}, nil, "id", "settings")
	settings, ok := b["settings"].(map[string]any)
	if !ok {
		return tenant
	}
	tenant.Settings = &actions.TenantSettings{}
	tenant.Settings.Branding, _ = settings["branding"].(map[string]any)
	if set, ok := settings["preference_set"]; ok {
		if set == nil {
			tenant.Settings.ClearPreferenceSet = true
		} else {
			preferences := convert[actions.PreferenceSet](t, set)
			tenant.Settings.PreferenceSet = &preferences
		}
	}
	return tenant
}

func toSets(t *testing.T, v any) map[string]actions.PreferenceSet {
	t.Helper()
	if v == nil {
		return nil
	}
	return convert[map[string]actions.PreferenceSet](t, v)
}

func toRecipients(t *testing.T, v any) []actions.Recipient {
	t.Helper()
	list, _ := v.([]any)
	recipients := make([]actions.Recipient, len(list))
	for i := range list {
		recipients[i] = toRecipient(t, list[i])
	}
	return recipients
}

func toRecipient(t *testing.T, v any) actions.Recipient {
	t.Helper()
	b, ok := v.(map[string]any)
	if !ok {
		return actions.UserID(text(v))
	}
	id, collection := text(b["id"]), text(b["collection"])
	var r actions.Recipient
	switch {
	case collection == "":
		r = toUser(t, id, b)
	case len(b) == 2:
		r = actions.ObjectRef{Collection: collection, ID: id}
	default:
		r = toObject(t, collection, id, b)
	}
	if data, ok := b["$trigger_data"].(map[string]any); ok {
		r = actions.WithTriggerData(r, data)
	}
	return r
}

func toReferences(t *testing.T, v any) []actions.Reference {
	t.Helper()
	var references []actions.Reference
	for _, r := range toRecipients(t, v) {
		reference, ok := r.(actions.Reference)
		require.True(t, ok)
		references = append(references, reference)
	}
	return references
}

func toMembers(t *testing.T, v any) []actions.AudienceMember {
	t.Helper()
	list, _ := v.([]any)
	members := make([]actions.AudienceMember, len(list))
	for i := range list {
		m, _ := list[i].(map[string]any)
		user, _ := m["user"].(map[string]any)
		members[i] = actions.AudienceMember{User: toUser(t, text(user["id"]), user), Tenant: text(m["tenant"])}
	}
	return members
}
