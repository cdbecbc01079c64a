package bridgetest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/bridgetest"
)

func TestAudienceMembers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	const path = "/v1/audiences/paid/members"
	member := func(user, tenant any) any {
		return object{"user": user, "tenant": tenant}
	}
	body := object{"members": []any{member(object{"id": "u", "name": "U"}, nil), member(object{"id": "ghost"}, "org")}}
	f.call("POST", path, body).refused(404, "resource_missing")
	f.call("GET", path, nil).refused(404, "resource_missing")
	assert.Empty(t, f.Users(), "nothing took effect")
	_, found := f.Audience("paid")
	assert.False(t, found)

	f.call("POST", path+"?create_audience=true", body).want(204)
	f.call("POST", path, body).want(204)
	members, found := f.Audience("paid")
	require.True(t, found)
	assert.Equal(t, []bridgetest.Member{{User: "u"}, {User: "ghost", Tenant: "org"}}, members, "nobody twice")
	assert.Equal(t, []string{"u"}, f.Users(), "a bare id creates nobody")

	entries := f.call("GET", path, nil).want(200).entries()
	require.Len(t, entries, 2)
	assert.Equal(t, "AudienceMember", entries[0]["__typename"])
	assert.Equal(t, "U", entries[0]["user"].(object)["name"])
	assert.Nil(t, entries[0]["tenant"])
	assert.Equal(t, "org", entries[1]["tenant"])
	assert.Equal(t, "ghost", entries[1]["user_id"])

	f.call("DELETE", path, object{"members": []any{member(object{"id": "ghost"}, nil), member(object{"id": "u"}, nil)}}).want(204)
	members, _ = f.Audience("paid")
	assert.Equal(t, []bridgetest.Member{{User: "ghost", Tenant: "org"}}, members, "the tenant is part of a membership")

	f.Configure(func(o *bridgetest.KnockOptions) { o.CreateAudiences = true })
	f.call("POST", "/v1/audiences/other/members", body).want(204)
}

func TestAudienceRefusals(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	const path = "/v1/audiences/paid/members?create_audience=true"
	user := object{"user": object{"id": "u"}}
	for name, body := range map[string]object{
		"no members":   {},
		"1001 members": {"members": repeat(1001, func(int) any { return user })},
		"bare id":      {"members": []any{"u"}},
		"no user":      {"members": []any{object{}}},
		"no id":        {"members": []any{object{"user": object{}}}},
		"bad id":       {"members": []any{object{"user": object{"id": "a#b"}}}},
		"tenant":       {"members": []any{object{"user": object{"id": "u"}, "tenant": object{"id": "t"}}}},
		"bad user":     {"members": []any{object{"user": object{"id": "u", "name": 1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.call("POST", path, body).refused(422, "invalid_params")
			_, found := f.Audience("paid")
			assert.False(t, found, "a refused request changes nothing")
		})
	}
	f.call("POST", "/v1/audiences/paid/members?create_audience=yes", object{"members": []any{user}}).refused(422, "invalid_params")
	f.call("POST", "/v1/audiences/a%2Fb/members?create_audience=true", object{"members": []any{user}}).refused(422, "invalid_params")
	_, found := f.Audience("paid")
	assert.False(t, found)
	f.call("POST", path, object{"members": repeat(1000, func(int) any { return user })}).want(204)
	f.call("DELETE", path, object{"members": []any{"u"}}).refused(422, "invalid_params")
}
