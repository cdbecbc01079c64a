package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/internal/inboxstore"
)

// Inbox returns the tables of package inbox, for that package. It returns an error
// on PostgreSQL, where the module bridgeriver keeps a queue.
func (l *Ledger) Inbox() (inboxstore.Store, error) {
	s, ok := l.store.(*sqlite)
	if !ok {
		return nil, errors.New("sqlledger: the inbox is for SQLite; use the module bridgeriver on PostgreSQL")
	}
	return newInbox(s), nil
}

// inbox shares the transactions of the ledger.
type inbox struct {
	*sqlite

	add, addBody, leftovers, release, crashed, renew, setBack, candidates, suspect, list, single, take, next string
	done, again, dead, settled, stats, letters, revive, remove                                               string
}

const (
	// maxList is how many deliveries of one entity a worker takes at once, and
	// maxListBytes the size of the bodies at which it takes no more.
	maxList      = 64
	maxListBytes = 1 << 20

	// maxTurn and maxTurnBytes bound what one turn takes in all: nobody else can write
	// to the file meanwhile, and a turn that is cut off has done nothing.
	maxTurn      = 1024
	maxTurnBytes = 16 << 20

	// maxCrashes is how often in a row the process may end in the middle of a delivery.
	// The first time, it comes again like any other. After the second it is suspect,
	// and so are those that were under way with it both times: they are taken one at a
	// time, the least suspect first, and so only the one whose fault it is goes on to
	// be counted. The indexes say 2, too.
	maxCrashes   = 5
	crashProblem = "the process ended in the middle of the attempt"

	// entityFree says that nobody is at work on the entity of an inbox's b.
	entityFree = `(entity = '' or not exists (select 1 from {p}inbox t where t.entity = b.entity and t.lease_until is not null)
		and not exists (select 1 from {p}leases l where l.entity = b.entity and l.lease_until > ?1))`
)

func newInbox(s *sqlite) *inbox {
	const rows = `select seq, id, event_type, entity, received_at, attempt, body from {p}inbox join {p}inbox_bodies using (seq)`
	return &inbox{
		sqlite: s,
		add: s.names.sql(`insert into {p}inbox (id, event_type, entity, deletes, version, stamp, received_at, stored_at, due_at)
			select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8
				where not exists (select 1 from {p}deliveries where id = ?1 and finished_at > ?9)
			on conflict (id) do update set stored_at = excluded.stored_at, due_at = excluded.due_at, dead_at = null,
				attempt = 0, crashes = 0 where dead_at is not null`),
		addBody: s.names.sql(`insert into {p}inbox_bodies (seq, body) select seq, ?2 from {p}inbox where id = ?1
			on conflict (seq) do update set body = excluded.body`), // it was given up, and still has its body
		// What a worker that died has left behind. One that asks is alive, whatever a
		// clock that jumps says. A lease that is too long was given before it was set back.
		// The ledger knows in the middle of which ones it was.
		leftovers: s.names.sql(`select b.seq, b.id, b.event_type, b.attempt, b.crashes, coalesce(d.attempt, 0) <> b.seen_attempt
			from {p}inbox b left join {p}deliveries d on d.id = b.id
			where (b.lease_until < ?1 or b.lease_until > ?2) and b.owner <> ?3`),
		release: s.names.sql(`update {p}inbox set owner = '', lease_until = null where seq = ?`),
		crashed: s.names.sql(`update {p}inbox set owner = '', lease_until = null, crashes = crashes + 1,
			due_at = case when ?1 then null else due_at end, dead_at = case when ?1 then ?2 end,
			outcome = case when ?1 then ?3 else outcome end, problem = case when ?1 then ?4 else problem end where seq = ?5`),
		renew: s.names.sql(`update {p}inbox set lease_until = ? where owner = ? and lease_until is not null`),
		// What was stored before the clock was set back would wait until the clock is
		// there again. What has failed meanwhile is attempted too early, once.
		setBack: s.names.sql(`update {p}inbox set stored_at = ?1, due_at = ?1 where dead_at is null and stored_at > ?2`),
		candidates: s.names.sql(`select seq, entity from {p}inbox b where due_at <= ?1 and lease_until is null and crashes < 2
			and ` + entityFree + ` order by due_at, seq limit ?2`),
		suspect: s.names.sql(`select seq from {p}inbox b where crashes >= 2 and due_at <= ?1 and lease_until is null
			and not exists (select 1 from {p}inbox where crashes >= 2 and lease_until is not null)
			and ` + entityFree + ` order by crashes, due_at, seq limit 1`),
		list: s.names.sql(rows + ` where entity = ?1 and lease_until is null and due_at <= ?2 and crashes < 2
			order by deletes, version desc, stamp desc, seq limit ?3`),
		single: s.names.sql(rows + ` where seq = ?`),
		take: s.names.sql(`update {p}inbox set owner = ?, lease_until = ?,
			seen_attempt = coalesce((select d.attempt from {p}deliveries d where d.id = {p}inbox.id), 0) where seq = ?`),
		next: s.names.sql(`select min(due_at) from {p}inbox where lease_until is null and due_at is not null and crashes < 2`),
		done: s.names.sql(`delete from {p}inbox where id = ? and owner = ?`),
		again: s.names.sql(`update {p}inbox set owner = '', lease_until = null, due_at = ?1, attempt = attempt + ?2,
			crashes = case ?2 when 0 then crashes else 0 end,
			outcome = case ?3 when '' then outcome else ?3 end, problem = case ?3 when '' then problem else ?4 end
			where id = ?5 and owner = ?6`),
		dead: s.names.sql(`update {p}inbox set owner = '', lease_until = null, due_at = null, dead_at = ?, attempt = attempt + 1,
			outcome = ?, problem = ? where id = ? and owner = ?`),
		// A replay may have finished what is only now given up.
		settled: s.names.sql(`delete from {p}inbox where id = ?1 and dead_at is not null
			and exists (select 1 from {p}deliveries d where d.id = ?1 and d.finished_at >= {p}inbox.stored_at)`),
		stats: s.names.sql(`select count(*), min(stored_at), (select count(*) from {p}inbox where dead_at is not null)
			from {p}inbox where dead_at is null`),
		letters: s.names.sql(`select seq, id, event_type, entity, received_at, attempt + crashes, body, dead_at, outcome, problem
			from {p}inbox join {p}inbox_bodies using (seq) where dead_at is not null and (?1 = 0 or seq < ?1) order by seq desc limit ?2`),
		revive: s.names.sql(`update {p}inbox set stored_at = ?1, due_at = ?1, dead_at = null, attempt = 0, crashes = 0
			where id in (select value from json_each(?2)) and dead_at is not null`),
		remove: s.names.sql(`delete from {p}inbox where id in (select value from json_each(?)) and dead_at is not null`),
	}
}

