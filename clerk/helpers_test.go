package clerk_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

// family is how the data of one event decodes, in the two ways there are.
type family struct {
	decode   func(e *clerk.AnyEvent) (any, error)
	standard func(data []byte) (any, error)
}

func familyOf[T any](clerk.EventType[T]) family {
	return family{
		decode: func(e *clerk.AnyEvent) (any, error) {
			d, err := clerk.Decode[T](e)
			if err != nil {
				return nil, err
			}
			return d.Data, nil
		},
		standard: func(data []byte) (any, error) {
			var v T
			err := json.Unmarshal(data, &v)
			return v, err
		},
	}
}

// families holds every event of the package; TestEventNames sees to that.
var families = map[string]family{
	"user.created":                    familyOf(clerk.UserCreated),
	"user.updated":                    familyOf(clerk.UserUpdated),
	"user.deleted":                    familyOf(clerk.UserDeleted),
	"session.created":                 familyOf(clerk.SessionCreated),
	"session.ended":                   familyOf(clerk.SessionEnded),
	"session.pending":                 familyOf(clerk.SessionPending),
	"session.removed":                 familyOf(clerk.SessionRemoved),
	"session.revoked":                 familyOf(clerk.SessionRevoked),
	"organization.created":            familyOf(clerk.OrganizationCreated),
	"organization.updated":            familyOf(clerk.OrganizationUpdated),
	"organization.deleted":            familyOf(clerk.OrganizationDeleted),
	"organizationMembership.created":  familyOf(clerk.OrganizationMembershipCreated),
	"organizationMembership.updated":  familyOf(clerk.OrganizationMembershipUpdated),
	"organizationMembership.deleted":  familyOf(clerk.OrganizationMembershipDeleted),
	"organizationInvitation.created":  familyOf(clerk.OrganizationInvitationCreated),
	"organizationInvitation.accepted": familyOf(clerk.OrganizationInvitationAccepted),
	"organizationInvitation.revoked":  familyOf(clerk.OrganizationInvitationRevoked),
	"organizationDomain.created":      familyOf(clerk.OrganizationDomainCreated),
	"organizationDomain.updated":      familyOf(clerk.OrganizationDomainUpdated),
	"organizationDomain.deleted":      familyOf(clerk.OrganizationDomainDeleted),
	"role.created":                    familyOf(clerk.RoleCreated),
	"role.updated":                    familyOf(clerk.RoleUpdated),
	"role.deleted":                    familyOf(clerk.RoleDeleted),
	"permission.created":              familyOf(clerk.PermissionCreated),
	"permission.updated":              familyOf(clerk.PermissionUpdated),
	"permission.deleted":              familyOf(clerk.PermissionDeleted),
	"email.created":                   familyOf(clerk.EmailCreated),
	"sms.created":                     familyOf(clerk.SMSCreated),
	"waitlistEntry.created":           familyOf(clerk.WaitlistEntryCreated),
	"waitlistEntry.updated":           familyOf(clerk.WaitlistEntryUpdated),
	"subscription.created":            familyOf(clerk.SubscriptionCreated),
	"subscription.updated":            familyOf(clerk.SubscriptionUpdated),
	"subscription.active":             familyOf(clerk.SubscriptionActive),
	"subscription.pastDue":            familyOf(clerk.SubscriptionPastDue),
	"subscriptionItem.created":        familyOf(clerk.SubscriptionItemCreated),
	"subscriptionItem.updated":        familyOf(clerk.SubscriptionItemUpdated),
	"subscriptionItem.active":         familyOf(clerk.SubscriptionItemActive),
	"subscriptionItem.canceled":       familyOf(clerk.SubscriptionItemCanceled),
	"subscriptionItem.upcoming":       familyOf(clerk.SubscriptionItemUpcoming),
	"subscriptionItem.ended":          familyOf(clerk.SubscriptionItemEnded),
	"subscriptionItem.abandoned":      familyOf(clerk.SubscriptionItemAbandoned),
	"subscriptionItem.incomplete":     familyOf(clerk.SubscriptionItemIncomplete),
	"subscriptionItem.pastDue":        familyOf(clerk.SubscriptionItemPastDue),
	"subscriptionItem.freeTrialEnding": familyOf(
		clerk.SubscriptionItemFreeTrialEnding),
	"paymentAttempt.created": familyOf(clerk.PaymentAttemptCreated),
	"paymentAttempt.updated": familyOf(clerk.PaymentAttemptUpdated),
}

// unconfirmed events have bodies among the fixtures but no constant.
var unconfirmed = []string{"invitation.created", "invitation.accepted", "invitation.revoked"}

const fixtureDir = "../../shared/clerk/fixtures"

// bodies returns this package's sample bodies by file name, and the fixtures of
// the workspace when they are there.
func bodies(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	fixtures, err := filepath.Glob(fixtureDir + "/*.json")
	require.NoError(t, err)
	all := make(map[string][]byte, len(files)+len(fixtures))
	for _, f := range slices.Concat(files, fixtures) {
		body, err := os.ReadFile(f)
		require.NoError(t, err)
		all[filepath.Base(filepath.Dir(f))+"/"+filepath.Base(f)] = body
	}
	return all
}

