package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clerkknock/bridge"
)

// sqlite keeps the ledger in SQLite. Each Claim and Save locks the database, so
// there is one at a time; those that wait share a transaction, see [group].
type sqlite struct {
	db    *sql.DB
	names names
	keep  retention
	group *group

	lookUp, bury, entities, below, claimDelivery, claimEntities         string
	rememberID, saveDelivery, saveEntity, release, goneSQL              string
	copyFinished, cleanFinished, cleanOpen, cleanIDs, cleanDead, mended string
}

func newSQLite(db *sql.DB, n names, keep retention) *sqlite {
	const finished = ` finished_at <= max(?1, coalesce(case when ?2 > 0 then
		(select finished_at from {p}deliveries where finished_at is not null order by finished_at desc limit 1 offset ?2) end, 0))
		order by finished_at, rowid limit ?3`
	return &sqlite{
		db: db, names: n, keep: keep, group: newGroup(db),
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
		goneSQL: n.sql(`select key from {p}entities where key in (select value from json_each(?)) and gone`),

		copyFinished:  n.sql(`insert or replace into {p}ids (id, finished_at) select id, finished_at from {p}deliveries where` + finished),
		cleanFinished: n.sql(`delete from {p}deliveries where rowid in (select rowid from {p}deliveries where` + finished + `)`),
		cleanOpen: n.sql(`delete from {p}deliveries where rowid in (
			select rowid from {p}deliveries where finished_at is null and claimed_at < ? order by claimed_at limit ?)`),
		cleanDead: n.sql(`delete from {p}inbox where seq in (select seq from {p}inbox where dead_at < ? limit ?)`),
		// What the inbox has given up is done now, by a replay.
		mended:   n.sql(`delete from {p}inbox where id = ? and dead_at is not null`),
		cleanIDs: n.sql(`delete from {p}ids where id in (select id from {p}ids where finished_at < ? order by finished_at limit ?)`),
	}
}

func (s *sqlite) version(ctx context.Context) (version int, err error) {
	err = patiently(ctx, func() error {
		version, err = s.versionIn(ctx, s.db)
		return err
	})
	return version, err
}

// oneForAll refuses a database in memory that each connection has for itself: what
// one of them stores, the others would not find.
func (s *sqlite) oneForAll(ctx context.Context) error {
	failed := func(err error) error { return fmt.Errorf("sqlledger: compare two connections: %w", err) }
	var file sql.NullString
	err := s.db.QueryRowContext(ctx, `select file from pragma_database_list where name = 'main'`).Scan(&file)
	if err != nil {
		return failed(err)
	}
	if file.String != "" || s.db.Stats().MaxOpenConnections == 1 {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, groupTime)
	defer cancel()
	for i := range 2 {
		conn, err := s.db.Conn(soon)
		if i > 0 && err != nil && ctx.Err() == nil {
			return nil // others have them all, and the first one has the tables
		}
		if err != nil {
			return failed(err)
		}
		defer func() { _ = conn.Close() }() // only after both, or they were one
		switch version, err := s.versionIn(ctx, conn); {
		case err != nil:
			return failed(err)
		case version == 0:
			return errors.New("sqlledger: the database is in memory, and each connection has another: name a file, or call SetMaxOpenConns(1)")
		}
	}
	return nil
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
	return s.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		version, err := s.versionIn(ctx, tx.conn)
		for ; err == nil && version < schemaVersion; version++ {
			_, err = tx.conn.ExecContext(ctx, s.names.migration(SQLite, version)) // several statements
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
	err = s.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		row, err = s.claimIn(ctx, tx, c)
		return err
	})
	return row, err
}

func (s *sqlite) claimIn(ctx context.Context, tx *transaction, c *bridge.Claim) (claimRow, error) {
	var row claimRow
	var d sqliteDelivery
	err := tx.queryRow(ctx, s.lookUp, []any{c.Delivery},
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
		if _, err := tx.exec(ctx, s.bury, c.Bury); err != nil {
			return row, err
		}
		if err := s.addBelow(ctx, tx, c.Bury, &ends); err != nil {
			return row, err
		}
	}
	entities, err := s.readEntities(ctx, tx, c, &ends)
	if err != nil {
		return row, err
	}
	if ends.first != 0 {
		row.RetryAfter = time.Duration(ends.first-ends.now) * time.Millisecond
		return row, nil
	}
	row.Entities = entities
	err = s.take(ctx, tx, c, now, d, &row)
	return row, err
}

// addBelow looks for leases of entities below the one that is buried.
func (s *sqlite) addBelow(ctx context.Context, tx *transaction, key string, ends *leaseEnds) error {
	rows, err := tx.query(ctx, s.below, key)
	return each(rows, err, func(rows *sql.Rows) error {
		var claimedAt, until sql.NullInt64
		err := rows.Scan(&claimedAt, &until)
		ends.add(claimedAt, until)
		return err
	})
}

