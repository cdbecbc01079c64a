package bridge

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

// EditTrigger completes a workflow trigger from its event before it is sent:
// data, actor, cancellation key. Use the event alone, see [Func].
type EditTrigger[T any] func(e *clerk.Event[T], t *actions.TriggerWorkflow)

// UserEvent lists the event data that names a user who can be notified.
// [clerk.DeletedObject] is not among them: a deleted user has nobody to notify.
type UserEvent interface {
	clerk.User | clerk.Session | clerk.OrganizationMembership | clerk.OrganizationInvitation
}

// OrganizationEvent lists the event data that names an organization.
type OrganizationEvent interface {
	clerk.Organization | clerk.OrganizationMembership | clerk.OrganizationInvitation | clerk.OrganizationDomain
}

// TriggerForUser returns a function that starts a workflow with the event's own
// user as the recipient. For an event within an organization (a membership, an
// accepted invitation) the tenant is set to the organization. Knock must know
// the user: for clerk.UserCreated run it after [SyncUser], with [Also] or
// [Chain]. An event without a user's id ends as OutcomePermanent.
//
// It is nil, which [New] reports, when workflow is empty or an edit is nil.
func TriggerForUser[T UserEvent](workflow string, edit ...EditTrigger[T]) Func[T] {
	if !canTrigger(workflow, edit) {
		return nil
	}
	return func(ctx context.Context, e *clerk.Event[T], knock *actions.Client) error {
		user := userID(&e.Data)
		if user == "" {
			return Permanent(errors.New("bridge: the event names no user to trigger the workflow for"))
		}
		t := actions.TriggerWorkflow{Workflow: workflow, Recipients: []actions.Recipient{actions.UserID(user)}}
		if organization := organizationID(&e.Data); organization != "" {
			t.Tenant = actions.TenantID(organization)
		}
		return trigger(ctx, e, knock, t, edit)
	}
}

// TriggerForOrganization returns a function that starts a workflow for all
// members of the event's organization: the recipient is the organization's
// tenant, whose subscribers [SyncMembership] maintains, and the workflow runs in
// that tenant. An event without an organization's id ends as OutcomePermanent. To reach
// some of the members only, such as the admins, subscribe them to an object of your own:
// Example_organizationAdmins.
//
// It is nil, which [New] reports, when workflow is empty or an edit is nil.
func TriggerForOrganization[T OrganizationEvent](workflow string, edit ...EditTrigger[T]) Func[T] {
	if !canTrigger(workflow, edit) {
		return nil
	}
	return func(ctx context.Context, e *clerk.Event[T], knock *actions.Client) error {
		organization := organizationID(&e.Data)
		if organization == "" {
			return Permanent(errors.New("bridge: the event names no organization to trigger the workflow for"))
		}
		return trigger(ctx, e, knock, actions.TriggerWorkflow{
			Workflow:   workflow,
			Recipients: []actions.Recipient{actions.Tenant(organization)},
			Tenant:     actions.TenantID(organization),
		}, edit)
	}
}

// TriggerFor returns a function that starts a workflow for fixed recipients,
// whatever the event: a colleague, an object that a team is subscribed to.
//
// It is nil, which [New] reports, when workflow is empty, an edit or a recipient is
// nil, a recipient is an empty [actions.UserID], or there are neither recipients nor
// edits that could add some.
func TriggerFor[T any](workflow string, recipients []actions.Recipient, edit ...EditTrigger[T]) Func[T] {
	nobody := func(r actions.Recipient) bool { return r == nil || r == actions.UserID("") }
	if !canTrigger(workflow, edit) || slices.ContainsFunc(recipients, nobody) || len(recipients)+len(edit) == 0 {
		return nil
	}
	return func(ctx context.Context, e *clerk.Event[T], knock *actions.Client) error {
		return trigger(ctx, e, knock, actions.TriggerWorkflow{Workflow: workflow, Recipients: slices.Clone(recipients)}, edit)
	}
}

func canTrigger[T any](workflow string, edit []EditTrigger[T]) bool {
	return workflow != "" && !slices.ContainsFunc(edit, func(fn EditTrigger[T]) bool { return fn == nil })
}

func trigger[T any](
	ctx context.Context, e *clerk.Event[T], knock *actions.Client, t actions.TriggerWorkflow, edit []EditTrigger[T],
) error {
	for _, fn := range edit {
		fn(e, &t)
	}
	_, err := knock.TriggerWorkflow(ctx, t)
	return err
}

// CancelWorkflow returns a function that cancels the runs triggered with the
// cancellation key that key returns for the event. An empty one cancels nothing.
// Build it from ids: it is part of the step's name, which logs and the ledger hold.
//
// It is nil, which [New] reports, when workflow is empty or key is nil.
func CancelWorkflow[T any](workflow string, key func(e *clerk.Event[T]) string) Func[T] {
	if workflow == "" || key == nil {
		return nil
	}
	return func(ctx context.Context, e *clerk.Event[T], knock *actions.Client) error {
		k := key(e)
		if k == "" {
			return nil
		}
		return knock.CancelWorkflow(ctx, actions.CancelWorkflow{Workflow: workflow, CancellationKey: k})
	}
}

// AddToAudience returns a function that adds a waitlist entry to a static
// audience, which has to exist, or the delivery is misconfigured. The entry's id
// becomes the id of a Knock user with the entry's e-mail address, because a person
// on the waitlist is not a Clerk user yet.
//
// It is nil, which [New] reports, when audience is empty.
func AddToAudience(audience string) Func[clerk.WaitlistEntry] {
	if audience == "" {
		return nil
	}
	return func(ctx context.Context, e *clerk.Event[clerk.WaitlistEntry], knock *actions.Client) error {
		return knock.AddAudienceMember(ctx, actions.AddAudienceMember{
			Audience: audience,
			Members:  []actions.AudienceMember{{User: actions.IdentifyUser{ID: e.Data.ID, Email: e.Data.EmailAddress}}},
		})
	}
}

// userID returns the user that an event's data names.
func userID(data any) string {
	switch d := data.(type) {
	case *clerk.User:
		return d.ID
	case *clerk.Session:
		return d.UserID
	case *clerk.OrganizationMembership:
		return d.UserID()
	case *clerk.OrganizationInvitation:
		return d.UserID
	}
	return ""
}

// organizationID returns the organization that an event's data names.
func organizationID(data any) string {
	switch d := data.(type) {
	case *clerk.Organization:
		return d.ID
	case *clerk.OrganizationMembership:
		return d.OrganizationID()
	case *clerk.OrganizationInvitation:
		return cmp.Or(d.OrganizationID, d.PublicOrganizationData.Or(clerk.PublicOrganizationData{}).ID)
	case *clerk.OrganizationDomain:
		return cmp.Or(d.OrganizationID, d.PublicOrganizationData.Or(clerk.PublicOrganizationData{}).ID)
	}
	return ""
}
