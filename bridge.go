// Package bridge keeps Knock (notifications) in step with Clerk (sign-in and
// organizations). It is an [http.Handler] for Clerk's webhooks: users become
// Knock users, organizations tenants, memberships subscriptions, and whatever
// else should happen is a Go function mapped to an event:
//
//	h, err := bridge.New(bridge.Config{
//		SigningSecrets: []string{os.Getenv("CLERK_WEBHOOK_SIGNING_SECRET")},
//		Knock:          &actions.HTTP{APIKey: os.Getenv("KNOCK_API_KEY")},
//		Mappings: bridge.Mappings{
//			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
//		},
//	})
//	mux.Handle("/webhooks/clerk", h)
//
// A delivery is verified, its type is looked up in the mapping table, and the
// function mapped to it gets the typed event and a client for Knock. [Defaults]
// lists what is mapped by default; [On] replaces an entry, [Also] adds to it,
// [Disable] removes it. The [Outcome] of the functions decides the answer, and
// with it whether Svix, which delivers for Clerk, tries again.
//
// # Guarantees
//
// Svix delivers at least once and in no order, makes eight attempts within some
// 28 to 66 hours, and people replay deliveries by hand up to 90 days later. With
// the [Ledger] of the Config, the following holds for all processes that share
// the Ledger, for as long as the Ledger remembers.
//
//   - A delivery is acknowledged only after its work is done and recorded, or,
//     with the [Queue] of the Config, after it is stored. If anything goes
//     wrong before that, the next attempt resumes where it stopped.
//   - A step that has succeeded is not repeated by a later attempt of the
//     delivery; the mapping function gets its result. A step whose answer was lost
//     (a crash, a timeout) is repeated.
//   - State calls (identify, set, subscribe, delete) are safe to repeat.
//   - A workflow trigger carries an idempotency key made of the delivery's id and
//     the step's content. Knock drops repeats of it for 24 hours, so that the
//     workflow runs once. A trigger that was first sent longer ago than that, may
//     have been accepted, and has not succeeded since is not sent again: the
//     delivery ends as [OutcomePermanent], and the workflow may or may not have run.
//   - A side effect run through [actions.Client.Step] happens at least once, and
//     twice when the process dies between the effect and its recording.
//   - Deliveries about one user, one organization or one membership are
//     processed one at a time. Of two states of one of these the newer wins, in
//     whatever order they arrive, and what Clerk has deleted does not come
//     back; the default functions ensure this, and other functions can with
//     [Stale].
//   - A delivery that comes again within 96 hours of being done is
//     [OutcomeDuplicate]. After that, as long as its id is known, its state is
//     written again if it is still the newest, and no workflow is triggered or
//     cancelled; see Config.Retrigger.
//
// These gaps remain: a call that Knock applies long after the bridge has given
// up on it can overwrite a newer one, as Knock has no conditional write. A
// worker that is suspended for longer than its lease (a quarter more than
// Config.Timeout) may send one more call before it notices. Events of other
// kinds (e-mails, invitations, billing) are not ordered, and a deletion can
// arrive between their check for what is gone and their call. And nothing is
// ordered against what the ledger has forgotten, or what happened before it
// existed.
package bridge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/nettext"
	"github.com/clerkknock/bridge/internal/safelog"
)

// Version is the version of this module.
const Version = "0.1.0-dev"

const (
	defaultMaxBodyBytes = 1 << 20
	defaultTimeout      = 12 * time.Second
	longestTimeout      = 24 * time.Hour
)

