package bridge_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ada = `{"id":"user_1","first_name":"Ada"}`

// TestAnswers is the outcome table: what the sender gets, and what Knock gets.
func TestAnswers(t *testing.T) {
	t.Parallel()
	panics := bridge.Mappings{bridge.On(clerk.UserCreated, func(ctx, *userEvent, *actions.Client) error { panic("secret payload") })}
	fails := func(err error) bridge.Mappings {
		return bridge.Mappings{bridge.On(clerk.UserCreated, func(ctx, *userEvent, *actions.Client) error { return err })}
	}
	genuine := func(body []byte) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request { t.Helper(); return request(t, "msg_1", body) }
	}
	created := body("user.created", ada)
	knockError := `{"code":"some_code","message":"the secret payload","status":1,"type":"api_error"}`
	const failure = `{"outcome":%q,"delivery":"msg_1"}` + "\n"

	for name, test := range map[string]struct {
		cfg     bridge.Config
		answer  func(context.Context, *actions.Request) (*actions.Response, error)
		request func(*testing.T) *http.Request
		status  int
		body    string
		header  http.Header
		calls   int
	}{
		"done":         {request: genuine(created), status: 200, body: fmt.Sprintf(failure, "done"), calls: 1},
		"ignored":      {request: genuine(body("session.created", `{}`)), status: 200, body: fmt.Sprintf(failure, "ignored")},
		"unknown type": {request: genuine(body("passkey.created", `{}`)), status: 200, body: fmt.Sprintf(failure, "ignored")},
		"GET": {
			request: func(*testing.T) *http.Request { return httptest.NewRequest(http.MethodGet, "/", http.NoBody) },
			status:  405, body: `{"outcome":"refused"}` + "\n", header: http.Header{"Allow": {"POST"}},
		},
		"PUT with everything else right": {
			request: func(t *testing.T) *http.Request {
				t.Helper()
				r := request(t, "msg_1", created)
				r.Method = http.MethodPut
				return r
			},
			status: 405, header: http.Header{"Allow": {"POST"}},
		},
		"too large by its header": {
			cfg:     bridge.Config{MaxBodyBytes: int64(len(created)) - 1},
			request: genuine(created), status: 413, body: `{"outcome":"refused"}` + "\n", header: http.Header{"Connection": {"close"}},
		},
		"as large as allowed": {cfg: bridge.Config{MaxBodyBytes: int64(len(created))}, request: genuine(created), status: 200, calls: 1},
		"too large without a length": {
			cfg: bridge.Config{MaxBodyBytes: int64(len(created)) - 1},
			request: func(t *testing.T) *http.Request {
				t.Helper()
				r := request(t, "msg_1", created)
				r.ContentLength = -1
				return r
			},
			status: 413,
		},
		"longer than it says": { // only a handler called without a server sees that
			request: func(t *testing.T) *http.Request {
				t.Helper()
				r := request(t, "msg_1", created)
				r.ContentLength = 7
				return r
			},
			status: 200, calls: 1,
		},
		"unsigned": {
			request: func(*testing.T) *http.Request {
				return httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(created))
			},
			status: 400, body: `{"outcome":"malformed"}` + "\n", header: http.Header{"Webhook-Delivery": nil},
		},
		"forged": {
			request: func(t *testing.T) *http.Request {
				t.Helper()
				r := request(t, "msg_1", created)
				r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(created, []byte("Ada"), []byte("Eve"), 1)))
				return r
			},
			status: 401, body: `{"outcome":"unverified"}` + "\n",
		},
		"stale": {
			request: func(t *testing.T) *http.Request {
				t.Helper()
				r := request(t, "msg_1", created)
				r.Header = sign(t, secretA, "msg_1", -6*time.Minute, created)
				return r
			},
			status: 401, body: `{"outcome":"unverified"}` + "\n",
		},
		"future": {
			request: func(t *testing.T) *http.Request {
				t.Helper()
				r := request(t, "msg_1", created)
				r.Header = sign(t, secretA, "msg_1", 6*time.Minute, created)
				return r
			},
			status: 401, body: `{"outcome":"unverified"}` + "\n",
		},
		"genuine but no JSON": {
			request: genuine([]byte("hello")), status: 400, body: fmt.Sprintf(failure, "malformed"),
			header: http.Header{"Webhook-Delivery": {"abort-message"}},
		},
		"genuine but truncated":    {request: genuine(created[:len(created)-9]), status: 400},
		"genuine but empty":        {request: genuine(nil), status: 400},
		"genuine but not UTF-8":    {request: genuine(body("user.created", "{\"id\":\"user_\xff\"}")), status: 400},
		"genuine but deep":         {request: genuine(body("user.created", strings.Repeat("[", 200_000))), status: 400},
		"genuine but without type": {request: genuine([]byte(`{"data":{}}`)), status: 400},
		"undecodable": {
			request: genuine(body("user.created", `{"id":{}}`)), status: 422, body: fmt.Sprintf(failure, "permanent"),
			header: http.Header{"Webhook-Delivery": {"abort-message"}},
		},
		"hostile id": {request: genuine(body("user.deleted", `{"id":".."}`)), status: 422, header: http.Header{"Webhook-Delivery": {"abort-message"}}},
		"permanent": {
			cfg:     bridge.Config{Mappings: fails(fmt.Errorf("wrapped: %w", bridge.Permanent(errors.New("secret payload"))))},
			request: genuine(created), status: 422, header: http.Header{"Webhook-Delivery": {"abort-message"}},
		},
		"plain error": {
			cfg:     bridge.Config{Mappings: fails(errors.New("secret payload"))},
			request: genuine(created), status: 500, body: fmt.Sprintf(failure, "misconfigured"), header: http.Header{"Webhook-Delivery": nil, "Retry-After": nil},
		},
		"panic":        {cfg: bridge.Config{Mappings: panics}, request: genuine(created), status: 500, body: fmt.Sprintf(failure, "misconfigured")},
		"retry after":  {cfg: bridge.Config{Mappings: fails(bridge.RetryAfter(1500*time.Millisecond, errors.New("x")))}, request: genuine(created), status: 503, header: http.Header{"Retry-After": {"2"}}},
		"retry soon":   {cfg: bridge.Config{Mappings: fails(bridge.RetryAfter(time.Millisecond, errors.New("x")))}, request: genuine(created), status: 503, header: http.Header{"Retry-After": {"1"}}},
		"retry late":   {cfg: bridge.Config{Mappings: fails(bridge.RetryAfter(time.Hour, errors.New("x")))}, request: genuine(created), status: 503, header: http.Header{"Retry-After": {"300"}}},
		"retry unsaid": {cfg: bridge.Config{Mappings: fails(bridge.RetryAfter(0, errors.New("x")))}, request: genuine(created), status: 503, header: http.Header{"Retry-After": {"5"}}},
		"Knock 429": {
			answer: status(429, knockError, "Retry-After", "7"), request: genuine(created),
			status: 503, body: fmt.Sprintf(failure, "transient"), header: http.Header{"Retry-After": {"7"}}, calls: 1,
		},
		"Knock 503 in HTML": {answer: status(503, "<html>"), request: genuine(created), status: 503, header: http.Header{"Retry-After": {"5"}}, calls: 1},
		"Knock 409":         {answer: status(409, knockError), request: genuine(created), status: 503, calls: 1},
		"Knock 422": {
			answer: status(422, knockError), request: genuine(created), status: 422,
			body: fmt.Sprintf(failure, "rejected"), header: http.Header{"Webhook-Delivery": nil}, calls: 1,
		},
		"Knock 400": {answer: status(400, knockError), request: genuine(created), status: 422, header: http.Header{"Webhook-Delivery": nil}, calls: 1},
		"Knock 401": {answer: status(401, knockError), request: genuine(created), status: 500, body: fmt.Sprintf(failure, "misconfigured"), calls: 1},
		"Knock 404": {answer: status(404, knockError), request: genuine(created), status: 500, calls: 1},
		"Knock 302": {answer: status(302, ""), request: genuine(created), status: 500, calls: 1},
		"no answer": {
			answer:  func(context.Context, *actions.Request) (*actions.Response, error) { return nil, io.ErrUnexpectedEOF },
			request: genuine(created), status: 503, header: http.Header{"Retry-After": {"5"}}, calls: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			var results []*bridge.Result
			knock := &transport{answer: test.answer}
			cfg := test.cfg
			cfg.Knock = knock
			cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
			cfg.OnResult = func(_ context.Context, r *bridge.Result) { results = append(results, r) }
			w := httptest.NewRecorder()
			newHandler(t, cfg).ServeHTTP(w, test.request(t))

			assert.Equal(t, test.status, w.Code)
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
			assert.True(t, json.Valid(w.Body.Bytes()), w.Body.String())
			if test.body != "" {
				assert.Equal(t, test.body, w.Body.String())
			}
			for name, want := range test.header {
				assert.Equal(t, want, w.Header()[name], name)
			}
			assert.Len(t, knock.calls(), test.calls)
			require.Len(t, results, 1)
			assert.Equal(t, test.status, results[0].Status())
			assert.Equal(t, test.status == 200, results[0].Err == nil)

			assert.Equal(t, 1, strings.Count(log.String(), "\n"), "one line: %s", log.String())
			for _, secret := range []string{"Ada", "Eve", "whsec_", "YnJpZGdl", "v1,"} {
				assert.NotContains(t, log.String(), secret)
				assert.NotContains(t, w.Body.String(), secret)
			}
			assert.NotContains(t, w.Body.String(), "secret payload")
			if name != "plain error" && name != "permanent" { // these texts are the user's own
				assert.NotContains(t, log.String(), "secret payload")
			}
		})
	}
}

