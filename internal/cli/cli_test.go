package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs the command with the secret of bridgetest in its environment.
func run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	env := func(name string) string {
		if name == secretVar {
			return bridgetest.Secret
		}
		return ""
	}
	code = Run(t.Context(), args, strings.NewReader(stdin), &out, &err, env)
	return code, out.String(), err.String()
}

func TestEventTexts(t *testing.T) {
	t.Parallel()
	assert.Equal(t, clerk.EventNames(), slices.Sorted(maps.Keys(eventTexts)), "one line for each event that the library knows")
}

func TestEveryEventCanBeTriggered(t *testing.T) {
	t.Parallel()
	for _, name := range triggerNames() {
		code, stdout, stderr := run(t, "", "trigger", name, "--print", "--json")
		require.Zero(t, code, "%s: %s", name, stderr)
		for line := range strings.Lines(stdout) {
			c, err := parseCaptures("stdout", []byte(line))
			require.NoError(t, err)
			e, err := clerk.Parse(c[0].id, c[0].body)
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now(), e.Timestamp, time.Minute)
			r := diagnose(c[0], bridgetest.Secret, 0, time.Now())
			assert.True(t, r.Verifies, r.Verdict)
		}
	}
}

func TestStoriesHangTogether(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		var last time.Time
		users := make(map[string]bool)
		for i, body := range s.bodies(time.Now()) {
			e, err := clerk.Parse("msg_1", body)
			require.NoError(t, err)
			assert.Equal(t, s.steps[i].event, e.Type)
			assert.True(t, e.Timestamp.After(last), "timestamps rise")
			last = e.Timestamp
			assert.NotContains(t, string(body), "3A11bGju0S48v4cQq2bQsGEKuDy", "the sample's user")
			var data struct {
				ID     string `json:"id"`
				UserID string `json:"user_id"`
				Public struct {
					UserID string `json:"user_id"`
				} `json:"public_user_data"`
			}
			require.NoError(t, json.Unmarshal(e.Data, &data))
			for _, id := range []string{data.ID, data.UserID, data.Public.UserID} {
				if strings.HasPrefix(id, "user_") {
					users[id] = true
				}
			}
		}
		assert.Len(t, users, 1, "all about one user")
	}
}

func TestNewIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := newID("msg_")
		time.Sleep(time.Millisecond)
		second := newID("msg_")
		assert.Regexp(t, `^msg_[0-9A-Za-z]{27}$`, first)
		assert.Less(t, first, second)
	})
}

func TestRenamer(t *testing.T) {
	t.Parallel()
	body, err := decodeBody([]byte(`{"instance_id":"ins_1","data":{"id":"user_1","external_id":"a_b","n":1e2,
		"list":[{"id":"idn_1"}],"primary_id":"idn_1","by":"user_3A11bGju0S48v4cQq2bQsGEKuDy","status":"past_due"}}`))
	require.NoError(t, err)
	renamer{}.rename(body)
	data := body["data"].(map[string]any)
	assert.Equal(t, "ins_1", body["instance_id"])
	assert.Equal(t, "a_b", data["external_id"])
	assert.Equal(t, "past_due", data["status"])
	assert.Equal(t, json.Number("1e2"), data["n"], "numbers keep their digits")
	assert.Regexp(t, `^user_\w{27}$`, data["id"])
	assert.NotEqual(t, "user_3A11bGju0S48v4cQq2bQsGEKuDy", data["by"])
	assert.Regexp(t, `^idn_\w{27}$`, data["primary_id"])
	assert.Equal(t, data["primary_id"], data["list"].([]any)[0].(map[string]any)["id"])
}

func TestIsLoopback(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost.": true, "app.localhost": true, "127.0.0.1": true, "127.1.2.3": true, "::1": true, "::ffff:127.0.0.1": true,
		"localhost.example.com": false, "10.0.0.1": false, "0.0.0.0": false, "example.com": false, "127.0.0.1.example.com": false, "": false, ".": false,
	} {
		assert.Equal(t, want, isLoopback(host), host)
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"user.create":                     "user.created",
		"User.Created":                    "user.created",
		"organization_membership.created": "organizationMembership.created",
		"signup":                          "sign-up",
		"waitlist":                        "waitlistEntry.created",
		"x":                               "",
		"":                                "",
		"something else":                  "",
	} {
		got := suggest(written, triggerNames(), "")
		if want != "" {
			want = "; did you mean " + want + "?"
		}
		assert.Equal(t, want, got, written)
	}
}

