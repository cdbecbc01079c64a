// Package pace keeps Knock's rate limits. Its [Transport] wraps another one and is
// used in its place:
//
//	knock := &pace.Transport{Knock: actions.FromEnv(&actions.HTTP{})}
//	handler, err := bridge.New(bridge.Config{Knock: knock, …})
//
// # Limits
//
// Knock counts the calls to each of its endpoints (a method and a route, such as PUT
// /v1/users/{id}) by the second, and answers 429 beyond the number of the endpoint's
// tier: 1 for the bulk calls, 5 for deletions of users and tenants and for merges, 60
// for other writes, 200 for reads, 1,000 for triggers and cancellations. The
// Transport sends the calls to an endpoint one after the other, so far apart that
// Knock never counts more. A call waits for its turn up to [Transport.MaxWait]. One
// whose turn would come later is not sent: it fails with an [*actions.SendError] that
// is Unsent and whose RetryAfter says when its turn comes. Each call gets a different
// turn, so that thousands come back spread out and not all at once. A bridge.Queue
// attempts such a delivery again without counting the attempt. What the wrapped
// Transport repeats by itself, after a 5xx, is not counted here.
//
// The limits are those of the Knock environment, so all processes that use its key
// share them: give each its [Transport.Share]. Shares add up over time but not
// within each second, so with several processes there are a few 429s now and then.
//
// # 429
//
// A 429 stops the whole tier until its Retry-After is over (a minute at most, or one
// second when there is none) and halves the tier's rate, which then recovers by a tenth
// of the full rate every five seconds. The call itself is sent again when its turn comes
// within MaxWait; otherwise Knock's answer is returned as it is.
//
// # Pauses
//
// A problem that needs somebody to change a key or commit a workflow fails every
// delivery in the same way. After 401 or 403 all calls are paused, after 404 for a
// workflow's trigger or cancellation those for that workflow, and after 404 for adding
// to an audience those for that audience. They fail at once with an
// [*actions.SendError] that is Unsent, wraps a [*PausedError] and says how long the
// pause still lasts. A pause lasts 10 seconds; then one call is let through: its
// success ends the pause, its failure doubles it, up to 10 minutes.
//
// Only an answer that can be Knock's counts, that is, a JSON object. A web page, or
// whatever else a proxy or a firewall sends in its place, is returned as it is, and
// neither begins nor ends a pause: it may be about what one user has typed.
//
// # Bulk
//
// A call under [actions.AllowBulk] that identifies a user, sets a tenant or subscribes
// to an object, and whose own turn would come later than [Transport.BulkAfter], is
// sent with others like it in one of Knock's bulk calls. Knock accepts a bulk call at
// once and does the work later: each call returns when Knock reports that its item is
// done. Items that Knock reports as failed or skipped are sent one by one, as is
// everything for a minute after Knock refuses a bulk call or takes longer over it than
// any caller can wait. A bulk call combines what waits at the same time, so it takes a
// few hundred queue workers to make good use of it.
//
// Two calls for the same user, tenant or subscription never go in one bulk call, but
// they may overtake each other when they are made at the same time. The bridge's ledger
// lets only one delivery per entity proceed at a time, and each call returns only when
// it has been applied, so an earlier state can't overwrite a later one. A call whose
// context ends before Knock is done returns earlier, though, with an error that is not
// Unsent: its item may take effect at any time until Knock is done.
package pace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/clerkknock/bridge/actions"
)

const (
	defaultMaxWait   = 2 * time.Second
	defaultBulkAfter = time.Second
	defaultMaxBulk   = 1000

	// leastAttempt is what must be left of the context's time after a wait for
	// an attempt to be worth it.
	leastAttempt = 100 * time.Millisecond
)

