package clerk

import (
	"reflect"
	"slices"
)

// Users. A directory that deactivates a user causes [UserUpdated], not
// [UserDeleted].
const (
	// UserCreated comes when a user signs up or is created by an administrator
	// or the API.
	UserCreated EventType[User] = "user.created"
	// UserUpdated comes when anything about a user changes, metadata, bans and
	// sign-ins included.
	UserUpdated EventType[User] = "user.updated"
	// UserDeleted comes when a user is gone. It carries little more than the id.
	UserDeleted EventType[DeletedObject] = "user.deleted"
)

// Sessions. No event tells of a session that expires or is abandoned.
const (
	// SessionCreated comes when a user has signed in.
	SessionCreated EventType[Session] = "session.created"
	// SessionEnded comes when the user signs out.
	SessionEnded EventType[Session] = "session.ended"
	// SessionPending comes when a user has signed in with a task still open, such
	// as choosing an organization. See [Session.Tasks].
	SessionPending EventType[Session] = "session.pending"
	// SessionRemoved comes when the client drops the session.
	SessionRemoved EventType[Session] = "session.removed"
	// SessionRevoked comes when an administrator or the API ends the session.
	SessionRevoked EventType[Session] = "session.revoked"
)

// Organizations.
const (
	// OrganizationCreated comes when an organization is created.
	OrganizationCreated EventType[Organization] = "organization.created"
	// OrganizationUpdated comes when an organization changes.
	OrganizationUpdated EventType[Organization] = "organization.updated"
	// OrganizationDeleted comes when an organization is gone. Clerk does not
	// promise an [OrganizationMembershipDeleted] for each of its members.
	OrganizationDeleted EventType[DeletedObject] = "organization.deleted"
)

// Memberships. All three events carry the full membership.
const (
	// OrganizationMembershipCreated comes when a user joins an organization.
	OrganizationMembershipCreated EventType[OrganizationMembership] = "organizationMembership.created"
	// OrganizationMembershipUpdated comes when a member's role or metadata changes.
	OrganizationMembershipUpdated EventType[OrganizationMembership] = "organizationMembership.updated"
	// OrganizationMembershipDeleted comes when a user leaves or is removed. Its
	// data is the membership as it was, not a [DeletedObject].
	OrganizationMembershipDeleted EventType[OrganizationMembership] = "organizationMembership.deleted"
)

// Invitations to organizations.
const (
	// OrganizationInvitationCreated comes when somebody is invited.
	OrganizationInvitationCreated EventType[OrganizationInvitation] = "organizationInvitation.created"
	// OrganizationInvitationAccepted comes when the invited person joins. It is
	// the one event of the family with [OrganizationInvitation.UserID].
	OrganizationInvitationAccepted EventType[OrganizationInvitation] = "organizationInvitation.accepted"
	// OrganizationInvitationRevoked comes when the invitation is taken back.
	OrganizationInvitationRevoked EventType[OrganizationInvitation] = "organizationInvitation.revoked"
)

// Domains of organizations.
const (
	// OrganizationDomainCreated comes when a domain is added to an organization.
	OrganizationDomainCreated EventType[OrganizationDomain] = "organizationDomain.created"
	// OrganizationDomainUpdated comes when a domain changes, for example when it
	// has been verified.
	OrganizationDomainUpdated EventType[OrganizationDomain] = "organizationDomain.updated"
	// OrganizationDomainDeleted comes when a domain is removed.
	OrganizationDomainDeleted EventType[DeletedObject] = "organizationDomain.deleted"
)

// Roles and permissions.
const (
	// RoleCreated comes when a role is defined.
	RoleCreated EventType[Role] = "role.created"
	// RoleUpdated comes when a role changes.
	RoleUpdated EventType[Role] = "role.updated"
	// RoleDeleted comes when a role is gone. Clerk's descriptions disagree on
	// whether it carries the full role: rely on the id only.
	RoleDeleted EventType[DeletedObject] = "role.deleted"
	// PermissionCreated comes when a permission is defined.
	PermissionCreated EventType[Permission] = "permission.created"
	// PermissionUpdated comes when a permission changes.
	PermissionUpdated EventType[Permission] = "permission.updated"
	// PermissionDeleted comes when a permission is gone. Clerk's descriptions
	// disagree on whether it carries the full permission: rely on the id only.
	PermissionDeleted EventType[DeletedObject] = "permission.deleted"
)

// Messages that Clerk sends, or leaves to you to send. Their data holds live
// one-time codes and magic links.
const (
	// EmailCreated comes for every e-mail, even one that Clerk does not deliver.
	// See [Email.DeliveredByClerk].
	EmailCreated EventType[Email] = "email.created"
	// SMSCreated comes for every text message, even one that Clerk does not
	// deliver. See [SMS.DeliveredByClerk].
	SMSCreated EventType[SMS] = "sms.created"
)

