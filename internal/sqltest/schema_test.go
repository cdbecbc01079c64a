package sqltest_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/sqlledger"
)

// use works a delivery off.
func use(t testing.TB, l bridge.Ledger, id string) {
	t.Helper()
	c := claim(id, "user/1")
	save(t, l, c, grant(t, l, c), bridge.OutcomeDone)
}

func TestManyOpenAtOnce(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			const processes = 8
			dbs := make([]*sql.DB, processes)
			for i := range dbs {
				dbs[i] = d.open(t)
			}
			var wg sync.WaitGroup
			for i, db := range dbs {
				wg.Go(func() {
					l, err := sqlledger.Open(t.Context(), db, d.cfg)
					if assert.NoError(t, err) {
						_, err = l.Claim(t.Context(), claim(fmt.Sprint("msg_", i)))
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
			assert.Equal(t, 3, d.count(t, "select count(*) from {p}migrations"))
			assert.Equal(t, processes, d.count(t, "select count(*) from {p}deliveries"))
		})
	}
}

func TestPrintedSQL(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.cfg.SkipMigration = true
			db := d.open(t)
			_, err := sqlledger.Open(t.Context(), db, d.cfg)
			require.ErrorContains(t, err, "sqlledger: there are no tables")

			cfg := d.cfg
			cfg.Dialect = d.Dialect
			script, err := sqlledger.SQL(cfg)
			require.NoError(t, err)
			d.exec(t, script)
			use(t, d.ledger(t), "msg_1")

			d.exec(t, "insert into {p}migrations (version) values (99)")
			for _, d.cfg.SkipMigration = range []bool{true, false} {
				_, err = sqlledger.Open(t.Context(), db, d.cfg)
				require.ErrorContains(t, err, "sqlledger: the tables are of version 99 and this library knows version 3")
			}
		})
	}
}

func TestSQLOfAnInvalidConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cfg  sqlledger.Config
		want string
	}{
		{sqlledger.Config{}, "Config.Dialect is to be set"},
		{sqlledger.Config{Dialect: 7}, "Config.Dialect 7 is unknown"},
		{sqlledger.Config{Dialect: sqlledger.SQLite, Schema: "x"}, "Config.Schema is for PostgreSQL"},
		{sqlledger.Config{Dialect: sqlledger.Postgres, Schema: strings.Repeat("x", 64)}, "Config.Schema"},
		{sqlledger.Config{Dialect: sqlledger.Postgres, Schema: "x\x00"}, "Config.Schema"},
		{sqlledger.Config{Dialect: sqlledger.SQLite, TablePrefix: "x; drop table y --"}, "Config.TablePrefix"},
		{sqlledger.Config{Dialect: sqlledger.SQLite, TablePrefix: "X"}, "Config.TablePrefix"},
		{sqlledger.Config{Dialect: sqlledger.SQLite, TablePrefix: "1x_"}, `Config.TablePrefix "1x_" is to be lower-case letters, digits and underscores, at most 40, and not to begin with a digit`},
		{sqlledger.Config{Dialect: sqlledger.SQLite, TablePrefix: strings.Repeat("x", 41)}, "Config.TablePrefix"},
	} {
		_, err := sqlledger.SQL(test.cfg)
		require.ErrorContains(t, err, "sqlledger: "+test.want)
	}
}

// TestNames: ledgers under different names do not know of each other.
func TestNames(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			cfgs := []sqlledger.Config{d.cfg, {Schema: d.cfg.Schema, TablePrefix: "other_"}, {Schema: d.cfg.Schema, TablePrefix: strings.Repeat("x", 40)}}
			if d.Dialect == sqlledger.Postgres {
				schema := d.cfg.Schema + ` "'$1 É`
				t.Cleanup(func() {
					_, err := d.open(t).ExecContext(context.WithoutCancel(t.Context()), "drop schema "+pgx.Identifier{schema}.Sanitize()+" cascade")
					require.NoError(t, err)
				})
				cfgs = append(cfgs, sqlledger.Config{Schema: schema})
			}
			for _, cfg := range cfgs {
				l, err := sqlledger.Open(t.Context(), d.open(t), cfg)
				require.NoError(t, err)
				use(t, l, "msg_1")
				got, err := l.Claim(t.Context(), claim("msg_1"))
				require.NoError(t, err)
				assert.Equal(t, bridge.ClaimFinished, got.Status)
			}
		})
	}
}

// TestDialect sets what is detected elsewhere, and what is not so.
func TestDialect(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.cfg.Dialect = d.Dialect
			use(t, d.ledger(t), "msg_1")
			assert.Equal(t, name, d.String())
			_, err := sqlledger.Open(t.Context(), d.open(t), sqlledger.Config{Dialect: 3 - d.Dialect})
			require.ErrorContains(t, err, "and the database is "+name)
		})
	}
}

