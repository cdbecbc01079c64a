package pace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clerkknock/bridge/actions"
)

// bulkKind is which of Knock's bulk calls takes items of a route.
type bulkKind int

const (
	notBulk bulkKind = iota
	bulkUsers
	bulkTenants
	bulkSubscriptions
)

const (
	maxBulkBytes  = 4 << 20 // Knock documents no limit; a proxy may have one
	maxRecipients = 100     // Knock's limit for one object

	// leastBulk is what the context must leave for a call to go in bulk.
	leastBulk = 3 * time.Second

	firstPoll   = 200 * time.Millisecond
	longestPoll = 2 * time.Second

	// longestOperation bounds the work on a bulk call for callers without a
	// deadline of their own.
	longestOperation = 10 * time.Minute

	// avoidFor is how long a bulk endpoint is left alone that refuses, answers
	// nothing of use, or takes longer than the callers have.
	avoidFor = time.Minute
)

var errUnfinished = errors.New("pace: Knock has not finished the bulk call")

// bulkEndpoint returns the path of the bulk call, and the member of its body that
// lists the items.
func (r route) bulkEndpoint() (path, member string) {
	switch r.bulk {
	case bulkUsers:
		return "/v1/users/bulk/identify", "users"
	case bulkTenants:
		return "/v1/tenants/bulk/set", "tenants"
	default:
		return "/v1/objects/" + r.parent + "/bulk/subscriptions/add", "subscriptions"
	}
}

// gatherer keeps the bulk calls to one path that have not been sent yet.
type gatherer struct {
	line  line
	open  []*batch // in the order of their turns
	avoid time.Time
}

// batch is one bulk call. A goroutine of its own sends it and follows Knock's
// work on it, so that no caller that gives up takes the others with it; when all
// have, the last one ends the goroutine and waits for it.
type batch struct {
	*gatherer

	call    *call
	member  string
	at      time.Time // its turn, as far as known
	entries []*entry
	targets map[string]*target
	size    int
	waiting int // callers
	closed  bool
	sent    bool
	cancel  context.CancelFunc
	done    chan struct{}
}

// target is what Knock sees as one item: a user, a tenant, or an object with its
// subscribers.
type target struct {
	properties string
	recipients map[string]bool
	merged     bool // of several callers is possible
}

// entry is one caller's part of a bulk call.
type entry struct {
	id   string // unescaped
	item json.RawMessage
	// For subscriptions there is no item yet, as callers can share one.
	recipients []json.RawMessage
	properties json.RawMessage

	gone    bool
	outcome chan outcome // takes one
}

// outcome is what became of an entry. Without an answer, an error and a panic it
// is to be sent on its own.
type outcome struct {
	res      *actions.Response
	err      error
	wait     time.Duration // goes with err
	panicked any           // the value of the Transport below
	doubt    bool          // Knock may have applied it
	sent     int           // attempts
}

