package clerk_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestUser(t *testing.T) {
	t.Parallel()
	u := sample(t, clerk.UserCreated).Data
	assert.Equal(t, "user_2sample0AnnaLindqvist0000001", u.ID)
	assert.Equal(t, clerk.Value("Änna"), u.FirstName)
	assert.True(t, u.Username.IsNull())
	assert.True(t, u.Timezone.IsAbsent())
	assert.Equal(t, clerk.Value("sv-SE"), u.Locale)
	assert.Equal(t, clerk.Value("customer-000042"), u.ExternalID)
	assert.JSONEq(t, `{"plan":"team","onboarded":false,"roles":["author","reviewer"]}`, string(u.PublicMetadata.Or(nil)))
	assert.JSONEq(t, `{"theme":"dark","note":"said \"hello\""}`, string(u.UnsafeMetadata.Or(nil)))
	assert.True(t, u.HasImage)
	assert.True(t, u.LastSignInAt.IsNull())
	assert.Equal(t, clerk.Value(clerk.Millis(1767225600000)), u.CreatedAt)
	assert.Equal(t, clerk.Millis(1767225600005), u.UpdatedAt)
	assert.Equal(t, clerk.Value(int64(100)), u.VerificationAttemptsRemaining)
	assert.NotNil(t, u.Web3Wallets)
	assert.Empty(t, u.Web3Wallets)
	assert.Nil(t, u.OrganizationMemberships)

	require.Len(t, u.EmailAddresses, 2)
	assert.Equal(t, "anna@example.com", u.PrimaryEmail(), "the second entry is the primary one")
	assert.Same(t, &u.EmailAddresses[1], u.PrimaryEmailAddress())
	assert.True(t, u.PrimaryEmailAddress().Verified())
	assert.False(t, u.EmailAddresses[0].Verified())
	assert.Equal(t, []clerk.Link{{ID: "eac_2sample0google0000000000001", Type: "oauth_google"}}, u.EmailAddresses[1].LinkedTo)
	assert.Equal(t, "+15555550142", u.PrimaryPhone())
	assert.Same(t, &u.PhoneNumbers[0], u.PrimaryPhoneNumber())
	assert.True(t, u.PrimaryPhoneNumber().Verified())
	assert.Equal(t, clerk.Value([]string{"sample-backup-code-1", "sample-backup-code-2"}), u.PhoneNumbers[0].BackupCodes)
	verification, ok := u.PhoneNumbers[0].Verification.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Value("sms"), verification.Channel)
	assert.Equal(t, clerk.Value(int64(1)), verification.Attempts)
	assert.Empty(t, u.PrimaryWallet())
	assert.Equal(t, "Änna Lindqvist", u.FullName())
}

func TestUserOfManyKinds(t *testing.T) {
	t.Parallel()
	u := sample(t, clerk.UserUpdated).Data
	assert.Empty(t, u.PrimaryEmail())
	assert.Nil(t, u.PrimaryEmailAddress())
	assert.Empty(t, u.PrimaryPhone())
	assert.Nil(t, u.PrimaryPhoneNumber())
	assert.Equal(t, "0x000000000000000000000000000000000000dEaD", u.PrimaryWallet())
	assert.True(t, u.Web3Wallets[0].Verified())
	assert.Equal(t, "anna", u.FullName())
	assert.True(t, u.PrivateMetadata.IsNull())
	assert.Equal(t, clerk.Value(int64(0)), u.CreateOrganizationsLimit)
	assert.True(t, u.Banned && u.Locked && u.Deprovisioned && u.BypassClientTrust)
	assert.Equal(t, clerk.Value(clerk.SCIM{DirectoryID: "dir_sample_1", DirectoryEnabled: true, ExternalID: clerk.Null[string]()}), u.SCIM)
	assert.Equal(t, "Laptop", u.Passkeys[0].Name)

	legacy, hybrid, normalized := u.ExternalAccounts[0], u.ExternalAccounts[1], u.ExternalAccounts[2]
	assert.Equal(t, "100000000000000000001", legacy.UserIDAtProvider())
	assert.Equal(t, "Anna Lindqvist", legacy.Given()+" "+legacy.Family())
	assert.Empty(t, legacy.Provider)
	assert.Equal(t, clerk.Value(""), legacy.Username)
	assert.True(t, legacy.Verified())
	assert.Equal(t, "100000000000000000002", hybrid.UserIDAtProvider())
	assert.Equal(t, "eac_sample_2", hybrid.ExternalAccountID)
	assert.Equal(t, "Lindqvist", hybrid.Family())
	assert.False(t, hybrid.Verified())
	assert.Equal(t, "42", normalized.UserIDAtProvider())
	assert.Equal(t, "Anna", normalized.Given())
	assert.Equal(t, clerk.Value(true), normalized.EmailAddressVerified)
	assert.False(t, normalized.Verified())
	v, _ := normalized.Verification.Get()
	e, _ := v.Error.Get()
	assert.Equal(t, "oauth_access_denied", e.Code)

	connection, _ := u.SAMLAccounts[0].SAMLConnection.Get()
	assert.Equal(t, []string{"example.com"}, connection.Domains)
	enterprise, _ := u.EnterpriseAccounts[0].EnterpriseConnection.Get()
	assert.True(t, enterprise.AllowSubdomains)
	assert.True(t, enterprise.LogoPublicURL.IsNull())
	assert.Equal(t, "org_sample_1", u.OrganizationMemberships[0].OrganizationID())
}

