package sqltest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/sqlledger"
)

func claim(id string, entities ...string) bridge.Claim {
	return bridge.Claim{Delivery: id, EventType: "user.updated", ReceivedAt: time.Now(), Lease: time.Minute, Entities: entities}
}

func grant(t testing.TB, l bridge.Ledger, c bridge.Claim) bridge.Claimed {
	t.Helper()
	claimed, err := l.Claim(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, bridge.ClaimGranted, claimed.Status, c.Delivery)
	return claimed
}

func save(t testing.TB, l bridge.Ledger, c bridge.Claim, claimed bridge.Claimed, outcome bridge.Outcome) {
	t.Helper()
	require.NoError(t, l.Save(t.Context(), progress(c, claimed, outcome)))
}

func progress(c bridge.Claim, claimed bridge.Claimed, outcome bridge.Outcome) bridge.Progress {
	return bridge.Progress{
		Delivery: c.Delivery, Attempt: claimed.Attempt, Held: c.Entities, Outcome: outcome,
		Steps: []bridge.StepRecord{{Name: "users.identify:1", Kind: "users_identify", Done: true, StartedAt: claimed.Now}},
	}
}

// knock is a Knock that answers after a while.
type knock time.Duration

func (k knock) Do(context.Context, *actions.Request) (*actions.Response, error) {
	time.Sleep(time.Duration(k))
	return &actions.Response{Status: http.StatusOK, Body: []byte(`{}`)}, nil
}

func handler(t testing.TB, cfg bridge.Config) *bridge.Handler {
	t.Helper()
	cfg.SigningSecrets = []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	cfg.Logger = slog.New(slog.DiscardHandler)
	if cfg.Knock == nil {
		cfg.Knock = knock(0)
	}
	h, err := bridge.New(cfg)
	require.NoError(t, err)
	return h
}

func userUpdated(id string, user, version int) bridge.Delivery {
	return bridge.Delivery{ID: id, Body: fmt.Appendf(nil,
		`{"type":"user.updated","timestamp":%d,"data":{"id":"user_%d","first_name":"v%d","updated_at":%d}}`,
		1760000000000+version, user, version, 1760000000000+version)}
}

// TestDatabaseLostInMidDelivery: the delivery is to be sent again, and is then
// done.
func TestDatabaseLostInMidDelivery(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			db := d.open(t)
			l, err := sqlledger.Open(t.Context(), db, d.cfg)
			require.NoError(t, err)
			h := handler(t, bridge.Config{Ledger: l, Timeout: 500 * time.Millisecond, Mappings: bridge.Mappings{
				bridge.Also(clerk.UserUpdated, func(context.Context, *clerk.Event[clerk.User], *actions.Client) error { return db.Close() }),
			}})
			res, err := h.Process(t.Context(), userUpdated("msg_1", 1, 1))
			require.ErrorContains(t, err, "sql: database is closed")
			assert.Equal(t, http.StatusServiceUnavailable, res.Status())
			res, err = h.Process(t.Context(), userUpdated("msg_2", 2, 1)) // and no other is begun
			require.ErrorContains(t, err, "sqlledger: claim delivery")
			assert.Equal(t, http.StatusServiceUnavailable, res.Status())

			h = handler(t, bridge.Config{Ledger: d.ledger(t)})
			require.Eventually(t, func() bool {
				res, err = h.Process(t.Context(), userUpdated("msg_1", 1, 1))
				return err == nil
			}, 10*time.Second, 50*time.Millisecond)
			assert.Equal(t, bridge.OutcomeDone, res.Outcome)
		})
	}
}

func TestLockedFile(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	l := d.ledger(t)
	other, err := d.open(t).BeginTx(t.Context(), nil) // immediate, as its name of the file says
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, err = l.Claim(ctx, claim("msg_1"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(started), 4*time.Second) // the driver's busy_timeout is one second

	gone, err := l.Gone(t.Context(), []string{"user/1"}) // readers need not wait
	require.NoError(t, err)
	assert.Empty(t, gone)

	go func() {
		time.Sleep(50 * time.Millisecond)
		_ = other.Rollback()
	}()
	assert.Equal(t, 1, grant(t, l, claim("msg_1")).Attempt)
}

// TestLockedForTooLong: without a deadline there is an end to it, too.
func TestLockedForTooLong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bridge.db")
	l := open(t, openSQLite(t, path), sqlledger.Config{})
	other, err := openSQLite(t, path).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = other.Rollback() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for _, ctx := range []context.Context{ctx, t.Context()} {
		_, err = l.Claim(ctx, claim("msg_1"))
		require.ErrorContains(t, err, "database is locked")
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, filepath.Join(t.TempDir(), "bridge.db"), "journal_mode(WAL)")
	db.SetMaxOpenConns(1) // as the limit is the connection's
	l := open(t, db, sqlledger.Config{})
	limit := func(pages int) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), fmt.Sprintf("pragma max_page_count = %d", pages))
		require.NoError(t, err)
	}
	limit(1) // which is as many as there are
	c := claim("msg_1", "user/1")
	c.Entities[0] += strings.Repeat("x", 1000)
	var claimed bridge.Claimed
	var err error
	for i := 0; err == nil; i++ {
		c.Delivery = fmt.Sprintf("msg_%d", i)
		if claimed, err = l.Claim(t.Context(), c); err == nil {
			p := progress(c, claimed, bridge.OutcomeDone)
			p.Steps[0].Name = strings.Repeat("x", 10_000)
			err = l.Save(t.Context(), p)
		}
	}
	require.ErrorContains(t, err, "database or disk is full")
	limit(1 << 20)
	if claimed.Status != bridge.ClaimGranted { // it failed before anything was taken
		claimed = grant(t, l, c)
	}
	assert.Equal(t, 1, claimed.Attempt)
	save(t, l, c, claimed, bridge.OutcomeDone)
}

