package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/cli"
)

const anyPort = "127.0.0.1:0"

// vars is an environment of its own for each test.
func vars(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestStory(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-once", "-addr", anyPort}, &stdout, &stderr, vars())
	require.Zero(t, code, stderr.String())
	assert.Empty(t, stderr.String())
	for _, want := range []string{
		"organization.created            Lumen Labs is set up           200 done\n" +
			"  → PUT /v1/tenants/org_lumen                                  200\n",
		"user.created                    Nadia signs up                 200 done\n" +
			"  → PUT /v1/users/user_nadia                                   200\n" +
			"  → POST /v1/workflows/welcome/trigger                         200\n" +
			"user.created                    the same delivery comes again  200 duplicate\n",
		"organizationMembership.updated  Tomas becomes an admin         200 done\n" +
			"  → POST /v1/objects/$tenants/org_lumen/subscriptions          200\n",
		"session.created                 Mira signs in                  200 ignored\n",
		"(not read)                      someone forges a deletion      401 unverified\n" +
			"  bridge: signature does not match\n",
		"  → DELETE /v1/users/user_nadia                                204\n",
		"  users           user_mira    Mira Okafor   mira@lumen.example.com\n" +
			"                  user_tomas   Tomas Varga   tomas@example.com\n" +
			"  tenants         org_lumen    Lumen Labs\n" +
			"  subscriptions   org_lumen    user_mira     org:admin\n" +
			"                  org_lumen    user_tomas    org:admin\n" +
			"  workflow runs   welcome      user_mira\n" +
			"                  welcome      user_tomas\n" +
			"                  welcome      user_nadia\n",
	} {
		assert.Contains(t, stdout.String(), want)
	}
	for line := range strings.Lines(stdout.String()) {
		assert.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80, line)
		assert.Equal(t, strings.TrimRight(line, " \n")+"\n", line, "white space at the end")
	}
}

func TestStoryGoesWrong(t *testing.T) {
	t.Parallel()
	// A handler that takes nothing ends the story at its first delivery.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"outcome":"rejected"}`)
	}))
	defer server.Close()
	err := tell(t.Context(), server.URL, &printer{w: io.Discard})
	require.EqualError(t, err, `Lumen Labs is set up: ended as "rejected", should have been "done"`)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	assert.Equal(t, 1, run(ctx, []string{"-once", "-addr", anyPort}, &stdout, &stderr, vars()))
	assert.Contains(t, stderr.String(), "quickstart: ")
}

func TestInvocation(t *testing.T) {
	t.Parallel()
	const secretVar, keyVar = "CLERK_WEBHOOK_SIGNING_SECRET", "KNOCK_API_KEY"
	for _, test := range []struct {
		name string
		args []string
		env  []string
		code int
		want string // on stderr
	}{
		{"only the secret", nil, []string{secretVar, bridgetest.Secret}, 2, "CLERK_WEBHOOK_SIGNING_SECRET is set but KNOCK_API_KEY is not"},
		{"only the key", nil, []string{keyVar, "sk_test_1"}, 2, "KNOCK_API_KEY is set but CLERK_WEBHOOK_SIGNING_SECRET is not"},
		{"once with both", []string{"-once"}, []string{secretVar, bridgetest.Secret, keyVar, "sk_test_1"}, 2, "-once plays the story"},
		{"bad secret", nil, []string{secretVar, "whsec_", keyVar, "sk_test_1"}, 1, "SigningSecrets[0] is only the prefix"},
		{"help", []string{"-help"}, nil, 0, "Usage: go run ./examples/quickstart"},
		{"unknown flag", []string{"-port", "1"}, nil, 2, "flag provided but not defined: -port"},
		{"argument", []string{"8080"}, nil, 2, `unexpected argument "8080"`},
		{"bad address", []string{"-once", "-addr", "nowhere"}, nil, 1, "listen tcp: address nowhere: missing port in address; choose another address with -addr"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			assert.Equal(t, test.code, run(t.Context(), test.args, &stdout, &stderr, vars(test.env...)))
			assert.Contains(t, stderr.String(), test.want)
			assert.Empty(t, stdout.String())
			assert.NotContains(t, stderr.String(), bridgetest.Secret)
		})
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", anyPort)
	require.NoError(t, err)
	defer taken.Close()

	for _, env := range []func(string) string{
		vars(),
		vars("CLERK_WEBHOOK_SIGNING_SECRET", bridgetest.Secret, "KNOCK_API_KEY", "sk_test_1"),
	} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, 1, run(t.Context(), []string{"-addr", taken.Addr().String()}, &stdout, &stderr, env))
		assert.Contains(t, stderr.String(), "address already in use; choose another address with -addr")
		assert.Empty(t, stdout.String())
	}

	// The story moves to another port when the default is taken, by this test or
	// by whoever was there before.
	if l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", defaultAddr); err == nil {
		defer l.Close()
	}
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-once"}, &stdout, &stderr, vars()), stderr.String())
	assert.Contains(t, stdout.String(), defaultAddr+" can't be used, so this is on another port")
	assert.NotContains(t, stdout.String(), "http://"+defaultAddr)

	// But not when it was asked for.
	stdout.Reset()
	assert.Equal(t, 1, run(t.Context(), []string{"-once", "-addr", defaultAddr}, &stdout, &stderr, vars()))
	assert.Contains(t, stderr.String(), "address already in use; choose another address with -addr")
	assert.Empty(t, stdout.String())
}

