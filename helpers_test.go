package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
)

// transport records what it is sent and answers with what answer returns, or
// with 200 and an empty object.
type transport struct {
	answer func(ctx context.Context, r *actions.Request) (*actions.Response, error)

	mu   sync.Mutex
	sent []actions.Request
}

func (tr *transport) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	tr.mu.Lock()
	tr.sent = append(tr.sent, *r)
	tr.mu.Unlock()
	if tr.answer != nil {
		return tr.answer(ctx, r)
	}
	return &actions.Response{Status: http.StatusOK, Body: json.RawMessage(`{}`)}, nil
}

// calls returns what was sent, one line a call: method, path, body with sorted
// members.
func (tr *transport) calls() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return lines(tr.sent)
}

func lines(requests []actions.Request) []string {
	out := make([]string, 0, len(requests))
	for _, r := range requests {
		line := r.Method + " " + r.Path
		if r.Body != nil {
			line += " " + sorted(r.Body)
		}
		out = append(out, line)
	}
	return out
}

func sorted(body json.RawMessage) string {
	var v any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return "not JSON: " + string(body)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func status(code int, body string, header ...string) func(context.Context, *actions.Request) (*actions.Response, error) {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return func(context.Context, *actions.Request) (*actions.Response, error) {
		return &actions.Response{Status: code, Header: h, Body: json.RawMessage(body)}, nil
	}
}

// newHandler fills in what a test leaves out.
func newHandler(t testing.TB, cfg bridge.Config) *bridge.Handler {
	t.Helper()
	if cfg.SigningSecrets == nil {
		cfg.SigningSecrets = []string{secretA}
	}
	if cfg.Knock == nil {
		cfg.Knock = &transport{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := bridge.New(cfg)
	require.NoError(t, err)
	return h
}

func body(eventType, data string) []byte {
	return fmt.Appendf(nil, `{"data":%s,"object":"event","type":%q,"timestamp":1760000000000,"instance_id":"ins_1"}`, data, eventType)
}

func request(t testing.TB, id string, body []byte) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/webhooks/clerk", bytes.NewReader(body))
	maps.Copy(r.Header, sign(t, secretA, id, 0, body))
	return r
}

// deliver sends one genuine delivery.
func deliver(t testing.TB, h *bridge.Handler, eventType, data string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(t, "msg_1", body(eventType, data)))
	return w
}

// process runs one event through a handler made of cfg and returns its result.
func process(t testing.TB, cfg bridge.Config, eventType, data string) *bridge.Result {
	t.Helper()
	res, err := newHandler(t, cfg).Process(t.Context(), bridge.Delivery{
		ID: "msg_1", ReceivedAt: time.Now(), Body: body(eventType, data),
	})
	require.Equal(t, res.Err, err)
	return res
}
