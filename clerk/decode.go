package clerk

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var errNotInt64 = errors.New("not an integer, or out of range")

// The types of the busiest events are decoded here, member by member, in about
// half the time that reflection takes. Their tags say the same, for encoding/json
// and for structs that embed them; a test compares the two ways.

// decodeFast decodes what it knows how to, and reports whether it did. The
// switch is on concrete types: a method would be promoted to structs that embed
// them, and their own fields left out.
func decodeFast(data []byte, v any) (done bool, err error) {
	switch v := v.(type) {
	case *User:
		return true, decodeWith(data, v, decodeUser)
	case *Organization:
		return true, decodeWith(data, v, decodeOrganization)
	case *OrganizationMembership:
		return true, decodeWith(data, v, decodeMembership)
	case *Session:
		return true, decodeWith(data, v, decodeSession)
	default:
		return false, nil
	}
}

func decodeWith[T any](data []byte, p *T, decode func(d *decoder, p *T) error) error {
	d := decoder{b: data}
	err := decode(&d, p)
	if err == nil {
		err = d.end()
	}
	return d.explain(err)
}

func decodeUser(d *decoder, u *User) error { return decodeObject(d, u, userMember) }

//nolint:gocyclo // one case per member
func userMember(d *decoder, u *User, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &u.ID)
	case "object":
		return decodeWord(d, &u.Object)
	case "external_id":
		return decodeNullable(d, &u.ExternalID, decodeString)
	case "primary_email_address_id":
		return decodeNullable(d, &u.PrimaryEmailAddressID, decodeString)
	case "primary_phone_number_id":
		return decodeNullable(d, &u.PrimaryPhoneNumberID, decodeString)
	case "primary_web3_wallet_id":
		return decodeNullable(d, &u.PrimaryWeb3WalletID, decodeString)
	case "username":
		return decodeNullable(d, &u.Username, decodeString)
	case "first_name":
		return decodeNullable(d, &u.FirstName, decodeString)
	case "last_name":
		return decodeNullable(d, &u.LastName, decodeString)
	case "locale":
		return decodeNullable(d, &u.Locale, decodeString)
	case "timezone":
		return decodeNullable(d, &u.Timezone, decodeString)
	case "image_url":
		return decodeNullable(d, &u.ImageURL, decodeString)
	case "has_image":
		return decodeBool(d, &u.HasImage)
	case "profile_image_url":
		return decodeNullable(d, &u.ProfileImageURL, decodeString)
	case "public_metadata":
		return decodeNullable(d, &u.PublicMetadata, decodeRaw)
	case "private_metadata":
		return decodeNullable(d, &u.PrivateMetadata, decodeRaw)
	case "unsafe_metadata":
		return decodeNullable(d, &u.UnsafeMetadata, decodeRaw)
	case "email_addresses":
		return decodeSlice(d, &u.EmailAddresses, decodeEmailAddress)
	case "phone_numbers":
		return decodeSlice(d, &u.PhoneNumbers, decodePhoneNumber)
	case "web3_wallets":
		return decodeSlice(d, &u.Web3Wallets, decodeAny)
	case "passkeys":
		return decodeSlice(d, &u.Passkeys, decodeAny)
	case "external_accounts":
		return decodeSlice(d, &u.ExternalAccounts, decodeExternalAccount)
	case "saml_accounts":
		return decodeSlice(d, &u.SAMLAccounts, decodeAny)
	case "enterprise_accounts":
		return decodeSlice(d, &u.EnterpriseAccounts, decodeAny)
	case "organization_memberships":
		return decodeSlice(d, &u.OrganizationMemberships, decodeMembership)
	case "password_enabled":
		return decodeBool(d, &u.PasswordEnabled)
	case "password_last_updated_at":
		return decodeNullable(d, &u.PasswordLastUpdatedAt, decodeMillis)
	case "two_factor_enabled":
		return decodeBool(d, &u.TwoFactorEnabled)
	case "totp_enabled":
		return decodeBool(d, &u.TOTPEnabled)
	case "backup_code_enabled":
		return decodeBool(d, &u.BackupCodeEnabled)
	case "mfa_enabled_at":
		return decodeNullable(d, &u.MFAEnabledAt, decodeMillis)
	case "mfa_disabled_at":
		return decodeNullable(d, &u.MFADisabledAt, decodeMillis)
	case "last_sign_in_at":
		return decodeNullable(d, &u.LastSignInAt, decodeMillis)
	case "last_active_at":
		return decodeNullable(d, &u.LastActiveAt, decodeMillis)
	case "banned":
		return decodeBool(d, &u.Banned)
	case "locked":
		return decodeBool(d, &u.Locked)
	case "deprovisioned":
		return decodeBool(d, &u.Deprovisioned)
	case "lockout_expires_in_seconds":
		return decodeNullable(d, &u.LockoutExpiresInSeconds, decodeInt)
	case "verification_attempts_remaining":
		return decodeNullable(d, &u.VerificationAttemptsRemaining, decodeInt)
	case "delete_self_enabled":
		return decodeBool(d, &u.DeleteSelfEnabled)
	case "create_organization_enabled":
		return decodeBool(d, &u.CreateOrganizationEnabled)
	case "create_organizations_limit":
		return decodeNullable(d, &u.CreateOrganizationsLimit, decodeInt)
	case "legal_accepted_at":
		return decodeNullable(d, &u.LegalAcceptedAt, decodeMillis)
	case "bypass_client_trust":
		return decodeBool(d, &u.BypassClientTrust)
	case "scim":
		return decodeNullable(d, &u.SCIM, decodeAny)
	case "created_at":
		return decodeNullable(d, &u.CreatedAt, decodeMillis)
	case "updated_at":
		return decodeMillis(d, &u.UpdatedAt)
	case "birthday":
		return decodeString(d, &u.Birthday)
	case "gender":
		return decodeString(d, &u.Gender)
	default:
		return d.skip()
	}
}

