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
// lists what is mapped without further words; [On] replaces an entry, [Also]
// adds to it, [Disable] removes it. The [Outcome] of the functions decides the
// answer, and with it whether Svix, which delivers for Clerk, tries again.
//
// # Guarantees
//
// Svix delivers at least once and in no order. Every call to Knock that the
// defaults make is safe to repeat. A workflow trigger carries an idempotency key
// made of the delivery's id and the step's content, which Knock honours for 24
// hours, so the attempts that Svix makes within a day run a workflow once; a
// delivery replayed by hand after that triggers again. Events are applied in the
// order they arrive in: a delayed user.updated can overwrite a newer one, or
// bring back a user that was deleted meanwhile.
package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

// Version is the version of this module.
const Version = "0.1.0-dev"

const (
	defaultMaxBodyBytes = 1 << 20
	defaultTimeout      = 12 * time.Second
)

// Config configures a [Handler].
type Config struct {
	// DryRun makes the handler run the mapping functions without sending
	// anything: calls are recorded in the Result. Defaults to false.
	DryRun bool

	// Knock is where calls go, usually an *[actions.HTTP]. Required.
	Knock actions.Transport

	// Logger gets one line per delivery, without payload and secrets. Defaults
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
	// answer is sent. It runs on the request's goroutine: return quickly. The
	// Result must not be changed. Defaults to nothing.
	OnResult func(context.Context, *Result)

	// SigningSecrets are the signing secrets of Clerk's endpoints ("whsec_…"),
	// at least one. Any of them may match, so that a secret can be rotated and
	// several endpoints can share the handler. Required.
	SigningSecrets []string

	// Timeout bounds the work on one delivery, reading the body included.
	// Defaults to 12 seconds; Svix waits for 15.
	Timeout time.Duration

	// Tolerance is how far a delivery's timestamp may be from this machine's
	// clock, both ways. Defaults to 5 minutes.
	Tolerance time.Duration
}

// Handler receives Clerk's webhooks. It is safe for concurrent use.
type Handler struct {
	verifier *Verifier
	table    *table
	client   *actions.Client
	logger   *slog.Logger
	onResult func(context.Context, *Result)
	maxBody  int64
	timeout  time.Duration
	dryRun   bool
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
	if cfg.Timeout < 0 {
		problems = append(problems, errors.New("Timeout is negative"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("bridge: invalid config:\n%w", err)
	}
	h := &Handler{
		verifier: verifier,
		table:    table,
		client:   actions.NewClient(cfg.Knock),
		logger:   cfg.Logger,
		onResult: cfg.OnResult,
		maxBody:  cfg.MaxBodyBytes,
		timeout:  cfg.Timeout,
		dryRun:   cfg.DryRun,
	}
	if h.logger == nil {
		h.logger = slog.Default()
	}
	if h.maxBody == 0 {
		h.maxBody = defaultMaxBodyBytes
	}
	if h.timeout == 0 {
		h.timeout = defaultTimeout
	}
	return h, nil
}

// EventNames returns the types of events that have a mapping, sorted: what to
// tick in Clerk's dashboard.
func (h *Handler) EventNames() []string { return h.table.names() }

// Delivery is one verified webhook, whole in itself: it can be stored and
// worked off later.
type Delivery struct {
	// ID is the svix-id, the same on every attempt. Required.
	ID string
	// ReceivedAt is when the bridge got it.
	ReceivedAt time.Time
	// Body is what was received, untouched.
	Body json.RawMessage
}

// ServeHTTP verifies one delivery, runs what is mapped to it and answers with
// the outcome's status. It answers within Config.Timeout if the mapping
// functions return when their context ends. The sender hanging up does not stop
// the work: it would come again and find it half done.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	deadline := started.Add(h.timeout)
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), deadline)
	defer cancel()
	// A sender that stalls is cut off, and so is the server's attempt to read
	// what was left of a body that nobody wanted.
	rc := http.NewResponseController(w)
	limited := rc.SetReadDeadline(deadline) == nil
	d, res := h.receive(r)
	if res == nil {
		if limited { // else the server would cancel the request when it passes
			_ = rc.SetReadDeadline(time.Time{})
		}
		d.ReceivedAt = started
		res = h.process(ctx, d, h.dryRun)
	}
	res.Duration = time.Since(started)
	h.report(ctx, res)
	answer(w, res)
}

