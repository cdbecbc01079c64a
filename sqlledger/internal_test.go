package sqlledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
)

// The tests against databases are in internal/sqltest, with the drivers.

func FuzzSteps(f *testing.F) {
	f.Add("users.identify:user_1", "users_identify", "req_1", []byte(`"run_1"`))
	f.Add("a\x00\xff", "", `{"base64":"eA=="}`, []byte("{\"a\": 1}\n\xff"))
	f.Fuzz(func(t *testing.T, name, kind, request string, result []byte) {
		want := []bridge.StepRecord{{
			Name: name, Kind: kind, Done: true, StartedAt: time.UnixMilli(1760000000123).UTC(), Duration: 12345,
			Status: 200, RequestID: request, Attempts: 2, Result: result,
		}, {Name: name}}
		stored, err := encodeSteps(want)
		require.NoError(t, err)
		require.True(t, isText(stored))
		got, err := decodeSteps(stored)
		require.NoError(t, err)
		assert.Equal(t, string(result), string(got[0].Result))
		got[0].Result, got[1].Result, want[0].Result = nil, nil, nil
		assert.Equal(t, want, got)
	})
}

func TestLockList(t *testing.T) {
	t.Parallel()
	locks := lockList{7: true, -3: false}
	locks.entity("user/1", false)
	locks.entity("user/1", true)
	locks.entity("user/1", false) // remains exclusive
	ids, exclusive := locks.arrays()
	want := []int64{7, -3, lockID("entity", "user/1")}
	slices.Sort(want)
	assert.Equal(t, strings.ReplaceAll(fmt.Sprint(want), " ", ","), "["+strings.Trim(ids, "{}")+"]", "in ascending order")
	for i, flag := range strings.Split(strings.Trim(exclusive, "{}"), ",") {
		assert.Equal(t, strconv.FormatBool(want[i] != -3), flag)
	}
	assert.NotEqual(t, lockID("entity", "a"), lockID("delivery", "a"))
	assert.Equal(t, `{"a","b\"\\,{}",""}`, textArray([]string{"a", `b"\,{}`, ""}))
}

// TestTidy: a clean-up that was not enough goes on soon.
func TestTidy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &schedule{logger: slog.New(slog.DiscardHandler), opened: time.Now(), every: cleanEvery, again: cleanAgain}
		more := true
		var cleaned []time.Duration
		clean := func(context.Context) (removed, error) {
			cleaned = append(cleaned, time.Since(s.opened))
			return removed{rows: 1, more: more}, nil
		}
		for time.Since(s.opened) < 2*time.Minute {
			more = len(cleaned) < 3
			s.tidy(t.Context(), clean)
			time.Sleep(100 * time.Millisecond)
		}
		assert.Equal(t, []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 63 * time.Second}, cleaned)

		time.Sleep(cleanEvery)
		s.tidy(t.Context(), func(context.Context) (removed, error) { return removed{}, errors.New("locked") })
		failed := time.Now()
		tries := len(cleaned)
		for len(cleaned) == tries {
			time.Sleep(100 * time.Millisecond)
			s.tidy(t.Context(), clean)
		}
		assert.Equal(t, cleanRetry, time.Since(failed))
	})
}

// TestAnotherDatabase is one that is neither of the two.
func TestAnotherDatabase(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), sql.OpenDB(answers("8.4.0")), Config{})
	require.EqualError(t, err, `sqlledger: the database is neither PostgreSQL nor SQLite, but "8.4.0"`)
	_, err = Open(t.Context(), sql.OpenDB(answers("")), Config{})
	require.ErrorContains(t, err, "sqlledger: ask the database what it is: no such function")
}

// answers is a database that answers every query alike, and none when empty.
type answers string

func (a answers) Connect(context.Context) (driver.Conn, error) { return a, nil }
func (a answers) Driver() driver.Driver                        { return nil }
func (a answers) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (a answers) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (a answers) Close() error                                 { return nil }

func (a answers) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	if a == "" {
		return nil, errors.New("no such function")
	}
	return &oneRow{value: string(a)}, nil
}

type oneRow struct {
	value string
	done  bool
}

func (r *oneRow) Columns() []string { return []string{"version"} }
func (r *oneRow) Close() error      { return nil }

func (r *oneRow) Next(to []driver.Value) error {
	if r.done {
		return io.EOF
	}
	to[0], r.done = r.value, true
	return nil
}
