package sqltest_test

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/sqlledger"
)

// TestFailsAlone: of many claims at once, which share transactions, one fails.
func TestFailsAlone(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	l := d.ledger(t)
	save(t, l, claim("msg_newer"), grant(t, l, claim("msg_newer")), bridge.OutcomeTransient)
	d.exec(t, "update {p}deliveries set format = 2")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if i%10 == 0 {
				_, err := l.Claim(t.Context(), claim("msg_newer"))
				assert.ErrorContains(t, err, "written by a newer version")
				return
			}
			c := claim(fmt.Sprint("msg_", i), fmt.Sprint("user/", i))
			claimed, err := l.Claim(t.Context(), c)
			if assert.NoError(t, err) && assert.Equal(t, bridge.ClaimGranted, claimed.Status) {
				assert.NoError(t, l.Save(t.Context(), progress(c, claimed, bridge.OutcomeDone)))
			}
		})
	}
	wg.Wait()
	for i := range 200 {
		if i%10 != 0 {
			claimed, err := l.Claim(t.Context(), claim(fmt.Sprint("msg_", i)))
			require.NoError(t, err)
			assert.Equal(t, bridge.ClaimFinished, claimed.Status)
		}
	}
}

// TestHangs: of a database that hangs, nobody is told later because others have
// more time.
func TestHangs(t *testing.T) {
	t.Parallel()
	for name, create := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := create(t)
			l := d.ledger(t)
			other, err := d.open(t).BeginTx(t.Context(), nil) // SQLite's has locked all
			require.NoError(t, err)
			defer func() { _ = other.Rollback() }()
			if d.Dialect == sqlledger.Postgres {
				_, err = other.ExecContext(t.Context(), d.sql("lock table {p}leases in access exclusive mode"))
				require.NoError(t, err)
			}
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					deadline := time.Duration(i+1) * 300 * time.Millisecond
					ctx, cancel := context.WithTimeout(t.Context(), deadline)
					defer cancel()
					started := time.Now()
					_, err := l.Claim(ctx, claim(fmt.Sprint("msg_", i), fmt.Sprint("user/", i)))
					// One second of what is shared, one of the driver's busy_timeout.
					assert.Less(t, time.Since(started), deadline+3*time.Second)
					assert.Error(t, err)
				})
			}
			wg.Wait()
			require.NoError(t, other.Rollback())
			grant(t, l, claim("msg_1", "user/1"))
		})
	}
}

// TestOneHangs: one claim waits for a row until its context ends, and the others
// do not.
func TestOneHangs(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	l := d.ledger(t)
	save(t, l, claim("msg_0"), grant(t, l, claim("msg_0")), bridge.OutcomeTransient)
	other, err := d.open(t).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = other.Rollback() }()
	_, err = other.ExecContext(t.Context(), d.sql("select from {p}deliveries where id = 'msg_0' for update"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan error, 1)
	go func() {
		_, err := l.Claim(ctx, claim("msg_0"))
		first <- err
	}()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			claimed, err := l.Claim(t.Context(), claim(fmt.Sprint("msg_", i+1), fmt.Sprint("user/", i)))
			if assert.NoError(t, err) {
				assert.Equal(t, bridge.ClaimGranted, claimed.Status)
			}
		})
	}
	wg.Wait()
	select {
	case err = <-first:
		require.Fail(t, "it should still wait", "%v", err)
	default:
	}
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
}

// TestEndsWhileItCommits: what was committed has succeeded, also when the context
// ends in that moment.
func TestEndsWhileItCommits(t *testing.T) {
	t.Parallel()
	plain := newSQLite(t).open(t)
	c := &commits{driver: plain.Driver(), during: func() {}}
	require.NoError(t, plain.QueryRowContext(t.Context(), "select file from pragma_database_list where name = 'main'").Scan(&c.path))
	db := sql.OpenDB(c)
	defer func() { _ = db.Close() }()
	l := open(t, db, sqlledger.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.during = cancel
	claimed, err := l.Claim(ctx, claim("msg_1", "user/1"))
	require.NoError(t, err)
	require.Error(t, ctx.Err())
	assert.Equal(t, bridge.ClaimGranted, claimed.Status)
}

// TestCannotBeUndone: nobody is given a connection that is still in the transaction of
// another, which could not be undone.
func TestCannotBeUndone(t *testing.T) {
	t.Parallel()
	plain := newSQLite(t).open(t)
	f := &failures{driver: plain.Driver()}
	require.NoError(t, plain.QueryRowContext(t.Context(), "select file from pragma_database_list where name = 'main'").Scan(&f.path))
	db := sql.OpenDB(f)
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	l := open(t, db, sqlledger.Config{})
	f.failing.Store(true)
	_, err := l.Claim(t.Context(), claim("msg_1"))
	require.ErrorIs(t, err, errDisk)
	f.failing.Store(false)
	grant(t, l, claim("msg_1"))
}

var errDisk = errors.New("disk I/O error")

// failures opens connections that, while it is failing, run no statement and undo
// nothing.
type failures struct {
	path    string
	driver  driver.Driver
	failing atomic.Bool
}

func (f *failures) Driver() driver.Driver { return f.driver }

func (f *failures) Connect(context.Context) (driver.Conn, error) {
	conn, err := f.driver.Open(f.path)
	return &failingConn{Conn: conn, of: f}, err
}

type failingConn struct {
	driver.Conn

	of *failures
}

func (c *failingConn) Prepare(query string) (driver.Stmt, error) {
	if c.of.failing.Load() {
		return nil, errDisk
	}
	return c.Conn.Prepare(query)
}

func (c *failingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.of.failing.Load() && query == "rollback" {
		return nil, errDisk
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

// commits opens connections that call during while they commit, and then, as
// drivers do, report a context that has ended rather than that it is done.
type commits struct {
	path   string
	driver driver.Driver
	during func()
}

func (c *commits) Driver() driver.Driver { return c.driver }

func (c *commits) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.path)
	return &committingConn{Conn: conn, of: c}, err
}

type committingConn struct {
	driver.Conn

	of *commits
}

func (c *committingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if query != "commit" {
		return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	}
	c.of.during()
	result, err := c.Conn.(driver.ExecerContext).ExecContext(context.WithoutCancel(ctx), query, args)
	return result, cmp.Or(ctx.Err(), err)
}