// Transport is an [actions.Transport] that keeps Knock's rate limits, see the
// package's documentation. All calls of a process should go through one.
//
// It must be used by pointer, is safe for concurrent use, and must not be changed
// once it is in use. It starts no goroutine that outlives the calls.
type Transport struct {
	// Knock sends the requests. Required.
	Knock actions.Transport

	// Share is the part of Knock's limits that this process may use: 0.25 for each
	// of four processes. Validate refuses less than 0 and more than 1. Defaults to
	// 1, the full limits.
	Share float64

	// Rates are the calls that Knock allows each second to an endpoint, by tier
	// (1 to 5), where an account's limits differ from the documented ones. A tier
	// that is not named keeps its default: 1, 5, 60, 200 and 1,000. Validate refuses
	// other tiers, and rates that are not positive.
	Rates map[int]float64

	// MaxWait is how long a call waits for its turn at most, and never past the
	// context's deadline. Raise it for a Share of less than a half, as bulk calls
	// are then further apart. Defaults to 2 seconds.
	MaxWait time.Duration

	// NoBulk sends every call on its own. Defaults to false: calls under
	// [actions.AllowBulk] may be sent in bulk.
	NoBulk bool

	// BulkAfter is how far off a call's own turn must be for it to be sent in bulk
	// instead. A shorter time makes fewer calls, but takes longer when fewer than
	// about 60 wait at a time, as Knock takes one bulk call a second. Defaults to
	// 1 second.
	BulkAfter time.Duration

	// MaxBulk is the number of items in one bulk call, at most 1,000. Defaults
	// to 1,000.
	MaxBulk int

	once      sync.Once
	problem   error
	maxWait   time.Duration
	bulkAfter time.Duration
	maxBulk   int

	mu        sync.Mutex // guards what follows, and all that hangs from it
	tiers     [bulkTier + tierCount]*tier
	endpoints map[string]*endpoint
	pauses    map[string]*pause
	gatherers map[string]*gatherer
}