func TestDatabaseDownAtStart(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		_, err := sqlledger.Open(t.Context(), openSQLite(t, filepath.Join(t.TempDir(), "no", "such", "folder")), sqlledger.Config{})
		require.ErrorContains(t, err, "sqlledger: ")
		require.ErrorContains(t, err, "unable to open database file")
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		db := openPostgres(t, func(c *pgx.ConnConfig) { c.Host, c.Port, c.Fallbacks = "127.0.0.1", 1, nil })
		_, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
		require.ErrorContains(t, err, "sqlledger: reach the database: ")
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		db := openSQLite(t, ":memory:")
		require.NoError(t, db.Close())
		_, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
		require.ErrorContains(t, err, "sqlledger: reach the database: ")
	})
}

// TestOneDatabaseForAll: connections that each have a database in memory lose what
// one of them has stored.
func TestOneDatabaseForAll(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file string
		most int
		want string
	}{
		"each its own":   {":memory:", 0, "SetMaxOpenConns(1)"},
		"two at a time":  {":memory:", 2, "SetMaxOpenConns(1)"},
		"one connection": {":memory:", 1, ""},
		"shared":         {"file:" + t.Name() + "?mode=memory&cache=shared", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("sqlite", tc.file)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			db.SetMaxOpenConns(tc.most)
			l, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			use(t, l, "msg_1")
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, err := sqlledger.Open(t.Context(), nil, sqlledger.Config{})
	require.ErrorContains(t, err, "the database is nil")
	db := openSQLite(t, filepath.Join(t.TempDir(), "l.db"))
	for _, cfg := range []sqlledger.Config{{Retention: -1}, {RetainIDs: -1}, {MaxDeliveries: -1}} {
		_, err := sqlledger.Open(t.Context(), db, cfg)
		require.ErrorContains(t, err, "is negative")
	}
}

// TestIsolation: the ledger does not work at another level than it needs.
func TestIsolation(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	d.ledger(t)
	db := openPostgres(t, func(c *pgx.ConnConfig) { c.RuntimeParams["default_transaction_isolation"] = "repeatable read" })
	_, err := sqlledger.Open(t.Context(), db, d.cfg)
	require.ErrorContains(t, err, `default_transaction_isolation is "repeatable read"`)
	_, err = db.ExecContext(t.Context(), d.sql("select {p}lock_1('{}', '{}')"))
	require.ErrorContains(t, err, "read committed")
}

// TestDateStyle: what would fail each delivery is refused at the start.
func TestDateStyle(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	d.ledger(t)
	german := openPostgres(t, func(c *pgx.ConnConfig) {
		c.RuntimeParams["datestyle"] = "German"
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
	})
	_, err := sqlledger.Open(t.Context(), german, d.cfg)
	require.ErrorContains(t, err, "DateStyle=ISO")
}

// TestRights: who may create tables in the schema need not be allowed to create
// schemas, and who works with the tables need not be allowed to create any.
func TestRights(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	role := d.cfg.Schema
	d.exec(t, "create schema "+role)
	d.exec(t, "create role "+role)
	t.Cleanup(func() {
		_, err := d.open(t).ExecContext(context.WithoutCancel(t.Context()), "drop owned by "+role+"; drop role "+role)
		require.NoError(t, err)
	})
	as := openPostgres(t, func(c *pgx.ConnConfig) { c.RuntimeParams["role"] = role })
	_, err := sqlledger.Open(t.Context(), as, d.cfg)
	require.ErrorContains(t, err, "sqlledger: create or update the tables: ERROR: permission denied for schema")
	d.exec(t, fmt.Sprintf("grant usage, create on schema %s to %s", role, role))
	use(t, open(t, as, d.cfg), "msg_1")

	d.cfg.TablePrefix = "other_"
	open(t, d.open(t), d.cfg)
	d.exec(t, fmt.Sprintf("grant select, insert, update, delete on all tables in schema %s to %s", role, role))
	use(t, open(t, as, d.cfg), "msg_1")
}

// TestOpenBesideOthers: ledgers with prefixes of their own make the same new schema.
func TestOpenBesideOthers(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	const schemas, prefixes = 5, 4
	for i := range schemas {
		d.cfg.Schema = fmt.Sprintf("%.40s_%d", d.cfg.Schema, i)
		var all sync.WaitGroup
		for n := range prefixes {
			cfg, db := d.cfg, d.open(t)
			cfg.TablePrefix = fmt.Sprintf("p%d_", n)
			all.Go(func() {
				_, err := sqlledger.Open(t.Context(), db, cfg)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		d.exec(t, "drop schema "+d.cfg.Schema+" cascade")
	}
}
