package sqlledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/clerkknock/bridge"
)

// sqlite keeps the ledger in SQLite. Each Claim and Save is a transaction that
// locks the database from its beginning, so there is one at a time.
type sqlite struct {
	db    *sql.DB
	names names
	keep  retention

	// writer is held by the writer of this process: the others wait in line and
	// do not poll for the lock.
	writer chan struct{}

	lookUp, bury, entities, below, claimDelivery, claimEntities string
	rememberID, saveDelivery, saveEntity, release, goneSQL      string
	copyFinished, cleanFinished, cleanOpen, cleanIDs            string
}

func newSQLite(db *sql.DB, n names, keep retention) *sqlite {
	const finished = ` finished_at <= max(?1, coalesce(case when ?2 > 0 then
		(select finished_at from {p}deliveries where finished_at is not null order by finished_at desc limit 1 offset ?2) end, 0))
		order by finished_at, rowid limit ?3`
	return &sqlite{
		db: db, names: n, keep: keep, writer: make(chan struct{}, 1),
		lookUp: n.sql(`select attempt, claimed_at, lease_until, open_since, finished_at, format, steps,
			exists (select 1 from {p}ids where id = ?1) from (select 1) left join {p}deliveries on id = ?1`),
		bury: n.sql(`insert into {p}entities (key, gone) values (?, 1) on conflict (key) do update set gone = 1`),
		entities: n.sql(`select k.value, coalesce(e.gone, 0), e.state, l.claimed_at, l.lease_until from json_each(?) k
			left join {p}entities e on e.key = k.value left join {p}leases l on l.entity = k.value`),
		// The character after the slash is the zero: this is all that begins with it.
		below: n.sql(`select claimed_at, lease_until from {p}leases where entity >= ?1 || '/' and entity < ?1 || '0'`),
		claimDelivery: n.sql(`insert into {p}deliveries (id, event_type, entity, attempt, outcome, received_at,
				first_at, claimed_at, lease_until, open_since, finished_at, format, steps)
			values (?, ?, ?, ?, '', ?, ?, ?, ?, ?, null, ?, ?)
			on conflict (id) do update set attempt = excluded.attempt, outcome = excluded.outcome, claimed_at = excluded.claimed_at,
				lease_until = excluded.lease_until, open_since = excluded.open_since, finished_at = excluded.finished_at, steps = excluded.steps`),
		claimEntities: n.sql(`insert or replace into {p}leases (entity, delivery, attempt, claimed_at, lease_until)
			select value, ?2, ?3, ?4, ?5 from json_each(?1)`),
		rememberID: n.sql(`insert or replace into {p}ids (id, finished_at) values (?, ?)`),
		saveDelivery: n.sql(`update {p}deliveries
			set outcome = ?3, format = ?4, steps = ?5, open_since = ?9, finished_at = ?6,
				lease_until = case when ?3 = '' then lease_until end
			where id = ?1 and attempt = ?2 and lease_until is not null
				and ?8 = (select count(*) from {p}leases
					where entity in (select value from json_each(?7)) and delivery = ?1 and attempt = ?2)`),
		saveEntity: n.sql(`insert into {p}entities (key, state) values (?, ?)
			on conflict (key) do update set state = excluded.state`),
		release: n.sql(`delete from {p}leases where entity in (select value from json_each(?))`),
		goneSQL: n.sql(`select exists (select 1 from {p}entities where key = ? and gone)`),

		copyFinished:  n.sql(`insert or replace into {p}ids (id, finished_at) select id, finished_at from {p}deliveries where` + finished),
		cleanFinished: n.sql(`delete from {p}deliveries where rowid in (select rowid from {p}deliveries where` + finished + `)`),
		cleanOpen: n.sql(`delete from {p}deliveries where rowid in (
			select rowid from {p}deliveries where finished_at is null and claimed_at < ? order by claimed_at limit ?)`),
		cleanIDs: n.sql(`delete from {p}ids where id in (select id from {p}ids where finished_at < ? order by finished_at limit ?)`),
	}
}

const (
	// busyPatience is how long to wait for a lock when the context does not end.
	busyPatience           = 5 * time.Second
	firstBusy, longestBusy = time.Millisecond, 20 * time.Millisecond
)

// patiently repeats what fails because somebody else has locked the database.
func patiently(ctx context.Context, do func() error) error {
	end := time.Now().Add(busyPatience)
	var locked error
	for wait := firstBusy; ; wait = min(2*wait, longestBusy) {
		err := do()
		switch {
		case err == nil:
			return nil
		case !isBusy(err) && locked != nil: // the context has ended in this attempt
			return fmt.Errorf("%w: %w", err, locked)
		case !isBusy(err) || time.Now().After(end):
			return err
		}
		locked = err
		timer := time.NewTimer(wait/2 + rand.N(wait)) //nolint:gosec // a wait need not be unpredictable
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", ctx.Err(), locked)
		}
	}
}

// isBusy goes by the text, as the errors are the drivers'. All have SQLite's.
func isBusy(err error) bool {
	return strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "database table is locked") ||
		strings.Contains(err.Error(), "database schema is locked")
}

