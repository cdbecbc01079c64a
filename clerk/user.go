package clerk

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
)

// User is a user. It is the data of [UserCreated] and [UserUpdated], and part of
// a [Session].
//
// Printing or logging a User shows its id and a few flags, never what is private.
// Marshaling it to JSON hides nothing. A struct that embeds a User decodes the
// User's members and its own; its own win.
type User struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// ExternalID is the customer's own id of the user.
	ExternalID Nullable[string] `json:"external_id,omitzero"`

	// PrimaryEmailAddressID is the id of one of EmailAddresses, and not always
	// the first of them. It may point nowhere. See [User.PrimaryEmail].
	PrimaryEmailAddressID Nullable[string] `json:"primary_email_address_id,omitzero"`
	// PrimaryPhoneNumberID is the id of one of PhoneNumbers. It may point
	// nowhere. See [User.PrimaryPhone].
	PrimaryPhoneNumberID Nullable[string] `json:"primary_phone_number_id,omitzero"`
	// PrimaryWeb3WalletID is the id of one of Web3Wallets. It may point nowhere.
	// See [User.PrimaryWallet].
	PrimaryWeb3WalletID Nullable[string] `json:"primary_web3_wallet_id,omitzero"`

	// Username may be null, as may be both names. See [User.FullName].
	Username  Nullable[string] `json:"username,omitzero"`
	FirstName Nullable[string] `json:"first_name,omitzero"`
	LastName  Nullable[string] `json:"last_name,omitzero"`
	// Locale is a BCP 47 language tag. Sent since 2025.
	Locale Nullable[string] `json:"locale,omitzero"`
	// Timezone is rarely sent.
	Timezone Nullable[string] `json:"timezone,omitzero"`

	// ImageURL is always the address of an image. When HasImage is false, Clerk
	// has generated it.
	ImageURL Nullable[string] `json:"image_url,omitzero"`
	HasImage bool             `json:"has_image,omitzero"`
	// ProfileImageURL is the older form of ImageURL, still sent.
	//
	// Deprecated: Use ImageURL.
	ProfileImageURL Nullable[string] `json:"profile_image_url,omitzero"`

	// PublicMetadata is an object that the user can read but not write.
	PublicMetadata Nullable[json.RawMessage] `json:"public_metadata,omitzero"`
	// PrivateMetadata is secret: the user must never see it.
	PrivateMetadata Nullable[json.RawMessage] `json:"private_metadata,omitzero"`
	// UnsafeMetadata is untrusted: the user can write it.
	UnsafeMetadata Nullable[json.RawMessage] `json:"unsafe_metadata,omitzero"`

	// EmailAddresses may be empty, even when there is a primary id. Nil when the
	// body does not carry the list.
	EmailAddresses []EmailAddress `json:"email_addresses,omitzero"`
	// PhoneNumbers may be empty. Nil when the body does not carry the list.
	PhoneNumbers []PhoneNumber `json:"phone_numbers,omitzero"`
	// Web3Wallets may be empty. Nil when the body does not carry the list.
	Web3Wallets []Web3Wallet `json:"web3_wallets,omitzero"`
	// Passkeys is absent from bodies before 2024.
	Passkeys           []Passkey           `json:"passkeys,omitzero"`
	ExternalAccounts   []ExternalAccount   `json:"external_accounts,omitzero"`
	SAMLAccounts       []SAMLAccount       `json:"saml_accounts,omitzero"`
	EnterpriseAccounts []EnterpriseAccount `json:"enterprise_accounts,omitzero"`
	// OrganizationMemberships is normally absent from webhooks.
	OrganizationMemberships []OrganizationMembership `json:"organization_memberships,omitzero"`

	PasswordEnabled       bool             `json:"password_enabled,omitzero"`
	PasswordLastUpdatedAt Nullable[Millis] `json:"password_last_updated_at,omitzero"`
	TwoFactorEnabled      bool             `json:"two_factor_enabled,omitzero"`
	TOTPEnabled           bool             `json:"totp_enabled,omitzero"`
	BackupCodeEnabled     bool             `json:"backup_code_enabled,omitzero"`
	// MFAEnabledAt and MFADisabledAt say when each happened last: neither is
	// reset by the other.
	MFAEnabledAt  Nullable[Millis] `json:"mfa_enabled_at,omitzero"`
	MFADisabledAt Nullable[Millis] `json:"mfa_disabled_at,omitzero"`

	// LastSignInAt is null for a new user.
	LastSignInAt Nullable[Millis] `json:"last_sign_in_at,omitzero"`
	// LastActiveAt has the precision of a day.
	LastActiveAt Nullable[Millis] `json:"last_active_at,omitzero"`

	// Banned is true until somebody lifts the ban. Locked is true after too many
	// failed attempts to sign in, see LockoutExpiresInSeconds.
	Banned bool `json:"banned,omitzero"`
	Locked bool `json:"locked,omitzero"`
	// Deprovisioned is true for a user that a directory has deactivated.
	Deprovisioned bool `json:"deprovisioned,omitzero"`
	// LockoutExpiresInSeconds counts in seconds. Null on a locked user: no end.
	LockoutExpiresInSeconds Nullable[int64] `json:"lockout_expires_in_seconds,omitzero"`
	// VerificationAttemptsRemaining is how many attempts are left before the user
	// is locked.
	VerificationAttemptsRemaining Nullable[int64] `json:"verification_attempts_remaining,omitzero"`

	DeleteSelfEnabled         bool `json:"delete_self_enabled,omitzero"`
	CreateOrganizationEnabled bool `json:"create_organization_enabled,omitzero"`
	// CreateOrganizationsLimit of 0 means no limit.
	CreateOrganizationsLimit Nullable[int64] `json:"create_organizations_limit,omitzero"`
	// LegalAcceptedAt is when the user accepted the terms. Null when not yet.
	LegalAcceptedAt Nullable[Millis] `json:"legal_accepted_at,omitzero"`
	// BypassClientTrust exempts the user from Clerk's check of new devices.
	BypassClientTrust bool `json:"bypass_client_trust,omitzero"`
	// SCIM is the user's entry in a directory. Null without one.
	SCIM Nullable[SCIM] `json:"scim,omitzero"`

	CreatedAt Nullable[Millis] `json:"created_at,omitzero"`
	UpdatedAt Millis           `json:"updated_at,omitzero"`

	// Birthday is found in bodies before 2023 only, as is Gender.
	Birthday string `json:"birthday,omitzero"`
	Gender   string `json:"gender,omitzero"`
}

