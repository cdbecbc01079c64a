package pace_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/pace"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	var missing *pace.Transport
	require.EqualError(t, missing.Validate(), "pace.Transport: the pointer is nil")
	require.NoError(t, (&pace.Transport{Knock: &recorder{}, Share: 0.25}).Validate())

	err := (&pace.Transport{
		Knock: &actions.HTTP{}, Share: math.NaN(), Rates: map[int]float64{0: 1, 2: -1, 3: math.Inf(1)},
		MaxWait: -1, MaxBulk: 1001,
	}).Validate()
	require.ErrorContains(t, (&pace.Transport{Knock: &recorder{}, BulkAfter: -1}).Validate(), "can't be negative")
	for _, want := range []string{
		"APIKey is empty", "Share is NaN", "tier 0", "gives tier 2 -1 calls", "gives tier 3 +Inf calls", "can't be negative", "MaxBulk is 1001",
	} {
		require.ErrorContains(t, err, want)
	}

	inner := errors.New("no credentials")
	err = (&pace.Transport{Knock: &refusing{err: inner}}).Validate()
	require.EqualError(t, err, "pace.Transport: Knock can't be used: no credentials")
	require.Equal(t, bridge.OutcomeMisconfigured, bridge.OutcomeOf(err))

	broken := &pace.Transport{}
	_, err = broken.Do(t.Context(), putUser("user_1"))
	require.EqualError(t, err, "pace.Transport: Knock is nil")
	_, err = bridge.New(bridge.Config{SigningSecrets: []string{bridgetest.Secret}, Knock: broken})
	require.ErrorContains(t, err, "pace.Transport: Knock is nil")
	err = actions.NewClient(broken).DeleteUser(t.Context(), actions.DeleteUser{ID: "user_1"})
	require.EqualError(t, err, "pace.Transport: Knock is nil")
	require.Equal(t, bridge.OutcomeMisconfigured, bridge.OutcomeOf(err))
}

// refusing is a Transport whose own fields are wrong.
type refusing struct {
	recorder

	err error
}

func (r *refusing) Validate() error { return r.err }

func TestTiers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		method, path, other string
		perSecond           float64
	}{
		{http.MethodPost, "/v1/users/bulk/delete", "/v1/users/bulk/delete", 1},
		{http.MethodPost, "/v1/objects/a/bulk/set", "/v1/objects/b/bulk/set", 1},
		{http.MethodPost, "/v1/tenants/bulk/delete?tenant_ids[]=a", "/v1/tenants/bulk/delete", 1},
		{http.MethodDelete, "/v1/users/a", "/v1/users/b", 5},
		{http.MethodDelete, "/v1/tenants/a", "/v1/tenants/b", 5},
		{http.MethodPost, "/v1/users/a/merge", "/v1/users/b/merge", 5},
		{http.MethodPut, "/v1/users/a", "/v1/users/bulk", 60},
		{http.MethodPut, "/v1/users/a/preferences/x", "/v1/users/b/preferences/y", 60},
		{http.MethodDelete, "/v1/users/a/channel_data/x", "/v1/users/b/channel_data/y", 60},
		{http.MethodDelete, "/v1/objects/a/b", "/v1/objects/c/d", 60},
		{http.MethodPost, "/v1/objects/a/b/subscriptions", "/v1/objects/c/bulk/subscriptions?x=y", 60},
		{http.MethodDelete, "/v1/audiences/a/members", "/v1/audiences/b/members", 60},
		{http.MethodGet, "/v1/users/a", "/v1/users/b", 200},
		{http.MethodGet, "/v1/bulk_operations/a", "/v1/bulk_operations/b", 200},
		{http.MethodPost, "/v1/workflows/a/trigger", "/v1/workflows/b/trigger", 1000},
		{http.MethodPost, "/v1/workflows/a/cancel", "/v1/workflows/b/cancel", 1000},
	} {
		t.Run(tc.method+tc.path, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if tc.other == "/v1/objects/c/bulk/subscriptions?x=y" {
					tc.other = "/v1/objects/c/d/subscriptions?x=y"
				}
				inner := &recorder{}
				knock := &pace.Transport{Knock: inner}
				for _, path := range []string{tc.path, tc.other, tc.path} {
					_, err := knock.Do(t.Context(), request(tc.method, path))
					require.NoError(t, err)
				}
				calls := inner.calls()
				apart := calls[2].at.Sub(calls[0].at).Seconds() / 2
				assert.InDelta(t, 1/(0.95*tc.perSecond), apart, 1e-6)
				assert.True(t, calls[0].Paced)
			})
		})
	}
}

func TestOwnRatesAndShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{}
		knock := &pace.Transport{Knock: inner, Share: 0.25, Rates: map[int]float64{3: 40}}
		for range 2 {
			_, err := knock.Do(t.Context(), putUser("user_1"))
			require.NoError(t, err)
		}
		calls := inner.calls()
		assert.InDelta(t, 1/9.5, calls[1].at.Sub(calls[0].at).Seconds(), 1e-6)
	})
}

// The fake counts as Knock does: a window of a second from the first call on.
func TestNoRefusalsFromOneProcess(t *testing.T) {
	t.Parallel()
	k, knock := fake(t)
	synctest.Test(t, func(t *testing.T) {
		var requests []*actions.Request
		for i := range 400 {
			id := fmt.Sprintf("u%d", i)
			requests = append(requests, putUser(id), request(http.MethodGet, "/v1/users"))
			if i%10 == 0 {
				requests = append(requests, request(http.MethodPut, "/v1/tenants/"+id))
			}
		}
		start := time.Now()
		work(t, &pace.Transport{Knock: knock, NoBulk: true}, 50, requests)
		assert.Greater(t, time.Since(start), 6*time.Second)
		assert.Less(t, time.Since(start), 10*time.Second)
		assert.Zero(t, refusals(k))
	})
}

func TestNoRefusalsInRealTime(t *testing.T) {
	t.Parallel()
	k := bridgetest.NewKnock(t)
	k.Configure(func(o *bridgetest.KnockOptions) { o.RateLimits = true })
	http := &actions.HTTP{APIKey: "sk_test_1", BaseURL: k.URL}
	t.Cleanup(http.CloseIdleConnections)
	var requests []*actions.Request
	for i := range 110 {
		requests = append(requests, putUser(fmt.Sprintf("user_%d", i)))
	}
	work(t, &pace.Transport{Knock: http, NoBulk: true}, 8, requests)
	assert.Len(t, k.Users(), len(requests))
	assert.Zero(t, refusals(k))
}

func TestPostponedCallsComeBackSpreadOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{}
		knock := &pace.Transport{Knock: inner}
		const deletions = 10_000
		var mu sync.Mutex
		var waits []time.Duration
		var all sync.WaitGroup
		for i := range deletions {
			all.Go(func() {
				_, err := knock.Do(t.Context(), request(http.MethodDelete, fmt.Sprintf("/v1/users/u%d", i)))
				if err != nil {
					failure := unsent(t, err)
					mu.Lock()
					defer mu.Unlock()
					waits = append(waits, failure.RetryAfter)
				}
			})
		}
		all.Wait()
		assert.Len(t, inner.calls(), 10) // in two seconds
		require.Len(t, waits, deletions-10)
		perSecond := make(map[int]int)
		for _, w := range waits {
			perSecond[int(w.Seconds())]++
		}
		for second, n := range perSecond {
			assert.LessOrEqual(t, n, 5, "second %d", second)
		}
		assert.Greater(t, len(perSecond), 2000)
	})
}

func TestPostponedCallsComeBackWithinTheHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		knock := &pace.Transport{Knock: &recorder{}, Rates: map[int]float64{2: 0.01}}
		del := request(http.MethodDelete, "/v1/users/u")
		_, err := knock.Do(t.Context(), del)
		require.NoError(t, err)
		var longest time.Duration
		for range 100 {
			_, err := knock.Do(t.Context(), del)
			longest = max(longest, unsent(t, err).RetryAfter)
		}
		assert.InDelta(t, time.Hour.Minutes(), longest.Minutes(), 4)
	})
}

