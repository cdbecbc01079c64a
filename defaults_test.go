package bridge_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, event, data string
		want              []string // none means: permanent, no call
	}{
		{
			"full user", "user.created",
			`{"id":"user_1","first_name":"Ada","last_name":"Lovelace","username":"ada",
			"primary_email_address_id":"idn_2","primary_phone_number_id":"idn_3",
			"email_addresses":[{"id":"idn_1","email_address":"old@example.com"},{"id":"idn_2","email_address":"ada@example.com"}],
			"phone_numbers":[{"id":"idn_3","phone_number":"+15555550100"}],
			"image_url":"https://img.example.com/a","locale":"en-GB","timezone":"Europe/London","external_id":"crm-1",
			"created_at":1700000000123,"public_metadata":{"id":"x","plan":{"name":"pro"}},
			"private_metadata":{"secret":1},"unsafe_metadata":{"theme":"dark"}}`,
			[]string{`PUT /v1/users/user_1 {"avatar":"https://img.example.com/a","created_at":"2023-11-14T22:13:20.123Z",` +
				`"email":"ada@example.com","external_id":"crm-1","locale":"en-GB","name":"Ada Lovelace","phone_number":"+15555550100",` +
				`"public_metadata":{"id":"x","plan":{"name":"pro"}},"timezone":"Europe/London"}`},
		},
		{
			"everything null", "user.updated",
			`{"id":"user_1","first_name":null,"last_name":null,"username":null,"primary_email_address_id":null,
			"primary_phone_number_id":null,"email_addresses":[],"phone_numbers":[],"image_url":null,"locale":null,
			"timezone":null,"external_id":null,"created_at":null,"public_metadata":null}`,
			[]string{`PUT /v1/users/user_1 {"avatar":null,"created_at":null,"email":null,"external_id":null,"locale":null,` +
				`"name":null,"phone_number":null,"public_metadata":null,"timezone":null}`},
		},
		{"sparse", "user.updated", `{"id":"user_1"}`, []string{`PUT /v1/users/user_1 {}`}},
		{
			"primary ids that point nowhere", "user.updated",
			`{"id":"user_1","primary_email_address_id":"idn_9","email_addresses":[],"primary_phone_number_id":"idn_8","phone_numbers":[{"id":"idn_1","phone_number":"+15555550101"}]}`,
			[]string{`PUT /v1/users/user_1 {}`},
		},
		{
			"addresses, none primary", "user.updated",
			`{"id":"user_1","primary_email_address_id":null,"email_addresses":[{"id":"idn_1","email_address":"a@example.com"}]}`,
			[]string{`PUT /v1/users/user_1 {"email":null}`},
		},
		{
			"username only", "user.created", `{"id":"user_1","first_name":null,"last_name":"","username":"ada"}`,
			[]string{`PUT /v1/users/user_1 {"name":"ada"}`},
		},
		{
			"blank names", "user.created", `{"id":"user_1","first_name":" ","last_name":"","username":""}`,
			[]string{`PUT /v1/users/user_1 {"name":null}`},
		},
		{
			"no names but the username is not carried", "user.created", `{"id":"user_1","first_name":null,"last_name":null}`,
			[]string{`PUT /v1/users/user_1 {}`},
		},
		{"last name only", "user.created", `{"id":"user_1","last_name":"Lovelace"}`, []string{`PUT /v1/users/user_1 {"name":"Lovelace"}`}},
		{"times that RFC 3339 can't write", "user.created", `{"id":"user_1","created_at":-99999999999999999}`, []string{`PUT /v1/users/user_1 {}`}},
		{"and later ones", "user.created", `{"id":"user_1","created_at":999999999999999}`, []string{`PUT /v1/users/user_1 {}`}},
		{"seconds, as in 2021", "user.created", `{"id":"user_1","created_at":1612345678}`, []string{`PUT /v1/users/user_1 {"created_at":"2021-02-03T09:47:58.000Z"}`}},
		{"id to escape", "user.created", `{"id":"a b?c%2Fd"}`, []string{`PUT /v1/users/a%20b%3Fc%252Fd {}`}},
		{
			"wrong types where nobody looks", "user.created",
			`{"id":"user_1","locale":"sv","banned":"no","external_accounts":{},"scim":7,"email_addresses":[{"verification":[]}]}`,
			[]string{`PUT /v1/users/user_1 {"locale":"sv"}`},
		},
		{
			"deletion, wrong types where nobody looks", "organization.deleted", `{"id":"org_1","object":{},"slug":7,"deleted":"yes"}`,
			[]string{`DELETE /v1/tenants/org_1`},
		},
		{"user deleted", "user.deleted", `{"id":"user_1","object":"user","deleted":true}`, []string{`DELETE /v1/users/user_1`}},

		{
			"organization", "organization.created",
			`{"id":"org_1","name":"Acme","slug":"acme","image_url":"https://img.example.com/o","public_metadata":{"tier":1},"private_metadata":{"k":1}}`,
			[]string{`PUT /v1/tenants/org_1 {"image_url":"https://img.example.com/o","name":"Acme","public_metadata":{"tier":1},"slug":"acme"}`},
		},
		{
			"organization, nulls and gaps", "organization.updated", `{"id":"org_1","name":"Acme","slug":"","public_metadata":null}`,
			[]string{`PUT /v1/tenants/org_1 {"name":"Acme","public_metadata":null,"slug":""}`},
		},
		{"organization deleted", "organization.deleted", `{"id":"org_1","object":"organization","deleted":true}`, []string{`DELETE /v1/tenants/org_1`}},

		{
			"membership", "organizationMembership.created",
			`{"id":"orgmem_1","role":"org:admin","role_name":"Admin","organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"}}`,
			[]string{`POST /v1/objects/$tenants/org_1/subscriptions {"properties":{"role":"org:admin","role_name":"Admin"},"recipients":["user_1"]}`},
		},
		{
			"membership without role name", "organizationMembership.updated",
			`{"id":"orgmem_1","role":"admin","organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"}}`,
			[]string{`POST /v1/objects/$tenants/org_1/subscriptions {"properties":{"role":"admin"},"recipients":["user_1"]}`},
		},
		{
			"membership deleted", "organizationMembership.deleted",
			`{"id":"orgmem_1","role":"org:admin","organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"}}`,
			[]string{`DELETE /v1/objects/$tenants/org_1/subscriptions {"recipients":["user_1"]}`},
		},

		{"user without id", "user.created", `{"first_name":"Ada"}`, nil},
		{"deletion without id", "user.deleted", `{"object":"user","deleted":true}`, nil},
		{"deletion with empty id", "user.deleted", `{"id":"","object":"user","deleted":true}`, nil},
		{"organization deletion without id", "organization.deleted", `{"deleted":true}`, nil},
		{"dots", "user.deleted", `{"id":".."}`, nil},
		{"slash", "user.created", `{"id":"../tenants/org_1"}`, nil},
		{"control character", "user.created", `{"id":"user_\u0000"}`, nil},
		{"membership without user", "organizationMembership.created", `{"organization":{"id":"org_1"},"public_user_data":null}`, nil},
		{"membership without organization", "organizationMembership.deleted", `{"public_user_data":{"user_id":"user_1"}}`, nil},
		{"wrong type", "user.created", `{"id":1}`, nil},
		{"wrong type in a list", "user.created", `{"id":"user_1","phone_numbers":[{"phone_number":7}]}`, nil},
		{"data is a list", "user.created", `[]`, nil},
		{"data is null", "user.created", `null`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			knock := &transport{}
			res := process(t, bridge.Config{Knock: knock}, test.event, test.data)
			if test.want == nil {
				assert.Equal(t, bridge.OutcomePermanent, res.Outcome)
				assert.Empty(t, knock.calls())
				return
			}
			require.NoError(t, res.Err)
			assert.Equal(t, bridge.OutcomeDone, res.Outcome)
			assert.Equal(t, test.want, knock.calls())
		})
	}
}

