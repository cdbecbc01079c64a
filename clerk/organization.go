package clerk

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Organization is an organization, without its members. Printing or logging it
// shows its id, name and slug.
type Organization struct {
	ID     string           `json:"id,omitzero"`
	Object string           `json:"object,omitzero"`
	Name   Nullable[string] `json:"name,omitzero"`
	// Slug may be "" when the instance has slugs turned off.
	Slug Nullable[string] `json:"slug,omitzero"`
	// ImageURL is always the address of an image. When HasImage is false, Clerk
	// has generated it.
	ImageURL Nullable[string] `json:"image_url,omitzero"`
	HasImage bool             `json:"has_image,omitzero"`
	// LogoURL is found in older bodies.
	//
	// Deprecated: Use ImageURL.
	LogoURL                 Nullable[string] `json:"logo_url,omitzero"`
	MembersCount            int64            `json:"members_count,omitzero"`
	PendingInvitationsCount int64            `json:"pending_invitations_count,omitzero"`
	// MissingMemberWithElevatedPermissions is true when no member may manage the
	// others.
	MissingMemberWithElevatedPermissions bool `json:"missing_member_with_elevated_permissions,omitzero"`
	// MaxAllowedMemberships of 0 means no limit.
	MaxAllowedMemberships int64 `json:"max_allowed_memberships,omitzero"`
	// AdminDeleteEnabled says whether admins may delete the organization.
	AdminDeleteEnabled bool `json:"admin_delete_enabled,omitzero"`
	// PublicMetadata is an object that members can read but not write.
	PublicMetadata Nullable[json.RawMessage] `json:"public_metadata,omitzero"`
	// PrivateMetadata is secret: members must never see it.
	PrivateMetadata Nullable[json.RawMessage] `json:"private_metadata,omitzero"`
	// CreatedBy is a user's id. Absent when the API created the organization.
	CreatedBy Nullable[string] `json:"created_by,omitzero"`
	// RoleSetKey names the set of roles that members choose from.
	RoleSetKey   Nullable[string] `json:"role_set_key,omitzero"`
	LastActiveAt Nullable[Millis] `json:"last_active_at,omitzero"`
	CreatedAt    Millis           `json:"created_at,omitzero"`
	UpdatedAt    Millis           `json:"updated_at,omitzero"`
}

// LogValue logs the id, name and slug.
func (o Organization) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", o.ID),
		slog.String("name", o.Name.Or("")),
		slog.String("slug", o.Slug.Or("")),
		slog.Time("updated_at", o.UpdatedAt.Time()),
	)
}

// String returns the id, name and slug.
func (o Organization) String() string { return summary("Organization", o.LogValue()) }

// Format prints [Organization.String] whatever the verb.
func (o Organization) Format(f fmt.State, _ rune) { printSummary(f, o.String()) }

// OrganizationMembership is a user's membership in an organization. Printing or
// logging it shows ids and the role.
type OrganizationMembership struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// Role is a key such as "org:admin". Bodies of 2022 have "admin" and
	// "basic_member".
	Role     Nullable[string] `json:"role,omitzero"`
	RoleName Nullable[string] `json:"role_name,omitzero"`
	// Permissions are keys such as "org:sys_memberships:manage". Absent before
	// 2023.
	Permissions []string `json:"permissions,omitzero"`
	// PublicMetadata is an object that the member can read but not write.
	PublicMetadata Nullable[json.RawMessage] `json:"public_metadata,omitzero"`
	// PrivateMetadata is secret: the member must never see it.
	PrivateMetadata Nullable[json.RawMessage] `json:"private_metadata,omitzero"`
	Organization    Organization              `json:"organization,omitzero"`
	PublicUserData  Nullable[PublicUserData]  `json:"public_user_data,omitzero"`
	CreatedAt       Millis                    `json:"created_at,omitzero"`
	UpdatedAt       Millis                    `json:"updated_at,omitzero"`
}

// UserID returns the id of the member, which stands in PublicUserData, or "".
func (m *OrganizationMembership) UserID() string { return m.PublicUserData.value.UserID }

// OrganizationID returns the id of the organization, which stands in
// Organization, or "".
func (m *OrganizationMembership) OrganizationID() string { return m.Organization.ID }

// LogValue logs ids and the role.
func (m OrganizationMembership) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", m.ID),
		slog.String("organization_id", m.OrganizationID()),
		slog.String("user_id", m.UserID()),
		slog.String("role", m.Role.Or("")),
		slog.Time("updated_at", m.UpdatedAt.Time()),
	)
}

