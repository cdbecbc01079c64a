package actions_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/clerkknock/bridge/actions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Transport that keeps requests and answers them with what answer
// returns, 200 when it is nil.
type recorder struct {
	answer func(n int, r *actions.Request) (*actions.Response, error)

	mu       sync.Mutex
	requests []actions.Request
}

func (t *recorder) Do(_ context.Context, r *actions.Request) (*actions.Response, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = append(t.requests, *r)
	if t.answer == nil {
		return &actions.Response{Status: http.StatusOK, Body: json.RawMessage(`{"workflow_run_id":"run_1"}`)}, nil
	}
	return t.answer(len(t.requests), r)
}

func (t *recorder) sent() []actions.Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]actions.Request(nil), t.requests...)
}

// answers is a recorder that always gives the same answer.
func answers(status int, header http.Header, body string) *recorder {
	return &recorder{answer: func(int, *actions.Request) (*actions.Response, error) {
		return &actions.Response{Status: status, Header: header, Body: json.RawMessage(body)}, nil
	}}
}

// serve starts a server and returns it with a transport that sends to it.
func serve(t testing.TB, h http.HandlerFunc) (*httptest.Server, *actions.HTTP) {
	t.Helper()
	s := httptest.NewServer(h)
	knock := &actions.HTTP{APIKey: "sk_test_1", BaseURL: s.URL}
	t.Cleanup(func() {
		knock.CloseIdleConnections()
		s.Close()
	})
	return s, knock
}

func put(path string) *actions.Request {
	return &actions.Request{Method: http.MethodPut, Path: path, Body: json.RawMessage(`{"name":"Ada"}`)}
}

// steps is a Runner that keeps the steps of a delivery.
type steps struct {
	mu   sync.Mutex
	list []*actions.Step
}

func (r *steps) run(ctx context.Context, s *actions.Step, do func(context.Context) error) error {
	s.Err = do(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, s)
	return s.Err
}

func (r *steps) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, len(r.list))
	for i, s := range r.list {
		names[i] = s.Name
	}
	return names
}

func requireInvalid(t testing.TB, err error) *actions.InvalidError {
	t.Helper()
	var invalid *actions.InvalidError
	require.ErrorAs(t, err, &invalid)
	return invalid
}
