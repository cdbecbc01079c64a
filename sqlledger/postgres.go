package sqlledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clerkknock/bridge"
)

// postgres keeps the ledger in PostgreSQL. Claim and Save are functions there,
// so that each is one round trip, which those that wait at the same time share. A
// transaction first takes advisory locks on all that it reads or writes, see
// [lockList], and so is alone with it; only the clean-up takes none.
type postgres struct {
	db     *sql.DB
	names  names
	keep   retention
	claims *gatherer[*postgresClaim]
	saves  *gatherer[*postgresSave]

	claimSQL, saveSQL, goneSQL            string
	cleanFinished, cleanOpen, cleanIDs    string
	maxVersion, tableExists, schemaExists string
}

func newPostgres(db *sql.DB, n names, keep retention) *postgres {
	s := &postgres{
		db: db, names: n, keep: keep,
		claimSQL: n.sql(`select o_status, o_wait, o_attempt, o_now, o_open_since, o_forgotten, o_steps, o_entities
			from {p}claims_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`),
		saveSQL: n.sql(`select {p}saves_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`),
		goneSQL: n.sql(`select key from {p}entities where key = any ($1::text[]) and gone`),
		// Rows that somebody else has locked are left to the next clean-up. The
		// array makes sure that rows are chosen once.
		cleanFinished: n.sql(`with old as (
				delete from {p}deliveries where id = any (array(
					select id from {p}deliveries where finished_at <= greatest(now() - cast($1 as bigint) * interval '1 microsecond',
						case when cast($2 as bigint) > 0 then (select finished_at from {p}deliveries
							where finished_at is not null order by finished_at desc offset cast($2 as bigint) limit 1) end)
					order by finished_at limit cast($3 as bigint) for update skip locked))
				returning id, finished_at)
			insert into {p}ids (id, finished_at) select id, finished_at from old
				on conflict (id) do update set finished_at = excluded.finished_at`),
		cleanOpen: n.sql(`delete from {p}deliveries where id = any (array(
			select id from {p}deliveries where finished_at is null and claimed_at < now() - cast($1 as bigint) * interval '1 microsecond'
			order by claimed_at limit cast($2 as bigint) for update skip locked))`),
		cleanIDs: n.sql(`delete from {p}ids where id = any (array(
			select id from {p}ids where finished_at < now() - cast($1 as bigint) * interval '1 microsecond'
			order by finished_at limit cast($2 as bigint) for update skip locked))`),
		// to_regclass would miss a table that another session has made since this
		// one's transaction began.
		tableExists: `select current_setting('default_transaction_isolation'),
			exists (select from pg_catalog.pg_tables where schemaname = $1 and tablename = $2)`,
		maxVersion: n.sql(`select coalesce(max(version), 0) from {p}migrations`),
		// To create a schema if it does not exist takes a right that may be
		// missing although it does.
		schemaExists: `select exists (select from pg_catalog.pg_namespace where nspname = $1)`,
	}
	s.claims, s.saves = newGatherer(s.claimAll), newGatherer(s.saveAll)
	s.claims.several, s.saves.several = true, true
	return s
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *postgres) version(ctx context.Context) (int, error) { return s.versionIn(ctx, s.db) }

func (s *postgres) versionIn(ctx context.Context, db querier) (int, error) {
	var isolation string
	var exists bool
	err := db.QueryRowContext(ctx, s.tableExists, s.names.schema, s.names.prefix+"migrations").Scan(&isolation, &exists)
	if err != nil || !exists {
		return 0, err
	}
	if isolation != "read committed" {
		return 0, fmt.Errorf("default_transaction_isolation is %q; the ledger needs \"read committed\"", isolation)
	}
	// Drivers that get values as text read times in one format only.
	if err := db.QueryRowContext(ctx, "select now()").Scan(new(time.Time)); err != nil {
		return 0, fmt.Errorf("read a time, which may take the setting DateStyle=ISO: %w", err)
	}
	version := 0
	err = db.QueryRowContext(ctx, s.maxVersion).Scan(&version)
	return version, err
}

