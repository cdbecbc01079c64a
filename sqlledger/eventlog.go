package sqlledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/eventlog"
)

// LogConfig configures [Ledger.EventLog]. The zero value is fine; a negative value
// also means the default.
type LogConfig struct {
	// MaxRecords is how many records are kept, the latest. To find the others,
	// each clean-up reads that many entries of an index. Defaults to 100,000.
	MaxRecords int

	// MaxAge is for how long a record is kept. Defaults to 30 days.
	MaxAge time.Duration

	// MaxUnverified is how many failed verifications are kept, the latest. Defaults
	// to 1,000.
	MaxUnverified int
}

const (
	defaultLogRecords    = 100_000
	defaultLogAge        = 30 * 24 * time.Hour
	defaultLogUnverified = 1000

	// No delivery does the clean-up of the log, as one does the ledger's. On SQLite it
	// may wait for its turn to write.
	cleanLogEvery = 10 * time.Second
	cleanLogAgain = 100 * time.Millisecond
)

// EventLog is an [eventlog.Store] in the database of a [Ledger], for all processes
// that share it. Pages and counts are read through indexes, however many records
// there are.
//
// Every ten seconds at most, or ten times a second at most while there are more, an Append
// removes up to 500 records that are too old, and 500 that are too many, and likewise
// of failed verifications; [EventLog.Clean] removes all at once. Meanwhile there may be
// more than MaxRecords, by what ten seconds bring.
type EventLog struct {
	db      *sql.DB
	dialect Dialect
	names   names
	group   *group // SQLite's
	keep    LogConfig
	due     schedule

	insert, insertUnverified, get, unverified     string
	cleanOld, cleanOver, cleanOldUnverified, trim string
}