// Add implements [inboxstore.Store].
func (b *inbox) Add(ctx context.Context, d inboxstore.Delivery) (stored bool, err error) {
	if err := textual(d.ID, d.EventType, d.Entity); err != nil {
		return false, fmt.Errorf("sqlledger: store delivery %q: %w", d.ID, err)
	}
	err = b.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		now := time.Now()
		result, err := tx.exec(ctx, b.add, d.ID, d.EventType, d.Entity, d.Deletes, d.Version, d.Timestamp, millis(d.ReceivedAt),
			now.UnixMilli(), now.Add(-b.keep.finished).UnixMilli())
		if stored = err == nil && affected(result) > 0; stored {
			_, err = tx.exec(ctx, b.addBody, d.ID, d.Body)
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("sqlledger: store delivery %q: %w", d.ID, err)
	}
	return stored, nil
}

// affected is never an error with SQLite.
func affected(result sql.Result) int {
	n, _ := result.RowsAffected()
	return int(n)
}

// Turn implements [inboxstore.Store].
func (b *inbox) Turn(ctx context.Context, t inboxstore.Turn) (taken inboxstore.Taken, err error) {
	err = b.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		taken, err = b.turn(ctx, tx, &t)
		return err
	})
	if err != nil {
		return inboxstore.Taken{}, fmt.Errorf("sqlledger: take deliveries: %w", err)
	}
	return taken, nil
}

