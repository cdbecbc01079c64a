package pace

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/clerkknock/bridge/actions"
)

// Knock's tiers.
const (
	bulkTier = 1 + iota
	deleteTier
	writeTier
	readTier
	workflowTier

	tierCount = 5
)

func defaultRates() map[int]float64 {
	return map[int]float64{bulkTier: 1, deleteTier: 5, writeTier: 60, readTier: 200, workflowTier: 1000}
}

const (
	// headroom is the part of a limit that is used. Limiters have a burst of one:
	// the calls to an endpoint leave 1/rate apart, so that any second holds at most
	// the rate, rounded up, wherever Knock's seconds begin. A bucket of b would let
	// b and the rate of a full second into one of Knock's. The network delays some
	// calls more than others, though, which can move a call into another second:
	// with a twentieth left out, differences of 50 ms do no harm.
	headroom = 0.95

	// gatherFor is how long a bulk call gathers at least.
	gatherFor = 100 * time.Millisecond

	// farthest bounds the times of postponed calls. Those beyond go in between
	// the others, as nobody keeps count of calls that never come back.
	farthest = time.Hour

	defaultStop  = time.Second // after a 429 without Retry-After
	longestStop  = time.Minute // after one with it, which may be a proxy's: then a call tells
	recoverEvery = 5 * time.Second
	recoverBy    = 0.1
	leastFactor  = 1.0 / 16
)

var errPostponed = errors.New("pace: no turn within Knock's rate limit in time")

// tier is what the endpoints of one of Knock's tiers have in common.
type tier struct {
	full   float64       // calls a second at most
	factor float64       // the part of full in use
	lead   time.Duration // the first turn comes no sooner
	until  time.Time     // nothing is sent before
	// changed is when factor last was.
	changed time.Time
	// generation counts the 429. A turn given in an older one is void.
	generation int
	endpoints  []*endpoint
}

func (t *tier) rate() float64 { return t.full * t.factor }

// slow takes note of a 429 to a call of that generation. Those to calls that were
// under way at the same time halve the rate once.
func (t *tier) slow(generation int, now time.Time, asked time.Duration) {
	if asked <= 0 {
		asked = defaultStop
	}
	if until := now.Add(min(asked, longestStop)); until.After(t.until) {
		t.until = until
	}
	t.changed = now
	if generation != t.generation {
		return
	}
	t.generation++
	t.factor = max(t.factor/2, leastFactor)
	for _, e := range t.endpoints {
		e.limiter = t.newLimiter()
	}
}

// mend gives back a part of the rate for every five seconds without a 429.
func (t *tier) mend(now time.Time) {
	if t.factor == 1 {
		return
	}
	steps := int(now.Sub(t.changed) / recoverEvery)
	if steps <= 0 {
		return
	}
	t.factor = min(1, t.factor+float64(steps)*recoverBy)
	t.changed = t.changed.Add(time.Duration(steps) * recoverEvery)
	for _, e := range t.endpoints {
		e.limiter.SetLimitAt(now.Add(t.lead), rate.Limit(t.rate()))
	}
}

func (t *tier) newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Limit(t.rate()), 1) }

// endpoint is what Knock counts the calls of.
type endpoint struct {
	tier    *tier
	limiter *rate.Limiter
	line    line
}

// turn is when the next call's turn would come.
func (e *endpoint) turn(now time.Time) time.Time {
	e.tier.mend(now)
	if e.tier.until.After(now) {
		return e.tier.until
	}
	at := now.Add(e.tier.lead)
	if missing := 1 - e.limiter.TokensAt(at); missing > 0 {
		at = at.Add(time.Duration(missing / e.tier.rate() * float64(time.Second)))
	}
	return at
}

// line gives the times at which postponed calls should come back.
type line struct {
	next time.Time
}

// after returns the wait of another postponed call: not before first, and so long
// after the one before.
func (l *line) after(now, first time.Time, apart time.Duration) time.Duration {
	if l.next.Before(first) || l.next.Sub(first) > farthest {
		l.next = first
	}
	at := l.next
	l.next = at.Add(apart)
	return at.Sub(now)
}

// endpoint returns the endpoint of a route. t.mu is held.
func (t *Transport) endpoint(r route) *endpoint {
	e := t.endpoints[r.pattern]
	if e == nil {
		e = &endpoint{tier: t.tiers[r.tier]}
		e.limiter = e.tier.newLimiter()
		e.tier.endpoints = append(e.tier.endpoints, e)
		t.endpoints[r.pattern] = e
	}
	return e
}

