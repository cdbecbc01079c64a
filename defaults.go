package bridge

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

// Defaults returns the mappings that apply unless changed: Knock mirrors
// Clerk's users, organizations and memberships under Clerk's ids.
//
//	user.created, user.updated                   SyncUser
//	user.deleted                                 RemoveUser
//	organization.created, organization.updated   SyncTenant
//	organization.deleted                         RemoveTenant
//	organizationMembership.created, .updated     SyncMembership
//	organizationMembership.deleted               RemoveMembership
//
// A default needs only those members of an event's data that it reads: all others may
// be of any type. For a function mapped by [On] or [Also], every member that its type
// has must fit, or the delivery ends as [OutcomePermanent].
func Defaults() Mappings {
	return Mappings{
		On(clerk.UserCreated, SyncUser),
		On(clerk.UserUpdated, SyncUser),
		On(clerk.UserDeleted, RemoveUser),
		On(clerk.OrganizationCreated, SyncTenant),
		On(clerk.OrganizationUpdated, SyncTenant),
		On(clerk.OrganizationDeleted, RemoveTenant),
		On(clerk.OrganizationMembershipCreated, SyncMembership),
		On(clerk.OrganizationMembershipUpdated, SyncMembership),
		On(clerk.OrganizationMembershipDeleted, RemoveMembership),
	}
}

// SyncUser identifies the user in Knock: name (first and last name, else the
// username), email and phone_number (the primary ones), avatar, locale,
// timezone, created_at, external_id and public_metadata, the last under its own
// key. What Clerk sends as null becomes null in Knock; what the event does not
// carry is left alone, as is an address whose primary id points nowhere; the
// name, however, is made of whichever of its parts the event carries. Neither
// private_metadata nor unsafe_metadata is sent.
//
// Knock merges metadata: a key removed in Clerk keeps its last value in Knock.
func SyncUser(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
	if Stale(ctx) {
		return nil
	}
	return knock.IdentifyUser(actions.AllowBulk(ctx), KnockUser(&e.Data))
}

// KnockUser is the user that [SyncUser] identifies, for overrides that add to
// it or take away from it. Everything that may be null, name and email
// included, is in its Properties, under the names that go to Knock, and the
// corresponding fields are empty. Only CreatedAt is set as a field, unless it
// is null.
func KnockUser(u *clerk.User) actions.IdentifyUser {
	p := make(map[string]any, 8)
	setName(p, u)
	setPrimary(p, "email", u.PrimaryEmailAddressID, u.PrimaryEmail())
	setPrimary(p, "phone_number", u.PrimaryPhoneNumberID, u.PrimaryPhone())
	set(p, "avatar", u.ImageURL)
	set(p, "locale", u.Locale)
	set(p, "timezone", u.Timezone)
	set(p, "external_id", u.ExternalID)
	set(p, "public_metadata", u.PublicMetadata)
	if u.CreatedAt.IsNull() {
		p["created_at"] = nil
	}
	created := u.CreatedAt.Or(0).Time()
	if created.Year() < 0 || created.Year() > lastYear {
		created = time.Time{}
	}
	return actions.IdentifyUser{ID: u.ID, CreatedAt: created, Properties: p}
}

// lastYear is the last one that RFC 3339 can write; the first is 0.
const lastYear = 9999

// RemoveUser permanently deletes the user from Knock, with preferences, channel
// data, subscriptions and messages. To keep them, [Disable] clerk.UserDeleted, or
// map a function to it that writes what should remain; subscriptions then end with
// the memberships.
func RemoveUser(ctx context.Context, e *clerk.Event[clerk.DeletedObject], knock *actions.Client) error {
	return knock.DeleteUser(ctx, actions.DeleteUser{ID: e.Data.ID})
}

// SyncTenant sets the organization as a tenant in Knock: name, slug, image_url
// and public_metadata, the last under its own key. Null and absent members are
// treated as in [SyncUser].
func SyncTenant(ctx context.Context, e *clerk.Event[clerk.Organization], knock *actions.Client) error {
	if Stale(ctx) {
		return nil
	}
	return knock.SetTenant(actions.AllowBulk(ctx), KnockTenant(&e.Data))
}