// TestDefaultsMixNothingUp: events are decoded into memory that is used again.
func TestDefaultsMixNothingUp(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock})
	var (
		wg   sync.WaitGroup
		want []string
	)
	for i := range 60 {
		id := fmt.Sprintf("user_%d", i)
		data, call := fmt.Sprintf(`{"id":%q}`, id), "{}"
		if i%3 > 0 {
			data = fmt.Sprintf(`{"id":%q,"locale":"l-%d","public_metadata":{"n":%d},"primary_email_address_id":"e%d","email_addresses":[
				{"id":"e0","email_address":"other@example.com"},{"id":"e%d","email_address":"%d@example.com"}]}`, id, i, i, i, i, i)
			call = fmt.Sprintf(`{"email":"%d@example.com","locale":"l-%d","public_metadata":{"n":%d}}`, i, i, i)
		}
		want = append(want, "PUT /v1/users/"+id+" "+call)
		wg.Go(func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t, "msg_"+id, body("user.created", data)))
			assert.Equal(t, http.StatusOK, w.Code)
		})
	}
	wg.Wait()
	assert.ElementsMatch(t, want, knock.calls())
}

// TestOwnFunctionsGetAll: what is added to a default, or put in its place, gets the
// whole event, which it may keep, and so all of it has to fit.
func TestOwnFunctionsGetAll(t *testing.T) {
	t.Parallel()
	for name, mapping := range map[string]func(bridge.Func[clerk.User]) bridge.Mapping{
		"On":   func(fn bridge.Func[clerk.User]) bridge.Mapping { return bridge.On(clerk.UserCreated, fn) },
		"Also": func(fn bridge.Func[clerk.User]) bridge.Mapping { return bridge.Also(clerk.UserCreated, fn) },
	} {
		var kept []*userEvent
		h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{mapping(func(_ ctx, e *userEvent, _ *actions.Client) error {
			kept = append(kept, e)
			return nil
		})}})
		for i := range 10 {
			data := fmt.Sprintf(`{"id":"user_%d","banned":true,"email_addresses":[{"id":"e%d","object":"x%d"}]}`, i, i, i)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t, fmt.Sprint("msg_", i), body("user.created", data)))
			require.Equal(t, http.StatusOK, w.Code, name)
		}
		require.Len(t, kept, 10, name)
		for i, e := range kept {
			assert.Equal(t, fmt.Sprint("msg_", i), e.ID, name)
			assert.Equal(t, "user.created", e.Type, name)
			assert.Contains(t, string(e.Raw), fmt.Sprintf(`"user_%d"`, i), name)
			assert.True(t, e.Data.Banned, name)
			assert.Equal(t, []clerk.EmailAddress{{ID: fmt.Sprint("e", i), Object: fmt.Sprint("x", i)}}, e.Data.EmailAddresses, name)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(t, "msg_misfit", body("user.created", `{"id":"user_1","banned":"no"}`)))
		assert.Equal(t, http.StatusUnprocessableEntity, w.Code, name)
	}
}

