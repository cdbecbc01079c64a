// Package sqlledger is a [bridge.Ledger] in an SQL database, for deliveries that
// are handled by several processes, and for a single process that must remember
// across restarts. It uses [database/sql] and imports no driver:
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // github.com/jackc/pgx/v5/stdlib
//	...
//	ledger, err := sqlledger.Open(ctx, db, sqlledger.Config{})
//	...
//	handler, err := bridge.New(bridge.Config{Ledger: ledger, ...})
//
// # Which database
//
// SQLite is for one machine: one file, no server. It must be a local file, as
// network file systems do not lock reliably. PostgreSQL, version 12 or newer, is
// for any number of machines. Both give the same guarantees, which are those of
// [bridge.Ledger]: a delivery and an entity are each worked on by one process at
// a time, and a process that outlives its lease can't record anything. On
// PostgreSQL all times are the server's, so the clocks of the processes do not
// matter. On SQLite they are the machine's. Setting that clock forward ends
// leases early, and setting it back by more than a second ends all of them: work
// may then be begun twice, but only one of the two is recorded.
//
// # Connections
//
// For SQLite use modernc.org/sqlite v1.60.1, or any other driver, with
//
//	file:bridge.db?_pragma=busy_timeout(1000)&_pragma=journal_mode(WAL)&_txlock=immediate
//
// Writers take turns, even across processes: each waits until its context ends,
// or for five seconds. The driver can't be interrupted during its busy_timeout,
// so keep that below the time for a delivery. With journal_mode(WAL), readers
// do not wait for writers. Leave synchronous at its default, FULL: with NORMAL,
// a loss of power can undo what was saved last, even that an entity is gone.
//
// For PostgreSQL use github.com/jackc/pgx/v5, or any driver that writes
// parameters as $1. The isolation level has to be the default, read committed. A
// connection is used briefly at the beginning and the end of each delivery: a
// few per core of the database server are enough. Set both SetMaxOpenConns and
// SetMaxIdleConns, as database/sql by default keeps only two and reconnects for
// all others. Behind a pooler such as PgBouncer in its transaction mode, put
// default_query_exec_mode=exec in pgx's connection string: no prepared
// statements are needed.
//
// Open needs the right to create tables and functions in the schema, and to
// create the schema when it is not there. Afterwards, and with
// Config.SkipMigration, usage of the schema and the rights to select, insert, update and
// delete are enough, with that to execute the functions, which PostgreSQL gives to
// everybody unless it was revoked.
//
// # Costs
//
// A Claim is one round trip to PostgreSQL and one transaction, as is a Save. Those
// that wait at the same time share a transaction; when it fails, each is done by
// itself. If the context of one ends while it shares a transaction, it returns once
// its outcome is known: at most a second later, if the driver respects its context.
// A delivery with one step has one of each; every further step has one more Save. A
// call that names organizations, or describes users, other than the event's adds
// one look-up for all of them. pgx sends a ping before it uses a connection that
// was idle for a second.
//
// # What is stored
//
// Ids of deliveries, names of events, keys of entities, and of each step its name,
// kind, times, HTTP status, Knock's request id and the id of the workflow run. An
// entity's state holds times, ids of deliveries and memberships, and a digest of
// what Knock was told. Bodies, or anything in them but ids, are stored only in the
// tables of package inbox and of [Ledger.EventLog]. Step names that mapping
// functions choose are stored as they are. [SQL] prints the tables, with comments.
//
// # Clean-up
//
// Finished deliveries are kept for four days, their ids for 90 days, unfinished
// deliveries for 90 days after their last attempt, entities forever; see
// [Config]. Once a minute at most, a Save that ends a delivery removes up to 500
// rows of each kind, or once a second at most while there are more, and ten seconds
// after one that failed. [Ledger.Clean] removes all at once.
package sqlledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/internal/safelog"
)

// Dialect is a kind of database.
type Dialect int

const (
	// Detect means that the database is asked.
	Detect Dialect = iota

	// Postgres is PostgreSQL.
	Postgres

	// SQLite is SQLite, version 3.38 or newer.
	SQLite
)

// String returns the name of the database.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "PostgreSQL"
	case SQLite:
		return "SQLite"
	case Detect:
	}
	return "unknown"
}

