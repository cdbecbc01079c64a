package bridgeriver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/history"
)

// answered is a Knock that answers everything with an error, unless it is nil.
func answered(err func(*actions.Request) error) transport {
	return func(_ context.Context, r *actions.Request) (*actions.Response, error) {
		return &actions.Response{Status: http.StatusOK, Body: []byte(`{}`)}, err(r)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	const wait = 7 * time.Second
	for name, tc := range map[string]struct {
		err      error
		kind     river.EventKind
		state    rivertype.JobState
		attempt  int
		min, max time.Duration
	}{
		"transient": {
			errors.Join(context.DeadlineExceeded), river.EventKindJobFailed, rivertype.JobStateAvailable, 1,
			800 * time.Millisecond, 1200 * time.Millisecond,
		},
		"Retry-After": {
			&actions.Error{Status: http.StatusServiceUnavailable, Message: "private", RetryAfter: wait},
			river.EventKindJobFailed, rivertype.JobStateRetryable, 1, wait, wait,
		},
		"no room": {
			&actions.Error{Status: http.StatusTooManyRequests, Message: "private", RetryAfter: wait},
			river.EventKindJobSnoozed, rivertype.JobStateScheduled, 0, wait, wait,
		},
		"misconfigured": {
			&actions.Error{Status: http.StatusUnauthorized, Message: "private"},
			river.EventKindJobFailed, rivertype.JobStateRetryable, 1, 48 * time.Second, 72 * time.Second,
		},
		"permanent": {
			bridge.Permanent(errors.New("no such thing")), river.EventKindJobCancelled, rivertype.JobStateCancelled, 1, 0, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var heal atomic.Bool
			p := newProcess(t, newDatabase(t), answered(func(*actions.Request) error {
				if heal.Load() {
					return nil
				}
				return tc.err
			}), nil)
			events, stop := p.client.Subscribe(tc.kind, river.EventKindJobCompleted)
			defer stop()
			p.enqueue(t, user("msg_1", "user.updated", "user_1", 1))
			p.start(t)
			started := time.Now()
			e := <-events
			job := e.Job
			heal.Store(true)
			assert.Equal(t, tc.kind, e.Kind)
			assert.Equal(t, tc.state, job.State)
			assert.Equal(t, tc.attempt, job.Attempt)
			if tc.max > 0 {
				assert.False(t, job.ScheduledAt.Before(started.Add(tc.min).Truncate(time.Microsecond)), "not before it is time")
				assert.False(t, job.ScheduledAt.After(time.Now().Add(tc.max)), "nor later")
			}
			if tc.kind == river.EventKindJobSnoozed {
				assert.Empty(t, job.Errors)
			} else {
				require.Len(t, job.Errors, 1)
				assert.NotEmpty(t, job.Errors[0].Error)
				assert.NotContains(t, job.Errors[0].Error, "private")
			}

			_, err := p.client.JobRetry(t.Context(), job.ID)
			require.NoError(t, err)
			p.hurry(t)
			assert.Equal(t, river.EventKindJobCompleted, (<-events).Kind, "also what was cancelled, when people say so")
		})
	}
}

// TestNotWorkedOff: a worker that makes dry runs, or is of a version that does not
// map the event, leaves the job to others.
func TestNotWorkedOff(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change  func(*bridge.Config, *river.Config)
		kind    river.EventKind
		attempt int
	}{
		"a dry run": {func(cfg *bridge.Config, _ *river.Config) { cfg.DryRun = true }, river.EventKindJobSnoozed, 0},
		"unmapped":  {func(cfg *bridge.Config, _ *river.Config) { cfg.NoDefaults, cfg.Mappings = true, nil }, river.EventKindJobFailed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database, knock := newDatabase(t), bridgetest.NewKnock(t)
			p := newProcess(t, database, knock.Transport(), tc.change)
			events, stop := p.client.Subscribe(tc.kind, river.EventKindJobCompleted)
			defer stop()
			p.enqueue(t, user("msg_1", "user.updated", "user_1", 1))
			require.NoError(t, p.client.Start(t.Context()))
			e := <-events
			p.stop(t)
			assert.Equal(t, tc.kind, e.Kind)
			assert.Equal(t, tc.attempt, e.Job.Attempt)
			assert.InEpsilon(t, time.Minute, time.Until(e.Job.ScheduledAt), 0.25)
			assert.Empty(t, knock.Calls())

			other := newProcess(t, database, knock.Transport(), nil)
			other.hurry(t)
			other.start(t)
			other.wait(t, 1, rivertype.JobStateCompleted)
			assert.Len(t, knock.Users(), 1)
		})
	}
}

