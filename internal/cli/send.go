package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/clerkknock/bridge"
)

const (
	defaultTo = "http://127.0.0.1:8080/webhooks/clerk"
	secretVar = "CLERK_WEBHOOK_SIGNING_SECRET" //nolint:gosec // the variable's name

	// sendTimeout is how long Svix waits for an answer.
	sendTimeout = 15 * time.Second

	// maxAnswer is how much of an answer is read: the bridge's has two lines.
	maxAnswer = 64 << 10
)

// target holds the flags of the commands that send.
type target struct {
	to     string
	secret string
	remote bool
	json   bool
}

func (t *target) register(flags *flag.FlagSet) {
	flags.StringVar(&t.to, "to", defaultTo, "`URL` of your handler")
	flags.StringVar(&t.secret, "secret", "", "signing `secret` of your handler, whsec_...; better given as\n"+secretVar)
	flags.BoolVar(&t.remote, "remote", false, "allow a --to that is not on this machine: its handler writes\nwhat is sent to Knock")
	flags.BoolVar(&t.json, "json", false, "print one JSON object per line")
}

// signingSecret is that of the flag, else of the environment.
func (a *app) signingSecret(given string) (string, error) {
	secret := given
	from := "--secret"
	if secret == "" {
		secret, from = a.env(secretVar), secretVar
	}
	if secret == "" {
		return "", usagef("no signing secret: set %s, or give --secret whsec_...; it has to be your handler's, from the endpoint's page in Clerk's dashboard or, in development, any that both have", secretVar)
	}
	if _, err := bridge.NewVerifier(0, secret); err != nil {
		return "", usagef("%s %s", from, secretFault(secret))
	}
	return secret, nil
}

// check refuses a URL that can't be sent to, and another machine's unless that
// is wanted.
func (t *target) check() error {
	u, err := url.Parse(t.to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return usagef("--to %q is not a URL such as %s", t.to, defaultTo)
	}
	if t.remote || isLoopback(u.Hostname()) {
		return nil
	}
	return usagef("%s is not on this machine. What is sent there is invented, and the handler would write it to Knock as if it were true. Give --remote if you want that", u.Host)
}

func isLoopback(host string) bool {
	if name := strings.TrimSuffix(host, "."); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// shipment is one delivery to send.
type shipment struct {
	id      string
	event   string
	body    []byte
	secret  string
	age     time.Duration // of the timestamp
	refused string        // why the handler should answer 401, or empty
	note    string        // shown behind the event
}

// answer is what came back.
type answer struct {
	Event      string         `json:"event"`
	Delivery   string         `json:"delivery"`
	Note       string         `json:"note,omitempty"`
	OK         bool           `json:"ok"` // the answer is the expected one
	Status     int            `json:"status,omitempty"`
	Outcome    bridge.Outcome `json:"outcome,omitempty"`
	DurationMS int64          `json:"duration_ms"`
	Meaning    string         `json:"meaning"`

	location string
	err      error
}

// send makes all deliveries one after the other and prints what comes back. It
// fails with errFailed when an answer is not the expected one.
func (a *app) send(ctx context.Context, t *target, shipments []shipment) error {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // nor does Svix
	}
	p := progress{w: a.stderr, total: len(shipments), hidden: !isTerminal(a.stderr) || isTerminal(a.stdout), start: time.Now()}
	counts := make(map[string]int)
	failed := 0
	for i, s := range shipments {
		got := deliver(ctx, client, t.to, s)
		if ctx.Err() != nil {
			p.clear()
			a.summary(t, i, len(shipments), counts)
			return ctx.Err()
		}
		got.OK, got.Meaning = judge(&got, s, t.to)
		if !got.OK {
			failed++
		}
		counts[got.word()]++
		p.clear()
		if err := a.printAnswer(t, &got); err != nil {
			return err
		}
		p.show(i + 1)
	}
	p.clear()
	a.summary(t, len(shipments), len(shipments), counts)
	if failed > 0 {
		return errFailed
	}
	return nil
}

// word is the answer in a word: its outcome, else its status.
func (got *answer) word() string {
	switch {
	case got.Status == 0:
		return "unanswered"
	case got.Outcome == "":
		return fmt.Sprintf("status %d", got.Status)
	}
	return string(got.Outcome)
}

func (a *app) printAnswer(t *target, got *answer) error {
	if t.json {
		return json.NewEncoder(a.stdout).Encode(got)
	}
	mark, status := "ok", "---"
	if !got.OK {
		mark = "FAIL"
	}
	if got.Status > 0 {
		status = strconv.Itoa(got.Status)
	}
	name := got.Event
	if got.Note != "" {
		name += " (" + got.Note + ")"
	}
	word := string(got.Outcome)
	if got.Status == 0 {
		word = got.word()
	}
	_, err := io.WriteString(a.stdout, printable(fmt.Sprintf("%-4s  %s %-13s %4dms  %s  %s\n      %s\n",
		mark, status, word, got.DurationMS, name, got.Delivery, got.Meaning)))
	return err
}

// summary is for more than one delivery, and for people.
func (a *app) summary(t *target, sent, total int, counts map[string]int) {
	if t.json || total < 2 {
		return
	}
	parts := make([]string, 0, len(counts))
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[word], word))
	}
	what := fmt.Sprintf("%d deliveries", sent)
	if sent < total {
		what = fmt.Sprintf("%d of %d deliveries", sent, total)
	}
	if len(parts) > 0 {
		what += ": " + strings.Join(parts, ", ")
	}
	fmt.Fprintf(a.stdout, "\n%s\n", printable(what))
}