// Config configures [Open]. The zero value is fine.
type Config struct {
	// Dialect is the kind of database. Defaults to what the database says it is.
	Dialect Dialect

	// Logger is told of clean-ups that failed, at level Warn. Defaults to
	// [slog.Default].
	Logger *slog.Logger

	// MaxDeliveries is how many finished deliveries are kept at most, the latest ones;
	// only the ids of the others remain. Defaults to no bound.
	MaxDeliveries int

	// Retention is for how long a finished delivery is a duplicate when it comes
	// again. Afterwards it is processed again, with Claimed.Forgotten set.
	// Retention should outlast Svix's retries. Defaults to 96 hours.
	Retention time.Duration

	// RetainIDs is for how long the id of a finished delivery is remembered. It
	// should outlast replays from Svix. Defaults to 90 days.
	RetainIDs time.Duration

	// Schema is the schema of the tables in PostgreSQL. It is created when it is
	// not there. It can't be set for SQLite. Defaults to "public".
	Schema string

	// SkipMigration makes Open only check the tables, and not create them: see
	// [SQL]. Defaults to false.
	SkipMigration bool

	// TablePrefix begins the name of each table, index and function: lower-case
	// letters, digits and underscores, at most 40, not starting with a digit.
	// Defaults to "bridge_".
	TablePrefix string
}

const (
	defaultRetention = 96 * time.Hour
	defaultRetainIDs = 90 * 24 * time.Hour

	// retainOpen is for how long after its last attempt a delivery is kept that
	// was never finished. Svix can't send it any more.
	retainOpen = 90 * 24 * time.Hour

	cleanBatch = 500
	cleanEvery = time.Minute
	// cleanAgain is the pause when a batch was not enough, and cleanRetry when it failed.
	cleanAgain = time.Second
	cleanRetry = 10 * time.Second
	// cleanTime bounds how much longer a delivery takes that cleans up.
	cleanTime = time.Second

	// clockTolerance is how far ahead a lease may have been given: clocks are
	// adjusted by less all the time. One given later was given before the clock
	// was set back, and has ended, or it would last for too long. PostgreSQL's
	// function has it, too.
	clockTolerance = time.Second
)

// Ledger is a [bridge.Ledger] in a database.
type Ledger struct {
	store store
	due   schedule
}

// schedule says when a clean-up is due.
type schedule struct {
	logger       *slog.Logger
	opened       time.Time
	every, again time.Duration

	// next is when, as a duration since opened.
	next atomic.Int64
}

// store is what the dialects differ in. The errors are wrapped by Ledger.
type store interface {
	// version is that of the schema, 0 for none. An error also says what keeps
	// the database from being used at all.
	version(ctx context.Context) (int, error)
	// migrate brings the schema to schemaVersion, unless it is there or newer.
	migrate(ctx context.Context) error

	claim(ctx context.Context, c *bridge.Claim) (claimRow, error)
	save(ctx context.Context, p *bridge.Progress, steps string) (saved bool, err error)
	gone(ctx context.Context, entities []string) ([]string, error)

	// clean removes cleanBatch rows of each kind.
	clean(ctx context.Context) (removed, error)
}

// removed is what a clean-up has removed.
type removed struct {
	rows int
	more bool // there may be more
}

// add counts the rows of a statement that removes cleanBatch at most.
func (r *removed) add(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	r.rows += int(n)
	r.more = r.more || n >= cleanBatch
	return err
}

// claimRow is a [bridge.Claimed] with the steps as they are stored.
type claimRow struct {
	bridge.Claimed

	steps string
}

// errNewerSteps says that a delivery was last worked on by a newer version.
var errNewerSteps = fmt.Errorf("its steps were written by a newer version of this library, in a format beyond %d", stepsFormat)