// Config configures a [Handler].
type Config struct {
	// DryRun makes the handler run the mapping functions without sending
	// anything: calls are recorded in the Result. Deliveries are answered as if
	// they were done, so what arrives meanwhile does not come again. With a Queue,
	// nothing is stored, and what waits in it stays. Defaults to false.
	DryRun bool

	// Knock is where calls go, usually an *[actions.HTTP]. New calls its Validate
	// method, func() error, if it has one. Required.
	Knock actions.Transport

	// Ledger remembers what has been done. Processes that share the work must share a
	// Ledger. Handlers with different mappings must not: an event that reaches two of
	// them, through two of Clerk's endpoints, has one id and would be processed by only
	// one. A backfill is the exception: its deliveries have ids of their own. Defaults
	// to a [MemoryLedger] of default size.
	Ledger Ledger

	// Logger gets one line per delivery, at Info, Warn or Error by its outcome, and
	// one per step at Debug. Both hold ids and names, and neither payload nor
	// secrets; the text of an error that a mapping function creates is printed as
	// it is. The names of the attributes are stable:
	//
	//   - of a delivery ("clerk webhook"): outcome, delivery, event, attempt, warning,
	//     steps, duration, dry_run, replay, step, error, stack
	//   - of a step ("clerk webhook step"): delivery, event, step, skipped, status,
	//     attempts, duration, request_id, replayed, warning, dry_run, error
	//
	// Those without a value are left out. docs/debugging.md explains each. Defaults
	// to [slog.Default].
	Logger *slog.Logger

	// Mappings are put on top of Defaults(). Defaults to none.
	Mappings Mappings

	// MaxBodyBytes is the largest body that is read. Defaults to 1 MiB, Svix's
	// own limit.
	MaxBodyBytes int64

	// NoDefaults leaves Defaults() out of the mapping table. Defaults to false.
	NoDefaults bool

	// OnResult is called after every request, refused ones included, before the
	// answer is sent; and after Process, Replay and DryRun. With a Queue, that is
	// once when a delivery is stored and once for each attempt. It is called by many
	// goroutines at a time, and the answer waits for it: return quickly. The Result
	// must not be changed. Package eventlog provides one that records the results.
	// Defaults to nothing.
	OnResult func(context.Context, *Result)

	// OnStart is called when the work on a verified delivery begins, and returns the
	// context for that work, which OnResult gets as well: to start a span, say.
	// Returning nil leaves the context as it is. Defaults to nothing.
	OnStart func(ctx context.Context, d Delivery, eventType string) context.Context

	// Queue, unless nil, stores verified deliveries: the handler answers 202 once one
	// is stored, and does none of the work. What is not mapped is not stored.
	// Process, which the queue's workers call, then ends with [ErrBusy] at once
	// instead of waiting while the same delivery or entity is in progress elsewhere.
	// With DryRun, nothing is stored. Set Ledger as well, to one that lasts as long
	// as the queue does: New warns when Ledger is nil. Defaults to doing the work
	// before the answer.
	Queue Queue

	// Retrigger makes a delivery that comes again after more than 96 hours,
	// because somebody has replayed it by hand, start its workflows and run its
	// side effects again. Defaults to false: only the state in Knock is brought up
	// to date.
	Retrigger bool

	// SigningSecrets are the signing secrets of Clerk's endpoints ("whsec_…"),
	// at least one. Any of them may match, so that a secret can be rotated and
	// several endpoints can share the handler. Required.
	SigningSecrets []string

	// Timeout bounds the work on one delivery, including reading the body, where it
	// replaces the server's ReadTimeout. It can't do that behind a middleware whose
	// [http.ResponseWriter] has no Unwrap method; there, only ReadTimeout bounds a
	// body that arrives slowly. At most 24 hours. Defaults to 12 seconds; Svix waits
	// for 15.
	Timeout time.Duration

	// Tolerance is how far a delivery's timestamp may be from this machine's
	// clock, both ways. Defaults to 5 minutes.
	Tolerance time.Duration
}

// Handler receives Clerk's webhooks. It is safe for concurrent use. [New] makes one;
// the zero Handler is not usable.
type Handler struct {
	verifier *Verifier
	table    *table
	client   *actions.Client
	logger   *slog.Logger
	onStart  func(context.Context, Delivery, string) context.Context
	onResult func(context.Context, *Result)
	maxBody  int64
	timeout  time.Duration
	dryRun   bool
	handsOut bool // all bodies, to OnStart, OnResult or the Queue

	ledger    Ledger
	queue     Queue
	retrigger bool
}