// logged returns the log lines of one message, as decoded JSON.
func logged(t *testing.T, log *bytes.Buffer, message string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(log.String()) {
		var attrs map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &attrs))
		if attrs["msg"] == message {
			out = append(out, attrs)
		}
	}
	return out
}

func TestStepsAreLoggedAtDebug(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	broken := true
	knock := &transport{answer: func(ctx context.Context, r *actions.Request) (*actions.Response, error) {
		switch {
		case r.Method == http.MethodDelete:
			return status(404, `{"code":"resource_missing","status":404}`)(ctx, r)
		case broken && strings.HasSuffix(r.Path, "/trigger"):
			return status(422, `{"code":"invalid_params","message":"Ada","errors":[{"field":"data","message":"Ada"}]}`)(ctx, r)
		}
		return status(200, `{"workflow_run_id":"run_1"}`, "X-Request-Id", "req_1", "Idempotent-Replayed", "true")(ctx, r)
	}}
	cfg := bridge.Config{
		Knock: knock, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
			bridge.Also(clerk.UserCreated, func(c ctx, _ *userEvent, k *actions.Client) error {
				return k.Step(c, "crm", func(context.Context) error { panic("Ada") })
			}),
		},
	}
	h := newHandler(t, cfg)
	steps := func(deliver func()) []map[string]any {
		log.Reset()
		deliver()
		assert.NotContains(t, log.String(), "Ada")
		lines := logged(t, &log, "clerk webhook step")
		for _, line := range lines {
			assert.Equal(t, "DEBUG", line["level"])
			assert.Equal(t, "msg_1", line["delivery"])
			for _, name := range []string{"time", "level", "msg", "delivery", "event"} {
				delete(line, name)
			}
			if line["duration"] != nil {
				assert.Positive(t, line["duration"])
				delete(line, "duration")
			}
		}
		return lines
	}
	created := bridge.Delivery{ID: "msg_1", Body: body("user.created", ada)}
	const (
		identify = "users.identify:user_1"
		trigger  = "workflows.trigger:welcome:user_1"
	)
	attempt := func() { _, _ = h.Process(t.Context(), created) }
	sent := map[string]any{"step": identify, "status": 200.0, "attempts": 1.0, "request_id": "req_1", "replayed": true}
	assert.Equal(t, []map[string]any{sent, {
		"step": trigger, "status": 422.0, "attempts": 1.0,
		"error": "knock: POST /v1/workflows/welcome/trigger: 422 invalid_params; field data",
	}}, steps(attempt))

	broken = false
	assert.Equal(t, []map[string]any{
		{"step": identify, "skipped": "finished", "status": 200.0, "attempts": 1.0, "request_id": "req_1"},
		{"step": trigger, "status": 200.0, "attempts": 1.0, "request_id": "req_1", "replayed": true},
		{"step": "step:crm", "error": "bridge: the step has not finished"},
	}, steps(attempt))

	assert.Equal(t, []map[string]any{
		{"step": identify, "dry_run": true}, {"step": trigger, "dry_run": true}, {"step": "step:crm", "dry_run": true},
	}, steps(func() { _, _ = h.DryRun(t.Context(), created) }))

	assert.Equal(t, []map[string]any{{
		"step": "users.delete:user_1", "status": 404.0, "attempts": 1.0, "warning": "Knock does not have it; nothing to remove",
	}}, steps(func() {
		_, _ = h.Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: body("user.deleted", `{"id":"user_1","deleted":true}`)})
	}))
}

