package eventlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/eventlog"
	"github.com/clerkknock/bridge/pace"
)

type (
	userEvent = clerk.Event[clerk.User]
	emailFunc = bridge.Func[clerk.Email]
)

// knock answers what it is told to, or 200.
type knock func(r *actions.Request) (int, string)

func (k knock) Do(_ context.Context, r *actions.Request) (*actions.Response, error) {
	status, body := http.StatusOK, "{}"
	if k != nil {
		status, body = k(r)
	}
	if status == 0 {
		return nil, &actions.SendError{Attempts: 3, Method: r.Method, Path: r.Path, Err: io.ErrUnexpectedEOF}
	}
	return &actions.Response{Status: status, Header: http.Header{"X-Request-Id": {"req_1"}}, Body: json.RawMessage(body), Attempts: 1}, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start returns a handler that log records.
func start(t testing.TB, log *eventlog.Log, k knock, mappings ...bridge.Mapping) *bridge.Handler {
	t.Helper()
	h, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret}, Knock: k, Mappings: mappings, OnResult: log.OnResult, Logger: quiet(),
	})
	require.NoError(t, err)
	return h
}

func newLog(o eventlog.Options) *eventlog.Log {
	o.Logger = quiet()
	return eventlog.New(eventlog.NewMemory(0), o)
}

// deliver has one delivery worked off.
func deliver(t testing.TB, h *bridge.Handler, eventType string, data any) bridge.Delivery {
	t.Helper()
	d := bridgetest.NewDelivery(t, eventType, data)
	h.ServeHTTP(httptest.NewRecorder(), bridgetest.Attempt(t, d))
	return d
}

// last returns the newest record, with its bodies.
func last(t testing.TB, log *eventlog.Log) *eventlog.Record {
	t.Helper()
	page, err := log.Store().List(t.Context(), eventlog.Query{Limit: 1})
	require.NoError(t, err)
	require.NotEmpty(t, page.Records)
	r, err := log.Store().Get(t.Context(), page.Records[0].ID)
	require.NoError(t, err)
	return r
}

func TestRecord(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{})
	h := start(t, log, nil, bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")))
	before := time.Now()
	d := deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","first_name":"Ada"}`))
	r := last(t, log)
	assert.WithinRange(t, r.At, before, time.Now())
	assert.WithinRange(t, r.ReceivedAt, before, r.At)
	assert.Positive(t, r.Duration)
	assert.Equal(t, "user.created", r.EventType)
	assert.Equal(t, d.ID, r.DeliveryID)
	assert.Equal(t, "user/user_1", r.Entity)
	assert.Equal(t, eventlog.Verified, r.Verification)
	assert.Equal(t, bridge.OutcomeDone, r.Outcome)
	assert.Equal(t, 1, r.Attempt)
	assert.Equal(t, []string{"bridge.SyncUser", "bridge.TriggerForUser"}, r.Functions)
	assert.Empty(t, r.Problem)
	assert.Nil(t, r.Payload)
	assert.NotEmpty(t, r.NoPayload)
	require.Len(t, r.Steps, 2)
	for i := range r.Steps {
		assert.Positive(t, r.Steps[i].Duration)
		r.Steps[i].Duration = 0
	}
	assert.Equal(t, eventlog.Step{
		Name: "users.identify:user_1", Kind: "users_identify", Method: "PUT", Path: "/v1/users/user_1",
		Status: 200, RequestID: "req_1", Attempts: 1,
	}, r.Steps[0])
	assert.Equal(t, d.ID+":"+r.Steps[1].Name, r.Steps[1].IdempotencyKey)

	_, err := h.Replay(t.Context(), d)
	require.NoError(t, err)
	r = last(t, log)
	assert.True(t, r.Replay)
	assert.Equal(t, bridge.OutcomeDuplicate, r.Outcome)
	_, err = h.DryRun(t.Context(), d)
	require.NoError(t, err)
	assert.True(t, last(t, log).DryRun)
}