// TestHelpFits into 80 columns, with tabs of eight.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-help"}, io.Discard, &stderr, vars()))
	for line := range strings.Lines(stderr.String()) {
		assert.LessOrEqual(t, len(strings.ReplaceAll(strings.TrimRight(line, "\n"), "    \t", "        ")), 80, line)
	}
}

// TestServing runs the program until it is told to stop: after the story, and
// as the real thing with a delivery of Clerk's.
func TestServing(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	for _, test := range []struct {
		name string
		env  func(string) string
		want string // is printed when the program serves
	}{
		{"story", vars(), "Still serving at "},
		{"real", vars(
			"CLERK_WEBHOOK_SIGNING_SECRET", bridgetest.Secret, "KNOCK_API_KEY", "sk_test_1", "KNOCK_BASE_URL", knock.URL,
		), "Serving at "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			out, stdout, err := os.Pipe()
			require.NoError(t, err)
			defer out.Close()
			var stderr bytes.Buffer
			code := make(chan int, 1)
			go func() {
				defer stdout.Close()
				code <- run(ctx, []string{"-addr", anyPort}, stdout, &stderr, test.env)
			}()

			lines := bufio.NewScanner(out)
			url := ""
			for url == "" && lines.Scan() {
				if rest, ok := strings.CutPrefix(lines.Text(), test.want); ok {
					url = rest
				}
			}
			require.NotEmpty(t, url, "the program did not serve")
			d := bridgetest.NewDelivery(t, "user.created", nil)
			outcome, err := deliver(t.Context(), url, bridgetest.Secret, d.ID, d.Body)
			require.NoError(t, err)
			assert.Equal(t, bridge.OutcomeDone, outcome)
			if test.name == "story" {
				command := triggerCommand(t, lines)
				assert.Equal(t, url, command[len(command)-1])
				var answer, problem bytes.Buffer
				assert.Zero(t, cli.Run(ctx, command, strings.NewReader(""), &answer, &problem, vars()), problem.String())
				assert.Contains(t, answer.String(), "done")
			}

			stop()
			for lines.Scan() { // the program may print on
			}
			assert.Zero(t, <-code, stderr.String())
			if test.name == "real" {
				assert.Len(t, knock.Users(), 1)
				assert.Len(t, knock.Runs(), 1)
				assert.Contains(t, stderr.String(), "outcome=done")
				assert.NotContains(t, stderr.String(), "mira.okafor@example.com")
			}
		})
	}
}

// triggerCommand returns the arguments of the command that the program prints.
func triggerCommand(t *testing.T, lines *bufio.Scanner) []string {
	t.Helper()
	var words []string
	for more := true; more && lines.Scan(); {
		line, continues := strings.CutSuffix(lines.Text(), " \\")
		if len(words) > 0 || strings.HasPrefix(line, "  go run ./cmd/bridge ") {
			words = append(words, strings.Fields(line)...)
			more = continues
		}
	}
	require.Greater(t, len(words), 3, "no command is printed")
	return words[3:]
}