// infoOnly fails when it is asked to write a line below Info.
type infoOnly struct {
	slog.Handler

	t *testing.T
}

func (infoOnly) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (l infoOnly) Handle(_ context.Context, r slog.Record) error {
	assert.Equal(l.t, "clerk webhook", r.Message)
	return nil
}

func TestStepsAreNotLoggedAtInfo(t *testing.T) {
	t.Parallel()
	res := process(t, bridge.Config{Logger: slog.New(infoOnly{slog.DiscardHandler, t})}, "user.created", ada)
	assert.Len(t, res.Steps, 1)
}

func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	created := body("user.created", ada)
	for _, secret := range []string{secretA, secretB} {
		h := newHandler(t, bridge.Config{SigningSecrets: []string{secretA, secretB}})
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(created))
		maps.Copy(r.Header, sign(t, secret, "msg_1", 0, created))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		assert.Equal(t, http.StatusOK, w.Code)
	}
}

func TestStepsAndKeys(t *testing.T) {
	t.Parallel()
	knock := &transport{answer: status(200, `{"workflow_run_id":"run_1"}`, "X-Request-Id", "req_1")}
	welcome := actions.TriggerWorkflow{Workflow: "welcome", Recipients: []actions.Recipient{actions.UserID("user_1")}}
	cfg := bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.Also(clerk.UserCreated, func(c ctx, _ *userEvent, k *actions.Client) error {
			for range 2 {
				if id, err := k.TriggerWorkflow(c, welcome); err != nil || id != "run_1" {
					return fmt.Errorf("run %q: %w", id, err)
				}
			}
			return k.Step(c, "audit", func(context.Context) error { return errors.New("no disk") })
		}),
	}}
	h := newHandler(t, cfg)
	d := bridge.Delivery{ID: "msg_1", Body: body("user.created", ada)}
	res, err := h.Process(t.Context(), d)
	require.ErrorContains(t, err, "no disk")
	assert.Equal(t, bridge.OutcomeMisconfigured, res.Outcome)
	assert.Equal(t, "msg_1", res.DeliveryID)
	assert.Equal(t, "user.created", res.EventType)

	var names, keys []string
	for _, s := range res.Steps {
		names = append(names, s.Kind+" "+s.Name)
		if s.Request != nil {
			keys = append(keys, s.Request.IdempotencyKey)
			assert.Equal(t, "req_1", s.RequestID)
			assert.Equal(t, 1, s.Attempts)
			assert.Equal(t, 200, s.Status)
		}
	}
	assert.Equal(t, []string{
		"users_identify users.identify:user_1",
		"workflows_trigger workflows.trigger:welcome:user_1",
		"workflows_trigger workflows.trigger:welcome:user_1#2",
		"step step:audit",
	}, names)
	assert.Equal(t, []string{"", "msg_1:workflows.trigger:welcome:user_1", "msg_1:workflows.trigger:welcome:user_1#2"}, keys)
	require.ErrorContains(t, res.Steps[3].Err, "no disk")

	before := knock.sent
	cfg.Ledger = bridge.NewMemoryLedger(0, 0) // one that knows nothing of it
	_, err = newHandler(t, cfg).Process(t.Context(), d)
	require.Error(t, err)
	assert.Equal(t, before, knock.sent[len(before):], "the same event gives the same bytes on every attempt")
}

func TestIdempotencyMismatchIsDone(t *testing.T) {
	t.Parallel()
	knock := &transport{answer: status(400, `{"code":"idempotency_error","message":"key used with other parameters","status":400,"type":"invalid_request_error"}`)}
	res := process(t, bridge.Config{Knock: knock, NoDefaults: true, Mappings: bridge.Mappings{
		bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
	}}, "user.created", ada)
	require.NoError(t, res.Err)
	assert.Equal(t, bridge.OutcomeDone, res.Outcome)
	assert.NotEmpty(t, res.Steps[0].Warning)
}