func TestFlagsAnywhere(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--a", "1", "x", "y"},
		{"x", "--a", "1", "y"},
		{"x", "y", "-a=1"},
		{"--a=1", "--", "x", "y"},
	} {
		flags := newFlagSet()
		a := flags.Int("a", 0, "")
		rest, err := parse(flags, args)
		require.NoError(t, err)
		assert.Equal(t, []string{"x", "y"}, rest)
		assert.Equal(t, 1, *a)
	}
	flags := newFlagSet()
	rest, err := parse(flags, []string{"--", "--a"})
	require.NoError(t, err)
	assert.Equal(t, []string{"--a"}, rest)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := progress{w: &out, total: 3, start: time.Now()}
		p.show(1)
		assert.Empty(t, out.String(), "not long yet")
		time.Sleep(progressAfter)
		p.show(2)
		p.clear()
		p.clear()
		p.show(3)
		assert.Equal(t, "\r2 of 3\r\x1b[K", out.String())

		out.Reset()
		p.hidden = true
		p.show(2)
		assert.Empty(t, out.String())
	})
}

func TestInterruptedWhileReading(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	stdin, typing := io.Pipe()
	defer typing.Close() // lets the reader go
	var stderr bytes.Buffer
	cancel()
	code := Run(ctx, []string{"replay", "--secret", bridgetest.Secret, "-"}, stdin, io.Discard, &stderr, func(string) string { return "" })
	assert.Equal(t, exitInterrupted, code)
	assert.Equal(t, "bridge replay: interrupted\n", stderr.String())
}

// TestMeanings holds the texts against the outcomes of the library.
func TestMeanings(t *testing.T) {
	t.Parallel()
	for _, o := range []bridge.Outcome{
		bridge.OutcomeDone, bridge.OutcomeIgnored, bridge.OutcomeDuplicate, bridge.OutcomeStale, bridge.OutcomeUnchanged,
		bridge.OutcomeMalformed, bridge.OutcomeUnverified, bridge.OutcomeRefused, bridge.OutcomeTransient,
		bridge.OutcomeRejected, bridge.OutcomeMisconfigured, bridge.OutcomePermanent,
	} {
		got := &answer{Status: http.StatusBadRequest, Outcome: o}
		assert.NotContains(t, meaningOf(got, defaultTo), "The bridge does not answer so", o)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"The host of 127.0.0.1:8080 has no address. Is --to right?": &net.DNSError{IsTimeout: true},
		"No answer within 15s.":         context.DeadlineExceeded,
		"Did the handler panic?":        fmt.Errorf("read: %w", io.ErrUnexpectedEOF),
		"No answer: something happened": errors.New("something happened"),
	} {
		assert.Contains(t, noAnswer(err, defaultTo), want)
	}
}

// TestTerminal: what others have written does not steer the terminal.
func TestTerminal(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"outcome":"\u001b[2Jdone"}`)
	}))
	t.Cleanup(server.Close)
	const event = `{"type":"user\u001b]0;x\u0007.created","data":{}}`
	for _, args := range [][]string{
		{"replay", "--to", server.URL, "-"}, {"verify"},
	} {
		var out, errs bytes.Buffer
		Run(t.Context(), append(args, "--secret", bridgetest.Secret), strings.NewReader(event), &out, &errs, func(string) string { return "" })
		assert.NotEmpty(t, out.String(), errs.String())
		assert.NotContains(t, out.String()+errs.String(), "\x1b")
	}
	var errs bytes.Buffer
	assert.Equal(t, exitUsage, Run(t.Context(), []string{"verify", "--secret", bridgetest.Secret}, strings.NewReader(`{"a\u001b":1}`), io.Discard, &errs, func(string) string { return "" }))
	assert.NotContains(t, errs.String(), "\x1b")
}

func TestHugeFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "huge")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	require.NoError(t, os.Truncate(name, maxFile+1)) // sparse
	var errs bytes.Buffer
	env := func(string) string { return bridgetest.Secret }
	assert.Equal(t, exitUsage, Run(t.Context(), []string{"replay", name}, nil, io.Discard, &errs, env))
	assert.Contains(t, errs.String(), "is larger than 256 MiB")
}
