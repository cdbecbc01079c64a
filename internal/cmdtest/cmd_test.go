package cmdtest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bridge": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		code := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
		stop()
		os.Exit(code)
	}})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CLERK_WEBHOOK_SIGNING_SECRET", bridgetest.Secret)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second
			env.Values["servers"] = make(map[string]*server)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve":   serve,
			"arrived": arrived,
			"knock":   knock,
			"lines":   lines,
			"status":  status,
		},
	})
}

// server is what a script has started.
type server struct {
	knock   *bridgetest.Knock
	arrived chan struct{}
}

// serve starts a server and puts its address into a variable:
//
//	serve URL              a bridge at /webhooks/clerk, over a fake of Knock
//	serve URL 404          answers everything with a status
//	serve URL hang         does not answer
//	serve URL drop         closes the connection
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: serve VARIABLE [status|hang|drop]")
	}
	s := &server{arrived: make(chan struct{}, 1000)}
	var handler http.Handler
	switch {
	case len(args) == 1:
		s.knock = bridgetest.StartKnock()
		ts.Defer(s.knock.Close)
		h, err := bridge.New(bridge.Config{
			SigningSecrets: []string{bridgetest.Secret},
			Knock:          s.knock.Transport(),
			Logger:         slog.New(slog.DiscardHandler),
		})
		ts.Check(err)
		mux := http.NewServeMux()
		mux.Handle("POST /webhooks/clerk", h)
		handler = mux
	case args[1] == "hang":
		handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client has gone
			s.arrived <- struct{}{}
			<-r.Context().Done()
		})
	case args[1] == "drop":
		handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	default:
		code, err := strconv.Atoi(args[1])
		ts.Check(err)
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		})
	}
	web := httptest.NewServer(handler)
	ts.Defer(web.Close)
	ts.Setenv(args[0], web.URL+"/webhooks/clerk")
	ts.Setenv(args[0]+"_HOST", strings.TrimPrefix(web.URL, "http://"))
	ts.Value("servers").(map[string]*server)[args[0]] = s
}

func find(ts *testscript.TestScript, name string) *server {
	s := ts.Value("servers").(map[string]*server)[name]
	if s == nil {
		ts.Fatalf("no server %s", name)
	}
	return s
}

// arrived waits for a request to a server that hangs: arrived URL.
func arrived(ts *testscript.TestScript, _ bool, args []string) {
	<-find(ts, args[0]).arrived
}

// knock compares what the fake holds: knock URL users|tenants ID... or
// knock URL name USER NAME.
func knock(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: knock VARIABLE users|tenants|name ...")
	}
	k := find(ts, args[0]).knock
	var got []string
	switch args[1] {
	case "users":
		got = k.Users()
	case "tenants":
		got = k.Tenants()
	case "name":
		user, _ := k.User(args[2])
		name, _ := user["name"].(string)
		got = []string{args[2], name}
	default:
		ts.Fatalf("knock %s?", args[1])
	}
	if same := strings.Join(got, " ") == strings.Join(args[2:], " "); same == neg {
		ts.Fatalf("%s: %q", args[1], got)
	}
}

// lines compares the number of lines of a file: lines stdout 46.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile(args[0]), "\n"); (got == want) == neg {
		ts.Fatalf("%s has %d lines", args[0], got)
	}
}

// status compares the exit status, of which exec tells only whether it is 0:
// status 2 trigger --nothing.
func status(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("bridge", args[1:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if (got == want) == neg {
		ts.Fatalf("exit status %d", got)
	}
}