func TestPostponedCallsAreAllSentInTheEnd(t *testing.T) {
	t.Parallel()
	k, knock := fake(t)
	synctest.Test(t, func(t *testing.T) {
		k.Configure(func(o *bridgetest.KnockOptions) { o.DeleteMissing = true })
		var requests []*actions.Request
		for i := range 500 {
			requests = append(requests, request(http.MethodDelete, fmt.Sprintf("/v1/users/u%d", i)))
		}
		start := time.Now()
		work(t, &pace.Transport{Knock: knock}, 100, requests)
		assert.InDelta(t, 500/4.75, time.Since(start).Seconds(), 5)
		assert.Zero(t, refusals(k))
		assert.Len(t, k.Calls(), 500)
	})
}

func TestWaitEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{}
		knock := &pace.Transport{Knock: inner}
		del := request(http.MethodDelete, "/v1/users/u")
		_, err := knock.Do(t.Context(), del)
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err = knock.Do(ctx, del) // its turn would leave too little time
		failure := unsent(t, err)
		assert.Equal(t, start, time.Now())
		assert.InDelta(t, 1/4.75, failure.RetryAfter.Seconds(), 1e-6)

		ctx, cancel = context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		_, err = knock.Do(ctx, del) // and here, for Knock to answer it
		_ = unsent(t, err)
		assert.Equal(t, start, time.Now())

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err = knock.Do(ctx, del)
		failure = unsent(t, err)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, failure.RetryAfter)
		assert.Zero(t, failure.Attempts)

		// The turn that was given back is the next call's.
		_, err = knock.Do(t.Context(), del)
		require.NoError(t, err)
		assert.InDelta(t, 1/4.75, time.Since(start).Seconds(), 1e-6)
	})
}

// TestCancelDuringAStop: a call that waits for the end of a stop has no turn to give
// back.
func TestCancelDuringAStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answer := status(http.StatusTooManyRequests, "Retry-After", "1")
		knock := &pace.Transport{Knock: &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			return answer, nil
		}}}
		var all sync.WaitGroup
		all.Go(func() {
			res, err := knock.Do(t.Context(), putUser("user_1"))
			succeeds(t, res, err)
		})
		synctest.Wait()
		answer = status(http.StatusOK)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		_, err := knock.Do(ctx, putUser("user_2"))
		_ = unsent(t, err)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 50*time.Millisecond, time.Since(start))
		all.Wait()
	})
}

func TestAnswer429SlowsTheTier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refuse sync.Once
		inner := &recorder{}
		inner.answer = func(context.Context, *actions.Request) (res *actions.Response, err error) {
			res = status(http.StatusOK)
			refuse.Do(func() { res = status(http.StatusTooManyRequests, "Retry-After", "1.5") })
			return res, nil
		}
		knock := &pace.Transport{Knock: inner}
		start := time.Now()
		original := putUser("user_1")
		var all sync.WaitGroup
		all.Go(func() {
			res, err := knock.Do(t.Context(), original)
			succeeds(t, res, err)
			assert.Equal(t, 2, res.Attempts)
		})
		synctest.Wait()
		// Another endpoint of the tier is stopped too, one of another tier isn't.
		all.Go(func() {
			res, err := knock.Do(t.Context(), request(http.MethodPut, "/v1/tenants/org_1"))
			succeeds(t, res, err)
			assert.Equal(t, 1500*time.Millisecond, time.Since(start))
		})
		_, err := knock.Do(t.Context(), request(http.MethodGet, "/v1/users/user_1"))
		require.NoError(t, err)
		assert.Equal(t, start, time.Now())
		all.Wait()
		assert.Equal(t, 1500*time.Millisecond, time.Since(start))
		assert.Equal(t, putUser("user_1"), original)

		rate := func() float64 {
			start := time.Now()
			for range 4 {
				_, err := knock.Do(t.Context(), putUser("user_2"))
				require.NoError(t, err)
			}
			return 3 / time.Since(start).Seconds()
		}
		_, _ = knock.Do(t.Context(), putUser("user_2"))
		time.Sleep(time.Second)
		assert.InDelta(t, 57.0/2, rate(), 0.1)
		time.Sleep(10 * time.Second)
		assert.InDelta(t, 57*0.7, rate(), 0.1)
		time.Sleep(time.Minute)
		assert.InDelta(t, 57, rate(), 0.1)
	})
}