func decodeEmailAddress(d *decoder, a *EmailAddress) error {
	return decodeObject(d, a, emailAddressMember)
}

func emailAddressMember(d *decoder, a *EmailAddress, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &a.ID)
	case "object":
		return decodeWord(d, &a.Object)
	case "email_address":
		return decodeString(d, &a.EmailAddress)
	case "reserved":
		return decodeBool(d, &a.Reserved)
	case "verification":
		return decodeNullable(d, &a.Verification, decodeVerification)
	case "linked_to":
		return decodeSlice(d, &a.LinkedTo, decodeLink)
	case "matches_sso_connection":
		return decodeBool(d, &a.MatchesSSOConnection)
	case "created_at":
		return decodeMillis(d, &a.CreatedAt)
	case "updated_at":
		return decodeMillis(d, &a.UpdatedAt)
	default:
		return d.skip()
	}
}

func decodePhoneNumber(d *decoder, p *PhoneNumber) error {
	return decodeObject(d, p, phoneNumberMember)
}

func phoneNumberMember(d *decoder, p *PhoneNumber, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &p.ID)
	case "object":
		return decodeWord(d, &p.Object)
	case "phone_number":
		return decodeString(d, &p.PhoneNumber)
	case "reserved_for_second_factor":
		return decodeBool(d, &p.ReservedForSecondFactor)
	case "default_second_factor":
		return decodeBool(d, &p.DefaultSecondFactor)
	case "reserved":
		return decodeBool(d, &p.Reserved)
	case "verification":
		return decodeNullable(d, &p.Verification, decodeVerification)
	case "linked_to":
		return decodeSlice(d, &p.LinkedTo, decodeLink)
	case "backup_codes":
		return decodeNullable(d, &p.BackupCodes, decodeStrings)
	case "created_at":
		return decodeMillis(d, &p.CreatedAt)
	case "updated_at":
		return decodeMillis(d, &p.UpdatedAt)
	default:
		return d.skip()
	}
}

func decodeLink(d *decoder, l *Link) error { return decodeObject(d, l, linkMember) }

func linkMember(d *decoder, l *Link, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &l.ID)
	case "type":
		return decodeWord(d, &l.Type)
	default:
		return d.skip()
	}
}

func decodeVerification(d *decoder, v *Verification) error {
	return decodeObject(d, v, verificationMember)
}

