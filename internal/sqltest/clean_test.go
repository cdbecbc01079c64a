package sqltest_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/sqlledger"
)

// fill stores n deliveries or ids of that age in days.
func (d database) fill(t testing.TB, table, id string, n, days int) {
	t.Helper()
	from, at := fmt.Sprintf("generate_series(1, %d) n", n), fmt.Sprintf("now() - interval '%d days'", days)
	if d.Dialect == sqlledger.SQLite {
		from = fmt.Sprintf("(with recursive s(n) as (select 1 union all select n + 1 from s where n < %d) select n from s)", n)
		at = fmt.Sprintf("unixepoch('now', '-%d days') * 1000", days)
	}
	id = fmt.Sprintf("'%s_' || n", id)
	switch table {
	case "ids":
		d.exec(t, fmt.Sprintf("insert into {p}ids (id, finished_at) select %s, %s from %s", id, at, from))
	case "inbox":
		d.exec(t, fmt.Sprintf(`insert into {p}inbox (id, event_type, entity, deletes, version, stamp, stored_at, due_at)
			select %s, '', %s, 0, 0, 0, %s, %s + 3600000 from %s`, id, id, at, at, from))
		d.exec(t, `insert into {p}inbox_bodies (seq, body) select seq, '{}' from {p}inbox`)
	case "entities":
		d.exec(t, fmt.Sprintf("insert into {p}entities (key, state) select %s, '{}' from %s", id, from))
	case "leases":
		d.exec(t, fmt.Sprintf(`insert into {p}leases (entity, delivery, attempt, claimed_at, lease_until)
			select %s, %s, 1, %s, %s from %s`, id, id, at, at, from))
	case "finished", "open":
		finished := "null"
		if table == "finished" {
			finished = at
		}
		d.exec(t, fmt.Sprintf(`insert into {p}deliveries (id, event_type, entity, attempt, outcome, first_at, claimed_at, finished_at, format, steps)
			select %s, '', '', 1, 'done', %s, %s, %s, 1, '' from %s`, id, at, at, finished, from))
	default:
		require.Fail(t, "no table "+table)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			l := d.ledger(t)
			d.fill(t, "finished", "old", 1200, 5)
			d.fill(t, "finished", "new", 10, 3)
			d.fill(t, "open", "given up", 700, 91)
			d.fill(t, "open", "failed", 10, 89)
			d.fill(t, "ids", "old id", 600, 91)
			d.fill(t, "ids", "id", 10, 89)
			d.fill(t, "ids", "old", 1, 30) // finished twice
			d.fill(t, "entities", "user/", 10, 0)
			deliveries := func() int { return d.count(t, "select count(*) from {p}deliveries") }

			use(t, l, "msg_1") // cleans a little
			assert.Equal(t, 1200+700+20-2*500+1, deliveries())
			assert.Equal(t, 600+10+500-500, d.count(t, "select count(*) from {p}ids"))
			use(t, l, "msg_2") // which is not due again
			assert.Equal(t, 1200+700+20-2*500+2, deliveries())

			n, err := l.Clean(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 700+200+100, n)
			assert.Equal(t, 22, deliveries())
			assert.Equal(t, 1210, d.count(t, "select count(*) from {p}ids"))
			assert.Equal(t, 10, d.count(t, "select count(*) from {p}entities"), "kept for good")
			assert.Zero(t, d.count(t, "select count(*) from {p}leases"))
			n, err = l.Clean(t.Context())
			require.NoError(t, err)
			assert.Zero(t, n)

			assert.True(t, grant(t, l, claim("old_1")).Forgotten)
			assert.True(t, grant(t, l, claim("old_1200")).Forgotten)
			assert.False(t, grant(t, l, claim("old id_1")).Forgotten)
			assert.False(t, grant(t, l, claim("given up_1")).Forgotten)
			again := grant(t, l, claim("failed_1"))
			assert.Equal(t, 2, again.Attempt)
			got, err := l.Claim(t.Context(), claim("new_1"))
			require.NoError(t, err)
			assert.Equal(t, bridge.ClaimFinished, got.Status)
		})
	}
}

func TestMaxDeliveries(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.cfg.MaxDeliveries = 25
			l := d.ledger(t)
			d.fill(t, "finished", "two", 20, 2)
			d.fill(t, "finished", "one", 20, 1)
			n, err := l.Clean(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 20, n, "those of the same time go together")
			assert.True(t, grant(t, l, claim("two_1")).Forgotten)
			got, err := l.Claim(t.Context(), claim("one_1"))
			require.NoError(t, err)
			assert.Equal(t, bridge.ClaimFinished, got.Status)
		})
	}
}

func TestCleaningFails(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			var log bytes.Buffer
			d.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			l := d.ledger(t)
			c := claim("msg_1")
			claimed := grant(t, l, c)
			d.exec(t, "drop table {p}ids")
			save(t, l, c, claimed, bridge.OutcomeDone)
			assert.Contains(t, log.String(), "cleaning up failed")
			_, err := l.Clean(t.Context())
			require.ErrorContains(t, err, "sqlledger: clean up: ")
		})
	}
}
