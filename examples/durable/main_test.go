package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/history"
)

// childVariable makes the test's binary the program itself.
const childVariable = "BRIDGE_TEST_DURABLE"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestKilled fires a history at copies of the program, doubled and in any order,
// and kills them at any moment (SIGKILL). In the end Knock holds what it holds
// after the ordered history, and every workflow has run as often.
func TestKilled(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		killed(t, 1, 1, "-db", filepath.Join(t.TempDir(), "bridge.db"))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		killed(t, 2, 3, newDatabase(t))
	})
}

func killed(t *testing.T, seed uint64, copies int, args ...string) {
	t.Helper()
	const kills, takeover = 5, 2 * time.Minute // River looks for what was left behind every 30 seconds
	deliveries := history.New(seed, 60, 6, 900)
	want := history.Ordered(t, mappings(), deliveries)

	knock := bridgetest.NewKnock(t)
	fleet := newFleet(t, knock, copies, args...)
	r := rand.New(rand.NewPCG(seed, 3))
	queue := slices.Concat(deliveries, deliveries)
	r.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })

	fired := make(chan struct{})
	go func() {
		defer close(fired)
		fleet.fire(t, queue)
	}()
	for range kills {
		time.Sleep(time.Duration(300+r.IntN(900)) * time.Millisecond) // what happens meanwhile is up to chance
		fleet.kill(t, r.IntN(copies))
	}
	<-fired
	assert.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, history.Told(knock)) }, takeover, 100*time.Millisecond)
	fleet.stop(t)
	assert.Equal(t, want, history.Told(knock))
	// Calls of state that were repeated, beside those of one process that is not killed.
	t.Logf("%d deliveries, twice each; %d calls to Knock", len(deliveries), len(knock.Calls()))
	assert.Less(t, len(knock.Calls()), 2*len(deliveries))
}

// newDatabase returns the environment of a copy with a database of the test's.
func newDatabase(t *testing.T) string {
	t.Helper()
	server := os.Getenv("BRIDGE_TEST_POSTGRES")
	if server == "" {
		t.Skip("BRIDGE_TEST_POSTGRES is not set: no PostgreSQL to test against (internal/sqltest/postgres.sh starts one)")
	}
	name := fmt.Sprintf("durable_%d", time.Now().UnixNano())
	exec := func(statement string) {
		conn, err := pgx.Connect(context.WithoutCancel(t.Context()), server)
		require.NoError(t, err)
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		_, err = conn.Exec(context.WithoutCancel(t.Context()), statement)
		require.NoError(t, err)
	}
	exec("create database " + name)
	t.Cleanup(func() { exec("drop database " + name + " with (force)") })
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = name
	return "DATABASE_URL=" + u.String()
}

// fleet is copies of the program.
type fleet struct {
	args, env []string

	mu     sync.Mutex
	copies []*program
}

// newFleet starts them. Arguments of the form NAME=value are for the environment.
func newFleet(t *testing.T, knock *bridgetest.Knock, copies int, args ...string) *fleet {
	t.Helper()
	f := &fleet{copies: make([]*program, copies), env: append(os.Environ(), childVariable+"=1",
		"CLERK_WEBHOOK_SIGNING_SECRET="+bridgetest.Secret, "KNOCK_API_KEY=sk_test", "KNOCK_BASE_URL="+knock.URL)}
	for _, a := range args {
		if name, _, ok := strings.Cut(a, "="); ok && !strings.HasPrefix(name, "-") {
			f.env = append(f.env, a)
		} else {
			f.args = append(f.args, a)
		}
	}
	var starting sync.WaitGroup // all at once, on an empty database
	for i := range copies {
		starting.Go(func() { f.copies[i] = f.start(t) })
	}
	starting.Wait()
	t.Cleanup(func() {
		for _, p := range f.copies {
			_ = p.cmd.Process.Kill()
		}
	})
	return f
}

// program is one copy.
type program struct {
	cmd    *exec.Cmd
	url    string
	stderr *bytes.Buffer
}

func (f *fleet) start(t *testing.T) *program {
	t.Helper()
	p := &program{stderr: &bytes.Buffer{}}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], append([]string{"-addr", "127.0.0.1:0"}, f.args...)...)
	p.cmd.Env, p.cmd.Stderr = f.env, p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if assert.NoError(t, err, p.stderr) {
		p.url = strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	}
	return p
}

