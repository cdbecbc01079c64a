// Package cli is the command bridge: what cmd/bridge does, without the process
// around it.
package cli

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"unicode"

	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/similar"
)

// The exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// app is one run of the command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
}

// command is a subcommand. Setup declares its flags and returns what runs it
// with the arguments that are no flags.
type command struct {
	name    string
	args    string // in the usage line
	short   string
	help    string
	example string
	setup   func(a *app, flags *flag.FlagSet) func(ctx context.Context, args []string) error
}

func commands() []*command {
	return []*command{
		{name: "trigger", args: "EVENT|STORY", short: "send a signed sample event, or a story of them", help: triggerHelp, example: triggerExample, setup: setupTrigger},
		{name: "verify", short: "say why a captured delivery does not verify", help: verifyHelp, example: verifyExample, setup: setupVerify},
		{name: "replay", args: "FILE...", short: "send captured deliveries again, signed anew", help: replayHelp, example: replayExample, setup: setupReplay},
		{name: "completion", args: "bash|zsh|fish", short: "print a script for the completion of your shell", help: completionHelp, example: completionExample, setup: setupCompletion},
		{name: "version", short: "print the version", setup: setupVersion},
		{name: "help", args: "[COMMAND]", short: "explain a command", setup: setupHelp},
	}
}

// usageError is a wrong invocation.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errFailed is a failure of which everything has been said.
var errFailed = errors.New("failed")

// Run runs the command with the arguments after its name and returns the exit
// status: 0 when all went as it should, 1 when not, 2 for a wrong invocation,
// and 130 when ctx ended first. Env returns the variables of the environment,
// empty for those that are not set.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	who, err := a.run(ctx, args)
	usage, isUsage := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return exitOK
	case isUsage:
		fmt.Fprintf(stderr, "%s: %s\n", who, printable(usage.Error()))
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "%s: interrupted\n", who)
		return exitInterrupted
	case !errors.Is(err, errFailed):
		fmt.Fprintf(stderr, "%s: %s\n", who, printable(err.Error()))
	}
	return exitFailed
}

func (a *app) run(ctx context.Context, args []string) (who string, err error) {
	if len(args) == 0 {
		a.overview(a.stderr)
		return "bridge", usagef("which command? See above")
	}
	switch args[0] {
	case "-h", "-help", "--help":
		args = []string{"help"}
	case "-version", "--version":
		args = []string{"version"}
	}
	c, err := find(args[0])
	if err != nil {
		return "bridge", err
	}
	who = "bridge " + c.name
	flags := newFlagSet()
	do := c.setup(a, flags)
	rest, err := parse(flags, args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		a.explain(c)
		return who, nil
	case err != nil:
		return who, usagef("%w; see bridge help %s", err, c.name)
	}
	return who, do(ctx, rest)
}

func find(name string) (*command, error) {
	all := commands()
	names := make([]string, len(all))
	for i, c := range all {
		if c.name == name {
			return c, nil
		}
		names[i] = c.name
	}
	if strings.HasPrefix(name, "-") {
		return nil, usagef("the command comes first, then its flags; see bridge help")
	}
	// Somebody who forgot the command.
	if isEvent(name) || isStory(name) {
		return nil, usagef("unknown command %q; did you mean bridge trigger %s?", name, name)
	}
	return nil, usagef("unknown command %q%s; see bridge help", name, suggest(name, names, ""))
}

func newFlagSet() *flag.FlagSet {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// parse reads flags before, between and after the other arguments, which it
// returns. "--" ends the flags.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return nil, flagError(flags, err)
		}
		left := flags.Args()
		if n := len(args) - len(left); n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		if len(left) == 0 {
			break
		}
		rest = append(rest, left[0])
		args = left[1:]
	}
	return rest, nil
}

func flagError(flags *flag.FlagSet, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var names []string
		flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		return fmt.Errorf("unknown flag --%s%s", name, suggest(name, names, "--"))
	}
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return fmt.Errorf("flag --%s needs a value", name)
	}
	return errors.New(strings.ReplaceAll(text, "flag -", "flag --"))
}