// TestRateRecoversByTheClock: a call that comes between two of the five seconds does
// not begin them anew.
func TestRateRecoversByTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refuse sync.Once
		inner := &recorder{answer: func(context.Context, *actions.Request) (res *actions.Response, err error) {
			res = status(http.StatusOK)
			refuse.Do(func() { res = status(http.StatusTooManyRequests) })
			return res, nil
		}}
		knock := &pace.Transport{Knock: inner}
		start := time.Now()
		for second := 9; second <= 27; second += 9 {
			_, err := knock.Do(t.Context(), putUser("user_1"))
			require.NoError(t, err)
			time.Sleep(time.Until(start.Add(time.Duration(second) * time.Second)))
		}
		for range 2 { // after 27 seconds, which are five times five
			_, err := knock.Do(t.Context(), putUser("user_1"))
			require.NoError(t, err)
		}
		calls := inner.calls()
		last := len(calls) - 1
		assert.InDelta(t, 1/57.0, calls[last].at.Sub(calls[last-1].at).Seconds(), 1e-6)
	})
}

// TestAnswer429VoidsTurns: calls that had their turns before a 429 get others, at
// the rate that holds from then on.
func TestAnswer429VoidsTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent []time.Time
		inner := &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			mu.Lock()
			sent = append(sent, time.Now())
			first := len(sent) == 1
			mu.Unlock()
			if first {
				time.Sleep(time.Millisecond) // the others have their turns by then
				return status(http.StatusTooManyRequests, "Retry-After", "0.2"), nil
			}
			return status(http.StatusOK), nil
		}}
		knock := &pace.Transport{Knock: inner, NoBulk: true}
		start := time.Now()
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				res, err := knock.Do(t.Context(), putUser("user_1"))
				succeeds(t, res, err)
			})
		}
		all.Wait()
		require.Len(t, sent, 31)
		assert.GreaterOrEqual(t, sent[1].Sub(start), 200*time.Millisecond)
		for i := range sent[2:] {
			assert.GreaterOrEqual(t, sent[i+2].Sub(sent[i+1]), 34*time.Millisecond, "half the rate, call %d", i+2)
		}
	})
}

// TestLongStops: whatever one answer asks for, a call tells after a minute whether it
// still holds.
func TestLongStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := []*actions.Response{status(http.StatusTooManyRequests, "Retry-After", "3600"), status(http.StatusOK)}
		inner := &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			next := answers[0]
			answers = answers[1:]
			return next, nil
		}}
		knock := &pace.Transport{Knock: inner}
		res, err := knock.Do(t.Context(), putUser("user_1"))
		require.NoError(t, err)
		assert.Equal(t, http.StatusTooManyRequests, res.Status)
		_, err = knock.Do(t.Context(), putUser("user_2"))
		assert.Less(t, unsent(t, err).RetryAfter, 2*time.Minute)
		time.Sleep(time.Minute)
		res, err = knock.Do(t.Context(), putUser("user_2"))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, res.Status)
	})
}

func TestAnswer429WithoutTimeLeftIsReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			return status(http.StatusTooManyRequests, "Retry-After", "7"), nil
		}}
		knock := &pace.Transport{Knock: inner}
		start := time.Now()
		res, err := knock.Do(t.Context(), putUser("user_1"))
		require.NoError(t, err)
		assert.Equal(t, http.StatusTooManyRequests, res.Status)
		assert.Equal(t, "7", res.Header.Get("Retry-After"))
		assert.Equal(t, start, time.Now())

		_, err = knock.Do(t.Context(), putUser("user_2"))
		assert.GreaterOrEqual(t, unsent(t, err).RetryAfter, 7*time.Second)
		assert.Len(t, inner.calls(), 1)
	})
}

func TestManyAnswers429HalveTheRateOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{}
		began := time.Now()
		inner.answer = func(context.Context, *actions.Request) (*actions.Response, error) {
			if time.Since(began) < time.Second {
				time.Sleep(time.Second)
				return status(http.StatusTooManyRequests), nil
			}
			return status(http.StatusOK), nil
		}
		knock := &pace.Transport{Knock: inner, MaxWait: time.Minute}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				res, err := knock.Do(t.Context(), putUser(fmt.Sprintf("u%d", i)))
				succeeds(t, res, err)
			})
		}
		all.Wait()
		calls := inner.calls()
		require.Len(t, calls, 40)
		assert.InDelta(t, 2/57.0, calls[39].at.Sub(calls[38].at).Seconds(), 1e-3)
	})
}