func TestDryRunSendsNothing(t *testing.T) {
	t.Parallel()
	mappings := bridge.Mappings{bridge.Also(clerk.UserCreated, func(c ctx, e *userEvent, k *actions.Client) error {
		if u, err := k.GetUser(c, e.Data.ID); err != nil || u.ID != e.Data.ID {
			return fmt.Errorf("user %v: %w", u, err)
		}
		if err := k.Step(c, "audit", func(context.Context) error { panic("ran in a dry run") }); err != nil {
			return err
		}
		return bridge.TriggerForUser[clerk.User]("welcome")(c, e, k)
	})}
	check := func(t *testing.T, knock *transport, res *bridge.Result) {
		t.Helper()
		require.NoError(t, res.Err)
		assert.True(t, res.DryRun)
		assert.Equal(t, bridge.OutcomeDone, res.Outcome)
		assert.Empty(t, knock.calls())
		var would []actions.Request
		for _, s := range res.Steps {
			if s.Request != nil {
				would = append(would, *s.Request)
			}
		}
		assert.Equal(t, []string{
			`PUT /v1/users/user_1 {"name":"Ada"}`, `GET /v1/users/user_1`,
			`POST /v1/workflows/welcome/trigger {"recipients":["user_1"]}`,
		}, lines(would))
	}
	t.Run("by method", func(t *testing.T) {
		t.Parallel()
		knock := &transport{}
		h := newHandler(t, bridge.Config{Knock: knock, Mappings: mappings})
		res, err := h.DryRun(t.Context(), bridge.Delivery{ID: "msg_1", Body: body("user.created", ada)})
		require.NoError(t, err)
		check(t, knock, res)
	})
	t.Run("by config", func(t *testing.T) {
		t.Parallel()
		knock := &transport{}
		var res *bridge.Result
		h := newHandler(t, bridge.Config{
			Knock: knock, Mappings: mappings, DryRun: true,
			OnResult: func(_ context.Context, r *bridge.Result) { res = r },
		})
		assert.Equal(t, http.StatusOK, deliver(t, h, "user.created", ada).Code)
		check(t, knock, res)
	})
}

func TestPanics(t *testing.T) {
	t.Parallel()
	on := func(value any) bridge.Mappings {
		return bridge.Mappings{bridge.Also(clerk.UserCreated, func(ctx, *userEvent, *actions.Client) error { panic(value) })}
	}
	res := process(t, bridge.Config{Mappings: on("boom")}, "user.created", ada)
	var p *bridge.PanicError
	require.ErrorAs(t, res.Err, &p)
	assert.Equal(t, "boom", p.Value)
	assert.Contains(t, string(p.Stack), "TestPanics")
	assert.Len(t, res.Steps, 1, "what ran before is kept")

	h := newHandler(t, bridge.Config{Mappings: on(http.ErrAbortHandler)})
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { deliver(t, h, "user.created", ada) })

	h = newHandler(t, bridge.Config{OnResult: func(context.Context, *bridge.Result) { panic("in OnResult") }})
	assert.Equal(t, http.StatusOK, deliver(t, h, "user.created", ada).Code, "the work is done all the same")
}

// TestPanicsOfTheConfig: a panic of what the user hands in ends a delivery, and
// not the connection without a word, or the worker that calls Process.
func TestPanicsOfTheConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]bridge.Config{
		"OnStart": {OnStart: func(context.Context, bridge.Delivery, string) context.Context { panic("boom") }},
		"Queue":   {Queue: keepingQueue(func([]byte) { panic("boom") })},
		"Ledger":  {Ledger: panickingLedger{claim: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var results []*bridge.Result
			cfg.OnResult = func(_ context.Context, r *bridge.Result) { results = append(results, r) }
			h := newHandler(t, cfg)
			assert.Equal(t, http.StatusInternalServerError, deliver(t, h, "user.created", ada).Code)
			if name != "Queue" { // which Process leaves alone
				_, err := h.Process(t.Context(), bridge.Delivery{ID: "msg_2", Body: body("user.created", ada)})
				require.Error(t, err)
			}
			for _, res := range results {
				var p *bridge.PanicError
				require.ErrorAs(t, res.Err, &p)
				assert.Equal(t, "boom", p.Value)
				assert.Contains(t, string(p.Stack), "bridge_test.go")
				assert.Equal(t, bridge.OutcomeMisconfigured, res.Outcome)
				assert.Equal(t, "bridge: "+name+" panicked with a string", res.Problem())
				assert.Equal(t, []string{"bridge.SyncUser"}, res.Functions)
				assert.Greater(t, res.Retry(6).After, time.Minute, "it says nothing against the delivery")
			}
			assert.NotEmpty(t, results)
		})
	}
}

