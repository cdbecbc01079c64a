package pace_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
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

const identifyPath = "/v1/users/bulk/identify"

// always sends in bulk what can't be sent at once.
func always(knock actions.Transport) *pace.Transport {
	return &pace.Transport{Knock: knock, BulkAfter: 1}
}

// result is what became of a call.
type result struct {
	res *actions.Response
	err error
}

// busy takes the single endpoint's turn and makes the calls at once, so that
// they go in bulk, in their order.
func busy(ctx context.Context, t testing.TB, knock *pace.Transport, requests ...*actions.Request) []result {
	t.Helper()
	first := *requests[0]
	first.Path = first.Path[:strings.LastIndex(first.Path, "/")+1] + "first"
	if strings.HasSuffix(requests[0].Path, "/subscriptions") {
		first = *subscribe("first", "u", "")
	}
	res, err := knock.Do(t.Context(), &first)
	succeeds(t, res, err)
	results := make([]result, len(requests))
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() {
			res, err := knock.Do(actions.AllowBulk(ctx), r)
			results[i] = result{res, err}
		})
		synctest.Wait()
	}
	all.Wait()
	return results
}

func users(n int) []*actions.Request {
	requests := make([]*actions.Request, n)
	for i := range requests {
		requests[i] = putUser(fmt.Sprintf("user_%d", i))
	}
	return requests
}

func subscribe(object, user, properties string) *actions.Request {
	raw := fmt.Sprintf(`{"recipients":[%q]}`, user)
	if properties != "" {
		raw = fmt.Sprintf(`{"recipients":[%q],"properties":%s}`, user, properties)
	}
	return &actions.Request{
		Method: http.MethodPost, Path: "/v1/objects/$tenants/" + object + "/subscriptions", Body: json.RawMessage(raw),
	}
}

// bulkKnock answers bulk calls and polls as told; everything else gets 200.
func bulkKnock(bulk, poll func(n int) (*actions.Response, error)) *recorder {
	var mu sync.Mutex
	var bulks, polls int
	return &recorder{answer: func(_ context.Context, r *actions.Request) (*actions.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.Contains(r.Path, "/bulk/"):
			bulks++
			return bulk(bulks)
		case strings.HasPrefix(r.Path, "/v1/bulk_operations/"):
			polls++
			return poll(polls)
		default:
			return status(http.StatusOK), nil
		}
	}}
}

func accepted(int) (*actions.Response, error) {
	return body(200, `{"id":"op_1","status":"queued"}`), nil
}

func completed(int) (*actions.Response, error) {
	return body(200, `{"id":"op_1","status":"completed","error_count":0,"error_items":[]}`), nil
}

// itemIDs are the ids in a bulk call's body.
func itemIDs(t testing.TB, s sent) (ids []string) {
	t.Helper()
	var members map[string][]struct {
		ID string `json:"id"`
	}
	require.NoError(t, json.Unmarshal(s.Body, &members))
	for _, items := range members {
		for _, item := range items {
			ids = append(ids, item.ID)
		}
	}
	return ids
}

func TestBulkUsersAndTenants(t *testing.T) {
	t.Parallel()
	k, inner := fake(t)
	synctest.Test(t, func(t *testing.T) {
		knock := always(inner)
		start := time.Now()
		ada := putUser("user%201")
		ada.Body = json.RawMessage(` {"name":"Ada <3","plan":{"seats":2}}`)
		nobody := putUser("user_2")
		nobody.Body = json.RawMessage(`{}`)
		nothing := putUser("user_3")
		nothing.Body = nil
		for _, r := range busy(t.Context(), t, knock, ada, nobody, nothing) {
			require.NoError(t, r.err)
			assert.Equal(t, http.StatusOK, r.res.Status)
			assert.NotEmpty(t, r.res.Header.Get("X-Request-Id"))
			assert.Equal(t, 1, r.res.Attempts)
			assert.Empty(t, r.res.Body)
		}
		// 100 ms to gather, and the polls after 200 and 300 ms.
		assert.Equal(t, 600*time.Millisecond, time.Since(start))
		user, _ := k.User("user 1")
		assert.Equal(t, "Ada <3", user["name"])
		assert.Equal(t, map[string]any{"seats": 2.0}, user["plan"])
		assert.Len(t, k.Users(), 4)

		busy(t.Context(), t, knock, request(http.MethodPut, "/v1/tenants/org_1"), request(http.MethodPut, "/v1/tenants/org_2"))
		tenant, _ := k.Tenant("org_2")
		assert.Equal(t, "Ada", tenant["name"])
		var bulk []string
		for _, c := range k.Calls() {
			if c.Method == http.MethodPost {
				bulk = append(bulk, c.Path)
			}
		}
		assert.Equal(t, []string{identifyPath, "/v1/tenants/bulk/set"}, bulk)
		assert.Zero(t, refusals(k))
	})
}

