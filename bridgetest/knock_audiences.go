package bridgetest

import (
	"fmt"
	"slices"
)

// Member is a member of an audience.
type Member struct {
	// User is the user's id.
	User string

	// Tenant is the id of the tenant the membership is limited to, or empty.
	Tenant string
}

type audience struct {
	members []*member
}

type member struct {
	seq     uint64
	user    string
	tenant  string
	addedAt string
}

// Audience returns the members of an audience, oldest first, and whether the
// audience exists.
func (k *Knock) Audience(key string) (members []Member, ok bool) {
	k.inspect(func() {
		a := k.audiences[key]
		if a == nil {
			return
		}
		ok = true
		for _, m := range a.members {
			members = append(members, Member{m.user, m.tenant})
		}
	})
	return members, ok
}

func (a *audience) member(user, tenant string) *member {
	for _, m := range a.members {
		if m.user == user && m.tenant == tenant {
			return m
		}
	}
	return nil
}

func (k *Knock) audience(key string) (*audience, error) {
	if a := k.audiences[key]; a != nil {
		return a, nil
	}
	return nil, missing("audience")
}

func (k *Knock) listMembers(r *request) (reply, error) {
	a, err := k.audience(r.params[0])
	if err != nil {
		return reply{}, err
	}
	var entries []entry
	for _, m := range a.members {
		entries = append(entries, entry{m.seq, func() map[string]any {
			shown := map[string]any{
				"__typename": "AudienceMember",
				"user_id":    m.user,
				"user":       k.showRecipient(Ref{ID: m.user}, m.addedAt),
				"tenant":     nil,
				"added_at":   m.addedAt,
			}
			if m.tenant != "" {
				shown["tenant"] = m.tenant
			}
			return shown
		}})
	}
	return r.query.page(entries)
}

// addMembers adds users to an audience. A user who is sent with more than an id
// is identified; a bare id creates no user.
func (k *Knock) addMembers(r *request) (reply, error) {
	key := r.params[0]
	create, err := r.query.bool("create_audience")
	if err != nil {
		return reply{}, err
	}
	a, err := k.audience(key)
	if err != nil {
		if !create && !k.options.CreateAudiences {
			return reply{}, err
		}
		if err := checkID("key", key); err != nil {
			return reply{}, err
		}
		a = new(audience)
	}
	b := k.batch(r.now)
	members, err := b.members(r.body, true)
	if err != nil {
		return reply{}, err
	}
	b.commit()
	k.audiences[key] = a
	for _, m := range members {
		if a.member(m.User, m.Tenant) == nil {
			a.members = append(a.members, &member{k.next(), m.User, m.Tenant, b.now})
		}
	}
	return noContent()
}

// members reads the members of a body, and identifies those that bring more
// than an id if asked to.
func (b *batch) members(body map[string]any, identify bool) ([]Member, error) {
	items, err := list(body, "members", maxMembers)
	if err != nil {
		return nil, err
	}
	members := make([]Member, len(items))
	for i, item := range items {
		field := fmt.Sprintf("members.%d", i)
		sent, isMap := item.(map[string]any)
		if !isMap {
			return nil, invalid(field, "must be an object with a user")
		}
		user, isMap := sent["user"].(map[string]any)
		if !isMap {
			return nil, invalid(field+".user", "must be an object with an id")
		}
		id, isString := user["id"].(string)
		if !isString {
			return nil, invalid(field+".user.id", "must be a string")
		}
		if err := checkID(field+".user.id", id); err != nil {
			return nil, err
		}
		tenant, err := optionalString(sent, "tenant")
		if err != nil {
			return nil, err
		}
		members[i] = Member{id, tenant}
		if identify && len(user) > 1 {
			if err := b.identify(Ref{ID: id}, user); err != nil {
				return nil, err
			}
		}
	}
	return members, nil
}

// removeMembers passes over those who are not members.
func (k *Knock) removeMembers(r *request) (reply, error) {
	members, err := k.batch(r.now).members(r.body, false)
	if err != nil {
		return reply{}, err
	}
	a, err := k.audience(r.params[0])
	if err != nil {
		if k.options.DeleteMissing {
			return noContent()
		}
		return reply{}, err
	}
	a.members = slices.DeleteFunc(a.members, func(m *member) bool {
		return slices.Contains(members, Member{m.user, m.tenant})
	})
	return noContent()
}
