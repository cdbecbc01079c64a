package bridge_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

// listQueue is a queue in memory, for what the handler does with one.
type listQueue struct {
	mu         sync.Mutex
	err        error
	deliveries []bridge.Delivery
}

func (q *listQueue) Enqueue(_ context.Context, d bridge.Delivery) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return false, q.err
	}
	for _, known := range q.deliveries {
		if known.ID == d.ID {
			return false, nil
		}
	}
	q.deliveries = append(q.deliveries, d)
	return true, nil
}

func TestQueue(t *testing.T) {
	t.Parallel()
	knock, queue := bridgetest.NewKnock(t), &listQueue{}
	var results []*bridge.Result
	h, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret}, Knock: knock.Transport(), Queue: queue,
		OnResult: func(_ context.Context, res *bridge.Result) { results = append(results, res) },
	})
	require.NoError(t, err)
	attempt := func(d bridge.Delivery) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, bridgetest.Attempt(t, d))
		return w
	}

	d := bridgetest.NewDelivery(t, "user.created", nil)
	w := attempt(d)
	assert.Equal(t, http.StatusAccepted, w.Code)
	assert.JSONEq(t, `{"outcome":"queued","delivery":"`+d.ID+`"}`, w.Body.String())
	assert.Equal(t, http.StatusOK, attempt(d).Code)
	assert.Equal(t, bridge.OutcomeDuplicate, results[1].Outcome)
	assert.Empty(t, knock.Calls(), "no work before it is taken out of the queue")

	assert.Equal(t, http.StatusOK, attempt(bridgetest.NewDelivery(t, "role.created", nil)).Code)
	assert.Equal(t, bridge.OutcomeIgnored, results[2].Outcome)
	assert.Equal(t, http.StatusBadRequest, attempt(bridge.Delivery{ID: "msg_2", Body: []byte(`{"type":`)}).Code)
	require.Len(t, queue.deliveries, 1, "neither unmapped nor malformed ones are stored")
	stored := queue.deliveries[0]
	assert.Equal(t, d.ID, stored.ID)
	assert.Equal(t, string(d.Body), string(stored.Body))
	assert.WithinDuration(t, time.Now(), stored.ReceivedAt, time.Minute)

	queue.err = errors.New("no space left on device")
	w = attempt(bridgetest.NewDelivery(t, "user.updated", nil))
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "5", w.Header().Get("Retry-After"))
	require.ErrorIs(t, results[len(results)-1].Err, queue.err)

	res, err := h.Process(t.Context(), stored)
	require.NoError(t, err)
	assert.Equal(t, bridge.OutcomeDone, res.Outcome)
	assert.Len(t, knock.Users(), 1)
}

func TestDryRunIsNotQueued(t *testing.T) {
	t.Parallel()
	queue := &listQueue{}
	h, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret}, Knock: bridgetest.NewKnock(t).Transport(), Queue: queue, DryRun: true,
	})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, bridgetest.NewRequest(t, "user.created", nil))
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Empty(t, queue.deliveries)
}

// TestWorkersDoNotWait is about two deliveries of one user: a worker that waited
// for its turn would keep others from being worked off.
func TestWorkersDoNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		h, err := bridge.New(bridge.Config{
			SigningSecrets: []string{bridgetest.Secret}, Queue: &listQueue{},
			Knock: &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
				<-proceed
				return &actions.Response{Status: http.StatusOK}, nil
			}},
		})
		require.NoError(t, err)
		var first sync.WaitGroup
		first.Go(func() {
			res, err := h.Process(t.Context(), event("1", "user.created", 10, userAt(10, "A")))
			require.NoError(t, err)
			assert.Equal(t, bridge.OutcomeDone, res.Outcome)
		})
		synctest.Wait()
		started := time.Now()
		res, err := h.Process(t.Context(), event("2", "user.updated", 20, userAt(20, "B")))
		require.ErrorIs(t, err, bridge.ErrBusy)
		assert.Zero(t, time.Since(started))
		next := res.Retry(1)
		assert.True(t, next.Again)
		assert.True(t, next.Free)
		assert.LessOrEqual(t, next.After, time.Second)
		close(proceed)
		first.Wait()
	})
}

