package eventlog

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/clerkknock/bridge"
)

const (
	defaultMemoryRecords = 10_000
	maxUnverified        = 500

	// maxMemoryBodies is how many bytes of bodies are kept, in all.
	maxMemoryBodies = 64 << 20
)

// Memory is a [Store] in memory: it forgets everything when the process ends. The
// zero value is an empty one of default size, see [NewMemory].
type Memory struct {
	max int // how many records log holds; zero means the default

	mu         sync.RWMutex
	log        ring
	unverified ring
	bodies     int // bytes, in log
	bare       int // how many records of log, from the oldest, have lost their bodies
}

// ring holds the latest records.
type ring struct {
	records []*Record
	next    int // where the next one goes, and once it is full the oldest one
}

// add returns the record that had to go so that there are no more than most, or nil.
func (r *ring) add(rec *Record, most int) (oldest *Record) {
	if len(r.records) < most {
		r.records = append(r.records, rec)
		return nil
	}
	oldest = r.records[r.next]
	r.records[r.next] = rec
	r.next = (r.next + 1) % most
	return oldest
}

// at returns the place of a record, counted from the oldest.
func (r *ring) at(i int) *(*Record) { return &r.records[(r.next+i)%len(r.records)] }

// latest calls do with each record, the latest first, until it returns false.
func (r *ring) latest(do func(*Record) bool) {
	for i := range r.records {
		if !do(*r.at(len(r.records) - 1 - i)) {
			return
		}
	}
}

// NewMemory returns a Memory that keeps the latest records, up to that many;
// zero or less means 10,000. A record with two steps takes about a kilobyte.
// Memory also keeps 500 failed verifications, and 64 MiB of bodies: beyond that
// the oldest records lose theirs.
func NewMemory(records int) *Memory {
	return &Memory{max: max(records, 0)}
}

// Append implements [Store]. It returns no error.
func (m *Memory) Append(_ context.Context, records []*Record) error {
	for _, r := range records {
		m.add(r)
	}
	return nil
}

func (m *Memory) add(r *Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Verification != Verified {
		m.unverified.add(r, maxUnverified)
		return
	}
	m.bodies += bodySize(r)
	if oldest := m.log.add(r, cmp.Or(m.max, defaultMemoryRecords)); oldest != nil {
		m.bodies -= bodySize(oldest)
		m.bare = max(m.bare-1, 0)
	}
	for m.bodies > maxMemoryBodies && m.bare < len(m.log.records) {
		place := m.log.at(m.bare)
		m.bodies -= bodySize(*place)
		*place = (*place).bodiless("the memory for payloads was used up by later ones")
		m.bare++
	}
}

func bodySize(r *Record) int {
	n := len(r.Payload) + len(r.Original)
	for i := range r.Steps {
		n += len(r.Steps[i].Body)
	}
	return n
}

// bodiless returns the record without its bodies.
func (r *Record) bodiless(reason string) *Record {
	if bodySize(r) == 0 {
		return r
	}
	c := *r
	if c.Payload != nil && reason != "" {
		c.NoPayload = reason
	}
	c.Payload, c.Original = nil, nil
	c.Steps = slices.Clone(r.Steps)
	for i := range c.Steps {
		if c.Steps[i].Body != nil && reason != "" {
			c.Steps[i].NoBody = reason
		}
		c.Steps[i].Body = nil
	}
	return &c
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, id string) (*Record, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found *Record
	look := func(r *Record) bool {
		if r.ID == id {
			found = r
		}
		return found == nil
	}
	m.log.latest(look)
	m.unverified.latest(look)
	if found == nil {
		return nil, ErrNotFound
	}
	return found, nil
}

// List implements [Store].
func (m *Memory) List(_ context.Context, q Query) (Page, error) {
	from, before, err := q.Start()
	if err != nil {
		return Page{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	size := q.PageSize()
	var found []*Record
	m.log.latest(func(r *Record) bool {
		if matches(r, &q.Filter, from, before) && (len(q.Outcomes) == 0 || slices.Contains(q.Outcomes, r.Outcome)) {
			// Records come in the order of their ids, but for those of the same moment.
			found = append(found, r)
		}
		return len(found) <= size+sameMoment
	})
	slices.SortStableFunc(found, latestFirst)
	return NewPage(found, size), nil
}

// sameMoment is how many records may be out of the order of their ids.
const sameMoment = 64

func latestFirst(a, b *Record) int { return cmp.Compare(b.ID, a.ID) }

// NewPage makes a page of the records that were found, the latest first: more
// than size if another page follows.
func NewPage(found []*Record, size int) Page {
	p := Page{Records: make([]*Record, min(len(found), size))}
	for i := range p.Records {
		p.Records[i] = found[i].bodiless("")
	}
	if len(found) > size {
		p.Next = found[size-1].ID
	}
	return p
}

// matches compares a record to a filter without its outcomes.
func matches(r *Record, f *Filter, from, before string) bool {
	if r.ID < from || before != "" && r.ID >= before || f.EventType != "" && f.EventType != r.EventType {
		return false
	}
	if f.Search == "" {
		return true
	}
	user, organization := r.Keys()
	anyID, wantUser, wantOrganization := f.Terms()
	if anyID != "" {
		return anyID == r.DeliveryID || anyID == user || anyID == organization
	}
	return (wantUser == "" || wantUser == user) && (wantOrganization == "" || wantOrganization == organization)
}

// Counts implements [Store].
func (m *Memory) Counts(_ context.Context, f Filter) ([]Count, error) {
	from, before := f.Bounds()
	n := make(map[bridge.Outcome]int)
	m.mu.RLock()
	m.log.latest(func(r *Record) bool {
		if matches(r, &f, from, before) {
			n[r.Outcome]++
		}
		return true
	})
	m.mu.RUnlock()
	counts := make([]Count, 0, len(n))
	for outcome, n := range n {
		counts = append(counts, Count{Outcome: outcome, N: n})
	}
	SortCounts(counts)
	return counts, nil
}

// SortCounts puts counts in the order of Outcomes.
func SortCounts(counts []Count) {
	slices.SortFunc(counts, func(a, b Count) int {
		return slices.Index(outcomes, a.Outcome) - slices.Index(outcomes, b.Outcome)
	})
}

// Unverified implements [Store].
func (m *Memory) Unverified(_ context.Context, limit int) ([]*Record, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found []*Record
	m.unverified.latest(func(r *Record) bool {
		if len(found) < limit {
			found = append(found, r)
		}
		return len(found) < limit
	})
	return found, nil
}

// outcomes are all that a verified delivery can have, those that need no further
// attempt first.
var outcomes = []bridge.Outcome{
	bridge.OutcomeDone, bridge.OutcomeUnchanged, bridge.OutcomeStale, bridge.OutcomeDuplicate, bridge.OutcomeIgnored,
	bridge.OutcomeQueued, bridge.OutcomeTransient, bridge.OutcomeRejected, bridge.OutcomeMisconfigured,
	bridge.OutcomePermanent, bridge.OutcomeMalformed,
}

// Outcomes returns all outcomes that a verified delivery can have: those that
// need no further attempt first, and then the failures. The caller owns the
// slice.
func Outcomes() []bridge.Outcome { return slices.Clone(outcomes) }
