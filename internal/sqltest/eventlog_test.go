package sqltest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/eventlog"
	"github.com/clerkknock/bridge/internal/logtest"
	"github.com/clerkknock/bridge/sqlledger"
)

func TestEventLog(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The records of the tests are of a day of their own.
			cfg := sqlledger.LogConfig{MaxAge: 100 * 365 * 24 * time.Hour}
			logtest.Run(t, func(t testing.TB) eventlog.Store {
				t.Helper()
				return open(t).ledger(t).EventLog(cfg)
			})
		})
	}
}

// TestEventLogClean keeps the latest, and cleans up a little at a time.
func TestEventLogClean(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			log := d.ledger(t).EventLog(sqlledger.LogConfig{MaxRecords: 1000, MaxAge: 24 * time.Hour, MaxUnverified: 100})
			now := time.Now()
			var records []*eventlog.Record
			add := func(n int, at time.Time, v eventlog.Verification) {
				for i := range n {
					records = append(records, logtest.Record(at.Add(time.Duration(i)*time.Millisecond), func(r *eventlog.Record) { r.Verification = v }))
				}
			}
			add(700, now.Add(-48*time.Hour), eventlog.Verified)
			add(1800, now.Add(-12*time.Hour), eventlog.Verified)
			add(300, now.Add(-48*time.Hour), eventlog.TooOld)
			add(300, now.Add(-12*time.Hour), eventlog.TooOld)
			require.NoError(t, log.Append(t.Context(), records))
			rows := func(table string) int { return d.count(t, "select count(*) from {p}"+table) }
			// In SQLite and in PostgreSQL alike: 500 that are old, and 500 that are too many.
			assert.Equal(t, 2500-1000, rows("log"))
			assert.Equal(t, 100, rows("log_unverified"))
			n, err := log.Clean(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 500, n)
			assert.Equal(t, 1000, rows("log"))
			n, err = log.Clean(t.Context())
			require.NoError(t, err)
			assert.Zero(t, n)
			page, err := log.List(t.Context(), eventlog.Query{Limit: 1})
			require.NoError(t, err)
			assert.Equal(t, records[2499].ID, page.Records[0].ID, "the latest are kept")
		})
	}
}

// TestEventLogClocks: records of machines whose clocks are wrong do not keep the
// others from being cleaned up.
func TestEventLogClocks(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		for clock, off := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
			t.Run(name+", "+clock, func(t *testing.T) {
				t.Parallel()
				log := open(t).ledger(t).EventLog(sqlledger.LogConfig{MaxRecords: 10})
				now := time.Now()
				for i := range 200 {
					at := now.Add(time.Duration(i) * time.Millisecond)
					if i == 100 {
						at = at.Add(off)
					}
					require.NoError(t, log.Append(t.Context(), []*eventlog.Record{logtest.Record(at, nil)}))
				}
				_, err := log.Clean(t.Context())
				require.NoError(t, err)
				page, err := log.List(t.Context(), eventlog.Query{Limit: 100})
				require.NoError(t, err)
				assert.Len(t, page.Records, 10)
			})
		}
	}
}

// TestEventLogOfTwo: the records of all processes are in one log.
func TestEventLogOfTwo(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			var logs []*eventlog.Log
			for i := range 2 {
				ledger := d.ledger(t)
				log := eventlog.New(ledger.EventLog(sqlledger.LogConfig{}), eventlog.Options{Bodies: true})
				h := handler(t, bridge.Config{Ledger: ledger, Knock: knock(0), OnResult: log.OnResult})
				for j := range 20 {
					_, err := h.Process(t.Context(), userUpdated(fmt.Sprintf("msg_%d_%d", i, j), j, i))
					require.NoError(t, err)
				}
				require.NoError(t, log.Flush(t.Context()))
				assert.Zero(t, log.Lost())
				logs = append(logs, log)
			}
			for _, log := range logs {
				page, err := log.Store().List(t.Context(), eventlog.Query{})
				require.NoError(t, err)
				assert.Len(t, page.Records, 40)
				r, err := log.Store().Get(t.Context(), page.Records[0].ID)
				require.NoError(t, err)
				assert.NotNil(t, r.Payload)
				assert.NotNil(t, r.Steps[0].Body)
			}
		})
	}
}

