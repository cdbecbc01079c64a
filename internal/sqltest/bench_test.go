package sqltest_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/sqlledger"
)

// ledgersOf are the kinds of ledgers to compare, none included.
func ledgersOf(b *testing.B) map[string]func(b *testing.B) bridge.Ledger {
	b.Helper()
	connected := func(open func(testing.TB) database) func(b *testing.B) bridge.Ledger {
		return func(b *testing.B) bridge.Ledger {
			b.Helper()
			d := open(b)
			db := d.open(b)
			db.SetMaxOpenConns(16)
			db.SetMaxIdleConns(16)
			l, err := sqlledger.Open(b.Context(), db, d.cfg)
			require.NoError(b, err)
			return l
		}
	}
	return map[string]func(b *testing.B) bridge.Ledger{
		"none":       func(*testing.B) bridge.Ledger { return noLedger{} },
		"memory":     func(*testing.B) bridge.Ledger { return bridge.NewMemoryLedger(0, 0) },
		"SQLite":     connected(newSQLite),
		"PostgreSQL": connected(newPostgres),
	}
}

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

// parallel measures do with that many at once, and reports the rate and the
// slowest of a hundred.
func parallel(b *testing.B, workers int, do func(worker, i int)) {
	b.Helper()
	var next atomic.Int64
	took := make([]time.Duration, b.N)
	b.ResetTimer()
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N || b.Failed() {
					return
				}
				started := time.Now()
				do(worker, i)
				took[i] = time.Since(started)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkClaimSave is what a delivery with one step costs in the ledger.
func BenchmarkClaimSave(b *testing.B) {
	for name, open := range ledgersOf(b) {
		for _, workers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", name, workers), func(b *testing.B) {
				claimSave(b, open(b), workers)
			})
		}
	}
}

var state = []byte(`{"f":1,"m":{"v":1760000000000,"t":1760000000000,"d":"msg_000000000000000000000000000"},"sent":"0123456789abcdefghijkl"}`)

func claimSave(b *testing.B, l bridge.Ledger, workers int) {
	b.Helper()
	b.ReportAllocs()
	run := time.Now().UnixNano() // ids are new each time
	parallel(b, workers, func(worker, i int) {
		c := claim(fmt.Sprintf("msg_%d_%d", run, i), fmt.Sprintf("user/%d_%d", worker, i%1000))
		claimed, err := l.Claim(b.Context(), c)
		if err != nil || claimed.Status != bridge.ClaimGranted {
			b.Errorf("%+v, %v", claimed, err)
			return
		}
		p := progress(c, claimed, bridge.OutcomeDone)
		p.Entities = []bridge.Entity{{Key: c.Entities[0], State: state}}
		if err := l.Save(b.Context(), p); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkDeliveries is a whole delivery, with a Knock that answers in 20 ms: 8
// at once, which is some hundred a second, and as many as there can be.
func BenchmarkDeliveries(b *testing.B) {
	for name, open := range ledgersOf(b) {
		for _, workers := range []int{8, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, workers), func(b *testing.B) {
				h := handler(b, bridge.Config{Ledger: open(b), Knock: knock(20 * time.Millisecond)})
				run := time.Now().UnixNano()
				parallel(b, workers, func(worker, i int) {
					if _, err := h.Process(b.Context(), userUpdated(fmt.Sprintf("msg_%d_%d", run, i), worker*1000+i%1000, i)); err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

// BenchmarkGrowth is BenchmarkClaimSave beside many stored ids, deliveries and
// entities, and the plans of the statements (with -v). The numbers of rows are taken from
// BRIDGE_BENCH_ROWS, separated by commas; it is skipped when there are none. Ten
// million take some minutes and gigabytes.
//
//	BRIDGE_BENCH_ROWS=10000,1000000 go test -run '^$' -bench Growth -benchtime 2000x -v
func BenchmarkGrowth(b *testing.B) {
	sizes := os.Getenv("BRIDGE_BENCH_ROWS")
	if sizes == "" {
		b.Skip("BRIDGE_BENCH_ROWS is not set")
	}
	for name, open := range databases {
		b.Run(name, func(b *testing.B) {
			for size := range strings.SplitSeq(sizes, ",") {
				n, err := strconv.Atoi(size)
				require.NoError(b, err)
				d := open(b)
				l := d.ledger(b)
				d.fillGrown(b, n)
				d.logPlans(b, n)
				b.Run(size, func(b *testing.B) { claimSave(b, l, 1) })
			}
		})
	}
}

// logPlans shows what a delivery leads to.
func (d database) logPlans(b *testing.B, n int) {
	b.Helper()
	for _, plan := range d.plans(b, func(l *sqlledger.Ledger) {
		for i := range 12 { // the last has the plans that stay
			use(b, l, fmt.Sprintf("plan_%d_%d", n, i))
		}
	}) {
		for line := range strings.Lines(plan) {
			if strings.Contains(line, "SCAN ") || strings.Contains(line, "SEARCH ") || strings.Contains(line, " Scan ") {
				b.Log(strings.TrimSpace(line))
			}
		}
	}
}

// fillGrown is a ledger that has known n deliveries, a tenth of them of the last
// days.
func (d database) fillGrown(b *testing.B, n int) {
	b.Helper()
	started := time.Now()
	d.fill(b, "ids", "id", n, 30)
	d.fill(b, "finished", "msg", n/10, 1)
	d.fill(b, "entities", "user/", n/10, 0)
	size := "select page_count * page_size / 1048576 from pragma_page_count, pragma_page_size"
	if d.Dialect == sqlledger.SQLite {
		d.exec(b, "analyze")
	} else {
		for _, table := range []string{"ids", "deliveries", "entities"} {
			d.exec(b, "vacuum analyze {p}"+table)
		}
		size = fmt.Sprintf("select sum(pg_total_relation_size(oid)) / 1048576 from pg_class where relkind = 'r' and relnamespace = '%s'::regnamespace", d.cfg.Schema)
	}
	b.Logf("%d ids, %d deliveries and entities: %d MiB, filled in %v", n, n/10, d.count(b, "select cast(("+size+") as integer)"), time.Since(started).Round(time.Second))
}