func TestErrorsOfTheTransportBelow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		var err error
		knock := &pace.Transport{Knock: &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			return nil, err
		}}}
		err = &actions.SendError{Attempts: 3, Err: boom}
		_, got := knock.Do(t.Context(), putUser("user_1"))
		failure, ok := errors.AsType[*actions.SendError](got)
		require.True(t, ok)
		assert.Equal(t, &actions.SendError{Attempts: 3, Method: http.MethodPut, Path: "/v1/users/user_1", Err: boom}, failure)

		err = &actions.InvalidError{Field: "path"}
		_, got = knock.Do(t.Context(), putUser("user_1"))
		require.ErrorIs(t, got, err)
	})
}

// TestNeitherAnswerNorError is the mistake of a Transport, which package actions
// reports.
func TestNeitherAnswerNorError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nothing := func(int) (*actions.Response, error) { return nil, nil } //nolint:nilnil // that is it
		single := &pace.Transport{Knock: &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			return nothing(0)
		}}}
		res, err := single.Do(t.Context(), putUser("user_1"))
		require.NoError(t, err)
		assert.Nil(t, res)
		err = actions.NewClient(single).DeleteUser(t.Context(), actions.DeleteUser{ID: "user_1"})
		require.ErrorContains(t, err, "the Transport returned neither an answer nor an error")

		// Those of a bulk call are sent on their own.
		for _, inner := range []*recorder{bulkKnock(nothing, completed), bulkKnock(accepted, nothing)} {
			for _, r := range busy(t.Context(), t, always(inner), users(3)...) {
				succeeds(t, r.res, r.err)
			}
			assert.Len(t, inner.to("/v1/users/user_"), 3)
		}
	})
}

func pausedBy(t testing.TB, err error) (*pace.PausedError, time.Duration) {
	t.Helper()
	var paused *pace.PausedError
	require.ErrorAs(t, err, &paused)
	return paused, unsent(t, err).RetryAfter
}

func TestPauseAndProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		answer, takes := http.StatusUnauthorized, time.Duration(0)
		set := func(status int, d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			answer, takes = status, d
		}
		inner := &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			mu.Lock()
			code, d := answer, takes
			mu.Unlock()
			time.Sleep(d)
			return body(code, `{"code":"api_key_missing"}`), nil
		}}
		knock := &pace.Transport{Knock: inner}
		res, err := knock.Do(t.Context(), putUser("user_1"))
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, res.Status) // Knock's own answer

		time.Sleep(4 * time.Second)
		_, err = knock.Do(t.Context(), request(http.MethodPost, "/v1/workflows/welcome/trigger"))
		paused, left := pausedBy(t, err)
		assert.Equal(t, &pace.PausedError{Calls: "all calls", Status: http.StatusUnauthorized}, paused)
		assert.Equal(t, 6*time.Second, left)
		require.EqualError(t, paused, "pace: paused: all calls, since Knock answered 401")

		// One call is let through, and doubles the pause.
		time.Sleep(6 * time.Second)
		set(http.StatusForbidden, 500*time.Millisecond)
		var all sync.WaitGroup
		all.Go(func() {
			res, err := knock.Do(t.Context(), putUser("user_1"))
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusForbidden, res.Status)
			}
		})
		synctest.Wait()
		_, err = knock.Do(t.Context(), putUser("user_2"))
		_, left = pausedBy(t, err)
		assert.Equal(t, time.Second, left)
		all.Wait()
		_, err = knock.Do(t.Context(), putUser("user_2"))
		paused, left = pausedBy(t, err)
		assert.Equal(t, http.StatusForbidden, paused.Status)
		assert.Equal(t, 20*time.Second, left)

		// It never gets longer than ten minutes.
		for range 8 {
			time.Sleep(left)
			_, err = knock.Do(t.Context(), putUser("user_2"))
			require.NoError(t, err)
			_, err = knock.Do(t.Context(), putUser("user_2"))
			_, left = pausedBy(t, err)
		}
		assert.Equal(t, 10*time.Minute, left)

		// What says nothing about the key neither ends nor prolongs it.
		time.Sleep(left)
		set(http.StatusBadGateway, 0)
		for range 2 {
			res, err = knock.Do(t.Context(), putUser("user_2"))
			require.NoError(t, err)
			assert.Equal(t, http.StatusBadGateway, res.Status)
		}
		set(http.StatusOK, 0)
		res, err = knock.Do(t.Context(), putUser("user_2"))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, res.Status)
		set(http.StatusUnauthorized, 0)
		_, err = knock.Do(t.Context(), putUser("user_2"))
		require.NoError(t, err)
		_, err = knock.Do(t.Context(), putUser("user_2"))
		_, left = pausedBy(t, err)
		assert.Equal(t, 10*time.Second, left) // from the start again
	})
}