// PrimaryEmail returns the address whose id is PrimaryEmailAddressID. It is
// empty when none is primary or when the id points nowhere: an address is never
// chosen by its position. It may be unverified; see [User.PrimaryEmailAddress].
func (u *User) PrimaryEmail() string {
	if a := u.PrimaryEmailAddress(); a != nil {
		return a.EmailAddress
	}
	return ""
}

// PrimaryEmailAddress returns the element of EmailAddresses whose id is
// PrimaryEmailAddressID, or nil when none is primary or the id points nowhere.
func (u *User) PrimaryEmailAddress() *EmailAddress {
	return primary(u.EmailAddresses, u.PrimaryEmailAddressID, func(a *EmailAddress) string { return a.ID })
}

// primary returns the element with the id, nil when there is none.
func primary[T any](list []T, id Nullable[string], idOf func(*T) string) *T {
	want := id.Or("")
	for i := range list {
		if want != "" && idOf(&list[i]) == want {
			return &list[i]
		}
	}
	return nil
}

// PrimaryPhone returns the number whose id is PrimaryPhoneNumberID. It is empty
// when none is primary or when the id points nowhere: a number is never chosen
// by its position. It may be unverified; see [User.PrimaryPhoneNumber].
func (u *User) PrimaryPhone() string {
	if p := u.PrimaryPhoneNumber(); p != nil {
		return p.PhoneNumber
	}
	return ""
}