// sample decodes one of this package's sample bodies.
func sample[T any](t *testing.T, et clerk.EventType[T]) *clerk.Event[T] {
	t.Helper()
	body, err := os.ReadFile("testdata/" + et.EventName() + ".json")
	require.NoError(t, err)
	return decodeBody[T](t, body)
}

func decodeBody[T any](t *testing.T, body []byte) *clerk.Event[T] {
	t.Helper()
	e, err := clerk.Parse("msg_1", body)
	require.NoError(t, err)
	d, err := clerk.Decode[T](e)
	require.NoError(t, err)
	return d
}

// decodeData decodes data that has no envelope.
func decodeData[T any](t *testing.T, data string) T {
	t.Helper()
	d, err := clerk.Decode[T](&clerk.AnyEvent{Type: "sample", Data: json.RawMessage(data)})
	require.NoError(t, err)
	return d.Data
}

// A node is a JSON value that can be changed and written: a *object, an array
// ([]any) or a leaf (json.RawMessage).
type object struct{ members []member }

type member struct {
	name  string
	value any
}

func parseNode(t *testing.T, b []byte) any {
	t.Helper()
	switch b = bytes.TrimSpace(b); b[0] {
	case '{':
		dec := json.NewDecoder(bytes.NewReader(b))
		_, err := dec.Token()
		require.NoError(t, err)
		o := &object{}
		for dec.More() {
			name, err := dec.Token()
			require.NoError(t, err)
			var raw json.RawMessage
			require.NoError(t, dec.Decode(&raw))
			o.members = append(o.members, member{name: name.(string), value: parseNode(t, raw)})
		}
		return o
	case '[':
		var raws []json.RawMessage
		require.NoError(t, json.Unmarshal(b, &raws))
		a := make([]any, len(raws))
		for i, raw := range raws {
			a[i] = parseNode(t, raw)
		}
		return a
	default:
		return json.RawMessage(b)
	}
}

func writeNode(n any) []byte {
	var b bytes.Buffer
	var write func(n any)
	write = func(n any) {
		switch n := n.(type) {
		case *object:
			b.WriteByte('{')
			for i, m := range n.members {
				if i > 0 {
					b.WriteByte(',')
				}
				name, err := json.Marshal(m.name)
				if err != nil {
					panic(err)
				}
				b.Write(name)
				b.WriteByte(':')
				write(m.value)
			}
			b.WriteByte('}')
		case []any:
			b.WriteByte('[')
			for i, v := range n {
				if i > 0 {
					b.WriteByte(',')
				}
				write(v)
			}
			b.WriteByte(']')
		case json.RawMessage:
			b.Write(n)
		}
	}
	write(n)
	return b.Bytes()
}

// objects returns n and every object below it.
func objects(n any) []*object {
	var all []*object
	switch n := n.(type) {
	case *object:
		all = append(all, n)
		for _, m := range n.members {
			all = append(all, objects(m.value)...)
		}
	case []any:
		for _, v := range n {
			all = append(all, objects(v)...)
		}
	}
	return all
}

// mutants calls fn with every body that the rules of leniency make of data.
func mutants(t *testing.T, data []byte, fn func(name string, data []byte)) {
	t.Helper()
	null := json.RawMessage("null")
	root := parseNode(t, data)
	for _, o := range objects(root) {
		for i, m := range o.members {
			o.members[i].value = null
			fn("null "+m.name, writeNode(root))
			o.members[i].value = m.value

			if a, ok := m.value.([]any); ok {
				o.members[i].value = append(slices.Clone(a), null)
				fn("null in "+m.name, writeNode(root))
				o.members[i].value = m.value
			}

			members := o.members
			o.members = slices.Delete(slices.Clone(members), i, i+1)
			fn("without "+m.name, writeNode(root))
			o.members = members
		}

		members := o.members
		o.members = nil
		fn("empty object", writeNode(root))
		for _, m := range members {
			o.members = append(o.members, member{name: m.name, value: null})
		}
		fn("all null", writeNode(root))
		o.members = append(slices.Clone(members),
			member{name: "member_of_the_future", value: json.RawMessage(`{"a":[1,{"b":null}]}`)},
			member{name: "", value: json.RawMessage(`"nameless"`)},
			member{name: `quo"ted`, value: json.RawMessage(`1e3`)})
		fn("unknown members", writeNode(root))
		o.members = members
	}

	rng := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		for _, o := range objects(root) {
			rng.Shuffle(len(o.members), func(i, j int) { o.members[i], o.members[j] = o.members[j], o.members[i] })
		}
		fn("shuffled", writeNode(root))
	}
}

func eventType(name string) string {
	base := strings.TrimSuffix(filepath.Base(name), ".json")
	typ, _, _ := strings.Cut(base, "-")
	return typ
}