// Open returns a Ledger in db, and creates or updates its tables unless
// Config.SkipMigration is set. Any number of processes can do so at once. db
// remains the caller's to close.
//
// It returns an error when cfg is not valid; when the database can't be reached or is
// of another kind; when it can't serve: PostgreSQL with another default isolation level
// than read committed, or with a DateStyle that the driver can't read, or SQLite in
// memory of which each connection has its own; when its tables are newer than this
// version of the library, and with SkipMigration also when they are older or not there.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Ledger, error) {
	switch {
	case db == nil:
		return nil, errors.New("sqlledger: the database is nil")
	case cfg.Retention < 0 || cfg.RetainIDs < 0 || cfg.MaxDeliveries < 0:
		return nil, errors.New("sqlledger: Retention, RetainIDs or MaxDeliveries is negative")
	}
	if err := patiently(ctx, func() error { return db.PingContext(ctx) }); err != nil {
		return nil, fmt.Errorf("sqlledger: reach the database: %w", err)
	}
	if cfg.Dialect == Detect {
		var err error
		if cfg.Dialect, err = detect(ctx, db); err != nil {
			return nil, err
		}
	}
	n, err := cfg.names()
	if err != nil {
		return nil, err
	}
	keep := retention{
		finished: cmp.Or(cfg.Retention, defaultRetention), ids: cmp.Or(cfg.RetainIDs, defaultRetainIDs), count: cfg.MaxDeliveries,
	}
	l := &Ledger{due: schedule{logger: safelog.New(cfg.Logger), opened: time.Now(), every: cleanEvery, again: cleanAgain}}
	if cfg.Dialect == Postgres {
		l.store = newPostgres(db, n, keep)
	} else {
		l.store = newSQLite(db, n, keep)
	}
	if err := l.prepare(ctx, cfg.SkipMigration); err != nil {
		if is, unknown := detect(ctx, db); unknown == nil && is != cfg.Dialect {
			err = fmt.Errorf("sqlledger: Config.Dialect is %s, and the database is %s: %w", cfg.Dialect, is, err)
		}
		return nil, err
	}
	if s, ok := l.store.(*sqlite); ok {
		if err := s.oneForAll(ctx); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// retention is how much is kept.
type retention struct {
	finished, ids time.Duration
	count         int // zero for any number
}

func detect(ctx context.Context, db *sql.DB) (Dialect, error) {
	var version string
	// Only PostgreSQL's log shows statements that failed, so it comes first.
	asked := db.QueryRowContext(ctx, "select version()").Scan(&version)
	switch {
	case asked == nil && strings.HasPrefix(version, "PostgreSQL "):
		return Postgres, nil
	case asked == nil:
		return Detect, fmt.Errorf("sqlledger: the database is neither PostgreSQL nor SQLite, but %q", version)
	}
	if err := db.QueryRowContext(ctx, "select sqlite_version()").Scan(&version); err != nil {
		return Detect, fmt.Errorf("sqlledger: ask the database what it is: %w", errors.Join(asked, err))
	}
	return SQLite, nil
}

func (l *Ledger) prepare(ctx context.Context, skip bool) error {
	version, err := l.store.version(ctx)
	if err != nil {
		return fmt.Errorf("sqlledger: look at the tables: %w", err)
	}
	if version < schemaVersion && !skip {
		if err := l.store.migrate(ctx); err != nil {
			return fmt.Errorf("sqlledger: create or update the tables: %w", err)
		}
		if version, err = l.store.version(ctx); err != nil {
			return fmt.Errorf("sqlledger: look at the tables: %w", err)
		}
	}
	switch {
	case version > schemaVersion:
		return fmt.Errorf("sqlledger: the tables are of version %d and this library knows version %d: use a newer one", version, schemaVersion)
	case version == 0:
		return errors.New("sqlledger: there are no tables, and Config.SkipMigration is set: run what SQL prints")
	case version < schemaVersion:
		return fmt.Errorf("sqlledger: the tables are of version %d, which is older than %d, and Config.SkipMigration is set: run what SQL prints", version, schemaVersion)
	}
	return nil
}

// Claim implements [bridge.Ledger]. It returns an error for a delivery or a key
// that is not UTF-8 or has a NUL byte, and for a delivery that a newer version
// of this library has worked on and left unfinished in a way that this one can't
// read.
func (l *Ledger) Claim(ctx context.Context, c bridge.Claim) (bridge.Claimed, error) {
	failed := func(err error) (bridge.Claimed, error) {
		return bridge.Claimed{}, fmt.Errorf("sqlledger: claim delivery %q: %w", c.Delivery, err)
	}
	c.Entities, c.Reads = distinct(c.Entities), distinct(c.Reads)
	if err := textual(slices.Concat([]string{c.Delivery, c.EventType, c.Bury}, c.Entities, c.Reads)...); err != nil {
		return failed(err)
	}
	row, err := l.store.claim(ctx, &c)
	if err != nil {
		return failed(err)
	}
	if row.Steps, err = decodeSteps(row.steps); err != nil {
		return failed(err)
	}
	return row.Claimed, nil
}

// Save implements [bridge.Ledger].
func (l *Ledger) Save(ctx context.Context, p bridge.Progress) error {
	failed := func(err error) error {
		return fmt.Errorf("sqlledger: save delivery %q: %w", p.Delivery, err)
	}
	p.Held = distinct(p.Held)
	all := slices.Concat([]string{p.Delivery, string(p.Outcome)}, p.Held)
	for _, e := range p.Entities {
		all = append(all, e.Key, string(e.State))
	}
	if err := textual(all...); err != nil {
		return failed(err)
	}
	steps, err := encodeSteps(p.Steps)
	if err != nil {
		return failed(err)
	}
	saved, err := l.store.save(ctx, &p, steps)
	if err != nil {
		return failed(err)
	}
	if !saved {
		return bridge.ErrClaimLost
	}
	if p.Outcome != "" {
		l.due.tidy(ctx, l.store.clean)
	}
	return nil
}

// Gone implements [bridge.Ledger].
func (l *Ledger) Gone(ctx context.Context, entities []string) ([]string, error) {
	if err := textual(entities...); err != nil {
		return nil, fmt.Errorf("sqlledger: look up deletions: %w", err)
	}
	gone, err := l.store.gone(ctx, entities)
	if err != nil {
		return nil, fmt.Errorf("sqlledger: look up deletions: %w", err)
	}
	return gone, nil
}

// each reads the rows that a query has returned.
func each(rows *sql.Rows, err error, read func(*sql.Rows) error) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// keys reads one column.
func keys(rows *sql.Rows, err error) ([]string, error) {
	var all []string
	err = each(rows, err, func(rows *sql.Rows) error {
		var key string
		err := rows.Scan(&key)
		all = append(all, key)
		return err
	})
	return all, err
}

// Clean removes what need no longer be kept, see [Config], and returns how many
// rows it removed. It works in small transactions, between which others can
// proceed, until nothing is left or there is an error.
func (l *Ledger) Clean(ctx context.Context) (int, error) { return cleanAll(ctx, l.store.clean) }

// cleanAll repeats a clean-up until nothing is left.
func cleanAll(ctx context.Context, clean func(context.Context) (removed, error)) (int, error) {
	total := 0
	for {
		r, err := clean(ctx)
		total += r.rows
		if err != nil {
			return total, fmt.Errorf("sqlledger: clean up: %w", err)
		}
		if !r.more {
			return total, nil
		}
	}
}

// tidy cleans up a little when it is due.
func (s *schedule) tidy(ctx context.Context, clean func(context.Context) (removed, error)) {
	now := time.Since(s.opened)
	due := s.next.Load()
	if int64(now) < due || !s.next.CompareAndSwap(due, int64(now+s.every)) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	r, err := clean(ctx)
	switch {
	case err != nil:
		s.logger.LogAttrs(ctx, slog.LevelWarn, "sqlledger: cleaning up failed", slog.Any("error", err))
		s.next.Store(int64(now + min(cleanRetry, s.every)))
	case r.more: // a slow one leaves the database to others for most of the time
		took := time.Since(s.opened) - now
		s.next.Store(int64(now + took + max(s.again, 4*took)))
	}
}

// distinct returns keys without repetitions, in the order that they had.
func distinct(keys []string) []string {
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func textual(all ...string) error {
	for _, s := range all {
		if !isText(s) {
			return errNotText
		}
	}
	return nil
}

var errNotText = errors.New("it names something that is not text: not UTF-8, or with a NUL byte")

// storedEntity is a [bridge.Entity] as the databases return it.
type storedEntity struct {
	Key     string  `json:"key"`
	Gone    bool    `json:"gone"`
	Crashed bool    `json:"crashed"`
	State   *string `json:"state"`
}

func (e *storedEntity) entity() bridge.Entity {
	out := bridge.Entity{Key: e.Key, Gone: e.Gone, Crashed: e.Crashed}
	if e.State != nil {
		out.State = json.RawMessage(*e.State)
	}
	return out
}

var _ bridge.Ledger = (*Ledger)(nil)