func (s *postgres) migrate(ctx context.Context) error {
	// Others that have migrated meanwhile are seen at this level only.
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // an error after Commit, and no news after another one
	// Ledgers with other prefixes may be made in the same new schema.
	if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock($1)", lockID("migrate", quoted(s.names.schema))); err != nil {
		return err
	}
	version, err := s.versionIn(ctx, tx)
	if err != nil {
		return err
	}
	var exists bool
	if err := tx.QueryRowContext(ctx, s.schemaExists, s.names.schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := tx.ExecContext(ctx, "create schema "+quoted(s.names.schema)); err != nil {
			return err
		}
	}
	for ; version < schemaVersion; version++ {
		if _, err := tx.ExecContext(ctx, s.names.migration(Postgres, version)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// statusNewer is claim_1's answer beyond those of [bridge.ClaimStatus].
const statusNewer = 3

// postgresClaim is a claim and its answer.
type postgresClaim struct {
	*bridge.Claim

	row claimRow
	err error // of this one
}

func (s *postgres) claim(ctx context.Context, c *bridge.Claim) (claimRow, error) {
	p := &postgresClaim{Claim: c}
	if err := s.claims.do(ctx, p); err != nil {
		return claimRow{}, err
	}
	return p.row, p.err
}

func (s *postgres) claimAll(ctx context.Context, all []*postgresClaim) error {
	var deliveries, types, received, leases, entities, reads, bury []string
	locks := lockList{}
	for _, c := range all {
		deliveries, types, bury = append(deliveries, c.Delivery), append(types, c.EventType), append(bury, c.Bury)
		received = append(received, timestamp(c.ReceivedAt))
		leases = append(leases, strconv.FormatInt(c.Lease.Microseconds(), 10))
		entities, reads = append(entities, textArray(c.Entities)), append(reads, textArray(c.Reads))
		locks.claim(c.Claim)
	}
	ids, exclusive := locks.arrays()
	rows, err := s.db.QueryContext(ctx, s.claimSQL, textArray(deliveries), textArray(types), textArray(received), textArray(leases),
		s.keep.finished.Microseconds(), stepsFormat, textArray(entities), textArray(reads), textArray(bury), ids, exclusive)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for _, c := range all {
		if !rows.Next() {
			return cmp.Or(rows.Err(), errAnswers)
		}
		if err := c.scan(rows); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

var errAnswers = errors.New("there are fewer answers than questions")

// timestamp is empty for none.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (c *postgresClaim) scan(rows *sql.Rows) error {
	c.row, c.err = claimRow{}, nil
	row := &c.row
	var status int
	var wait, attempt sql.NullInt64
	var openSince sql.NullTime
	var forgotten sql.NullBool
	var steps, entities sql.NullString
	if err := rows.Scan(&status, &wait, &attempt, &row.Now, &openSince, &forgotten, &steps, &entities); err != nil {
		return err
	}
	row.RetryAfter = time.Duration(wait.Int64) * time.Microsecond
	row.Attempt = int(attempt.Int64)
	row.OpenSince, row.Forgotten, row.steps = openSince.Time, forgotten.Bool, steps.String
	switch status {
	case statusNewer:
		c.err = errNewerSteps
		return nil
	case int(bridge.ClaimBusy):
		row.Now = time.Time{}
	}
	row.Status = bridge.ClaimStatus(status)
	if entities.Valid {
		var stored []storedEntity
		if err := json.Unmarshal([]byte(entities.String), &stored); err != nil {
			c.err = fmt.Errorf("read its entities: %w", err)
			return nil
		}
		for _, e := range stored {
			row.Entities = append(row.Entities, e.entity())
		}
	}
	return nil
}

// postgresSave is a save and its answer.
type postgresSave struct {
	*bridge.Progress

	steps string
	saved bool
}

func (s *postgres) save(ctx context.Context, p *bridge.Progress, steps string) (bool, error) {
	one := &postgresSave{Progress: p, steps: steps}
	err := s.saves.do(ctx, one)
	return one.saved && err == nil, err
}

func (s *postgres) saveAll(ctx context.Context, all []*postgresSave) error {
	var deliveries, attempts, outcomes, finished, openSince, steps, held, keys, states []string
	locks := lockList{}
	for _, p := range all {
		deliveries, attempts = append(deliveries, p.Delivery), append(attempts, strconv.Itoa(p.Attempt))
		outcomes, finished = append(outcomes, string(p.Outcome)), append(finished, strconv.FormatBool(p.Outcome.OK()))
		openSince, steps = append(openSince, timestamp(p.OpenSince)), append(steps, p.steps)
		held = append(held, textArray(p.Held))
		changed, to := make([]string, len(p.Entities)), make([]string, len(p.Entities))
		for i, e := range p.Entities {
			changed[i], to[i] = e.Key, string(e.State)
		}
		keys, states = append(keys, textArray(changed)), append(states, textArray(to))
		locks.save(p.Progress)
	}
	ids, exclusive := locks.arrays()
	rows, err := s.db.QueryContext(ctx, s.saveSQL, textArray(deliveries), textArray(attempts), textArray(outcomes), textArray(finished),
		textArray(openSince), stepsFormat, textArray(steps), textArray(held), textArray(keys), textArray(states), ids, exclusive)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for _, p := range all {
		if !rows.Next() {
			return cmp.Or(rows.Err(), errAnswers)
		}
		if err := rows.Scan(&p.saved); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

func (s *postgres) gone(ctx context.Context, entities []string) ([]string, error) {
	return keys(s.db.QueryContext(ctx, s.goneSQL, textArray(entities)))
}

func (s *postgres) clean(ctx context.Context) (r removed, err error) {
	err = r.add(s.db.ExecContext(ctx, s.cleanFinished, s.keep.finished.Microseconds(), s.keep.count, cleanBatch))
	if err == nil {
		err = r.add(s.db.ExecContext(ctx, s.cleanOpen, retainOpen.Microseconds(), cleanBatch))
	}
	if err == nil {
		err = r.add(s.db.ExecContext(ctx, s.cleanIDs, s.keep.ids.Microseconds(), cleanBatch))
	}
	return r, err
}

// lockList says which advisory locks a transaction takes, and whether it takes
// them exclusively: a delivery and the entities that it takes exclusively, those
// that it reads shared. A lock of the same id for something else is no harm, just
// a wait.
type lockList map[int64]bool

func lockID(kind, key string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("bridge " + kind + " " + key))
	return int64(h.Sum64()) //nolint:gosec // all 64 bits count
}

func (l lockList) claim(c *bridge.Claim) {
	l[lockID("delivery", c.Delivery)] = true
	for _, key := range c.Entities {
		l.entity(key, true)
	}
	if c.Bury != "" {
		l.entity(c.Bury, true)
	}
	// Of a burial and a claim of an entity below that reads whether it was buried,
	// one comes first: either the burial sees the other's lease, or the other sees
	// the burial. There is no row to lock for a lease that is about to be given.
	for _, key := range c.Reads {
		l.entity(key, false)
	}
}

func (l lockList) save(p *bridge.Progress) {
	l[lockID("delivery", p.Delivery)] = true
	for _, key := range p.Held {
		l.entity(key, true)
	}
}

func (l lockList) entity(key string, exclusive bool) {
	id := lockID("entity", key)
	l[id] = l[id] || exclusive
}

// arrays returns the list in ascending order, in which all transactions take
// their locks so that none waits for another in a circle.
func (l lockList) arrays() (ids, exclusive string) {
	var a, b []string
	for _, id := range slices.Sorted(maps.Keys(l)) {
		a, b = append(a, strconv.FormatInt(id, 10)), append(b, strconv.FormatBool(l[id]))
	}
	return "{" + strings.Join(a, ",") + "}", "{" + strings.Join(b, ",") + "}"
}

var arrayEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// textArray writes an array as PostgreSQL reads it: database/sql has no arrays.
func textArray(elements []string) string {
	quoted := make([]string, len(elements))
	for i, e := range elements {
		quoted[i] = `"` + arrayEscapes.Replace(e) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}
