package bridgeriver

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// QueueStats are the figures of the queue.
type QueueStats struct {
	// Waiting is the number of deliveries that are not done, those under way
	// included.
	Waiting int

	// Oldest is how long the first of these has been there. Zero when there is none.
	Oldest time.Duration

	// Dead is the number of those that were given up and that River still keeps.
	Dead int
}

// Stats counts the jobs for deliveries, of all processes, in the first schema of the
// search path. It is meant for metrics, and reads the rows of all that wait: ask
// every some seconds, not for each request.
func Stats(ctx context.Context, pool *pgxpool.Pool) (QueueStats, error) {
	var s QueueStats
	var seconds float64
	err := pool.QueryRow(ctx, `select count(*), coalesce(extract(epoch from now() - min(created_at)), 0)::float8,
			(select count(*) from river_job where kind = $1 and state in ('cancelled', 'discarded'))
		from river_job where kind = $1 and finalized_at is null`, kind).Scan(&s.Waiting, &seconds, &s.Dead)
	if err != nil {
		return QueueStats{}, fmt.Errorf("bridgeriver: count jobs: %w", err)
	}
	s.Oldest = time.Duration(max(seconds, 0) * float64(time.Second))
	return s, nil
}
