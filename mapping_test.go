package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

type (
	ctx       = context.Context
	userEvent = clerk.Event[clerk.User]
)

const userCreated = clerk.UserCreated

// note returns a function that appends word to a list.
func note[T any](list *[]string, word string, err error) bridge.Func[T] {
	return func(ctx, *clerk.Event[T], *actions.Client) error {
		*list = append(*list, word)
		return err
	}
}

func TestMappingTable(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	const (
		user    = `{"id":"user_1"}`
		session = `{"id":"sess_1","user_id":"user_1"}`
	)
	identify := `PUT /v1/users/user_1 {}`
	for _, test := range []struct {
		name        string
		mappings    func(ran *[]string) bridge.Mappings
		noDefaults  bool
		event, data string
		outcome     bridge.Outcome
		ran         []string
		calls       []string
	}{
		{
			name:  "On replaces the default",
			event: "user.created", data: user, outcome: bridge.OutcomeDone, ran: []string{"on"}, calls: []string{},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{bridge.On(clerk.UserCreated, note[clerk.User](ran, "on", nil))}
			},
		},
		{
			name:  "On leaves other types alone",
			event: "user.updated", data: user, outcome: bridge.OutcomeDone, calls: []string{identify},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{bridge.On(clerk.UserCreated, note[clerk.User](ran, "on", nil))}
			},
		},
		{
			name:  "Also runs after the default, in order",
			event: "user.created", data: user, outcome: bridge.OutcomeDone, ran: []string{"first", "second"}, calls: []string{identify},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{
					bridge.Also(clerk.UserCreated, note[clerk.User](ran, "first", nil)),
					bridge.Also(clerk.UserCreated, note[clerk.User](ran, "second", nil)),
				}
			},
		},
		{
			name:  "Also before On in the list still runs after it",
			event: "user.created", data: user, outcome: bridge.OutcomeDone, ran: []string{"on", "also"}, calls: []string{},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{
					bridge.Also(clerk.UserCreated, note[clerk.User](ran, "also", nil)),
					bridge.On(clerk.UserCreated, note[clerk.User](ran, "on", nil)),
				}
			},
		},
		{
			name:  "Also does not run after a failure",
			event: "user.created", data: user, outcome: bridge.OutcomeMisconfigured, ran: []string{"on"}, calls: []string{},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{
					bridge.On(clerk.UserCreated, note[clerk.User](ran, "on", failure)),
					bridge.Also(clerk.UserCreated, note[clerk.User](ran, "also", nil)),
				}
			},
		},
		{
			name:  "Also alone",
			event: "session.created", data: session, outcome: bridge.OutcomeDone, ran: []string{"also"}, calls: []string{},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{bridge.Also(clerk.SessionCreated, note[clerk.Session](ran, "also", nil))}
			},
		},
		{
			name:  "Disable",
			event: "user.deleted", data: user, outcome: bridge.OutcomeIgnored, calls: []string{},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{
					bridge.Disable(clerk.UserDeleted, clerk.OrganizationDeleted),
					bridge.OnUnmapped(note[json.RawMessage](ran, "unmapped", nil)),
				}
			},
		},
		{
			name:  "Disable the default, Also something else",
			event: "user.deleted", data: user, outcome: bridge.OutcomeDone, ran: []string{"also"}, calls: []string{},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{
					bridge.Disable(clerk.UserDeleted),
					bridge.Also(clerk.UserDeleted, note[clerk.DeletedObject](ran, "also", nil)),
				}
			},
		},
		{
			name:  "OnUnmapped",
			event: "passkey.created", data: `"anything"`, outcome: bridge.OutcomeDone, ran: []string{"unmapped"}, calls: []string{},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{bridge.OnUnmapped(func(_ ctx, e *clerk.AnyEvent, _ *actions.Client) error {
					if string(e.Data) != `"anything"` {
						return errors.New("data: " + string(e.Data))
					}
					*ran = append(*ran, "unmapped")
					return nil
				})}
			},
		},
		{
			name:  "OnUnmapped is not asked for mapped types",
			event: "user.created", data: user, outcome: bridge.OutcomeDone, calls: []string{identify},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{bridge.OnUnmapped(note[json.RawMessage](ran, "unmapped", nil))}
			},
		},
		{
			name:  "unmapped, not even decoded",
			event: "session.created", data: `7`, outcome: bridge.OutcomeIgnored, calls: []string{},
		},
		{
			name: "NoDefaults", noDefaults: true,
			event: "user.created", data: user, outcome: bridge.OutcomeIgnored, calls: []string{},
		},
		{
			name:  "Chain stops at the first error",
			event: "user.created", data: user, outcome: bridge.OutcomePermanent, ran: []string{"one", "two"}, calls: []string{identify},
			mappings: func(ran *[]string) bridge.Mappings {
				return bridge.Mappings{bridge.On(clerk.UserCreated, bridge.Chain(
					note[clerk.User](ran, "one", nil), bridge.SyncUser,
					note[clerk.User](ran, "two", bridge.Permanent(failure)), note[clerk.User](ran, "three", nil),
				))}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			knock, ran := &transport{}, []string(nil)
			cfg := bridge.Config{Knock: knock, NoDefaults: test.noDefaults}
			if test.mappings != nil {
				cfg.Mappings = test.mappings(&ran)
			}
			res := process(t, cfg, test.event, test.data)
			assert.Equal(t, test.outcome, res.Outcome)
			assert.Equal(t, test.ran, ran)
			assert.Equal(t, test.calls, knock.calls())
		})
	}
}

