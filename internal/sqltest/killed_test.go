package sqltest_test

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/history"
	"github.com/clerkknock/bridge/sqlledger"
)

// The variables that make TestWorker a process of TestKilled.
const (
	workerDriver = "BRIDGE_TEST_WORKER_DRIVER"
	workerSource = "BRIDGE_TEST_WORKER_SOURCE"
	workerSchema = "BRIDGE_TEST_WORKER_SCHEMA"
	workerKnock  = "BRIDGE_TEST_WORKER_KNOCK"
)

// TestKilled works a history off in several processes that share a database,
// doubled and in any order, and kills them at any moment (SIGKILL). What was not
// acknowledged is delivered again. In the end Knock holds what it holds after the
// ordered history, and every workflow has run as often.
func TestKilled(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		source := "file:" + t.TempDir() + "/bridge.db?_pragma=busy_timeout(1000)&_pragma=journal_mode(WAL)&_txlock=immediate"
		killed(t, 1, workerDriver+"=sqlite", workerSource+"="+source)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		killed(t, 2, workerDriver+"=pgx", workerSource+"="+postgresURL(t), workerSchema+"="+newPostgres(t).cfg.Schema)
	})
}

func killed(t *testing.T, seed uint64, env ...string) {
	t.Helper()
	const processes, deadlyRounds = 3, 4
	deliveries := history.New(seed, 60, 6, 900)
	want := history.Ordered(t, history.Config().Mappings, deliveries)

	r := rand.New(rand.NewPCG(seed, 3))
	knock := bridgetest.NewKnock(t)
	env = append(os.Environ(), append(env, workerKnock+"="+knock.URL)...)
	pending := make(map[string]bridge.Delivery, len(deliveries))
	for _, d := range deliveries {
		pending[d.ID] = d
	}
	for round := 0; len(pending) > 0; round++ {
		require.Less(t, round, 60, "%d deliveries are never acknowledged", len(pending))
		queue := slices.Concat(slices.Collect(maps.Values(pending)), slices.Collect(maps.Values(pending)))
		r.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
		var wg sync.WaitGroup
		var mu sync.Mutex
		for p := range processes {
			part := queue[p*len(queue)/processes : (p+1)*len(queue)/processes]
			after := time.Duration(0)
			if round < deadlyRounds {
				after = time.Duration(100+r.IntN(600)) * time.Millisecond
			}
			wg.Go(func() {
				done := workOff(t, env, part, after)
				mu.Lock()
				defer mu.Unlock()
				for _, id := range done {
					delete(pending, id)
				}
			})
		}
		wg.Wait()
		t.Logf("round %d: %d left", round, len(pending))
	}
	assert.Equal(t, want, history.Told(knock))
}

// workOff has deliveries worked off by a process of its own, kills it after a
// while unless that is zero, and returns what it acknowledged.
func workOff(t *testing.T, env []string, deliveries []bridge.Delivery, after time.Duration) (done []string) {
	t.Helper()
	var stdin strings.Builder
	for _, d := range deliveries {
		line, err := json.Marshal(d)
		if err != nil {
			t.Error(err)
			return nil
		}
		stdin.Write(append(line, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWorker$", "-test.v")
	cmd.Env, cmd.Stdin, cmd.Stderr = env, strings.NewReader(stdin.String()), os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return nil
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return nil
	}
	if after > 0 {
		defer time.AfterFunc(after, func() { _ = cmd.Process.Kill() }).Stop()
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok && len(id) == len("msg_000000") {
			done = append(done, id)
		}
	}
	if err := cmd.Wait(); err != nil && after == 0 {
		t.Errorf("a worker that nobody killed: %v", err)
	}
	return done
}

// TestWorker is a process of TestKilled. By itself it does nothing.
func TestWorker(t *testing.T) {
	t.Parallel()
	driver := os.Getenv(workerDriver)
	if driver == "" {
		return
	}
	db, err := sql.Open(driver, os.Getenv(workerSource))
	require.NoError(t, err)
	defer db.Close()
	ledger, err := sqlledger.Open(t.Context(), db, sqlledger.Config{Schema: os.Getenv(workerSchema)})
	require.NoError(t, err)
	cfg := history.Config()
	cfg.Knock = &actions.HTTP{APIKey: "sk_test", BaseURL: os.Getenv(workerKnock)}
	cfg.Ledger, cfg.Timeout = ledger, 2*time.Second
	h, err := bridge.New(cfg)
	require.NoError(t, err)

	deliveries := make(chan bridge.Delivery)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for d := range deliveries {
				if res, _ := h.Process(t.Context(), d); res.Outcome.OK() {
					fmt.Printf("acknowledged %s\n", d.ID)
				}
			}
		})
	}
	for in := json.NewDecoder(os.Stdin); in.More(); {
		var d bridge.Delivery
		require.NoError(t, in.Decode(&d))
		deliveries <- d
	}
	close(deliveries)
	wg.Wait()
}