func (b *inbox) turn(ctx context.Context, tx *transaction, t *inboxstore.Turn) (inboxstore.Taken, error) {
	var taken inboxstore.Taken
	now := time.Now()
	for _, e := range t.Ended {
		if err := b.giveBack(ctx, tx, t.Owner, &e, now); err != nil {
			return taken, err
		}
	}
	lease := now.Add(t.Lease).UnixMilli()
	if t.Renew {
		if _, err := tx.exec(ctx, b.renew, lease, t.Owner); err != nil {
			return taken, err
		}
		if _, err := tx.exec(ctx, b.setBack, now.UnixMilli(), now.Add(clockTolerance).UnixMilli()); err != nil {
			return taken, err
		}
	}
	if err := b.takeOver(ctx, tx, t, now, &taken); err != nil {
		return taken, err
	}
	if t.Suspects && t.Take > 0 {
		if err := b.takeSuspect(ctx, tx, t, now, lease, &taken); err != nil {
			return taken, err
		}
	}
	for len(taken.Lists) < t.Take {
		// Of one entity there may be many: those are out of the way the next time.
		before := len(taken.Lists)
		if err := b.takeSome(ctx, tx, t, now, lease, &taken); err != nil {
			return taken, err
		}
		if len(taken.Lists) == before {
			break
		}
	}
	var due sql.NullInt64
	if err := tx.queryRow(ctx, b.next, nil, &due); err != nil {
		return taken, err
	}
	taken.Next = -1
	if due.Valid {
		taken.Next = max(time.Duration(due.Int64-now.UnixMilli())*time.Millisecond, 0)
	}
	return taken, nil
}

func (b *inbox) giveBack(ctx context.Context, tx *transaction, owner string, e *inboxstore.Ended, now time.Time) error {
	var err error
	switch {
	case e.Done:
		_, err = tx.exec(ctx, b.done, e.ID, owner)
	case e.Dead:
		if _, err = tx.exec(ctx, b.dead, now.UnixMilli(), e.Outcome, e.Problem, e.ID, owner); err == nil {
			_, err = tx.exec(ctx, b.settled, e.ID)
		}
	default:
		failed := 1
		if e.Free {
			failed = 0
		}
		_, err = tx.exec(ctx, b.again, now.Add(e.After).UnixMilli(), failed, e.Outcome, e.Problem, e.ID, owner)
	}
	return err
}

// leftover is a delivery that a worker which died has left behind.
type leftover struct {
	inboxstore.Delivery

	seq     int64
	crashes int
	begun   bool
}

func (b *inbox) findLeftovers(ctx context.Context, tx *transaction, t *inboxstore.Turn, now time.Time) ([]leftover, error) {
	var all []leftover
	rows, err := tx.query(ctx, b.leftovers, now.UnixMilli(), now.Add(t.Lease+clockTolerance).UnixMilli(), t.Owner)
	err = each(rows, err, func(rows *sql.Rows) error {
		var l leftover
		err := rows.Scan(&l.seq, &l.ID, &l.EventType, &l.Attempt, &l.crashes, &l.begun)
		all = append(all, l)
		return err
	})
	return all, err
}

