package bridgetest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

// sampleTest checks the sample of one event type. Blank lists the fields that
// hold nothing in it.
type sampleTest struct {
	name  string
	check func(t *testing.T)
}

func sampleOf[T any](et clerk.EventType[T], blank ...string) sampleTest {
	return sampleTest{et.EventName(), func(t *testing.T) {
		t.Helper()
		data := bridgetest.Sample(et)
		assert.ElementsMatch(t, blank, blanks(reflect.ValueOf(data), ""), "fields that hold nothing")
		assert.Equal(t, data, bridgetest.Sample(et))

		raw, ok := bridgetest.SampleData(et.EventName())
		require.True(t, ok)
		raw[0] = '!' // is the caller's
		raw, _ = bridgetest.SampleData(et.EventName())
		assert.True(t, json.Valid(raw))

		e := bridgetest.NewEvent(et, data)
		assert.Equal(t, e, bridgetest.NewEvent(et, data))
		parsed, err := clerk.Parse(e.ID, e.Raw)
		require.NoError(t, err)
		decoded, err := clerk.Decode[T](parsed)
		require.NoError(t, err)
		assert.True(t, e.Timestamp.Equal(decoded.Timestamp))
		assert.JSONEq(t, string(e.Raw), string(decoded.Raw))
		decoded.Timestamp, decoded.Raw = e.Timestamp, e.Raw
		assert.Equal(t, e, decoded)

		ran := false
		h, last := newHandler(t, &actions.HTTP{APIKey: "sk_test_1"}, bridge.On(et,
			func(_ context.Context, e *clerk.Event[T], _ *actions.Client) error {
				ran = true
				assert.Equal(t, data, e.Data)
				return nil
			}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, bridgetest.NewRequest(t, et.EventName(), nil))
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, bridge.OutcomeDone, last().Outcome)
		assert.True(t, ran)
	}}
}

// blanks returns the paths of the fields below v that hold nothing. Booleans
// always hold something, and so does a nullable member that is null.
func blanks(v reflect.Value, path string) []string {
	if n, ok := reflect.TypeAssert[interface{ IsAbsent() bool }](v); ok {
		if n.IsAbsent() {
			return []string{path}
		}
		return nil
	}
	if v.Kind() == reflect.Bool {
		return nil
	}
	if v.Kind() == reflect.Slice && v.Len() > 0 && v.Type().Elem().Kind() == reflect.Struct {
		v, path = v.Index(0), path+"[0]"
	}
	if v.Kind() == reflect.Struct {
		var found []string
		for f, value := range v.Fields() {
			found = append(found, blanks(value, path+"."+f.Name)...)
		}
		return found
	}
	if v.IsZero() {
		return []string{path}
	}
	return nil
}

// below prefixes paths.
func below(prefix string, paths ...string) []string {
	prefixed := make([]string, len(paths))
	for i, path := range paths {
		prefixed[i] = prefix + path
	}
	return prefixed
}