// TestUnmappedEnds: what nobody maps any more is done in the end, and no failure.
func TestUnmappedEnds(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), func(cfg *bridge.Config, _ *river.Config) {
		cfg.NoDefaults, cfg.Mappings = true, nil
	})
	events, stop := p.client.Subscribe(river.EventKindJobFailed, river.EventKindJobCompleted)
	defer stop()
	p.enqueue(t, user("msg_1", "user.updated", "user_1", 1))
	p.start(t)
	for range 6 {
		e := <-events
		require.Equal(t, river.EventKindJobFailed, e.Kind)
		assert.Equal(t, "the outcome is ignored", e.Job.Errors[len(e.Job.Errors)-1].Error)
		p.hurry(t)
	}
	e := <-events
	assert.Equal(t, river.EventKindJobCompleted, e.Kind)
}

// TestPanics is about a delivery that panics every time: it ends, and holds
// nothing else up.
func TestPanics(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	p := newProcess(t, newDatabase(t), knock.Transport(), func(cfg *bridge.Config, riverConfig *river.Config) {
		cfg.Mappings = bridge.Mappings{bridge.On(clerk.UserUpdated, func(_ context.Context, e *clerk.Event[clerk.User], _ *actions.Client) error {
			panic("private: " + e.Data.ID)
		})}
		riverConfig.Queues = map[string]river.QueueConfig{bridgeriver.QueueName: {MaxWorkers: 1}}
	})
	events, stop := p.client.Subscribe(river.EventKindJobFailed, river.EventKindJobCancelled, river.EventKindJobCompleted)
	defer stop()
	p.enqueue(t, user("msg_1", "user.updated", "user_1", 1))
	p.start(t)
	for attempt := 1; attempt <= 5; attempt++ {
		e := <-events
		assert.Equal(t, attempt, e.Job.Attempt)
		require.Len(t, e.Job.Errors, attempt)
		assert.NotContains(t, e.Job.Errors[attempt-1].Error, "private")
		assert.Empty(t, e.Job.Errors[attempt-1].Trace)
		if attempt == 5 {
			assert.Equal(t, river.EventKindJobCancelled, e.Kind)
			break
		}
		assert.Equal(t, river.EventKindJobFailed, e.Kind)
		assert.Greater(t, e.Job.ScheduledAt, time.Now().Add(5*time.Second))

		other := fmt.Sprintf("user_other_%d", attempt)
		p.enqueue(t, user("msg_"+other, "user.created", other, 1))
		e = <-events
		assert.Equal(t, river.EventKindJobCompleted, e.Kind, "others go on")
		assert.Equal(t, 1, p.hurry(t))
	}
	assert.Len(t, p.jobs(t, rivertype.JobStateCancelled), 1)
	assert.Len(t, knock.Users(), 4)
}

// TestBusy is about two deliveries of one user: the second comes when the first
// is being worked on, and is put back until that is done.
func TestBusy(t *testing.T) {
	t.Parallel()
	begun, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p := newProcess(t, newDatabase(t), answered(func(*actions.Request) error {
		once.Do(func() { close(begun); <-proceed })
		return nil
	}), nil)
	events, stop := p.client.Subscribe(river.EventKindJobSnoozed)
	defer stop()
	p.start(t)
	p.enqueue(t, user("msg_1", "user.updated", "user_1", 1))
	<-begun
	p.enqueue(t, user("msg_2", "user.updated", "user_1", 2))
	job := (<-events).Job
	assert.Equal(t, "msg_2", decoded(t, job).ID)
	assert.Equal(t, rivertype.JobStateAvailable, job.State)
	assert.Zero(t, job.Attempt, "it does not count")
	assert.Empty(t, job.Errors)
	close(proceed)
	for _, job := range p.wait(t, 2, rivertype.JobStateCompleted) {
		assert.Equal(t, 1, job.Attempt)
	}
}

// TestUnreadable is about a job that somebody else has made.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), nil)
	p.start(t)
	_, err := p.client.Insert(t.Context(), bridgeriver.Args{ID: "msg_1", Body: "%", Base64: true}, nil)
	require.NoError(t, err)
	_, err = p.client.Insert(t.Context(), bridgeriver.Args{ID: "msg_2", Body: "not JSON"}, nil)
	require.NoError(t, err)
	p.wait(t, 2, rivertype.JobStateCancelled)
}

