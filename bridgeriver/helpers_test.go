package bridgeriver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/internal/history"
	"github.com/clerkknock/bridge/sqlledger"
)

const (
	postgresVariable = "BRIDGE_TEST_POSTGRES"

	// longEnough is for what takes moments, on a machine that does much else.
	longEnough = time.Minute
	tick       = 10 * time.Millisecond
)

// databases counts those of this process.
var databases atomic.Int64

// newDatabase creates a database for one test and returns its URL.
func newDatabase(t testing.TB) string {
	t.Helper()
	server := os.Getenv(postgresVariable)
	if server == "" {
		t.Skipf("%s is not set: no PostgreSQL to test against (internal/sqltest/postgres.sh starts one)", postgresVariable)
	}
	name := fmt.Sprintf("bridgeriver_test_%d_%d", time.Now().UnixNano(), databases.Add(1))
	exec := func(statement string) {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, server)
		require.NoError(t, err)
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, statement)
		require.NoError(t, err)
	}
	exec("create database " + name)
	t.Cleanup(func() { exec("drop database " + name + " with (force)") })
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

func newPool(t testing.TB, database string) *pgxpool.Pool {
	t.Helper()
	const some = 8 // of the server's, which all tests share
	return newPoolOf(t, database, some)
}

func newPoolOf(t testing.TB, database string, connections int32) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(database)
	require.NoError(t, err)
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// process is what a process of a user has.
type process struct {
	pool    *pgxpool.Pool
	client  *river.Client[pgx.Tx]
	handler *bridge.Handler
	queue   bridge.Queue
}

// newProcess sets a process up, as another one of those that share the database.
// Its client is not started.
func newProcess(t testing.TB, database string, knock actions.Transport, change func(*bridge.Config, *river.Config)) *process {
	t.Helper()
	p := &process{pool: newPool(t, database)}
	require.NoError(t, bridgeriver.Migrate(t.Context(), p.pool))
	db := stdlib.OpenDBFromPool(p.pool)
	t.Cleanup(func() { _ = db.Close() })
	ledger, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
	require.NoError(t, err)

	cfg := history.Config()
	cfg.Knock, cfg.Ledger = knock, ledger
	workers := river.NewWorkers()
	riverConfig := &river.Config{Workers: workers, Logger: slog.New(slog.DiscardHandler), TestOnly: true}
	if change != nil {
		change(&cfg, riverConfig)
	}
	p.client, err = river.NewClient(riverpgxv5.New(p.pool), bridgeriver.Configure(riverConfig))
	require.NoError(t, err)
	p.queue = bridgeriver.Queue(p.client)
	cfg.Queue = p.queue
	p.handler, err = bridge.New(cfg)
	require.NoError(t, err)
	bridgeriver.AddWorker(workers, p.handler)
	return p
}

func (p *process) start(t testing.TB) {
	t.Helper()
	require.NoError(t, p.client.Start(t.Context()))
	t.Cleanup(func() { p.stop(t) })
}

func (p *process) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), longEnough)
	defer cancel()
	assert.NoError(t, p.client.Stop(ctx))
}

func (p *process) enqueue(t testing.TB, d bridge.Delivery) {
	t.Helper()
	stored, err := p.queue.Enqueue(t.Context(), d)
	require.NoError(t, err)
	require.True(t, stored)
}

// jobs are all jobs for deliveries, in the order they were stored.
func (p *process) jobs(t testing.TB, states ...rivertype.JobState) []*rivertype.JobRow {
	t.Helper()
	params := river.NewJobListParams().Kinds(bridgeriver.Args{}.Kind()).First(10_000)
	if len(states) > 0 {
		params = params.States(states...)
	}
	list, err := p.client.JobList(t.Context(), params)
	require.NoError(t, err)
	return list.Jobs
}

// wait returns once as many jobs are in the state.
func (p *process) wait(t testing.TB, n int, state rivertype.JobState) []*rivertype.JobRow {
	t.Helper()
	require.Eventually(t, func() bool { return p.count(t, state) >= n }, longEnough, tick, "%d jobs %s", n, state)
	return p.jobs(t, state)
}

func (p *process) count(t testing.TB, state rivertype.JobState) (n int) {
	t.Helper()
	p.scan(t, &n, "select count(*) from river_job where state = $1", string(state))
	return n
}

func (p *process) scan(t testing.TB, into any, query string, args ...any) {
	t.Helper()
	require.NoError(t, p.pool.QueryRow(context.WithoutCancel(t.Context()), query, args...).Scan(into))
}

// hurry makes all jobs that wait for a time due, and returns how many did.
func (p *process) hurry(t testing.TB) int {
	t.Helper()
	tag, err := p.pool.Exec(t.Context(), `update river_job set state = 'available', scheduled_at = now()
		where state in ('scheduled', 'retryable') or state = 'available' and scheduled_at > now()`)
	require.NoError(t, err)
	return int(tag.RowsAffected())
}

// user is an event about a user, at a number of seconds.
func user(delivery, eventType, id string, at int) bridge.Delivery {
	return history.Event(delivery, eventType, at, fmt.Sprintf(`{"id":%q,"first_name":"at %d","updated_at":%d}`, id, at, 1760000000000+at*1000))
}

// transport answers with a function.
type transport func(context.Context, *actions.Request) (*actions.Response, error)

func (do transport) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	return do(ctx, r)
}

func decoded(t testing.TB, row *rivertype.JobRow) (args bridgeriver.Args) {
	t.Helper()
	require.NoError(t, json.Unmarshal(row.EncodedArgs, &args))
	return args
}