// PrimaryPhoneNumber returns the element of PhoneNumbers whose id is
// PrimaryPhoneNumberID, or nil when none is primary or the id points nowhere.
func (u *User) PrimaryPhoneNumber() *PhoneNumber {
	return primary(u.PhoneNumbers, u.PrimaryPhoneNumberID, func(p *PhoneNumber) string { return p.ID })
}

// PrimaryWallet returns the address of the wallet whose id is
// PrimaryWeb3WalletID, or "" when none is primary or the id points nowhere.
func (u *User) PrimaryWallet() string {
	if w := primary(u.Web3Wallets, u.PrimaryWeb3WalletID, func(w *Web3Wallet) string { return w.ID }); w != nil {
		return w.Web3Wallet
	}
	return ""
}

// FullName returns the first and the last name, without surrounding space,
// omitting a blank one; else the username; else "".
func (u *User) FullName() string {
	first := strings.TrimSpace(u.FirstName.Or(""))
	last := strings.TrimSpace(u.LastName.Or(""))
	switch {
	case first != "" && last != "":
		return first + " " + last
	case first != "":
		return first
	case last != "":
		return last
	default:
		return strings.TrimSpace(u.Username.Or(""))
	}
}

// LogValue logs the id and a few flags.
func (u User) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", u.ID),
		slog.Bool("banned", u.Banned),
		slog.Bool("locked", u.Locked),
		slog.Time("updated_at", u.UpdatedAt.Time()),
	)
}

// String returns the id and a few flags.
func (u User) String() string { return summary("User", u.LogValue()) }

// Format prints [User.String] whatever the verb.
func (u User) Format(f fmt.State, _ rune) { printSummary(f, u.String()) }

// EmailAddress is one of a user's e-mail addresses.
type EmailAddress struct {
	// ID may be empty.
	ID           string `json:"id,omitzero"`
	Object       string `json:"object,omitzero"`
	EmailAddress string `json:"email_address,omitzero"`
	// Reserved is true for an address held for a user who has not verified it.
	Reserved     bool                   `json:"reserved,omitzero"`
	Verification Nullable[Verification] `json:"verification,omitzero"`
	// LinkedTo lists the accounts that vouch for the address.
	LinkedTo             []Link `json:"linked_to,omitzero"`
	MatchesSSOConnection bool   `json:"matches_sso_connection,omitzero"`
	CreatedAt            Millis `json:"created_at,omitzero"`
	UpdatedAt            Millis `json:"updated_at,omitzero"`
}

// Verified reports whether the address is verified. It is false when Clerk says
// nothing about it.
func (a *EmailAddress) Verified() bool { return verified(&a.Verification) }

// PhoneNumber is one of a user's phone numbers. Printing or logging it never
// shows BackupCodes.
type PhoneNumber struct {
	// ID may be empty.
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// PhoneNumber is E.164 with a plus sign; old bodies may lack the sign.
	PhoneNumber string `json:"phone_number,omitzero"`
	// ReservedForSecondFactor is true for a number kept for the second step of
	// signing in, DefaultSecondFactor for the one that is used there first.
	ReservedForSecondFactor bool                   `json:"reserved_for_second_factor,omitzero"`
	DefaultSecondFactor     bool                   `json:"default_second_factor,omitzero"`
	Reserved                bool                   `json:"reserved,omitzero"`
	Verification            Nullable[Verification] `json:"verification,omitzero"`
	// LinkedTo lists the accounts that vouch for the number.
	LinkedTo []Link `json:"linked_to,omitzero"`
	// BackupCodes are secret: each signs the user in.
	BackupCodes Nullable[[]string] `json:"backup_codes,omitzero"`
	CreatedAt   Millis             `json:"created_at,omitzero"`
	UpdatedAt   Millis             `json:"updated_at,omitzero"`
}

