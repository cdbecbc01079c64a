package actions

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clerkknock/bridge/internal/nettext"
)

// maxIdempotencyKey is Knock's limit for the Idempotency-Key header.
const maxIdempotencyKey = 255

// Client calls Knock, one method per operation. Inside a delivery the bridge
// hands mapping functions a Client of their own, whose calls are named,
// recorded steps. Outside one (scripts, backfills) [NewClient] makes a Client.
//
// A Client is safe for concurrent use. Steps of one delivery with the same name
// are numbered in the order in which they begin: concurrent calls for the same
// target should not differ, as their numbers may be swapped on another attempt.
//
// Every method but [Client.Step] returns one of these errors, to be told apart with
// [errors.AsType]:
//
//   - *[Error]: Knock answered with a status of 300 or more,
//   - *[InvalidError]: the arguments, or the fields of the [Transport], were refused
//     before anything was sent,
//   - *[SendError]: no answer came (network, deadline, cancelled context), or a web
//     page, which is not from Knock,
//   - anything else does not come from the network: the bridge can't tell what is to be
//     done within this delivery.
type Client struct {
	transport Transport
	delivery  string
	run       Runner
	gone      func(ctx context.Context, of []Reference) ([]Reference, error)

	mu      sync.Mutex
	seen    map[string]int // step names used so far, when run is set
	deleted Recipient      // what may be written although it is gone
}

// NewClient returns a Client that sends its calls through t, outside of any
// delivery: steps are not recorded, and every workflow trigger without an
// IdempotencyKey of its own gets a random one, which protects only against
// repeats by the Transport. A nil Transport panics at the first call.
func NewClient(t Transport) *Client { return &Client{transport: t} }

// Delivery is the work on one delivery that a Client is for.
type Delivery struct {
	// ID is the delivery's, the svix-id. The idempotency keys of workflow triggers
	// are made of it and of the step's name, so that they are the same on every
	// attempt. Without it each trigger gets a random key, as with [NewClient].
	ID string

	// Run runs each step. Defaults to simply running every step.
	Run Runner

	// Gone returns those of the given users and tenants that have been deleted, in any
	// order; there may be thousands. No call brings them back. Calls that identify or
	// set one, set its channel data or preferences, or subscribe to it are skipped, as
	// is a call that would be left without recipients. Other calls leave out deleted
	// tenants among the recipients, deleted audience members, and a deleted actor or
	// tenant of a trigger; a deleted user is named by id alone, which creates nothing
	// in Knock. Defaults to nothing being gone.
	Gone func(ctx context.Context, of []Reference) ([]Reference, error)

	// Deleted is the user or the tenant whose deletion the delivery is about, nil for
	// any other delivery. Identifying or setting it is not skipped until the Client
	// deletes it: a function that does so on a deletion wants to keep it in Knock,
	// perhaps under another name. Until then, triggers and subscriptions name it, and
	// do not describe it.
	Deleted Reference
}

// ForDelivery returns a Client for the work on one delivery. The bridge calls it
// for each delivery; scripts may, to get idempotency keys that survive a
// restart.
func (c *Client) ForDelivery(d Delivery) *Client {
	if d.Run == nil {
		d.Run = func(ctx context.Context, _ *Step, do func(context.Context) error) error { return do(ctx) }
	}
	return &Client{transport: c.transport, delivery: d.ID, run: d.Run, gone: d.Gone, deleted: plain(d.Deleted)}
}

// A Runner runs one step of a delivery. It calls do once to do the work, which
// fills s in, and returns do's error. A Runner that does not call do (a dry
// run, a step finished in an earlier attempt) may set s.Result instead.
// Runners must be safe for concurrent use.
type Runner func(ctx context.Context, s *Step, do func(context.Context) error) error

// Step is the record of one call to Knock, or of one side effect run through
// [Client.Step].
type Step struct {
	// Name identifies the step within its delivery. It is built from content, not
	// position ("users.identify:user_1"), with "#2" and so on for a repeat.
	Name string

	// Kind is the key Knock's own sources use for the action, such as
	// "users_identify" or "workflows_trigger", and "step" for [Client.Step].
	Kind string

	// Request is what was sent, or would be in a dry run. It is nil for
	// [Client.Step].
	Request *Request

	// Status is Knock's HTTP status. It is 0 when no answer came.
	Status int

	// RequestID is Knock's x-request-id, for its support and its API logs.
	RequestID string

	// Attempts counts how often the request was sent, as the Transport reports it.
	Attempts int

	// Duration is the time the step took, repeats and waits included.
	Duration time.Duration

	// Replayed is true when Knock had seen the idempotency key before and gave
	// the first answer again.
	Replayed bool

	// Warning says what a person should know although the step succeeded.
	Warning string

	// Skipped says why nothing was sent. It is empty when the step was sent.
	Skipped Skipped

	// Result is Knock's answer where the method returns something of it: the run id
	// of a trigger, which a later attempt gets again, or the user of a look-up, which
	// each attempt asks for. It is nil otherwise.
	Result json.RawMessage

	// Err is the step's error, nil when it succeeded.
	Err error

	returns bool // the method returns something of the answer
}