// EventLog returns the event log of the database. Every call returns a new handle
// to the same records.
func (l *Ledger) EventLog(cfg LogConfig) *EventLog {
	cfg.MaxRecords = cmp.Or(max(cfg.MaxRecords, 0), defaultLogRecords)
	cfg.MaxAge = cmp.Or(max(cfg.MaxAge, 0), defaultLogAge)
	cfg.MaxUnverified = cmp.Or(max(cfg.MaxUnverified, 0), defaultLogUnverified)
	e := &EventLog{keep: cfg, due: schedule{logger: l.due.logger, opened: time.Now(), every: cleanLogEvery, again: cleanLogAgain}}
	switch s := l.store.(type) {
	case *postgres:
		e.db, e.dialect, e.names = s.db, Postgres, s.names
	case *sqlite:
		e.db, e.dialect, e.names, e.group = s.db, SQLite, s.names, s.group
	}
	e.get = e.sql(`select record, bodies from {p}log where id = {1} union all select record, '' from {p}log_unverified where id = {1}`)
	e.unverified = e.sql(`select record from {p}log_unverified order by id desc limit {1}`)
	e.cleanOld = e.sql(`delete from {p}log where id in (select id from {p}log where id < {1} order by id limit {2})`)
	const beyond = `delete from {p}log where id in (select id from {p}log
		where id <= (select id from {p}log order by id desc limit 1 offset {1}) order by id limit {2})`
	e.cleanOver = e.sql(beyond)
	e.cleanOldUnverified = e.sql(`delete from {p}log_unverified where id in (select id from {p}log_unverified where id < {1} order by id limit {2})`)
	e.trim = e.sql(strings.ReplaceAll(beyond, "{p}log", "{p}log_unverified"))
	const columns = `id, at_id, event_type, outcome, delivery, user_id, organization_id, record, bodies`
	if e.dialect == Postgres {
		e.insert = e.sql(`insert into {p}log (` + columns + `) select ` + columns + ` from unnest($1::text[], $2::text[], $3::text[], $4::text[],
			$5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) r(` + columns + `) on conflict do nothing`)
		e.insertUnverified = e.sql(`insert into {p}log_unverified (id, record) select id, record from unnest($1::text[], $2::text[]) r(id, record) on conflict do nothing`)
	} else {
		e.insert = e.sql(`insert or ignore into {p}log (` + columns + `) values (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
		e.insertUnverified = e.sql(`insert or ignore into {p}log_unverified (id, record) values (?, ?)`)
	}
	return e
}

// sql fills in the names, and what stands for parameters: {1} and so on.
func (e *EventLog) sql(statement string) string {
	mark := "?"
	if e.dialect == Postgres {
		mark = "$"
	}
	return e.names.sql(strings.NewReplacer("{1}", mark+"1", "{2}", mark+"2").Replace(statement))
}

// row is a record as it is stored: the columns.
func row(r *eventlog.Record) ([]any, error) {
	record, bodies, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if r.Verification != eventlog.Verified {
		return []any{r.ID, record}, nil
	}
	user, organization := r.Keys()
	return []any{r.ID, r.ID, r.EventType, string(r.Outcome), r.DeliveryID, user, organization, record, bodies}, nil
}

// Append implements [eventlog.Store]. It returns an error when a record is not
// text, storing none of them, and when the database fails.
func (e *EventLog) Append(ctx context.Context, records []*eventlog.Record) error {
	var rows, unverified [][]any
	for _, r := range records {
		columns, err := row(r)
		if err != nil {
			return fmt.Errorf("sqlledger: store a record: %w", err)
		}
		for _, c := range columns {
			if !isText(c.(string)) { //nolint:forcetypeassert // all are
				return fmt.Errorf("sqlledger: store a record: %w", errNotText)
			}
		}
		if r.Verification == eventlog.Verified {
			rows = append(rows, columns)
		} else {
			unverified = append(unverified, columns)
		}
	}
	if err := e.append(ctx, rows, unverified); err != nil {
		return fmt.Errorf("sqlledger: store records: %w", err)
	}
	e.due.tidy(ctx, e.clean)
	return nil
}

func (e *EventLog) append(ctx context.Context, rows, unverified [][]any) error {
	if e.dialect == Postgres {
		return errors.Join(e.insertArrays(ctx, e.insert, rows), e.insertArrays(ctx, e.insertUnverified, unverified))
	}
	if len(rows)+len(unverified) == 0 {
		return nil
	}
	return e.group.write(ctx, func(ctx context.Context, tx *transaction) error {
		for _, columns := range rows {
			if _, err := tx.exec(ctx, e.insert, columns...); err != nil {
				return err
			}
		}
		for _, columns := range unverified {
			if _, err := tx.exec(ctx, e.insertUnverified, columns...); err != nil {
				return err
			}
		}
		return nil
	})
}

// insertArrays inserts all rows at once, each column as an array.
func (e *EventLog) insertArrays(ctx context.Context, insert string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	columns := make([]any, len(rows[0]))
	for i := range columns {
		values := make([]string, len(rows))
		for j := range rows {
			values[j], _ = rows[j][i].(string)
		}
		columns[i] = textArray(values)
	}
	_, err := e.db.ExecContext(ctx, insert, columns...)
	return err
}

// patiently waits where the database can be locked.
func (e *EventLog) patiently(ctx context.Context, do func() error) error {
	if e.dialect == Postgres {
		return do()
	}
	return patiently(ctx, do)
}

// Get implements [eventlog.Store].
func (e *EventLog) Get(ctx context.Context, id string) (*eventlog.Record, error) {
	if !isText(id) {
		return nil, eventlog.ErrNotFound
	}
	var record, bodies string
	err := e.patiently(ctx, func() error { return e.db.QueryRowContext(ctx, e.get, id).Scan(&record, &bodies) })
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, eventlog.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("sqlledger: read a record: %w", err)
	}
	return eventlog.Decode(record, bodies)
}

// Unverified implements [eventlog.Store].
func (e *EventLog) Unverified(ctx context.Context, limit int) ([]*eventlog.Record, error) {
	return e.read(ctx, e.unverified, max(limit, 0))
}

// List implements [eventlog.Store].
func (e *EventLog) List(ctx context.Context, q eventlog.Query) (eventlog.Page, error) {
	from, before, err := q.Start()
	if err != nil {
		return eventlog.Page{}, err
	}
	if !textualFilter(&q.Filter) {
		return eventlog.NewPage(nil, 0), nil
	}
	b := &logQuery{EventLog: e, filter: &q.Filter, from: from, before: before}
	records, err := e.read(ctx, b.list(q.PageSize()+1), b.args...)
	if err != nil {
		return eventlog.Page{}, err
	}
	return eventlog.NewPage(records, q.PageSize()), nil
}

// textualFilter reports whether anything can fit a filter.
func textualFilter(f *eventlog.Filter) bool {
	for _, o := range f.Outcomes {
		if !isText(string(o)) {
			return false
		}
	}
	return isText(f.EventType) && isText(f.Search)
}

func (e *EventLog) read(ctx context.Context, query string, args ...any) (records []*eventlog.Record, err error) {
	err = e.patiently(ctx, func() error {
		records = nil
		return e.each(ctx, query, args, func(rows *sql.Rows) error {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			r, err := eventlog.Decode(text, "")
			records = append(records, r)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlledger: list records: %w", err)
	}
	return records, nil
}

func (e *EventLog) each(ctx context.Context, query string, args []any, do func(*sql.Rows) error) error {
	rows, err := e.db.QueryContext(ctx, query, args...)
	return each(rows, err, do)
}

// Counts implements [eventlog.Store]. It counts up to [eventlog.CountLimit] of
// each outcome, or with a Search of all together.
func (e *EventLog) Counts(ctx context.Context, f eventlog.Filter) ([]eventlog.Count, error) {
	if !textualFilter(&f) {
		return nil, nil
	}
	b := &logQuery{EventLog: e, filter: &f}
	b.from, b.before = f.Bounds()
	query := b.counts(eventlog.CountLimit + 1)
	var counts []eventlog.Count
	err := e.patiently(ctx, func() error {
		counts = nil
		return e.each(ctx, query, b.args, func(rows *sql.Rows) error {
			var outcome string
			var n int
			if err := rows.Scan(&outcome, &n); err != nil {
				return err
			}
			if n > 0 {
				counts = append(counts, eventlog.Count{Outcome: bridge.Outcome(outcome), N: min(n, eventlog.CountLimit), More: n > eventlog.CountLimit})
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlledger: count records: %w", err)
	}
	eventlog.SortCounts(counts)
	return counts, nil
}

// logQuery builds a query for a filter. It is put together of branches each of
// which one index answers in the order of the ids, and stops when it has enough.
type logQuery struct {
	*EventLog

	filter       *eventlog.Filter
	from, before string
	args         []any
}

// arg adds a parameter and returns what stands for it.
func (b *logQuery) arg(value string) string {
	b.args = append(b.args, value)
	if b.dialect == Postgres {
		return "$" + strconv.Itoa(len(b.args))
	}
	return "?" + strconv.Itoa(len(b.args))
}

// branch returns records that fit a condition, the latest first.
func (b *logQuery) branch(selected, condition string, limit int) string {
	if b.from != "" {
		condition += " and at_id >= " + b.arg(b.from)
	}
	if b.before != "" {
		condition += " and at_id < " + b.arg(b.before)
	}
	return b.sql("select " + selected + " from {p}log where " + condition + " order by at_id desc limit " + strconv.Itoa(limit))
}

// endOfIDs is after all ids, which are hexadecimal.
const endOfIDs = "g"

// byOutcome is the branch of one outcome, and of the type.
func (b *logQuery) byOutcome(outcome bridge.Outcome, limit int) string {
	condition := "outcome = " + b.arg(string(outcome))
	if b.filter.EventType != "" {
		condition += " and event_type = " + b.arg(b.filter.EventType)
	}
	return b.branch("at_id", condition, limit)
}

// bySearch are the branches of a search.
func (b *logQuery) bySearch(selected string, outcomes []bridge.Outcome, limit int) []string {
	rest := ""
	if b.filter.EventType != "" {
		rest += " and event_type = " + b.arg(b.filter.EventType)
	}
	if len(outcomes) > 0 {
		marks := make([]string, len(outcomes))
		for i, o := range outcomes {
			marks[i] = b.arg(string(o))
		}
		rest += " and outcome in (" + strings.Join(marks, ", ") + ")"
	}
	by := func(column, value, condition string) string {
		return b.branch(selected, column+" = "+b.arg(value)+condition+rest, limit)
	}
	const someUser, someOrganization = " and user_id <> ''", " and organization_id <> ''" // as the indexes say
	id, user, organization := b.filter.Terms()
	switch {
	case id != "":
		return []string{by("delivery", id, ""), by("user_id", id, someUser), by("organization_id", id, someOrganization)}
	case user != "" && organization != "":
		return []string{by("user_id", user, someUser+" and organization_id = "+b.arg(organization))}
	case user != "":
		return []string{by("user_id", user, someUser)}
	default:
		return []string{by("organization_id", organization, someOrganization)}
	}
}

func (b *logQuery) list(limit int) string {
	var branches []string
	switch {
	case b.filter.Search != "":
		branches = b.bySearch("at_id", b.filter.Outcomes, limit)
	case b.filter.EventType != "" || len(b.filter.Outcomes) > 0:
		outcomes := b.filter.Outcomes
		if len(outcomes) == 0 {
			outcomes = eventlog.Outcomes()
		}
		for _, o := range outcomes {
			branches = append(branches, b.byOutcome(o, limit))
		}
	default:
		return b.sql("select record from {p}log where id >= " + b.arg(b.from) + " and id < " + b.arg(cmp.Or(b.before, endOfIDs)) +
			" order by id desc limit " + strconv.Itoa(limit))
	}
	return b.sql("select l.record from (select distinct at_id from " + union("at_id", branches) + " u order by at_id desc limit " + strconv.Itoa(limit) +
		") k cross join {p}log l where l.id = k.at_id order by k.at_id desc")
}

func (b *logQuery) counts(limit int) string {
	if b.filter.Search != "" {
		return "select outcome, count(*) from (select distinct at_id, outcome from " + union("at_id, outcome", b.bySearch("at_id, outcome", nil, limit)) + " u) k group by outcome"
	}
	var branches []string
	for _, o := range eventlog.Outcomes() {
		branches = append(branches, "select "+b.text(string(o))+" as outcome, count(*) as n from ("+b.byOutcome(o, limit)+") c")
	}
	return "select outcome, n from " + union("outcome, n", branches) + " u"
}

// text is a parameter that is selected.
func (b *logQuery) text(s string) string { return "cast(" + b.arg(s) + " as text)" }

// union of queries that have a limit of their own.
func union(columns string, branches []string) string {
	parts := make([]string, len(branches))
	for i, branch := range branches {
		parts[i] = "select " + columns + " from (" + branch + ") b" + strconv.Itoa(i)
	}
	return "(" + strings.Join(parts, " union all ") + ")"
}

// Clean removes what need no longer be kept, see [LogConfig], and returns how
// many records it removed.
func (e *EventLog) Clean(ctx context.Context) (int, error) {
	return cleanAll(ctx, e.clean)
}

// clean removes cleanBatch rows of each kind.
func (e *EventLog) clean(ctx context.Context) (r removed, err error) {
	if e.dialect == SQLite {
		err = e.group.write(ctx, func(ctx context.Context, tx *transaction) error {
			r, err = e.cleanIn(ctx, tx.conn)
			return err
		})
		if err != nil { // it was undone
			return removed{}, err
		}
		return r, nil
	}
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return removed{}, err
	}
	defer func() { _ = tx.Rollback() }() // an error after Commit, and no news after another one
	// One at a time is enough.
	var alone bool
	err = tx.QueryRowContext(ctx, "select pg_try_advisory_xact_lock($1)", lockID("clean the log", e.names.table(""))).Scan(&alone)
	if err != nil || !alone {
		return removed{}, err
	}
	if r, err = e.cleanIn(ctx, tx); err != nil {
		return removed{}, err
	}
	if err := tx.Commit(); err != nil {
		return removed{}, err
	}
	return r, nil
}

// connection is a *sql.Conn or a *sql.Tx.
type connection interface {
	querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (e *EventLog) cleanIn(ctx context.Context, on connection) (r removed, err error) {
	f := eventlog.Filter{To: time.Now().Add(-e.keep.MaxAge)}
	_, before := f.Bounds()
	err = errors.Join(
		r.add(on.ExecContext(ctx, e.cleanOld, before, cleanBatch)),
		r.add(on.ExecContext(ctx, e.cleanOver, e.keep.MaxRecords, cleanBatch)),
		r.add(on.ExecContext(ctx, e.cleanOldUnverified, before, cleanBatch)),
		r.add(on.ExecContext(ctx, e.trim, e.keep.MaxUnverified, cleanBatch)))
	return r, err
}

var _ eventlog.Store = (*EventLog)(nil)