// New returns a Handler. The error joins every problem of the config.
func New(cfg Config) (*Handler, error) {
	var problems []error
	verifier, err := NewVerifier(cfg.Tolerance, cfg.SigningSecrets...)
	problems = append(problems, err)
	defaults := Defaults()
	if cfg.NoDefaults {
		defaults = nil
	}
	table, err := newTable(cfg.Mappings, defaults)
	problems = append(problems, err)
	if cfg.Knock == nil {
		problems = append(problems, errors.New("Knock is nil: give an *actions.HTTP with an API key"))
	} else if v, ok := cfg.Knock.(interface{ Validate() error }); ok {
		problems = append(problems, v.Validate())
	}
	if cfg.MaxBodyBytes < 0 {
		problems = append(problems, errors.New("MaxBodyBytes is negative"))
	}
	if cfg.Timeout < 0 || cfg.Timeout > longestTimeout {
		problems = append(problems, errors.New("Timeout is negative or longer than a day"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("bridge: invalid config:\n%w", err)
	}
	h := &Handler{
		verifier: verifier,
		table:    table,
		client:   actions.NewClient(cfg.Knock),
		logger:   safelog.New(cfg.Logger),
		onStart:  cfg.OnStart,
		onResult: cfg.OnResult,
		maxBody:  min(cmp.Or(cfg.MaxBodyBytes, defaultMaxBodyBytes), math.MaxInt64-1),
		timeout:  cmp.Or(cfg.Timeout, defaultTimeout),
		dryRun:   cfg.DryRun,

		ledger:    cfg.Ledger,
		queue:     cfg.Queue,
		retrigger: cfg.Retrigger,
	}
	h.handsOut = h.onStart != nil || h.onResult != nil || h.queue != nil
	if h.ledger == nil {
		h.ledger = NewMemoryLedger(0, 0)
	}
	if cfg.Queue != nil && cfg.Ledger == nil {
		h.logger.Warn("bridge: Config.Queue is set and Config.Ledger is not: after a restart, what was done before is done again")
	}
	for _, name := range slices.Sorted(maps.Keys(table.entries)) {
		if known := resembled(name); known != "" { // which Clerk may have added since
			h.logger.Warn("bridge: a mapping is for an event that this version does not know, and resembles one that it does", "event", name, "known", known)
		}
	}
	return h, nil
}

// EventNames returns the types of events that have a mapping, sorted: what to tick
// in Clerk's dashboard. With [OnUnmapped], tick all other types as well.
func (h *Handler) EventNames() []string { return h.table.names() }

// Delivery is one verified webhook, complete in itself: it can be stored and
// processed later. Svix calls it a message, and each sending of it an attempt.
type Delivery struct {
	// ID is the svix-id, the same on every attempt. Required.
	ID string
	// ReceivedAt is when the bridge got it, for people who look at the ledger.
	// Zero means unknown.
	ReceivedAt time.Time
	// Body is what was received, untouched.
	Body json.RawMessage
}

// ServeHTTP verifies one delivery, runs what is mapped to it and answers with
// the outcome's status. It answers within Config.Timeout if the mapping
// functions return when their context ends. The work goes on when the sender
// hangs up: otherwise its next attempt would find the work half done.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	deadline := started.Add(h.timeout)
	ctx := context.WithoutCancel(r.Context())
	// A sender that stalls is cut off, and so is the server's attempt to read
	// what was left of a body that nobody wanted.
	rc := http.NewResponseController(w)
	limited := rc.SetReadDeadline(deadline) == nil
	buf, _ := bodies.Get().(*bytes.Buffer)
	buf.Reset()
	d, res := h.receive(r, buf)
	if res == nil {
		// When it passes behind a middleware that has read the body, the server cancels
		// the requests of the connection.
		if limited {
			_ = rc.SetReadDeadline(time.Time{})
		}
		d.ReceivedAt = started
		ctx, res = h.process(ctx, deadline, d, mode{
			dryRun: h.dryRun, queue: h.queue != nil && !h.dryRun, pooled: !h.handsOut,
		})
	}
	res.Duration = time.Since(started)
	h.report(ctx, res)
	if p, ok := errors.AsType[*PanicError](res.Err); ok && errors.Is(p, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	if buf.Cap() <= keptSize {
		bodies.Put(buf)
	}
	answer(w, r.ProtoMajor == 1, res)
}

// bodies are buffers that received bodies are read into.
//
//nolint:gochecknoglobals // a pool has to be
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keptSize is the most that a buffer in the pool holds on to.
const keptSize = 64 << 10

// Process does the work on a delivery that was verified before: one taken from a queue, or
// made by a backfill (examples/backfill), with an ID of its own that is the same when the
// backfill is repeated. Config.Timeout bounds it. The Result is never nil; the error is its
// Err.
func (h *Handler) Process(ctx context.Context, d Delivery) (*Result, error) {
	return h.processReported(ctx, d, mode{dryRun: h.dryRun})
}

// Replay is Process for a delivery that a person sends again; its Result has
// Replay set. One that has been processed before is [OutcomeDuplicate].
func (h *Handler) Replay(ctx context.Context, d Delivery) (*Result, error) {
	return h.processReported(ctx, d, mode{dryRun: h.dryRun, replay: true})
}

// DryRun runs what is mapped to a delivery without sending anything. The calls it
// would make are the Steps of the Result, bodies included; look-ups at Knock
// return nothing. The ledger is not consulted: nothing counts as stale, unchanged,
// deleted or done before. The Result is never nil; the error is its Err.
func (h *Handler) DryRun(ctx context.Context, d Delivery) (*Result, error) {
	return h.processReported(ctx, d, mode{dryRun: true})
}

// mode is in which way a delivery is processed.
type mode struct {
	dryRun bool
	replay bool
	queue  bool // store it, and do nothing else
	pooled bool // its body is in a buffer that is used again
}

func (h *Handler) processReported(ctx context.Context, d Delivery, m mode) (*Result, error) {
	started := time.Now()
	ctx, res := h.process(ctx, started.Add(h.timeout), d, m)
	res.Duration = time.Since(started)
	h.report(ctx, res)
	return res, res.Err
}

// receive reads a request into buf and verifies it. It returns a Result instead of
// a Delivery when that fails, with the cheap checks first: nothing is read from
// and nothing is hashed for a sender that can't be genuine.
func (h *Handler) receive(r *http.Request, buf *bytes.Buffer) (Delivery, *Result) {
	if r.Method != http.MethodPost {
		return Delivery{}, &Result{
			Outcome: OutcomeRefused, refusal: http.StatusMethodNotAllowed, unread: true,
			Err: fmt.Errorf("bridge: method is %.20q, want POST", r.Method),
		}
	}
	if r.ContentLength > h.maxBody {
		return Delivery{}, tooLarge(h.maxBody)
	}
	c, err := h.verifier.readHeaders(r.Header)
	if err != nil {
		return Delivery{}, &Result{Outcome: unverified(err), Err: err, unread: true}
	}
	body, err := h.readBody(r, buf)
	inFront, isMaxBytes := errors.AsType[*http.MaxBytesError](err) // the limit of a handler in front
	switch {
	case errors.Is(err, errTooLarge):
		return Delivery{}, tooLarge(h.maxBody)
	case isMaxBytes:
		return Delivery{}, tooLarge(inFront.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Delivery{}, &Result{
			Outcome: OutcomeTransient, RetryAfter: defaultRetryAfter, unread: true,
			Err: fmt.Errorf("bridge: the body did not arrive in time: %w", err),
		}
	case err != nil:
		return Delivery{}, &Result{Outcome: OutcomeMalformed, unread: true, Err: fmt.Errorf("bridge: read the body: %w", err)}
	}
	if err := h.verifier.checkSignature(c, body); err != nil {
		if len(body) == 0 {
			err = fmt.Errorf("%w: the body is empty, perhaps as a middleware has read it", err)
		}
		return Delivery{}, &Result{Outcome: unverified(err), Err: err}
	}
	if h.handsOut { // who has it may keep it
		body = bytes.Clone(body)
	}
	return Delivery{ID: c.id, Body: slices.Clip(body)}, nil
}

func tooLarge(limit int64) *Result {
	return &Result{
		Outcome: OutcomeRefused, refusal: http.StatusRequestEntityTooLarge, unread: true,
		Err: fmt.Errorf("%w of %d bytes", errTooLarge, limit),
	}
}

func unverified(err error) Outcome {
	if errors.Is(err, ErrMissingHeader) || errors.Is(err, ErrBadHeader) {
		return OutcomeMalformed
	}
	return OutcomeUnverified
}

var errTooLarge = errors.New("bridge: body over the limit")

// trustedSize is how much memory a Content-Length is believed for. Beyond it
// the buffer grows with what really arrives.
const trustedSize = 32 << 10

func (h *Handler) readBody(r *http.Request, buf *bytes.Buffer) ([]byte, error) {
	if r.Body == nil { // a request that an adapter has made
		return nil, nil
	}
	buf.Grow(int(min(max(r.ContentLength, 0), trustedSize)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(r.Body, h.maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case n > h.maxBody:
		return nil, errTooLarge
	}
	return buf.Bytes(), nil
}

// process is the way of a verified delivery: envelope, table, and then the queue
// or the work. The context is that of OnStart.
func (h *Handler) process(ctx context.Context, deadline time.Time, d Delivery, m mode) (started context.Context, res *Result) {
	res = &Result{DeliveryID: d.ID, ReceivedAt: d.ReceivedAt, Body: d.Body, DryRun: m.dryRun, Replay: m.replay}
	started = ctx
	at := "OnStart"
	defer func() {
		if v := recover(); v != nil {
			var p error = panicError(v, at)
			if res.Err != nil { // the functions', which the Ledger could not be told
				p = errors.Join(p, res.Err)
			}
			res.Outcome, res.Err = OutcomeMisconfigured, p
		}
	}()
	if d.ID == "" {
		res.Outcome, res.Err = OutcomeMalformed, errors.New("bridge: the delivery has no id")
		return started, res
	}
	e, err := clerk.Parse(d.ID, d.Body)
	if err != nil {
		res.Outcome, res.Err = OutcomeMalformed, err
		return started, res
	}
	mapped := h.table.mapped(e.Type)
	res.EventType, res.Functions = e.Type, mapped.names
	if h.onStart != nil {
		if c := h.onStart(ctx, d, e.Type); c != nil {
			started = c
		}
	}
	switch {
	case len(mapped.all) == 0:
		res.Outcome = OutcomeIgnored
	case m.queue:
		at = "Queue"
		h.enqueue(started, deadline, d, e, res)
	default:
		at = "Ledger"
		raw := &rawEvent{AnyEvent: e, pooled: m.pooled}
		if mapped.spares != nil {
			raw.spare = mapped.spares.Get()
		}
		h.work(started, deadline, d, raw, mapped.all, res)
		if mapped.spares != nil {
			mapped.spares.Put(raw.spare)
		}
	}
	return started, res
}

// work runs the functions, if the ledger lets it.
func (h *Handler) work(ctx context.Context, deadline time.Time, d Delivery, raw *rawEvent, fns []*function, res *Result) {
	w := &work{
		delivery: d, eventType: raw.Type, retrigger: h.retrigger, lease: h.timeout + h.timeout/4, logger: h.logger,
	}
	whole := ctx
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-min(h.timeout/10, 500*time.Millisecond)))
	defer cancel()
	defer func() { res.Steps = w.done() }() // also when the ledger panics
	if !res.DryRun {
		w.ledger, w.subject = h.ledger, subjectOf(raw)
		if w.subject != nil {
			res.Entity = w.subject.entities[0].key
		}
		giveUp := deadline.Add(-h.timeout / 2)
		if h.queue != nil {
			giveUp = time.Time{}
		}
		res.Outcome, res.Err = w.claim(ctx, giveUp)
		res.Attempt = w.claimed.Attempt
	}
	if res.Err == nil && res.Outcome == "" {
		// When the functions have used up their time, or the caller has gone, there is
		// some left to tell the ledger.
		finish := func() {
			saving := ctx
			if whole.Done() != nil || time.Until(deadline) < h.timeout/2 {
				var cancel context.CancelFunc
				saving, cancel = context.WithDeadline(context.WithoutCancel(whole), deadline)
				defer cancel()
			}
			res.Outcome, res.Err = w.finish(saving, res.Err)
		}
		returned := false
		defer func() { // nobody gets an answer, but the next attempt need not wait
			if !returned {
				res.Err = errGoexit
				finish()
				res.Steps = w.done()
				res.Duration = time.Since(deadline.Add(-h.timeout))
				h.report(whole, res)
			}
		}()
		res.Err = h.run(context.WithValue(ctx, workKey{}, w), fns, raw, w)
		returned = true
		finish()
	} else if res.Err != nil {
		res.Outcome = OutcomeOf(res.Err)
	}
	if res.Outcome == OutcomeTransient {
		res.RetryAfter = retryAfter(res.Err)
	}
}

var errGoexit = errors.New("bridge: a mapping function has ended its goroutine, with runtime.Goexit or a test's FailNow")

// run calls the mapped functions and turns a panic into an error.
func (h *Handler) run(ctx context.Context, fns []*function, e *rawEvent, w *work) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v, "")
		}
	}()
	d := actions.Delivery{ID: e.ID, Run: w.run}
	if w.ledger != nil {
		d.Gone = w.goneOf
	}
	if w.subject != nil {
		d.Deleted = w.subject.deletes
	}
	knock := h.client.ForDelivery(d)
	for _, fn := range fns {
		if err := fn.run(ctx, e, knock); err != nil {
			if p := unsound(err); p != nil {
				return p
			}
			return err
		}
	}
	return nil
}