func sampleTests() []sampleTest {
	// What only older bodies carry, or only other events.
	user := append(below(".ExternalAccounts[0]", ".ExternalAccountID", ".GoogleID", ".GivenName", ".FamilyName", ".Picture"),
		".OrganizationMemberships", ".Birthday", ".Gender")
	item := []string{
		".CanceledAt", ".PastDueAt", ".EndedAt",
		".PlanPeriod", ".Amount", ".Credit", ".ProrationDate", ".LifetimePaid", ".NextPaymentAmount", ".NextPaymentDate",
	}
	const credits, payer, subscription = ".Credits", ".Payer", ".SubscriptionID"
	alone := append(slices.Clone(item), credits)
	items := below(".Items[0]", append(slices.Clone(item), credits, payer, subscription)...)
	payment := append(below(".SubscriptionItems[0]", append(slices.Clone(item), payer)...), ".InvoiceID")
	return []sampleTest{
		sampleOf(clerk.UserCreated, user...),
		sampleOf(clerk.UserUpdated, user...),
		sampleOf(clerk.UserDeleted, ".Slug"),
		sampleOf(clerk.SessionCreated),
		sampleOf(clerk.SessionEnded),
		sampleOf(clerk.SessionPending),
		sampleOf(clerk.SessionRemoved),
		sampleOf(clerk.SessionRevoked),
		sampleOf(clerk.OrganizationCreated, ".LogoURL"),
		sampleOf(clerk.OrganizationUpdated, ".LogoURL"),
		sampleOf(clerk.OrganizationDeleted, ".ExternalID"),
		sampleOf(clerk.OrganizationMembershipCreated, ".Organization.LogoURL"),
		sampleOf(clerk.OrganizationMembershipUpdated, ".Organization.LogoURL"),
		sampleOf(clerk.OrganizationMembershipDeleted, ".Organization.LogoURL"),
		sampleOf(clerk.OrganizationInvitationCreated, ".UserID"),
		sampleOf(clerk.OrganizationInvitationAccepted),
		sampleOf(clerk.OrganizationInvitationRevoked, ".UserID"),
		sampleOf(clerk.OrganizationDomainCreated),
		sampleOf(clerk.OrganizationDomainUpdated),
		sampleOf(clerk.OrganizationDomainDeleted, ".ExternalID", ".Slug"),
		sampleOf(clerk.RoleCreated),
		sampleOf(clerk.RoleUpdated),
		sampleOf(clerk.RoleDeleted, ".ExternalID"),
		sampleOf(clerk.PermissionCreated),
		sampleOf(clerk.PermissionUpdated),
		sampleOf(clerk.PermissionDeleted, ".ExternalID", ".Slug"),
		sampleOf(clerk.EmailCreated),
		sampleOf(clerk.SMSCreated),
		sampleOf(clerk.WaitlistEntryCreated),
		sampleOf(clerk.WaitlistEntryUpdated),
		sampleOf(clerk.SubscriptionCreated, items...),
		sampleOf(clerk.SubscriptionUpdated, items...),
		sampleOf(clerk.SubscriptionActive, items...),
		sampleOf(clerk.SubscriptionPastDue, items...),
		sampleOf(clerk.SubscriptionItemCreated, alone...),
		sampleOf(clerk.SubscriptionItemUpdated, alone...),
		sampleOf(clerk.SubscriptionItemActive, alone...),
		sampleOf(clerk.SubscriptionItemCanceled, alone...),
		sampleOf(clerk.SubscriptionItemUpcoming, alone...),
		sampleOf(clerk.SubscriptionItemEnded, alone...),
		sampleOf(clerk.SubscriptionItemAbandoned, alone...),
		sampleOf(clerk.SubscriptionItemIncomplete, alone...),
		sampleOf(clerk.SubscriptionItemPastDue, alone...),
		sampleOf(clerk.SubscriptionItemFreeTrialEnding, alone...),
		sampleOf(clerk.PaymentAttemptCreated, payment...),
		sampleOf(clerk.PaymentAttemptUpdated, payment...),
	}
}

func TestSample(t *testing.T) {
	t.Parallel()
	tests := sampleTests()
	names := make([]string, 0, len(tests))
	for _, test := range tests {
		names = append(names, test.name)
	}
	assert.ElementsMatch(t, clerk.EventNames(), names)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.check(t)
		})
	}
}

func TestSampleUnknown(t *testing.T) {
	t.Parallel()
	const teleported clerk.EventType[clerk.User] = "user.teleported"
	assert.PanicsWithError(t, "bridgetest: data of user.teleported is nil, and there is no sample of this type",
		func() { bridgetest.Sample(teleported) })
	data, ok := bridgetest.SampleData("user.teleported")
	assert.False(t, ok)
	assert.Nil(t, data)
	assert.Equal(t, "user.teleported", bridgetest.NewEvent(teleported, clerk.User{ID: "user_1"}).Type)
	assert.PanicsWithValue(t, "bridgetest: data of odd can't be marshalled: json: unsupported type: chan int",
		func() { bridgetest.NewEvent(clerk.EventType[chan int]("odd"), nil) })
}

