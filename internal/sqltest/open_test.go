package sqltest_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/sqlledger"
)

const postgresVariable = "BRIDGE_TEST_POSTGRES"

// database is one that a test has for itself.
type database struct {
	sqlledger.Dialect

	// open returns another pool of connections to it, as another process has.
	open func(t testing.TB) *sql.DB
	// cfg is how the tables are opened.
	cfg sqlledger.Config
}

func (d database) ledger(t testing.TB) *sqlledger.Ledger {
	t.Helper()
	return open(t, d.open(t), d.cfg)
}

func open(t testing.TB, db *sql.DB, cfg sqlledger.Config) *sqlledger.Ledger {
	t.Helper()
	l, err := sqlledger.Open(t.Context(), db, cfg)
	require.NoError(t, err)
	return l
}

// exec changes what is stored, on a connection of its own. {p} stands for what
// is before a table's name.
func (d database) exec(t testing.TB, statement string) {
	t.Helper()
	_, err := d.open(t).ExecContext(t.Context(), d.sql(statement))
	require.NoError(t, err, statement)
}

// count runs a query for one number.
func (d database) count(t testing.TB, query string) (n int) {
	t.Helper()
	require.NoError(t, d.open(t).QueryRowContext(t.Context(), d.sql(query)).Scan(&n), query)
	return n
}

func (d database) sql(statement string) string {
	prefix := "bridge_"
	if d.cfg.Schema != "" {
		prefix = `"` + d.cfg.Schema + `".` + prefix
	}
	return strings.ReplaceAll(statement, "{p}", prefix)
}

// databases are the kinds of databases, each for a test of its own.
var databases = map[string]func(t testing.TB) database{"SQLite": newSQLite, "PostgreSQL": newPostgres}

func newSQLite(t testing.TB) database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bridge.db")
	return database{Dialect: sqlledger.SQLite, open: func(t testing.TB) *sql.DB {
		t.Helper()
		return openSQLite(t, path, "busy_timeout(1000)", "journal_mode(WAL)")
	}}
}

func openSQLite(t testing.TB, path string, pragmas ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?"+url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}.Encode())
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// schemas counts those of this process. Other runs may have left theirs behind.
var schemas atomic.Int64

func newPostgres(t testing.TB) database {
	t.Helper()
	schema := fmt.Sprintf("bridge_test_%d_%d", time.Now().UnixNano(), schemas.Add(1))
	d := database{
		Dialect: sqlledger.Postgres, cfg: sqlledger.Config{Schema: schema},
		open: func(t testing.TB) *sql.DB {
			t.Helper()
			return openPostgres(t, nil)
		},
	}
	db := d.open(t)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.WithoutCancel(t.Context()), fmt.Sprintf("drop schema if exists %q cascade", schema))
		require.NoError(t, err)
	})
	return d
}

// postgresURL is where the server is. Without one the test is skipped.
func postgresURL(t testing.TB) string {
	t.Helper()
	server := os.Getenv(postgresVariable)
	if server == "" {
		t.Skipf("%s is not set: no PostgreSQL to test against (internal/sqltest/postgres.sh starts one)", postgresVariable)
	}
	return server
}

// openPostgres opens a pool, with change applied to its configuration.
func openPostgres(t testing.TB, change func(*pgx.ConnConfig)) *sql.DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(postgresURL(t))
	require.NoError(t, err)
	if change != nil {
		change(cfg)
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(4) // of the server's, which all tests share
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// ledgers are handles of as many processes.
func (d database) ledgers(t testing.TB, n int) []bridge.Ledger {
	t.Helper()
	handles := make([]bridge.Ledger, n)
	for i := range handles {
		handles[i] = d.ledger(t)
	}
	return handles
}