func verificationMember(d *decoder, v *Verification, name []byte) error {
	switch string(name) {
	case "object":
		return decodeWord(d, &v.Object)
	case "status":
		return decodeWord(d, &v.Status)
	case "strategy":
		return decodeWord(d, &v.Strategy)
	case "attempts":
		return decodeNullable(d, &v.Attempts, decodeInt)
	case "expire_at":
		return decodeNullable(d, &v.ExpireAt, decodeMillis)
	case "channel":
		return decodeNullable(d, &v.Channel, decodeWord)
	case "verified_at_client":
		return decodeNullable(d, &v.VerifiedAtClient, decodeString)
	case "nonce":
		return decodeNullable(d, &v.Nonce, decodeString)
	case "message":
		return decodeNullable(d, &v.Message, decodeString)
	case "external_verification_redirect_url":
		return decodeNullable(d, &v.ExternalVerificationRedirectURL, decodeString)
	case "error":
		return decodeNullable(d, &v.Error, decodeAny)
	default:
		return d.skip()
	}
}

func decodeExternalAccount(d *decoder, a *ExternalAccount) error {
	return decodeObject(d, a, externalAccountMember)
}

//nolint:gocyclo // one case per member
func externalAccountMember(d *decoder, a *ExternalAccount, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &a.ID)
	case "object":
		return decodeWord(d, &a.Object)
	case "provider":
		return decodeWord(d, &a.Provider)
	case "identification_id":
		return decodeString(d, &a.IdentificationID)
	case "provider_user_id":
		return decodeString(d, &a.ProviderUserID)
	case "external_account_id":
		return decodeString(d, &a.ExternalAccountID)
	case "approved_scopes":
		return decodeString(d, &a.ApprovedScopes)
	case "email_address":
		return decodeString(d, &a.EmailAddress)
	case "email_address_verified":
		return decodeNullable(d, &a.EmailAddressVerified, decodeBool)
	case "first_name":
		return decodeString(d, &a.FirstName)
	case "last_name":
		return decodeString(d, &a.LastName)
	case "avatar_url":
		return decodeString(d, &a.AvatarURL)
	case "image_url":
		return decodeNullable(d, &a.ImageURL, decodeString)
	case "username":
		return decodeNullable(d, &a.Username, decodeString)
	case "phone_number":
		return decodeNullable(d, &a.PhoneNumber, decodeString)
	case "public_metadata":
		return decodeNullable(d, &a.PublicMetadata, decodeRaw)
	case "label":
		return decodeNullable(d, &a.Label, decodeString)
	case "verification":
		return decodeNullable(d, &a.Verification, decodeVerification)
	case "created_at":
		return decodeMillis(d, &a.CreatedAt)
	case "updated_at":
		return decodeMillis(d, &a.UpdatedAt)
	case "google_id":
		return decodeString(d, &a.GoogleID)
	case "given_name":
		return decodeString(d, &a.GivenName)
	case "family_name":
		return decodeString(d, &a.FamilyName)
	case "picture":
		return decodeString(d, &a.Picture)
	default:
		return d.skip()
	}
}

func decodeSession(d *decoder, s *Session) error {
	return decodeObject(d, s, sessionMember)
}

func sessionMember(d *decoder, s *Session, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &s.ID)
	case "object":
		return decodeWord(d, &s.Object)
	case "user_id":
		return decodeString(d, &s.UserID)
	case "client_id":
		return decodeString(d, &s.ClientID)
	case "actor":
		return decodeNullable(d, &s.Actor, decodeRaw)
	case "status":
		return decodeWord(d, &s.Status)
	case "last_active_organization_id":
		return decodeNullable(d, &s.LastActiveOrganizationID, decodeString)
	case "last_active_at":
		return decodeMillis(d, &s.LastActiveAt)
	case "latest_activity":
		return decodeNullable(d, &s.LatestActivity, decodeAny)
	case "expire_at":
		return decodeMillis(d, &s.ExpireAt)
	case "abandon_at":
		return decodeMillis(d, &s.AbandonAt)
	case "tasks":
		return decodeNullable(d, &s.Tasks, decodeAny)
	case "user":
		s.User = nil
		if d.kind() == 'n' {
			return d.skip()
		}
		s.User = new(User)
		return decodeUser(d, s.User)
	case "created_at":
		return decodeMillis(d, &s.CreatedAt)
	case "updated_at":
		return decodeMillis(d, &s.UpdatedAt)
	default:
		return d.skip()
	}
}

func decodeOrganization(d *decoder, o *Organization) error {
	return decodeObject(d, o, organizationMember)
}