func TestBulkSubscriptions(t *testing.T) {
	t.Parallel()
	k, inner := fake(t)
	k.Configure(func(o *bridgetest.KnockOptions) { o.CreateObjects = true })
	synctest.Test(t, func(t *testing.T) {
		recorded := &recorder{answer: inner.Do}
		const member, admin = `{"role":"member"}`, `{"role":"admin"}`
		knock := always(recorded)
		knock.MaxWait = 5 * time.Second
		for _, r := range busy(t.Context(), t, knock,
			subscribe("org_1", "user_1", member),
			subscribe("org_1", "user_2", member),
			subscribe("org_2", "user_2", ""),
			subscribe("org_1", "user_3", admin),  // the same object with other properties: the next call
			subscribe("org_1", "user_1", member), // the same subscription: likewise
		) {
			succeeds(t, r.res, r.err)
		}
		bulk := recorded.to("/v1/objects/$tenants/bulk/subscriptions/add")
		require.Len(t, bulk, 3)
		assert.JSONEq(t, `{"subscriptions":[
			{"id":"org_1","recipients":["user_1","user_2"],"properties":{"role":"member"}},
			{"id":"org_2","recipients":["user_2"]}]}`, string(bulk[0].Body))
		assert.JSONEq(t, `{"subscriptions":[{"id":"org_1","recipients":["user_3"],"properties":{"role":"admin"}}]}`, string(bulk[1].Body))
		assert.Len(t, k.Subscriptions("$tenants", "org_1"), 3)
		assert.Len(t, k.Subscriptions("$tenants", "org_2"), 1)
		assert.Zero(t, refusals(k))
	})
}

func TestBulkSubscriptionsHaveHundredRecipients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(accepted, completed)
		var requests []*actions.Request
		for i := range 150 {
			requests = append(requests, subscribe("org_1", fmt.Sprintf("user_%d", i), ""))
		}
		busy(t.Context(), t, always(inner), requests...)
		var counts []int
		for _, call := range inner.to("/bulk/subscriptions") {
			counts = append(counts, strings.Count(string(call.Body), "user_"))
		}
		assert.Equal(t, []int{100, 50}, counts)
	})
}

func TestBulkCallsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(accepted, completed)
		knock := always(inner)
		knock.MaxBulk = 3
		busy(t.Context(), t, knock, append(users(3), putUser("user_0"), putUser("user_9"))...)
		bulk := inner.to(identifyPath)
		require.Len(t, bulk, 2)
		assert.Equal(t, []string{"user_0", "user_1", "user_2"}, itemIDs(t, bulk[0]))
		assert.Equal(t, []string{"user_0", "user_9"}, itemIDs(t, bulk[1]))
		assert.GreaterOrEqual(t, bulk[1].at.Sub(bulk[0].at), time.Second)

		for size, calls := range map[int]int{3 << 19: 2, 3 << 20: 3, 5 << 20: 3} { // items of more than 4 MiB go by themselves
			large := users(3)
			for _, r := range large {
				r.Body = json.RawMessage(`{"p":"` + strings.Repeat("x", size) + `"}`)
			}
			time.Sleep(time.Minute)
			inner := bulkKnock(accepted, completed)
			knock := always(inner)
			knock.MaxWait = 5 * time.Second
			busy(t.Context(), t, knock, large...)
			assert.Len(t, inner.to(identifyPath), calls, size)
		}
	})
}

