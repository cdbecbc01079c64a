package queuetest_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/inbox"
	"github.com/clerkknock/bridge/sqlledger"
)

// engine makes a handler with a queue, and starts its workers when run is called,
// which returns how to stop them.
type engine func(t testing.TB, workers int, cfg bridge.Config) (handler *bridge.Handler, run func() (stop func()))

func engines(t testing.TB) map[string]engine {
	t.Helper()
	return map[string]engine{
		"none": func(t testing.TB, _ int, cfg bridge.Config) (*bridge.Handler, func() func()) {
			t.Helper()
			return newHandler(t, cfg), func() func() { return func() {} }
		},
		"SQLite": sqliteEngine(filepath.Join(t.TempDir(), "bridge.db")),
		"PostgreSQL": func(t testing.TB, workers int, cfg bridge.Config) (*bridge.Handler, func() func()) {
			t.Helper()
			return postgresEngine(newDatabase(t))(t, workers, cfg)
		},
	}
}

func newHandler(t testing.TB, cfg bridge.Config) *bridge.Handler {
	t.Helper()
	cfg.SigningSecrets = []string{bridgetest.Secret}
	cfg.Logger = slog.New(slog.DiscardHandler)
	h, err := bridge.New(cfg)
	require.NoError(t, err)
	return h
}

func sqliteEngine(path string) engine {
	return func(t testing.TB, workers int, cfg bridge.Config) (*bridge.Handler, func() func()) {
		t.Helper()
		options := url.Values{"_pragma": {"journal_mode(WAL)", "busy_timeout(1000)"}, "_txlock": {"immediate"}}
		db, err := sql.Open("sqlite", "file:"+path+"?"+options.Encode())
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		ledger, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
		require.NoError(t, err)
		box, err := inbox.New(ledger, inbox.Config{Workers: workers, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		cfg.Ledger, cfg.Queue = ledger, box
		h := newHandler(t, cfg)
		return h, func() func() {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- box.Run(ctx, h) }()
			return func() {
				cancel()
				assert.NoError(t, <-ended)
			}
		}
	}
}

func postgresEngine(database string) engine {
	return func(t testing.TB, workers int, cfg bridge.Config) (*bridge.Handler, func() func()) {
		t.Helper()
		pcfg, err := pgxpool.ParseConfig(database)
		require.NoError(t, err)
		pcfg.MaxConns = 8
		pool, err := pgxpool.NewWithConfig(t.Context(), pcfg)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		require.NoError(t, bridgeriver.Migrate(t.Context(), pool))
		db := stdlib.OpenDBFromPool(pool)
		t.Cleanup(func() { _ = db.Close() })
		ledger, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
		require.NoError(t, err)
		bundle := river.NewWorkers()
		client, err := river.NewClient(riverpgxv5.New(pool), bridgeriver.Configure(&river.Config{
			Workers: bundle, Logger: slog.New(slog.DiscardHandler),
			Queues: map[string]river.QueueConfig{bridgeriver.QueueName: {MaxWorkers: workers}},
		}))
		require.NoError(t, err)
		cfg.Ledger, cfg.Queue = ledger, bridgeriver.Queue(client)
		h := newHandler(t, cfg)
		bridgeriver.AddWorker(bundle, h)
		return h, func() func() {
			require.NoError(t, client.Start(t.Context()))
			return func() { assert.NoError(t, client.Stop(context.WithoutCancel(t.Context()))) }
		}
	}
}

// newDatabase creates a database and returns its URL.
func newDatabase(t testing.TB) string {
	t.Helper()
	server := os.Getenv("BRIDGE_TEST_POSTGRES")
	if server == "" {
		t.Skip("BRIDGE_TEST_POSTGRES is not set: no PostgreSQL to test against (internal/sqltest/postgres.sh starts one)")
	}
	name := fmt.Sprintf("queue_%d", time.Now().UnixNano())
	exec := func(statement string) {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, server)
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, statement)
		require.NoError(t, err)
	}
	exec("create database " + name)
	t.Cleanup(func() { exec("drop database " + name + " with (force)") })
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = name
	return u.String()
}

// knock is a Knock that answers after a while and counts.
type knock struct {
	*httptest.Server

	calls       atomic.Int64
	first, last atomic.Int64 // nanoseconds since 1970
}

func newKnock(t testing.TB, latency time.Duration) *knock {
	t.Helper()
	k := &knock{}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		k.first.CompareAndSwap(0, time.Now().UnixNano())
		if latency > 0 {
			time.Sleep(latency)
		}
		_, _ = io.WriteString(w, "{}")
		k.last.Store(time.Now().UnixNano())
		k.calls.Add(1)
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *knock) transport() actions.Transport {
	return &actions.HTTP{APIKey: "sk_test", BaseURL: k.URL}
}

// wait returns once there were as many calls, and how long they took.
func (k *knock) wait(t testing.TB, calls int) time.Duration {
	t.Helper()
	require.Eventually(t, func() bool { return k.calls.Load() >= int64(calls) }, 5*time.Minute, 5*time.Millisecond)
	return time.Duration(k.last.Load() - k.first.Load())
}

