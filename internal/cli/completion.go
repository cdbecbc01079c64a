package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

const completionHelp = `
Print a script that completes commands, events, stories and flags in your shell.`

const completionExample = `
  source <(bridge completion bash)                                    # in ~/.bashrc
  source <(bridge completion zsh)                                     # in ~/.zshrc, after compinit
  bridge completion fish > ~/.config/fish/completions/bridge.fish
`

var shells = []string{"bash", "zsh", "fish"}

func setupCompletion(a *app, _ *flag.FlagSet) func(context.Context, []string) error {
	return func(_ context.Context, args []string) error {
		if len(args) != 1 {
			return usagef("which shell? bash, zsh or fish")
		}
		switch args[0] {
		case "bash":
			bashCompletion(a.stdout)
		case "zsh":
			zshCompletion(a.stdout)
		case "fish":
			fishCompletion(a.stdout)
		default:
			return usagef("unknown shell %q%s; bash, zsh and fish are known", args[0], suggest(args[0], shells, ""))
		}
		return nil
	}
}

// completions are the words and flags of one command.
type completions struct {
	command *command
	words   []string
	files   bool // arguments are files
	flags   []*flag.Flag
}

func allCompletions() []completions {
	all := make([]completions, 0, len(commands()))
	for _, c := range commands() {
		flags := newFlagSet()
		c.setup(new(app), flags)
		x := completions{command: c}
		flags.VisitAll(func(f *flag.Flag) { x.flags = append(x.flags, f) })
		switch c.name {
		case "trigger":
			x.words = triggerNames()
		case "replay":
			x.files = true
		case "completion":
			x.words = shells
		case "help":
			x.words = commandNames()
		}
		all = append(all, x)
	}
	return all
}

func commandNames() []string {
	all := commands()
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.name
	}
	return names
}

func takesFile(f *flag.Flag) bool {
	value, _ := flag.UnquoteUsage(f)
	return value == "file"
}

func takesValue(f *flag.Flag) bool {
	value, _ := flag.UnquoteUsage(f)
	return value != ""
}

// flagNames returns the flags of a command that are wanted, with their dashes.
func (x completions) flagNames(wanted func(*flag.Flag) bool) []string {
	var names []string
	for _, f := range x.flags {
		if wanted(f) {
			names = append(names, "--"+f.Name)
		}
	}
	return names
}

func anyFlag(*flag.Flag) bool { return true }

func bashCompletion(w io.Writer) {
	fmt.Fprintf(w, `# bash completion of bridge
_bridge() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W %q -- "$cur"))
    return
  fi
  case ${COMP_WORDS[1]} in
`, strings.Join(commandNames(), " "))
	for _, x := range allCompletions() {
		fmt.Fprintf(w, "  %s)\n", x.command.name)
		if files := x.flagNames(takesFile); len(files) > 0 {
			fmt.Fprintf(w, "    case $prev in %s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;; esac\n", strings.Join(files, "|"))
		}
		if free := x.flagNames(func(f *flag.Flag) bool { return takesValue(f) && !takesFile(f) }); len(free) > 0 {
			fmt.Fprintf(w, "    case $prev in %s) return ;; esac\n", strings.Join(free, "|"))
		}
		if flags := x.flagNames(anyFlag); len(flags) > 0 {
			fmt.Fprintf(w, "    case $cur in -*) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;; esac\n", strings.Join(flags, " "))
		}
		if x.files {
			fmt.Fprint(w, "    COMPREPLY=($(compgen -f -- \"$cur\"))\n")
		} else {
			fmt.Fprintf(w, "    COMPREPLY=($(compgen -W %q -- \"$cur\"))\n", strings.Join(x.words, " "))
		}
		fmt.Fprint(w, "    ;;\n")
	}
	fmt.Fprint(w, "  esac\n}\ncomplete -F _bridge bridge\n")
}

// oneLine is a flag's text for a list.
func oneLine(f *flag.Flag) string {
	_, text := flag.UnquoteUsage(f)
	return strings.ReplaceAll(text, "\n", " ")
}

func zshCompletion(w io.Writer) {
	// In single quotes; brackets and colons part what _arguments reads.
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace
	fmt.Fprint(w, "#compdef bridge\n_bridge() {\n  if (( CURRENT == 2 )); then\n    local -a all=(\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "      '%s:%s'\n", c.name, quote(c.short))
	}
	fmt.Fprint(w, "    )\n    _describe command all\n    return\n  fi\n  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $command in\n")
	for _, x := range allCompletions() {
		fmt.Fprintf(w, "  %s)\n    _arguments", x.command.name)
		for _, f := range x.flags {
			action := ""
			switch value, _ := flag.UnquoteUsage(f); {
			case takesFile(f):
				action = ":file:_files"
			case value != "":
				action = ":" + value + ": "
			}
			repeat := ""
			if _, ok := f.Value.(*listFlag); ok {
				repeat = "*"
			}
			fmt.Fprintf(w, " \\\n      '%s--%s[%s]%s'", repeat, f.Name, quote(oneLine(f)), action)
		}
		switch {
		case x.files:
			fmt.Fprint(w, " \\\n      '*:file:_files'")
		case len(x.words) > 0:
			fmt.Fprintf(w, " \\\n      '1:%s:(%s)'", x.command.name, strings.Join(x.words, " "))
		}
		fmt.Fprint(w, "\n    ;;\n")
	}
	fmt.Fprint(w, "  esac\n}\nif [ \"$funcstack[1]\" = _bridge ]; then _bridge \"$@\"; else compdef _bridge bridge; fi\n")
}

func fishCompletion(w io.Writer) {
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace
	fmt.Fprint(w, "# fish completion of bridge\ncomplete -c bridge -f\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "complete -c bridge -n __fish_use_subcommand -a %s -d '%s'\n", c.name, quote(c.short))
	}
	for _, x := range allCompletions() {
		when := fmt.Sprintf("complete -c bridge -n '__fish_seen_subcommand_from %s'", x.command.name)
		if len(x.words) > 0 {
			fmt.Fprintf(w, "%s -a '%s'\n", when, strings.Join(x.words, " "))
		}
		if x.files {
			fmt.Fprintf(w, "%s -F\n", when)
		}
		for _, f := range x.flags {
			kind := ""
			switch {
			case takesFile(f):
				kind = " -r -F"
			case takesValue(f):
				kind = " -x"
			}
			fmt.Fprintf(w, "%s -l %s%s -d '%s'\n", when, f.Name, kind, quote(oneLine(f)))
		}
	}
}
