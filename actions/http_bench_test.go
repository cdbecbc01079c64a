package actions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
)

const benchAnswer = `{"__typename":"User","id":"user_1","name":"Ada Lovelace","email":"ada@example.com",` +
	`"updated_at":"2026-11-21T07:00:00Z","created_at":null,"phone_number":null,"avatar":null,"timezone":null}`

// benchServer stands for Knock: it reads the body and answers at once.
func benchServer(b *testing.B) string {
	b.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, benchAnswer)
	}))
	b.Cleanup(s.Close)
	return s.URL
}

var benchBody = json.RawMessage(`{"avatar":"https://img.example.com/1","created_at":"2026-11-21T07:00:00.000Z",` +
	`"email":"ada@example.com","name":"Ada Lovelace","phone_number":"+46701740605","public_metadata":{"plan":"pro"}}`)

// BenchmarkHTTP is one call over a kept connection, server included.
func BenchmarkHTTP(b *testing.B) {
	knock := &actions.HTTP{APIKey: "sk_test", BaseURL: benchServer(b)}
	defer knock.CloseIdleConnections()
	r := &actions.Request{Method: http.MethodPut, Path: "/v1/users/user_1", Body: benchBody}
	b.ReportAllocs()
	for b.Loop() {
		res, err := knock.Do(b.Context(), r)
		require.NoError(b, err)
		require.Equal(b, http.StatusOK, res.Status)
	}
}

// BenchmarkHTTPByHand is the same written out with net/http alone, for
// comparison: a timeout, a shared header, the answer read to its end.
func BenchmarkHTTPByHand(b *testing.B) {
	url := benchServer(b) + "/v1/users/user_1"
	transport := &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	header := http.Header{
		"Authorization": {"Bearer sk_test"}, "Content-Type": {"application/json"},
		"Accept": {"application/json"}, "User-Agent": {"by-hand"},
	}
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(benchBody))
		require.NoError(b, err)
		req.Header = header
		res, err := client.Do(req)
		require.NoError(b, err)
		_, err = io.ReadAll(res.Body)
		require.NoError(b, err)
		_ = res.Body.Close()
		cancel()
		require.Equal(b, http.StatusOK, res.StatusCode)
	}
}

// answering is a Transport that answers at once.
type answering struct{ res *actions.Response }

func (a answering) Do(context.Context, *actions.Request) (*actions.Response, error) {
	return a.res, nil
}

// BenchmarkIdentifyUser is what a call costs without its transport: outside of
// deliveries, and as the one call of a delivery.
func BenchmarkIdentifyUser(b *testing.B) {
	client := actions.NewClient(answering{&actions.Response{Status: http.StatusOK}})
	metadata := json.RawMessage(`{"plan":"pro","seats":12,"features":["a","b"],"owner":"Ada Lovelace","notes":"some text for size"}`)
	created := time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
	identify := func(c *actions.Client) error {
		return c.IdentifyUser(b.Context(), actions.IdentifyUser{
			ID: "user_2aBcDeFgHiJkLmNoPqRsTuVwXyZ", Name: "Ada Lovelace", Email: "ada@example.com",
			Avatar: "https://img.clerk.com/eyJ0eXBlIjoiZGVmYXVsdCJ9", CreatedAt: created,
			Properties: map[string]any{
				"phone_number": nil, "locale": nil, "timezone": nil, "external_id": nil, "public_metadata": metadata,
			},
		})
	}
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := identify(client); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("delivery", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := identify(client.ForDelivery(actions.Delivery{ID: "msg_1"})); err != nil {
				b.Fatal(err)
			}
		}
	})
}
