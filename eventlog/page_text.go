package eventlog

import (
	"html/template"
	"strconv"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
)

var functionsOfTemplates = template.FuncMap{
	"stamp":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"dur":     duration,
	"pretty":  pretty,
	"kind":    kindOf,
	"symbol":  symbol,
	"skipped": skippedText,
	"sent":    sent,
	"number":  number,
}

// duration is rounded to what a person can make use of.
func duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// kindOf is the look of an outcome, and symbol says the same without colour.
func kindOf(o bridge.Outcome) string {
	switch o {
	case bridge.OutcomeDone:
		return "good"
	case bridge.OutcomeQueued, bridge.OutcomeIgnored, bridge.OutcomeDuplicate, bridge.OutcomeStale, bridge.OutcomeUnchanged:
		return "plain"
	default:
		return "bad"
	}
}

func symbol(o bridge.Outcome) string {
	switch kindOf(o) {
	case "good":
		return "✓"
	case "plain":
		return "–"
	}
	return "✗"
}

func skippedText(why string) string {
	switch actions.Skipped(why) {
	case actions.SkippedFinished:
		return "An earlier attempt has done it."
	case actions.SkippedUnchanged:
		return "Knock was told the same the last time."
	case actions.SkippedGone:
		return "Clerk has deleted it, and the call would have created it anew."
	case actions.SkippedReplay:
		return "The delivery was done long ago, so only what is harmless is done again."
	}
	return why
}

// sent says how many of the steps were sent.
func sent(steps []Step) string {
	n := 0
	for i := range steps {
		if steps[i].Skipped == "" {
			n++
		}
	}
	if n == len(steps) {
		return strconv.Itoa(n)
	}
	return strconv.Itoa(n) + " of " + strconv.Itoa(len(steps))
}

// number has its thousands apart.
func number(n any) string {
	var s string
	switch n := n.(type) {
	case int:
		s = strconv.Itoa(n)
	case int64:
		s = strconv.FormatInt(n, 10)
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
