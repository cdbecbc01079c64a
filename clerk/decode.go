package clerk

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"

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

func decodeWith[T any](data []byte, p *T, decode func(dec *jsontext.Decoder, p *T) error) error {
	r := read(data)
	defer r.release()
	if err := decode(&r.dec, p); err != nil {
		return err
	}
	return atEnd(&r.dec, data)
}

func decodeUser(dec *jsontext.Decoder, u *User) error { return decodeObject(dec, u, userMember) }

//nolint:gocyclo // one case per member
func userMember(dec *jsontext.Decoder, u *User, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &u.ID)
	case "object":
		return decodeWord(dec, &u.Object)
	case "external_id":
		return decodeNullable(dec, &u.ExternalID, decodeString)
	case "primary_email_address_id":
		return decodeNullable(dec, &u.PrimaryEmailAddressID, decodeString)
	case "primary_phone_number_id":
		return decodeNullable(dec, &u.PrimaryPhoneNumberID, decodeString)
	case "primary_web3_wallet_id":
		return decodeNullable(dec, &u.PrimaryWeb3WalletID, decodeString)
	case "username":
		return decodeNullable(dec, &u.Username, decodeString)
	case "first_name":
		return decodeNullable(dec, &u.FirstName, decodeString)
	case "last_name":
		return decodeNullable(dec, &u.LastName, decodeString)
	case "locale":
		return decodeNullable(dec, &u.Locale, decodeString)
	case "timezone":
		return decodeNullable(dec, &u.Timezone, decodeString)
	case "image_url":
		return decodeNullable(dec, &u.ImageURL, decodeString)
	case "has_image":
		return decodeBool(dec, &u.HasImage)
	case "profile_image_url":
		return decodeNullable(dec, &u.ProfileImageURL, decodeString)
	case "public_metadata":
		return decodeNullable(dec, &u.PublicMetadata, decodeRaw)
	case "private_metadata":
		return decodeNullable(dec, &u.PrivateMetadata, decodeRaw)
	case "unsafe_metadata":
		return decodeNullable(dec, &u.UnsafeMetadata, decodeRaw)
	case "email_addresses":
		return decodeSlice(dec, &u.EmailAddresses, decodeEmailAddress)
	case "phone_numbers":
		return decodeSlice(dec, &u.PhoneNumbers, decodePhoneNumber)
	case "web3_wallets":
		return decodeSlice(dec, &u.Web3Wallets, decodeAny)
	case "passkeys":
		return decodeSlice(dec, &u.Passkeys, decodeAny)
	case "external_accounts":
		return decodeSlice(dec, &u.ExternalAccounts, decodeExternalAccount)
	case "saml_accounts":
		return decodeSlice(dec, &u.SAMLAccounts, decodeAny)
	case "enterprise_accounts":
		return decodeSlice(dec, &u.EnterpriseAccounts, decodeAny)
	case "organization_memberships":
		return decodeSlice(dec, &u.OrganizationMemberships, decodeMembership)
	case "password_enabled":
		return decodeBool(dec, &u.PasswordEnabled)
	case "password_last_updated_at":
		return decodeNullable(dec, &u.PasswordLastUpdatedAt, decodeMillis)
	case "two_factor_enabled":
		return decodeBool(dec, &u.TwoFactorEnabled)
	case "totp_enabled":
		return decodeBool(dec, &u.TOTPEnabled)
	case "backup_code_enabled":
		return decodeBool(dec, &u.BackupCodeEnabled)
	case "mfa_enabled_at":
		return decodeNullable(dec, &u.MFAEnabledAt, decodeMillis)
	case "mfa_disabled_at":
		return decodeNullable(dec, &u.MFADisabledAt, decodeMillis)
	case "last_sign_in_at":
		return decodeNullable(dec, &u.LastSignInAt, decodeMillis)
	case "last_active_at":
		return decodeNullable(dec, &u.LastActiveAt, decodeMillis)
	case "banned":
		return decodeBool(dec, &u.Banned)
	case "locked":
		return decodeBool(dec, &u.Locked)
	case "deprovisioned":
		return decodeBool(dec, &u.Deprovisioned)
	case "lockout_expires_in_seconds":
		return decodeNullable(dec, &u.LockoutExpiresInSeconds, decodeInt)
	case "verification_attempts_remaining":
		return decodeNullable(dec, &u.VerificationAttemptsRemaining, decodeInt)
	case "delete_self_enabled":
		return decodeBool(dec, &u.DeleteSelfEnabled)
	case "create_organization_enabled":
		return decodeBool(dec, &u.CreateOrganizationEnabled)
	case "create_organizations_limit":
		return decodeNullable(dec, &u.CreateOrganizationsLimit, decodeInt)
	case "legal_accepted_at":
		return decodeNullable(dec, &u.LegalAcceptedAt, decodeMillis)
	case "bypass_client_trust":
		return decodeBool(dec, &u.BypassClientTrust)
	case "scim":
		return decodeNullable(dec, &u.SCIM, decodeAny)
	case "created_at":
		return decodeNullable(dec, &u.CreatedAt, decodeMillis)
	case "updated_at":
		return decodeMillis(dec, &u.UpdatedAt)
	case "birthday":
		return decodeString(dec, &u.Birthday)
	case "gender":
		return decodeString(dec, &u.Gender)
	default:
		return dec.SkipValue()
	}
}