// write runs do in a transaction, on a connection of its own: not all drivers
// let BeginTx lock the database.
func (s *sqlite) write(ctx context.Context, do func(*sql.Conn) error) error {
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the other writers: %w", ctx.Err())
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	run := func(statement string) error {
		return patiently(ctx, func() error {
			_, err := conn.ExecContext(ctx, statement)
			return err
		})
	}
	if err = run("begin immediate"); err == nil {
		if err = do(conn); err == nil {
			if err = run("commit"); err == nil {
				return nil
			}
		}
	}
	// There may be no transaction: some errors end it, and it may or may not have
	// been begun in the moment that ctx ended.
	_, undone := conn.ExecContext(context.WithoutCancel(ctx), "rollback")
	if undone != nil && !strings.Contains(undone.Error(), "no transaction is active") {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // nobody is to use it
	}
	return err
}

func (s *sqlite) version(ctx context.Context) (version int, err error) {
	err = patiently(ctx, func() error {
		version, err = s.versionIn(ctx, s.db)
		return err
	})
	return version, err
}

func (s *sqlite) versionIn(ctx context.Context, db querier) (int, error) {
	exists, version := false, 0
	err := db.QueryRowContext(ctx, `select exists (select 1 from sqlite_master where type = 'table' and name = ?)`,
		s.names.table("migrations")).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	err = db.QueryRowContext(ctx, s.names.sql(`select coalesce(max(version), 0) from {p}migrations`)).Scan(&version)
	return version, err
}

func (s *sqlite) migrate(ctx context.Context) error {
	return s.write(ctx, func(conn *sql.Conn) error {
		version, err := s.versionIn(ctx, conn)
		for ; err == nil && version < schemaVersion; version++ {
			_, err = conn.ExecContext(ctx, s.names.migration(SQLite, version))
		}
		return err
	})
}

// sqliteDelivery is the row of a delivery, or of none.
type sqliteDelivery struct {
	attempt, claimedAt, leaseUntil, openSince, finishedAt, format sql.NullInt64
	steps                                                         sql.NullString
	known                                                         bool // its id is
}

// leaseEnds collects when the leases in the way end, in milliseconds.
type leaseEnds struct {
	now, first int64
}

func (l *leaseEnds) add(claimedAt, until sql.NullInt64) {
	if until.Int64 > l.now && claimedAt.Int64 <= l.now+clockTolerance.Milliseconds() && (l.first == 0 || until.Int64 < l.first) {
		l.first = until.Int64
	}
}

func (s *sqlite) claim(ctx context.Context, c *bridge.Claim) (row claimRow, err error) {
	err = s.write(ctx, func(conn *sql.Conn) error {
		row, err = s.claimIn(ctx, conn, c)
		return err
	})
	return row, err
}

func (s *sqlite) claimIn(ctx context.Context, conn *sql.Conn, c *bridge.Claim) (claimRow, error) {
	var row claimRow
	var d sqliteDelivery
	err := conn.QueryRowContext(ctx, s.lookUp, c.Delivery).Scan(
		&d.attempt, &d.claimedAt, &d.leaseUntil, &d.openSince, &d.finishedAt, &d.format, &d.steps, &d.known)
	if err != nil {
		return row, err
	}
	now := time.Now().Truncate(time.Millisecond)
	if d.finishedAt.Valid && d.finishedAt.Int64 > now.Add(-s.keep.finished).UnixMilli() {
		row.Status, row.Attempt, row.Now = bridge.ClaimFinished, int(d.attempt.Int64), now
		return row, nil
	}
	if d.format.Int64 > stepsFormat {
		return row, errNewerSteps
	}
	ends := leaseEnds{now: now.UnixMilli()}
	ends.add(d.claimedAt, d.leaseUntil)
	if c.Bury != "" {
		if _, err := conn.ExecContext(ctx, s.bury, c.Bury); err != nil {
			return row, err
		}
		if err := s.addBelow(ctx, conn, c.Bury, &ends); err != nil {
			return row, err
		}
	}
	entities, err := s.readEntities(ctx, conn, c, &ends)
	if err != nil {
		return row, err
	}
	if ends.first != 0 {
		row.RetryAfter = time.Duration(ends.first-ends.now) * time.Millisecond
		return row, nil
	}
	row.Entities = entities
	err = s.take(ctx, conn, c, now, d, &row)
	return row, err
}

// addBelow looks for leases of entities below the one that is buried.
func (s *sqlite) addBelow(ctx context.Context, conn *sql.Conn, key string, ends *leaseEnds) error {
	rows, err := conn.QueryContext(ctx, s.below, key)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var claimedAt, until sql.NullInt64
		if err := rows.Scan(&claimedAt, &until); err != nil {
			return err
		}
		ends.add(claimedAt, until)
	}
	return rows.Err()
}