func TestPauseOfAWorkflowAndAnAudience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{answer: func(_ context.Context, r *actions.Request) (*actions.Response, error) {
			switch r.Path {
			case "/v1/workflows/good/trigger", "/v1/users/user_1":
				return status(http.StatusOK), nil
			case "/v1/workflows/actor/trigger":
				return body(http.StatusNotFound, `{"code":"actor_missing"}`), nil
			}
			return body(http.StatusNotFound, `{"code":"workflow_missing"}`), nil
		}}
		knock := &pace.Transport{Knock: inner}
		for _, tc := range []struct {
			method, path, paused string
		}{
			{http.MethodPost, "/v1/workflows/bad/trigger", "workflow bad"},
			{http.MethodPost, "/v1/audiences/vip/members", "audience vip"},
			{http.MethodPost, "/v1/workflows/actor/trigger", ""},
			{http.MethodPost, "/v1/objects/$tenants/org_1/subscriptions", ""},
			{http.MethodDelete, "/v1/audiences/gone/members", ""},
			{http.MethodDelete, "/v1/users/gone", ""},
			{http.MethodGet, "/v1/users/gone", ""},
		} {
			res, err := knock.Do(t.Context(), request(tc.method, tc.path))
			require.NoError(t, err)
			assert.Equal(t, http.StatusNotFound, res.Status, tc.path)
			_, err = knock.Do(t.Context(), request(tc.method, tc.path))
			if tc.paused == "" {
				require.NoError(t, err, tc.path)
				continue
			}
			paused, _ := pausedBy(t, err)
			assert.Equal(t, &pace.PausedError{Calls: tc.paused, Status: http.StatusNotFound}, paused)
		}
		_, err := knock.Do(t.Context(), request(http.MethodPost, "/v1/workflows/bad/cancel"))
		paused, _ := pausedBy(t, err)
		assert.Equal(t, "workflow bad", paused.Calls)
		for _, r := range []*actions.Request{request(http.MethodPost, "/v1/workflows/good/trigger"), putUser("user_1")} {
			_, err := knock.Do(t.Context(), r)
			require.NoError(t, err)
		}
	})
}

// TestForeignAnswersDoNotPause: what somebody before Knock refuses is this call's
// matter. Nor does it say anything about a pause.
func TestForeignAnswersDoNotPause(t *testing.T) {
	t.Parallel()
	const page = "\n<!DOCTYPE html><title>Request blocked</title>"
	for _, foreign := range []*actions.Response{
		body(http.StatusForbidden, page), body(http.StatusUnauthorized, ""), body(http.StatusForbidden, "blocked"),
		body(http.StatusForbidden, `{"code":`), body(http.StatusForbidden, `"code"`),
		body(http.StatusUnauthorized, `["code"]`), body(http.StatusUnauthorized, `null`), body(http.StatusNotFound, page),
		body(http.StatusOK, page), body(http.StatusFound, ""),
	} {
		t.Run(fmt.Sprintf("%d %s", foreign.Status, foreign.Body), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				answer := foreign
				knock := &pace.Transport{Knock: &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
					own := *answer
					return &own, nil
				}}}
				trigger := request(http.MethodPost, "/v1/workflows/welcome/trigger")
				passes := func(want int) {
					t.Helper()
					res, err := knock.Do(t.Context(), trigger)
					require.NoError(t, err)
					assert.Equal(t, want, res.Status)
				}
				passes(foreign.Status)
				passes(foreign.Status)

				answer = body(http.StatusUnauthorized, `{"code":"api_key_missing","errors":[]}`)
				passes(http.StatusUnauthorized)
				time.Sleep(10 * time.Second)
				answer = foreign
				passes(foreign.Status)
				passes(foreign.Status)
				answer = body(http.StatusUnauthorized, `{"code":"api_key_missing"}`)
				passes(http.StatusUnauthorized)
				_, err := knock.Do(t.Context(), trigger)
				_, left := pausedBy(t, err)
				assert.Equal(t, 20*time.Second, left, "as if the others had not been")
			})
		})
	}
}