func TestOwnEventType(t *testing.T) {
	t.Parallel()
	type passkey struct {
		Name string `json:"name"`
	}
	const passkeyCreated clerk.EventType[passkey] = "passkey.created"
	var got passkey
	h := newHandler(t, bridge.Config{Mappings: bridge.Mappings{
		bridge.On(passkeyCreated, func(_ ctx, e *clerk.Event[passkey], _ *actions.Client) error {
			got = e.Data
			return nil
		}),
	}})
	assert.Contains(t, h.EventNames(), "passkey.created")
	_, err := h.Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: body("passkey.created", `{"name":"laptop"}`)})
	require.NoError(t, err)
	assert.Equal(t, passkey{"laptop"}, got)
}

func TestFunctionsOfOneTypeShareTheDecodedEvent(t *testing.T) {
	t.Parallel()
	var seen []*userEvent
	keep := func(_ ctx, e *userEvent, _ *actions.Client) error {
		seen = append(seen, e)
		return nil
	}
	res := process(t, bridge.Config{Mappings: bridge.Mappings{
		bridge.On(clerk.UserCreated, keep), bridge.Also(clerk.UserCreated, keep),
	}}, "user.created", `{"id":"user_1"}`)
	require.NoError(t, res.Err)
	require.Len(t, seen, 2)
	assert.Same(t, seen[0], seen[1])
}

func TestNewReportsEveryProblemAtOnce(t *testing.T) {
	t.Parallel()
	var none bridge.Func[clerk.User]
	sync := bridge.Func[clerk.User](bridge.SyncUser)
	_, err := bridge.New(bridge.Config{
		SigningSecrets: []string{"whsec_", secretA},
		MaxBodyBytes:   -1,
		Timeout:        -1,
		Mappings: bridge.Mappings{
			bridge.On(clerk.UserCreated, sync),
			bridge.On(clerk.UserCreated, sync),
			bridge.On(clerk.UserUpdated, none),
			bridge.On(clerk.UserUpdated, bridge.Chain(sync, nil)),
			bridge.On("", sync),
			nil,
			bridge.OnUnmapped(nil),
			bridge.Disable(),
			bridge.Disable(clerk.UserDeleted, clerk.UserDeleted),
			bridge.Disable(clerk.UserCreated),
			bridge.Disable(nil, clerk.EventType[int]("")),
			bridge.Disable(clerk.OrganizationCreated),
			bridge.On(clerk.OrganizationCreated, bridge.SyncTenant),
			bridge.On(clerk.SessionCreated, bridge.TriggerForUser[clerk.Session]("")),
			bridge.On(clerk.SessionEnded, bridge.TriggerForUser("w", bridge.EditTrigger[clerk.Session](nil))),
			bridge.On(clerk.OrganizationDomainCreated, bridge.TriggerForOrganization[clerk.OrganizationDomain]("")),
			bridge.On(clerk.OrganizationDomainUpdated, bridge.TriggerFor[clerk.OrganizationDomain]("w", nil)),
			bridge.On(clerk.RoleCreated, bridge.TriggerFor[clerk.Role]("w", []actions.Recipient{nil})),
			bridge.On(clerk.RoleUpdated, bridge.TriggerFor[clerk.Role]("w", []actions.Recipient{actions.UserID("u"), actions.UserID("")})),
			bridge.On(clerk.RoleDeleted, bridge.CancelWorkflow[clerk.DeletedObject]("w", nil)),
			bridge.On(clerk.SessionRemoved, bridge.CancelWorkflow("", func(*clerk.Event[clerk.Session]) string { return "k" })),
			bridge.On(clerk.WaitlistEntryCreated, bridge.AddToAudience("")),
			bridge.On(clerk.PermissionUpdated, bridge.Chain[clerk.Permission]()),
			bridge.On(clerk.PermissionCreated, bridge.TriggerFor("w", nil, func(*clerk.Event[clerk.Permission], *actions.TriggerWorkflow) {})),
		},
	})
	require.Error(t, err)
	for _, want := range []string{
		"SigningSecrets[0] is only the prefix", "MaxBodyBytes", "Timeout", "Knock is nil",
		`Mappings[1]: On("user.created"): mapped before`,
		`Mappings[2]: On("user.updated"): the function is nil`,
		`Mappings[3]: On("user.updated"): the function is nil`,
		"Mappings[4]: On: the event type is empty",
		"Mappings[5] is nil",
		"Mappings[6]: OnUnmapped: the function is nil",
		"Mappings[7]: Disable: no event type given",
		`Mappings[8]: Disable("user.deleted"): disabled before`,
		`Mappings[9]: Disable("user.created"): also mapped by On`,
		"Mappings[10]: Disable: the event type is empty",
		`Mappings[12]: On("organization.created"): also disabled`,
		`Mappings[13]: On("session.created"): the function is nil`,
		`Mappings[14]: On("session.ended"): the function is nil`,
		`Mappings[15]: On("organizationDomain.created"): the function is nil`,
		`Mappings[16]: On("organizationDomain.updated"): the function is nil`,
		`Mappings[17]: On("role.created"): the function is nil`,
		`Mappings[18]: On("role.updated"): the function is nil`,
		`Mappings[19]: On("role.deleted"): the function is nil`,
		`Mappings[20]: On("session.removed"): the function is nil`,
		`Mappings[21]: On("waitlistEntry.created"): the function is nil`,
		`Mappings[22]: On("permission.updated"): the function is nil`,
	} {
		require.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "SigningSecrets[1]")
	_, err2 := bridge.New(bridge.Config{SigningSecrets: []string{secretA}, Knock: &transport{}, Timeout: math.MaxInt64})
	require.ErrorContains(t, err2, "longer than a day", "leases are made of it")
	assert.NotContains(t, err.Error(), "Mappings[23]", "an edit may add the recipients")

	_, err = bridge.New(bridge.Config{SigningSecrets: []string{secretA}, Knock: &transport{}, Mappings: bridge.Mappings{
		bridge.OnUnmapped(note[json.RawMessage](new([]string), "", nil)),
		bridge.OnUnmapped(note[json.RawMessage](new([]string), "", nil)),
	}})
	assert.ErrorContains(t, err, "Mappings[1]: OnUnmapped: given before")
}

