package bridgetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

// Recorded is what a mapping function did when [Run] ran it.
type Recorded struct {
	// Actions are the calls to Knock that the function made, and the side
	// effects it ran through [actions.Client.Step], in order.
	Actions []Action

	// Err is what the function returned. [bridge.OutcomeOf] says how a delivery
	// would end with it.
	Err error
}

// Action is one call to Knock, or one side effect. Actions are equal (==) when
// Knock would be told the same.
type Action struct {
	// Kind is the kind of step, such as "users_identify", and "step" for
	// [actions.Client.Step].
	Kind string

	// Name is the name of the step, such as "users.identify:user_1".
	Name string

	// Method and Path are the request's. They are empty for a side effect.
	Method, Path string

	// Body is the request's JSON with its keys sorted, or empty.
	Body string

	// IdempotencyKey is the one the function gave with a trigger. It is empty
	// when the key is left to the bridge.
	IdempotencyKey string
}

// String returns the method, the path and the body, or the name of a side
// effect.
func (a Action) String() string {
	if a.Method == "" {
		return a.Name
	}
	return strings.TrimSuffix(a.Method+" "+a.Path+" "+a.Body, " ")
}

// Run calls a mapping function with e and records what it does. Nothing is
// sent: every call succeeds, and a look-up returns only the id. Side effects
// given to [actions.Client.Step] do run. For a function whose behaviour depends
// on what Knock holds or refuses, use a [Knock].
//
// Compare the actions with those of [Want]:
//
//	got := bridgetest.Run(t, syncPlan, bridgetest.NewEvent(clerk.UserUpdated, user))
//	assert.NoError(t, got.Err)
//	assert.Equal(t, bridgetest.Want(t, func(ctx context.Context, knock *actions.Client) error {
//		return knock.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Name: "Ada"})
//	}), got.Actions)
func Run[T any](t testing.TB, fn bridge.Func[T], e *clerk.Event[T]) *Recorded {
	t.Helper()
	if fn == nil {
		t.Fatal("bridgetest: Run: the function is nil")
	}
	if e == nil {
		t.Fatal("bridgetest: Run: the event is nil; make one with NewEvent")
	}
	r := &recorder{sideEffects: true}
	err := fn(t.Context(), e, r.client())
	return &Recorded{Actions: r.recorded(), Err: err}
}

// Want returns the actions of the calls that fn makes, in the form in which
// [Run] records them. Side effects are only noted: their functions do not run
// and may be nil. The test fails when a call is refused, as that would not make
// an action either.
func Want(t testing.TB, fn func(ctx context.Context, knock *actions.Client) error) []Action {
	t.Helper()
	if fn == nil {
		t.Fatal("bridgetest: Want: the function is nil")
	}
	r := &recorder{}
	if err := fn(t.Context(), r.client()); err != nil {
		t.Fatalf("bridgetest: Want: %v", err)
	}
	return r.recorded()
}

// recorder records the steps of a client.
type recorder struct {
	sideEffects bool // run them

	mu      sync.Mutex
	actions []Action
}

// recordedDelivery stands for the delivery's id in derived idempotency keys.
const recordedDelivery = "bridgetest"

func (r *recorder) client() *actions.Client {
	return actions.NewClient(nodding{}).ForDelivery(actions.Delivery{ID: recordedDelivery, Run: r.run})
}

func (r *recorder) run(ctx context.Context, s *actions.Step, do func(context.Context) error) error {
	a := Action{Kind: s.Kind, Name: s.Name}
	if s.Request != nil {
		a.Method, a.Path, a.Body = s.Request.Method, s.Request.Path, canonical(s.Request.Body)
		a.IdempotencyKey = givenKey(s)
	}
	r.mu.Lock()
	r.actions = append(r.actions, a)
	r.mu.Unlock()
	if s.Request == nil && !r.sideEffects {
		return nil
	}
	return do(ctx)
}

func (r *recorder) recorded() []Action {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.actions
}

// givenKey returns the idempotency key of a step unless package actions derived
// it from the delivery and the step's name, hashed where a header can't hold it.
func givenKey(s *actions.Step) string {
	key, derived := s.Request.IdempotencyKey, recordedDelivery+":"+s.Name
	if key == derived || key == fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(derived))) {
		return ""
	}
	return key
}

// canonical returns JSON with sorted keys and without white space.
func canonical(body json.RawMessage) string {
	if len(body) == 0 {
		return ""
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return string(body)
	}
	sorted, err := marshal(v)
	if err != nil {
		return string(body)
	}
	return string(sorted)
}

// nodding is a Transport that answers every request with success.
type nodding struct{}

// Do answers r.
func (nodding) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer := &actions.Response{Status: http.StatusOK, Body: json.RawMessage(`{}`)}
	switch {
	case r.Method == http.MethodDelete && r.Body == nil:
		answer.Status, answer.Body = http.StatusNoContent, nil
	case strings.HasSuffix(r.Path, "/trigger"):
		answer.Body = json.RawMessage(`{"workflow_run_id":"00000000-0000-4000-8000-000000000001"}`)
	}
	return answer, nil
}