// userCreated is a body of 4 KB.
func userCreated(t testing.TB, i int) bridge.Delivery {
	t.Helper()
	user := bridgetest.NewDelivery(t, "user.created", nil)
	user.Body = []byte(strings.ReplaceAll(string(user.Body), `"user_`, fmt.Sprintf(`"user_%d_`, i)))
	return user
}

// BenchmarkAck sends 200 deliveries a second over HTTP, with a Knock that takes
// 50 ms, and reports how long the answer takes. Try -benchtime 2000x.
func BenchmarkAck(b *testing.B) {
	for _, name := range []string{"none", "SQLite", "PostgreSQL"} {
		b.Run(name, func(b *testing.B) {
			k := newKnock(b, 50*time.Millisecond)
			h, run := engines(b)[name](b, 64, bridge.Config{Knock: k.transport()})
			stop := run()
			server := httptest.NewServer(h)
			defer server.Close()
			target, err := url.Parse(server.URL)
			require.NoError(b, err)
			took := make([]time.Duration, b.N)
			var wg sync.WaitGroup
			ticker := time.NewTicker(time.Second / 200)
			defer ticker.Stop()
			b.ResetTimer()
			for i := range b.N {
				<-ticker.C
				wg.Go(func() {
					r := bridgetest.Attempt(b, userCreated(b, i))
					r.URL.Scheme, r.URL.Host, r.Host = "http", target.Host, ""
					started := time.Now()
					res, err := server.Client().Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					_ = res.Body.Close()
					took[i] = time.Since(started)
					assert.Less(b, res.StatusCode, 300)
				})
			}
			wg.Wait()
			b.StopTimer()
			k.wait(b, b.N)
			stop()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkDrain stores deliveries over 64 goroutines, and then works them off
// with 64 workers and a Knock that answers at once. Try -benchtime 5000x.
func BenchmarkDrain(b *testing.B) {
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		b.Run(name, func(b *testing.B) {
			k := newKnock(b, 0)
			h, run := engines(b)[name](b, 64, bridge.Config{Knock: k.transport()})
			b.ResetTimer()
			started := time.Now()
			enqueue(b, h, b.N)
			b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "stored/s")
			stop := run()
			b.ReportMetric(float64(b.N)/k.wait(b, b.N).Seconds(), "done/s")
			stop()
		})
	}
}

// enqueue hands n deliveries to the handler.
func enqueue(t testing.TB, h http.Handler, n int) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, bridgetest.Attempt(t, userCreated(t, i)))
				assert.Equal(t, http.StatusAccepted, w.Code)
			}
		})
	}
	wg.Wait()
}

// The variables that make TestWorker a process of BenchmarkProcesses.
const (
	workerDatabase = "BRIDGE_BENCH_DATABASE"
	workerKnock    = "BRIDGE_BENCH_KNOCK"
)

// BenchmarkProcesses works deliveries off in one, two and four processes on one
// PostgreSQL, with 32 workers each and a Knock that takes 50 ms, which makes 640 a
// second for each at the most, or 200 ms. Try -benchtime 4000x.
func BenchmarkProcesses(b *testing.B) {
	for _, latency := range []time.Duration{50 * time.Millisecond, 200 * time.Millisecond} {
		for _, processes := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/%d", latency, processes), func(b *testing.B) { workedOff(b, latency, processes) })
		}
	}
}

func workedOff(b *testing.B, latency time.Duration, processes int) {
	b.Helper()
	database, k := newDatabase(b), newKnock(b, latency)
	h, _ := postgresEngine(database)(b, 1, bridge.Config{Knock: k.transport()})
	enqueue(b, h, b.N)
	var stdin []io.Closer
	var children []*exec.Cmd
	var ready sync.WaitGroup
	for range processes {
		cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestWorker$", "-test.v")
		cmd.Env = append(os.Environ(), workerDatabase+"="+database, workerKnock+"="+k.URL)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		require.NoError(b, err)
		out, err := cmd.StdoutPipe()
		require.NoError(b, err)
		require.NoError(b, cmd.Start())
		stdin, children = append(stdin, in), append(children, cmd)
		ready.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if lines.Text() == "ready" {
					go func() { _, _ = io.Copy(io.Discard, out) }()
					return
				}
			}
		})
		_, err = io.WriteString(in, "\n")
		require.NoError(b, err)
	}
	ready.Wait()
	b.ResetTimer()
	for _, in := range stdin {
		_, err := io.WriteString(in.(io.Writer), "go\n")
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N)/k.wait(b, b.N).Seconds(), "done/s")
	b.ReportMetric(float64(k.calls.Load())/float64(b.N), "calls/op")
	b.StopTimer()
	for i, in := range stdin {
		_ = in.Close()
		assert.NoError(b, children[i].Wait())
	}
}

// TestWorker is a process of BenchmarkProcesses. By itself it does nothing.
func TestWorker(t *testing.T) {
	t.Parallel()
	database := os.Getenv(workerDatabase)
	if database == "" {
		return
	}
	_, run := postgresEngine(database)(t, 32, bridge.Config{
		Knock: &actions.HTTP{APIKey: "sk_test", BaseURL: os.Getenv(workerKnock)},
	})
	in := bufio.NewReader(os.Stdin)
	_, err := in.ReadString('\n')
	require.NoError(t, err)
	fmt.Println("ready")
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	stop := run()
	_, _ = in.ReadString('\n') // until it is closed
	stop()
}