// TestSamplesBelongTogether checks that all samples are about one user, one
// organization, one membership and so on, and hold nothing of anybody real.
func TestSamplesBelongTogether(t *testing.T) {
	t.Parallel()
	ids := make(map[string]map[string]bool) // by kind of object
	var members func(v any, visit func(m map[string]any))
	members = func(v any, visit func(m map[string]any)) {
		switch v := v.(type) {
		case map[string]any:
			visit(v)
			for _, below := range v {
				members(below, visit)
			}
		case []any:
			for _, below := range v {
				members(below, visit)
			}
		}
	}
	for _, test := range sampleTests() {
		raw, _ := bridgetest.SampleData(test.name)
		for _, address := range regexp.MustCompile(`[\w.]+@[\w.]+`).FindAllString(string(raw), -1) {
			assert.Regexp(t, `@example\.(com|net)$`, address, test.name)
		}
		for _, number := range regexp.MustCompile(`"\+\d+"`).FindAllString(string(raw), -1) {
			assert.Regexp(t, `^"\+120255501\d\d"$`, number, test.name)
		}
		var data any
		require.NoError(t, json.Unmarshal(raw, &data))
		members(data, func(m map[string]any) {
			object, _ := m["object"].(string)
			id, identified := m["id"].(string)
			if !identified {
				return
			}
			if ids[object] == nil {
				ids[object] = make(map[string]bool)
			}
			ids[object][id] = true
		})
	}
	for _, one := range []string{
		"user", "organization", "organization_membership", "organization_invitation", "organization_domain", "session",
		"role", "waitlist_entry", "commerce_subscription", "commerce_subscription_item", "commerce_payer",
	} {
		assert.Len(t, ids[one], 1, one)
	}

	user := bridgetest.Sample(clerk.UserUpdated)
	session := bridgetest.Sample(clerk.SessionCreated)
	assert.Equal(t, user.ID, session.UserID)
	assert.Equal(t, &user, session.User)
	membership := bridgetest.Sample(clerk.OrganizationMembershipCreated)
	assert.Equal(t, user.ID, membership.UserID())
	assert.Equal(t, bridgetest.Sample(clerk.OrganizationCreated).ID, membership.OrganizationID())
	assert.Equal(t, "mira.okafor@example.com", user.PrimaryEmail())
	assert.Equal(t, "+12025550142", user.PrimaryPhone())
	assert.Equal(t, "Mira Okafor", user.FullName())
}

// TestSamplesThroughTheDefaults delivers samples in the order of life, and
// looks at what comes of them at Knock.
func TestSamplesThroughTheDefaults(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	h, last := newHandler(t, knock.Transport())
	deliver := func(events ...string) {
		for _, event := range events {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, bridgetest.NewRequest(t, event, nil))
			require.Equal(t, http.StatusOK, w.Code, event)
			want := bridge.OutcomeDone
			if event == "user.updated" { // the sample differs in what is not mapped
				want = bridge.OutcomeUnchanged
			}
			require.Equal(t, want, last().Outcome, event)
		}
	}
	userID := bridgetest.Sample(clerk.UserCreated).ID
	organizationID := bridgetest.Sample(clerk.OrganizationCreated).ID

	deliver("user.created", "organization.created", "organizationMembership.created")
	user, ok := knock.User(userID)
	require.True(t, ok)
	for name, want := range map[string]any{
		"name": "Mira Okafor", "email": "mira.okafor@example.com", "phone_number": "+12025550142",
		"locale": "en-GB", "timezone": "Europe/Lisbon", "external_id": "crm-4711", "created_at": "2026-03-02T09:15:27.481Z",
	} {
		assert.Equal(t, want, user[name], name)
	}
	tenant, ok := knock.Tenant(organizationID)
	require.True(t, ok)
	assert.Equal(t, "Lumen Labs", tenant["name"])
	require.Len(t, knock.Subscriptions("$tenants", organizationID), 1)
	assert.Equal(t, map[string]any{"role": "org:member", "role_name": "Member"},
		knock.Subscriptions("$tenants", organizationID)[0].Properties)

	deliver("user.updated", "organization.updated", "organizationMembership.updated")
	tenant, _ = knock.Tenant(organizationID)
	assert.Equal(t, "Lumen Laboratories", tenant["name"])
	assert.Equal(t, "org:admin", knock.Subscriptions("$tenants", organizationID)[0].Properties["role"])

	deliver("organizationMembership.deleted", "organization.deleted", "user.deleted")
	assert.Empty(t, knock.Users())
	assert.Empty(t, knock.Tenants())
}
