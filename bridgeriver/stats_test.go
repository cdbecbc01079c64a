package bridgeriver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

func TestStats(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), func(cfg *bridge.Config, _ *river.Config) {
		cfg.Mappings = bridge.Mappings{
			bridge.On(clerk.RoleCreated, func(context.Context, *clerk.Event[clerk.Role], *actions.Client) error {
				return bridge.Permanent(errors.New("for good"))
			}),
		}
	})
	stats := func() bridge.QueueStats {
		s, err := bridgeriver.Stats(t.Context(), p.pool)
		require.NoError(t, err)
		return s
	}
	assert.Zero(t, stats())
	p.enqueue(t, bridgetest.NewDelivery(t, "user.created", nil))
	p.enqueue(t, bridgetest.NewDelivery(t, "role.created", nil))
	_, err := p.pool.Exec(t.Context(), "update river_job set created_at = now() - interval '1 hour'")
	require.NoError(t, err)
	s := stats()
	assert.Equal(t, 2, s.Waiting)
	assert.InDelta(t, time.Hour, s.Oldest, float64(time.Minute))

	p.start(t)
	p.wait(t, 1, rivertype.JobStateCompleted)
	p.wait(t, 1, rivertype.JobStateCancelled)
	assert.Equal(t, bridge.QueueStats{Dead: 1}, stats())
	_, err = p.pool.Exec(t.Context(), "drop table river_job cascade")
	require.NoError(t, err)
	_, err = bridgeriver.Stats(t.Context(), p.pool)
	require.ErrorContains(t, err, "bridgeriver: count jobs: ")
}