// KnockTenant is the tenant that [SyncTenant] sets, for overrides that add to it
// or take away from it. All of it is in its Properties, as with [KnockUser].
func KnockTenant(o *clerk.Organization) actions.SetTenant {
	p := make(map[string]any, 4)
	set(p, "name", o.Name)
	set(p, "slug", o.Slug)
	set(p, "image_url", o.ImageURL)
	set(p, "public_metadata", o.PublicMetadata)
	return actions.SetTenant{ID: o.ID, Properties: p}
}

// RemoveTenant deletes the organization's tenant from Knock.
func RemoveTenant(ctx context.Context, e *clerk.Event[clerk.DeletedObject], knock *actions.Client) error {
	return knock.DeleteTenant(ctx, actions.DeleteTenant{ID: e.Data.ID})
}

// SyncMembership subscribes the member to the organization's tenant, with the
// properties role and role_name, so that a workflow triggered for the tenant
// (recipient actions.Tenant(id)) reaches its members. A tenant that Knock does
// not have yet is created, empty.
func SyncMembership(ctx context.Context, e *clerk.Event[clerk.OrganizationMembership], knock *actions.Client) error {
	user, organization, err := member(e)
	if err != nil || Stale(ctx) {
		return err
	}
	p := make(map[string]any, 2)
	set(p, "role", e.Data.Role)
	set(p, "role_name", e.Data.RoleName)
	subscribe := actions.Subscribe{
		Object:     actions.Tenant(organization),
		Recipients: []actions.Recipient{actions.UserID(user)},
		Properties: p,
	}
	err = knock.Subscribe(actions.AllowBulk(ctx), subscribe)
	if failure, ok := errors.AsType[*actions.Error](err); !ok || failure.Status != http.StatusNotFound {
		return err
	}
	// The membership has come before its organization, whose event fills the
	// tenant in.
	if err := knock.SetTenant(ctx, actions.SetTenant{ID: organization}); err != nil {
		return err
	}
	return knock.Subscribe(ctx, subscribe)
}

// RemoveMembership ends the member's subscription to the organization's tenant.
func RemoveMembership(ctx context.Context, e *clerk.Event[clerk.OrganizationMembership], knock *actions.Client) error {
	user, organization, err := member(e)
	if err != nil || Stale(ctx) {
		return err
	}
	return knock.Unsubscribe(ctx, actions.Unsubscribe{
		Object:     actions.Tenant(organization),
		Recipients: []actions.Reference{actions.UserID(user)},
	})
}

func member(e *clerk.Event[clerk.OrganizationMembership]) (user, organization string, err error) {
	user, organization = e.Data.UserID(), e.Data.OrganizationID()
	if user == "" || organization == "" {
		return "", "", Permanent(errors.New("bridge: the membership names no user or no organization"))
	}
	return user, organization, nil
}

// set copies a member: null as null, absent not at all.
func set[T any](p map[string]any, name string, v clerk.Nullable[T]) {
	if value, ok := v.Get(); ok {
		p[name] = value
	} else if v.IsNull() {
		p[name] = nil
	}
}

// setPrimary sets an address found by its primary id. No primary clears it. An
// id that points nowhere says nothing of what the address is.
func setPrimary(p map[string]any, name string, id clerk.Nullable[string], address string) {
	if address != "" {
		p[name] = address
	} else if id.IsNull() {
		p[name] = nil
	}
}

// setName sets the full name, and clears it only when the event says of all
// three names that there is none.
func setName(p map[string]any, u *clerk.User) {
	if name := u.FullName(); name != "" {
		p["name"] = name
		return
	}
	if !u.FirstName.IsAbsent() && !u.LastName.IsAbsent() && !u.Username.IsAbsent() {
		p["name"] = nil
	}
}