// TestPanicOfTheLastSave: what was done, and why it ended as it did, is known all
// the same.
func TestPanicOfTheLastSave(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	reason := errors.New("the reason")
	res := process(t, bridge.Config{
		Ledger: panickingLedger{}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Mappings: bridge.Mappings{bridge.Also(clerk.UserCreated, func(ctx, *userEvent, *actions.Client) error { return reason })},
	}, "user.created", ada)
	require.ErrorIs(t, res.Err, reason)
	assert.Equal(t, bridge.OutcomeMisconfigured, res.Outcome)
	assert.Len(t, res.Steps, 1)
	assert.Contains(t, log.String(), "Ledger panicked with a string")
	assert.Contains(t, log.String(), "panickingLedger.Save", "the stack")

	res = process(t, bridge.Config{
		Ledger: panickingLedger{}, Mappings: bridge.Mappings{bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome"))},
	}, "user.created", ada)
	require.Len(t, res.Steps, 2)
	require.Error(t, res.Steps[1].Err, "the save before it panicked")
}

type panickingLedger struct{ claim bool }

func (l panickingLedger) Claim(ctx context.Context, c bridge.Claim) (bridge.Claimed, error) {
	if l.claim {
		panic("boom")
	}
	return noLedger{}.Claim(ctx, c)
}
func (panickingLedger) Save(context.Context, bridge.Progress) error      { panic("boom") }
func (panickingLedger) Gone(context.Context, []string) ([]string, error) { return nil, nil }

// TestPanicWithinAFunction: a panic of the Ledger or of Knock, in a call that a
// mapping function makes, is not the function's.
func TestPanicWithinAFunction(t *testing.T) {
	t.Parallel()
	identify := bridge.On(clerk.EmailCreated, func(c ctx, _ *clerk.Event[clerk.Email], k *actions.Client) error {
		return k.IdentifyUser(c, actions.IdentifyUser{ID: "user_1"})
	})
	twice := bridge.On(clerk.EmailCreated, func(c ctx, _ *clerk.Event[clerk.Email], k *actions.Client) error {
		return errors.Join(k.DeleteUser(c, actions.DeleteUser{ID: "user_1"}), k.DeleteUser(c, actions.DeleteUser{ID: "user_2"}))
	})
	step := bridge.On(clerk.EmailCreated, func(c ctx, _ *clerk.Event[clerk.Email], k *actions.Client) error {
		return k.Step(c, "own", func(context.Context) error { panic("boom") })
	})
	knock := &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) { panic("boom") }}
	for name, tc := range map[string]struct {
		cfg  bridge.Config
		want string
	}{
		"Gone":      {bridge.Config{Ledger: goneLedger{}, Mappings: bridge.Mappings{identify}}, "Ledger"},
		"Save":      {bridge.Config{Ledger: panickingLedger{}, Mappings: bridge.Mappings{twice}}, "Ledger"},
		"Transport": {bridge.Config{Knock: knock, Mappings: bridge.Mappings{identify}}, "Knock"},
		"own step":  {bridge.Config{Mappings: bridge.Mappings{step}}, "mapping function"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := process(t, tc.cfg, "email.created", `{"id":"ema_1"}`)
			assert.Equal(t, bridge.OutcomeMisconfigured, res.Outcome)
			assert.Contains(t, res.Problem(), "bridge: "+tc.want+" panicked with a string")
			assert.Equal(t, tc.want != "mapping function", res.Retry(5).Again)
			p, ok := errors.AsType[*bridge.PanicError](res.Err)
			require.True(t, ok)
			assert.Equal(t, "boom", p.Value)
		})
	}
}

// TestUnsoundErrors: an error that panics when it is looked at is the function's
// panic, and what has been done is on record.
func TestUnsoundErrors(t *testing.T) {
	t.Parallel()
	for name, unsound := range map[string]error{
		"of a file":       (*os.PathError)(nil),
		"of Knock":        (*actions.Error)(nil),
		"a panic":         (*bridge.PanicError)(nil),
		"joined":          errors.Join(io.EOF, (*actions.SendError)(nil)),
		"its own methods": failingError{},
	} {
		for how, end := range map[string]func(ctx, *actions.Client) error{
			"returned": func(ctx, *actions.Client) error { return unsound },
			"thrown":   func(ctx, *actions.Client) error { panic(unsound) },
			"a step's": func(c ctx, k *actions.Client) error {
				return k.Step(c, "own", func(context.Context) error { return unsound })
			},
			"a step's, and looked at": func(c ctx, k *actions.Client) error {
				return fmt.Errorf("own: %w", k.Step(c, "own", func(context.Context) error { return unsound }))
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				knock := &transport{}
				fails := true
				h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
					bridge.Also(clerk.UserCreated, func(c ctx, _ *clerk.Event[clerk.User], k *actions.Client) error {
						if fails {
							return end(c, k)
						}
						return nil
					}),
				}})
				w := httptest.NewRecorder()
				h.ServeHTTP(w, request(t, "msg_1", body("user.created", ada)))
				assert.Equal(t, http.StatusInternalServerError, w.Code)
				fails = false
				res, err := h.Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: body("user.created", ada)})
				require.NoError(t, err)
				assert.Equal(t, 2, res.Attempt, "the claim was given back")
				assert.Equal(t, actions.SkippedFinished, res.Steps[0].Skipped)
				assert.Len(t, knock.calls(), 1)
			})
		}
	}
}

type failingError struct{}

func (failingError) Error() string { panic("boom") }

// TestLateCalls: a goroutine that a function has left behind can't undo what came
// after it.
func TestLateCalls(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	release, late := make(chan struct{}), make(chan error)
	h := newHandler(t, bridge.Config{Knock: knock, Mappings: bridge.Mappings{
		bridge.On(clerk.UserCreated, func(c ctx, e *clerk.Event[clerk.User], k *actions.Client) error {
			go func() {
				<-release
				late <- k.IdentifyUser(context.WithoutCancel(c), bridge.KnockUser(&e.Data))
			}()
			return nil
		}),
	}})
	outcomes(t, h, event("1", "user.created", 10, userAt(10, "A")), event("2", "user.deleted", 20, goneUser))
	close(release)
	require.ErrorContains(t, <-late, "goroutine")
	assert.Equal(t, []string{"DELETE /v1/users/user_1"}, knock.calls())
}

