package clerk_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/essentials"
)

// essentialsOf is what package bridge's defaults and its order read of a T.
func essentialsOf[T any](v *T) any {
	switch v := any(v).(type) {
	case *clerk.User:
		return struct {
			actions.IdentifyUser

			UpdatedAt clerk.Millis
		}{bridge.KnockUser(v), v.UpdatedAt}
	case *clerk.Organization:
		return struct {
			actions.SetTenant

			UpdatedAt clerk.Millis
		}{bridge.KnockTenant(v), v.UpdatedAt}
	case *clerk.OrganizationMembership:
		return struct {
			id, user, organization string
			role, roleName         clerk.Nullable[string]
			updatedAt              clerk.Millis
		}{v.ID, v.UserID(), v.OrganizationID(), v.Role, v.RoleName, v.UpdatedAt}
	case *clerk.Session:
		return v.UserID
	case *clerk.DeletedObject:
		return v.ID
	}
	panic("no other types")
}

// checkEssentials requires that whatever decodes as a whole gives the same
// essentials. spare holds what was decoded before.
func checkEssentials[T any](t *testing.T, spare *T, data []byte) {
	t.Helper()
	whole, err := clerk.Decode[T](&clerk.AnyEvent{Data: data})
	if err != nil {
		_ = essentials.Decode(data, spare)
		return
	}
	require.True(t, essentials.Decode(data, spare), "%s", data)
	require.Equal(t, essentialsOf(&whole.Data), essentialsOf(spare), "%s", data)
}

// spares hold what was decoded before.
type spares struct {
	user         clerk.User
	organization clerk.Organization
	membership   clerk.OrganizationMembership
	session      clerk.Session
	deleted      clerk.DeletedObject
}

func (s *spares) check(t *testing.T, data []byte) {
	t.Helper()
	checkEssentials(t, &s.user, data)
	checkEssentials(t, &s.organization, data)
	checkEssentials(t, &s.membership, data)
	checkEssentials(t, &s.session, data)
	checkEssentials(t, &s.deleted, data)
}

func TestEssentials(t *testing.T) {
	t.Parallel()
	var s spares
	for _, body := range bodies(t) {
		e, err := clerk.Parse("msg_1", body)
		require.NoError(t, err)
		s.check(t, e.Data)
		mutants(t, e.Data, func(_ string, data []byte) { s.check(t, data) })
	}
}

// TestEssentialsAlone: what nobody reads may be of any type.
func TestEssentialsAlone(t *testing.T) {
	t.Parallel()
	var u clerk.User
	require.True(t, essentials.Decode([]byte(`{"banned":"no","scim":[{"}":"]\""}],"email_addresses":[{"id":"e","email_address":"a@example.com",
		"verification":7}],"primary_email_address_id":"e","external_accounts":{},"created_at":1,"totp_enabled":-1.5e3 , "id":"user_1"}`), &u))
	assert.Equal(t, "user_1", u.ID)
	assert.Equal(t, "a@example.com", u.PrimaryEmail())
	require.True(t, essentials.Decode([]byte(`{"id":"user_2"}`), &u))
	assert.Equal(t, actions.IdentifyUser{ID: "user_2", Properties: map[string]any{}}, bridge.KnockUser(&u))

	for _, data := range []string{
		``, ` `, `null`, `[]`, `"x"`, `{`, `{"id":1}`, `{"email_addresses":[7]}`, `{"created_at":"x"}`, `{"x"`, `{"x":`, `{"x":{`, `{"x":["]}`, `{"x":}`,
	} {
		assert.False(t, essentials.Decode([]byte(data), &u), data)
	}
	for _, data := range []string{`{"organization":{"id":7}}`, `{"organization":[]}`, `{"public_user_data":{"user_id":7}}`, `{"role":7}`} {
		assert.False(t, essentials.Decode([]byte(data), new(clerk.OrganizationMembership)), data)
	}
	assert.False(t, essentials.Decode([]byte(`{}`), new(clerk.Verification)))
}

// TestEssentialsHoldOnToLittle: one user with thousands of addresses does not stay
// in memory that is used again.
func TestEssentialsHoldOnToLittle(t *testing.T) {
	t.Parallel()
	var u clerk.User
	many := "[" + strings.Repeat("{},", 1000) + "{}]"
	require.True(t, essentials.Decode([]byte(`{"email_addresses":`+many+`,"phone_numbers":`+many+`}`), &u))
	assert.Len(t, u.EmailAddresses, 1001)
	require.True(t, essentials.Decode([]byte(`{"email_addresses":[{"id":"e"}]}`), &u))
	assert.Less(t, cap(u.EmailAddresses)+cap(u.PhoneNumbers), 20)
	list := &u.EmailAddresses[0]
	require.True(t, essentials.Decode([]byte(`{"email_addresses":[{"id":"f"}]}`), &u))
	assert.Same(t, list, &u.EmailAddresses[0], "a list of usual length is used again")
}

// FuzzEssentials holds them against Decode.
func FuzzEssentials(f *testing.F) {
	for _, body := range seeds(f) {
		e, err := clerk.Parse("msg_1", body)
		require.NoError(f, err)
		f.Add([]byte(e.Data))
	}
	for _, data := range []string{
		`{"id":"a","id":"b","email_addresses":[{"id":"1"}],"email_addresses":null}`, `{"\u0069d":"us\u0065r","x":{"\"]":["\\"]}}`,
		`{"public_user_data":{"user_id":null},"organization":null,"public_metadata":{"a":[1,"]"]}}`, `{"x":[[],{},[{"a":-0.1e-7}]],"id":"\ud800"}`,
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s spares
		if !utf8.Valid(data) || !json.Valid(data) {
			_ = essentials.Decode(data, &s.user) // it must not panic
			return
		}
		data = bytes.TrimSpace(data)
		for range 2 { // the second time, what it decodes into is in use
			s.check(t, data)
		}
	})
}