// String returns ids and the role.
func (m OrganizationMembership) String() string {
	return summary("OrganizationMembership", m.LogValue())
}

// Format prints [OrganizationMembership.String] whatever the verb.
func (m OrganizationMembership) Format(f fmt.State, _ rune) { printSummary(f, m.String()) }

// PublicUserData is what members of an organization may know of each other.
type PublicUserData struct {
	UserID    string           `json:"user_id,omitzero"`
	FirstName Nullable[string] `json:"first_name,omitzero"`
	LastName  Nullable[string] `json:"last_name,omitzero"`
	ImageURL  Nullable[string] `json:"image_url,omitzero"`
	HasImage  bool             `json:"has_image,omitzero"`
	// ProfileImageURL is the older form of ImageURL, still sent.
	//
	// Deprecated: Use ImageURL.
	ProfileImageURL Nullable[string] `json:"profile_image_url,omitzero"`
	// Identifier is an e-mail address, phone number, username or wallet: do not
	// take it for an e-mail address.
	Identifier    Nullable[string] `json:"identifier,omitzero"`
	Username      Nullable[string] `json:"username,omitzero"`
	Banned        bool             `json:"banned,omitzero"`
	Deprovisioned bool             `json:"deprovisioned,omitzero"`
}

// OrganizationInvitation is an invitation to join an organization. Printing or
// logging it shows ids and the status, never the URL.
//
// Do not embed it in a struct to decode into: its UnmarshalJSON would be
// promoted, and the members of the struct itself left out.
type OrganizationInvitation struct {
	ID           string `json:"id,omitzero"`
	Object       string `json:"object,omitzero"`
	EmailAddress string `json:"email_address,omitzero"`
	Role         string `json:"role,omitzero"`
	RoleName     string `json:"role_name,omitzero"`
	// OrganizationID may be absent. PublicOrganizationData has the id as well.
	OrganizationID string `json:"organization_id,omitzero"`
	// UserID is who accepted. Sent with [OrganizationInvitationAccepted] only,
	// and not in older bodies.
	UserID string `json:"user_id,omitzero"`
	// InviterID is null when the API sent the invitation.
	InviterID Nullable[string] `json:"inviter_id,omitzero"`
	// PublicInviterData is absent from many bodies.
	PublicInviterData Nullable[PublicUserData] `json:"public_inviter_data,omitzero"`
	// PublicOrganizationData is read from the member of that name in the data,
	// and from the inner "data" member where some bodies have it.
	PublicOrganizationData Nullable[PublicOrganizationData] `json:"public_organization_data,omitzero"`
	// Status is "pending", "accepted", "revoked" or "expired". Clerk may add
	// others.
	Status         string                    `json:"status,omitzero"`
	PublicMetadata Nullable[json.RawMessage] `json:"public_metadata,omitzero"`
	// PrivateMetadata is secret.
	PrivateMetadata Nullable[json.RawMessage] `json:"private_metadata,omitzero"`
	// URL is secret while the invitation is pending: who opens it may join.
	URL       Nullable[string] `json:"url,omitzero"`
	ExpiresAt Nullable[Millis] `json:"expires_at,omitzero"`
	CreatedAt Millis           `json:"created_at,omitzero"`
	UpdatedAt Millis           `json:"updated_at,omitzero"`
}

// UnmarshalJSON accepts PublicOrganizationData in both places.
func (i *OrganizationInvitation) UnmarshalJSON(b []byte) error {
	type fields OrganizationInvitation
	var v struct {
		fields

		Data Nullable[struct {
			PublicOrganizationData Nullable[PublicOrganizationData] `json:"public_organization_data"`
		}] `json:"data"`
	}
	if err := unmarshal(b, &v); err != nil {
		return err
	}
	*i = OrganizationInvitation(v.fields)
	i.PublicOrganizationData = firstOf(i.PublicOrganizationData, v.Data.value.PublicOrganizationData)
	return nil
}

// LogValue logs ids and the status.
func (i OrganizationInvitation) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", i.ID),
		slog.String("organization_id", i.OrganizationID),
		slog.String("status", i.Status),
		slog.Time("updated_at", i.UpdatedAt.Time()),
	)
}

// String returns ids and the status.
func (i OrganizationInvitation) String() string {
	return summary("OrganizationInvitation", i.LogValue())
}

// Format prints [OrganizationInvitation.String] whatever the verb.
func (i OrganizationInvitation) Format(f fmt.State, _ rune) { printSummary(f, i.String()) }

