package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

// Queue stores verified deliveries, so that they can be acknowledged before they
// are processed. Package inbox has one for a single machine, and the module
// bridgeriver one on PostgreSQL for many.
//
// Whoever takes a delivery out of the queue hands it to [Handler.Process], and
// then does what [Result.Retry] says.
type Queue interface {
	// Enqueue stores d durably: when it returns nil, d survives a crash. It
	// reports false, and stores nothing, when it knows the delivery already.
	// The body must not be kept after an error. It is safe for concurrent use.
	Enqueue(ctx context.Context, d Delivery) (stored bool, err error)
}

// QueueStats describe a queue, for metrics.
type QueueStats struct {
	// Waiting is the number of deliveries that are not done, those under way
	// included.
	Waiting int

	// Oldest is how long the first of these has been there. Zero when there is none.
	Oldest time.Duration

	// Dead is the number of those that were given up and that the queue still keeps.
	Dead int
}

// ErrBusy says that another worker is processing the delivery, or another one
// about the same user, organization or membership. Find it in the Err of a
// Result with [errors.Is].
var ErrBusy = errors.New("bridge: another attempt works on this delivery, or on another one of the same user or organization")

// Retry says what a queue is to do with a delivery that has been attempted.
type Retry struct {
	// Again is true when the delivery is to be attempted again, whatever its Outcome: a
	// dry run has done nothing. Otherwise it is done if the Outcome is OK, and if not
	// is kept for people to look at, and not attempted again by itself.
	Again bool

	// After is how long to wait before that.
	After time.Duration

	// Free is true when the attempt does not count, because the delivery is not to
	// blame: another one was in progress, Knock's limits had no room for the call,
	// package pace has paused it, or it was a dry run.
	Free bool
}

// The waits and the numbers of attempts of [Result.Retry].
const (
	firstTransient, longestTransient, maxTransient = time.Second, 10 * time.Minute, 500
	firstMended, longestMended, maxMended          = time.Minute, time.Hour, 72
	firstPanic, maxPanics                          = 10 * time.Second, 5
	maxIgnored                                     = 7 // with the waits of firstMended, an hour

	longestAsked = 24 * time.Hour

	// A worker that has an entity is done soon. One that has died holds it until its
	// lease ends.
	firstTurn, longestTurn = 100 * time.Millisecond, time.Second
)

// Retry says what a queue is to do after the attempt with that number; the
// count starts at 1 and leaves out attempts that were Free. Waits that are
// doubled are give or take a fifth.
//
//   - A transient failure is attempted again after exactly the time that Knock or
//     the mapping function asked for, at most a day, or else after one second,
//     doubled each time up to 10 minutes: 500 attempts in all. That is three days if
//     nothing is asked for, and less if the waits are shorter.
//   - One that needs a change of the configuration or the mapping (misconfigured,
//     rejected) is attempted again after a minute, doubled up to an hour: 72 attempts
//     in all, which is three days. After a panic of a mapping function the wait is ten
//     seconds, doubled: five attempts in all.
//   - What can't succeed (permanent, malformed) is not attempted again.
//   - One that is ignored was mapped by the process that stored it: either this worker
//     is of an older version that is being replaced, or the mapping was removed. It is
//     attempted again after a minute, doubled each time, so that a newer worker gets
//     it: seven attempts in all, which is an hour. Then it is done.
//   - One that was a dry run stays, whatever its outcome: it is attempted again every
//     minute, without end, and processed once Config.DryRun is unset.
func (r *Result) Retry(attempt int) Retry {
	if r.DryRun {
		return Retry{Again: true, After: firstMended, Free: true}
	}
	switch r.Outcome {
	case OutcomeIgnored:
		return Retry{Again: attempt < maxIgnored, After: backoff(firstMended, longestMended, attempt)}
	case OutcomeTransient:
		if errors.Is(r.Err, ErrBusy) {
			return Retry{Again: true, After: firstTurn + jitter(longestTurn-firstTurn), Free: true}
		}
		asked := askedWait(r.Err)
		if asked > 0 {
			free := postponed(r.Err)
			return Retry{Again: free || attempt < maxTransient, After: min(asked, longestAsked), Free: free}
		}
		return Retry{Again: attempt < maxTransient, After: backoff(firstTransient, longestTransient, attempt)}
	case OutcomeMisconfigured, OutcomeRejected:
		if p, ok := errors.AsType[*PanicError](r.Err); ok && p.in == "" {
			return Retry{Again: attempt < maxPanics, After: backoff(firstPanic, longestMended, attempt)}
		}
		return Retry{Again: attempt < maxMended, After: backoff(firstMended, longestMended, attempt)}
	default:
		return Retry{}
	}
}

// postponed reports whether an attempt ended because Knock's limits had no room
// for its call.
func postponed(err error) bool {
	if e, ok := errors.AsType[*actions.SendError](err); ok {
		return e.Unsent && e.RetryAfter > 0
	}
	e, ok := errors.AsType[*actions.Error](err)
	return ok && e.Status == http.StatusTooManyRequests
}

// backoff is the wait after the attempt of that number.
func backoff(first, longest time.Duration, attempt int) time.Duration {
	const doublings = 20
	wait := min(first<<min(max(attempt-1, 0), doublings), longest)
	return wait - wait/5 + jitter(2*wait/5)
}

func jitter(d time.Duration) time.Duration {
	return rand.N(d) //nolint:gosec // a wait need not be unpredictable
}

// Subject is what a delivery is about, for a [Queue] that wants to process
// deliveries about the same entity one at a time, or to take the newest state
// first.
type Subject struct {
	// EventType is the event's name.
	EventType string

	// Entity is the key of the user, organization or membership, as in a [Claim].
	// It is empty for an event that is about none.
	Entity string

	// Deletes is true when the entity is gone.
	Deletes bool

	// Version and Timestamp order the states of the entity. Version is the data's
	// updated_at, or else the event's timestamp; Timestamp is the event's. Both are
	// in milliseconds since 1970, and zero when the event carries no state.
	Version, Timestamp int64
}

// SubjectOf reads what a delivery is about. It returns an error for a body that
// is not an event; for data that does not say which entity it is about, or has it
// in values of a wrong type, only EventType is set.
func SubjectOf(d Delivery) (Subject, error) {
	e, err := clerk.Parse(d.ID, d.Body)
	if err != nil {
		return Subject{}, err
	}
	out := Subject{EventType: e.Type}
	if s := subjectOf(&rawEvent{AnyEvent: e}); s != nil {
		out.Entity, out.Deletes = s.entities[0].key, s.deletes != nil
		out.Version, out.Timestamp = s.mark.Version, s.mark.Stamp
	}
	return out, nil
}

// enqueue stores a delivery instead of processing it.
func (h *Handler) enqueue(ctx context.Context, deadline time.Time, d Delivery, e *clerk.AnyEvent, res *Result) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if h.onResult != nil { // for people who look for what came of a user
		if s := subjectOf(&rawEvent{AnyEvent: e}); s != nil {
			res.Entity = s.entities[0].key
		}
	}
	stored, err := h.queue.Enqueue(ctx, d)
	switch {
	case err != nil:
		res.Outcome, res.Err = OutcomeTransient, RetryAfter(0, err)
		res.RetryAfter = defaultRetryAfter
	case stored:
		res.Outcome = OutcomeQueued
	default:
		res.Outcome = OutcomeDuplicate
	}
}
