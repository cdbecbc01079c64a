package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clerkknock/bridge"
)

const verifyHelp = `
Say why a captured delivery does not verify: which of its headers, its
timestamp, the signing secret and its body is wrong.

The delivery is a file with its headers and one with its body, or a line of
"clerk webhooks listen --json" (Clerk's CLI, github.com/clerk/cli) in a file or
on standard input. Copy the body as it was received: the signature is made over
its bytes, so a body that was decoded and encoded again does not verify.

A captured delivery is old. So the signature is judged apart from the clock, and
both are reported; with --tolerance the clock counts, too.

The exit status is 0 when every delivery verifies, and 1 when not.`

const verifyExample = `
  bridge verify --headers headers.txt --body body.json
  bridge verify --line delivery.json
  clerk webhooks listen --json | head -2 | bridge verify
  bridge trigger user.created --print --json | bridge verify --tolerance 5m
`

const defaultTolerance = 5 * time.Minute

type verify struct {
	headers, body, line string
	secret              string
	tolerance           time.Duration
	json                bool
}

func setupVerify(a *app, flags *flag.FlagSet) func(context.Context, []string) error {
	v := new(verify)
	flags.StringVar(&v.headers, "headers", "", "`file` with the headers, as \"Name: value\" lines or a JSON object")
	flags.StringVar(&v.body, "body", "", "`file` with the body, byte for byte")
	flags.StringVar(&v.line, "line", "", "`file` with deliveries as JSON; - is standard input, which is the\ndefault without --headers and --body")
	flags.StringVar(&v.secret, "secret", "", "signing `secret` of the endpoint, whsec_...; better given as\n"+secretVar)
	flags.DurationVar(&v.tolerance, "tolerance", 0, "let the clock count: fail when the timestamp is further away from\nnow than this `duration`; 5m is the handler's default")
	flags.BoolVar(&v.json, "json", false, "print one JSON object per line")
	return func(ctx context.Context, args []string) error { return a.verify(ctx, v, args) }
}