// gather finds c a place in a bulk call when its own turn is far off. Without one
// c is for the single endpoint; with a wait it is postponed.
func (t *Transport) gather(ctx context.Context, c *call) (b *batch, e *entry, wait time.Duration) {
	if c.bulk == notBulk || t.NoBulk || !actions.BulkAllowed(ctx) {
		return nil, nil, 0
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < leastBulk {
		return nil, nil, 0
	}
	t.mu.Lock()
	now := time.Now()
	busy := c.ep.turn(now).Sub(now) > t.bulkAfter
	t.mu.Unlock()
	if !busy {
		return nil, nil, 0
	}
	if e = newEntry(c); e == nil {
		return nil, nil, 0
	}
	b, wait = t.join(ctx, c, e)
	return b, e, wait
}

// inBulk waits until the bulk call that c is part of has an outcome.
func (t *Transport) inBulk(ctx context.Context, c *call, b *batch, e *entry) (*actions.Response, error) {
	select {
	case o := <-e.outcome:
		return t.conclude(ctx, c, o)
	case <-ctx.Done():
	}
	c.doubt = t.leave(b, e)
	select {
	case o := <-e.outcome: // the end came after all
		if o.panicked != nil {
			panic(o.panicked)
		}
		if o.res != nil {
			return o.res, nil
		}
		c.doubt = o.doubt
	default:
	}
	if c.doubt {
		c.attempts = 1
	}
	return nil, c.fail(0, ctx.Err())
}

// conclude turns an outcome into what Do returns.
func (t *Transport) conclude(ctx context.Context, c *call, o outcome) (*actions.Response, error) {
	if o.doubt {
		c.attempts, c.doubt = o.sent, true
	}
	switch {
	case o.panicked != nil:
		panic(o.panicked)
	case o.err != nil:
		return nil, c.fail(o.wait, o.err)
	case o.res != nil:
		return o.res, nil
	default:
		c.by = t.latest(ctx)
		return t.single(ctx, c)
	}
}

// newEntry reads what the single call says. Nil means that a bulk call can't say
// the same.
func newEntry(c *call) *entry {
	id, err := url.PathUnescape(c.id)
	if err != nil || id == "" || !utf8.ValidString(id) || strings.Contains(id, ",") { // a header lists ids with commas
		return nil
	}
	members := make(map[string]json.RawMessage)
	if len(c.r.Body) > 0 && json.Unmarshal(c.r.Body, &members) != nil {
		return nil
	}
	if _, ok := members["id"]; ok || members == nil {
		return nil
	}
	e := &entry{id: id, outcome: make(chan outcome, 1)}
	if c.bulk == bulkSubscriptions {
		e.properties = members["properties"]
		delete(members, "properties")
		if json.Unmarshal(members["recipients"], &e.recipients) != nil ||
			len(members) != 1 || len(e.recipients) == 0 || len(e.recipients) > maxRecipients {
			return nil
		}
		return e
	}
	e.item = appendString([]byte(`{"id":`), id)
	if len(members) == 0 {
		e.item = append(e.item, '}')
		return e
	}
	e.item = append(append(e.item, ','), bytes.TrimSpace(c.r.Body)[1:]...)
	return e
}

func (e *entry) size() int {
	const frame = 64
	n := len(e.id) + len(e.item) + len(e.properties) + frame
	for _, r := range e.recipients {
		n += len(r)
	}
	return n
}

// join puts e into the first bulk call that has room for it, a new one if need
// be. Results are gather's.
func (t *Transport) join(ctx context.Context, c *call, e *entry) (b *batch, wait time.Duration) {
	path, member := c.bulkEndpoint()
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.gatherers[path]
	if g == nil {
		g = &gatherer{}
		t.gatherers[path] = g
	}
	now := time.Now()
	if now.Before(g.avoid) {
		return nil, 0
	}
	for _, b := range g.open {
		if !b.at.After(c.by) && b.take(e, t.maxBulk) {
			return b, 0
		}
	}
	r := &actions.Request{Method: http.MethodPost, Path: path}
	bulk := &call{route: routeOf(r), r: r, line: &g.line, by: c.by}
	bulk.ep = t.endpoint(bulk.route)
	turn, wait, ok := t.reserve(bulk, now)
	if !ok {
		return nil, wait
	}
	bulk.by = now.Add(t.maxWait)
	b = &batch{
		gatherer: g, call: bulk, member: member, at: turn.at,
		targets: make(map[string]*target), done: make(chan struct{}),
	}
	bulk.body = func() []byte { return t.body(b) }
	b.take(e, t.maxBulk)
	g.open = append(g.open, b)
	// The first caller's context lends its values; its end is that caller's alone.
	var detached context.Context
	detached, b.cancel = context.WithTimeout(context.WithoutCancel(ctx), t.maxWait+longestOperation)
	go t.run(detached, b, turn)
	return b, 0
}

// take adds e, unless the call is full or has an item for the same already.
// t.mu is held.
func (b *batch) take(e *entry, most int) bool {
	size := e.size()
	if len(b.entries) > 0 && b.size+size > maxBulkBytes {
		return false
	}
	g := b.targets[e.id]
	if g == nil {
		if len(b.targets) >= most {
			return false
		}
		g = &target{
			properties: string(e.properties), merged: e.item == nil, recipients: make(map[string]bool),
		}
	} else if !g.merged || g.properties != string(e.properties) || len(g.recipients)+len(e.recipients) > maxRecipients ||
		slices.ContainsFunc(e.recipients, func(r json.RawMessage) bool { return g.recipients[string(r)] }) {
		return false
	}
	for _, r := range e.recipients {
		g.recipients[string(r)] = true
	}
	b.targets[e.id] = g
	b.entries = append(b.entries, e)
	b.size += size
	b.waiting++
	return true
}

// leave takes a caller out, and reports whether its item has been sent. Before
// that the item goes too.
func (t *Transport) leave(b *batch, e *entry) (sent bool) {
	t.mu.Lock()
	e.gone = true
	b.waiting--
	last := b.waiting == 0
	sent = b.sent
	if last {
		b.shut()
	}
	t.mu.Unlock()
	if last {
		b.cancel()
		<-b.done
	}
	return sent
}

// shut keeps further callers out; from then on the entries stay. t.mu is held.
func (b *batch) shut() {
	if b.closed {
		return
	}
	b.closed = true
	b.open = slices.DeleteFunc(b.open, func(other *batch) bool { return other == b })
	b.entries = slices.DeleteFunc(b.entries, func(e *entry) bool { return e.gone })
}

// body shuts the batch and returns the body of its call.
func (t *Transport) body(b *batch) []byte {
	t.mu.Lock()
	b.shut()
	b.sent = true
	t.mu.Unlock()
	// An object's subscribers are one item, whose place is that of its first caller.
	recipients := make(map[string][]json.RawMessage)
	for _, e := range b.entries {
		recipients[e.id] = append(recipients[e.id], e.recipients...)
	}
	out := append(appendString([]byte{'{'}, b.member), ":["...)
	for _, e := range b.entries {
		item := e.item
		if item == nil {
			if recipients[e.id] == nil {
				continue
			}
			item = subscriptionItem(e, recipients[e.id])
			delete(recipients, e.id)
		}
		if out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	return append(out, "]}"...)
}

func subscriptionItem(e *entry, recipients []json.RawMessage) []byte {
	item := append(appendString([]byte(`{"id":`), e.id), `,"recipients":[`...)
	for i, r := range recipients {
		if i > 0 {
			item = append(item, ',')
		}
		item = append(item, r...)
	}
	item = append(item, ']')
	if e.properties != nil {
		item = append(append(item, `,"properties":`...), e.properties...)
	}
	return append(item, '}')
}

func appendString(b []byte, s string) []byte {
	quoted, _ := json.Marshal(s) //nolint:errchkjson // a string always encodes
	return append(b, quoted...)
}

// run sends the bulk call, follows the operation and tells the callers.
func (t *Transport) run(ctx context.Context, b *batch, k ticket) {
	defer close(b.done)
	defer b.cancel()
	defer func() {
		// Nobody else could: the goroutine is ours. The callers' are those who know what
		// to do about a panic, and that its value may hold the others' data.
		if v := recover(); v != nil {
			t.shut(b)
			t.tell(b, func(*entry) outcome { return outcome{panicked: v} })
		}
	}()
	res, err := t.send(ctx, b.call, k)
	if unclear(res, err) && ctx.Err() == nil {
		// All these calls do the same when sent twice. A second failure is left to
		// the callers: a Knock in trouble is not helped by as many single calls.
		b.call.doubt = b.call.doubt || res != nil
		b.call.by = time.Now().Add(t.maxWait)
		res, err = t.single(ctx, b.call)
		if unclear(res, err) && ctx.Err() == nil {
			t.avoid(b)
		}
	}
	t.shut(b)
	switch {
	case err != nil:
		t.failed(b, err)
		return
	case res != nil && res.Status == http.StatusTooManyRequests:
		t.failed(b, b.call.fail(0, errPostponed))
		return
	case unclear(res, nil):
		t.tell(b, func(*entry) outcome { return outcome{res: clone(res)} })
		return
	}
	op := readOperation(res)
	if op == nil {
		t.avoid(b)
		t.tell(b, func(*entry) outcome { return outcome{doubt: b.call.doubt, sent: b.call.attempts} })
		return
	}
	skipped := skippedItems(res.Header)
	doubted := b.call.doubt // an attempt before this one may have been accepted as well
	op, err = t.follow(ctx, op)
	b.call.doubt = true
	if err != nil { // it takes Knock longer than the callers have, who will come again
		t.avoid(b)
		t.failed(b, b.call.fail(0, err))
		return
	}
	failed, known := b.failures(op, skipped)
	t.tell(b, func(e *entry) outcome {
		switch {
		case !known:
			return outcome{doubt: true, sent: b.call.attempts}
		case failed[e.id]:
			return outcome{doubt: doubted, sent: b.call.attempts}
		default:
			return outcome{res: &actions.Response{
				Status:   http.StatusOK,
				Header:   http.Header{"X-Request-Id": slices.Clone(res.Header.Values("X-Request-Id"))},
				Attempts: b.call.attempts,
			}}
		}
	})
}

func (t *Transport) shut(b *batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b.shut()
}

// unclear reports whether a bulk call may or may not have been accepted, and that
// to send it again may help.
func unclear(res *actions.Response, err error) bool {
	if err == nil {
		return res != nil && (res.Status >= http.StatusInternalServerError || res.Status == http.StatusRequestTimeout)
	}
	_, paused := errors.AsType[*PausedError](err)
	_, invalid := errors.AsType[*actions.InvalidError](err)
	return !paused && !invalid && !errors.Is(err, errPostponed)
}

func clone(res *actions.Response) *actions.Response {
	own := *res
	own.Header = res.Header.Clone()
	return &own
}

func (t *Transport) avoid(b *batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b.avoid = time.Now().Add(avoidFor)
}

// tell gives every caller its outcome.
func (t *Transport) tell(b *batch, of func(*entry) outcome) {
	for _, e := range b.entries {
		select {
		case e.outcome <- of(e):
		default: // told before
		}
	}
}

// failed tells every caller that no answer came. What was not sent is postponed,
// each caller to a time of its own.
func (t *Transport) failed(b *batch, err error) {
	o := outcome{err: err, doubt: b.call.doubt, sent: b.call.attempts}
	if failure, ok := errors.AsType[*actions.SendError](err); ok {
		o.err, o.wait = failure.Err, failure.RetryAfter
	}
	t.tell(b, func(*entry) outcome {
		own := o
		if errors.Is(o.err, errPostponed) {
			t.mu.Lock()
			defer t.mu.Unlock()
			now := time.Now()
			own.wait = t.postpone(b.call, now, b.call.ep.turn(now))
		}
		return own
	})
}

// operation is Knock's work on a bulk call.
type operation struct {
	ID         string `json:"id"`
	Status     string `json:"status"`
	ErrorCount int    `json:"error_count"`
	ErrorItems []struct {
		ID string `json:"id"`
	} `json:"error_items"`
}

// readOperation returns nil when the answer is none: what stands in for Knock
// may answer anything.
func readOperation(res *actions.Response) *operation {
	var op operation
	if res == nil || res.Status < 200 || res.Status > 299 || json.Unmarshal(res.Body, &op) != nil || op.ID == "" {
		return nil
	}
	switch op.Status {
	case "queued", "processing", "completed", "failed":
		return &op
	default:
		return nil
	}
}

// follow polls until the operation has ended. A nil one means that Knock no longer
// says what became of it.
func (t *Transport) follow(ctx context.Context, op *operation) (*operation, error) {
	path := "/v1/bulk_operations/" + url.PathEscape(op.ID)
	for pause := firstPoll; op.Status != "completed" && op.Status != "failed"; pause = min(pause*3/2, longestPoll) {
		if sleepUntil(ctx, time.Now().Add(pause)) != nil {
			return nil, errUnfinished
		}
		res, err := t.single(ctx, t.newCall(ctx, &actions.Request{Method: http.MethodGet, Path: path}))
		if err != nil || res != nil && res.Status == http.StatusTooManyRequests || unclear(res, nil) {
			continue
		}
		if op = readOperation(res); op == nil {
			return nil, nil //nolint:nilnil // see above
		}
	}
	return op, nil
}

// skippedItems reads the headers with which Knock names entities that it has left
// out, as they were updated less than a second ago.
func skippedItems(h http.Header) []string {
	var ids []string
	for name, values := range h {
		if strings.HasPrefix(http.CanonicalHeaderKey(name), "X-Ratelimited-") {
			for id := range strings.SplitSeq(strings.Join(values, ","), ",") {
				ids = append(ids, strings.TrimSpace(id))
			}
		}
	}
	return ids
}

// failures are the ids whose items have not taken effect. Known is false when
// that can't be told: all may or may not have.
func (b *batch) failures(op *operation, skipped []string) (ids map[string]bool, known bool) {
	if op == nil || op.Status == "failed" || op.ErrorCount > len(op.ErrorItems) {
		return nil, false
	}
	ids = make(map[string]bool)
	for _, item := range op.ErrorItems {
		ids[item.ID] = true
	}
	for _, id := range skipped {
		ids[id] = true
	}
	for id := range ids {
		if b.targets[id] == nil {
			return nil, false
		}
	}
	return ids, true
}
