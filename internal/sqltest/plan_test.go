package sqltest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/internal/inboxstore"
	"github.com/clerkknock/bridge/sqlledger"
)

// turns is a connection that counts how often the direction changes from reading
// to writing: the round trips.
type turns struct {
	net.Conn

	writing atomic.Bool
	count   *atomic.Int64
}

func (c *turns) Write(p []byte) (int, error) {
	if !c.writing.Swap(true) {
		c.count.Add(1)
	}
	return c.Conn.Write(p)
}

func (c *turns) Read(p []byte) (int, error) {
	c.writing.Store(false)
	return c.Conn.Read(p)
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	var count atomic.Int64
	db := openPostgres(t, func(c *pgx.ConnConfig) {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &turns{Conn: conn, count: &count}, err
		}
	})
	db.SetMaxOpenConns(1)
	l := open(t, db, d.cfg)
	for i, mapped := range []bridge.Claim{
		{}, // the connection prepares the statements, and cleans up
		{Entities: []string{"organization/1/user/1", "user/1"}, Reads: []string{"organization/1"}},
		{Entities: []string{"user/1"}, Bury: "user/1"},
	} {
		c := claim(fmt.Sprint("msg_", i), mapped.Entities...)
		c.Reads, c.Bury = mapped.Reads, mapped.Bury
		trips := func(do func()) int64 {
			before := count.Load()
			do()
			return count.Load() - before
		}
		var claimed bridge.Claimed
		claims := trips(func() { claimed = grant(t, l, c) })
		steps := trips(func() { save(t, l, c, claimed, "") })
		saves := trips(func() { save(t, l, c, claimed, bridge.OutcomeDone) })
		if i > 0 {
			assert.Equal(t, []int64{1, 1, 1}, []int64{claims, steps, saves})
		}
	}
}

// everything has the ledger run each of its statements at least once.
func everything(t testing.TB, l *sqlledger.Ledger) {
	t.Helper()
	for i := range 12 { // PostgreSQL has a plan for all values after the fifth
		c := claim(fmt.Sprint("msg_", i), "organization/1/user/1", "user/1")
		c.Reads = []string{"organization/1"}
		save(t, l, c, grant(t, l, c), bridge.OutcomeTransient)
		claimed := grant(t, l, c)
		p := progress(c, claimed, bridge.OutcomeDone)
		p.Entities = []bridge.Entity{{Key: "user/1", State: []byte(`{}`)}}
		require.NoError(t, l.Save(t.Context(), p))
		c = claim(fmt.Sprint("old_", i), "organization/2")
		c.Bury = "organization/2"
		save(t, l, c, grant(t, l, c), bridge.OutcomeDone)
		_, err := l.Gone(t.Context(), []string{"user/1"})
		require.NoError(t, err)
	}
	_, err := l.Clean(t.Context())
	require.NoError(t, err)
	if box, err := l.Inbox(); err == nil {
		everythingOfInbox(t, l, box)
	}
}

func everythingOfInbox(t testing.TB, l *sqlledger.Ledger, box inboxstore.Store) {
	t.Helper()
	for _, id := range []string{"in_1", "in_2", "in_3", "in_4"} {
		_, err := box.Add(t.Context(), inboxstore.Delivery{ID: id, Entity: "user/" + id, Body: []byte("{}")})
		require.NoError(t, err)
	}
	for range 2 { // a process dies in the middle of one and before the others
		_, err := box.Turn(t.Context(), inboxstore.Turn{Owner: "a dead one", Lease: -time.Minute, Take: 4})
		require.NoError(t, err)
		grant(t, l, bridge.Claim{Delivery: "in_4", Lease: -time.Minute})
	}
	turn := inboxstore.Turn{Owner: "me", Lease: time.Minute, Renew: true, Take: 4, Suspects: true}
	_, err := box.Turn(t.Context(), turn)
	require.NoError(t, err)
	turn.Ended = []inboxstore.Ended{{ID: "in_1", Done: true}, {ID: "in_2", Dead: true}, {ID: "in_3", After: time.Hour}}
	_, err = box.Turn(t.Context(), turn)
	require.NoError(t, err)
	_, err = box.Dead(t.Context(), 0, 10)
	require.NoError(t, err)
	_, err = box.Stats(t.Context())
	require.NoError(t, err)
	_, err = box.Revive(t.Context(), []string{"in_2"})
	require.NoError(t, err)
	_, err = box.Remove(t.Context(), []string{"in_2"})
	require.NoError(t, err)
}