// TestWrongLiterals: New refuses what a string literal in place of a constant can only
// be by mistake, and warns of what may be one.
func TestWrongLiterals(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	config := func(m ...bridge.Mapping) bridge.Config {
		return bridge.Config{
			SigningSecrets: []string{secretA}, Knock: &transport{}, Mappings: m, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
	}
	_, err := bridge.New(config(
		bridge.On("user.created", bridge.SyncTenant),
		bridge.Also("user.updated", bridge.RemoveUser),
	))
	require.EqualError(t, err, `bridge: invalid config:
Mappings[0]: On("user.created"): the function is for data of type clerk.Organization, and the event carries clerk.User
Mappings[1]: Also("user.updated"): the function is for data of type clerk.DeletedObject, and the event carries clerk.User`)
	assert.Empty(t, log.String())

	type own struct{ ID string }
	_, err = bridge.New(config(
		bridge.On("user.updated", func(ctx, *clerk.Event[own], *actions.Client) error { return nil }),
		bridge.On("user.created", func(ctx, *clerk.AnyEvent, *actions.Client) error { return nil }),
		bridge.On("user.create", bridge.SyncUser),
		bridge.Also(" Organization_membership.created", bridge.SyncMembership),
		bridge.On("passkey.created", bridge.SyncUser),
		bridge.Disable(clerk.EventType[clerk.DeletedObject]("user.deletd")),
	))
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(log.String(), "level=WARN"), log.String())
	assert.Contains(t, log.String(), "event=user.create known=user.created")
	assert.Contains(t, log.String(), "known=organizationMembership.created")
	assert.Contains(t, log.String(), "event=user.deletd known=user.deleted")
}

func TestEventNames(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{
		"organization.created", "organization.deleted", "organization.updated",
		"organizationMembership.created", "organizationMembership.deleted", "organizationMembership.updated",
		"user.created", "user.deleted", "user.updated",
	}, newHandler(t, bridge.Config{}).EventNames())
	assert.Equal(t, []string{"session.created", "user.created"}, newHandler(t, bridge.Config{
		NoDefaults: true,
		Mappings: bridge.Mappings{
			bridge.On(clerk.UserCreated, bridge.SyncUser),
			bridge.Also(clerk.SessionCreated, bridge.TriggerForUser[clerk.Session]("signed-in")),
			bridge.Disable(clerk.UserDeleted),
		},
	}).EventNames())
}
