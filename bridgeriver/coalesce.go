package bridgeriver

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

const (
	// behind is how late a job has to be for a look at what else waits: a queue
	// that keeps up is left alone.
	behind = 500 * time.Millisecond

	// yieldFor puts a job behind all that wait now, and leaves time for the newest.
	yieldFor = time.Second

	// After patience looks in a row that found nothing, as in an import of users that
	// are all new, one in oneOf is made: a look is a quarter of the work on a delivery.
	patience = 32
	oneOf    = 16

	// yielded is in the metadata of a job that has stood back.
	yielded = "clerk_yielded"

	entityIndex = "bridgeriver_entity"
)

// EntityIndex is the statement that creates the index in which a worker looks
// for newer states of an entity; a worker checks once whether it exists.
// [Migrate] runs the statement. Jobs can't be stored meanwhile, which matters
// when River's table is already large.
const EntityIndex = "create index if not exists " + entityIndex + " on river_job ((args->>'entity'))" +
	" where kind = '" + kind + "' and finalized_at is null"

// coalescer has a job stand back for newer ones of the same entity.
type coalescer struct {
	fruitless, passed atomic.Int64

	indexed atomic.Pointer[bool] // whether there is the index; nil until known
}

// yields reports whether a job is to stand back because a newer state of the same
// entity is waiting. When it comes again, the bridge finds its own state out of date
// and does not write it. A job stands back once, so that it gets its turn
// however many newer ones keep coming.
func (c *coalescer) yields(ctx context.Context, job *river.Job[Args]) bool {
	late := job.AttemptedAt != nil && job.AttemptedAt.Sub(job.ScheduledAt) >= behind
	if !late || job.Args.Version == 0 || bytes.Contains(job.Metadata, []byte(`"`+yielded+`"`)) {
		return false
	}
	if !c.looks() {
		return false
	}
	client, err := river.ClientFromContextSafely[pgx.Tx](ctx)
	if err != nil || !c.hasIndex(ctx, client, job.ID) {
		return false
	}
	// Conditions are written so that no other index fits: the planner's numbers are
	// out of date in a table that changes as fast as this. Versions are compared as
	// JSON, which can't fail whatever other jobs have there.
	newer, err := client.JobList(ctx, river.NewJobListParams().First(1).States().
		OrderBy(river.JobListOrderByScheduledAt, river.SortOrderAsc).
		Where("kind = '"+kind+"' and finalized_at is null and args->>'entity' = @entity", river.NamedArgs{"entity": job.Args.Entity}).
		Where("state::text = 'available' and scheduled_at <= now() and args->'version' > to_jsonb(@version::bigint)",
			river.NamedArgs{"version": job.Args.Version}))
	if err != nil || len(newer.Jobs) == 0 {
		c.fruitless.Add(1)
		return false // a look that fails is not worth an attempt
	}
	c.fruitless.Store(0)
	return river.MetadataSet(ctx, yielded, true) == nil
}

// looks reports whether it is worth a look.
func (c *coalescer) looks() bool {
	return c.fruitless.Load() < patience || c.passed.Add(1)%oneOf == 0
}

// hasIndex reports whether the look-up has its index, without which it would read
// the whole table. It is asked for in a query for a job that is there.
func (c *coalescer) hasIndex(ctx context.Context, client *river.Client[pgx.Tx], id int64) bool {
	if known := c.indexed.Load(); known != nil {
		return *known
	}
	name := entityIndex
	if schema := client.Schema(); schema != "" {
		name = pgx.Identifier{schema, entityIndex}.Sanitize()
	}
	found, err := client.JobList(ctx, river.NewJobListParams().IDs(id).
		Where("to_regclass(@index) is not null", river.NamedArgs{"index": name}))
	if err != nil {
		return false
	}
	has := len(found.Jobs) > 0
	c.indexed.Store(&has)
	return has
}