func (a *app) verify(ctx context.Context, v *verify, args []string) error {
	secret := cmp.Or(v.secret, a.env(secretVar))
	switch {
	case len(args) > 0:
		return usagef("unexpected argument %q; files are given with --line, or --headers and --body", args[0])
	case (v.headers == "") != (v.body == ""):
		return usagef("--headers and --body belong together")
	case v.headers != "" && v.line != "":
		return usagef("--line holds headers and body; leave --headers and --body out")
	case v.tolerance < 0:
		return usagef("--tolerance is negative")
	case secret == "":
		return usagef("no signing secret: set %s, or give --secret whsec_...", secretVar)
	}
	captures, err := a.captures(ctx, v)
	if err != nil {
		return err
	}
	failed := false
	for i, c := range captures {
		r := diagnose(c, secret, v.tolerance, time.Now())
		failed = failed || !r.Verifies
		if v.json {
			if err := json.NewEncoder(a.stdout).Encode(r); err != nil { //nolint:gosec // what is said of the secret, not the secret
				return err
			}
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		r.print(a)
	}
	if failed {
		return errFailed
	}
	return nil
}

func (a *app) captures(ctx context.Context, v *verify) ([]capture, error) {
	if v.headers == "" {
		return a.recorded(ctx, cmp.Or(v.line, "-"))
	}
	text, err := a.readFile(ctx, v.headers)
	if err != nil {
		return nil, err
	}
	header, err := parseHeaders(text)
	if err != nil {
		return nil, usagef("%s %w", v.headers, err)
	}
	body, err := a.readFile(ctx, v.body)
	if err != nil {
		return nil, err
	}
	return []capture{{header: header, body: body}}, nil
}

// recorded reads the deliveries in a file, or on standard input for "-".
func (a *app) recorded(ctx context.Context, name string) ([]capture, error) {
	if name == "-" && isTerminal(a.stdin) {
		fmt.Fprintln(a.stderr, "waiting for deliveries as JSON on standard input; Ctrl-D ends them")
	}
	data, err := a.readFile(ctx, name)
	if err != nil {
		return nil, err
	}
	if name == "-" {
		name = "standard input"
	}
	return parseCaptures(name, data)
}

// report is what was found about one delivery. Headers, Clock, Secret and Body
// are "ok" or what is wrong; Secret and Body may be "not known".
type report struct {
	Delivery string `json:"delivery"`
	Event    string `json:"event"`
	Verifies bool   `json:"verifies"`
	Headers  string `json:"headers"`
	Clock    string `json:"clock"`
	Secret   string `json:"secret"`
	Body     string `json:"body"`
	Verdict  string `json:"verdict"`
}

const (
	fine     = "ok"
	notKnown = "not known"
)

func (r *report) print(a *app) {
	fmt.Fprintf(a.stdout, "%s  %s\n", printable(r.Event), printable(r.Delivery))
	for _, line := range [...][2]string{{"headers", r.Headers}, {"clock", r.Clock}, {"secret", r.Secret}, {"body", r.Body}} {
		fmt.Fprintf(a.stdout, "  %-8s %s\n", line[0], printable(line[1]))
	}
	fmt.Fprintln(a.stdout, r.Verdict)
}

// diagnose verifies a delivery as the handler does, and then looks for what
// would have made it verify.
func diagnose(c capture, secret string, tolerance time.Duration, now time.Time) *report {
	r := &report{Delivery: cmp.Or(c.header.Get("Svix-Id"), c.header.Get("Webhook-Id"), "-"), Event: typeOf(c.body), Headers: fine, Clock: notKnown, Secret: fine, Body: notKnown}
	if _, err := bridge.NewVerifier(0, secret); err != nil {
		r.Secret = secretFault(secret)
		secret = mendSecret(secret)
	}
	// Without a secret that can be used, the headers are still worth a look.
	usable := secret != ""
	if !usable {
		secret = "whsec_" + strings.Repeat("A", 32)
	}
	timeless, err := bridge.NewVerifier(math.MaxInt64, secret)
	if err != nil {
		r.Verdict = err.Error() // can't be: the secret was checked
		return r
	}
	_, err = timeless.Verify(c.header, c.body)
	clockCounts := r.checkClock(c.header, tolerance, now)
	switch {
	case err == nil:
		r.Body = fine
	case errors.Is(err, bridge.ErrSignature):
	default:
		r.Headers = headerFault(c.header, err)
		r.Verdict = "It does not verify: the headers are wrong."
		return r
	}
	several := severalHeaders(c.header)
	switch {
	case !usable:
		r.Verdict = "It can't be verified: the secret is wrong."
	case err == nil && r.Secret != fine:
		r.Verdict = "It does not verify: the secret is wrong as it is given. What is left without the mistake matches."
	case err == nil && clockCounts:
		r.Verdict = "The signature matches, but the clock is outside the tolerance."
	case err == nil:
		r.Verifies = true
		r.Verdict = "It verifies."
		if r.Clock != fine {
			r.Verdict = "The signature matches. Only the clock does not."
		}
	default:
		r.signature(c, timeless, several)
	}
	if several != "" && r.Headers == fine {
		r.Headers = several
	}
	return r
}

// checkClock reports whether the clock lets the delivery fail.
func (r *report) checkClock(h http.Header, tolerance time.Duration, now time.Time) bool {
	seconds, err := strconv.ParseInt(cmp.Or(h.Get("Svix-Timestamp"), h.Get("Webhook-Timestamp")), 10, 64)
	if err != nil {
		return false
	}
	limit := cmp.Or(tolerance, defaultTolerance)
	const farthest = 1 << 40 // seconds; a Duration holds 1<<33
	distance := min(max(now.Unix()-max(min(seconds, farthest), -farthest), -1<<33), 1<<33)
	age := time.Duration(distance) * time.Second
	switch {
	case age.Abs() <= limit:
		r.Clock = fine
		return false
	case age > 0:
		r.Clock = fmt.Sprintf("%s old: when it came that may have been in time; a handler with a tolerance of %s refuses it now", shortAge(age), shortAge(limit))
	case seconds > 1e11:
		r.Clock = "the timestamp is in milliseconds; Svix sends seconds"
	default:
		r.Clock = shortAge(-age) + " in the future: is this machine's clock slow?"
	}
	return tolerance > 0
}

func shortAge(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}

// secretFault says what is wrong with a secret that the bridge does not take,
// without quoting it. It completes a sentence that begins with the secret.
func secretFault(secret string) string {
	mended := mendSecret(secret)
	trimmed := strings.TrimSpace(secret)
	switch {
	case trimmed == "":
		return "is blank"
	case mended != "" && strings.ContainsAny(secret, "\"'`"):
		return "has quotes around it: remove them"
	case mended != "" && strings.HasPrefix(trimmed, secretVar):
		return "begins with the name of the variable: take what is behind the ="
	case mended != "":
		return "has blanks or a line break in it: remove them"
	case strings.HasPrefix(trimmed, "sk_"):
		return "is a secret key (sk_...) of Clerk's or Knock's API, not a signing secret: that begins with whsec_ and stands on the endpoint's page in Clerk's dashboard"
	case strings.HasPrefix(trimmed, "pk_"):
		return "is a publishable key (pk_...), not a signing secret: that begins with whsec_ and stands on the endpoint's page in Clerk's dashboard"
	case strings.HasPrefix(trimmed, "ep_"):
		return "is the endpoint's id (ep_...), not its signing secret: that begins with whsec_"
	case strings.HasPrefix(trimmed, "whsk_"), strings.HasPrefix(trimmed, "whpk_"):
		return "is a key for asymmetric signatures, which Clerk does not use"
	}
	_, err := bridge.NewVerifier(0, trimmed)
	return strings.TrimPrefix(err.Error(), "SigningSecrets[0] ")
}

// mendSecret undoes what copying does to a secret: quotes, blanks, the name of
// the variable. It returns nothing when that is not enough.
func mendSecret(secret string) string {
	secret = strings.TrimSpace(secret)
	secret = strings.TrimPrefix(secret, "export ")
	secret = strings.TrimPrefix(secret, secretVar+"=")
	parts := strings.Fields(secret)
	if len(parts) > 1 && !slices.ContainsFunc(parts, func(part string) bool {
		_, err := bridge.NewVerifier(0, part)
		return err != nil
	}) {
		return "" // these are several
	}
	secret = strings.Trim(strings.Join(parts, ""), "\"'`;,")
	if _, err := bridge.NewVerifier(0, secret); err != nil {
		return ""
	}
	return secret
}

// headerFault says what is wrong with the headers by which err was caused.
func headerFault(h http.Header, err error) string {
	signature := h.Get("Svix-Signature")
	switch {
	case errors.Is(err, bridge.ErrMissingHeader):
		var missing []string
		for _, name := range [...]string{"id", "timestamp", "signature"} {
			if strings.TrimSpace(h.Get("Svix-"+name)) == "" && strings.TrimSpace(h.Get("Webhook-"+name)) == "" {
				missing = append(missing, "svix-"+name)
			}
		}
		if len(missing) == 0 {
			return "some are svix-*, some are webhook-*: one kind has to be whole"
		}
		text := strings.Join(missing, ", ") + " missing"
		if len(missing) == 3 {
			return text + ": it did not come from Clerk, or something on the way took them away"
		}
		return text + ": something on the way took it away, or it was not copied"
	case errors.Is(err, bridge.ErrTooOld), errors.Is(err, bridge.ErrTooNew):
		return "svix-timestamp is no time in seconds"
	case errors.Is(err, bridge.ErrNoSignature) && strings.Contains(signature, "v1a,"):
		return "svix-signature holds an asymmetric signature (v1a) only; Clerk sends v1"
	case errors.Is(err, bridge.ErrNoSignature) && strings.Contains(signature, "..."):
		return "svix-signature was shortened when it was copied"
	case errors.Is(err, bridge.ErrNoSignature):
		return `svix-signature holds no "v1," and 44 characters of base64: was it cut off?`
	}
	return strings.TrimPrefix(err.Error(), "bridge: ")
}

// severalHeaders says which header is there more than once with different values.
func severalHeaders(h http.Header) string {
	for _, name := range [...]string{"Svix-Id", "Svix-Timestamp", "Webhook-Id", "Webhook-Timestamp"} {
		values := h[name]
		for _, v := range values {
			if v != values[0] {
				return fmt.Sprintf("%d different values of %s: something on the way, or the recording, mixed deliveries up; the first is taken", len(values), strings.ToLower(name))
			}
		}
	}
	return ""
}

// signature explains a signature that does not match.
func (r *report) signature(c capture, v *bridge.Verifier, several string) {
	if how := changedHow(c, v); how != "" {
		r.Body = how
		r.Verdict = "It does not verify: the body was changed on the way."
		return
	}
	if severalMatch(c, v) {
		r.Body, r.Headers = fine, several+"; another of them matches"
		r.Verdict = "It does not verify: the headers are wrong."
		return
	}
	r.Secret, r.Body = notKnown, notKnown
	var size int
	if n, err := strconv.Atoi(c.header.Get("Content-Length")); err == nil {
		size = n
	}
	switch {
	case len(c.body) == 0:
		r.Body = "is empty: was it read before?"
	case size > 0 && size != len(c.body):
		r.Body = fmt.Sprintf("has %d bytes, and content-length says %d", len(c.body), size)
	case !json.Valid(c.body):
		r.Body = "is not JSON: was it cut off, or decoded?"
	default:
		r.Secret = "does not match"
		r.Body = "no sign of a change"
		if c.embedded {
			r.Body += ", but it was recorded as JSON, not as text"
		}
		r.Verdict = "It does not verify. Most likely the secret is another endpoint's: each endpoint has its own, and so have development and production. Otherwise members of the body were changed, or it is forged."
		return
	}
	r.Verdict = "It does not verify: the body was changed on the way."
}

func severalMatch(c capture, v *bridge.Verifier) bool {
	for _, kind := range [...]string{"Svix-", "Webhook-"} {
		for _, id := range c.header[kind+"Id"] {
			for _, at := range c.header[kind+"Timestamp"] {
				h := c.header.Clone()
				h[kind+"Id"], h[kind+"Timestamp"] = []string{id}, []string{at}
				if _, err := v.Verify(h, c.body); err == nil {
					return true
				}
			}
		}
	}
	return false
}

// changedHow looks for the change to the body that broke the signature, by
// undoing those that happen.
func changedHow(c capture, v *bridge.Verifier) string {
	matches := func(body []byte) bool {
		_, err := v.Verify(c.header, body)
		return err == nil
	}
	again := "it was decoded and encoded again"
	if c.embedded {
		again = "it stands in the recording as JSON, with other spaces or escapes than were signed"
	}
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(c.body, []byte("\xef\xbb\xbf")))
	switch {
	case matches(bytes.TrimRight(c.body, "\r\n")):
		return "a line break was added at its end: an editor or echo does so"
	case matches(append(bytes.Clone(c.body), '\n')):
		return "the line break at its end is missing"
	case matches(trimmed):
		return "blanks or a byte order mark were added around it"
	case matches(bytes.ReplaceAll(c.body, []byte("\r\n"), []byte("\n"))),
		matches(bytes.ReplaceAll(c.body, []byte("\n"), []byte("\r\n"))):
		return "its line breaks were changed"
	}
	var text string
	if json.Unmarshal(trimmed, &text) == nil && matches([]byte(text)) {
		return "it was encoded as a JSON string"
	}
	for _, e := range encodings {
		body, err := reencode(trimmed, e)
		if err != nil {
			return ""
		}
		if matches(body) || matches(append(body, '\n')) {
			return again + " (it was signed " + e.name + "): verify the bytes as they were received"
		}
	}
	return ""
}