func organizationMember(d *decoder, o *Organization, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &o.ID)
	case "object":
		return decodeWord(d, &o.Object)
	case "name":
		return decodeNullable(d, &o.Name, decodeString)
	case "slug":
		return decodeNullable(d, &o.Slug, decodeString)
	case "image_url":
		return decodeNullable(d, &o.ImageURL, decodeString)
	case "has_image":
		return decodeBool(d, &o.HasImage)
	case "logo_url":
		return decodeNullable(d, &o.LogoURL, decodeString)
	case "members_count":
		return decodeInt(d, &o.MembersCount)
	case "pending_invitations_count":
		return decodeInt(d, &o.PendingInvitationsCount)
	case "missing_member_with_elevated_permissions":
		return decodeBool(d, &o.MissingMemberWithElevatedPermissions)
	case "max_allowed_memberships":
		return decodeInt(d, &o.MaxAllowedMemberships)
	case "admin_delete_enabled":
		return decodeBool(d, &o.AdminDeleteEnabled)
	case "public_metadata":
		return decodeNullable(d, &o.PublicMetadata, decodeRaw)
	case "private_metadata":
		return decodeNullable(d, &o.PrivateMetadata, decodeRaw)
	case "created_by":
		return decodeNullable(d, &o.CreatedBy, decodeString)
	case "role_set_key":
		return decodeNullable(d, &o.RoleSetKey, decodeString)
	case "last_active_at":
		return decodeNullable(d, &o.LastActiveAt, decodeMillis)
	case "created_at":
		return decodeMillis(d, &o.CreatedAt)
	case "updated_at":
		return decodeMillis(d, &o.UpdatedAt)
	default:
		return d.skip()
	}
}

func decodeMembership(d *decoder, m *OrganizationMembership) error {
	return decodeObject(d, m, membershipMember)
}

func membershipMember(d *decoder, m *OrganizationMembership, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(d, &m.ID)
	case "object":
		return decodeWord(d, &m.Object)
	case "role":
		return decodeNullable(d, &m.Role, decodeWord)
	case "role_name":
		return decodeNullable(d, &m.RoleName, decodeWord)
	case "permissions":
		return decodeStrings(d, &m.Permissions)
	case "public_metadata":
		return decodeNullable(d, &m.PublicMetadata, decodeRaw)
	case "private_metadata":
		return decodeNullable(d, &m.PrivateMetadata, decodeRaw)
	case "organization":
		return decodeOrganization(d, &m.Organization)
	case "public_user_data":
		return decodeNullable(d, &m.PublicUserData, decodePublicUserData)
	case "created_at":
		return decodeMillis(d, &m.CreatedAt)
	case "updated_at":
		return decodeMillis(d, &m.UpdatedAt)
	default:
		return d.skip()
	}
}

func decodePublicUserData(d *decoder, p *PublicUserData) error {
	return decodeObject(d, p, publicUserDataMember)
}

func publicUserDataMember(d *decoder, p *PublicUserData, name []byte) error {
	switch string(name) {
	case "user_id":
		return decodeString(d, &p.UserID)
	case "first_name":
		return decodeNullable(d, &p.FirstName, decodeString)
	case "last_name":
		return decodeNullable(d, &p.LastName, decodeString)
	case "image_url":
		return decodeNullable(d, &p.ImageURL, decodeString)
	case "has_image":
		return decodeBool(d, &p.HasImage)
	case "profile_image_url":
		return decodeNullable(d, &p.ProfileImageURL, decodeString)
	case "identifier":
		return decodeNullable(d, &p.Identifier, decodeString)
	case "username":
		return decodeNullable(d, &p.Username, decodeString)
	case "banned":
		return decodeBool(d, &p.Banned)
	case "deprovisioned":
		return decodeBool(d, &p.Deprovisioned)
	default:
		return d.skip()
	}
}

// decodeObject decodes an object by its members. Null is the zero value.
func decodeObject[T any](d *decoder, p *T, member func(d *decoder, p *T, name []byte) error) error {
	var zero T
	*p = zero
	switch d.kind() {
	case '{':
		return d.object(func(name []byte) error { return member(d, p, name) })
	case 'n':
		return d.skip()
	default:
		return mismatch[T](d)
	}
}