// TestFaults: each problem is told apart, and says what to do about it.
func TestFaults(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) knock {
		return func(*actions.Request) (int, string) { return status, body }
	}
	failing := func(err error) bridge.Mapping {
		return bridge.On(clerk.UserCreated, func(context.Context, *userEvent, *actions.Client) error { return err })
	}
	for _, test := range []struct {
		name     string
		knock    knock
		mappings []bridge.Mapping
		data     string
		want     eventlog.Fault
		why, do  string
	}{
		{
			name: "missing", mappings: []bridge.Mapping{bridge.On(clerk.UserCreated, func(ctx context.Context, _ *userEvent, k *actions.Client) error {
				return k.IdentifyUser(ctx, actions.IdentifyUser{})
			})},
			want: eventlog.Fault{Kind: eventlog.FaultMissingField, Op: "users.identify", Fields: []string{"id"}},
			why:  "A field is missing: id of users.identify is empty", do: "payload",
		},
		{
			name: "missing in the code", mappings: []bridge.Mapping{bridge.On(clerk.UserCreated, func(ctx context.Context, _ *userEvent, k *actions.Client) error {
				return k.Step(ctx, "", nil)
			})},
			want: eventlog.Fault{Kind: eventlog.FaultMissingField, Op: "step", Fields: []string{"name"}},
			why:  "A field is missing: name of step is empty", do: "does not come from the payload",
		},
		{
			name: "missing at Knock", knock: answer(422, `{"code":"invalid_params","errors":[{"field":"recipients","message":"is required"}]}`),
			want: eventlog.Fault{Kind: eventlog.FaultMissingField, Status: 422, Code: "invalid_params", Target: "PUT /v1/users/user_1", Fields: []string{"recipients"}},
			why:  "A field is missing: Knock wants recipients in PUT /v1/users/user_1",
		},
		{
			name: "wrong type", data: `{"id":"user_1","email_addresses":"ada@example.com"}`,
			want: eventlog.Fault{Kind: eventlog.FaultWrongType}, why: "A wrong type: the payload does not fit", do: "names the member",
		},
		{
			name: "wrong type at Knock", knock: answer(422, `{"code":"invalid_params","errors":[{"field":"email","message":"is not a string"}]}`),
			want: eventlog.Fault{Kind: eventlog.FaultWrongType, Status: 422, Code: "invalid_params", Target: "PUT /v1/users/user_1", Fields: []string{"email"}},
			why:  "A wrong type: Knock can't take email in PUT /v1/users/user_1", do: "API reference",
		},
		{
			name: "wrong path", knock: answer(404, `{"code":"workflow_missing","message":"private"}`),
			mappings: []bridge.Mapping{bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcom"))},
			want:     eventlog.Fault{Kind: eventlog.FaultWrongPath, Status: 404, Code: "workflow_missing", Target: "POST /v1/workflows/welcom/trigger"},
			why:      "A wrong path: Knock does not have what POST /v1/workflows/welcom/trigger names (404 workflow_missing)", do: "key of the workflow",
		},
		{
			name: "key", knock: answer(401, "{}"), why: "API key (401)", do: "KNOCK_API_KEY",
			want: eventlog.Fault{Kind: eventlog.FaultAPIKey, Status: 401, Target: "PUT /v1/users/user_1"},
		},
		{
			name: "limit", knock: answer(429, "{}"), why: "too many",
			want: eventlog.Fault{Kind: eventlog.FaultRateLimited, Status: 429, Target: "PUT /v1/users/user_1"},
		},
		{
			name: "down", knock: answer(503, "{}"), why: "Knock failed (503)",
			want: eventlog.Fault{Kind: eventlog.FaultKnockDown, Status: 503, Target: "PUT /v1/users/user_1"},
		},
		{
			name: "refused", knock: answer(400, `{"code":"x"}`), why: "Knock refused PUT /v1/users/user_1 (400 x)",
			want: eventlog.Fault{Kind: eventlog.FaultRefused, Status: 400, Code: "x", Target: "PUT /v1/users/user_1"},
		},
		{
			name: "inactive", knock: answer(422, `{"code":"workflow_inactive"}`), why: "(422 workflow_inactive)", do: "switched off",
			mappings: []bridge.Mapping{bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome"))},
			want:     eventlog.Fault{Kind: eventlog.FaultRefused, Status: 422, Code: "workflow_inactive", Target: "POST /v1/workflows/welcome/trigger"},
		},
		{
			name: "no actor", knock: answer(422, `{"code":"actor_missing"}`), why: "(422 actor_missing)", do: "Identify that user",
			want: eventlog.Fault{Kind: eventlog.FaultRefused, Status: 422, Code: "actor_missing", Target: "PUT /v1/users/user_1"},
		},
		{
			name: "refused with 422", knock: answer(422, `{"code":"x"}`), why: "Knock refused PUT /v1/users/user_1 (422 x)",
			want: eventlog.Fault{Kind: eventlog.FaultRefused, Status: 422, Code: "x", Target: "PUT /v1/users/user_1"},
		},
		{
			name: "wrong type of what it does not name", knock: answer(422, `{"code":"invalid_params"}`), why: "A wrong type",
			want: eventlog.Fault{Kind: eventlog.FaultWrongType, Status: 422, Code: "invalid_params", Target: "PUT /v1/users/user_1"},
		},
		{
			name: "no answer", knock: answer(0, ""), why: "No answer",
			want: eventlog.Fault{Kind: eventlog.FaultNoAnswer, Target: "PUT /v1/users/user_1"},
		},
		{
			name: "no turn", mappings: []bridge.Mapping{failing(&actions.SendError{Unsent: true, RetryAfter: time.Second, Method: "PUT", Path: "/v1/users/user_1"})},
			want: eventlog.Fault{Kind: eventlog.FaultRateLimited, Target: "PUT /v1/users/user_1"}, why: "no turn", do: "later attempt",
		},
		{name: "late", mappings: []bridge.Mapping{failing(context.DeadlineExceeded)}, want: eventlog.Fault{Kind: eventlog.FaultTimeout}, why: "time", do: "step"},
		{name: "busy", mappings: []bridge.Mapping{failing(bridge.ErrBusy)}, want: eventlog.Fault{Kind: eventlog.FaultBusy}, why: "Another"},
		{
			name: "fields of a Transport", mappings: []bridge.Mapping{failing((&actions.HTTP{}).Validate())},
			want: eventlog.Fault{Kind: eventlog.FaultOther}, why: "returned an error", do: "The problem is its text.",
		},
		{name: "own", mappings: []bridge.Mapping{failing(errors.New("no"))}, want: eventlog.Fault{Kind: eventlog.FaultOther}, why: "returned an error", do: "bridge.Permanent"},
		{
			name: "own, marked", mappings: []bridge.Mapping{failing(bridge.RetryAfter(time.Second, errors.New("no")))},
			want: eventlog.Fault{Kind: eventlog.FaultOther}, why: "returned an error", do: "The problem is its text.",
		},
		{
			name: "panic", want: eventlog.Fault{Kind: eventlog.FaultPanic}, why: "panicked (eventlog_test.", do: "stack",
			mappings: []bridge.Mapping{bridge.On(clerk.UserCreated, func(context.Context, *userEvent, *actions.Client) error { panic("private") })},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			log := newLog(eventlog.Options{})
			if test.data == "" {
				test.data = `{"id":"user_1"}`
			}
			deliver(t, start(t, log, test.knock, test.mappings...), "user.created", json.RawMessage(test.data))
			r := last(t, log)
			require.NotNil(t, r.Fault)
			assert.Equal(t, test.want, *r.Fault)
			assert.NotEmpty(t, r.Problem)
			assert.NotContains(t, r.Problem, "private")
			e := eventlog.Explain(r)
			assert.NotEmpty(t, e.What)
			assert.Contains(t, e.Why, test.why)
			assert.Contains(t, e.Do, test.do)
			assert.Contains(t, e.Next, "Svix")
		})
	}
}