// ticket is a call's turn. Without a reservation it says when to ask again.
type ticket struct {
	at          time.Time
	generation  int
	reservation *rate.Reservation
}

// reserve gives c its turn. When that would come too late there is none, and wait
// is how long c is postponed. t.mu is held.
func (t *Transport) reserve(c *call, now time.Time) (k ticket, wait time.Duration, ok bool) {
	tier := c.ep.tier
	at := c.ep.turn(now)
	if at.After(now) && at.After(c.by) {
		return ticket{}, t.postpone(c, now, at), false
	}
	k = ticket{at: at, generation: tier.generation}
	if !tier.until.After(now) {
		k.reservation = c.ep.limiter.ReserveN(now.Add(tier.lead), 1)
		k.at = now.Add(k.reservation.DelayFrom(now))
	}
	return k, 0, true
}

// postpone returns when c should come back. t.mu is held.
func (t *Transport) postpone(c *call, now, first time.Time) time.Duration {
	apart := time.Duration(float64(time.Second) / c.ep.tier.rate())
	if c.line != &c.ep.line { // one of many items of a bulk call
		apart /= time.Duration(t.maxBulk)
	}
	return c.line.after(now, first, apart)
}

// await waits for the turn and returns the generation in which it came. A 429
// to another call makes it ask for another turn.
func (t *Transport) await(ctx context.Context, c *call, k ticket) (generation int, err error) {
	for {
		if err := sleepUntil(ctx, k.at); err != nil {
			if k.reservation != nil {
				t.mu.Lock()
				k.reservation.CancelAt(time.Now().Add(c.ep.tier.lead))
				t.mu.Unlock()
			}
			return 0, c.fail(0, err)
		}
		t.mu.Lock()
		now, tier := time.Now(), c.ep.tier
		if k.reservation != nil && k.generation == tier.generation && !tier.until.After(now) {
			t.mu.Unlock()
			return k.generation, nil
		}
		next, wait, ok := t.reserve(c, now)
		t.mu.Unlock()
		if !ok {
			return 0, c.fail(wait, errPostponed)
		}
		k = next
	}
}

// sleepUntil returns the context's error when it ends first.
func sleepUntil(ctx context.Context, at time.Time) error {
	if d := time.Until(at); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// route is what the limits, the pauses and the bulk calls know of a request.
type route struct {
	pattern string // the endpoint: the method, and the path without ids
	tier    int
	pauses  string // what a 404 pauses, or ""
	bulk    bulkKind
	id      string // of what a bulk call has an item for, escaped
	parent  string // the collection, escaped
}

// routeOf reads a request. In Knock's paths names and ids take turns, except that
// an object has a collection and an id, and that "bulk" stands in place of an id.
func routeOf(r *actions.Request) route {
	path, query, _ := strings.Cut(r.Path, "?")
	segments := strings.Split(strings.Trim(strings.TrimPrefix(path, "/v1"), "/"), "/")
	ids := 1 // the place of the first id
	if segments[0] == "objects" {
		ids = 2
	}
	bulk := r.Method == http.MethodPost && len(segments) > ids+1 && segments[ids] == "bulk"
	names := append([]string{r.Method}, segments...)
	for i := range segments {
		switch {
		case i == 0 || bulk && i >= ids:
		case i < ids:
			names[i+1] = "{collection}"
		case (i-ids)%2 == 0:
			names[i+1] = "{id}"
		}
	}
	out := route{pattern: strings.Join(names, "/"), tier: tierOf(names[0], names[1:], bulk)}
	switch out.pattern {
	case "POST/workflows/{id}/trigger", "POST/workflows/{id}/cancel":
		out.pauses = "workflow " + segments[1]
	case "POST/audiences/{id}/members":
		out.pauses = "audience " + segments[1]
	case "PUT/users/{id}":
		out.bulk, out.id = bulkUsers, segments[1]
	case "PUT/tenants/{id}":
		out.bulk, out.id = bulkTenants, segments[1]
	case "POST/objects/{collection}/{id}/subscriptions":
		out.bulk, out.parent, out.id = bulkSubscriptions, segments[1], segments[2]
	}
	if query != "" {
		out.bulk = notBulk
	}
	return out
}

func tierOf(method string, names []string, bulk bool) int {
	last := names[len(names)-1]
	account := names[0] == "users" || names[0] == "tenants"
	switch {
	case bulk:
		return bulkTier
	case method == http.MethodGet:
		return readTier
	case names[0] == "workflows":
		return workflowTier
	case method == http.MethodDelete && account && len(names) == 2,
		method == http.MethodPost && names[0] == "users" && last == "merge":
		return deleteTier
	default:
		return writeTier
	}
}
