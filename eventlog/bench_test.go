package eventlog_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/eventlog"
)

// BenchmarkRecord is the work on one user.created of 4 KB without the network, by
// a handler without an event log, with one in memory, with one of a mapping that
// starts a workflow as well, and with one that keeps bodies, too. The bridge logs, to
// nowhere.
//
//	go test -run '^$' -bench '^BenchmarkRecord$' -benchmem ./eventlog
func BenchmarkRecord(b *testing.B) {
	sample, err := os.ReadFile("../clerk/testdata/user.created.json")
	require.NoError(b, err)
	const ring = 4096 // the ledger forgets half of them before they come again
	requests, bodies := make([]*http.Request, ring), make([][]byte, ring)
	for i := range requests {
		bodies[i] = bytes.Replace(sample, []byte("user_2sample0"), fmt.Appendf(nil, "user_2%07d", i), 1)
		requests[i] = bridgetest.Attempt(b, bridge.Delivery{ID: fmt.Sprintf("msg_%027d", i), Body: bodies[i]})
	}
	run := func(name string, onResult func() *eventlog.Log, mappings ...bridge.Mapping) {
		b.Run(name, func(b *testing.B) {
			cfg := bridge.Config{
				SigningSecrets: []string{bridgetest.Secret}, Knock: knock(nil), Ledger: bridge.NewMemoryLedger(ring/2, ring/2), Mappings: mappings,
				Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), //nolint:sloglint // the line is to be written
			}
			if log := onResult(); log != nil {
				cfg.OnResult = log.OnResult
			}
			h, err := bridge.New(cfg)
			require.NoError(b, err)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r := requests[i%ring]
				r.Body = io.NopCloser(bytes.NewReader(bodies[i%ring]))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Body.String())
				}
			}
		})
	}
	run("none", func() *eventlog.Log { return nil })
	run("memory", func() *eventlog.Log { return eventlog.New(eventlog.NewMemory(0), eventlog.Options{}) })
	run("workflow", func() *eventlog.Log { return eventlog.New(eventlog.NewMemory(0), eventlog.Options{}) },
		bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")))
	run("bodies", func() *eventlog.Log { return eventlog.New(eventlog.NewMemory(0), eventlog.Options{Bodies: true}) })
}
