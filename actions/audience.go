package actions

import (
	"context"
	"encoding/json"
	"net/http"
)

// maxMembers is Knock's limit of members in one audience call.
const maxMembers = 1000

// AudienceMember is a user in an audience, within a tenant or without.
type AudienceMember struct {
	// User is the member; its ID is required. With further fields set, Knock
	// identifies the user when the member is added; leave them empty to only name
	// the user.
	User IdentifyUser

	// Tenant is the tenant the membership is for. Empty means none. The same
	// user may be a member once per tenant.
	Tenant string
}

// AddAudienceMember adds users to a static audience ("audiences_add_member").
// Audiences can't be changed on a branch of Knock.
type AddAudienceMember struct {
	// Audience is the audience's key, required.
	Audience string

	// Members are added in calls of 1,000 at most, each a step of its own. An
	// empty list does nothing.
	Members []AudienceMember

	// CreateAudience makes Knock create an audience that does not exist, instead
	// of answering 404.
	CreateAudience bool
}

// AddAudienceMember adds users to an audience.
func (c *Client) AddAudienceMember(ctx context.Context, a AddAudienceMember) error {
	query := ""
	if a.CreateAudience {
		query = "?create_audience=true"
	}
	users := make([]Reference, len(a.Members))
	for i, m := range a.Members {
		users[i] = UserID(m.User.ID)
	}
	gone, err := c.goneOf(ctx, users...)
	if err != nil {
		return err
	}
	return c.audience(ctx, "audiences.add_member", "audiences_add_member", http.MethodPost, a.Audience, query, a.Members, gone)
}

// RemoveAudienceMember removes users from a static audience
// ("audiences_remove_member").
type RemoveAudienceMember struct {
	// Audience is the audience's key, required.
	Audience string

	// Members are removed in calls of 1,000 at most, each for the tenant it
	// names. Only the user's id counts. An empty list does nothing.
	Members []AudienceMember
}

// RemoveAudienceMember removes users from an audience. It succeeds when Knock
// does not have the audience or the member.
func (c *Client) RemoveAudienceMember(ctx context.Context, r RemoveAudienceMember) error {
	members := make([]AudienceMember, len(r.Members))
	for i, m := range r.Members {
		members[i] = AudienceMember{User: IdentifyUser{ID: m.User.ID}, Tenant: m.Tenant}
	}
	return c.audience(ctx, "audiences.remove_member", "audiences_remove_member", http.MethodDelete, r.Audience, "", members, nil)
}

func (c *Client) audience(
	ctx context.Context, op, kind, method, key, query string, members []AudienceMember, gone map[Reference]bool,
) error {
	if err := checkID(op, "audience", key); err != nil {
		return err
	}
	values, refs := make([]json.RawMessage, len(members)), make([]string, len(members))
	for i, m := range members {
		user, ref, err := m.User.recipient(op, "members.user")
		if err != nil {
			return err
		}
		member := newObject(op)
		member.member("user", user)
		if m.Tenant != "" {
			if err := checkID(op, "members.tenant", m.Tenant); err != nil {
				return err
			}
			member.text("tenant", m.Tenant)
			ref += "@" + m.Tenant
		}
		if values[i], err = member.end(); err != nil {
			return err
		}
		if gone[UserID(m.User.ID)] {
			values[i] = nil
		}
		refs[i] = ref
	}
	o := operation{op, kind, key, method, path("audiences", key, "members") + query}
	return c.putAll(ctx, o, "members", maxMembers, values, refs, nil)
}