func decodeEmailAddress(dec *jsontext.Decoder, a *EmailAddress) error {
	return decodeObject(dec, a, emailAddressMember)
}

func emailAddressMember(dec *jsontext.Decoder, a *EmailAddress, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &a.ID)
	case "object":
		return decodeWord(dec, &a.Object)
	case "email_address":
		return decodeString(dec, &a.EmailAddress)
	case "reserved":
		return decodeBool(dec, &a.Reserved)
	case "verification":
		return decodeNullable(dec, &a.Verification, decodeVerification)
	case "linked_to":
		return decodeSlice(dec, &a.LinkedTo, decodeLink)
	case "matches_sso_connection":
		return decodeBool(dec, &a.MatchesSSOConnection)
	case "created_at":
		return decodeMillis(dec, &a.CreatedAt)
	case "updated_at":
		return decodeMillis(dec, &a.UpdatedAt)
	default:
		return dec.SkipValue()
	}
}

func decodePhoneNumber(dec *jsontext.Decoder, p *PhoneNumber) error {
	return decodeObject(dec, p, phoneNumberMember)
}

func phoneNumberMember(dec *jsontext.Decoder, p *PhoneNumber, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &p.ID)
	case "object":
		return decodeWord(dec, &p.Object)
	case "phone_number":
		return decodeString(dec, &p.PhoneNumber)
	case "reserved_for_second_factor":
		return decodeBool(dec, &p.ReservedForSecondFactor)
	case "default_second_factor":
		return decodeBool(dec, &p.DefaultSecondFactor)
	case "reserved":
		return decodeBool(dec, &p.Reserved)
	case "verification":
		return decodeNullable(dec, &p.Verification, decodeVerification)
	case "linked_to":
		return decodeSlice(dec, &p.LinkedTo, decodeLink)
	case "backup_codes":
		return decodeNullable(dec, &p.BackupCodes, decodeStrings)
	case "created_at":
		return decodeMillis(dec, &p.CreatedAt)
	case "updated_at":
		return decodeMillis(dec, &p.UpdatedAt)
	default:
		return dec.SkipValue()
	}
}

func decodeLink(dec *jsontext.Decoder, l *Link) error { return decodeObject(dec, l, linkMember) }

func linkMember(dec *jsontext.Decoder, l *Link, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &l.ID)
	case "type":
		return decodeWord(dec, &l.Type)
	default:
		return dec.SkipValue()
	}
}

func decodeVerification(dec *jsontext.Decoder, v *Verification) error {
	return decodeObject(dec, v, verificationMember)
}

func verificationMember(dec *jsontext.Decoder, v *Verification, name []byte) error {
	switch string(name) {
	case "object":
		return decodeWord(dec, &v.Object)
	case "status":
		return decodeWord(dec, &v.Status)
	case "strategy":
		return decodeWord(dec, &v.Strategy)
	case "attempts":
		return decodeNullable(dec, &v.Attempts, decodeInt)
	case "expire_at":
		return decodeNullable(dec, &v.ExpireAt, decodeMillis)
	case "channel":
		return decodeNullable(dec, &v.Channel, decodeWord)
	case "verified_at_client":
		return decodeNullable(dec, &v.VerifiedAtClient, decodeString)
	case "nonce":
		return decodeNullable(dec, &v.Nonce, decodeString)
	case "message":
		return decodeNullable(dec, &v.Message, decodeString)
	case "external_verification_redirect_url":
		return decodeNullable(dec, &v.ExternalVerificationRedirectURL, decodeString)
	case "error":
		return decodeNullable(dec, &v.Error, decodeAny)
	default:
		return dec.SkipValue()
	}
}

