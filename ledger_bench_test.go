package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/clerkknock/bridge"
)

// noLedger grants every claim and remembers nothing.
type noLedger struct{}

func (noLedger) Claim(_ context.Context, c bridge.Claim) (bridge.Claimed, error) {
	entities := make([]bridge.Entity, len(c.Entities))
	for i, key := range c.Entities {
		entities[i].Key = key
	}
	return bridge.Claimed{Status: bridge.ClaimGranted, Attempt: 1, Entities: entities}, nil
}
func (noLedger) Save(context.Context, bridge.Progress) error      { return nil }
func (noLedger) Gone(context.Context, []string) ([]string, error) { return nil, nil }

// BenchmarkLedger is what remembering a delivery costs in memory: new deliveries
// of known users.
func BenchmarkLedger(b *testing.B) {
	for name, open := range map[string]func() bridge.Ledger{
		"none": func() bridge.Ledger { return noLedger{} }, "memory": func() bridge.Ledger { return bridge.NewMemoryLedger(0, 0) },
	} {
		b.Run(name, func(b *testing.B) {
			h := benchProcessor(b, open())
			body := sampleUser(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				deliverNumber(b, h, body, i, i%1000)
			}
		})
	}
}

// BenchmarkLedgerHeap shows what is left in memory by a million deliveries about
// as many users.
func BenchmarkLedgerHeap(b *testing.B) {
	for b.Loop() {
		ledger := bridge.NewMemoryLedger(0, 0)
		h := benchProcessor(b, ledger)
		body := sampleUser(b)
		before := heap()
		for i := range 1_000_000 {
			deliverNumber(b, h, body, i, i)
		}
		b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-retained")
		runtime.KeepAlive(ledger)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func benchProcessor(b *testing.B, ledger bridge.Ledger) *bridge.Handler {
	b.Helper()
	return newHandler(b, bridge.Config{Knock: prompt{}, Ledger: ledger})
}

func deliverNumber(b *testing.B, h *bridge.Handler, body []byte, delivery, user int) {
	b.Helper()
	body = bytes.Replace(body, []byte("user_"), fmt.Appendf(nil, "user_%d_", user), 1)
	body = bytes.Replace(body, []byte(`"first_name":"`), fmt.Appendf(nil, `"first_name":"%d`, delivery), 1)
	res, err := h.Process(b.Context(), bridge.Delivery{ID: fmt.Sprintf("msg_%027d", delivery), Body: body})
	if err != nil {
		b.Fatal(res.Outcome, err)
	}
}

// BenchmarkSignIns shows how many calls a stream of events takes in which every
// user signs up, changes the profile twice, and signs in fifty times, for each of
// which Clerk sends a user.updated with another last_sign_in_at.
func BenchmarkSignIns(b *testing.B) {
	const users, signIns = 100, 50
	var deliveries, calls int
	for b.Loop() {
		knock := &transport{}
		h := newHandler(b, bridge.Config{Knock: knock})
		deliveries = 0
		for at := range signIns {
			for user := range users {
				name := at / (signIns/3 + 1) // the profile changes twice
				data := fmt.Sprintf(`{"id":"user_%d","first_name":"N%d","last_sign_in_at":%d,"updated_at":%d}`,
					user, name, 1760000000000+int64(at)*1000, 1760000000000+int64(at)*1000)
				res, err := h.Process(b.Context(), event(fmt.Sprintf("msg_%d_%d", at, user), "user.updated", at, data))
				if err != nil {
					b.Fatal(res.Outcome, err)
				}
				deliveries++
			}
		}
		calls = len(knock.calls())
	}
	b.ReportMetric(float64(deliveries), "deliveries")
	b.ReportMetric(float64(calls), "calls")
}