// Process works off a delivery that was verified before: one taken from a
// queue, replayed, or made by a backfill. The Result is never nil; the error is
// its Err.
func (h *Handler) Process(ctx context.Context, d Delivery) (*Result, error) {
	return h.processReported(ctx, d, h.dryRun)
}

// DryRun runs what is mapped to a delivery without sending anything. The calls
// it would make are the Steps of the Result, bodies included; look-ups at Knock
// return nothing. The Result is never nil; the error is its Err.
func (h *Handler) DryRun(ctx context.Context, d Delivery) (*Result, error) {
	return h.processReported(ctx, d, true)
}

func (h *Handler) processReported(ctx context.Context, d Delivery, dryRun bool) (*Result, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	res := h.process(ctx, d, dryRun)
	res.Duration = time.Since(started)
	h.report(ctx, res)
	return res, res.Err
}

// receive reads and verifies a request. It returns a Result instead of a
// Delivery when that fails, with the cheap checks first: nothing is read from
// and nothing is hashed for a sender that can't be genuine.
func (h *Handler) receive(r *http.Request) (Delivery, *Result) {
	if r.Method != http.MethodPost {
		return Delivery{}, &Result{
			Outcome: OutcomeRefused, refusal: http.StatusMethodNotAllowed, unread: true,
			Err: fmt.Errorf("bridge: method is %.20q, want POST", r.Method),
		}
	}
	if r.ContentLength > h.maxBody {
		return Delivery{}, h.tooLarge()
	}
	c, err := h.verifier.readHeaders(r.Header)
	if err != nil {
		return Delivery{}, &Result{Outcome: unverified(err), Err: err, unread: true}
	}
	body, err := h.readBody(r)
	switch {
	case errors.Is(err, errTooLarge):
		return Delivery{}, h.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Delivery{}, &Result{
			Outcome: OutcomeTransient, RetryAfter: defaultRetryAfter, unread: true,
			Err: fmt.Errorf("bridge: the body did not arrive in time: %w", err),
		}
	case err != nil:
		return Delivery{}, &Result{Outcome: OutcomeMalformed, unread: true, Err: fmt.Errorf("bridge: read the body: %w", err)}
	}
	if err := h.verifier.checkSignature(c, body); err != nil {
		return Delivery{}, &Result{Outcome: unverified(err), Err: err}
	}
	return Delivery{ID: c.id, Body: body}, nil
}