// TestGoexit: a function that ends the goroutine of the request, as require does in a
// test, does not keep its user to itself.
func TestGoexit(t *testing.T) {
	t.Parallel()
	var results []bridge.Outcome
	exit := true
	var cancelCaller context.CancelFunc
	h := newHandler(t, bridge.Config{
		Ledger: &heeding{bridge.NewMemoryLedger(0, 0)},
		OnResult: func(_ context.Context, r *bridge.Result) {
			results = append(results, r.Outcome)
			assert.Len(t, r.Steps, 1)
			assert.Positive(t, r.Duration)
		},
		Mappings: bridge.Mappings{bridge.Also(clerk.UserCreated, func(ctx, *userEvent, *actions.Client) error {
			if exit {
				cancelCaller()
				runtime.Goexit()
			}
			return nil
		})},
	})
	d := event("1", "user.created", 10, userAt(10, "A"))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		gone, cancel := context.WithCancel(t.Context())
		cancelCaller = cancel
		_, _ = h.Process(gone, d)
	}()
	<-ended
	exit = false
	_, err := h.Process(t.Context(), d)
	require.NoError(t, err)
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeMisconfigured, bridge.OutcomeDone}, results)
}

// heeding is a Ledger that saves nothing once its context has ended.
type heeding struct{ bridge.Ledger }

func (l *heeding) Save(ctx context.Context, p bridge.Progress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.Ledger.Save(ctx, p)
}

// TestResultOfWhatIsLeftBehind: what a goroutine that a function has left behind does
// to its step is not in the Result, which others read meanwhile.
func TestResultOfWhatIsLeftBehind(t *testing.T) {
	t.Parallel()
	begun, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	knock := &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
		close(begun)
		<-release
		return &actions.Response{Status: 200}, nil
	}}
	var log bytes.Buffer
	h := newHandler(t, bridge.Config{
		Knock: knock, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Mappings: bridge.Mappings{
			bridge.On(clerk.UserCreated, func(c ctx, e *userEvent, k *actions.Client) error {
				go func() {
					defer close(ended)
					assert.NoError(t, bridge.SyncUser(context.WithoutCancel(c), e, k))
				}()
				<-begun
				return nil
			}),
		},
		OnResult: func(context.Context, *bridge.Result) { close(release) },
	})
	res, err := h.Process(t.Context(), event("1", "user.created", 10, userAt(10, "A")))
	require.NoError(t, err)
	require.Len(t, res.Steps, 1)
	assert.Equal(t, "users.identify:user_1", res.Steps[0].Name)
	assert.NotNil(t, res.Steps[0].Request)
	require.ErrorContains(t, res.Steps[0].Err, "has not finished")
	<-ended
	assert.Zero(t, res.Steps[0].Status)
}

// goneLedger panics when it is asked for a deletion.
type goneLedger struct{ noLedger }

func (goneLedger) Gone(context.Context, []string) ([]string, error) { panic("boom") }

func TestOnStartWithoutContext(t *testing.T) {
	t.Parallel()
	res := process(t, bridge.Config{OnStart: func(context.Context, bridge.Delivery, string) context.Context { return nil }}, "user.created", ada)
	assert.Equal(t, bridge.OutcomeDone, res.Outcome)
}

// TestOtherTransports: an error of a Transport means that no answer came, of
// whatever type it is.
func TestOtherTransports(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want bridge.Outcome
	}{
		"end of file":    {io.EOF, bridge.OutcomeTransient},
		"plain":          {errors.New("dial failed"), bridge.OutcomeTransient},
		"its own":        {&actions.SendError{Attempts: 3, Err: io.EOF}, bridge.OutcomeTransient},
		"judged":         {bridge.Permanent(errors.New("never")), bridge.OutcomePermanent},
		"refused":        {fmt.Errorf("wrapped: %w", &actions.Error{Status: http.StatusBadRequest}), bridge.OutcomeRejected},
		"invalid":        {&actions.InvalidError{Op: "users.identify", Field: "id", Reason: "is odd", Data: true}, bridge.OutcomePermanent},
		"nothing at all": {nil, bridge.OutcomeMisconfigured},
		"its fields":     {(&actions.HTTP{}).Validate(), bridge.OutcomeMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) { return nil, test.err }}
			res := process(t, bridge.Config{Knock: knock}, "user.created", ada)
			assert.Equal(t, test.want, res.Outcome)
			if test.err != nil {
				require.ErrorIs(t, res.Err, test.err)
			}
			require.Len(t, res.Steps, 1)
			assert.NotContains(t, res.Problem(), "panic")
		})
	}
}

func TestAnsweredWhenKnockHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		knock := &transport{answer: func(ctx context.Context, _ *actions.Request) (*actions.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		started := time.Now()
		w := deliver(t, newHandler(t, bridge.Config{Knock: knock}), "user.created", ada)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Equal(t, 11500*time.Millisecond, time.Since(started), "the rest is for the ledger")

		started = time.Now()
		_, err := newHandler(t, bridge.Config{Knock: knock, Timeout: time.Second}).Process(t.Context(), bridge.Delivery{
			ID: "msg_1", Body: body("user.created", ada),
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 900*time.Millisecond, time.Since(started))
	})
}

func TestSenderHangingUpDoesNotStopTheWork(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	knock := &transport{answer: func(ctx context.Context, _ *actions.Request) (*actions.Response, error) {
		cancel()
		return &actions.Response{Status: 200}, ctx.Err()
	}}
	w := httptest.NewRecorder()
	newHandler(t, bridge.Config{Knock: knock}).ServeHTTP(w, request(t, "msg_1", body("user.created", ada)).WithContext(gone))
	assert.Equal(t, http.StatusOK, w.Code)
}

func TestProcessWithoutID(t *testing.T) {
	t.Parallel()
	res, err := newHandler(t, bridge.Config{}).Process(t.Context(), bridge.Delivery{Body: body("user.created", ada)})
	require.Error(t, err)
	assert.Equal(t, bridge.OutcomeMalformed, res.Outcome)
}

