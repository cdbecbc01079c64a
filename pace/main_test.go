package pace_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/pace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Transport that keeps requests and when they came, and answers them
// with what answer returns, 200 when it is nil.
type recorder struct {
	answer func(ctx context.Context, r *actions.Request) (*actions.Response, error)

	mu   sync.Mutex
	sent []sent
}

type sent struct {
	actions.Request

	at time.Time
}

func (t *recorder) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	t.mu.Lock()
	t.sent = append(t.sent, sent{*r, time.Now()})
	t.mu.Unlock()
	if t.answer == nil {
		return status(http.StatusOK), nil
	}
	return t.answer(ctx, r)
}

func (t *recorder) calls() []sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]sent(nil), t.sent...)
}

// to are the calls whose path holds part.
func (t *recorder) to(part string) (calls []sent) {
	for _, s := range t.calls() {
		if strings.Contains(s.Path, part) {
			calls = append(calls, s)
		}
	}
	return calls
}

func status(code int, header ...string) *actions.Response {
	h := make(http.Header)
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &actions.Response{Status: code, Header: h, Attempts: 1}
}

func body(code int, text string) *actions.Response {
	res := status(code, "X-Request-Id", "req_bulk")
	res.Body = json.RawMessage(text)
	return res
}

func request(method, path string) *actions.Request {
	r := &actions.Request{Method: method, Path: path}
	if method != http.MethodDelete && method != http.MethodGet {
		r.Body = json.RawMessage(`{"name":"Ada"}`)
	}
	return r
}

func putUser(id string) *actions.Request { return request(http.MethodPut, "/v1/users/"+id) }

func unsent(t testing.TB, err error) *actions.SendError {
	t.Helper()
	var failure *actions.SendError
	require.ErrorAs(t, err, &failure)
	require.True(t, failure.Unsent, "%v", err)
	return failure
}

// fake returns a fake Knock that keeps Knock's limits on the clock of a bubble, and
// the Transport to reach it from there.
func fake(t testing.TB) (*bridgetest.Knock, actions.Transport) {
	t.Helper()
	k := bridgetest.NewKnock(t)
	o := &outside{calls: make(chan *exchange), idle: make(chan *exchange, connections)}
	k.Configure(func(options *bridgetest.KnockOptions) {
		options.RateLimits = true
		options.Now = func() time.Time { return time.UnixMicro(o.now.Load()) }
	})
	http := &actions.HTTP{APIKey: "sk_test_1", BaseURL: k.URL}
	var all sync.WaitGroup
	for range connections {
		o.idle <- &exchange{done: make(chan struct{})}
		all.Go(func() {
			for e := range o.calls {
				e.res, e.err = http.Do(context.Background(), e.r)
				e.done <- struct{}{}
			}
		})
	}
	t.Cleanup(func() {
		close(o.calls)
		all.Wait()
		http.CloseIdleConnections()
	})
	return k, o
}

const connections = 16

// outside has goroutines outside the bubble make the calls. Its channels are from
// there too: while a call is under way the bubble's clock stands still.
type outside struct {
	calls, idle chan *exchange
	now         atomic.Int64
}

type exchange struct {
	r    *actions.Request
	res  *actions.Response
	err  error
	done chan struct{}
}

func (o *outside) Do(_ context.Context, r *actions.Request) (*actions.Response, error) {
	o.now.Store(time.Now().UnixMicro())
	e := <-o.idle
	e.r = r
	o.calls <- e
	<-e.done
	res, err := e.res, e.err
	o.idle <- e
	return res, err
}

// succeeds checks a call's outcome; unlike require's functions it may be used in
// any goroutine.
func succeeds(t testing.TB, res *actions.Response, err error) {
	t.Helper()
	if err != nil || res.Status > 299 {
		t.Errorf("answer %v, error %v", res, err)
	}
}

// refusals are the 429 among the fake's answers.
func refusals(k *bridgetest.Knock) (n int) {
	for _, c := range k.Calls() {
		if c.Status == http.StatusTooManyRequests {
			n++
		}
	}
	return n
}

// work makes the calls with so many workers, each again after the time that it is
// asked to wait, as a queue does.
func work(t testing.TB, knock *pace.Transport, workers int, requests []*actions.Request) {
	t.Helper()
	ctx := actions.AllowBulk(t.Context())
	todo := make(chan *actions.Request, len(requests))
	var left sync.WaitGroup
	for _, r := range requests {
		left.Add(1)
		todo <- r
	}
	go func() {
		left.Wait()
		close(todo)
	}()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for r := range todo {
				res, err := knock.Do(ctx, r)
				if failure, ok := errors.AsType[*actions.SendError](err); ok && failure.Unsent && failure.RetryAfter > 0 {
					time.AfterFunc(failure.RetryAfter, func() { todo <- r })
					continue
				}
				succeeds(t, res, err)
				left.Done()
			}
		})
	}
	all.Wait()
}
