package bridgeriver_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/internal/history"
)

// BenchmarkQueue stores as many deliveries of 4 KB as it is told to, over 64
// goroutines, and then works them off with 64 workers of one process and a Knock
// that answers at once. Try -benchtime 5000x.
func BenchmarkQueue(b *testing.B) {
	const parallel = 64
	for name, users := range map[string]int{"EachItsUser": 1 << 30, "TenOfEachUser": 10} {
		b.Run(name, func(b *testing.B) {
			var calls atomic.Int64
			p := newProcess(b, newDatabase(b), answered(func(r *actions.Request) error {
				if r.Method == http.MethodPut {
					calls.Add(1)
				}
				return nil
			}), func(_ *bridge.Config, cfg *river.Config) {
				cfg.Queues = map[string]river.QueueConfig{bridgeriver.QueueName: {MaxWorkers: parallel}}
			})
			filler := strings.Repeat("x", 4000)
			deliveries := make(chan bridge.Delivery)
			started := time.Now()
			var wg sync.WaitGroup
			for range parallel {
				wg.Go(func() {
					for d := range deliveries {
						_, err := p.queue.Enqueue(b.Context(), d)
						assert.NoError(b, err)
					}
				})
			}
			b.ResetTimer()
			for i := range b.N {
				id := i
				if users < b.N {
					id = i % max(1, b.N/users)
				}
				deliveries <- history.Event(fmt.Sprintf("msg_%d", i), "user.updated", i, fmt.Sprintf(
					`{"id":"user_%d","first_name":"%d","updated_at":%d,"image_url":%q}`, id, i, 1760000000000+i*1000, filler))
			}
			close(deliveries)
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "stored/s")

			started = time.Now()
			p.start(b)
			for {
				var left int
				p.scan(b, &left, "select count(*) from river_job where state <> $1", string(rivertype.JobStateCompleted))
				if left == 0 {
					break
				}
				time.Sleep(10 * tick)
			}
			b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "done/s")
			b.ReportMetric(float64(calls.Load())/float64(b.N), "calls/op")
			require.NotZero(b, calls.Load())
		})
	}
}