func TestConcurrentDeliveries(t *testing.T) {
	t.Parallel()
	knock := &transport{}
	h := newHandler(t, bridge.Config{Knock: knock})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			data := fmt.Sprintf(`{"id":"user_%d"}`, i)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t, fmt.Sprintf("msg_%d", i), body("user.created", data)))
			assert.Equal(t, http.StatusOK, w.Code)
		})
	}
	wg.Wait()
	assert.Len(t, knock.calls(), 64)
}

// TestBodiesAreKept: whoever is handed a body may keep it, though buffers are used
// again.
func TestBodiesAreKept(t *testing.T) {
	t.Parallel()
	type keep = func([]byte)
	for name, config := range map[string]func(keep) bridge.Config{
		"OnResult": func(k keep) bridge.Config {
			return bridge.Config{OnResult: func(_ context.Context, r *bridge.Result) {
				if r.Outcome != bridge.OutcomeUnverified {
					k(r.Body)
				}
			}}
		},
		"OnStart": func(k keep) bridge.Config {
			return bridge.Config{OnStart: func(c ctx, d bridge.Delivery, _ string) ctx { k(d.Body); return c }}
		},
		"Queue": func(k keep) bridge.Config { return bridge.Config{Queue: keepingQueue(k)} },
		"On": func(k keep) bridge.Config {
			fn := func(_ ctx, e *userEvent, _ *actions.Client) error { k(e.Raw); return nil }
			return bridge.Config{Mappings: bridge.Mappings{bridge.On(clerk.UserCreated, fn)}}
		},
		"Also": func(k keep) bridge.Config {
			fn := func(_ ctx, e *userEvent, _ *actions.Client) error { k(e.Raw); return nil }
			return bridge.Config{Mappings: bridge.Mappings{bridge.Also(clerk.UserCreated, fn)}}
		},
		"OnUnmapped": func(k keep) bridge.Config {
			fn := func(_ ctx, e *clerk.AnyEvent, _ *actions.Client) error { k(e.Data); return nil }
			return bridge.Config{NoDefaults: true, Mappings: bridge.Mappings{bridge.OnUnmapped(fn)}}
		},
		"OnUnmapped, all of it": func(k keep) bridge.Config {
			fn := func(_ ctx, e *clerk.AnyEvent, _ *actions.Client) error { k(e.Raw); return nil }
			return bridge.Config{NoDefaults: true, Mappings: bridge.Mappings{bridge.OnUnmapped(fn)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var kept [][]byte
			keeping := newHandler(t, config(func(b []byte) { kept = append(kept, b) }))
			defaults := newHandler(t, bridge.Config{})
			for i := range 20 {
				if i >= 10 { // make sure that the buffers are large
					forged := request(t, "msg_0", bytes.Repeat([]byte("x"), 30_000))
					forged.Header.Set("Svix-Signature", "v1,"+strings.Repeat("A", 44))
					keeping.ServeHTTP(httptest.NewRecorder(), forged)
				}
				for _, h := range []http.Handler{keeping, defaults} {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, request(t, fmt.Sprintf("msg_%d", i), body("user.created", fmt.Sprintf(`{"id":"user_%d"}`, i))))
					require.Less(t, w.Code, 300)
				}
			}
			require.Len(t, kept, 20)
			for i, b := range kept {
				assert.Contains(t, string(b), fmt.Sprintf(`"user_%d"`, i))
			}
		})
	}
}

type keepingQueue func([]byte)

func (k keepingQueue) Enqueue(_ context.Context, d bridge.Delivery) (bool, error) {
	k(d.Body)
	return true, nil
}

// TestBadConnections needs a real server: what a client does to its connection
// does not show in a recorder.
func TestBadConnections(t *testing.T) {
	t.Parallel()
	created := body("user.created", ada)
	headers := func(t *testing.T, length int) string {
		t.Helper()
		var b strings.Builder
		fmt.Fprintf(&b, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n", length)
		require.NoError(t, sign(t, secretA, "msg_1", 0, created).Write(&b))
		return b.String() + "\r\n"
	}
	for name, test := range map[string]struct {
		send   func(t *testing.T, c *net.TCPConn)
		status int
	}{
		"stalls in the body": {func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			_, err := io.WriteString(c, headers(t, len(created))+string(created[:10]))
			require.NoError(t, err)
		}, 503},
		"ends in the body": {func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			_, err := io.WriteString(c, headers(t, len(created))+string(created[:10]))
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
		}, 400},
		"promises 900 kB": {func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			_, err := io.WriteString(c, headers(t, 900_000)+string(created))
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
		}, 400},
		"promises more than the limit": {func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			_, err := io.WriteString(c, headers(t, 2_000_000))
			require.NoError(t, err)
		}, 413},
		"says less than it sends": {func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			_, err := io.WriteString(c, headers(t, 10)+string(created))
			require.NoError(t, err)
		}, 401},
		"unsigned, and the body never comes": {func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
			require.NoError(t, err)
		}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := &transport{}
			server := httptest.NewServer(newHandler(t, bridge.Config{Knock: knock, Timeout: 300 * time.Millisecond}))
			defer server.Close()
			c, err := net.DialTCP("tcp", nil, server.Listener.Addr().(*net.TCPAddr))
			require.NoError(t, err)
			defer c.Close()
			test.send(t, c)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			defer res.Body.Close()
			assert.Equal(t, test.status, res.StatusCode)
			assert.Empty(t, knock.calls())
		})
	}
}

