package bridge_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

func TestReadyMadeFunctions(t *testing.T) {
	t.Parallel()
	const membership = `{"organization":{"id":"org_1"},"public_user_data":{"user_id":"user_1"}}`
	for _, test := range []struct {
		name        string
		mapping     bridge.Mapping
		event, data string
		want        string // empty means: permanent, no call
	}{
		{
			"the user who signed up", bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
			"user.created", ada, `POST /v1/workflows/welcome/trigger {"recipients":["user_1"]}`,
		},
		{
			"the user of a session", bridge.On(clerk.SessionCreated, bridge.TriggerForUser("sign-in", func(e *clerk.Event[clerk.Session], t *actions.TriggerWorkflow) {
				t.Data = map[string]any{"session": e.Data.ID}
				t.CancellationKey = e.Data.ID
			})),
			"session.created", `{"id":"sess_1","user_id":"user_1"}`,
			`POST /v1/workflows/sign-in/trigger {"cancellation_key":"sess_1","data":{"session":"sess_1"},"recipients":["user_1"]}`,
		},
		{
			"a new member, within the tenant", bridge.On(clerk.OrganizationMembershipCreated, bridge.TriggerForUser[clerk.OrganizationMembership]("joined")),
			"organizationMembership.created", membership, `POST /v1/workflows/joined/trigger {"recipients":["user_1"],"tenant":"org_1"}`,
		},
		{
			"who accepted an invitation", bridge.On(clerk.OrganizationInvitationAccepted, bridge.TriggerForUser[clerk.OrganizationInvitation]("accepted")),
			"organizationInvitation.accepted", `{"user_id":"user_1","organization_id":"org_1"}`,
			`POST /v1/workflows/accepted/trigger {"recipients":["user_1"],"tenant":"org_1"}`,
		},
		{
			"who accepted an invitation, without the organization's own member",
			bridge.On(clerk.OrganizationInvitationAccepted, bridge.TriggerForUser[clerk.OrganizationInvitation]("accepted")),
			"organizationInvitation.accepted", `{"user_id":"user_1","public_organization_data":{"id":"org_1"}}`,
			`POST /v1/workflows/accepted/trigger {"recipients":["user_1"],"tenant":"org_1"}`,
		},
		{
			"members of the organization of an invitation, in the inner place",
			bridge.On(clerk.OrganizationInvitationCreated, bridge.TriggerForOrganization[clerk.OrganizationInvitation]("invited")),
			"organizationInvitation.created", `{"id":"orginv_1","data":{"public_organization_data":{"id":"org_1"}}}`,
			`POST /v1/workflows/invited/trigger {"recipients":[{"collection":"$tenants","id":"org_1"}],"tenant":"org_1"}`,
		},
		{
			"a user event without a user", bridge.On(clerk.OrganizationInvitationAccepted, bridge.TriggerForUser[clerk.OrganizationInvitation]("accepted")),
			"organizationInvitation.accepted", `{"organization_id":"org_1"}`, "",
		},
		{
			"all members of an organization", bridge.On(clerk.OrganizationUpdated, bridge.TriggerForOrganization[clerk.Organization]("renamed")),
			"organization.updated", `{"id":"org_1"}`,
			`POST /v1/workflows/renamed/trigger {"recipients":[{"collection":"$tenants","id":"org_1"}],"tenant":"org_1"}`,
		},
		{
			"members of a domain's organization", bridge.On(clerk.OrganizationDomainCreated, bridge.TriggerForOrganization[clerk.OrganizationDomain]("domain")),
			"organizationDomain.created", `{"id":"orgdmn_1","organization_id":"org_1"}`,
			`POST /v1/workflows/domain/trigger {"recipients":[{"collection":"$tenants","id":"org_1"}],"tenant":"org_1"}`,
		},
		{
			"members of a domain's organization, without its own member",
			bridge.On(clerk.OrganizationDomainCreated, bridge.TriggerForOrganization[clerk.OrganizationDomain]("domain")),
			"organizationDomain.created", `{"id":"orgdmn_1","public_organization_data":{"id":"org_1"}}`,
			`POST /v1/workflows/domain/trigger {"recipients":[{"collection":"$tenants","id":"org_1"}],"tenant":"org_1"}`,
		},
		{
			"an organization event without one", bridge.On(clerk.OrganizationDomainCreated, bridge.TriggerForOrganization[clerk.OrganizationDomain]("domain")),
			"organizationDomain.created", `{"id":"orgdmn_1"}`, "",
		},
		{
			"others about a deleted user", bridge.On(clerk.UserDeleted, bridge.TriggerFor("left", []actions.Recipient{actions.UserID("user_9")},
				func(e *clerk.Event[clerk.DeletedObject], t *actions.TriggerWorkflow) {
					t.Data = map[string]any{"user": e.Data.ID}
				})),
			"user.deleted", `{"id":"user_1","deleted":true}`,
			`POST /v1/workflows/left/trigger {"data":{"user":"user_1"},"recipients":["user_9"]}`,
		},
		{
			"the waitlist", bridge.On(clerk.WaitlistEntryCreated, bridge.AddToAudience("waitlist")),
			"waitlistEntry.created", `{"id":"wle_1","email_address":"ada@example.com"}`,
			`POST /v1/audiences/waitlist/members {"members":[{"user":{"email":"ada@example.com","id":"wle_1"}}]}`,
		},
		{
			"cancel", bridge.On(clerk.SessionEnded, bridge.CancelWorkflow("sign-in", func(e *clerk.Event[clerk.Session]) string { return e.Data.ID })),
			"session.ended", `{"id":"sess_1"}`, `POST /v1/workflows/sign-in/cancel {"cancellation_key":"sess_1"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			knock := &transport{}
			res := process(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{test.mapping}}, test.event, test.data)
			if test.want == "" {
				assert.Equal(t, bridge.OutcomePermanent, res.Outcome)
				assert.Empty(t, knock.calls())
				return
			}
			require.NoError(t, res.Err)
			assert.Equal(t, []string{test.want}, knock.calls())
		})
	}

	t.Run("recipients are not shared", func(t *testing.T) {
		t.Parallel()
		recipients := append(make([]actions.Recipient, 0, 4), actions.UserID("boss"))
		knock := &transport{}
		h := newHandler(t, bridge.Config{Knock: knock, NoDefaults: true, Mappings: bridge.Mappings{
			bridge.On(clerk.UserCreated, bridge.TriggerFor("w", recipients, func(e *clerk.Event[clerk.User], t *actions.TriggerWorkflow) {
				t.Recipients[0] = actions.UserID(e.Data.ID)
				t.Recipients = append(t.Recipients, actions.UserID(e.Data.ID+"_too"))
			})),
		}})
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				id := fmt.Sprintf("user_%d", i)
				res, err := h.Process(t.Context(), bridge.Delivery{ID: id, Body: body("user.created", fmt.Sprintf(`{"id":%q}`, id))})
				if assert.NoError(t, err) {
					assert.JSONEq(t, fmt.Sprintf(`{"recipients":[%q,%q]}`, id, id+"_too"), string(res.Steps[0].Request.Body))
				}
			})
		}
		all.Wait()
		assert.Equal(t, []actions.Recipient{actions.UserID("boss")}, recipients)
	})

	knock := &transport{}
	res := process(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.SessionEnded, bridge.CancelWorkflow("sign-in", func(*clerk.Event[clerk.Session]) string { return "" })),
	}}, "session.ended", `{"id":"sess_1"}`)
	assert.Equal(t, bridge.OutcomeDone, res.Outcome)
	assert.Empty(t, knock.calls())
}
