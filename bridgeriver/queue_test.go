package bridgeriver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/bridgetest"
)

func TestAcknowledgedThenWorkedOff(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	p := newProcess(t, newDatabase(t), knock.Transport(), nil)
	attempt := func(d bridge.Delivery) int {
		w := httptest.NewRecorder()
		p.handler.ServeHTTP(w, bridgetest.Attempt(t, d))
		return w.Code
	}
	d := bridgetest.NewDelivery(t, "user.created", nil)
	assert.Equal(t, http.StatusAccepted, attempt(d))
	assert.Equal(t, http.StatusOK, attempt(d), "it is known")
	assert.Empty(t, knock.Calls())
	assert.Len(t, p.jobs(t), 1)

	p.start(t)
	p.wait(t, 1, rivertype.JobStateCompleted)
	assert.Len(t, knock.Users(), 1)
	assert.Equal(t, http.StatusOK, attempt(d), "also when it is done")

	_, err := p.pool.Exec(t.Context(), "delete from river_job")
	require.NoError(t, err)
	calls := len(knock.Calls())
	assert.Equal(t, http.StatusAccepted, attempt(d), "the job is forgotten")
	p.wait(t, 1, rivertype.JobStateCompleted)
	assert.Len(t, knock.Calls(), calls, "the ledger knows it")
}

// TestOneOfMany delivers one event a thousand times at once, to four processes:
// one job is made of it, and its calls are made once.
func TestOneOfMany(t *testing.T) {
	t.Parallel()
	knock, database := bridgetest.NewKnock(t), newDatabase(t)
	processes := make([]*process, 4)
	for i := range processes {
		processes[i] = newProcess(t, database, knock.Transport(), nil)
		processes[i].start(t)
	}
	d := user("msg_1", "user.created", "user_1", 1)
	var stored atomic.Int64
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			ok, err := processes[i%len(processes)].queue.Enqueue(t.Context(), d)
			if assert.NoError(t, err) && ok {
				stored.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, stored.Load())
	processes[0].wait(t, 1, rivertype.JobStateCompleted)
	assert.Len(t, processes[0].jobs(t), 1)
	assert.Len(t, knock.Calls(), 2, "identify and welcome")
}

func TestBodiesAreUntouched(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), nil)
	event := func(eventType, data string) string {
		return fmt.Sprintf("{ \"type\" : \"%s\",\n\t\"data\":%s, \"data\":1e2 }", eventType, data)
	}
	bodies := map[string]string{
		"white space, doubled members": event("user.created", `{"b":1.0,"a":1,"a":2,"id":"user_1"}`),
		"an escaped NUL":               event("user.created", `"a\u0000b"`),
		"an escaped NUL in the name":   event(`user\u0000`, `{}`),
		"a NUL":                        event("user.created", "\"a\x00b\""),
		"a lone surrogate":             event("user.created", `"\ud800 \udc00"`),
		"unicode":                      event("user.created", `"Zoë 🦊 \u00e9\u2028`+"\u2028 <&> \ufffd\""),
		"not UTF-8":                    event("user.created", "\"\xff\xfe\""),
		"not JSON":                     `"base64`,
		"empty":                        "",
		"1 MiB":                        event("user.created", `"`+strings.Repeat(`ä\\u0000"'`, 1<<16)+`"`),
	}
	var wg sync.WaitGroup
	for name, body := range bodies {
		wg.Go(func() {
			received := time.Now()
			stored, err := p.queue.Enqueue(t.Context(), bridge.Delivery{ID: name, ReceivedAt: received, Body: []byte(body)})
			assert.True(t, stored && err == nil, "%s: %v", name, err)
		})
	}
	wg.Wait()
	jobs := p.jobs(t)
	require.Len(t, jobs, len(bodies))
	for _, row := range jobs {
		job := decoded(t, row)
		d, err := job.Delivery()
		require.NoError(t, err)
		assert.True(t, bytes.Equal([]byte(bodies[d.ID]), d.Body), d.ID)
		assert.WithinDuration(t, time.Now(), d.ReceivedAt, longEnough)
		assert.Equal(t, d.ID == "a NUL" || d.ID == "not UTF-8", job.Base64, "%s: readable where it can be", d.ID)
		assert.Equal(t, bridgeriver.QueueName, row.Queue)
		assert.Equal(t, 500, row.MaxAttempts)
	}

	for _, id := range []string{"", "a\x00b", "\xff"} {
		_, err := p.queue.Enqueue(t.Context(), bridge.Delivery{ID: id, Body: []byte("{}")})
		require.ErrorContains(t, err, "id")
	}
	_, err := bridgeriver.Args{Body: "%", Base64: true}.Delivery()
	require.Error(t, err)
}

func TestArgsSayWhatTheDeliveryIsAbout(t *testing.T) {
	t.Parallel()
	args := bridgeriver.NewArgs(user("msg_1", "user.updated", "user_1", 7))
	assert.Equal(t, "user.updated", args.EventType)
	assert.Equal(t, "user/user_1", args.Entity)
	assert.EqualValues(t, 1760000007000, args.Version)
	assert.EqualValues(t, 1760000007000, args.Timestamp)
}