// TestEventLogDown: what can't be stored is lost, and deliveries go on.
func TestEventLogDown(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			db := d.open(t)
			l, err := sqlledger.Open(t.Context(), db, d.cfg)
			require.NoError(t, err)
			log := eventlog.New(l.EventLog(sqlledger.LogConfig{}), eventlog.Options{})
			h := handler(t, bridge.Config{Knock: knock(0), OnResult: log.OnResult})
			require.NoError(t, db.Close())
			_, err = h.Process(t.Context(), userUpdated("msg_1", 1, 1))
			require.NoError(t, err)
			require.NoError(t, log.Flush(t.Context()))
			assert.EqualValues(t, 1, log.Lost())
			_, err = log.Store().List(t.Context(), eventlog.Query{})
			require.ErrorContains(t, err, "sqlledger: list records: ")
			_, err = log.Store().Get(t.Context(), "x")
			require.ErrorContains(t, err, "sqlledger: read a record: ")
			_, err = log.Store().Counts(t.Context(), eventlog.Filter{})
			require.ErrorContains(t, err, "sqlledger: count records: ")
		})
	}
}

// logFilters are all kinds of filters, on what fillLog stores.
var logFilters = map[string]eventlog.Filter{
	"all":                  {},
	"failed":               {Outcomes: []bridge.Outcome{bridge.OutcomeTransient, bridge.OutcomeRejected, bridge.OutcomeMisconfigured, bridge.OutcomePermanent}},
	"rare":                 {Outcomes: []bridge.Outcome{bridge.OutcomePermanent}},
	"type":                 {EventType: "user.created"},
	"type and outcome":     {EventType: "user.created", Outcomes: []bridge.Outcome{bridge.OutcomeDone}},
	"nothing fits":         {EventType: "organization.created", Outcomes: []bridge.Outcome{bridge.OutcomeIgnored}},
	"user":                 {Search: "user_77"},
	"key":                  {Search: "organization/org_7/user/user_77"},
	"user, type and more":  {Search: "user_77", EventType: "user.created", Outcomes: []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeIgnored}},
	"delivery":             {Search: "msg_4242"},
	"time":                 {From: logBase.Add(time.Hour), To: logBase.Add(2 * time.Hour)},
	"time, type, outcomes": {From: logBase.Add(time.Hour), EventType: "user.created", Outcomes: []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomePermanent}},
}

var logBase = time.Now().Add(-20 * 24 * time.Hour).Truncate(time.Hour)

// fillLog stores n records, a second apart: a tenth failed, few permanently.
func (d database) fillLog(t testing.TB, n int) {
	t.Helper()
	sample := logtest.Record(logBase, func(r *eventlog.Record) {
		r.Entity, r.Functions = "user/user_1", []string{"bridge.SyncUser", "bridge.TriggerForUser"}
		for i := range 2 {
			r.Steps = append(r.Steps, eventlog.Step{
				Name: fmt.Sprintf("workflows.trigger:welcome:user_%d", i), Kind: "workflows_trigger", Method: "POST", Path: "/v1/workflows/welcome/trigger",
				Status: 200, RequestID: "F_2f1c0a4d8b7e", IdempotencyKey: "msg_000000000000000000000000000:workflows.trigger:welcome:user_1", Attempts: 1, Duration: 1e6,
			})
		}
	})
	record, _, err := sample.Encode()
	require.NoError(t, err)
	// An id is the nanoseconds in hexadecimal, and eight digits more.
	id := fmt.Sprintf("lpad(to_hex(%d + n * 1000000000::bigint), 16, '0') || '00000000'", logBase.UnixNano())
	from := fmt.Sprintf("generate_series(1, %d) n", n)
	if d.Dialect == sqlledger.SQLite {
		id = fmt.Sprintf("printf('%%016x00000000', %d + n * 1000000000)", logBase.UnixNano())
		from = fmt.Sprintf("(with recursive s(n) as (select 1 union all select n + 1 from s where n < %d) select n from s)", n)
	}
	outcome := `case when n % 10000 = 0 then 'permanent' when n % 10 = 0 then 'transient' when n % 3 = 0 then 'ignored' when n % 5 = 0 then 'unchanged' else 'done' end`
	event := `case when n % 3 = 0 then 'session.created' when n % 2 = 0 then 'user.created' else 'organization.created' end`
	d.exec(t, fmt.Sprintf(`insert into {p}log (id, at_id, event_type, outcome, delivery, user_id, organization_id, record, bodies)
		select %s, %s, %s, %s, 'msg_' || n, case when n %% 3 = 1 then '' else 'user_' || (n %% 10000) end,
			case when n %% 3 = 1 then 'org_' || (n %% 1000) else '' end, '%s', '' from %s`,
		id, id, event, outcome, strings.ReplaceAll(record, "'", "''"), from))
	if d.Dialect == sqlledger.SQLite {
		d.exec(t, "analyze")
		return
	}
	d.exec(t, "analyze {p}log")
}