func TestUserPrimaries(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"no members":     `{}`,
		"null":           `{"primary_email_address_id":null,"primary_phone_number_id":null,"primary_web3_wallet_id":null,"email_addresses":null,"phone_numbers":null,"web3_wallets":null}`,
		"empty lists":    `{"primary_email_address_id":"a","primary_phone_number_id":"a","primary_web3_wallet_id":"a","email_addresses":[],"phone_numbers":[],"web3_wallets":[]}`,
		"nowhere":        `{"primary_email_address_id":"a","primary_phone_number_id":"a","primary_web3_wallet_id":"a","email_addresses":[{"id":"b","email_address":"b"}],"phone_numbers":[{"id":"b","phone_number":"b"}],"web3_wallets":[{"id":"b","web3_wallet":"b"}]}`,
		"none chosen":    `{"email_addresses":[{"id":"b","email_address":"b"}],"phone_numbers":[{"id":"b","phone_number":"b"}],"web3_wallets":[{"id":"b","web3_wallet":"b"}]}`,
		"empty ids":      `{"primary_email_address_id":"","primary_phone_number_id":"","primary_web3_wallet_id":"","email_addresses":[{"email_address":"b"}],"phone_numbers":[{"phone_number":"b"}],"web3_wallets":[{"web3_wallet":"b"}]}`,
		"null ids":       `{"primary_email_address_id":null,"primary_phone_number_id":null,"primary_web3_wallet_id":null,"email_addresses":[{"id":null,"email_address":"b"}],"phone_numbers":[{"id":null,"phone_number":"b"}],"web3_wallets":[{"id":null,"web3_wallet":"b"}]}`,
		"null addresses": `{"primary_email_address_id":"a","email_addresses":[null],"primary_phone_number_id":"a","phone_numbers":[null],"primary_web3_wallet_id":"a","web3_wallets":[null]}`,
	} {
		u := decodeData[clerk.User](t, data)
		assert.Empty(t, u.PrimaryEmail(), name)
		assert.Nil(t, u.PrimaryEmailAddress(), name)
		assert.Empty(t, u.PrimaryPhone(), name)
		assert.Nil(t, u.PrimaryPhoneNumber(), name)
		assert.Empty(t, u.PrimaryWallet(), name)
	}
}

func TestUserFullName(t *testing.T) {
	t.Parallel()
	name, none := clerk.Value[string], clerk.Null[string]()
	for _, tt := range []struct {
		first, last, username clerk.Nullable[string]
		want                  string
	}{
		{name("Anna"), name("Lindqvist"), name("anna"), "Anna Lindqvist"},
		{name(" Anna "), name("\tLindqvist"), none, "Anna Lindqvist"},
		{name("Anna"), none, name("anna"), "Anna"},
		{name(" "), name("Lindqvist"), name("anna"), "Lindqvist"},
		{name("Anna Maria"), name(""), none, "Anna Maria"},
		{none, none, name("anna"), "anna"},
		{name(""), name("  "), name("anna"), "anna"},
		{none, none, none, ""},
	} {
		u := clerk.User{FirstName: tt.first, LastName: tt.last, Username: tt.username}
		assert.Equal(t, tt.want, u.FullName())
	}
	assert.Empty(t, new(clerk.User).FullName())
}