// Verified reports whether the number is verified. It is false when Clerk says
// nothing about it.
func (p *PhoneNumber) Verified() bool { return verified(&p.Verification) }

// LogValue logs the id and the number.
func (p PhoneNumber) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", p.ID),
		slog.String("phone_number", p.PhoneNumber),
	)
}

// String returns the id and the number.
func (p PhoneNumber) String() string { return summary("PhoneNumber", p.LogValue()) }

// Format prints [PhoneNumber.String] whatever the verb.
func (p PhoneNumber) Format(f fmt.State, _ rune) { printSummary(f, p.String()) }

// Web3Wallet is one of a user's wallets.
type Web3Wallet struct {
	// ID may be empty.
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// Web3Wallet is the address of the wallet.
	Web3Wallet   string                 `json:"web3_wallet,omitzero"`
	Verification Nullable[Verification] `json:"verification,omitzero"`
	CreatedAt    Millis                 `json:"created_at,omitzero"`
	UpdatedAt    Millis                 `json:"updated_at,omitzero"`
}

// Verified reports whether the wallet is verified. It is false when Clerk says
// nothing about it.
func (w *Web3Wallet) Verified() bool { return verified(&w.Verification) }

// Passkey is one of a user's passkeys.
type Passkey struct {
	// ID may be empty.
	ID           string                 `json:"id,omitzero"`
	Object       string                 `json:"object,omitzero"`
	Name         string                 `json:"name,omitzero"`
	LastUsedAt   Millis                 `json:"last_used_at,omitzero"`
	Verification Nullable[Verification] `json:"verification,omitzero"`
}

// Link is an account that an address or number is linked to.
type Link struct {
	ID string `json:"id,omitzero"`
	// Type is a provider, such as "oauth_google".
	Type string `json:"type,omitzero"`
}

// SCIM is a user's entry in a directory.
type SCIM struct {
	DirectoryID      string           `json:"directory_id,omitzero"`
	DirectoryEnabled bool             `json:"directory_enabled,omitzero"`
	ExternalID       Nullable[string] `json:"external_id,omitzero"`
}

// Verification says whether and how an address, number, wallet, passkey or
// account has been verified. One struct serves all kinds of verification; most
// kinds leave most members out. Printing or logging it shows neither the nonce
// nor the redirect.
type Verification struct {
	// Object is the kind, such as "verification_otp". Absent before mid-2025.
	Object string `json:"object,omitzero"`
	// Status is "verified", "unverified", "failed", "expired" or "transferable".
	// Clerk may add others.
	Status string `json:"status,omitzero"`
	// Strategy is how, such as "email_code", "admin" or "oauth_google".
	Strategy string           `json:"strategy,omitzero"`
	Attempts Nullable[int64]  `json:"attempts,omitzero"`
	ExpireAt Nullable[Millis] `json:"expire_at,omitzero"`
	// Channel is how a phone code travels, such as "sms".
	Channel          Nullable[string] `json:"channel,omitzero"`
	VerifiedAtClient Nullable[string] `json:"verified_at_client,omitzero"`
	// Nonce and Message belong to wallets and passkeys.
	Nonce   Nullable[string] `json:"nonce,omitzero"`
	Message Nullable[string] `json:"message,omitzero"`
	// ExternalVerificationRedirectURL is secret while a verification is open.
	ExternalVerificationRedirectURL Nullable[string]            `json:"external_verification_redirect_url,omitzero"`
	Error                           Nullable[VerificationError] `json:"error,omitzero"`
}

// LogValue logs the status and the strategy.
func (v Verification) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("status", v.Status),
		slog.String("strategy", v.Strategy),
	)
}

// String returns the status and the strategy.
func (v Verification) String() string { return summary("Verification", v.LogValue()) }

// Format prints [Verification.String] whatever the verb.
func (v Verification) Format(f fmt.State, _ rune) { printSummary(f, v.String()) }