// Skipped says why a [Step] was not sent.
type Skipped string

const (
	// SkippedFinished means that an earlier attempt of the delivery has done the
	// step.
	SkippedFinished Skipped = "finished"

	// SkippedUnchanged means that Knock was last told the same, less than 24 hours
	// ago.
	SkippedUnchanged Skipped = "unchanged"

	// SkippedGone means that the call would have recreated what Clerk has deleted.
	SkippedGone Skipped = "gone"

	// SkippedReplay means that the delivery was done so long ago that only what
	// is harmless is done again.
	SkippedReplay Skipped = "replay"
)

// Step runs fn, the user's own side effect (a row in a database, a call to another
// service), as a step of the delivery: it is recorded like a call to Knock, left
// out in a dry run, and, where the bridge remembers finished steps, not repeated
// once it has succeeded. Variables that fn sets are therefore not set on the next
// attempt: store what later calls need, and read it back. The name must be the same
// on every attempt; it must not be empty. The error is fn's own.
func (c *Client) Step(ctx context.Context, name string, fn func(context.Context) error) error {
	switch {
	case name == "":
		return &InvalidError{Op: "step", Field: "name", Reason: "is empty"}
	case fn == nil:
		return &InvalidError{Op: "step", Field: "fn", Reason: "is nil"}
	}
	s := &Step{Name: c.name("step:" + name), Kind: "step"}
	return c.runStep(ctx, s, fn)
}

// call sends one request as a step. Two refusals are success: a 404 on a DELETE,
// as what was to be removed is not there, and a trigger whose idempotency key
// Knock remembers with other parameters, as it has been accepted before.
func (c *Client) call(ctx context.Context, s *Step, r *Request) error {
	s.Request = r
	return c.runStep(ctx, s, func(ctx context.Context) error {
		res, err := c.transport.Do(ctx, r)
		if err != nil {
			return unanswered(s, r, err)
		}
		if res == nil {
			return errors.New("actions: the Transport returned neither an answer nor an error")
		}
		s.Status, s.Attempts = res.Status, max(res.Attempts, 1)
		s.RequestID = clip(res.Header.Get("X-Request-Id"))
		s.Replayed = res.Header.Get("Idempotent-Replayed") == "true"
		if res.Status >= 200 && res.Status < 300 {
			if isWebPage(res.Body) {
				return sendError(r, s.Attempts, false, errWebPage)
			}
			if s.returns {
				s.Result = res.Body
			}
			return nil
		}
		failure := newError(r, res)
		if r.Method == http.MethodDelete && failure.missing() {
			s.Warning = nettext.NothingToRemove
			if failure.Code == "" && failure.Type == "" {
				s.Warning = warningNotKnocks
			}
			return nil
		}
		if r.IdempotencyKey != "" && failure.idempotencyMismatch() {
			s.Warning = "Knock has accepted this trigger before, with other parameters"
			return nil
		}
		return failure
	})
}

var errWebPage = errors.New("a web page came in place of Knock's JSON, from a proxy or because the base URL is wrong")

// unanswered makes a SendError of a Transport's error, unless it is of a type of
// this package.
func unanswered(s *Step, r *Request, err error) error {
	if failed, ok := errors.AsType[*SendError](err); ok {
		s.Attempts = failed.Attempts
		return err
	}
	_, refused := errors.AsType[*Error](err)
	_, invalid := errors.AsType[*InvalidError](err)
	if refused || invalid {
		return err
	}
	s.Attempts = 1
	return sendError(r, 1, false, err)
}

func (c *Client) runStep(ctx context.Context, s *Step, do func(context.Context) error) error {
	if c.run == nil {
		return do(ctx)
	}
	return c.run(ctx, s, do)
}

// name makes base unique among the steps of this delivery.
func (c *Client) name(base string) string {
	if c.run == nil {
		return base
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(map[string]int, 4)
	}
	name := base
	for c.seen[name] > 0 { // a name may look like the repeat of another
		c.seen[base]++
		name = base + "#" + strconv.Itoa(c.seen[base])
	}
	c.seen[name] = 1
	return name
}

// mayWrite reports whether owner is what the delivery is about the deletion of, and
// has not been deleted by it.
func (c *Client) mayWrite(owner Reference) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deleted != nil && plain(owner) == c.deleted
}

// removing notes that owner is deleted from Knock.
func (c *Client) removing(owner Recipient) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if owner == c.deleted {
		c.deleted = nil
	}
}

// idempotencyKey derives a trigger's key from the delivery and the step.
func (c *Client) idempotencyKey(step string) string {
	if c.delivery == "" {
		return "clerkknock-" + rand.Text()
	}
	key := c.delivery + ":" + step
	if len(key) <= maxIdempotencyKey && printable(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// targets names several recipients within a step name: readable when short,
// hashed when long, the same for the same recipients in the same order.
func targets(refs []string) string {
	const readable = 160
	joined := strings.Join(refs, ",")
	if len(joined) <= readable {
		return joined
	}
	sum := sha256.Sum256([]byte(strings.Join(refs, "\x00")))
	return strconv.Itoa(len(refs)) + "-" + hex.EncodeToString(sum[:16])
}