// PublicOrganizationData is what an invited person may know of an organization.
type PublicOrganizationData struct {
	ID   string `json:"id,omitzero"`
	Name string `json:"name,omitzero"`
	// Slug may be "" when the instance has slugs turned off.
	Slug     string `json:"slug,omitzero"`
	ImageURL string `json:"image_url,omitzero"`
	HasImage bool   `json:"has_image,omitzero"`
}

// OrganizationDomain is a domain whose users may join an organization.
type OrganizationDomain struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// OrganizationID may be absent. PublicOrganizationData has the id as well.
	OrganizationID string `json:"organization_id,omitzero"`
	// Name is the domain, such as "example.com".
	Name string `json:"name,omitzero"`
	// EnrollmentMode is "manual_invitation", "automatic_invitation",
	// "automatic_suggestion" or "enterprise_sso". Clerk may add others.
	EnrollmentMode string `json:"enrollment_mode,omitzero"`
	// AffiliationEmailAddress is the address by which somebody showed to belong to
	// the domain.
	AffiliationEmailAddress Nullable[string]             `json:"affiliation_email_address,omitzero"`
	AffiliationVerification Nullable[DomainVerification] `json:"affiliation_verification,omitzero"`
	OwnershipVerification   Nullable[DomainVerification] `json:"ownership_verification,omitzero"`
	// Verification is the older name of AffiliationVerification, and in many
	// bodies the only one sent.
	Verification            Nullable[DomainVerification]     `json:"verification,omitzero"`
	TotalPendingInvitations int64                            `json:"total_pending_invitations,omitzero"`
	TotalPendingSuggestions int64                            `json:"total_pending_suggestions,omitzero"`
	PublicOrganizationData  Nullable[PublicOrganizationData] `json:"public_organization_data,omitzero"`
	CreatedAt               Millis                           `json:"created_at,omitzero"`
	UpdatedAt               Millis                           `json:"updated_at,omitzero"`
}

// Verified reports whether the affiliation with the domain is verified, under
// whichever name the body carries it. It is false when Clerk says nothing about
// it.
func (d *OrganizationDomain) Verified() bool {
	return firstOf(d.AffiliationVerification, d.Verification).value.Status == "verified"
}

// DomainVerification says whether and how a domain has been verified.
type DomainVerification struct {
	// Status is "verified", "unverified", "failed" or "expired". Clerk may add
	// others.
	Status   string          `json:"status,omitzero"`
	Strategy string          `json:"strategy,omitzero"`
	Attempts Nullable[int64] `json:"attempts,omitzero"`
	// ExpireAt is read from "expire_at" and from "expires_at".
	ExpireAt   Nullable[Millis] `json:"expire_at,omitzero"`
	VerifiedAt Nullable[Millis] `json:"verified_at,omitzero"`
}

// UnmarshalJSON accepts both names of ExpireAt.
func (v *DomainVerification) UnmarshalJSON(b []byte) error {
	type fields DomainVerification
	var w struct {
		fields

		ExpiresAt Nullable[Millis] `json:"expires_at"`
	}
	if err := unmarshal(b, &w); err != nil {
		return err
	}
	*v = DomainVerification(w.fields)
	v.ExpireAt = firstOf(v.ExpireAt, w.ExpiresAt)
	return nil
}

// firstOf returns the first with a value, else one that is null, else absent.
func firstOf[T any](a, b Nullable[T]) Nullable[T] {
	if b.state > a.state {
		return b
	}
	return a
}

// Role is a role that members of an organization can have.
type Role struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	Name   string `json:"name,omitzero"`
	// Key is such as "org:admin".
	Key         string           `json:"key,omitzero"`
	Description Nullable[string] `json:"description,omitzero"`
	// IsCreatorEligible is true for a role that the creator of an organization
	// can get.
	IsCreatorEligible bool         `json:"is_creator_eligible,omitzero"`
	Permissions       []Permission `json:"permissions,omitzero"`
	CreatedAt         Millis       `json:"created_at,omitzero"`
	UpdatedAt         Millis       `json:"updated_at,omitzero"`
}

// Permission is something that a [Role] allows.
type Permission struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	Name   string `json:"name,omitzero"`
	// Key is such as "org:sys_memberships:manage".
	Key         string           `json:"key,omitzero"`
	Description Nullable[string] `json:"description,omitzero"`
	// Type is "system" for Clerk's own, else "user" or "custom".
	Type      string `json:"type,omitzero"`
	CreatedAt Millis `json:"created_at,omitzero"`
	UpdatedAt Millis `json:"updated_at,omitzero"`
}