func TestInsertInATransaction(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), nil)
	args := bridgeriver.NewArgs(user("msg_1", "user.created", "user_1", 1))
	insert := func(end func(pgx.Tx, context.Context) error) bool {
		tx, err := p.pool.Begin(t.Context())
		require.NoError(t, err)
		res, err := p.client.InsertTx(t.Context(), tx, args, nil)
		require.NoError(t, err)
		require.NoError(t, end(tx, t.Context()))
		return !res.UniqueSkippedAsDuplicate
	}
	assert.True(t, insert(pgx.Tx.Rollback))
	assert.Empty(t, p.jobs(t))
	assert.True(t, insert(pgx.Tx.Commit))
	assert.False(t, insert(pgx.Tx.Commit))
	stored, err := p.queue.Enqueue(t.Context(), user("msg_1", "user.created", "user_1", 1))
	require.NoError(t, err)
	assert.False(t, stored)
}

// TestInsertsAreMerged is about deliveries that come while others are being
// inserted. A hook of River holds the first insert up.
func TestInsertsAreMerged(t *testing.T) {
	t.Parallel()
	gate := &gate{begun: make(chan int), proceed: make(chan error)}
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), func(_ *bridge.Config, cfg *river.Config) {
		cfg.Plugins = []rivertype.Plugin{gate}
	})
	type outcome struct {
		stored bool
		err    error
	}
	enqueue := func(ctx context.Context, id string) <-chan outcome {
		out := make(chan outcome, 1)
		go func() {
			stored, err := p.queue.Enqueue(ctx, bridge.Delivery{ID: id, Body: []byte("{}")})
			out <- outcome{stored, err}
		}()
		return out
	}
	leader, cancelLeader := context.WithCancel(t.Context())
	first := enqueue(leader, "first")
	assert.Equal(t, 1, <-gate.begun, "it does not wait for others")

	var outs []<-chan outcome
	for i := range 250 {
		outs = append(outs, enqueue(t.Context(), strconv.Itoa(i%240))) // ten come twice
	}
	impatient, cancel := context.WithCancel(t.Context())
	gone := enqueue(impatient, "gone")
	cancel()
	out := <-gone
	require.ErrorIs(t, out.err, context.Canceled)
	cancelLeader()
	gate.proceed <- nil
	out = <-first
	require.NoError(t, out.err, "what is being inserted does not depend on its context")
	assert.True(t, out.stored)

	served := make(chan struct{})
	go func() {
		defer close(served)
		for n := range gate.begun {
			if n == 0 {
				return
			}
			assert.LessOrEqual(t, n, 200)
			gate.proceed <- nil
		}
	}()
	stored := 0
	for _, out := range outs {
		o := <-out
		require.NoError(t, o.err)
		if o.stored {
			stored++
		}
	}
	gate.begun <- 0
	<-served
	assert.Equal(t, 240, stored)
	assert.Len(t, p.jobs(t), 241, "gone is not among them")

	failing := enqueue(t.Context(), "failing")
	<-gate.begun
	gate.proceed <- errors.New("no space left on device")
	out = <-failing
	require.ErrorContains(t, out.err, "no space left on device")
	again := enqueue(t.Context(), "failing")
	<-gate.begun
	gate.proceed <- nil
	out = <-again
	require.NoError(t, out.err)
	assert.True(t, out.stored)

	_, err := p.queue.Enqueue(impatient, bridge.Delivery{ID: "late", Body: []byte("{}")})
	require.ErrorIs(t, err, context.Canceled)
}

// gate is a middleware that says how many jobs are to be inserted, and waits.
type gate struct {
	river.PluginDefaults

	begun   chan int
	proceed chan error
}

func (g *gate) InsertMany(ctx context.Context, params []*rivertype.JobInsertParams,
	do func(context.Context) ([]*rivertype.JobInsertResult, error),
) ([]*rivertype.JobInsertResult, error) {
	g.begun <- len(params)
	if err := <-g.proceed; err != nil {
		return nil, err
	}
	return do(ctx)
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), nil)
	p.pool.Close()
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, bridgetest.NewRequest(t, "user.created", nil))
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
}

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	var wg sync.WaitGroup
	for range 4 {
		pool := newPool(t, database)
		wg.Go(func() { assert.NoError(t, bridgeriver.Migrate(t.Context(), pool)) })
	}
	wg.Wait()
	pool := newPool(t, database)
	var locks int
	require.NoError(t, pool.QueryRow(t.Context(), "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())").Scan(&locks))
	assert.Zero(t, locks)

	_, err := pool.Exec(t.Context(), "select pg_advisory_lock(x'636c65726b'::bigint)")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, bridgeriver.Migrate(ctx, newPool(t, database)), context.DeadlineExceeded)
	require.ErrorContains(t, bridgeriver.Migrate(t.Context(), newPoolOf(t, database, 1)), "takes two")
}