// report writes the log line and calls OnResult.
func (h *Handler) report(ctx context.Context, res *Result) {
	level := slog.LevelWarn
	switch {
	case res.Outcome.OK():
		level = slog.LevelInfo
	case res.Outcome == OutcomeMisconfigured || res.Outcome == OutcomePermanent:
		level = slog.LevelError
	}
	if h.logger.Enabled(ctx, level) {
		var attrs [12]slog.Attr
		h.logger.LogAttrs(ctx, level, "clerk webhook", appendAttrs(attrs[:0], res)...)
	}
	if h.onResult != nil {
		defer h.recoverOnResult(ctx, res)
		h.onResult(ctx, res)
	}
}

// clip bounds a name that the sender has chosen.
func clip(name string) string {
	const longest = 100
	if len(name) <= longest {
		return name
	}
	return strings.ToValidUTF8(name[:longest], "") + "…"
}

// appendAttrs appends what the log line says: ids and names, nothing of the
// payload.
func appendAttrs(attrs []slog.Attr, res *Result) []slog.Attr {
	attrs = append(attrs, slog.String("outcome", string(res.Outcome)))
	if res.DeliveryID != "" {
		attrs = append(attrs, slog.String("delivery", res.DeliveryID))
	}
	if res.EventType != "" {
		attrs = append(attrs, slog.String("event", clip(res.EventType)))
	}
	if res.Attempt > 1 {
		attrs = append(attrs, slog.Int("attempt", res.Attempt))
	}
	sent, warning := 0, ""
	for _, s := range res.Steps {
		if s.Skipped == "" {
			sent++
		}
		if s.Warning != nettext.NothingToRemove {
			warning = cmp.Or(warning, s.Warning)
		}
	}
	if warning != "" {
		attrs = append(attrs, slog.String("warning", warning))
	}
	attrs = append(attrs, slog.Int("steps", sent), slog.Duration("duration", res.Duration))
	if res.DryRun {
		attrs = append(attrs, slog.Bool("dry_run", true))
	}
	if res.Replay {
		attrs = append(attrs, slog.Bool("replay", true))
	}
	if res.Err != nil {
		if n := len(res.Steps); n > 0 && res.Steps[n-1].Err != nil {
			attrs = append(attrs, slog.String("step", res.Steps[n-1].Name))
		}
		attrs = append(attrs, slog.String("error", logText(res.Err)))
		if p, ok := errors.AsType[*PanicError](res.Err); ok {
			attrs = append(attrs, slog.String("stack", string(p.Stack)))
		}
	}
	return attrs
}