func decodeExternalAccount(dec *jsontext.Decoder, a *ExternalAccount) error {
	return decodeObject(dec, a, externalAccountMember)
}

//nolint:gocyclo // one case per member
func externalAccountMember(dec *jsontext.Decoder, a *ExternalAccount, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &a.ID)
	case "object":
		return decodeWord(dec, &a.Object)
	case "provider":
		return decodeWord(dec, &a.Provider)
	case "identification_id":
		return decodeString(dec, &a.IdentificationID)
	case "provider_user_id":
		return decodeString(dec, &a.ProviderUserID)
	case "external_account_id":
		return decodeString(dec, &a.ExternalAccountID)
	case "approved_scopes":
		return decodeString(dec, &a.ApprovedScopes)
	case "email_address":
		return decodeString(dec, &a.EmailAddress)
	case "email_address_verified":
		return decodeNullable(dec, &a.EmailAddressVerified, decodeBool)
	case "first_name":
		return decodeString(dec, &a.FirstName)
	case "last_name":
		return decodeString(dec, &a.LastName)
	case "avatar_url":
		return decodeString(dec, &a.AvatarURL)
	case "image_url":
		return decodeNullable(dec, &a.ImageURL, decodeString)
	case "username":
		return decodeNullable(dec, &a.Username, decodeString)
	case "phone_number":
		return decodeNullable(dec, &a.PhoneNumber, decodeString)
	case "public_metadata":
		return decodeNullable(dec, &a.PublicMetadata, decodeRaw)
	case "label":
		return decodeNullable(dec, &a.Label, decodeString)
	case "verification":
		return decodeNullable(dec, &a.Verification, decodeVerification)
	case "created_at":
		return decodeMillis(dec, &a.CreatedAt)
	case "updated_at":
		return decodeMillis(dec, &a.UpdatedAt)
	case "google_id":
		return decodeString(dec, &a.GoogleID)
	case "given_name":
		return decodeString(dec, &a.GivenName)
	case "family_name":
		return decodeString(dec, &a.FamilyName)
	case "picture":
		return decodeString(dec, &a.Picture)
	default:
		return dec.SkipValue()
	}
}

func decodeSession(dec *jsontext.Decoder, s *Session) error {
	return decodeObject(dec, s, sessionMember)
}

func sessionMember(dec *jsontext.Decoder, s *Session, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &s.ID)
	case "object":
		return decodeWord(dec, &s.Object)
	case "user_id":
		return decodeString(dec, &s.UserID)
	case "client_id":
		return decodeString(dec, &s.ClientID)
	case "actor":
		return decodeNullable(dec, &s.Actor, decodeRaw)
	case "status":
		return decodeWord(dec, &s.Status)
	case "last_active_organization_id":
		return decodeNullable(dec, &s.LastActiveOrganizationID, decodeString)
	case "last_active_at":
		return decodeMillis(dec, &s.LastActiveAt)
	case "latest_activity":
		return decodeNullable(dec, &s.LatestActivity, decodeAny)
	case "expire_at":
		return decodeMillis(dec, &s.ExpireAt)
	case "abandon_at":
		return decodeMillis(dec, &s.AbandonAt)
	case "tasks":
		return decodeNullable(dec, &s.Tasks, decodeAny)
	case "user":
		s.User = nil
		if dec.PeekKind() == jsontext.KindNull {
			return dec.SkipValue()
		}
		s.User = new(User)
		return decodeUser(dec, s.User)
	case "created_at":
		return decodeMillis(dec, &s.CreatedAt)
	case "updated_at":
		return decodeMillis(dec, &s.UpdatedAt)
	default:
		return dec.SkipValue()
	}
}

func decodeOrganization(dec *jsontext.Decoder, o *Organization) error {
	return decodeObject(dec, o, organizationMember)
}