// TestSlowWorkOnARealServer: the read deadline that cuts off stalling senders cuts off
// neither the work after the body has arrived nor what comes next on the connection.
func TestSlowWorkOnARealServer(t *testing.T) {
	t.Parallel()
	for name, readBefore := range map[string]bool{"the handler reads the body": false, "a middleware has read it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeout = time.Second
			var deadline time.Time // of reading
			knock := &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
				<-time.After(time.Until(deadline) + 50*time.Millisecond)
				return &actions.Response{Status: 200}, nil
			}}
			h := newHandler(t, bridge.Config{Knock: knock, Timeout: timeout})
			connections := 0
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if readBefore {
					whole, err := io.ReadAll(r.Body)
					assert.NoError(t, err)
					r.Body = io.NopCloser(bytes.NewReader(whole))
				}
				h.ServeHTTP(w, r)
				assert.NoError(t, r.Context().Err())
			}))
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections++
				}
			}
			server.Start()
			for i := range 2 {
				created := body("user.created", fmt.Sprintf(`{"id":"user_%d"}`, i))
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader(created))
				require.NoError(t, err)
				maps.Copy(r.Header, sign(t, secretA, fmt.Sprint("msg_", i), 0, created))
				deadline = time.Now().Add(timeout)
				res, err := server.Client().Do(r)
				require.NoError(t, err)
				_, err = io.Copy(io.Discard, res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				assert.Equal(t, http.StatusOK, res.StatusCode)
			}
			server.Close()
			assert.Equal(t, 1, connections)
		})
	}
}

// TestOneOfManyOnAConnection: over HTTP/2, what is refused does not end the connection
// that other requests share.
func TestOneOfManyOnAConnection(t *testing.T) {
	t.Parallel()
	connections := 0
	server := httptest.NewUnstartedServer(newHandler(t, bridge.Config{}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections++
		}
	}
	server.EnableHTTP2 = true
	server.StartTLS()
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPost} {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL, strings.NewReader("{}"))
		require.NoError(t, err)
		res, err := server.Client().Do(r)
		require.NoError(t, err)
		assert.Equal(t, "HTTP/2.0", res.Proto)
		assert.GreaterOrEqual(t, res.StatusCode, http.StatusBadRequest)
		require.NoError(t, res.Body.Close())
	}
	server.Close()
	assert.Equal(t, 1, connections)
}

// TestLimitInFront: another handler's limit is a limit, too.
func TestLimitInFront(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	var res *bridge.Result
	onResult := func(_ context.Context, r *bridge.Result) { res = r }
	http.MaxBytesHandler(newHandler(t, bridge.Config{MaxBodyBytes: math.MaxInt64, OnResult: onResult}), 10).
		ServeHTTP(w, request(t, "msg_1", body("user.created", ada)))
	assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
	require.ErrorContains(t, res.Err, "limit of 10 bytes")
}

// TestEmptiedBody: a request whose body something in front has read, or that an
// adapter has made without one.
func TestEmptiedBody(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]io.ReadCloser{"read": http.NoBody, "never there": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var res *bridge.Result
			h := newHandler(t, bridge.Config{OnResult: func(_ context.Context, r *bridge.Result) { res = r }})
			r := request(t, "msg_1", body("user.created", ada))
			r.Body = empty
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			assert.Equal(t, http.StatusUnauthorized, w.Code)
			require.ErrorIs(t, res.Err, bridge.ErrSignature)
			require.ErrorContains(t, res.Err, "the body is empty")
		})
	}
}

// TestPanicOfTheLogger: it undoes nothing, whichever line it is about.
func TestPanicOfTheLogger(t *testing.T) {
	t.Parallel()
	var results []bridge.Outcome
	h := newHandler(t, bridge.Config{
		OnResult: func(_ context.Context, r *bridge.Result) {
			results = append(results, r.Outcome)
			panic("boom")
		},
		Logger: slog.New(panickingLog{slog.DiscardHandler}),
	})
	assert.Equal(t, http.StatusOK, deliver(t, h, "user.created", ada).Code)
	assert.Equal(t, []bridge.Outcome{bridge.OutcomeDone}, results)
}

type panickingLog struct{ slog.Handler }

func (panickingLog) Enabled(context.Context, slog.Level) bool  { return true }
func (panickingLog) Handle(context.Context, slog.Record) error { panic("boom") }

// TestRemovalThatKnockHasNotAnswered: a 404 without Knock's code counts as success,
// and is in the log at Info, unlike that of a user whom Knock does not have.
func TestRemovalThatKnockHasNotAnswered(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"404 page not found": "warning=", `{"message":"no Route matched with those values"}`: "warning=", "": "warning=",
		`{"code":"resource_missing","type":"api_error"}`: "",
	} {
		var log bytes.Buffer
		h := newHandler(t, bridge.Config{
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Knock: &transport{answer: func(context.Context, *actions.Request) (*actions.Response, error) {
				return &actions.Response{Status: http.StatusNotFound, Body: []byte(answer)}, nil
			}},
		})
		assert.Equal(t, http.StatusOK, deliver(t, h, "user.deleted", `{"id":"user_1","deleted":true}`).Code, answer)
		assert.Contains(t, log.String(), "outcome=done")
		if want == "" {
			assert.NotContains(t, log.String(), "warning")
		} else {
			assert.Contains(t, log.String(), want, answer)
		}
	}
}

func TestNoLimit(t *testing.T) {
	t.Parallel()
	w := deliver(t, newHandler(t, bridge.Config{MaxBodyBytes: math.MaxInt64}), "user.created", ada)
	assert.Equal(t, http.StatusOK, w.Code)
}

// TestQueueWithoutLedger: it works, and forgets with the process what the queue does not.
func TestQueueWithoutLedger(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ledger bridge.Ledger
		warns  bool
	}{"none": {nil, true}, "one": {bridge.NewMemoryLedger(0, 0), false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			newHandler(t, bridge.Config{Queue: &listQueue{}, Ledger: tc.ledger, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			assert.Equal(t, tc.warns, strings.Contains(log.String(), "level=WARN"), log.String())
		})
	}
}