func TestRetry(t *testing.T) {
	t.Parallel()
	knock := func(status int, after time.Duration) error {
		return &actions.Error{Status: status, RetryAfter: after}
	}
	panicked := &bridge.PanicError{Value: "boom"}
	plain := errors.New("no such table")
	tests := map[string]struct {
		err     error
		attempt int
		want    bridge.Retry // of After, the middle
		exact   bool
	}{
		"the first failure":           {knock(500, 0), 1, bridge.Retry{Again: true, After: time.Second}, false},
		"the fourth":                  {knock(500, 0), 4, bridge.Retry{Again: true, After: 8 * time.Second}, false},
		"the hundredth":               {knock(500, 0), 100, bridge.Retry{Again: true, After: 10 * time.Minute}, false},
		"the last":                    {knock(500, 0), 500, bridge.Retry{After: 10 * time.Minute}, false},
		"a wait that Knock asks for":  {knock(503, 90*time.Second), 3, bridge.Retry{Again: true, After: 90 * time.Second}, true},
		"Knock's limit":               {knock(429, 2*time.Second), 3, bridge.Retry{Again: true, After: 2 * time.Second, Free: true}, true},
		"a wait of the mapping's own": {bridge.RetryAfter(time.Hour, plain), 1, bridge.Retry{Again: true, After: time.Hour}, true},
		"no room within the limits": {
			&actions.SendError{Unsent: true, RetryAfter: 7 * time.Second, Err: plain}, 9,
			bridge.Retry{Again: true, After: 7 * time.Second, Free: true}, true,
		},
		"no room where it would be the last": {
			&actions.SendError{Unsent: true, RetryAfter: 7 * time.Second, Err: plain}, 500,
			bridge.Retry{Again: true, After: 7 * time.Second, Free: true}, true,
		},
		"a wait after what may have been sent": {
			&actions.SendError{RetryAfter: 7 * time.Second, Err: plain}, 9,
			bridge.Retry{Again: true, After: 7 * time.Second}, true,
		},
		"a wait that is too long": {bridge.RetryAfter(48*time.Hour, plain), 1, bridge.Retry{Again: true, After: 24 * time.Hour}, true},
		"rejected":                {knock(422, 0), 1, bridge.Retry{Again: true, After: time.Minute}, false},
		"misconfigured":           {knock(401, 0), 3, bridge.Retry{Again: true, After: 4 * time.Minute}, false},
		"a plain error, late":     {plain, 70, bridge.Retry{Again: true, After: time.Hour}, false},
		"a plain error, last":     {plain, 72, bridge.Retry{After: time.Hour}, false},
		"a panic":                 {panicked, 2, bridge.Retry{Again: true, After: 20 * time.Second}, false},
		"the fifth panic":         {panicked, 5, bridge.Retry{After: 160 * time.Second}, false},
		"permanent":               {bridge.Permanent(plain), 1, bridge.Retry{}, true},
		"done":                    {nil, 1, bridge.Retry{}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := bridge.Result{Outcome: bridge.OutcomeOf(tt.err), Err: tt.err}
			got := res.Retry(tt.attempt)
			if !tt.exact {
				assert.InEpsilon(t, tt.want.After, got.After, 0.2001)
				got.After = tt.want.After
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

// TestRetryOfWhatIsOK: a worker that sends nothing, or that does not map what was
// stored because somebody maps it, does not empty the queue.
func TestRetryOfWhatIsOK(t *testing.T) {
	t.Parallel()
	d := event("1", "session.created", 20, `{"user_id":"user_1"}`)
	old := newHandler(t, bridge.Config{})
	res, err := old.Process(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, bridge.OutcomeIgnored, res.Outcome)
	waited := time.Duration(0)
	attempt := 1
	for ; res.Retry(attempt).Again; attempt++ {
		assert.False(t, res.Retry(attempt).Free, "it ends")
		waited += res.Retry(attempt).After
	}
	assert.Equal(t, 7, attempt)
	assert.InEpsilon(t, 63*time.Minute, waited, 0.2001)

	own := bridge.On(clerk.SessionCreated, func(context.Context, *clerk.Event[clerk.Session], *actions.Client) error { return nil })
	trial := newHandler(t, bridge.Config{DryRun: true, Mappings: bridge.Mappings{own}})
	res, err = trial.Process(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, bridge.OutcomeDone, res.Outcome)
	for _, attempt := range []int{1, 1000} {
		assert.Equal(t, bridge.Retry{Again: true, After: time.Minute, Free: true}, res.Retry(attempt))
	}
	for _, outcome := range []bridge.Outcome{bridge.OutcomeDone, bridge.OutcomeDuplicate, bridge.OutcomeStale, bridge.OutcomeUnchanged} {
		res = &bridge.Result{Outcome: outcome}
		assert.False(t, res.Retry(1).Again, outcome)
	}
}

func TestSubjectOf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		delivery bridge.Delivery
		want     bridge.Subject
	}{
		"a state": {
			event("1", "user.updated", 20, userAt(10, "A")),
			bridge.Subject{Entity: "user/user_1", Version: 1760000010000, Timestamp: 1760000020000},
		},
		"a deletion": {event("1", "user.deleted", 20, goneUser), bridge.Subject{Entity: "user/user_1", Deletes: true}},
		"a membership": {
			event("1", "organizationMembership.created", 20, memberAt(10, "m1", "org:admin")),
			bridge.Subject{Entity: "organization/org_1/user/user_1", Version: 1760000010000, Timestamp: 1760000020000},
		},
		"data that is wrong elsewhere": {
			event("1", "user.updated", 20, `{"id":"user_1","updated_at":1760000010000,"banned":"no"}`),
			bridge.Subject{Entity: "user/user_1", Version: 1760000010000, Timestamp: 1760000020000},
		},
		"a session":          {event("1", "session.created", 20, `{"user_id":"user_1","status":7}`), bridge.Subject{Entity: "user/user_1", Timestamp: 0}},
		"another kind":       {event("1", "role.created", 20, `{"id":"role_1"}`), bridge.Subject{}},
		"data that is wrong": {event("1", "user.created", 20, `{"id":7}`), bridge.Subject{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := bridge.SubjectOf(tt.delivery)
			require.NoError(t, err)
			assert.NotEmpty(t, got.EventType)
			eventType := got.EventType
			got.EventType = ""
			assert.Equal(t, tt.want, got)

			// The work is about the same, whoever does it.
			type data struct{ ID, Banned string }
			own := bridge.On(clerk.EventType[data](eventType), func(context.Context, *clerk.Event[data], *actions.Client) error { return nil })
			for _, mappings := range []bridge.Mappings{nil, {own}} {
				res, _ := newHandler(t, bridge.Config{Mappings: mappings}).Process(t.Context(), tt.delivery)
				if len(res.Functions) > 0 {
					assert.Equal(t, tt.want.Entity, res.Entity)
				}
			}
		})
	}
	_, err := bridge.SubjectOf(bridge.Delivery{ID: "1", Body: []byte("[]")})
	require.Error(t, err)
}

// TestOnStart is how a span gets into the work and to OnResult.
func TestOnStart(t *testing.T) {
	t.Parallel()
	type key struct{}
	seen := map[string]any{}
	h, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret}, Knock: bridgetest.NewKnock(t).Transport(),
		OnStart: func(ctx context.Context, d bridge.Delivery, eventType string) context.Context {
			return context.WithValue(ctx, key{}, d.ID+" "+eventType)
		},
		OnResult: func(ctx context.Context, res *bridge.Result) {
			seen["result"] = ctx.Value(key{})
			seen["replay"] = res.Replay
			seen["entity"] = res.Entity
		},
		Mappings: bridge.Mappings{bridge.On(clerk.UserCreated, func(ctx context.Context, _ *clerk.Event[clerk.User], _ *actions.Client) error {
			seen["work"] = ctx.Value(key{})
			return nil
		})},
	})
	require.NoError(t, err)
	_, err = h.Replay(t.Context(), event("1", "user.created", 10, userAt(10, "A")))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"result": "1 user.created", "work": "1 user.created", "replay": true, "entity": "user/user_1",
	}, seen)
}