// readEntities returns the entities of a claim and looks for leases of those
// that it is to take.
func (s *sqlite) readEntities(ctx context.Context, conn *sql.Conn, c *bridge.Claim, ends *leaseEnds) ([]bridge.Entity, error) {
	taken := make(map[string]bool, len(c.Entities))
	for _, key := range c.Entities {
		taken[key] = true
	}
	keys := slices.Concat(c.Entities, c.Reads)
	if len(keys) == 0 {
		return nil, nil
	}
	rows, err := conn.QueryContext(ctx, s.entities, jsonArray(keys))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	entities := make([]bridge.Entity, 0, len(keys))
	for rows.Next() {
		var e storedEntity
		var claimedAt, until sql.NullInt64
		if err := rows.Scan(&e.Key, &e.Gone, &e.State, &claimedAt, &until); err != nil {
			return nil, err
		}
		if taken[e.Key] {
			e.Crashed = until.Valid
			ends.add(claimedAt, until)
		}
		entities = append(entities, e.entity())
	}
	return entities, rows.Err()
}

// take grants a claim.
func (s *sqlite) take(ctx context.Context, conn *sql.Conn, c *bridge.Claim, now time.Time, d sqliteDelivery, row *claimRow) error {
	if d.finishedAt.Valid { // what a clean-up would have done
		if _, err := conn.ExecContext(ctx, s.rememberID, c.Delivery, d.finishedAt.Int64); err != nil {
			return err
		}
		d.known, d.steps.String = true, ""
	}
	row.Status, row.Now, row.Forgotten, row.steps = bridge.ClaimGranted, now, d.known, d.steps.String
	row.Attempt = int(d.attempt.Int64) + 1
	at, until := now.UnixMilli(), now.Add(c.Lease).UnixMilli()
	open := at
	if d.openSince.Valid {
		open = d.openSince.Int64
		row.OpenSince = time.UnixMilli(open)
	}
	format, entity := int64(stepsFormat), ""
	if d.format.Valid {
		format = d.format.Int64
	}
	if len(c.Entities) > 0 {
		entity = c.Entities[0]
	}
	var received any
	if !c.ReceivedAt.IsZero() {
		received = c.ReceivedAt.UnixMilli()
	}
	_, err := conn.ExecContext(ctx, s.claimDelivery,
		c.Delivery, c.EventType, entity, row.Attempt, received, at, at, until, open, format, row.steps)
	if err != nil || len(c.Entities) == 0 {
		return err
	}
	_, err = conn.ExecContext(ctx, s.claimEntities, jsonArray(c.Entities), c.Delivery, row.Attempt, at, until)
	return err
}

func (s *sqlite) save(ctx context.Context, p *bridge.Progress, steps string) (saved bool, err error) {
	err = s.write(ctx, func(conn *sql.Conn) error {
		saved, err = s.saveIn(ctx, conn, p, steps)
		return err
	})
	return saved, err
}

func (s *sqlite) saveIn(ctx context.Context, conn *sql.Conn, p *bridge.Progress, steps string) (bool, error) {
	var finished any
	if p.Outcome.OK() {
		finished = time.Now().UnixMilli()
	}
	var openSince any
	if !p.OpenSince.IsZero() {
		openSince = p.OpenSince.UnixMilli()
	}
	held := jsonArray(p.Held)
	result, err := conn.ExecContext(ctx, s.saveDelivery,
		p.Delivery, p.Attempt, string(p.Outcome), stepsFormat, steps, finished, held, len(p.Held), openSince)
	if err != nil {
		return false, err
	}
	if rows, err := result.RowsAffected(); err != nil || rows == 0 {
		return false, err
	}
	for _, e := range p.Entities {
		if _, err := conn.ExecContext(ctx, s.saveEntity, e.Key, string(e.State)); err != nil {
			return false, err
		}
	}
	if p.Outcome != "" && len(p.Held) > 0 {
		_, err = conn.ExecContext(ctx, s.release, held)
	}
	return true, err
}

func (s *sqlite) gone(ctx context.Context, entity string) (gone bool, err error) {
	err = patiently(ctx, func() error { return s.db.QueryRowContext(ctx, s.goneSQL, entity).Scan(&gone) })
	return gone, err
}

func (s *sqlite) clean(ctx context.Context) (n int, more bool, err error) {
	now := time.Now()
	finished := []any{now.Add(-s.keep.finished).UnixMilli(), max(s.keep.count, 0), cleanBatch}
	err = s.write(ctx, func(conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, s.copyFinished, finished...); err != nil {
			return err
		}
		for _, statement := range []struct {
			sql  string
			args []any
		}{
			{s.cleanFinished, finished},
			{s.cleanOpen, []any{now.Add(-retainOpen).UnixMilli(), cleanBatch}},
			{s.cleanIDs, []any{now.Add(-s.keep.ids).UnixMilli(), cleanBatch}},
		} {
			result, err := conn.ExecContext(ctx, statement.sql, statement.args...)
			if err != nil {
				return err
			}
			rows, err := result.RowsAffected()
			if err != nil {
				return err
			}
			n += int(rows)
			more = more || rows >= cleanBatch
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return n, more, nil
}

// jsonArray is how several keys are passed at once. There must be some or a
// slice of none, as null is an element.
func jsonArray(keys []string) string {
	b, err := json.Marshal(keys)
	if err != nil {
		panic(err) // strings always can be
	}
	return string(b)
}