// decodeSlice decodes an array, into memory that *p has. Null is nil.
func decodeSlice[T any](d *decoder, p *[]T, element func(d *decoder, p *T) error) error {
	s := (*p)[:0]
	*p = nil
	switch d.kind() {
	case '[':
		if s == nil {
			s = []T{}
		}
		err := d.array(func() error {
			var zero T
			s = append(s, zero)
			return element(d, &s[len(s)-1])
		})
		*p = s
		return err
	case 'n':
		return d.skip()
	default:
		return mismatch[[]T](d)
	}
}

// decodeNullable decodes null, or a value with value.
func decodeNullable[T any](d *decoder, n *Nullable[T], value func(d *decoder, p *T) error) error {
	*n = Nullable[T]{state: stateNull}
	if d.kind() == 'n' {
		return d.skip()
	}
	if err := value(d, &n.value); err != nil {
		return err
	}
	n.state = stateValue
	return nil
}

// decodeAny decodes what is rare enough for reflection.
func decodeAny[T any](d *decoder, p *T) error {
	v, err := d.value()
	if err != nil {
		return err
	}
	err = unmarshal(v, p)
	if se, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		se.JSONPointer = d.pointer() + se.JSONPointer
	}
	return err
}

func decodeString(d *decoder, p *string) error {
	switch d.kind() {
	case '"':
		quoted, plain, err := d.text()
		if err != nil {
			return err
		}
		if plain {
			*p = string(quoted[1 : len(quoted)-1])
		} else {
			*p = string(unquote(nil, quoted))
		}
		return nil
	case 'n':
		*p = ""
		return d.skip()
	default:
		return mismatch[string](d)
	}
}

// decodeWord is decodeString for members that have few values: those known cost
// no allocation.
func decodeWord(d *decoder, p *string) error {
	if d.kind() == '"' {
		start := d.pos
		quoted, plain, err := d.text()
		if err != nil {
			return err
		}
		if word, ok := words[string(quoted[1:len(quoted)-1])]; ok && plain {
			*p = word
			return nil
		}
		d.pos = start
	}
	return decodeString(d, p)
}

var words = func(list ...string) map[string]string {
	m := make(map[string]string, len(list))
	for _, w := range list {
		m[w] = w
	}
	return m
}(
	"user", "session", "organization", "organization_membership",
	"email_address", "phone_number", "web3_wallet", "external_account", "google_account",
	"verification_otp", "verification_oauth", "verification_from_oauth", "verification_admin",
	"verification_ticket", "verification_email_link",
	"verified", "unverified", "failed", "expired", "transferable",
	"email_code", "phone_code", "email_link", "admin", "ticket",
	"oauth_google", "oauth_github", "oauth_microsoft", "oauth_apple",
	"from_oauth_google", "from_oauth_github", "from_oauth_microsoft", "from_oauth_apple",
	"sms", "active", "pending", "ended", "removed", "revoked",
	"org:admin", "org:member", "Admin", "Member",
)

func decodeStrings(d *decoder, p *[]string) error { return decodeSlice(d, p, decodeString) }

func decodeBool(d *decoder, p *bool) error {
	switch d.kind() {
	case 't':
		*p = true
	case 'f', 'n':
		*p = false
	default:
		return mismatch[bool](d)
	}
	return d.skip()
}

func decodeInt(d *decoder, p *int64) error {
	switch d.kind() {
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		v, err := d.value()
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			return d.mismatched(jsontext.KindNumber, reflect.TypeFor[int64](), errNotInt64)
		}
		*p = n
		return nil
	case 'n':
		*p = 0
		return d.skip()
	default:
		return mismatch[int64](d)
	}
}

func decodeMillis(d *decoder, p *Millis) error {
	switch d.kind() {
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		v, err := d.value()
		if err != nil {
			return err
		}
		m, ok := parseMillis(v)
		if !ok {
			return d.mismatched(jsontext.KindNumber, reflect.TypeFor[Millis](), nil)
		}
		*p = m
		return nil
	case 'n':
		*p = 0
		return d.skip()
	default:
		return mismatch[Millis](d)
	}
}

// decodeRaw copies the value: what is decoded shares no memory with the body.
func decodeRaw(d *decoder, p *json.RawMessage) error {
	v, err := d.value()
	*p = bytes.Clone(v)
	return err
}