// TestRescued is about a job whose worker has died a while ago.
func TestRescued(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newDatabase(t), bridgetest.NewKnock(t).Transport(), nil)
	for _, id := range []string{"msg_dead", "msg_alive"} {
		p.enqueue(t, user(id, "user.created", "user_"+id, 1))
	}
	_, err := p.pool.Exec(t.Context(), `update river_job set state = 'running', attempt = 1, attempted_by = array['somebody'],
		attempted_at = now() - case when args->>'svix_id' = 'msg_dead' then interval '61 seconds' else interval '10 seconds' end`)
	require.NoError(t, err)
	p.start(t)
	// The leader looks when it becomes one, and then every half minute.
	require.Eventually(t, func() bool { return p.count(t, rivertype.JobStateRunning) == 1 }, longEnough, tick)
	p.hurry(t)
	job := p.wait(t, 1, rivertype.JobStateCompleted)[0]
	assert.Equal(t, "msg_dead", decoded(t, job).ID)
	assert.Equal(t, 2, job.Attempt)
	assert.WithinDuration(t, job.Errors[0].At, job.ScheduledAt, 10*time.Second, "soon, not in an hour")
}

// TestStop stops processes in the middle of their work, and starts others: what
// was begun is finished, and nothing is lost or done twice.
func TestStop(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	const users = 300
	var mu sync.Mutex
	calls := make(map[string]int)
	slow := func(ctx context.Context, r *actions.Request) (*actions.Response, error) {
		mu.Lock()
		calls[r.Path]++
		mu.Unlock()
		select { // what it takes to answer
		case <-time.After(5 * time.Millisecond):
			return &actions.Response{Status: http.StatusOK, Body: []byte(`{}`)}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	few := func(_ *bridge.Config, cfg *river.Config) {
		cfg.Queues = map[string]river.QueueConfig{bridgeriver.QueueName: {MaxWorkers: 10}}
	}
	p := newProcess(t, database, transport(slow), few)
	for i := range users {
		p.enqueue(t, user(fmt.Sprintf("msg_%d", i), "user.updated", fmt.Sprintf("user_%d", i), 1))
	}
	for done := 50; done <= 200; done += 50 {
		if done > 50 {
			p = newProcess(t, database, transport(slow), few)
		}
		require.NoError(t, p.client.Start(t.Context()))
		require.Eventually(t, func() bool { return p.count(t, rivertype.JobStateCompleted) >= done }, longEnough, tick)
		p.stop(t)
		assert.Zero(t, p.count(t, rivertype.JobStateRunning), "a stop waits")
	}
	p = newProcess(t, database, transport(slow), few)
	p.start(t)
	for _, job := range p.wait(t, users, rivertype.JobStateCompleted) {
		assert.Equal(t, 1, job.Attempt)
	}
	mu.Lock()
	defer mu.Unlock()
	assert.Len(t, calls, users)
	for path, n := range calls {
		assert.Equal(t, 1, n, path)
	}
}

// TestStopAndCancel cuts an attempt off: it does not count, and the delivery goes
// on elsewhere at once.
func TestStopAndCancel(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	begun := make(chan struct{})
	p := newProcess(t, database, transport(func(ctx context.Context, _ *actions.Request) (*actions.Response, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}), nil)
	p.enqueue(t, user("msg_1", "user.created", "user_1", 1))
	require.NoError(t, p.client.Start(t.Context()))
	<-begun
	require.NoError(t, p.client.StopAndCancel(t.Context()))
	job := p.jobs(t)[0]
	assert.Equal(t, rivertype.JobStateAvailable, job.State)
	assert.Zero(t, job.Attempt)
	assert.Empty(t, job.Errors)

	knock := bridgetest.NewKnock(t)
	p = newProcess(t, database, knock.Transport(), nil)
	p.start(t)
	p.wait(t, 1, rivertype.JobStateCompleted)
	assert.Len(t, knock.Calls(), 2)
}

// TestHistories delivers histories to several processes, doubled and in any
// order. In the end Knock holds what it holds after the ordered history, and
// every workflow has run as often.
func TestHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			deliveries := history.New(seed, 20, 4, 300)
			want := history.Ordered(t, history.Config().Mappings, deliveries)

			knock, database := bridgetest.NewKnock(t), newDatabase(t)
			watcher := &history.Watcher{Knock: knock.Transport()} // of all processes
			processes := make([]*process, 2+seed)
			for i := range processes {
				processes[i] = newProcess(t, database, watcher, nil)
				processes[i].start(t)
			}
			r := rand.New(rand.NewPCG(seed, 2))
			doubled := append(append([]bridge.Delivery(nil), deliveries...), deliveries...)
			r.Shuffle(len(doubled), func(i, j int) { doubled[i], doubled[j] = doubled[j], doubled[i] })
			var wg sync.WaitGroup
			for i, p := range processes {
				wg.Go(func() {
					for j := i; j < len(doubled); j += len(processes) {
						_, err := p.queue.Enqueue(t.Context(), doubled[j])
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
			p := processes[0]
			p.wait(t, len(deliveries), rivertype.JobStateCompleted)
			assert.Len(t, p.jobs(t), len(deliveries))
			assert.Equal(t, want, history.Told(knock))
			assert.Empty(t, watcher.Problems())
		})
	}
}

// TestNewestFirst is about many states of one user that wait in a queue that is
// behind: the newest is written alone, and each starts its workflow.
func TestNewestFirst(t *testing.T) {
	t.Parallel()
	const states = 20
	for name, tc := range map[string]struct {
		statement string // to run once all are stored
		writes    int
	}{
		"late":             {"update river_job set scheduled_at = now() - interval '5 seconds'", 1},
		"without an index": {"drop index bridgeriver_entity; update river_job set scheduled_at = now() - interval '5 seconds'", states},
		"the newest is put back": {
			`update river_job set scheduled_at = now() - interval '5 seconds';
			update river_job set state = 'retryable', scheduled_at = now() + interval '1 hour' where args->>'svix_id' = 'msg_19'`, 2,
		},
		"have stood back": {
			`update river_job set scheduled_at = now() - interval '5 seconds', metadata = '{"clerk_yielded": true}'`, states,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := bridgetest.NewKnock(t)
			p := newProcess(t, newDatabase(t), knock.Transport(), func(cfg *bridge.Config, riverConfig *river.Config) {
				cfg.Mappings = bridge.Mappings{bridge.Also(clerk.UserUpdated, bridge.TriggerForUser[clerk.User]("changed"))}
				riverConfig.Queues = map[string]river.QueueConfig{bridgeriver.QueueName: {MaxWorkers: 1}} // in order
			})
			for i := range states {
				p.enqueue(t, user(fmt.Sprintf("msg_%d", i), "user.updated", "user_1", i))
			}
			_, err := p.pool.Exec(t.Context(), tc.statement)
			require.NoError(t, err)
			p.start(t)
			waiting := p.count(t, rivertype.JobStateRetryable)
			p.wait(t, states-waiting, rivertype.JobStateCompleted)
			assert.Len(t, knock.Runs(), states-waiting)
			p.hurry(t)
			for _, job := range p.wait(t, states, rivertype.JobStateCompleted) {
				assert.Equal(t, 1, job.Attempt)
			}
			writes := 0
			for _, call := range knock.Calls() {
				if call.Method == http.MethodPut {
					writes++
				}
			}
			assert.Equal(t, tc.writes, writes)
			assert.Len(t, knock.Runs(), states)
			u, _ := knock.User("user_1")
			assert.Equal(t, fmt.Sprintf("at %d", states-1), u["name"])
		})
	}
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	workers := river.NewWorkers()
	own := map[string]river.QueueConfig{"mine": {MaxWorkers: 1}}
	cfg := bridgeriver.Configure(&river.Config{Workers: workers, Queues: own, JobTimeout: 2 * time.Minute, FetchCooldown: time.Second})
	assert.Len(t, own, 1, "the caller's map is its own")
	assert.Len(t, cfg.Queues, 2)
	assert.Equal(t, 2*time.Minute, cfg.RescueStuckJobsAfter)
	assert.Equal(t, time.Second, cfg.FetchPollInterval)
	assert.Equal(t, 20*time.Second, bridgeriver.Configure(&river.Config{}).RescueStuckJobsAfter)
	assert.Zero(t, bridgeriver.Configure(&river.Config{JobTimeout: -1}).RescueStuckJobsAfter)
	assert.Nil(t, bridgeriver.Configure(&river.Config{}).Queues, "a client that inserts only")
	kept := river.QueueConfig{MaxWorkers: 7}
	cfg = bridgeriver.Configure(&river.Config{Workers: workers, Queues: map[string]river.QueueConfig{bridgeriver.QueueName: kept}})
	assert.Equal(t, kept, cfg.Queues[bridgeriver.QueueName])

	assert.Panics(t, func() { bridgeriver.AddWorker(workers, nil) })
	h, err := bridge.New(bridge.Config{SigningSecrets: []string{bridgetest.Secret}, Knock: answered(nil)})
	require.NoError(t, err)
	bridgeriver.AddWorker(workers, h)
	assert.PanicsWithError(t, `worker for kind "clerk_delivery" is already registered`, func() { bridgeriver.AddWorker(workers, h) })
}