// kill kills a copy and starts another one in its place.
func (f *fleet) kill(t *testing.T, i int) {
	t.Helper()
	f.mu.Lock()
	p := f.copies[i]
	f.mu.Unlock()
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait() // says that it was killed
	next := f.start(t)
	f.mu.Lock()
	f.copies[i] = next
	f.mu.Unlock()
}

// stop ends all copies as an operator would.
func (f *fleet) stop(t *testing.T) {
	t.Helper()
	for _, p := range f.copies {
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, p := range f.copies {
		require.NoError(t, p.cmd.Wait(), p.stderr)
	}
}

// fire delivers, and again what is not acknowledged.
func (f *fleet) fire(t *testing.T, queue []bridge.Delivery) {
	t.Helper()
	pending := make(chan bridge.Delivery, len(queue))
	for _, d := range queue {
		pending <- d
	}
	var acknowledged sync.WaitGroup
	acknowledged.Add(len(queue))
	for worker := range 8 {
		go func() {
			for d := range pending {
				if f.deliver(t, worker, d) {
					acknowledged.Done()
					continue
				}
				time.Sleep(10 * time.Millisecond) // the copy is down
				pending <- d
			}
		}()
	}
	acknowledged.Wait()
	close(pending)
}

func (f *fleet) deliver(t *testing.T, worker int, d bridge.Delivery) bool {
	t.Helper()
	f.mu.Lock()
	target := f.copies[worker%len(f.copies)].url
	f.mu.Unlock()
	r := bridgetest.Attempt(t, d)
	var err error
	if r.URL, err = url.Parse(target); !assert.NoError(t, err) {
		return true
	}
	r.Host, r.RequestURI = "", ""
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode < http.StatusMultipleChoices
}

// TestOneOfMany delivers one event a thousand times at once, to four copies on one
// database: one does the work.
func TestOneOfMany(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, *bridgetest.Knock) *fleet{
		"SQLite": func(t *testing.T, knock *bridgetest.Knock) *fleet {
			t.Helper()
			return newFleet(t, knock, 1, "-db", filepath.Join(t.TempDir(), "bridge.db"))
		},
		"PostgreSQL": func(t *testing.T, knock *bridgetest.Knock) *fleet {
			t.Helper()
			return newFleet(t, knock, 4, newDatabase(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := bridgetest.NewKnock(t)
			f := start(t, knock)
			d := history.Event("msg_1", "user.created", 1, `{"id":"user_1","first_name":"Ada"}`)
			f.fire(t, slices.Repeat([]bridge.Delivery{d}, 1000))
			assert.Eventually(t, func() bool { return len(knock.Runs()) > 0 }, time.Minute, 10*time.Millisecond)
			f.stop(t)
			assert.Len(t, knock.Calls(), 2, "identify and welcome")
		})
	}
}

// TestServerRestarts: PostgreSQL goes away under load, and comes back.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server, err := filepath.Abs("../../internal/sqltest/postgres.sh")
	require.NoError(t, err)
	dir := t.TempDir()
	control := func(verb string) string {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), server, verb, dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	if os.Getenv("BRIDGE_TEST_POSTGRES") == "" {
		t.Skip("BRIDGE_TEST_POSTGRES is not set: PostgreSQL may not be here")
	}
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // the server runs as somebody else
	address := control("start")
	t.Cleanup(func() { control("stop") })

	knock := bridgetest.NewKnock(t)
	f := newFleet(t, knock, 2, "DATABASE_URL="+address)
	deliveries := history.New(5, 40, 5, 400)
	want := history.Ordered(t, mappings(), deliveries)
	fired := make(chan struct{})
	go func() {
		defer close(fired)
		f.fire(t, slices.Concat(deliveries, deliveries))
	}()
	assert.Eventually(t, func() bool { return len(knock.Calls()) > 20 }, time.Minute, time.Millisecond)
	control("restart")
	<-fired
	assert.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, history.Told(knock)) }, 2*time.Minute, 100*time.Millisecond)
	f.stop(t)
	assert.Equal(t, want, history.Told(knock))
}