// The waitlist.
const (
	// WaitlistEntryCreated comes when somebody joins the waitlist.
	WaitlistEntryCreated EventType[WaitlistEntry] = "waitlistEntry.created"
	// WaitlistEntryUpdated comes when an entry is invited, rejected or completed.
	WaitlistEntryUpdated EventType[WaitlistEntry] = "waitlistEntry.updated"
)

// Billing. The events are named in camelCase, but the statuses in their data
// are not: [SubscriptionPastDue] carries the status past_due. A subscription is
// not canceled as a whole: see [SubscriptionItemCanceled].
const (
	// SubscriptionCreated comes when a payer's subscription is created.
	SubscriptionCreated EventType[Subscription] = "subscription.created"
	// SubscriptionUpdated comes when a subscription changes.
	SubscriptionUpdated EventType[Subscription] = "subscription.updated"
	// SubscriptionActive comes when a subscription becomes active.
	SubscriptionActive EventType[Subscription] = "subscription.active"
	// SubscriptionPastDue comes when a subscription has an item past due.
	SubscriptionPastDue EventType[Subscription] = "subscription.pastDue"

	// SubscriptionItemCreated comes when an item is created. Clerk dropped it from
	// its description in August 2026; older instances may still send it.
	SubscriptionItemCreated EventType[SubscriptionItem] = "subscriptionItem.created"
	// SubscriptionItemUpdated comes when an item changes.
	SubscriptionItemUpdated EventType[SubscriptionItem] = "subscriptionItem.updated"
	// SubscriptionItemActive comes when an item becomes active.
	SubscriptionItemActive EventType[SubscriptionItem] = "subscriptionItem.active"
	// SubscriptionItemCanceled comes when an item is canceled. It stays usable
	// until [SubscriptionItemEnded].
	SubscriptionItemCanceled EventType[SubscriptionItem] = "subscriptionItem.canceled"
	// SubscriptionItemUpcoming comes when an item is set to follow the present one.
	SubscriptionItemUpcoming EventType[SubscriptionItem] = "subscriptionItem.upcoming"
	// SubscriptionItemEnded comes when an item has ended.
	SubscriptionItemEnded EventType[SubscriptionItem] = "subscriptionItem.ended"
	// SubscriptionItemAbandoned comes when an item is given up before it began.
	SubscriptionItemAbandoned EventType[SubscriptionItem] = "subscriptionItem.abandoned"
	// SubscriptionItemIncomplete comes when an item's first payment is missing.
	SubscriptionItemIncomplete EventType[SubscriptionItem] = "subscriptionItem.incomplete"
	// SubscriptionItemPastDue comes when a recurring payment of an item has failed.
	SubscriptionItemPastDue EventType[SubscriptionItem] = "subscriptionItem.pastDue"
	// SubscriptionItemFreeTrialEnding comes three days before a free trial ends,
	// or at once when the trial is shorter.
	SubscriptionItemFreeTrialEnding EventType[SubscriptionItem] = "subscriptionItem.freeTrialEnding"

	// PaymentAttemptCreated comes when a payment is attempted.
	PaymentAttemptCreated EventType[PaymentAttempt] = "paymentAttempt.created"
	// PaymentAttemptUpdated comes when an attempt is paid or has failed.
	PaymentAttemptUpdated EventType[PaymentAttempt] = "paymentAttempt.updated"
)

// known maps each name to itself: Parse looks up bytes of the body in it and
// need not copy them. dataTypes has the types of the data.
var known, dataTypes = func(types ...typed) (map[string]string, map[string]reflect.Type) {
	m, data := make(map[string]string, len(types)), make(map[string]reflect.Type, len(types))
	for _, t := range types {
		m[t.EventName()] = t.EventName()
		data[t.EventName()] = t.dataType()
	}
	return m, data
}(
	UserCreated, UserUpdated, UserDeleted,
	SessionCreated, SessionEnded, SessionPending, SessionRemoved, SessionRevoked,
	OrganizationCreated, OrganizationUpdated, OrganizationDeleted,
	OrganizationMembershipCreated, OrganizationMembershipUpdated, OrganizationMembershipDeleted,
	OrganizationInvitationCreated, OrganizationInvitationAccepted, OrganizationInvitationRevoked,
	OrganizationDomainCreated, OrganizationDomainUpdated, OrganizationDomainDeleted,
	RoleCreated, RoleUpdated, RoleDeleted,
	PermissionCreated, PermissionUpdated, PermissionDeleted,
	EmailCreated, SMSCreated,
	WaitlistEntryCreated, WaitlistEntryUpdated,
	SubscriptionCreated, SubscriptionUpdated, SubscriptionActive, SubscriptionPastDue,
	SubscriptionItemCreated, SubscriptionItemUpdated, SubscriptionItemActive, SubscriptionItemCanceled,
	SubscriptionItemUpcoming, SubscriptionItemEnded, SubscriptionItemAbandoned, SubscriptionItemIncomplete,
	SubscriptionItemPastDue, SubscriptionItemFreeTrialEnding,
	PaymentAttemptCreated, PaymentAttemptUpdated,
)

// EventNames returns the names of all events that have a constant here, sorted.
// The caller owns the slice.
func EventNames() []string {
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
