package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	clerksdk "github.com/clerk/clerk-sdk-go/v2"
	"github.com/stretchr/testify/require"
	svix "github.com/svix/svix-webhooks/go"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

// BenchmarkHandler is the work on one user.created of 4 KB without the network,
// beside that of a handler as one writes it by hand. The bridge logs, to nowhere.
// With a function of the user's own for this event, which is handed the whole user
// and the body, neither's memory is used again.
//
//	go test -run '^$' -bench . -benchmem
func BenchmarkHandler(b *testing.B) {
	deliveries := sampleUsers(b)
	b.Run("bridge", func(b *testing.B) { benchmark(b, benchHandler(b, bridge.Config{}), deliveries) })
	b.Run("mapped", func(b *testing.B) {
		nothing := func(context.Context, *clerk.Event[clerk.User], *actions.Client) error { return nil }
		also := bridge.Also(clerk.UserCreated, nothing)
		benchmark(b, benchHandler(b, bridge.Config{Mappings: bridge.Mappings{also}}), deliveries)
	})
	b.Run("handwritten", func(b *testing.B) {
		webhook, err := svix.NewWebhook(secretA)
		require.NoError(b, err)
		benchmark(b, handwritten{webhook, prompt{}}, deliveries)
	})
}

// BenchmarkUnmapped is an event that nothing is mapped to: it is verified, its
// envelope is read.
func BenchmarkUnmapped(b *testing.B) {
	benchmark(b, benchHandler(b, bridge.Config{NoDefaults: true}), sampleUsers(b))
}

// BenchmarkForged is what a request of the largest size costs that anybody can
// send: nothing tells it from a genuine one before its last byte is hashed.
func BenchmarkForged(b *testing.B) {
	body := bytes.Repeat([]byte{'a'}, 1<<20)
	forged := func(b *testing.B, length int64) {
		b.Helper()
		r := request(b, "msg_1", []byte("another body"))
		r.ContentLength = length
		h := benchHandler(b, bridge.Config{})
		b.ReportAllocs()
		for b.Loop() {
			serve(b, h, r, body, http.StatusUnauthorized)
		}
	}
	b.Run("length", func(b *testing.B) { forged(b, int64(len(body))) })
	b.Run("chunked", func(b *testing.B) { forged(b, -1) })
}

func benchHandler(b *testing.B, cfg bridge.Config) http.Handler {
	b.Helper()
	cfg.Knock, cfg.Ledger = prompt{}, bridge.NewMemoryLedger(ring/2, ring/2)
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // the line is to be written
	return newHandler(b, cfg)
}

func sampleUser(b *testing.B) []byte {
	b.Helper()
	body, err := os.ReadFile("clerk/testdata/user.created.json")
	require.NoError(b, err)
	return body
}

// ring is how many deliveries a benchmark goes round. The ledger forgets half of
// them before they come again.
const ring = 4096

// sampleUsers are deliveries about as many users.
func sampleUsers(b *testing.B) []bridge.Delivery {
	b.Helper()
	sample := sampleUser(b)
	deliveries := make([]bridge.Delivery, ring)
	for i := range deliveries {
		body := bytes.Replace(sample, []byte("user_2sample0"), fmt.Appendf(nil, "user_2%07d", i), 1)
		deliveries[i] = bridge.Delivery{ID: fmt.Sprintf("msg_%027d", i), Body: body}
	}
	return deliveries
}

func benchmark(b *testing.B, h http.Handler, deliveries []bridge.Delivery) {
	b.Helper()
	requests := make([]*http.Request, len(deliveries))
	for i, d := range deliveries {
		requests[i] = request(b, d.ID, d.Body)
	}
	b.SetBytes(int64(len(deliveries[0].Body)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		serve(b, h, requests[i%ring], deliveries[i%ring].Body, http.StatusOK)
	}
}

// serve serves one request with as little of its own around it as can be.
func serve(b *testing.B, h http.Handler, r *http.Request, body []byte, status int) {
	b.Helper()
	w := response{header: make(http.Header), status: http.StatusOK}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h.ServeHTTP(&w, r)
	if w.status != status {
		b.Fatalf("answered %d", w.status)
	}
}

// response is a ResponseWriter that keeps the status only.
type response struct {
	header http.Header
	status int
}

func (w *response) Header() http.Header             { return w.header }
func (w *response) WriteHeader(status int)          { w.status = status }
func (w *response) Write(p []byte) (int, error)     { return len(p), nil }
func (w *response) SetReadDeadline(time.Time) error { return nil }

// prompt is a Knock that answers at once.
type prompt struct{}

func (prompt) Do(context.Context, *actions.Request) (*actions.Response, error) {
	return &actions.Response{Status: http.StatusOK}, nil
}

// handwritten does by hand what the bridge does with a new user, and no more: it
// neither limits nor logs, and null members are dropped.
type handwritten struct {
	webhook *svix.Webhook
	knock   actions.Transport
}

func (h handwritten) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "read", http.StatusBadRequest)
		return
	}
	if err := h.webhook.Verify(body, r.Header); err != nil {
		http.Error(w, "signature", http.StatusUnauthorized)
		return
	}
	var e struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		http.Error(w, "json", http.StatusBadRequest)
		return
	}
	if e.Type == "user.created" {
		if err := h.identify(r.Context(), e.Data); err != nil {
			http.Error(w, "knock", http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}

func (h handwritten) identify(ctx context.Context, data json.RawMessage) error {
	var u clerksdk.User
	if err := json.Unmarshal(data, &u); err != nil {
		return err
	}
	user := map[string]any{
		"avatar": u.ImageURL, "locale": u.Locale, "external_id": u.ExternalID, "public_metadata": u.PublicMetadata,
	}
	names := make([]string, 0, 2)
	for _, name := range []*string{u.FirstName, u.LastName} {
		if name != nil {
			names = append(names, *name)
		}
	}
	user["name"] = strings.Join(names, " ")
	for _, e := range u.EmailAddresses {
		if u.PrimaryEmailAddressID != nil && e.ID == *u.PrimaryEmailAddressID {
			user["email"] = e.EmailAddress
		}
	}
	for _, p := range u.PhoneNumbers {
		if u.PrimaryPhoneNumberID != nil && p.ID == *u.PrimaryPhoneNumberID {
			user["phone_number"] = p.PhoneNumber
		}
	}
	body, err := json.Marshal(user)
	if err != nil {
		return err
	}
	_, err = h.knock.Do(ctx, &actions.Request{Method: http.MethodPut, Path: "/v1/users/" + u.ID, Body: body})
	return err
}