// TestFiveThousand is what is to be seen of many deliveries and five kills. It takes
// a minute and is skipped unless BRIDGE_TEST_LONG is set, as it is in CI.
func TestFiveThousand(t *testing.T) {
	t.Parallel()
	if os.Getenv("BRIDGE_TEST_LONG") == "" {
		t.Skip("BRIDGE_TEST_LONG is not set")
	}
	for name, args := range map[string]string{"SQLite": "-db=" + filepath.Join(t.TempDir(), "bridge.db"), "PostgreSQL": newDatabase(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const users, kills = 5000, 5
			knock := bridgetest.NewKnock(t)
			f := newFleet(t, knock, 1, args)
			queue := make([]bridge.Delivery, users)
			for i := range queue {
				queue[i] = history.Event(fmt.Sprint("msg_", i), "user.created", i, fmt.Sprintf(`{"id":"user_%d","first_name":"A"}`, i))
			}
			started := time.Now()
			f.fire(t, queue)
			t.Logf("stored after %v", time.Since(started))
			r := rand.New(rand.NewPCG(1, 7))
			for range kills {
				time.Sleep(time.Duration(500+r.IntN(2000)) * time.Millisecond)
				f.kill(t, 0)
			}
			assert.Eventually(t, func() bool { return len(knock.Runs()) == users }, 5*time.Minute, 100*time.Millisecond)
			t.Logf("done after %v", time.Since(started))
			f.stop(t)
			singles, triggers, bulk, items := 0, 0, 0, 0
			for _, c := range knock.Calls() {
				switch {
				case strings.HasSuffix(c.Path, "/trigger"):
					triggers++
				case strings.Contains(c.Path, "/bulk"):
					bulk++
				default:
					singles++
				}
				if strings.HasSuffix(c.Path, "/bulk/identify") {
					items += strings.Count(string(c.Body), `"id":"user_`)
				}
			}
			t.Logf("users %d, runs %d; calls: %d triggers, %d single, %d for bulk with %d users: %d states repeated",
				len(knock.Users()), len(knock.Runs()), triggers, singles, bulk, items, singles+items-users)
			assert.Less(t, singles+items-users, kills*256, "no more than were at work when it was killed")
			assert.Len(t, knock.Users(), users)
			assert.Len(t, knock.Runs(), users)
		})
	}
}

// TestWrongInvocation says what is missing.
func TestWrongInvocation(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":          "durable: set CLERK_WEBHOOK_SIGNING_SECRET and KNOCK_API_KEY; see -help",
		"more":      `durable: unexpected argument "more"; see -help`,
		"-workers=": `invalid value "" for flag -workers`,
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(args), &bytes.Buffer{}, &stderr, func(string) string { return "" })
		assert.Equal(t, 2, code)
		assert.Contains(t, stderr.String(), want)
	}
}

// TestStops: what is under way is done, and the rest is still there.
func TestStops(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]func(*testing.T) []string{
		"SQLite": func(t *testing.T) []string {
			t.Helper()
			return []string{"-db", filepath.Join(t.TempDir(), "bridge.db")}
		},
		"PostgreSQL": func(t *testing.T) []string { t.Helper(); return []string{newDatabase(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := bridgetest.NewKnock(t)
			knock.Configure(func(o *bridgetest.KnockOptions) { o.Latency = 20 * time.Millisecond })
			f := newFleet(t, knock, 1, append(args(t), "-workers", "8")...)
			const users = 40
			for i := range users {
				d := history.Event(fmt.Sprint("msg_", i), "user.created", i, fmt.Sprintf(`{"id":"user_%d","first_name":"A"}`, i))
				require.True(t, f.deliver(t, 0, d))
			}
			for _, stop := range []int{10, 30} {
				assert.Eventually(t, func() bool { return len(knock.Calls()) >= stop }, time.Minute, time.Millisecond)
				f.stop(t)
				f.copies[0] = f.start(t)
			}
			assert.Eventually(t, func() bool { return len(knock.Runs()) == users }, time.Minute, 10*time.Millisecond)
			f.stop(t)
			assert.Len(t, knock.Users(), users)
			identified := 0
			for _, c := range knock.Calls() {
				if c.Method == http.MethodPut {
					identified++
				}
			}
			assert.Equal(t, users, identified, "nothing is repeated")
			assert.Len(t, knock.Runs(), users)
		})
	}
}