func TestSession(t *testing.T) {
	t.Parallel()
	s := sample(t, clerk.SessionCreated).Data
	assert.Equal(t, "sess_sample_1", s.ID)
	assert.Equal(t, "user_sample_1", s.UserID)
	assert.JSONEq(t, `{"sub":"user_sample_2"}`, string(s.Actor.Or(nil)))
	assert.True(t, s.LastActiveOrganizationID.IsNull())
	assert.True(t, s.Tasks.IsAbsent())
	activity, ok := s.LatestActivity.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Value("Lund"), activity.City)
	require.NotNil(t, s.User)
	assert.Equal(t, "anna", s.User.FullName())

	s = sample(t, clerk.SessionPending).Data
	assert.Equal(t, "pending", s.Status)
	assert.Nil(t, s.User)
	assert.True(t, s.LatestActivity.IsNull())
	assert.Equal(t, clerk.Value([]clerk.SessionTask{{Key: "choose-organization"}}), s.Tasks)
}

func TestDeletedObject(t *testing.T) {
	t.Parallel()
	d := sample(t, clerk.UserDeleted).Data
	assert.Equal(t, clerk.DeletedObject{
		ID: "user_sample_1", Object: "user", Deleted: true, ExternalID: clerk.Value("customer-1"),
	}, d)
	assert.Empty(t, decodeData[clerk.DeletedObject](t, `{"object":"user","deleted":true}`).ID)

	full := sample(t, clerk.RoleDeleted).Data
	assert.Equal(t, clerk.DeletedObject{ID: "role_sample_1", Object: "role"}, full, "a role sent in full")
	assert.Equal(t, clerk.DeletedObject{ID: "role_1", Object: "role", Deleted: true, Slug: clerk.Null[string]()},
		decodeData[clerk.DeletedObject](t, `{"object":"role","id":"role_1","slug":null,"deleted":true}`))
}

func TestMessages(t *testing.T) {
	t.Parallel()
	e := sample(t, clerk.EmailCreated).Data
	assert.Equal(t, "ema_sample_1", e.ID)
	assert.Equal(t, clerk.Value("verification_code"), e.Slug)
	assert.Equal(t, clerk.Value("anna@example.com"), e.ToEmailAddress)
	assert.Equal(t, clerk.Value("Your code: 867530"), e.BodyPlain)
	assert.True(t, e.ReplyToEmailName.IsNull())
	assert.False(t, e.DeliveredByClerk)
	var variables struct {
		Code string `json:"otp_code"`
	}
	require.NoError(t, json.Unmarshal(e.Data.Or(nil), &variables))
	assert.Equal(t, "867530", variables.Code)

	s := sample(t, clerk.SMSCreated).Data
	assert.Equal(t, "+15555550101", s.ToPhoneNumber)
	assert.Equal(t, clerk.Value("867530 is your code"), s.Message)
	assert.Equal(t, clerk.Millis(1767225600008), s.CreatedAt, "created_at_ms")
	assert.Equal(t, clerk.Millis(5), decodeData[clerk.SMS](t, `{"created_at":5}`).CreatedAt)
	assert.Equal(t, clerk.Millis(5), decodeData[clerk.SMS](t, `{"created_at_ms":6,"created_at":5}`).CreatedAt)
	assert.Equal(t, clerk.Millis(6), decodeData[clerk.SMS](t, `{"created_at_ms":6,"created_at":null}`).CreatedAt)
}

func TestWaitlistEntry(t *testing.T) {
	t.Parallel()
	w := sample(t, clerk.WaitlistEntryUpdated).Data
	assert.Equal(t, "wle_sample_1", w.ID)
	assert.Equal(t, "invited", w.Status)
	assert.True(t, w.IsLocked)
	invitation, ok := w.Invitation.Get()
	require.True(t, ok)
	assert.Equal(t, "inv_sample_1", invitation.ID)
	assert.True(t, invitation.ExpiresAt.IsNull())
}
