package bridge_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

type app struct{}

func (app) welcome(ctx, *userEvent, *actions.Client) error { return nil }

func TestMappings(t *testing.T) {
	t.Parallel()
	const other clerk.EventType[clerk.User] = "passkey.created"
	unnamed := func(ctx, *userEvent, *actions.Client) error { return nil }
	h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{
		bridge.On(clerk.UserCreated, app{}.welcome),
		bridge.Also(clerk.UserUpdated, unnamed),
		bridge.On(other, bridge.Chain(bridge.SyncUser, bridge.TriggerForUser[clerk.User]("welcome"))),
		bridge.Also(clerk.SessionCreated, bridge.TriggerForUser[clerk.Session]("signed-in")),
		bridge.Disable(clerk.UserDeleted, clerk.OrganizationUpdated),
		bridge.Also(clerk.OrganizationUpdated, func(ctx, *clerk.Event[clerk.Organization], *actions.Client) error { return nil }),
		bridge.OnUnmapped(func(ctx, *clerk.AnyEvent, *actions.Client) error { return nil }),
	}, Knock: &transport{}})
	got := make(map[string]bridge.MappingInfo)
	var names []string
	for _, m := range h.Mappings() {
		got[m.EventType] = m
		names = append(names, m.EventType)
	}
	assert.IsIncreasing(t, names[:len(names)-1])
	assert.Empty(t, names[len(names)-1], "that of OnUnmapped is the last")
	info := func(name string, origin bridge.MappingOrigin, added int, functions ...string) bridge.MappingInfo {
		return bridge.MappingInfo{EventType: name, Origin: origin, Functions: functions, Added: added}
	}
	assert.Equal(t, info("user.created", bridge.OriginOverridden, 0, "bridge_test.app.welcome"), got["user.created"])
	assert.Equal(t, info("user.updated", bridge.OriginDefault, 1, "bridge.SyncUser", "bridge_test.TestMappings.func1 (mapped_test.go:21)"), got["user.updated"])
	assert.Equal(t, info("passkey.created", bridge.OriginOwn, 0, "bridge.Chain"), got["passkey.created"])
	assert.Equal(t, info("session.created", bridge.OriginAdded, 1, "bridge.TriggerForUser"), got["session.created"])
	assert.Equal(t, info("organization.deleted", bridge.OriginDefault, 0, "bridge.RemoveTenant"), got["organization.deleted"])
	assert.Equal(t, bridge.OriginDisabled, got["user.deleted"].Origin)
	assert.Equal(t, []string{}, got["user.deleted"].Functions)
	assert.Equal(t, bridge.OriginAdded, got["organization.updated"].Origin)
	assert.Equal(t, bridge.OriginUnmapped, got[""].Origin)
	assert.Len(t, names, 9+2+1)

	for event, want := range map[string][]string{
		"user.updated": got["user.updated"].Functions, "role.created": got[""].Functions, "user.deleted": nil,
	} {
		res, err := h.Process(t.Context(), bridge.Delivery{ID: "msg_" + event, Body: []byte(`{"type":"` + event + `","data":{"id":"user_1"}}`)})
		require.NoError(t, err)
		assert.Equal(t, want, res.Functions, event)
	}
}