// Validate reports everything that is wrong with the fields, an
// [*actions.InvalidError] each, and what Knock's own Validate reports, joined by
// [errors.Join], or nil. Do returns the same error when there is one.
func (t *Transport) Validate() error {
	if t == nil {
		return &actions.InvalidError{Op: "pace.Transport", Field: "the pointer", Reason: "is nil"}
	}
	var problems []error
	problem := func(field, format string, args ...any) {
		problems = append(problems, &actions.InvalidError{Op: "pace.Transport", Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if t.Knock == nil {
		problem("Knock", "is nil")
	} else if v, ok := t.Knock.(interface{ Validate() error }); ok {
		err := v.Validate()
		if _, invalid := errors.AsType[*actions.InvalidError](err); err != nil && !invalid {
			problem("Knock", "can't be used: %v", err)
		} else {
			problems = append(problems, err)
		}
	}
	if !(t.Share >= 0 && t.Share <= 1) {
		problem("Share", "is %v, not between 0 and 1", t.Share)
	}
	for n, rate := range t.Rates {
		if n < bulkTier || n >= bulkTier+tierCount {
			problem("Rates", "names tier %d; Knock's are 1 to 5", n)
		}
		if !(rate > 0) || math.IsInf(rate, 1) {
			problem("Rates", "gives tier %d %v calls a second, not a positive number", n, rate)
		}
	}
	if t.MaxWait < 0 || t.BulkAfter < 0 {
		problem("MaxWait and BulkAfter", "can't be negative")
	}
	if t.MaxBulk < 0 || t.MaxBulk > defaultMaxBulk {
		problem("MaxBulk", "is %d, not between 0 and %d", t.MaxBulk, defaultMaxBulk)
	}
	return errors.Join(problems...)
}

func (t *Transport) prepare() error {
	t.once.Do(func() {
		if t.problem = t.Validate(); t.problem != nil {
			return
		}
		t.maxWait = cmp.Or(t.MaxWait, defaultMaxWait)
		t.bulkAfter = cmp.Or(t.BulkAfter, defaultBulkAfter)
		t.maxBulk = cmp.Or(t.MaxBulk, defaultMaxBulk)
		for n, perSecond := range defaultRates() {
			if own, ok := t.Rates[n]; ok {
				perSecond = own
			}
			t.tiers[n] = &tier{full: perSecond * cmp.Or(t.Share, 1) * headroom, factor: 1}
		}
		t.tiers[bulkTier].lead = gatherFor
		t.endpoints = make(map[string]*endpoint)
		t.pauses = make(map[string]*pause)
		t.gatherers = make(map[string]*gatherer)
	})
	return t.problem
}

// call is one request on its way.
type call struct {
	route

	r  *actions.Request
	ep *endpoint
	// line spreads what is postponed.
	line *line
	// by is when its turn must have come.
	by time.Time
	// body makes the body when the turn has come. Nil means the request's own.
	body func() []byte

	attempts int
	doubt    bool // Knock may have acted on one of the attempts
	probes   []*pause
}

func (t *Transport) newCall(ctx context.Context, r *actions.Request) *call {
	c := &call{route: routeOf(r), r: r, by: t.latest(ctx)}
	t.mu.Lock()
	defer t.mu.Unlock()
	c.ep = t.endpoint(c.route)
	c.line = &c.ep.line
	return c
}

// latest is when a turn must have come.
func (t *Transport) latest(ctx context.Context) time.Time {
	by := time.Now().Add(t.maxWait)
	if deadline, ok := ctx.Deadline(); ok && deadline.Add(-leastAttempt).Before(by) {
		return deadline.Add(-leastAttempt)
	}
	return by
}

// fail is the error of a call that gets no answer.
func (c *call) fail(wait time.Duration, err error) *actions.SendError {
	path, _, _ := strings.Cut(c.r.Path, "?")
	return &actions.SendError{
		Attempts: c.attempts, Unsent: !c.doubt, RetryAfter: wait,
		Method: c.r.Method, Path: path, Err: err,
	}
}

// Do sends r when it is its turn, and returns Knock's answer. A call that went in
// bulk is answered 200, without a body and with the bulk call's X-Request-Id. The
// error is a [*actions.SendError] when no answer came; it is Unsent when the call
// was not sent, with RetryAfter when it was postponed or is paused. It is that of
// [Transport.Validate] when the fields are wrong; other errors, and panics, are
// those of the wrapped Transport: a panic in a bulk call reaches each call in it.
func (t *Transport) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	if err := t.prepare(); err != nil {
		return nil, err
	}
	c := t.newCall(ctx, r)
	if err := t.admit(c, false); err != nil {
		return nil, err
	}
	b, e, wait := t.gather(ctx, c)
	switch {
	case wait > 0:
		return nil, c.fail(wait, errPostponed)
	case b != nil:
		return t.inBulk(ctx, c, b, e)
	default:
		return t.single(ctx, c)
	}
}

// single sends c on its own when it is its turn.
func (t *Transport) single(ctx context.Context, c *call) (*actions.Response, error) {
	t.mu.Lock()
	turn, wait, ok := t.reserve(c, time.Now())
	t.mu.Unlock()
	if !ok {
		return nil, c.fail(wait, errPostponed)
	}
	return t.send(ctx, c, turn)
}

// send waits for the turn and sends c, again after a 429 as long as there is a turn
// in time.
func (t *Transport) send(ctx context.Context, c *call, k ticket) (*actions.Response, error) {
	var refused *actions.Response // the last 429
	for {
		generation, err := t.await(ctx, c, k)
		if err == nil {
			err = t.admit(c, true)
		}
		if err != nil {
			if refused != nil {
				return refused, nil
			}
			return nil, err
		}
		res, err := t.exchange(ctx, c)
		if err != nil {
			return nil, err
		}
		if res == nil || res.Status != http.StatusTooManyRequests {
			return res, nil
		}
		refused = res
		t.mu.Lock()
		now := time.Now()
		c.ep.tier.slow(generation, now, actions.ParseRetryAfter(res.Header, now))
		next, _, ok := t.reserve(c, now)
		t.mu.Unlock()
		if !ok {
			return refused, nil
		}
		k = next
	}
}

// exchange makes one attempt. Neither an answer nor an error is the mistake of the
// Transport below, which package actions reports.
func (t *Transport) exchange(ctx context.Context, c *call) (res *actions.Response, err error) {
	defer func() { t.settle(c, res) }() // also when the Transport below panics
	r := *c.r
	r.Paced = true
	if c.body != nil {
		r.Body = c.body()
	}
	answer, err := t.Knock.Do(ctx, &r)
	if err != nil {
		if failed, ok := errors.AsType[*actions.SendError](err); ok {
			c.attempts += failed.Attempts
			c.doubt = c.doubt || !failed.Unsent
			return nil, c.fail(failed.RetryAfter, failed.Err)
		}
		if _, ok := errors.AsType[*actions.InvalidError](err); !ok {
			c.attempts++
			c.doubt = true
		}
		return nil, err
	}
	if answer == nil {
		c.attempts++
		c.doubt = true
		return nil, nil //nolint:nilnil // see above
	}
	own := *answer
	c.doubt = c.doubt || own.Attempts > 1 && !own.NoEffectBefore
	c.attempts += max(own.Attempts, 1)
	own.Attempts, own.NoEffectBefore = c.attempts, !c.doubt
	return &own, nil
}

var _ actions.Transport = (*Transport)(nil)
