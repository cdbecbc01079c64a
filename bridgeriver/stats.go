package bridgeriver

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/clerkknock/bridge"
)

// Stats counts the jobs for deliveries, of all processes, in the first schema of the
// search path. It is meant for metrics, and reads the rows of all that wait: call it
// every few seconds, not for each request.
func Stats(ctx context.Context, pool *pgxpool.Pool) (bridge.QueueStats, error) {
	var s bridge.QueueStats
	var seconds float64
	err := pool.QueryRow(ctx, `select count(*), coalesce(extract(epoch from now() - min(created_at)), 0)::float8,
			(select count(*) from river_job where kind = $1 and state in ('cancelled', 'discarded'))
		from river_job where kind = $1 and finalized_at is null`, kind).Scan(&s.Waiting, &seconds, &s.Dead)
	if err != nil {
		return bridge.QueueStats{}, fmt.Errorf("bridgeriver: count jobs: %w", err)
	}
	s.Oldest = time.Duration(max(seconds, 0) * float64(time.Second))
	return s, nil
}