func organizationMember(dec *jsontext.Decoder, o *Organization, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &o.ID)
	case "object":
		return decodeWord(dec, &o.Object)
	case "name":
		return decodeNullable(dec, &o.Name, decodeString)
	case "slug":
		return decodeNullable(dec, &o.Slug, decodeString)
	case "image_url":
		return decodeNullable(dec, &o.ImageURL, decodeString)
	case "has_image":
		return decodeBool(dec, &o.HasImage)
	case "logo_url":
		return decodeNullable(dec, &o.LogoURL, decodeString)
	case "members_count":
		return decodeInt(dec, &o.MembersCount)
	case "pending_invitations_count":
		return decodeInt(dec, &o.PendingInvitationsCount)
	case "missing_member_with_elevated_permissions":
		return decodeBool(dec, &o.MissingMemberWithElevatedPermissions)
	case "max_allowed_memberships":
		return decodeInt(dec, &o.MaxAllowedMemberships)
	case "admin_delete_enabled":
		return decodeBool(dec, &o.AdminDeleteEnabled)
	case "public_metadata":
		return decodeNullable(dec, &o.PublicMetadata, decodeRaw)
	case "private_metadata":
		return decodeNullable(dec, &o.PrivateMetadata, decodeRaw)
	case "created_by":
		return decodeNullable(dec, &o.CreatedBy, decodeString)
	case "role_set_key":
		return decodeNullable(dec, &o.RoleSetKey, decodeString)
	case "last_active_at":
		return decodeNullable(dec, &o.LastActiveAt, decodeMillis)
	case "created_at":
		return decodeMillis(dec, &o.CreatedAt)
	case "updated_at":
		return decodeMillis(dec, &o.UpdatedAt)
	default:
		return dec.SkipValue()
	}
}

func decodeMembership(dec *jsontext.Decoder, m *OrganizationMembership) error {
	return decodeObject(dec, m, membershipMember)
}

func membershipMember(dec *jsontext.Decoder, m *OrganizationMembership, name []byte) error {
	switch string(name) {
	case "id":
		return decodeString(dec, &m.ID)
	case "object":
		return decodeWord(dec, &m.Object)
	case "role":
		return decodeNullable(dec, &m.Role, decodeWord)
	case "role_name":
		return decodeNullable(dec, &m.RoleName, decodeWord)
	case "permissions":
		return decodeStrings(dec, &m.Permissions)
	case "public_metadata":
		return decodeNullable(dec, &m.PublicMetadata, decodeRaw)
	case "private_metadata":
		return decodeNullable(dec, &m.PrivateMetadata, decodeRaw)
	case "organization":
		return decodeOrganization(dec, &m.Organization)
	case "public_user_data":
		return decodeNullable(dec, &m.PublicUserData, decodePublicUserData)
	case "created_at":
		return decodeMillis(dec, &m.CreatedAt)
	case "updated_at":
		return decodeMillis(dec, &m.UpdatedAt)
	default:
		return dec.SkipValue()
	}
}

func decodePublicUserData(dec *jsontext.Decoder, d *PublicUserData) error {
	return decodeObject(dec, d, publicUserDataMember)
}

func publicUserDataMember(dec *jsontext.Decoder, d *PublicUserData, name []byte) error {
	switch string(name) {
	case "user_id":
		return decodeString(dec, &d.UserID)
	case "first_name":
		return decodeNullable(dec, &d.FirstName, decodeString)
	case "last_name":
		return decodeNullable(dec, &d.LastName, decodeString)
	case "image_url":
		return decodeNullable(dec, &d.ImageURL, decodeString)
	case "has_image":
		return decodeBool(dec, &d.HasImage)
	case "profile_image_url":
		return decodeNullable(dec, &d.ProfileImageURL, decodeString)
	case "identifier":
		return decodeNullable(dec, &d.Identifier, decodeString)
	case "username":
		return decodeNullable(dec, &d.Username, decodeString)
	case "banned":
		return decodeBool(dec, &d.Banned)
	case "deprovisioned":
		return decodeBool(dec, &d.Deprovisioned)
	default:
		return dec.SkipValue()
	}
}