// readEntities returns the entities of a claim and looks for leases of those
// that it is to take.
func (s *sqlite) readEntities(ctx context.Context, tx *transaction, c *bridge.Claim, ends *leaseEnds) ([]bridge.Entity, error) {
	taken := make(map[string]bool, len(c.Entities))
	for _, key := range c.Entities {
		taken[key] = true
	}
	keys := slices.Concat(c.Entities, c.Reads)
	if len(keys) == 0 {
		return nil, nil
	}
	entities := make([]bridge.Entity, 0, len(keys))
	rows, err := tx.query(ctx, s.entities, jsonArray(keys))
	err = each(rows, err, func(rows *sql.Rows) error {
		var e storedEntity
		var claimedAt, until sql.NullInt64
		if err := rows.Scan(&e.Key, &e.Gone, &e.State, &claimedAt, &until); err != nil {
			return err
		}
		if taken[e.Key] {
			e.Crashed = until.Valid
			ends.add(claimedAt, until)
		}
		entities = append(entities, e.entity())
		return nil
	})
	return entities, err
}

// take grants a claim.
func (s *sqlite) take(ctx context.Context, tx *transaction, c *bridge.Claim, now time.Time, d sqliteDelivery, row *claimRow) error {
	if d.finishedAt.Valid { // what a clean-up would have done
		if _, err := tx.exec(ctx, s.rememberID, c.Delivery, d.finishedAt.Int64); err != nil {
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
	_, err := tx.exec(ctx, s.claimDelivery,
		c.Delivery, c.EventType, entity, row.Attempt, millis(c.ReceivedAt), at, at, until, open, format, row.steps)
	if err != nil || len(c.Entities) == 0 {
		return err
	}
	_, err = tx.exec(ctx, s.claimEntities, jsonArray(c.Entities), c.Delivery, row.Attempt, at, until)
	return err
}

func (s *sqlite) save(ctx context.Context, p *bridge.Progress, steps string) (saved bool, err error) {
	err = s.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		saved, err = s.saveIn(ctx, tx, p, steps)
		return err
	})
	return saved, err
}

func (s *sqlite) saveIn(ctx context.Context, tx *transaction, p *bridge.Progress, steps string) (bool, error) {
	finished := sql.NullInt64{Int64: time.Now().UnixMilli(), Valid: p.Outcome.OK()}
	held := jsonArray(p.Held)
	result, err := tx.exec(ctx, s.saveDelivery,
		p.Delivery, p.Attempt, string(p.Outcome), stepsFormat, steps, finished, held, len(p.Held), millis(p.OpenSince))
	if err != nil {
		return false, err
	}
	if rows, err := result.RowsAffected(); err != nil || rows == 0 {
		return false, err
	}
	for _, e := range p.Entities {
		if _, err := tx.exec(ctx, s.saveEntity, e.Key, string(e.State)); err != nil {
			return false, err
		}
	}
	if p.Outcome != "" && len(p.Held) > 0 {
		if _, err := tx.exec(ctx, s.release, held); err != nil {
			return false, err
		}
	}
	if finished.Valid {
		_, err = tx.exec(ctx, s.mended, p.Delivery)
	}
	return true, err
}

func (s *sqlite) gone(ctx context.Context, entities []string) (gone []string, err error) {
	err = patiently(ctx, func() error {
		gone, err = keys(s.db.QueryContext(ctx, s.goneSQL, jsonArray(entities)))
		return err
	})
	return gone, err
}

func (s *sqlite) clean(ctx context.Context) (r removed, err error) {
	now := time.Now()
	finished := []any{now.Add(-s.keep.finished).UnixMilli(), s.keep.count, cleanBatch}
	before := now.Add(-retainOpen).UnixMilli()
	err = s.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		r = removed{}
		_, err := tx.exec(ctx, s.copyFinished, finished...)
		if err == nil {
			err = r.add(tx.exec(ctx, s.cleanFinished, finished...))
		}
		if err == nil {
			err = r.add(tx.exec(ctx, s.cleanOpen, before, cleanBatch))
		}
		if err == nil {
			err = r.add(tx.exec(ctx, s.cleanDead, before, cleanBatch))
		}
		if err == nil {
			err = r.add(tx.exec(ctx, s.cleanIDs, now.Add(-s.keep.ids).UnixMilli(), cleanBatch))
		}
		return err
	})
	if err != nil { // it was undone
		return removed{}, err
	}
	return r, nil
}

// millis is how a time is stored: null for none.
func millis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
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
