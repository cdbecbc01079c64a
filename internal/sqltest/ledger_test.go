package sqltest_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/ledgertest"
	"github.com/clerkknock/bridge/sqlledger"
)

// TestConformance has one process and several.
func TestConformance(t *testing.T) {
	t.Parallel()
	for dialect, open := range databases {
		for _, handles := range []int{1, 3} {
			t.Run(dialect+" "+strconv.Itoa(handles), func(t *testing.T) {
				t.Parallel()
				ledgertest.Run(t, func(t *testing.T) []bridge.Ledger {
					t.Helper()
					return open(t).ledgers(t, handles)
				})
			})
		}
	}
	// As behind a pooler of transactions, and with parameters written into the
	// statement.
	for name, mode := range map[string]pgx.QueryExecMode{"exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol} {
		t.Run("PostgreSQL "+name, func(t *testing.T) {
			t.Parallel()
			ledgertest.Run(t, func(t *testing.T) []bridge.Ledger {
				t.Helper()
				d := newPostgres(t)
				db := openPostgres(t, func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = mode })
				return []bridge.Ledger{open(t, db, d.cfg)}
			})
		})
	}
	t.Run("SQLite with a rollback journal", func(t *testing.T) {
		t.Parallel()
		ledgertest.Run(t, func(t *testing.T) []bridge.Ledger {
			t.Helper()
			path := t.TempDir() + "/bridge.db"
			return []bridge.Ledger{open(t, openSQLite(t, path), sqlledger.Config{}), open(t, openSQLite(t, path), sqlledger.Config{})}
		})
	})
	t.Run("SQLite in memory", func(t *testing.T) {
		t.Parallel()
		ledgertest.Run(t, func(t *testing.T) []bridge.Ledger {
			t.Helper()
			db := openSQLite(t, ":memory:")
			db.SetMaxOpenConns(1) // each connection has a database of its own
			return []bridge.Ledger{open(t, db, sqlledger.Config{})}
		})
	})
}

func TestForgotten(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.cfg.Retention = time.Second
			ledgertest.Forgotten(t, d.ledger(t), func() { time.Sleep(1100 * time.Millisecond) })
		})
	}
}