func TestStepsOfANewerVersion(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			l := d.ledger(t)
			c := claim("msg_1", "user/1")
			save(t, l, c, grant(t, l, c), bridge.OutcomeTransient)
			d.exec(t, "update {p}deliveries set format = 2")
			_, err := l.Claim(t.Context(), c)
			require.EqualError(t, err, `sqlledger: claim delivery "msg_1": its steps were written by a newer version of this library, in a format beyond 1`)
			grant(t, l, claim("msg_2", "user/1")) // nothing was taken

			d.exec(t, "update {p}deliveries set format = 1, steps = '{' where id = 'msg_1'")
			c.Entities = nil
			_, err = l.Claim(t.Context(), c)
			require.ErrorContains(t, err, `sqlledger: claim delivery "msg_1": its steps are unreadable`)
		})
	}
}

// TestClockJumps moves what is stored instead of the clock. A lease ends early
// or at once, and is never longer than it was meant to be.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		for _, hours := range []int{-1, 1} {
			t.Run(fmt.Sprintf("%s set by %+d h", name, hours), func(t *testing.T) {
				t.Parallel()
				d := open(t)
				l, other := d.ledger(t), d.ledger(t)
				use(t, l, "msg_done")
				c := claim("msg_1", "user/1")
				claimed := grant(t, l, c)
				d.shift(t, -hours)
				second := grant(t, other, claim("msg_2", "user/1"))
				require.ErrorIs(t, l.Save(t.Context(), progress(c, claimed, bridge.OutcomeDone)), bridge.ErrClaimLost)
				save(t, other, claim("msg_2", "user/1"), second, bridge.OutcomeDone)
				assert.Equal(t, 2, grant(t, other, c).Attempt)
				got, err := l.Claim(t.Context(), claim("msg_done"))
				require.NoError(t, err)
				assert.Equal(t, bridge.ClaimFinished, got.Status)

				bury := claim("msg_3", "organization/1")
				grant(t, l, claim("msg_4", "organization/1/user/1"))
				d.shift(t, -hours)
				bury.Bury = bury.Entities[0]
				grant(t, l, bury)
			})
		}
	}
}

// TestTwoClocks: the clock of one process is years behind, as it is in a bubble
// of synctest. PostgreSQL's counts.
func TestTwoClocks(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	l := d.ledger(t)
	c := claim("msg_1", "user/1")
	claimed := grant(t, l, c)
	var behind bridge.Claimed
	synctest.Test(t, func(t *testing.T) {
		db := d.open(t)
		defer func() { _ = db.Close() }()
		other := open(t, db, d.cfg)
		got, err := other.Claim(t.Context(), claim("msg_2", "user/1"))
		require.NoError(t, err)
		assert.Equal(t, bridge.ClaimBusy, got.Status)
		assert.InDelta(t, time.Minute, got.RetryAfter, float64(20*time.Second))
		behind = grant(t, other, claim("msg_3", "user/3"))
		assert.Greater(t, time.Until(behind.Now), 365*24*time.Hour)
	})
	got, err := l.Claim(t.Context(), claim("msg_3"))
	require.NoError(t, err)
	assert.Equal(t, bridge.ClaimBusy, got.Status)
	assert.WithinDuration(t, claimed.Now, behind.Now, 20*time.Second)
	save(t, l, c, claimed, bridge.OutcomeDone)
}

// shift moves all times that matter by a number of hours.
func (d database) shift(t testing.TB, hours int) {
	t.Helper()
	by := fmt.Sprintf("+ interval '%d hours'", hours)
	if d.Dialect == sqlledger.SQLite {
		by = fmt.Sprintf("+ %d", (time.Duration(hours) * time.Hour).Milliseconds())
	}
	for table, columns := range map[string][]string{
		"deliveries": {"first_at", "claimed_at", "lease_until", "open_since", "finished_at"},
		"leases":     {"claimed_at", "lease_until"},
		"ids":        {"finished_at"},
	} {
		for _, column := range columns {
			d.exec(t, fmt.Sprintf("update {p}%s set %s = %s %s", table, column, column, by))
		}
	}
}

// TestContextEndsInTheQueue: one handle that waits for a connection or for other writers
// ends with its context.
func TestContextEndsInTheQueue(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			db := d.open(t)
			db.SetMaxOpenConns(1)
			l, err := sqlledger.Open(t.Context(), db, d.cfg)
			require.NoError(t, err)
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			errs := make(chan error)
			for i := range 2 {
				go func() {
					_, err := l.Claim(ctx, claim(fmt.Sprint("msg_", i)))
					errs <- err
				}()
			}
			for range 2 {
				require.ErrorIs(t, <-errs, context.DeadlineExceeded)
			}
			require.NoError(t, conn.Close())
			assert.Equal(t, 1, grant(t, l, claim("msg_0")).Attempt)
		})
	}
}