func TestRemovingWhatIsGone(t *testing.T) {
	t.Parallel()
	gone := status(404, `{"code":"resource_missing","message":"gone","status":404,"type":"api_error"}`)
	for event, data := range map[string]string{
		"user.deleted":                   `{"id":"user_1"}`,
		"organization.deleted":           `{"id":"org_1"}`,
		"organizationMembership.deleted": `{"organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"}}`,
	} {
		res := process(t, bridge.Config{Knock: &transport{answer: gone}}, event, data)
		require.NoError(t, res.Err, event)
		require.Len(t, res.Steps, 1)
		assert.Equal(t, 404, res.Steps[0].Status)
		assert.NotEmpty(t, res.Steps[0].Warning)
	}
	res := process(t, bridge.Config{Knock: &transport{answer: gone}}, "user.created", `{"id":"user_1"}`)
	assert.Equal(t, bridge.OutcomeMisconfigured, res.Outcome)
}

func TestOverridesCanStartFromTheDefaults(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	var _ actions.Transport = knock
	res := process(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(userCreated, func(ctx ctx, e *userEvent, k *actions.Client) error {
			u := bridge.KnockUser(&e.Data)
			u.Properties["plan"] = "pro"
			delete(u.Properties, "public_metadata")
			return k.IdentifyUser(ctx, u)
		}),
	}}, "user.created", `{"id":"user_1","locale":"sv","public_metadata":{"a":1}}`)
	require.NoError(t, res.Err)
	assert.Equal(t, []string{`PUT /v1/users/user_1 {"locale":"sv","plan":"pro"}`}, knock.calls())
}

// TestDefaultBesideAnother: what is added to a default does not make it stricter.
func TestDefaultBesideAnother(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	res := process(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
	}}, "user.created", `{"id":"user_1","username":"ada","banned":"no"}`)
	assert.Equal(t, bridge.OutcomePermanent, res.Outcome)
	require.ErrorContains(t, res.Err, "banned")
	assert.Equal(t, []string{`PUT /v1/users/user_1 {"name":"ada"}`}, knock.calls())
}