// deliver makes one attempt as Svix does.
func deliver(ctx context.Context, client *http.Client, to string, s shipment) (got answer) {
	got = answer{Event: s.event, Delivery: s.id, Note: s.note}
	started := time.Now()
	defer func() { got.DurationMS = time.Since(started).Milliseconds() }()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(s.body))
	if err == nil {
		r.Header, err = bridge.Sign(s.secret, s.id, started.Add(-s.age), s.body)
	}
	if err != nil {
		got.err = err
		return got
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Svix-Webhooks/1.99.1")
	res, err := client.Do(r)
	if err != nil {
		got.err = err
		return got
	}
	defer res.Body.Close()
	got.Status, got.location = res.StatusCode, res.Header.Get("Location")
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		got.Status, got.err = 0, err
		return got
	}
	var said struct {
		Outcome bridge.Outcome `json:"outcome"`
	}
	if json.Unmarshal(text, &said) == nil && len(said.Outcome) < 20 {
		got.Outcome = said.Outcome
	}
	return got
}

// judge says whether the answer is the expected one, and what it means.
func judge(got *answer, s shipment, to string) (ok bool, meaning string) {
	success := got.Status >= 200 && got.Status < 300
	switch {
	case got.err != nil:
		return false, noAnswer(got.err, to)
	case s.refused == "":
		return success, meaningOf(got, to)
	case got.Status == http.StatusUnauthorized && got.Outcome == bridge.OutcomeUnverified:
		return true, "Refused, as it should be: " + s.refused + "."
	case got.Status == http.StatusUnauthorized:
		return true, "Refused, as it should be, but not in the bridge's words: is it the bridge that answers at this path?"
	case success:
		return false, "ACCEPTED, and must not be: " + s.refused + ". 401 was expected. Does the bridge answer at this path, and does it check signatures?"
	}
	return false, "401 was expected. " + meaningOf(got, to)
}

func noAnswer(err error, to string) string {
	host := to
	if u, parseErr := url.Parse(to); parseErr == nil {
		host = u.Host
	}
	timeout, isNet := errors.AsType[net.Error](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Connection refused. Is your server running on " + host + "? --to names another address."
	case isDNS:
		return "The host of " + host + " has no address. Is --to right?"
	case isNet && timeout.Timeout():
		return fmt.Sprintf("No answer within %s. Svix gives up here, too, and tries again later.", sendTimeout)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return host + " speaks http, not https."
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "The server closed the connection without an answer. Did the handler panic? Look at its log."
	}
	return "No answer: " + err.Error()
}

// outcomeTexts says what the bridge's outcomes mean to somebody who has sent a
// delivery by hand.
var outcomeTexts = map[bridge.Outcome]string{
	bridge.OutcomeDone:          "Worked off: the functions mapped to the event ran without an error.",
	bridge.OutcomeIgnored:       "Verified, but nothing is mapped to this event. bridge.On maps a function to it.",
	bridge.OutcomeDuplicate:     "This delivery id was processed before, or is already in the queue; nothing was done again.",
	bridge.OutcomeStale:         "Nothing was done: a newer state was applied before, or the user or organization is deleted.",
	bridge.OutcomeUnchanged:     "Nothing was to be done: Knock holds what the event says already.",
	bridge.OutcomeQueued:        "Stored, to be processed later. How it ends is in the handler's log.",
	bridge.OutcomeRefused:       "The handler did not take the request: the body is too large for Config.MaxBodyBytes.",
	bridge.OutcomeTransient:     "A passing fault: Knock or the ledger did not answer, or another attempt is in progress. Svix would try again.",
	bridge.OutcomeRejected:      "Knock refused what the mapping made of this event. The reason is in the handler's log.",
	bridge.OutcomeMisconfigured: "Knock refused the API key or lacks what was named (a workflow?), or a function failed. The reason is in the handler's log.",
	bridge.OutcomePermanent:     "No attempt can succeed: the data does not fit its type, or a function said so. The reason is in the handler's log.",
	bridge.OutcomeUnverified:    "The secret does not match: the handler has another signing secret than the one used here. Or its clock is wrong.",
}

func meaningOf(got *answer, to string) string {
	if got.Outcome == bridge.OutcomeMalformed {
		if got.Status == http.StatusBadRequest {
			return "The headers did not arrive whole, or the body is not an event: an object with type and data."
		}
	}
	if text, ok := outcomeTexts[got.Outcome]; ok {
		return text
	}
	path := "/"
	if u, err := url.Parse(to); err == nil && u.Path != "" {
		path = u.Path
	}
	switch got.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "Refused, and not by the bridge: something before it asks for a sign-in or a CSRF token. Leave " + path + " out of that."
	case http.StatusNotFound:
		return "The path is wrong: nothing is mounted at " + path + "."
	case http.StatusMethodNotAllowed:
		return "The path is wrong: what is mounted at " + path + " takes no POST."
	case http.StatusRequestEntityTooLarge:
		return "Something before the bridge finds the body too large."
	}
	switch {
	case got.Status < 300:
		return "Accepted, but not in the bridge's words: is it the bridge that answers at " + path + "?"
	case got.Status < 400:
		text := "The path is wrong: a redirect"
		if got.location != "" {
			text += " to " + got.location
		}
		return text + ". Svix does not follow redirects."
	case got.Status >= 500:
		return "The server failed before the bridge could answer. Look at its log."
	}
	return "The bridge does not answer so: look at what else is mounted at " + path + "."
}

// progress shows on a terminal how far a long run has come.
type progress struct {
	w      io.Writer
	total  int
	hidden bool
	start  time.Time
	shown  bool
}

// progressAfter is when a run is long.
const progressAfter = time.Second

func (p *progress) show(n int) {
	if p.hidden || n == p.total || time.Since(p.start) < progressAfter {
		return
	}
	fmt.Fprintf(p.w, "\r%d of %d", n, p.total)
	p.shown = true
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