func (h *Handler) tooLarge() *Result {
	return &Result{
		Outcome: OutcomeRefused, refusal: http.StatusRequestEntityTooLarge, unread: true,
		Err: fmt.Errorf("%w of %d bytes", errTooLarge, h.maxBody),
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

func (h *Handler) readBody(r *http.Request) ([]byte, error) {
	size := min(max(r.ContentLength, 0), trustedSize)
	body := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := body.ReadFrom(io.LimitReader(r.Body, h.maxBody+1)); err != nil {
		return nil, err
	}
	if int64(body.Len()) > h.maxBody {
		return nil, errTooLarge
	}
	return body.Bytes(), nil
}

// process is the way of a verified delivery: envelope, table, functions.
func (h *Handler) process(ctx context.Context, d Delivery, dryRun bool) *Result {
	res := &Result{DeliveryID: d.ID, DryRun: dryRun}
	if d.ID == "" {
		res.Outcome, res.Err = OutcomeMalformed, errors.New("bridge: the delivery has no id")
		return res
	}
	e, err := clerk.Parse(d.ID, d.Body)
	if err != nil {
		res.Outcome, res.Err = OutcomeMalformed, err
		return res
	}
	res.EventType = e.Type
	rec := &recorder{dryRun: dryRun}
	mapped, err := h.run(ctx, e, h.client.ForDelivery(d.ID, rec.run))
	res.Steps = rec.done()
	switch {
	case err != nil:
		res.Outcome, res.Err = OutcomeOf(err), err
		if res.Outcome == OutcomeTransient {
			res.RetryAfter = retryAfter(err)
		}
	case mapped:
		res.Outcome = OutcomeDone
	default:
		res.Outcome = OutcomeIgnored
	}
	return res
}

// run calls the mapped functions and turns a panic into an error.
func (h *Handler) run(ctx context.Context, e *clerk.AnyEvent, knock *actions.Client) (mapped bool, err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v)
		default:
			mapped, err = true, &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return h.table.run(ctx, e, knock)
}

// recorder keeps the steps of one delivery.
type recorder struct {
	dryRun bool

	mu    sync.Mutex
	steps []*Step
}

var errUnfinished = errors.New("bridge: the step has not finished")

func (r *recorder) run(ctx context.Context, s *Step, do func(context.Context) error) error {
	r.mu.Lock()
	r.steps = append(r.steps, s)
	r.mu.Unlock()
	if r.dryRun {
		return nil
	}
	started := time.Now()
	s.Err = errUnfinished // stays when do panics
	s.Err = do(ctx)
	s.Duration = time.Since(started)
	return s.Err
}

func (r *recorder) done() []*Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.steps
}

// report writes the log line and calls OnResult.
func (h *Handler) report(ctx context.Context, res *Result) {
	level := slog.LevelInfo
	switch res.Outcome {
	case OutcomeDone, OutcomeIgnored:
	case OutcomeMisconfigured, OutcomePermanent:
		level = slog.LevelError
	default:
		level = slog.LevelWarn
	}
	if h.logger.Enabled(ctx, level) {
		attrs := make([]slog.Attr, 0, 8)
		attrs = append(attrs, slog.String("outcome", string(res.Outcome)))
		if res.DeliveryID != "" {
			attrs = append(attrs, slog.String("delivery", res.DeliveryID))
		}
		if res.EventType != "" {
			attrs = append(attrs, slog.String("event", res.EventType))
		}
		attrs = append(attrs, slog.Int("steps", len(res.Steps)), slog.Duration("duration", res.Duration))
		if res.DryRun {
			attrs = append(attrs, slog.Bool("dry_run", true))
		}
		if res.Err != nil {
			attrs = append(attrs, slog.String("error", logText(res.Err)))
		}
		h.logger.LogAttrs(ctx, level, "clerk webhook", attrs...)
	}
	if h.onResult != nil {
		defer h.recoverOnResult(ctx)
		h.onResult(ctx, res)
	}
}

// recoverOnResult keeps a panic of OnResult from undoing the delivery: the
// answer would be lost and Svix would send again what is done.
func (h *Handler) recoverOnResult(ctx context.Context) {
	switch v := recover(); v {
	case nil:
	case http.ErrAbortHandler:
		panic(v)
	default:
		h.logger.LogAttrs(ctx, slog.LevelError, "bridge: OnResult panicked", slog.Any("panic", v))
	}
}

// answer writes the outcome: the status for Svix, and a body for people that
// look at an attempt in Clerk's dashboard.
func answer(w http.ResponseWriter, res *Result) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	status := res.Status()
	switch {
	case status == http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case res.RetryAfter > 0:
		header.Set("Retry-After", strconv.FormatInt(int64((res.RetryAfter+time.Second-1)/time.Second), 10))
	case res.abort():
		header.Set("Webhook-Delivery", "abort-message")
	}
	if res.unread {
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
