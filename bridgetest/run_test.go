package bridgetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

func TestRun(t *testing.T) {
	t.Parallel()
	user := bridgetest.Sample(clerk.UserCreated)
	user.ID = "user_1"
	charged := 0
	long := make([]actions.Recipient, 0, 40)
	for i := range 40 {
		long = append(long, actions.UserID(fmt.Sprintf("user_%d", i)))
	}
	fn := func(ctx context.Context, e *clerk.Event[clerk.User], knock *actions.Client) error {
		seen, err := knock.GetUser(ctx, e.Data.ID)
		if err != nil || seen.ID != e.Data.ID {
			return errors.Join(err, errors.New("no user"))
		}
		run, err := knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow: "welcome", Recipients: []actions.Recipient{actions.UserID(e.Data.ID)},
			Data: map[string]any{"z": 1, "a": "<&>"},
		})
		if err != nil || run == "" {
			return errors.Join(err, errors.New("no run"))
		}
		if _, err = knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow: "keyed", Recipients: long[:1], IdempotencyKey: e.ID + ":own",
		}); err != nil {
			return err
		}
		if _, err = knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow: strings.Repeat("w", 250), Recipients: long,
		}); err != nil {
			return err
		}
		if _, err = knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow: "w", Recipients: []actions.Recipient{actions.UserID("åda")},
		}); err != nil {
			return err
		}
		if _, err = knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow: "hashed", Recipients: long[:1], IdempotencyKey: "sha256:own",
		}); err != nil {
			return err
		}
		if err := knock.DeleteUser(ctx, actions.DeleteUser{ID: "user_2"}); err != nil {
			return err
		}
		return knock.Step(ctx, "charge", func(context.Context) error { charged++; return nil })
	}

	e := bridgetest.NewEvent(clerk.UserCreated, user)
	got := bridgetest.Run(t, fn, e)
	require.NoError(t, got.Err)
	assert.Equal(t, 1, charged)
	require.Len(t, got.Actions, 8)
	assert.Equal(t, []bridgetest.Action{
		{Kind: "users_get", Name: "users.get:user_1", Method: "GET", Path: "/v1/users/user_1"},
		{
			Kind: "workflows_trigger", Name: "workflows.trigger:welcome:user_1", Method: "POST", Path: "/v1/workflows/welcome/trigger",
			Body: `{"data":{"a":"<&>","z":1},"recipients":["user_1"]}`,
		},
		{
			Kind: "workflows_trigger", Name: "workflows.trigger:keyed:user_0", Method: "POST", Path: "/v1/workflows/keyed/trigger",
			Body: `{"recipients":["user_0"]}`, IdempotencyKey: e.ID + ":own",
		},
	}, got.Actions[:3])
	assert.Empty(t, got.Actions[3].IdempotencyKey, "a derived key that is hashed for its length")
	assert.Empty(t, got.Actions[4].IdempotencyKey, "and one for its characters")
	assert.Equal(t, "sha256:own", got.Actions[5].IdempotencyKey)
	assert.Equal(t, []bridgetest.Action{
		{Kind: "users_delete", Name: "users.delete:user_2", Method: "DELETE", Path: "/v1/users/user_2"},
		{Kind: "step", Name: "step:charge"},
	}, got.Actions[6:])
	assert.Equal(t, "GET /v1/users/user_1", got.Actions[0].String())
	assert.Equal(t, `POST /v1/workflows/keyed/trigger {"recipients":["user_0"]}`, got.Actions[2].String())
	assert.Equal(t, "step:charge", got.Actions[7].String())

	want := bridgetest.Want(t, func(ctx context.Context, knock *actions.Client) error { return fn(ctx, e, knock) })
	assert.Equal(t, want, got.Actions)
	assert.Equal(t, 1, charged, "Want runs no side effects")
	assert.Equal(t, bridgetest.Run(t, fn, e).Actions, got.Actions)
}

func TestRunErr(t *testing.T) {
	t.Parallel()
	failed := errors.New("no plan")
	got := bridgetest.Run(t, func(ctx context.Context, e *clerk.Event[clerk.DeletedObject], knock *actions.Client) error {
		return errors.Join(knock.DeleteUser(ctx, actions.DeleteUser{ID: e.Data.ID}), bridge.Permanent(failed))
	}, bridgetest.NewEvent(clerk.UserDeleted, bridgetest.Sample(clerk.UserDeleted)))
	require.ErrorIs(t, got.Err, failed)
	assert.Equal(t, bridge.OutcomePermanent, bridge.OutcomeOf(got.Err))
	assert.Len(t, got.Actions, 1, "what was done before the error counts")

	quiet := bridgetest.Run(t, func(context.Context, *clerk.Event[clerk.User], *actions.Client) error { return nil },
		bridgetest.NewEvent(clerk.UserCreated, clerk.User{}))
	assert.Empty(t, quiet.Actions)
	nothing := bridgetest.Want(t, func(context.Context, *actions.Client) error { return nil })
	assert.Equal(t, nothing, quiet.Actions)
}

// TestRunLikeTheHandler runs the defaults in Run and in a dry run of a handler.
func TestRunLikeTheHandler(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, &actions.HTTP{APIKey: "sk_test_1"})
	e := bridgetest.NewEvent(clerk.OrganizationMembershipCreated, bridgetest.Sample(clerk.OrganizationMembershipCreated))
	got := bridgetest.Run(t, bridge.SyncMembership, e)
	require.NoError(t, got.Err)
	res, err := h.DryRun(t.Context(), bridge.Delivery{ID: e.ID, Body: e.Raw})
	require.NoError(t, err)
	require.Len(t, res.Steps, 1)
	s := res.Steps[0]
	require.Len(t, got.Actions, 1)
	a := got.Actions[0]
	assert.Equal(t, bridgetest.Action{Kind: s.Kind, Name: s.Name, Method: s.Request.Method, Path: s.Request.Path, Body: a.Body}, a)
	assert.JSONEq(t, string(s.Request.Body), a.Body)
}

func TestRunMisuse(t *testing.T) {
	t.Parallel()
	e := bridgetest.NewEvent(clerk.UserCreated, clerk.User{})
	assert.Equal(t, "bridgetest: Run: the function is nil",
		failure(func(t *fakeT) { bridgetest.Run(t, nil, e) }))
	assert.Equal(t, "bridgetest: Run: the event is nil; make one with NewEvent",
		failure(func(t *fakeT) { bridgetest.Run(t, bridge.SyncUser, nil) }))
	assert.Equal(t, "bridgetest: Want: the function is nil",
		failure(func(t *fakeT) { bridgetest.Want(t, nil) }))
	assert.Equal(t, "bridgetest: Want: users.identify: id is empty",
		failure(func(t *fakeT) {
			bridgetest.Want(t, func(ctx context.Context, knock *actions.Client) error {
				return knock.IdentifyUser(ctx, actions.IdentifyUser{})
			})
		}))
}