// TestBulkDefaults: a second's calls go by themselves, the others in bulk calls of a
// thousand.
func TestBulkDefaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(accepted, completed)
		knock := &pace.Transport{Knock: inner}
		var all sync.WaitGroup
		for _, r := range users(1100) {
			all.Go(func() {
				res, err := knock.Do(actions.AllowBulk(t.Context()), r)
				succeeds(t, res, err)
			})
		}
		all.Wait()
		single, bulk := len(inner.to("/v1/users/user_")), inner.to(identifyPath)
		assert.InDelta(t, 58, single, 1) // 57 a second, and the first
		require.Len(t, bulk, 2)
		assert.Len(t, itemIDs(t, bulk[0]), 1000)
		assert.Len(t, itemIDs(t, bulk[1]), 100-single)
	})
}

// TestBulkIsLeftAlone: what answers no bulk call is not asked again for a minute.
func TestBulkIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(func(int) (*actions.Response, error) { return body(http.StatusOK, `<html>`), nil }, completed)
		knock := always(inner)
		for _, wait := range []time.Duration{0, 59 * time.Second, 2 * time.Second} {
			time.Sleep(wait)
			for _, r := range busy(t.Context(), t, knock, users(3)...) {
				succeeds(t, r.res, r.err)
			}
		}
		assert.Len(t, inner.to(identifyPath), 2)
	})
}