// logStep writes the log line of a step. It says no more than appendAttrs does.
func (w *work) logStep(ctx context.Context, s *Step) {
	if !w.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("delivery", w.delivery.ID), slog.String("event", clip(w.eventType)), slog.String("step", s.Name),
	}
	if s.Skipped != "" {
		attrs = append(attrs, slog.String("skipped", string(s.Skipped)))
	}
	if s.Status != 0 {
		attrs = append(attrs, slog.Int("status", s.Status))
	}
	if s.Attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", s.Attempts))
	}
	if s.Duration > 0 {
		attrs = append(attrs, slog.Duration("duration", s.Duration))
	}
	if s.RequestID != "" {
		attrs = append(attrs, slog.String("request_id", s.RequestID))
	}
	if s.Replayed {
		attrs = append(attrs, slog.Bool("replayed", true))
	}
	if s.Warning != "" {
		attrs = append(attrs, slog.String("warning", s.Warning))
	}
	if w.ledger == nil {
		attrs = append(attrs, slog.Bool("dry_run", true))
	}
	if s.Err != nil {
		attrs = append(attrs, slog.String("error", logText(s.Err)))
	}
	w.logger.LogAttrs(ctx, slog.LevelDebug, "clerk webhook step", attrs...)
}

// recoverOnResult keeps a panic of OnResult from undoing the delivery: the
// answer would be lost and Svix would send again what is done.
func (h *Handler) recoverOnResult(ctx context.Context, res *Result) {
	switch v := recover(); v {
	case nil:
	case http.ErrAbortHandler:
		panic(v)
	default:
		// As little of the value as of a mapping function's: it may hold the event.
		p := &PanicError{Value: v, in: "OnResult"}
		h.logger.LogAttrs(ctx, slog.LevelError, "bridge: OnResult panicked",
			slog.String("delivery", res.DeliveryID), slog.String("panic", p.Error()), slog.String("stack", string(debug.Stack())))
	}
}

var jsonContent = []string{"application/json"} //nolint:gochecknoglobals // a constant in all but name

// answer writes the outcome: the status for Svix, and a body for people that
// look at an attempt in Clerk's dashboard. Over HTTP/2 the end of one connection would
// be that of many requests.
func answer(w http.ResponseWriter, http1 bool, res *Result) {
	header := w.Header()
	header["Content-Type"] = jsonContent
	status := res.Status()
	switch {
	case status == http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case res.RetryAfter > 0:
		header.Set("Retry-After", strconv.FormatInt(int64((res.RetryAfter+time.Second-1)/time.Second), 10))
	case res.abort():
		header.Set("Webhook-Delivery", "abort-message")
	}
	if res.unread && http1 {
		header.Set("Connection", "close") // else the server reads on before it answers
	}
	body := make([]byte, 0, 128)
	body = append(append(append(body, `{"outcome":"`...), res.Outcome...), '"')
	if res.DeliveryID != "" { // printable ASCII, see readHeaders
		body = strconv.AppendQuoteToASCII(append(body, `,"delivery":`...), res.DeliveryID)
	}
	body = append(body, "}\n"...)
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON of printable ASCII, not HTML
}