// everythingOfLog has the log run each of its statements.
func everythingOfLog(t testing.TB, l *sqlledger.Ledger) {
	t.Helper()
	log := l.EventLog(sqlledger.LogConfig{MaxRecords: 5000})
	for range 7 { // PostgreSQL has a plan for all values after the fifth
		require.NoError(t, log.Append(t.Context(), []*eventlog.Record{
			logtest.Record(time.Now(), nil), logtest.Record(time.Now(), func(r *eventlog.Record) { r.Verification = eventlog.TooOld }),
		}))
		for _, f := range logFilters {
			page, err := log.List(t.Context(), eventlog.Query{Filter: f, Limit: 10})
			require.NoError(t, err)
			_, err = log.List(t.Context(), eventlog.Query{Filter: f, Limit: 10, Cursor: page.Next})
			require.NoError(t, err)
			_, err = log.Counts(t.Context(), f)
			require.NoError(t, err)
		}
		_, err := log.Get(t.Context(), eventlog.NewID(time.Now()))
		require.ErrorIs(t, err, eventlog.ErrNotFound)
		_, err = log.Unverified(t.Context(), 10)
		require.NoError(t, err)
	}
	_, err := log.Clean(t.Context())
	require.NoError(t, err)
}

// TestEventLogPlans: no statement looks through the log.
func TestEventLogPlans(t *testing.T) {
	t.Parallel()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.ledger(t)
			d.fillLog(t, 20_000)
			plans := d.plans(t, func(l *sqlledger.Ledger) { everythingOfLog(t, l) })
			assert.Greater(t, len(plans), 20)
			for _, plan := range plans {
				// A walk along an index ends with the page; one through the table would not.
				assert.NotRegexp(t, `Seq Scan on log |SCAN bridge_log(\n|$)|SCAN l(\n|$)`, plan)
			}
		})
	}
}

// BenchmarkEventLogPage is the page of the log and its counts, beside many
// records. Their number is taken from BRIDGE_BENCH_ROWS.
//
//	BRIDGE_BENCH_ROWS=1000000 go test -run '^$' -bench '^BenchmarkEventLogPage$' -v
func BenchmarkEventLogPage(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("BRIDGE_BENCH_ROWS"))
	if err != nil {
		b.Skip("BRIDGE_BENCH_ROWS is not set to one number")
	}
	for name, open := range databases {
		b.Run(name, func(b *testing.B) {
			d := open(b)
			l := d.ledger(b)
			d.fillLog(b, n)
			log := eventlog.New(l.EventLog(sqlledger.LogConfig{MaxRecords: 10 * n}), eventlog.Options{})
			h := handler(b, bridge.Config{Knock: knock(0)})
			page, err := eventlog.Handler(h, log, eventlog.PageOptions{Private: eventlog.ThisMountIsPrivate})
			require.NoError(b, err)
			serve := func(b *testing.B, url string) {
				b.Helper()
				for b.Loop() {
					w := httptest.NewRecorder()
					page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
					if w.Code != http.StatusOK {
						b.Fatal(w.Body.String())
					}
				}
			}
			middle := eventlog.NewID(logBase.Add(time.Duration(n/2) * time.Second))
			for view, url := range map[string]string{
				"latest": "/", "middle": "/?cursor=" + middle, "failed": "/?outcome=failed", "failed middle": "/?outcome=failed&cursor=" + middle,
				"type": "/?type=user.created", "rare": "/?outcome=permanent&type=user.created", "none": "/?outcome=ignored&type=organization.created",
				"user": "/?q=user_77", "organization": "/?q=org_7", "time": "/?from=" + logBase.UTC().Format("2006-01-02T15:04"),
			} {
				b.Run(view, func(b *testing.B) { serve(b, url) })
			}
		})
	}
}