// VerificationError says why a verification failed.
type VerificationError struct {
	Code        string                    `json:"code,omitzero"`
	Message     string                    `json:"message,omitzero"`
	LongMessage string                    `json:"long_message,omitzero"`
	Meta        Nullable[json.RawMessage] `json:"meta,omitzero"`
}

func verified(v *Nullable[Verification]) bool {
	return v.state == stateValue && v.value.Status == "verified"
}

// ExternalAccount is an account at another provider. Clerk sends three generations
// of it, the oldest still for Google; this struct combines them. Members that a
// body's generation does not have stay empty. For what all share, see
// [ExternalAccount.UserIDAtProvider], [ExternalAccount.Given] and
// [ExternalAccount.Family].
type ExternalAccount struct {
	ID string `json:"id,omitzero"`
	// Object is "external_account", or "google_account" and "facebook_account" in
	// older generations.
	Object string `json:"object,omitzero"`
	// Provider is such as "oauth_google". Absent from the oldest generation.
	Provider          string `json:"provider,omitzero"`
	IdentificationID  string `json:"identification_id,omitzero"`
	ProviderUserID    string `json:"provider_user_id,omitzero"`
	ExternalAccountID string `json:"external_account_id,omitzero"`
	// ApprovedScopes are separated by spaces.
	ApprovedScopes       string         `json:"approved_scopes,omitzero"`
	EmailAddress         string         `json:"email_address,omitzero"`
	EmailAddressVerified Nullable[bool] `json:"email_address_verified,omitzero"`
	// FirstName and LastName are "" where the user's own are null.
	FirstName      string                    `json:"first_name,omitzero"`
	LastName       string                    `json:"last_name,omitzero"`
	AvatarURL      string                    `json:"avatar_url,omitzero"`
	ImageURL       Nullable[string]          `json:"image_url,omitzero"`
	Username       Nullable[string]          `json:"username,omitzero"`
	PhoneNumber    Nullable[string]          `json:"phone_number,omitzero"`
	PublicMetadata Nullable[json.RawMessage] `json:"public_metadata,omitzero"`
	Label          Nullable[string]          `json:"label,omitzero"`
	Verification   Nullable[Verification]    `json:"verification,omitzero"`
	CreatedAt      Millis                    `json:"created_at,omitzero"`
	UpdatedAt      Millis                    `json:"updated_at,omitzero"`

	// GoogleID, GivenName, FamilyName and Picture are the older names of
	// ProviderUserID, FirstName, LastName and AvatarURL.
	GoogleID   string `json:"google_id,omitzero"`
	GivenName  string `json:"given_name,omitzero"`
	FamilyName string `json:"family_name,omitzero"`
	Picture    string `json:"picture,omitzero"`
}

// UserIDAtProvider returns the user's id at the provider, under whichever name
// the body carries it, or "".
func (a *ExternalAccount) UserIDAtProvider() string {
	if a.ProviderUserID != "" {
		return a.ProviderUserID
	}
	return a.GoogleID
}

// Given returns the first name, under whichever name the body carries it, or "".
func (a *ExternalAccount) Given() string {
	if a.FirstName != "" {
		return a.FirstName
	}
	return a.GivenName
}

// Family returns the last name, under whichever name the body carries it, or "".
func (a *ExternalAccount) Family() string {
	if a.LastName != "" {
		return a.LastName
	}
	return a.FamilyName
}

// Verified reports whether the account is verified. It is false when Clerk says
// nothing about it.
func (a *ExternalAccount) Verified() bool { return verified(&a.Verification) }

