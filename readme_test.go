package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

// packages are what the README's fences may use without importing it.
var packages = map[string]string{
	"actions":    "github.com/clerkknock/bridge/actions",
	"backend":    "github.com/clerkknock/bridge/clerk/backend",
	"bridge":     "github.com/clerkknock/bridge",
	"bridgetest": "github.com/clerkknock/bridge/bridgetest",
	"clerk":      "github.com/clerkknock/bridge/clerk",
	"context":    "context",
	"errors":     "errors",
	"eventlog":   "github.com/clerkknock/bridge/eventlog",
	"fmt":        "fmt",
	"http":       "net/http",
	"inbox":      "github.com/clerkknock/bridge/inbox",
	"pace":       "github.com/clerkknock/bridge/pace",
	"httptest":   "net/http/httptest",
	"os":         "os",
	"slog":       "log/slog",
	"sql":        "database/sql",
	"sqlledger":  "github.com/clerkknock/bridge/sqlledger",
	"require":    "github.com/stretchr/testify/require",
	"testing":    "testing",
	"time":       "time",
}

// TestREADMECompiles builds every Go fence: a whole program by itself, the
// others together as one package.
func TestREADMECompiles(t *testing.T) {
	t.Parallel()
	wd, err := os.Getwd()
	require.NoError(t, err)
	official, err := os.ReadFile("knockgo/example_test.go")
	require.NoError(t, err)
	durable, err := os.ReadFile("bridgeriver/example_test.go")
	require.NoError(t, err)

	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	add := func(path, source string) {
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
		overlay.Replace[filepath.Join(wd, "internal/readme", path)] = file
	}
	var text strings.Builder
	for _, name := range []string{"README.md", "docs/ledger.md", "docs/queue.md", "docs/debugging.md"} {
		page, err := os.ReadFile(name)
		require.NoError(t, err)
		text.Write(page)
	}
	fences := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(text.String(), -1)
	require.GreaterOrEqual(t, len(fences), 9)
	for i, fence := range fences {
		code := fence[1]
		switch {
		case strings.Contains(code, "knockgo."):
			// Its module has requirements of its own; it is compiled there.
			assert.Contains(t, string(official), code, "not in knockgo/example_test.go")
		case strings.Contains(code, "bridgeriver."):
			assert.Contains(t, string(durable), code, "not in bridgeriver/example_test.go")
		case strings.HasPrefix(code, "package main\n"):
			add(fmt.Sprintf("main%d/main.go", i), code)
		default:
			var source strings.Builder
			source.WriteString("package readme\n")
			for name, path := range packages {
				if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(code) {
					fmt.Fprintf(&source, "import %q\n", path)
				}
			}
			add(fmt.Sprintf("fence%d.go", i), source.String()+code)
		}
	}
	add("rest.go", `package readme
import "context"
func createContact(context.Context, string) error { return nil }
`)
	raw, err := json.Marshal(overlay)
	require.NoError(t, err)
	file := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", file, "-o", os.DevNull, "./internal/readme/...").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// table returns the rows of the README's table with the given first cell,
// without its head.
func table(t *testing.T, first string) [][]string {
	t.Helper()
	return tableOf(t, readme(t), first)
}

func tableOf(t *testing.T, text, first string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n| "+first+" |")
	require.True(t, ok, "no table %q", first)
	rest, _, _ = strings.Cut(rest, "\n\n")
	var rows [][]string
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") {
			cells := strings.Split(strings.Trim(line, "| \n"), " | ")
			rows = append(rows, cells)
		}
	}
	return rows
}

func TestREADMEDefaults(t *testing.T) {
	t.Parallel()
	var names []string
	for _, row := range table(t, "Event") {
		for _, quoted := range regexp.MustCompile("`[^`]+`").FindAllString(row[0], -1) {
			names = append(names, strings.Trim(quoted, "`"))
		}
	}
	slices.Sort(names)
	assert.Equal(t, newHandler(t, bridge.Config{}).EventNames(), names)
}

func TestREADMEOutcomes(t *testing.T) {
	t.Parallel()
	statuses := map[string]string{}
	for _, row := range table(t, "Outcome") {
		statuses[strings.Trim(row[0], "`")] = row[2]
	}
	outcomes := []bridge.Outcome{
		bridge.OutcomeDone, bridge.OutcomeQueued, bridge.OutcomeIgnored, bridge.OutcomeDuplicate, bridge.OutcomeStale, bridge.OutcomeUnchanged,
		bridge.OutcomeMalformed, bridge.OutcomeUnverified,
		bridge.OutcomeTransient, bridge.OutcomeRejected, bridge.OutcomeMisconfigured, bridge.OutcomePermanent,
	}
	assert.Len(t, statuses, len(outcomes)+1)
	for _, o := range outcomes {
		res := bridge.Result{Outcome: o}
		assert.Equal(t, strconv.Itoa(res.Status()), statuses[string(o)], o)
	}
	assert.Equal(t, fmt.Sprintf("%d, %d", http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge),
		statuses[string(bridge.OutcomeRefused)])
}

// TestDebuggingAttributes compares what docs/debugging.md lists with what is logged.
func TestDebuggingAttributes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	answers := []string{`{"code":"invalid_params"}`, `{"code":"idempotency_key_mismatch"}`}
	knock := &transport{answer: func(ctx context.Context, r *actions.Request) (*actions.Response, error) {
		if !strings.HasSuffix(r.Path, "/trigger") {
			return status(http.StatusOK, "{}")(ctx, r)
		}
		answer := answers[0]
		answers = answers[1:]
		return status(http.StatusBadRequest, answer, "X-Request-Id", "req_1", "Idempotent-Replayed", "true")(ctx, r)
	}}
	h := newHandler(t, bridge.Config{
		Knock:  knock,
		Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
			bridge.On(clerk.SessionCreated, func(ctx, *clerk.Event[clerk.Session], *actions.Client) error { panic("boom") }),
		},
	})
	_, _ = h.Process(t.Context(), bridge.Delivery{ID: "msg_2", Body: body("session.created", `{"id":"sess_1"}`)})
	d := bridge.Delivery{ID: "msg_1", Body: body("user.created", ada)}
	for _, process := range []func(context.Context, bridge.Delivery) (*bridge.Result, error){h.Process, h.Replay, h.DryRun} {
		_, _ = process(t.Context(), d)
	}
	got := map[string][]string{}
	for _, on := range []string{"delivery", "step"} {
		message := map[string]string{"delivery": "clerk webhook", "step": "clerk webhook step"}[on]
		for _, line := range logged(t, &log, message) {
			for name := range line {
				if !slices.Contains([]string{"time", "level", "msg"}, name) && !slices.Contains(got[name], on) {
					got[name] = append(got[name], on)
				}
			}
		}
	}
	page, err := os.ReadFile("docs/debugging.md")
	require.NoError(t, err)
	want := map[string][]string{}
	for _, row := range tableOf(t, string(page), "Attribute") {
		where := []string{row[1]}
		if row[1] == "both" {
			where = []string{"delivery", "step"}
		}
		want[strings.Trim(row[0], "`")] = where
	}
	assert.Equal(t, want, got)
}