// decodeObject decodes an object by its members. Null is the zero value.
func decodeObject[T any](
	dec *jsontext.Decoder, p *T, member func(dec *jsontext.Decoder, p *T, name []byte) error,
) error {
	var zero T
	*p = zero
	switch kind := dec.PeekKind(); kind {
	case jsontext.KindNull:
		return dec.SkipValue()
	case jsontext.KindBeginObject:
	default:
		return mismatch[T](dec, kind)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		name, err := readName(dec)
		if err != nil {
			return err
		}
		if err := member(dec, p, name); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// decodeSlice decodes an array. Null is nil.
func decodeSlice[T any](
	dec *jsontext.Decoder, p *[]T, element func(dec *jsontext.Decoder, p *T) error,
) error {
	*p = nil
	switch kind := dec.PeekKind(); kind {
	case jsontext.KindNull:
		return dec.SkipValue()
	case jsontext.KindBeginArray:
	default:
		return mismatch[[]T](dec, kind)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	s := []T{}
	for dec.PeekKind() != jsontext.KindEndArray {
		var zero T
		s = append(s, zero)
		if err := element(dec, &s[len(s)-1]); err != nil {
			return err
		}
	}
	*p = s
	_, err := dec.ReadToken()
	return err
}

// decodeNullable decodes null, or a value with value.
func decodeNullable[T any](
	dec *jsontext.Decoder, n *Nullable[T], value func(dec *jsontext.Decoder, p *T) error,
) error {
	*n = Nullable[T]{state: stateNull}
	if dec.PeekKind() == jsontext.KindNull {
		return dec.SkipValue()
	}
	if err := value(dec, &n.value); err != nil {
		return err
	}
	n.state = stateValue
	return nil
}

// decodeAny decodes what is rare enough for reflection.
func decodeAny[T any](dec *jsontext.Decoder, p *T) error { return jsonv2.UnmarshalDecode(dec, p) }

func decodeString(dec *jsontext.Decoder, p *string) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case jsontext.KindString:
		*p = tok.String()
	case jsontext.KindNull:
		*p = ""
	default:
		return mismatched[string](dec, tok.Kind())
	}
	return nil
}

// decodeWord is decodeString for members that have few values: those known cost
// no allocation.
func decodeWord(dec *jsontext.Decoder, p *string) error {
	if dec.PeekKind() != jsontext.KindString {
		return decodeString(dec, p)
	}
	quoted, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if word, ok := words[string(quoted[1:len(quoted)-1])]; ok {
		*p = word
		return nil
	}
	// It reports only halves of surrogate pairs, which it has replaced.
	b, _ := jsontext.AppendUnquote(nil, []byte(quoted))
	*p = string(b)
	return nil
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

func decodeStrings(dec *jsontext.Decoder, p *[]string) error {
	return decodeSlice(dec, p, decodeString)
}

func decodeBool(dec *jsontext.Decoder, p *bool) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case jsontext.KindTrue:
		*p = true
	case jsontext.KindFalse, jsontext.KindNull:
		*p = false
	default:
		return mismatched[bool](dec, tok.Kind())
	}
	return nil
}

func decodeInt(dec *jsontext.Decoder, p *int64) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case jsontext.KindNumber:
		n, err := tok.Int()
		if err != nil {
			return &jsonv2.SemanticError{
				JSONPointer: dec.StackPointer(), JSONKind: tok.Kind(), GoType: reflect.TypeFor[int64](), Err: errNotInt64,
			}
		}
		*p = n
	case jsontext.KindNull:
		*p = 0
	default:
		return mismatched[int64](dec, tok.Kind())
	}
	return nil
}

func decodeMillis(dec *jsontext.Decoder, p *Millis) error { return p.UnmarshalJSONFrom(dec) }

// decodeRaw copies the value: what is decoded shares no memory with the body.
func decodeRaw(dec *jsontext.Decoder, p *json.RawMessage) error {
	v, err := dec.ReadValue()
	if err != nil {
		return err
	}
	*p = json.RawMessage(v.Clone())
	return nil
}

// readName reads the name of a member. It is valid until the next read.
func readName(dec *jsontext.Decoder) ([]byte, error) {
	quoted, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	// It reports only halves of surrogate pairs, which it has replaced.
	name, _ := jsontext.AppendUnquote(nil, []byte(quoted))
	return name, nil
}

// mismatch reads a value that is not of type T and says so.
func mismatch[T any](dec *jsontext.Decoder, kind jsontext.Kind) error {
	if err := dec.SkipValue(); err != nil {
		return err
	}
	return mismatched[T](dec, kind)
}

// mismatched says that the value just read is not of type T.
func mismatched[T any](dec *jsontext.Decoder, kind jsontext.Kind) error {
	return &jsonv2.SemanticError{
		JSONPointer: dec.StackPointer(), JSONKind: kind, GoType: reflect.TypeFor[T](),
	}
}