// fillAll makes all tables so large that the database prefers an index.
func (d database) fillAll(t testing.TB, n int) {
	t.Helper()
	d.fill(t, "finished", "old", n, 5)
	d.fill(t, "open", "open", n, 1)
	d.fill(t, "ids", "id", n, 1)
	d.fill(t, "entities", "user/", n, 0)
	d.fill(t, "leases", "user/", n, 1)
	if d.Dialect == sqlledger.SQLite {
		d.fill(t, "inbox", "waits", n, 0)
		d.exec(t, "analyze")
		return
	}
	for _, table := range []string{"deliveries", "ids", "entities", "leases"} {
		d.exec(t, "analyze {p}"+table)
	}
}

// TestPlans: no statement looks through a table.
func TestPlans(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.cfg.MaxDeliveries = 5000
			d.ledger(t)
			d.fillAll(t, 10_000)
			plans := d.plans(t, func(l *sqlledger.Ledger) { everything(t, l) })
			assert.Greater(t, len(plans), 12)
			for _, plan := range plans {
				assert.NotRegexp(t, `Seq Scan|SCAN (bridge_\w+|[a-z])(\n|$)`, plan)
			}
		})
	}
}

// plans returns the plan of each statement that do leads to.
func (d database) plans(t testing.TB, do func(*sqlledger.Ledger)) []string {
	t.Helper()
	if d.Dialect == sqlledger.SQLite {
		return d.sqlitePlans(t, do)
	}
	return d.postgresPlans(t, do)
}

// postgresPlans has the server report them, also of what is in the functions.
func (d database) postgresPlans(t testing.TB, do func(*sqlledger.Ledger)) []string {
	t.Helper()
	var mu sync.Mutex
	var plans []string
	cfg, err := pgx.ParseConfig(postgresURL(t))
	require.NoError(t, err)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(n.Message, "plan:") {
			plans = append(plans, n.Message)
		}
	}
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_level = notice;
			set auto_explain.log_nested_statements = on; set auto_explain.log_analyze = on`)
		return err
	}))
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	l := open(t, db, d.cfg)
	mu.Lock()
	plans = nil // those of Open look at small tables
	mu.Unlock()
	do(l)
	mu.Lock()
	defer mu.Unlock()
	return plans
}

// sqlitePlans notes the statements and asks for their plans afterwards.
func (d database) sqlitePlans(t testing.TB, do func(*sqlledger.Ledger)) []string {
	t.Helper()
	plain := d.open(t)
	rec := &recorder{driver: plain.Driver()}
	require.NoError(t, plain.QueryRowContext(t.Context(), "select file from pragma_database_list where name = 'main'").Scan(&rec.path))
	db := sql.OpenDB(rec)
	defer func() { _ = db.Close() }()
	l := open(t, db, d.cfg)
	rec.statements = nil // those of Open look at small tables
	do(l)
	seen := make(map[string]bool)
	var plans []string
	for _, s := range rec.statements {
		switch {
		case seen[s.sql], s.sql == "begin immediate", s.sql == "commit", s.sql == "rollback":
		default:
			seen[s.sql] = true
			plans = append(plans, s.sql+"\n"+strings.Join(queryPlan(t, plain, s), "\n"))
		}
	}
	return plans
}

func queryPlan(t testing.TB, db *sql.DB, s statement) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "explain query plan "+s.sql, s.args...)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var lines []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		lines = append(lines, detail)
	}
	require.NoError(t, rows.Err())
	return lines
}

type statement struct {
	sql  string
	args []any
}

// recorder opens connections that note their statements.
type recorder struct {
	path       string
	driver     driver.Driver
	statements []statement
}

func (r *recorder) Driver() driver.Driver { return r.driver }

func (r *recorder) Connect(context.Context) (driver.Conn, error) {
	conn, err := r.driver.Open(r.path)
	return &recordingConn{Conn: conn, to: r}, err
}

func (r *recorder) add(query string, args []driver.NamedValue) {
	s := statement{sql: query}
	for _, a := range args {
		s.args = append(s.args, a.Value)
	}
	r.statements = append(r.statements, s)
}

type recordingConn struct {
	driver.Conn

	to *recorder
}

func (c *recordingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.to.add(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *recordingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.to.add(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *recordingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	return &recordingStmt{Stmt: s, sql: query, to: c.to}, err
}

type recordingStmt struct {
	driver.Stmt

	sql string
	to  *recorder
}

func (s *recordingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.to.add(s.sql, args)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *recordingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.to.add(s.sql, args)
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