// takeOver frees what workers that died have left behind.
func (b *inbox) takeOver(ctx context.Context, tx *transaction, t *inboxstore.Turn, now time.Time, taken *inboxstore.Taken) error {
	all, err := b.findLeftovers(ctx, tx, t, now)
	if err != nil {
		return err
	}
	for _, l := range all {
		if !l.begun {
			_, err = tx.exec(ctx, b.release, l.seq)
		} else {
			dead := l.crashes+1 >= maxCrashes
			_, err = tx.exec(ctx, b.crashed, dead, now.UnixMilli(), string(bridge.OutcomeMisconfigured), crashProblem, l.seq)
			if l.Attempt += l.crashes + 1; err == nil && dead {
				var result sql.Result
				if result, err = tx.exec(ctx, b.settled, l.ID); err == nil && affected(result) == 0 {
					taken.GivenUp = append(taken.GivenUp, l.Delivery)
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeSuspect takes the least suspect delivery, by itself.
func (b *inbox) takeSuspect(
	ctx context.Context, tx *transaction, t *inboxstore.Turn, now time.Time, lease int64, taken *inboxstore.Taken,
) error {
	var seq int64
	err := tx.queryRow(ctx, b.suspect, []any{now.UnixMilli()}, &seq)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	_, list, err := b.read(ctx, tx, b.single, []any{seq})
	if err != nil {
		return err
	}
	taken.Lists = append(taken.Lists, list)
	_, err = tx.exec(ctx, b.take, t.Owner, lease, seq)
	return err
}

// candidate is a delivery that can be taken, with all of its entity.
type candidate struct {
	seq    int64
	entity string
}

func (b *inbox) findCandidates(ctx context.Context, tx *transaction, now time.Time, limit int) ([]candidate, error) {
	var candidates []candidate
	seen := make(map[string]bool)
	rows, err := tx.query(ctx, b.candidates, now.UnixMilli(), limit)
	err = each(rows, err, func(rows *sql.Rows) error {
		var c candidate
		err := rows.Scan(&c.seq, &c.entity)
		if c.entity == "" || !seen[c.entity] {
			seen[c.entity] = true
			candidates = append(candidates, c)
		}
		return err
	})
	return candidates, err
}

// takeSome takes lists of different entities.
func (b *inbox) takeSome(
	ctx context.Context, tx *transaction, t *inboxstore.Turn, now time.Time, lease int64, taken *inboxstore.Taken,
) error {
	began := time.Now()
	candidates, err := b.findCandidates(ctx, tx, now, t.Take-len(taken.Lists))
	taken.Searched += time.Since(began)
	if err != nil {
		return err
	}
	for _, c := range candidates {
		if full(taken.Lists) {
			return nil
		}
		query, args := b.single, []any{c.seq}
		if c.entity != "" {
			query, args = b.list, []any{c.entity, now.UnixMilli(), maxList}
		}
		seqs, list, err := b.read(ctx, tx, query, args)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			if _, err := tx.exec(ctx, b.take, t.Owner, lease, seq); err != nil {
				return err
			}
		}
		taken.Lists = append(taken.Lists, list)
	}
	return nil
}

// full reports whether a turn has taken enough.
func full(lists [][]inboxstore.Delivery) bool {
	n, size := 0, 0
	for _, list := range lists {
		n += len(list)
		for i := range list {
			size += len(list[i].Body)
		}
	}
	return n >= maxTurn || size >= maxTurnBytes
}

func (b *inbox) read(ctx context.Context, tx *transaction, query string, args []any) (seqs []int64, list []inboxstore.Delivery, err error) {
	rows, err := tx.query(ctx, query, args...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	for size := 0; size < maxListBytes && rows.Next(); {
		var seq int64
		var d inboxstore.Delivery
		if err := scanDelivery(rows, &seq, &d); err != nil {
			return nil, nil, err
		}
		seqs, list = append(seqs, seq), append(list, d)
		size += len(d.Body)
	}
	return seqs, list, rows.Err()
}

func scanDelivery(rows *sql.Rows, seq *int64, d *inboxstore.Delivery, more ...any) error {
	var received sql.NullInt64
	err := rows.Scan(append([]any{seq, &d.ID, &d.EventType, &d.Entity, &received, &d.Attempt, &d.Body}, more...)...)
	if received.Valid {
		d.ReceivedAt = time.UnixMilli(received.Int64)
	}
	return err
}

// Stats implements [inboxstore.Store].
func (b *inbox) Stats(ctx context.Context) (bridge.QueueStats, error) {
	var s bridge.QueueStats
	err := patiently(ctx, func() error {
		var oldest sql.NullInt64
		err := b.db.QueryRowContext(ctx, b.stats).Scan(&s.Waiting, &oldest, &s.Dead)
		s.Oldest = 0
		if oldest.Valid {
			s.Oldest = max(time.Since(time.UnixMilli(oldest.Int64)), 0)
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("sqlledger: count deliveries: %w", err)
	}
	return s, nil
}

// Dead implements [inboxstore.Store].
func (b *inbox) Dead(ctx context.Context, seq int64, limit int) (letters []inboxstore.Letter, err error) {
	err = patiently(ctx, func() error {
		letters = nil
		rows, err := b.db.QueryContext(ctx, b.letters, seq, limit)
		return each(rows, err, func(rows *sql.Rows) error {
			var l inboxstore.Letter
			var deadAt int64
			err := scanDelivery(rows, &l.Seq, &l.Delivery, &deadAt, &l.Outcome, &l.Problem)
			l.DeadAt = time.UnixMilli(deadAt)
			letters = append(letters, l)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlledger: list dead letters: %w", err)
	}
	return letters, nil
}

// Revive implements [inboxstore.Store].
func (b *inbox) Revive(ctx context.Context, ids []string) (int, error) {
	return b.change(ctx, b.revive, time.Now().UnixMilli(), jsonArray(ids))
}

// Remove implements [inboxstore.Store].
func (b *inbox) Remove(ctx context.Context, ids []string) (int, error) {
	return b.change(ctx, b.remove, jsonArray(ids))
}

func (b *inbox) change(ctx context.Context, query string, args ...any) (n int, err error) {
	err = b.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		result, err := tx.exec(ctx, query, args...)
		if err == nil {
			n = affected(result)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sqlledger: change dead letters: %w", err)
	}
	return n, nil
}