func TestNotInBulk(t *testing.T) {
	t.Parallel()
	with := func(method, path, body string) *actions.Request {
		return &actions.Request{Method: method, Path: path, Body: json.RawMessage(body)}
	}
	const subscriptions = "/v1/objects/a/b/subscriptions"
	for name, r := range map[string]*actions.Request{
		"other route":       with(http.MethodPut, "/v1/objects/a/b", `{}`),
		"query":             with(http.MethodPut, "/v1/tenants/org_1?x=y", `{}`),
		"own id":            with(http.MethodPut, "/v1/users/a", `{"id":"b"}`),
		"comma":             with(http.MethodPut, "/v1/users/a,b", `{}`),
		"no object":         with(http.MethodPut, "/v1/users/a", `[]`),
		"null":              with(http.MethodPut, "/v1/users/a", `null`),
		"no recipients":     with(http.MethodPost, subscriptions, `{}`),
		"nobody":            with(http.MethodPost, subscriptions, `{"recipients":[]}`),
		"recipients":        with(http.MethodPost, subscriptions, `{"recipients":"a"}`),
		"other member":      with(http.MethodPost, subscriptions, `{"recipients":["a"],"x":1}`),
		"unsubscribe":       with(http.MethodDelete, subscriptions, `{"recipients":["a"]}`),
		"too many of them":  with(http.MethodPost, subscriptions, `{"recipients":["a"`+strings.Repeat(`,"a"`, 100)+`]}`),
		"not UTF-8":         with(http.MethodPut, "/v1/users/%ff", `{}`),
		"escape is invalid": with(http.MethodPut, "/v1/users/%zz", `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := &recorder{}
				knock := always(inner)
				for range 2 {
					_, err := knock.Do(actions.AllowBulk(t.Context()), r)
					require.NoError(t, err)
				}
				assert.Empty(t, inner.to("/bulk/"))
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{}
		short, cancel := context.WithTimeout(actions.AllowBulk(t.Context()), 2*time.Second)
		defer cancel()
		for _, ctx := range []context.Context{t.Context(), short, actions.AllowBulk(t.Context())} {
			knock := always(inner)
			_, bulk := ctx.Deadline()
			knock.NoBulk = !bulk && actions.BulkAllowed(ctx)
			for range 2 {
				_, err := knock.Do(ctx, putUser("user_1"))
				require.NoError(t, err)
			}
		}
		assert.Len(t, inner.calls(), 6)
		assert.Empty(t, inner.to("/bulk/"))
	})
}

func TestBulkCallersGiveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(accepted, func(n int) (*actions.Response, error) {
			if n < 6 {
				return accepted(n)
			}
			return completed(n)
		})
		knock := always(inner)
		_, err := knock.Do(t.Context(), putUser("first"))
		require.NoError(t, err)

		start := func(id string, after time.Duration) chan result {
			ctx, cancel := context.WithCancel(actions.AllowBulk(t.Context()))
			out := make(chan result, 1)
			go func() {
				defer cancel()
				res, err := knock.Do(ctx, putUser(id))
				out <- result{res, err}
			}()
			synctest.Wait()
			if after > 0 {
				time.AfterFunc(after, cancel)
			}
			return out
		}
		early, late, patient := start("early", 50*time.Millisecond), start("late", 500*time.Millisecond), start("patient", 0)

		r := <-early
		require.ErrorIs(t, r.err, context.Canceled)
		assert.Zero(t, unsent(t, r.err).Attempts)
		_, err = knock.Do(t.Context(), putUser("first"))
		require.NoError(t, err)
		joins := start("joins", 0) // one that has left keeps nobody out

		r = <-late
		require.ErrorIs(t, r.err, context.Canceled)
		failure, _ := errors.AsType[*actions.SendError](r.err)
		assert.False(t, failure.Unsent)
		assert.Equal(t, 1, failure.Attempts)

		for _, out := range []chan result{patient, joins} {
			r = <-out
			succeeds(t, r.res, r.err)
		}
		bulk := inner.to(identifyPath)
		require.Len(t, bulk, 1)
		assert.Equal(t, []string{"late", "patient", "joins"}, itemIDs(t, bulk[0]))

		// Nothing is sent, and nobody joins, when all have given up.
		time.Sleep(time.Minute)
		_, err = knock.Do(t.Context(), putUser("first"))
		require.NoError(t, err)
		r = <-start("gone", 50*time.Millisecond)
		require.ErrorIs(t, r.err, context.Canceled)
		_, err = knock.Do(t.Context(), putUser("first"))
		require.NoError(t, err)
		r = <-start("last", 0)
		succeeds(t, r.res, r.err)
		bulk = inner.to(identifyPath)
		require.Len(t, bulk, 2)
		assert.Equal(t, []string{"last"}, itemIDs(t, bulk[1]))
	})
}

// TestBulkTakesTooLong: Knock takes longer than any caller has. In bulk again they
// would get no further.
func TestBulkTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(accepted, accepted)
		knock := always(inner)
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		for _, r := range busy(ctx, t, knock, users(5)...) {
			require.ErrorIs(t, r.err, context.DeadlineExceeded)
		}
		for _, r := range busy(t.Context(), t, knock, users(5)...) {
			succeeds(t, r.res, r.err)
		}
		assert.Len(t, inner.to(identifyPath), 1)
	})
}

// The Transport below may not heed its context: the last caller waits for it, and
// then takes what came of it.
func TestBulkCallerGivesUpAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, ends := range []string{"completed", "failed"} {
		t.Run(ends, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := bulkKnock(accepted, func(int) (*actions.Response, error) {
					time.Sleep(time.Second)
					return body(200, `{"id":"op_1","status":"`+ends+`"}`), nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(600*time.Millisecond, cancel)
				r := busy(ctx, t, always(inner), putUser("user_1"))[0]
				if ends == "completed" {
					succeeds(t, r.res, r.err)
					return
				}
				require.ErrorIs(t, r.err, context.Canceled)
				failure, _ := errors.AsType[*actions.SendError](r.err)
				assert.False(t, failure.Unsent)
			})
		})
	}
}

// TestBulkCallerGivesUpBeforeTheConnection: a bulk call that was under way may still
// turn out not to have been sent.
func TestBulkCallerGivesUpBeforeTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &recorder{answer: func(ctx context.Context, r *actions.Request) (*actions.Response, error) {
			if r.Path != identifyPath {
				return status(http.StatusOK), nil
			}
			<-ctx.Done()
			return nil, &actions.SendError{Attempts: 1, Unsent: true, Err: ctx.Err()}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r := busy(ctx, t, always(inner), putUser("user_1"))[0]
		require.ErrorIs(t, r.err, context.Canceled)
		_ = unsent(t, r.err)
		assert.Len(t, inner.to(identifyPath), 1)
	})
}

func TestBulkFailuresAreSentOneByOne(t *testing.T) {
	t.Parallel()
	bad := func(int) (*actions.Response, error) { return body(422, `{}`), nil }
	for name, tc := range map[string]struct {
		bulk, poll func(int) (*actions.Response, error)
		single     []string
		avoided    bool
	}{
		"error items": {accepted, func(int) (*actions.Response, error) {
			return body(200, `{"id":"op_1","status":"completed","error_count":1,"error_items":[{"id":"user_1"}]}`), nil
		}, []string{"user_1"}, false},
		"skipped items": {func(int) (*actions.Response, error) {
			res := body(200, `{"id":"op_1","status":"queued"}`)
			res.Header["x-ratelimited-users"] = []string{"user_0, user_2"}
			return res, nil
		}, completed, []string{"user_0", "user_2"}, false},
		"errors without an item": {accepted, func(int) (*actions.Response, error) {
			return body(200, `{"id":"op_1","status":"completed","error_count":2,"error_items":[{"id":"user_1"}]}`), nil
		}, []string{"user_0", "user_1", "user_2"}, false},
		"errors with an unknown item": {accepted, func(int) (*actions.Response, error) {
			return body(200, `{"id":"op_1","status":"completed","error_count":1,"error_items":[{"id":"who"}]}`), nil
		}, []string{"user_0", "user_1", "user_2"}, false},
		"failed operation": {accepted, func(int) (*actions.Response, error) {
			return body(200, `{"id":"op_1","status":"failed"}`), nil
		}, []string{"user_0", "user_1", "user_2"}, false},
		"lost operation": {accepted, bad, []string{"user_0", "user_1", "user_2"}, false},
		"refused":        {bad, completed, []string{"user_0", "user_1", "user_2"}, true},
		"blocked": {func(int) (*actions.Response, error) { return body(403, "<html>one of them"), nil }, completed,
			[]string{"user_0", "user_1", "user_2"}, true},
		"not its answer": {func(int) (*actions.Response, error) { return status(204), nil }, completed, []string{"user_0", "user_1", "user_2"}, true},
		"a user": {func(int) (*actions.Response, error) { return body(200, `{"__typename":"User","id":"user_1"}`), nil }, completed,
			[]string{"user_0", "user_1", "user_2"}, true},
		"another's answer": {func(int) (*actions.Response, error) { return body(302, `{"id":"op_1"}`), nil }, completed,
			[]string{"user_0", "user_1", "user_2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := bulkKnock(tc.bulk, tc.poll)
				single := inner.answer
				inner.answer = func(ctx context.Context, r *actions.Request) (*actions.Response, error) {
					if strings.HasPrefix(r.Path, "/v1/users/user_") {
						return status(http.StatusTeapot), nil // the caller's answer
					}
					return single(ctx, r)
				}
				knock := always(inner)
				for i, r := range busy(t.Context(), t, knock, users(3)...) {
					require.NoError(t, r.err)
					want := http.StatusOK
					if strings.Contains(strings.Join(tc.single, " "), fmt.Sprintf("user_%d", i)) {
						want = http.StatusTeapot
					}
					assert.Equal(t, want, r.res.Status, "user_%d", i)
				}
				assert.Len(t, inner.to("/v1/users/user_"), len(tc.single))

				busy(t.Context(), t, knock, users(2)...)
				bulks := 2
				if tc.avoided {
					bulks = 1
				}
				assert.Len(t, inner.to(identifyPath), bulks)
				time.Sleep(time.Minute)
				busy(t.Context(), t, knock, users(2)...)
				assert.Len(t, inner.to(identifyPath), bulks+1)
			})
		})
	}
}

func TestBulkWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	down := func(int) (*actions.Response, error) { return body(503, `busy`), nil }
	for name, tc := range map[string]struct {
		bulk  func(n int) (*actions.Response, error)
		check func(t *testing.T, r result)
	}{
		"5xx": {down, func(t *testing.T, r result) {
			t.Helper()
			require.NoError(t, r.err)
			assert.Equal(t, http.StatusServiceUnavailable, r.res.Status)
			assert.Equal(t, 2, r.res.Attempts)
		}},
		"connection cut": {func(int) (*actions.Response, error) {
			return nil, &actions.SendError{Attempts: 1, Err: http.ErrHandlerTimeout}
		}, func(t *testing.T, r result) {
			t.Helper()
			failure, ok := errors.AsType[*actions.SendError](r.err)
			require.True(t, ok)
			assert.False(t, failure.Unsent)
			assert.Equal(t, 2, failure.Attempts)
			assert.Contains(t, failure.Path, "/v1/users/user_")
			require.ErrorIs(t, r.err, http.ErrHandlerTimeout)
		}},
		"no connection": {func(int) (*actions.Response, error) {
			return nil, &actions.SendError{Attempts: 1, Unsent: true, Err: http.ErrHandlerTimeout}
		}, func(t *testing.T, r result) {
			t.Helper()
			assert.Equal(t, http.ErrHandlerTimeout, unsent(t, r.err).Err)
		}},
		"once": {func(n int) (*actions.Response, error) {
			if n == 1 {
				return down(n)
			}
			return accepted(n)
		}, func(t *testing.T, r result) {
			t.Helper()
			succeeds(t, r.res, r.err)
			assert.Equal(t, 2, r.res.Attempts)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := bulkKnock(tc.bulk, completed)
				for _, r := range busy(t.Context(), t, always(inner), users(3)...) {
					tc.check(t, r)
				}
				assert.Empty(t, inner.to("/v1/users/user_"))
			})
		})
	}
}

// TestBulkAfterASlowFailure: the second attempt at a bulk call, and the calls that are
// sent on their own after it, have as long to wait for their turns as any other.
func TestBulkAfterASlowFailure(t *testing.T) {
	t.Parallel()
	const slow = 5 * time.Second // longer than MaxWait
	fails := func(n int) (*actions.Response, error) {
		if n == 1 {
			time.Sleep(slow)
			return body(503, `busy`), nil
		}
		return accepted(n)
	}
	failed := func(int) (*actions.Response, error) {
		time.Sleep(slow)
		return body(200, `{"id":"op_1","status":"failed"}`), nil
	}
	for name, inner := range map[string]*recorder{"bulk call": bulkKnock(fails, completed), "operation": bulkKnock(accepted, failed)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for _, r := range busy(t.Context(), t, always(inner), users(3)...) {
					succeeds(t, r.res, r.err)
				}
			})
		})
	}
}

// TestBulkDoubtGoesOn: what a bulk call may have done counts for the single calls
// that follow it.
func TestBulkDoubtGoesOn(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]*actions.Response{
		"nothing":              {nil},
		"5xx, then a web page": {status(http.StatusBadGateway), body(http.StatusOK, `<html>`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := bulkKnock(func(n int) (*actions.Response, error) { return answers[n-1], nil }, completed)
				for _, r := range busy(t.Context(), t, always(inner), users(3)...) {
					succeeds(t, r.res, r.err)
					assert.False(t, r.res.NoEffectBefore)
					assert.Equal(t, len(answers)+1, r.res.Attempts)
				}
				assert.Len(t, inner.to("/v1/users/user_"), 3)
			})
		})
	}
}

// TestBulkPanics: each caller panics as it would have by itself, for the bridge to
// recover. The value may hold data of all of them.
func TestBulkPanics(t *testing.T) {
	t.Parallel()
	boom := func(int) (*actions.Response, error) { panic("Ada") }
	for name, inner := range map[string]*recorder{
		"bulk call": bulkKnock(boom, completed),
		"poll":      bulkKnock(accepted, boom),
		"late": bulkKnock(accepted, func(int) (*actions.Response, error) {
			time.Sleep(time.Second)
			panic("Ada")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				knock := always(inner)
				_, err := knock.Do(t.Context(), putUser("first"))
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(actions.AllowBulk(t.Context()))
				defer cancel()
				callers := users(3)
				if name == "late" { // the last one to give up waits for the end
					callers = callers[:1]
					time.AfterFunc(600*time.Millisecond, cancel)
				}
				panics := make(chan any)
				for _, r := range callers {
					go func() {
						defer func() { panics <- recover() }()
						_, err := knock.Do(ctx, r)
						assert.NoError(t, err)
					}()
				}
				for range callers {
					assert.Equal(t, "Ada", <-panics)
				}
				assert.Empty(t, inner.to("/v1/users/user_"))
			})
		})
	}
}

// TestBulkPanicIsMisconfigured is what becomes of the deliveries, and what is said.
func TestBulkPanicIsMisconfigured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(func(int) (*actions.Response, error) { panic("Ada") }, completed)
		knock := always(inner)
		h, err := bridge.New(bridge.Config{
			SigningSecrets: []string{bridgetest.Secret}, Knock: knock, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		_, err = knock.Do(t.Context(), putUser("first"))
		require.NoError(t, err)
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				raw := fmt.Sprintf(`{"type":"user.created","object":"event","timestamp":1,"data":{"id":"user_%d","object":"user"}}`, i)
				res, _ := h.Process(t.Context(), bridge.Delivery{ID: fmt.Sprint("msg_", i), Body: json.RawMessage(raw)})
				assert.Equal(t, bridge.OutcomeMisconfigured, res.Outcome)
				assert.Contains(t, res.Problem(), "panicked with a string")
				assert.NotContains(t, res.Problem(), "Ada")
			})
		}
		all.Wait()
		assert.Len(t, inner.to(identifyPath), 1)
	})
}

// TestBulkLostAnswerIsNotForgotten: Knock has applied a bulk call whose answer is
// lost, and skips the items of the next one, as they were just written. Those that
// then find no turn of their own may have taken effect.
func TestBulkLostAnswerIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := users(300)
		ids := make([]string, len(requests))
		for i, r := range requests {
			ids[i] = strings.TrimPrefix(r.Path, "/v1/users/")
		}
		knock := bulkKnock(func(n int) (*actions.Response, error) {
			if n == 1 {
				return nil, &actions.SendError{Attempts: 1, Err: errors.New("connection reset")}
			}
			res, err := completed(n)
			res.Header = http.Header{"X-Ratelimited-Users": {strings.Join(ids, ",")}}
			return res, err
		}, completed)
		postponed := 0
		for _, r := range busy(t.Context(), t, always(knock), requests...) {
			if r.err == nil {
				assert.Equal(t, 3, r.res.Attempts)
				continue
			}
			failed, ok := errors.AsType[*actions.SendError](r.err)
			require.True(t, ok, "%v", r.err)
			assert.False(t, failed.Unsent)
			postponed++
		}
		assert.Positive(t, postponed)
	})
}

func TestBulkAnswer429(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(func(n int) (*actions.Response, error) {
			if n == 1 {
				return status(http.StatusTooManyRequests), nil
			}
			return accepted(n)
		}, completed)
		for _, r := range busy(t.Context(), t, always(inner), users(3)...) {
			succeeds(t, r.res, r.err)
		}
		bulk := inner.to(identifyPath)
		require.Len(t, bulk, 2)
		assert.Equal(t, 1100*time.Millisecond, bulk[1].at.Sub(bulk[0].at))
		assert.Equal(t, bulk[0].Body, bulk[1].Body)
	})
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(func(int) (*actions.Response, error) {
			return status(http.StatusTooManyRequests, "Retry-After", "30"), nil
		}, completed)
		waits := make(map[time.Duration]bool)
		for _, r := range busy(t.Context(), t, always(inner), users(3)...) {
			wait := unsent(t, r.err).RetryAfter
			assert.GreaterOrEqual(t, wait, 30*time.Second)
			waits[wait] = true
		}
		assert.Len(t, waits, 3)
	})
}

func TestBulkPostpones(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(accepted, completed)
		knock := always(inner)
		knock.MaxBulk = 10
		sent, waits := 0, make(map[time.Duration]bool)
		for _, r := range busy(t.Context(), t, knock, users(100)...) {
			if r.err == nil {
				sent++
				continue
			}
			waits[unsent(t, r.err).RetryAfter] = true
		}
		assert.Equal(t, 20, sent) // two bulk calls within two seconds
		assert.Len(t, waits, 80)
		for w := range waits {
			assert.Greater(t, w, 2*time.Second)
			assert.Less(t, w, 11*time.Second)
		}
	})
}

func TestBulkPollsOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := []func() (*actions.Response, error){
			func() (*actions.Response, error) { return status(500), nil },
			func() (*actions.Response, error) {
				return nil, &actions.SendError{Attempts: 1, Err: http.ErrServerClosed}
			},
			func() (*actions.Response, error) { return status(429, "Retry-After", "60"), nil },
			func() (*actions.Response, error) { return body(200, `{"id":"op_1","status":"processing"}`), nil },
			func() (*actions.Response, error) { return completed(0) },
		}
		inner := bulkKnock(accepted, func(n int) (*actions.Response, error) { return answers[n-1]() })
		for _, r := range busy(t.Context(), t, always(inner), users(2)...) {
			succeeds(t, r.res, r.err)
		}
		assert.Len(t, inner.to("/v1/bulk_operations/op_1"), 5)
	})
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(accepted, accepted)
		start := time.Now()
		for _, r := range busy(t.Context(), t, always(inner), users(2)...) {
			failure, ok := errors.AsType[*actions.SendError](r.err)
			require.True(t, ok)
			assert.False(t, failure.Unsent)
		}
		assert.InDelta(t, 10*60, time.Since(start).Seconds(), 3)
		polls := inner.to("/v1/bulk_operations/op_1")
		for i := range polls[1:] {
			assert.LessOrEqual(t, polls[i+1].at.Sub(polls[i].at), 2*time.Second)
		}
	})
}

func TestBulkOfARevokedKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := bulkKnock(func(int) (*actions.Response, error) {
			return body(http.StatusUnauthorized, `{"code":"api_key_missing"}`), nil
		}, completed)
		for _, r := range busy(t.Context(), t, always(inner), users(3)...) {
			paused, left := pausedBy(t, r.err)
			assert.Equal(t, http.StatusUnauthorized, paused.Status)
			assert.Equal(t, 10*time.Second, left.Round(time.Second))
		}
		assert.Len(t, inner.calls(), 2)
	})
}

// TestBulkAfterAPause: a pause that somebody else's call has begun says nothing about
// bulk calls, which go on after it.
func TestBulkAfterAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		revoked := false
		bulk := bulkKnock(accepted, completed)
		knock := always(&recorder{answer: func(ctx context.Context, r *actions.Request) (*actions.Response, error) {
			if revoked {
				return body(http.StatusUnauthorized, `{"code":"api_key_missing"}`), nil
			}
			return bulk.Do(ctx, r)
		}})
		_, err := knock.Do(t.Context(), putUser("first"))
		require.NoError(t, err)
		gathering := make(chan error)
		go func() {
			_, err := knock.Do(actions.AllowBulk(t.Context()), putUser("user_1"))
			gathering <- err
		}()
		synctest.Wait()
		revoked = true
		_, err = knock.Do(t.Context(), request(http.MethodGet, "/v1/users/user_1"))
		require.NoError(t, err)
		_, left := pausedBy(t, <-gathering)
		time.Sleep(left)
		revoked = false
		for _, r := range busy(t.Context(), t, knock, users(3)...) {
			succeeds(t, r.res, r.err)
		}
		assert.Len(t, bulk.to(identifyPath), 1)
	})
}