// suggest returns "; did you mean …?" with the known name that is nearest to
// what was written, or nothing when none is near.
func suggest(written string, known []string, prefix string) string {
	name := similar.Name(written, known, max(2, len(written)/3))
	if name == "" {
		return ""
	}
	return "; did you mean " + prefix + name + "?"
}

func setupHelp(a *app, _ *flag.FlagSet) func(context.Context, []string) error {
	return func(_ context.Context, args []string) error {
		switch len(args) {
		case 0:
			a.overview(a.stdout)
			return nil
		case 1:
			c, err := find(args[0])
			if err != nil {
				return err
			}
			a.explain(c)
			return nil
		}
		return usagef("one command at a time, not %d", len(args))
	}
}

func (a *app) overview(w io.Writer) {
	fmt.Fprint(w, `bridge helps to develop a receiver of Clerk's webhooks.

Usage: bridge COMMAND [flags]

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.short)
	}
	fmt.Fprint(w, `
Start your server, then:

  export CLERK_WEBHOOK_SIGNING_SECRET=whsec_...   # the one your server has
  bridge trigger user.created

No server yet? In another terminal, this one has the secret
`+bridgetest.Secret+`:

  go run github.com/clerkknock/bridge/examples/quickstart@latest

"bridge help COMMAND" says more, with examples.
`)
}

// explain prints the help of one command.
func (a *app) explain(c *command) {
	flags := newFlagSet()
	c.setup(a, flags)
	var lines []string
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		name := "--" + f.Name
		if value != "" {
			name += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			text += " (default " + f.DefValue + ")"
		}
		lines = append(lines, fmt.Sprintf("  %-20s %s\n", name, strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", 23))))
	})
	usage := "Usage: bridge " + c.name
	if c.args != "" {
		usage += " " + c.args
	}
	if len(lines) > 0 {
		usage += " [flags]"
	}
	fmt.Fprintln(a.stdout, usage)
	fmt.Fprintf(a.stdout, "\n%s\n", strings.TrimSpace(cmp.Or(c.help, strings.ToUpper(c.short[:1])+c.short[1:]+".")))
	if len(lines) > 0 {
		fmt.Fprintf(a.stdout, "\nFlags, before or after the arguments:\n%s", strings.Join(lines, ""))
	}
	if c.example != "" {
		fmt.Fprintf(a.stdout, "\nExamples:\n%s\n", strings.TrimRight(strings.Trim(c.example, "\n"), " "))
	}
}

func setupVersion(a *app, _ *flag.FlagSet) func(context.Context, []string) error {
	return func(_ context.Context, args []string) error {
		if len(args) > 0 {
			return usagef("unexpected argument %q", args[0])
		}
		fmt.Fprintf(a.stdout, "bridge %s %s\n", version(), runtime.Version())
		return nil
	}
}

const modulePath = "github.com/clerkknock/bridge"

// version is that of the module: the binary's own, or of the module that it was
// built with.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	if i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == modulePath }); i >= 0 {
		return info.Deps[i].Version
	}
	return cmp.Or(info.Main.Version, "(devel)")
}

// printable keeps what others have written from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// maxFile is how much of a file is read: a recording of months.
const maxFile = 256 << 20

func readAll(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		return nil, usagef("%s is larger than %d MiB", name, maxFile>>20)
	}
	return data, err
}

// readFile reads a file, or standard input for "-", and gives up when ctx ends.
func (a *app) readFile(ctx context.Context, name string) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the user says which
		if err != nil {
			return nil, usageError{err} // names the file
		}
		defer f.Close()
		info, err := f.Stat()
		if err == nil && info.Size() > maxFile {
			return nil, usagef("%s is larger than %d MiB", name, maxFile>>20)
		}
		data, err := readAll(name, f)
		if err != nil {
			return nil, usageError{err}
		}
		return data, nil
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() { // a read from a terminal can't be interrupted
		data, err := readAll("standard input", a.stdin)
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// isTerminal reports whether v is a file that somebody may look at.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