// SAMLAccount is an account at a SAML identity provider.
type SAMLAccount struct {
	ID                  string                    `json:"id,omitzero"`
	Object              string                    `json:"object,omitzero"`
	Provider            string                    `json:"provider,omitzero"`
	Active              bool                      `json:"active,omitzero"`
	EmailAddress        string                    `json:"email_address,omitzero"`
	FirstName           Nullable[string]          `json:"first_name,omitzero"`
	LastName            Nullable[string]          `json:"last_name,omitzero"`
	ProviderUserID      Nullable[string]          `json:"provider_user_id,omitzero"`
	LastAuthenticatedAt Nullable[Millis]          `json:"last_authenticated_at,omitzero"`
	PublicMetadata      Nullable[json.RawMessage] `json:"public_metadata,omitzero"`
	Verification        Nullable[Verification]    `json:"verification,omitzero"`
	SAMLConnection      Nullable[SAMLConnection]  `json:"saml_connection,omitzero"`
}

// SAMLConnection is the connection behind a [SAMLAccount].
type SAMLConnection struct {
	ID   string `json:"id,omitzero"`
	Name string `json:"name,omitzero"`
	// Domain is the older form of Domains.
	//
	// Deprecated: Use Domains.
	Domain                           string   `json:"domain,omitzero"`
	Domains                          []string `json:"domains,omitzero"`
	Active                           bool     `json:"active,omitzero"`
	Provider                         string   `json:"provider,omitzero"`
	SyncUserAttributes               bool     `json:"sync_user_attributes,omitzero"`
	AllowSubdomains                  bool     `json:"allow_subdomains,omitzero"`
	AllowIDPInitiated                bool     `json:"allow_idp_initiated,omitzero"`
	DisableAdditionalIdentifications bool     `json:"disable_additional_identifications,omitzero"`
	CreatedAt                        Millis   `json:"created_at,omitzero"`
	UpdatedAt                        Millis   `json:"updated_at,omitzero"`
}

// EnterpriseAccount is an account at the identity provider of an enterprise.
type EnterpriseAccount struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// Protocol is "oauth" or "saml".
	Protocol               string                         `json:"protocol,omitzero"`
	Provider               string                         `json:"provider,omitzero"`
	Active                 bool                           `json:"active,omitzero"`
	EmailAddress           string                         `json:"email_address,omitzero"`
	FirstName              Nullable[string]               `json:"first_name,omitzero"`
	LastName               Nullable[string]               `json:"last_name,omitzero"`
	ProviderUserID         Nullable[string]               `json:"provider_user_id,omitzero"`
	LastAuthenticatedAt    Nullable[Millis]               `json:"last_authenticated_at,omitzero"`
	PublicMetadata         Nullable[json.RawMessage]      `json:"public_metadata,omitzero"`
	Verification           Nullable[Verification]         `json:"verification,omitzero"`
	EnterpriseConnectionID Nullable[string]               `json:"enterprise_connection_id,omitzero"`
	EnterpriseConnection   Nullable[EnterpriseConnection] `json:"enterprise_connection,omitzero"`
}

// EnterpriseConnection is the connection behind an [EnterpriseAccount].
type EnterpriseConnection struct {
	ID string `json:"id,omitzero"`
	// Protocol is "oauth" or "saml".
	Protocol      string           `json:"protocol,omitzero"`
	Provider      string           `json:"provider,omitzero"`
	Name          string           `json:"name,omitzero"`
	LogoPublicURL Nullable[string] `json:"logo_public_url,omitzero"`
	// Domain is the older form of Domains.
	//
	// Deprecated: Use Domains.
	Domain                           string   `json:"domain,omitzero"`
	Domains                          []string `json:"domains,omitzero"`
	Active                           bool     `json:"active,omitzero"`
	SyncUserAttributes               bool     `json:"sync_user_attributes,omitzero"`
	AllowSubdomains                  bool     `json:"allow_subdomains,omitzero"`
	AllowIDPInitiated                bool     `json:"allow_idp_initiated,omitzero"`
	DisableAdditionalIdentifications bool     `json:"disable_additional_identifications,omitzero"`
	CreatedAt                        Millis   `json:"created_at,omitzero"`
	UpdatedAt                        Millis   `json:"updated_at,omitzero"`
}