// TestFaultPaused: a call that package pace holds back says what Knock refused.
func TestFaultPaused(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{401: "KNOCK_API_KEY", 403: "KNOCK_API_KEY", 404: "key of the workflow"} {
		log := newLog(eventlog.Options{})
		refuse := knock(func(*actions.Request) (int, string) { return status, "{}" })
		h, err := bridge.New(bridge.Config{
			SigningSecrets: []string{bridgetest.Secret}, Knock: &pace.Transport{Knock: refuse}, OnResult: log.OnResult, Logger: quiet(),
			Mappings: bridge.Mappings{bridge.On(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcom"))},
		})
		require.NoError(t, err)
		deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1"}`))
		require.NotEqual(t, eventlog.FaultPaused, last(t, log).Fault.Kind)
		deliver(t, h, "user.created", json.RawMessage(`{"id":"user_2"}`))
		r := last(t, log)
		assert.Equal(t, &eventlog.Fault{Kind: eventlog.FaultPaused, Status: status, Target: "POST /v1/workflows/welcom/trigger"}, r.Fault)
		e := eventlog.Explain(r)
		assert.Contains(t, e.Why, "Package pace held POST /v1/workflows/welcom/trigger back: Knock answered "+strconv.Itoa(status))
		assert.Contains(t, e.Do, want)
	}
}

func TestUnverified(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil)
	request := func(change func(*http.Request)) *http.Request {
		r := bridgetest.NewRequest(t, "user.created", nil)
		change(r)
		return r
	}
	for _, test := range []struct {
		r    *http.Request
		want eventlog.Verification
	}{
		{httptest.NewRequest(http.MethodGet, "/", nil), eventlog.NotPOST},
		{request(func(r *http.Request) { r.ContentLength = 1 << 30 }), eventlog.TooLarge},
		{request(func(r *http.Request) { r.Header.Del("Svix-Id") }), eventlog.MissingHeader},
		{request(func(r *http.Request) { r.Header.Set("Svix-Timestamp", "now") }), eventlog.BadHeader},
		{request(func(r *http.Request) { r.Header.Set("Svix-Timestamp", "1") }), eventlog.TooOld},
		{request(func(r *http.Request) { r.Header.Set("Svix-Timestamp", "99999999999") }), eventlog.TooNew},
		{request(func(r *http.Request) { r.Header.Set("Svix-Signature", "v2,AAAA") }), eventlog.NoSignature},
		{request(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"secret":"x"}`)) }), eventlog.WrongSignature},
	} {
		h.ServeHTTP(httptest.NewRecorder(), test.r)
		list, err := log.Store().Unverified(t.Context(), 1)
		require.NoError(t, err)
		require.Len(t, list, 1, test.want)
		assert.Equal(t, test.want, list[0].Verification)
		assert.Empty(t, list[0].Payload)
		assert.NotEmpty(t, eventlog.Explain(list[0]).Why)
		got, err := log.Store().Get(t.Context(), list[0].ID)
		require.NoError(t, err)
		assert.Equal(t, list[0], got)
	}
	page, err := log.Store().List(t.Context(), eventlog.Query{})
	require.NoError(t, err)
	assert.Empty(t, page.Records, "they are kept apart")
}

// TestLongTexts: what the sender chooses is bounded, in every store.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{})
	deliver(t, start(t, log, nil), strings.Repeat("x", 5000), map[string]any{})
	assert.Equal(t, strings.Repeat("x", 1000)+"…", last(t, log).EventType)
}

// TestForgedFlood: forged requests neither flush the log nor reach the store at
// any rate.
func TestForgedFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog(eventlog.Options{})
		h := start(t, log, nil)
		deliver(t, h, "user.created", nil)
		forge := func(n int) {
			for range n {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}
		}
		recorded := func() int {
			list, err := log.Store().Unverified(t.Context(), 10_000)
			require.NoError(t, err)
			return len(list)
		}
		forge(1000)
		assert.Equal(t, 50, recorded())
		assert.EqualValues(t, 950, log.Unrecorded())
		time.Sleep(2 * time.Second)
		forge(1000)
		assert.Equal(t, 60, recorded())
		for range 200 {
			time.Sleep(time.Minute)
			forge(100)
		}
		assert.Equal(t, 500, recorded())
		assert.Equal(t, "user.created", last(t, log).EventType)
	})
}

func TestDrift(t *testing.T) {
	t.Parallel()
	began := time.Now()
	log := newLog(eventlog.Options{})
	text, err := json.Marshal(log.Drift())
	require.NoError(t, err)
	assert.NotContains(t, string(text), "null", "empty lists")
	h := start(t, log, nil)
	for i := range 150 {
		deliver(t, h, "user.created", json.RawMessage(fmt.Sprintf(`{"id":"user_%d","shoe_size":43}`, i)))
		deliver(t, h, "role.created", nil)
	}
	deliver(t, h, "passkey.created", json.RawMessage(`{"id":"passkey_1"}`))
	for i := range 500 { // whoever has the secret
		deliver(t, h, fmt.Sprint("flood.", i), json.RawMessage(`{}`))
		deliver(t, h, "session.created", json.RawMessage(fmt.Sprintf(`{"new_%d":1,"%s":2}`, i, strings.Repeat("x", 1000))))
	}
	got := log.Drift()
	assert.WithinRange(t, got.Since, began, time.Now())
	arrived := make(map[string]int)
	for _, a := range got.Unmapped {
		arrived[a.EventType] = a.N
		assert.False(t, a.Last.Before(a.First))
	}
	assert.Equal(t, 150, arrived["role.created"])
	assert.Equal(t, 1, arrived["passkey.created"])
	assert.NotContains(t, arrived, "user.created")
	assert.Len(t, got.Unmapped, 199)
	assert.Len(t, got.Unknown, 197)
	members := make(map[string]int)
	for _, m := range got.Members {
		members[m.EventType+" "+m.Member] = m.N
		assert.LessOrEqual(t, len(m.Member), 110)
	}
	assert.Equal(t, 21, members["user.created shoe_size"])
	assert.Len(t, members, 1+25+1)
}

// slow is a store that waits, or fails.
type slow struct {
	eventlog.Store

	wait chan struct{}
	err  error

	mu  sync.Mutex
	got int
}

func (s *slow) Append(_ context.Context, records []*eventlog.Record) error {
	<-s.wait
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got += len(records)
	return s.err
}

// TestSlowStore: a store that does not answer loses records, and holds up no
// delivery.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	store := &slow{wait: make(chan struct{})}
	var results int
	var out bytes.Buffer
	log := eventlog.New(store, eventlog.Options{Logger: slog.New(slog.NewTextHandler(&out, nil)), OnResult: func(context.Context, *bridge.Result) { results++ }})
	require.NoError(t, log.Flush(t.Context()), "there is nothing")
	const n = 3000
	for range n {
		log.OnResult(t.Context(), &bridge.Result{DeliveryID: "msg_1", Outcome: bridge.OutcomeDone})
	}
	assert.Equal(t, n, results, "the caller's own is called")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, log.Flush(ended), context.Canceled)
	close(store.wait)
	require.NoError(t, log.Flush(t.Context()))
	assert.Equal(t, n, store.got+int(log.Lost()))
	assert.GreaterOrEqual(t, store.got, 2000)
	assert.Contains(t, out.String(), fmt.Sprintf(`records=%d error="they come faster than the store takes them"`, log.Lost()))
}

// TestSlowStoreBodies: large bodies that wait for the store do not fill the
// memory up.
func TestSlowStoreBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &slow{wait: make(chan struct{})}
		log := eventlog.New(store, eventlog.Options{Logger: quiet(), Bodies: true, MaxBodyBytes: 32 << 20})
		record := func(size int) {
			log.OnResult(t.Context(), &bridge.Result{DeliveryID: "msg_1", Outcome: bridge.OutcomeDone, Body: []byte(`"` + strings.Repeat("x", size-2) + `"`)})
		}
		log.OnResult(t.Context(), &bridge.Result{DeliveryID: "msg_1", Outcome: bridge.OutcomeDone})
		synctest.Wait() // the store has it, and waits
		record(32 << 20)
		record(32 << 20)
		record(10)
		assert.EqualValues(t, 1, log.Lost())
		close(store.wait)
		require.NoError(t, log.Flush(t.Context()))
		record(10) // with the others more than may wait, but those are stored
		require.NoError(t, log.Flush(t.Context()))
		assert.EqualValues(t, 1, log.Lost(), "there is room again")
		assert.Equal(t, 4, store.got)
	})
}

// TestFlushUnderLoad: it waits for what was recorded before, and not for what
// comes after.
func TestFlushUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &lazy{}
		log := eventlog.New(store, eventlog.Options{Logger: quiet()})
		ctx, cancel := context.WithCancel(t.Context())
		var recording sync.WaitGroup
		recording.Go(func() {
			for ctx.Err() == nil {
				log.OnResult(t.Context(), &bridge.Result{DeliveryID: "msg_1", Outcome: bridge.OutcomeDone})
				time.Sleep(time.Millisecond)
			}
		})
		time.Sleep(time.Second + time.Millisecond/2)
		began := time.Now()
		require.NoError(t, log.Flush(t.Context()))
		assert.GreaterOrEqual(t, store.stored.Load(), int64(1001))
		assert.LessOrEqual(t, time.Since(began), 2*lazyTime)
		cancel()
		recording.Wait()
		require.NoError(t, log.Flush(t.Context()))
		assert.Zero(t, log.Lost())
	})
}

const lazyTime = 5 * time.Millisecond

// lazy is a store that takes its time.
type lazy struct {
	eventlog.Store

	stored atomic.Int64
}

func (s *lazy) Append(_ context.Context, records []*eventlog.Record) error {
	time.Sleep(lazyTime)
	s.stored.Add(int64(len(records)))
	return nil
}

func TestFailingStore(t *testing.T) {
	t.Parallel()
	store := &slow{wait: make(chan struct{}), err: errors.New("disk full")}
	close(store.wait)
	var out bytes.Buffer
	log := eventlog.New(store, eventlog.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	h := start(t, log, nil)
	res, err := h.Process(t.Context(), bridgetest.NewDelivery(t, "user.created", nil))
	require.NoError(t, err)
	assert.Equal(t, bridge.OutcomeDone, res.Outcome)
	require.NoError(t, log.Flush(t.Context()))
	assert.EqualValues(t, 1, log.Lost())
	assert.Contains(t, out.String(), `msg="eventlog: records were lost" records=1 error="disk full"`)
}

// TestFailingStoreIsQuiet: what is lost is in the log, in one line a second.
func TestFailingStoreIsQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &slow{wait: make(chan struct{}), err: errors.New("disk full")}
		close(store.wait)
		var out bytes.Buffer
		log := eventlog.New(store, eventlog.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		record := func() {
			log.OnResult(t.Context(), &bridge.Result{DeliveryID: "msg_1", Outcome: bridge.OutcomeDone})
			synctest.Wait()
		}
		told := func() []string { return regexp.MustCompile(`records=.*`).FindAllString(out.String(), -1) }
		for range 4 {
			record()
		}
		assert.Equal(t, []string{`records=1 error="disk full"`}, told())
		store.err = nil
		record()
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []string{`records=1 error="disk full"`, `records=3 error="disk full"`}, told())
		time.Sleep(time.Hour)
		record()
		assert.Len(t, told(), 2)
		store.err = errors.New("disk full again")
		record()
		record()
		assert.Len(t, told(), 3)
		require.NoError(t, log.Flush(t.Context()))
		assert.Equal(t, []string{`records=1 error="disk full again"`, `records=1 error="disk full again"`}, told()[2:], "nothing is left for when the process ends")
		assert.EqualValues(t, 6, log.Lost())
	})
}

// panicking is a store that panics until it is mended.
type panicking struct {
	slow

	value any
}

func (s *panicking) Append(ctx context.Context, records []*eventlog.Record) error {
	if s.value != nil {
		panic(s.value)
	}
	return s.slow.Append(ctx, records)
}

// TestPanickingStore: its panic happens in a goroutine of the log, where nobody else
// could recover it, and may hold the event.
func TestPanickingStore(t *testing.T) {
	t.Parallel()
	var runtimeError error
	func() {
		defer func() { runtimeError, _ = recover().(error) }()
		_ = []int{}[len(t.Name())]
	}()
	for want, value := range map[string]any{
		`error="the store panicked with a string"`:                 "hunter2",
		`error="the store panicked with a *errors.errorString"`:    errors.New("hunter2"),
		`error="the store panicked: runtime error: index out of r`: runtimeError,
	} {
		var out bytes.Buffer
		store := &panicking{slow: slow{wait: make(chan struct{})}, value: value}
		close(store.wait)
		log := eventlog.New(store, eventlog.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		record := func() {
			log.OnResult(t.Context(), &bridge.Result{DeliveryID: "msg_1", Outcome: bridge.OutcomeDone})
			require.NoError(t, log.Flush(t.Context()))
		}
		record()
		assert.EqualValues(t, 1, log.Lost())
		assert.Contains(t, out.String(), `msg="eventlog: records were lost" records=1 `+want)
		assert.Contains(t, out.String(), "(*panicking).Append", "where it is")
		assert.NotContains(t, out.String(), "hunter2")
		store.value = nil
		record()
		assert.EqualValues(t, 1, log.Lost())
		assert.Equal(t, 1, store.got, "what comes afterwards is stored")
	}
}

// TestNoStore: what can only be a mistake shows at the start.
func TestNoStore(t *testing.T) {
	t.Parallel()
	var memory *eventlog.Memory
	for _, store := range []eventlog.Store{nil, memory} {
		assert.PanicsWithError(t, "eventlog: New needs a Store, such as NewMemory(0), and got nil", func() { eventlog.New(store, eventlog.Options{}) })
	}
}