// TestOneRefusalInADifferentPause: a call that is let through for a workflow and finds
// the key refused says nothing about the workflow.
func TestOneRefusalInADifferentPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var answer *actions.Response
		knock := &pace.Transport{Knock: &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			return answer, nil
		}}}
		do := func(r *actions.Request, res *actions.Response) error {
			answer = res
			_, err := knock.Do(t.Context(), r)
			return err
		}
		trigger := request(http.MethodPost, "/v1/workflows/bad/trigger")
		missing := body(http.StatusNotFound, `{"errors":{"detail":"404 Not Found"}}`)
		require.NoError(t, do(trigger, missing))
		time.Sleep(10 * time.Second)
		require.NoError(t, do(trigger, body(http.StatusUnauthorized, `{"code":"api_key_missing"}`)))
		time.Sleep(10 * time.Second)
		require.NoError(t, do(putUser("user_1"), status(http.StatusOK))) // the key is mended
		require.NoError(t, do(trigger, missing))
		paused, left := pausedBy(t, do(trigger, nil))
		assert.Equal(t, "workflow bad", paused.Calls)
		assert.Equal(t, 20*time.Second, left, "the same pause, doubled")
	})
}

func TestPausedDeliveryIsAttemptedAgainForFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		knock := &pace.Transport{Knock: &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
			return body(http.StatusForbidden, `{"code":"authorization"}`), nil
		}}}
		h, err := bridge.New(bridge.Config{
			SigningSecrets: []string{bridgetest.Secret}, Knock: knock, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		process := func(id string) *bridge.Result {
			data := json.RawMessage(`{"type":"user.created","object":"event","timestamp":1,"data":{"id":"user_1","object":"user"}}`)
			res, _ := h.Process(t.Context(), bridge.Delivery{ID: id, ReceivedAt: time.Now(), Body: data})
			return res
		}
		assert.Equal(t, bridge.OutcomeMisconfigured, process("msg_1").Outcome)
		retry := process("msg_2").Retry(1)
		assert.Equal(t, bridge.Retry{Again: true, After: 10 * time.Second, Free: true}, retry)
	})
}

// TestNoEffectBefore: what the Transport below has tried counts with what this one
// has.
func TestNoEffectBefore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answers []actions.Response
		want    bool
	}{
		"at once":                 {[]actions.Response{{Status: 422}}, true},
		"after a 429":             {[]actions.Response{{Status: 429}, {Status: 422}}, true},
		"after a 429 and a 503":   {[]actions.Response{{Status: 429}, {Status: 422, Attempts: 2}}, false},
		"after a 503 and a 429":   {[]actions.Response{{Status: 429, Attempts: 2}, {Status: 422}}, false},
		"after two 429 below":     {[]actions.Response{{Status: 429, Attempts: 2, NoEffectBefore: true}, {Status: 422}}, true},
		"after a lost connection": {[]actions.Response{{Status: 422, Attempts: 2}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				inner := &recorder{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
					n++
					return &tc.answers[n-1], nil
				}}
				res, err := (&pace.Transport{Knock: inner}).Do(t.Context(), putUser("user_1"))
				require.NoError(t, err)
				assert.Equal(t, 422, res.Status)
				assert.Equal(t, tc.want, res.NoEffectBefore)
			})
		})
	}
}
