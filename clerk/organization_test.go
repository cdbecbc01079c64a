package clerk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestOrganization(t *testing.T) {
	t.Parallel()
	o := sample(t, clerk.OrganizationCreated).Data
	assert.Equal(t, "org_sample_1", o.ID)
	assert.Equal(t, clerk.Value("Example & Sons"), o.Name)
	assert.Equal(t, clerk.Value("example-sons"), o.Slug)
	assert.Equal(t, int64(2), o.MembersCount)
	assert.Equal(t, int64(5), o.MaxAllowedMemberships)
	assert.True(t, o.AdminDeleteEnabled)
	assert.Equal(t, clerk.Value("user_sample_1"), o.CreatedBy)
	assert.True(t, o.LogoURL.IsNull())
	assert.JSONEq(t, `{"region":"north"}`, string(o.PublicMetadata.Or(nil)))
}

func TestOrganizationMembership(t *testing.T) {
	t.Parallel()
	m := sample(t, clerk.OrganizationMembershipCreated).Data
	assert.Equal(t, "orgmem_sample_1", m.ID)
	assert.Equal(t, "user_sample_1", m.UserID())
	assert.Equal(t, "org_sample_1", m.OrganizationID())
	assert.Equal(t, clerk.Value("org:admin"), m.Role)
	assert.Equal(t, clerk.Value("Admin"), m.RoleName)
	assert.Equal(t, []string{"org:sys_profile:manage"}, m.Permissions)
	data, ok := m.PublicUserData.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Value("anna@example.com"), data.Identifier)
	assert.True(t, data.LastName.IsNull())

	for _, sparse := range []string{`{}`, `{"organization":null,"public_user_data":null}`, `{"organization":{},"public_user_data":{"user_id":null}}`} {
		m := decodeData[clerk.OrganizationMembership](t, sparse)
		assert.Empty(t, m.UserID())
		assert.Empty(t, m.OrganizationID())
	}
}

func TestOrganizationInvitation(t *testing.T) {
	t.Parallel()
	organization := clerk.Value(clerk.PublicOrganizationData{
		ID: "org_sample_1", Name: "Example & Sons", Slug: "example-sons",
		ImageURL: "https://img.example.com/org.png", HasImage: true,
	})
	nested := sample(t, clerk.OrganizationInvitationCreated).Data
	assert.Equal(t, "orginv_sample_1", nested.ID)
	assert.Equal(t, organization, nested.PublicOrganizationData, "data.data.public_organization_data")
	assert.Equal(t, clerk.Value("user_sample_1"), nested.InviterID)
	inviter, ok := nested.PublicInviterData.Get()
	require.True(t, ok)
	assert.Equal(t, "user_sample_1", inviter.UserID)
	assert.Empty(t, nested.UserID)
	assert.Equal(t, "pending", nested.Status)

	direct := sample(t, clerk.OrganizationInvitationAccepted).Data
	assert.Equal(t, organization, direct.PublicOrganizationData, "data.public_organization_data")
	assert.Equal(t, "user_sample_2", direct.UserID)
	assert.True(t, direct.URL.IsNull())
	assert.True(t, direct.InviterID.IsNull())

	for data, want := range map[string]clerk.Nullable[clerk.PublicOrganizationData]{
		`{}`:            {},
		`{"data":null}`: {},
		`{"data":{}}`:   {},
		`{"data":{"public_organization_data":null}}`:                                                 clerk.Null[clerk.PublicOrganizationData](),
		`{"public_organization_data":null}`:                                                          clerk.Null[clerk.PublicOrganizationData](),
		`{"public_organization_data":null,"data":{"public_organization_data":{"id":"org_1"}}}`:       clerk.Value(clerk.PublicOrganizationData{ID: "org_1"}),
		`{"public_organization_data":{"id":"org_2"},"data":{"public_organization_data":{"id":"a"}}}`: clerk.Value(clerk.PublicOrganizationData{ID: "org_2"}),
	} {
		assert.Equal(t, want, decodeData[clerk.OrganizationInvitation](t, data).PublicOrganizationData, data)
	}
}

func TestOrganizationDomain(t *testing.T) {
	t.Parallel()
	d := sample(t, clerk.OrganizationDomainUpdated).Data
	assert.Equal(t, "example.com", d.Name)
	assert.Equal(t, "automatic_invitation", d.EnrollmentMode)
	assert.Equal(t, int64(5), d.TotalPendingSuggestions)
	affiliation, _ := d.AffiliationVerification.Get()
	assert.Equal(t, clerk.Value(clerk.Millis(1767225600004)), affiliation.ExpireAt, "expire_at")
	ownership, _ := d.OwnershipVerification.Get()
	assert.Equal(t, clerk.Value(clerk.Millis(1767225600006)), ownership.ExpireAt, "expires_at")
	assert.True(t, ownership.Attempts.IsNull())
	older, _ := d.Verification.Get()
	assert.True(t, older.ExpireAt.IsNull())
	organization, _ := d.PublicOrganizationData.Get()
	assert.Equal(t, "org_sample_1", organization.ID)
	assert.True(t, d.Verified())

	for data, want := range map[string]bool{
		`{}`:                                     false,
		`{"verification":{"status":"verified"}}`: true,
		`{"affiliation_verification":null,"verification":{"status":"verified"}}`:                true,
		`{"affiliation_verification":{"status":"failed"},"verification":{"status":"verified"}}`: false,
		`{"ownership_verification":{"status":"verified"}}`:                                      false,
	} {
		d := decodeData[clerk.OrganizationDomain](t, data)
		assert.Equal(t, want, d.Verified(), data)
	}
}

func TestRoleAndPermission(t *testing.T) {
	t.Parallel()
	r := sample(t, clerk.RoleCreated).Data
	assert.Equal(t, "org:editor", r.Key)
	assert.True(t, r.Description.IsNull())
	assert.True(t, r.IsCreatorEligible)
	p := sample(t, clerk.PermissionCreated).Data
	assert.Equal(t, []clerk.Permission{p}, r.Permissions)
	assert.Equal(t, "org:posts:write", p.Key)
	assert.Equal(t, "user", p.Type)
}
