package bridge

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/json"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	defaultMemoryDeliveries = 100_000
	defaultMemoryEntities   = 100_000

	// keepDelivery is how long a finished delivery is known with all that
	// belongs to it. Svix's last attempt can come 66 hours after the first.
	keepDelivery = 96 * time.Hour
)

// MemoryLedger is a [Ledger] in memory, for one process. It forgets everything when
// the process ends: after a restart, a delivery whose attempt was cut off starts
// from the beginning, a late event can overwrite a newer one from before the
// restart, and one for a deleted user brings the user back. The zero value is an
// empty one of default size, see [NewMemoryLedger].
type MemoryLedger struct {
	open     map[string]*memoryDelivery
	order    list.List // of *memoryDelivery, the oldest claim first
	finished finishedDeliveries
	held     map[string]*memoryEntity // entities that deliveries have taken
	resting  restingEntities          // the others

	maxDeliveries int

	mu sync.Mutex
}

// memoryDelivery is a delivery that is not finished.
type memoryDelivery struct {
	id        string
	key       fingerprint
	attempt   int
	until     time.Time // end of the lease; zero when nobody holds it
	openSince time.Time
	steps     []StepRecord
	entities  []string // those of the last claim
	place     *list.Element
}

// finishedDeliveries holds no pointers: the garbage collector passes over it.
type finishedDeliveries struct {
	started time.Time
	at      map[fingerprint]time.Duration // since started, on the monotonic clock
	ring    []fingerprint
	next    int
	max     int
}

type fingerprint [16]byte

func fingerprintOf(id string) fingerprint {
	sum := sha256.Sum256([]byte(id))
	return fingerprint(sum[:16])
}

func (f *finishedDeliveries) add(key fingerprint, now time.Time) {
	known := len(f.at)
	f.at[key] = now.Sub(f.started)
	switch {
	case len(f.at) == known:
	case len(f.ring) < f.max:
		f.ring = append(f.ring, key)
	default:
		delete(f.at, f.ring[f.next])
		f.ring[f.next] = key
		f.next = (f.next + 1) % f.max
	}
}

func (f *finishedDeliveries) age(key fingerprint, now time.Time) (age time.Duration, known bool) {
	at, known := f.at[key]
	return now.Sub(f.started) - at, known
}

// memoryEntity is an entity that a delivery has taken.
type memoryEntity struct {
	key    fingerprint
	place  int // where it was at rest, see restingEntities.get
	gone   bool
	state  json.RawMessage
	holder *memoryDelivery
	until  time.Time
}

// restingEntities are what is known of entities that nobody has taken. Their
// blocks hold no pointers: the garbage collector passes over them. When there is no
// room, a hand goes round: it passes over what was written again since it last
// came by, and the next is overwritten.
type restingEntities struct {
	at     map[fingerprint]int // in blocks, see entity
	blocks [][]restingEntity
	long   map[fingerprint]json.RawMessage // states of more than inlineState bytes
	used   int
	next   int // where the hand is
	max    int
}

const (
	// firstBlock is how many entities the first block holds. Each holds twice as many
	// as the one before.
	firstBlock = 256

	// inlineState makes a restingEntity 192 bytes long. A user's state takes some
	// 130, and that of somebody with one membership.
	inlineState = 172
)

type restingEntity struct {
	key           fingerprint
	gone, crashed bool
	written       bool // again, since the hand last came by
	size          uint8
	state         [inlineState]byte
}

func (r *restingEntities) entity(i int) *restingEntity {
	block := bits.Len(uint(i/firstBlock+1)) - 1
	return &r.blocks[block][i-firstBlock*(1<<block-1)]
}

// get returns what is known of an entity, and where that is: -1 for nowhere. The Key
// is left to the caller.
func (r *restingEntities) get(key fingerprint) (e Entity, place int) {
	i, known := r.at[key]
	if !known {
		return Entity{}, -1
	}
	slot := r.entity(i)
	e.Gone, e.Crashed = slot.gone, slot.crashed
	if slot.size > 0 {
		e.State = bytes.Clone(slot.state[:slot.size])
	} else {
		e.State = r.long[key]
	}
	return e, i
}

// put takes the place that get has returned, which may be overwritten since.
func (r *restingEntities) put(key fingerprint, place int, e Entity) {
	known := place >= 0 && r.entity(place).key == key
	if !known {
		place = r.room()
		r.at[key] = place
	}
	slot := r.entity(place)
	slot.key, slot.gone, slot.crashed, slot.written = key, e.Gone, e.Crashed, known
	slot.size = 0
	delete(r.long, key)
	if len(e.State) <= inlineState {
		slot.size = uint8(copy(slot.state[:], e.State)) //nolint:gosec // it fits
	} else {
		r.long[key] = e.State
	}
}

// room returns a place that is free.
func (r *restingEntities) room() int {
	if r.used < r.max {
		if r.used == firstBlock*(1<<len(r.blocks)-1) {
			r.blocks = append(r.blocks, make([]restingEntity, min(firstBlock<<len(r.blocks), r.max-r.used)))
		}
		r.used++
		return r.used - 1
	}
	for {
		i := r.next
		r.next = (r.next + 1) % r.max
		slot := r.entity(i)
		if !slot.written {
			delete(r.at, slot.key)
			delete(r.long, slot.key)
			return i
		}
		slot.written = false
	}
}

// NewMemoryLedger returns an empty MemoryLedger that remembers at most
// maxDeliveries and maxEntities. Beyond that it forgets roughly the oldest. Zero
// or less means 100,000. An entity takes some 250 bytes, a finished delivery some
// 80.
func NewMemoryLedger(maxDeliveries, maxEntities int) *MemoryLedger {
	if maxDeliveries <= 0 {
		maxDeliveries = defaultMemoryDeliveries
	}
	if maxEntities <= 0 {
		maxEntities = defaultMemoryEntities
	}
	l := &MemoryLedger{}
	l.setUp(maxDeliveries, maxEntities)
	return l
}

func (l *MemoryLedger) setUp(maxDeliveries, maxEntities int) {
	l.open, l.held = make(map[string]*memoryDelivery), make(map[string]*memoryEntity)
	l.finished = finishedDeliveries{started: time.Now(), at: make(map[fingerprint]time.Duration), max: maxDeliveries}
	l.resting = restingEntities{
		at: make(map[fingerprint]int), long: make(map[fingerprint]json.RawMessage), max: maxEntities,
	}
	l.maxDeliveries = maxDeliveries
}

// Claim implements [Ledger].
func (l *MemoryLedger) Claim(ctx context.Context, c Claim) (Claimed, error) {
	if err := ctx.Err(); err != nil {
		return Claimed{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.setUp(defaultMemoryDeliveries, defaultMemoryEntities)
	}
	now := time.Now()
	d := l.open[c.Delivery]
	key := fingerprintOf(c.Delivery)
	age, known := l.finished.age(key, now)
	if d == nil && known && age < keepDelivery {
		return Claimed{Status: ClaimFinished, Now: now}, nil
	}
	if c.Bury != "" {
		l.bury(c.Bury)
	}
	if wait := l.wait(c, d, now); wait > 0 {
		return Claimed{RetryAfter: wait}, nil
	}

	if d == nil {
		d = &memoryDelivery{id: c.Delivery, key: key}
		d.place = l.order.PushBack(d)
		l.open[d.id] = d
	}
	l.order.MoveToBack(d.place)
	claimed := Claimed{
		Status: ClaimGranted, Now: now, OpenSince: d.openSince, Forgotten: known, Steps: d.steps,
		Entities: make([]Entity, 0, len(c.Entities)+len(c.Reads)),
	}
	d.attempt++
	claimed.Attempt = d.attempt
	d.until = now.Add(c.Lease)
	if d.openSince.IsZero() {
		d.openSince = now
	}
	l.giveBack(d, true) // what an attempt has left that was cut off
	d.entities = slices.Clone(c.Entities)
	for _, key := range c.Entities {
		claimed.Entities = append(claimed.Entities, l.take(key, d))
	}
	for _, key := range c.Reads {
		read := l.look(key)
		read.Key, read.Crashed = key, false
		claimed.Entities = append(claimed.Entities, read)
	}
	l.forget(now)
	return claimed, nil
}

// take gives an entity to a delivery, and returns what is known of it.
func (l *MemoryLedger) take(key string, d *memoryDelivery) Entity {
	e := l.held[key]
	known := Entity{Crashed: true} // whoever has it did not give it back
	if e == nil {
		e = &memoryEntity{key: fingerprintOf(key)}
		l.held[key] = e
		known, e.place = l.resting.get(e.key)
		e.gone, e.state = known.Gone, known.State
	}
	known.Key, known.Gone, known.State = key, e.gone, e.state
	e.holder, e.until = d, d.until
	return known
}

// look returns what is known of an entity.
func (l *MemoryLedger) look(key string) Entity {
	if e := l.held[key]; e != nil {
		return Entity{Gone: e.gone, State: e.state}
	}
	e, _ := l.resting.get(fingerprintOf(key))
	return e
}

func (l *MemoryLedger) bury(key string) {
	if e := l.held[key]; e != nil {
		e.gone = true
		return
	}
	at := fingerprintOf(key)
	e, place := l.resting.get(at)
	e.Gone = true
	l.resting.put(at, place, e)
}

// wait returns how long a claim has to wait, zero when it need not.
func (l *MemoryLedger) wait(c Claim, d *memoryDelivery, now time.Time) time.Duration {
	var until time.Time
	blocked := func(t time.Time) {
		if t.After(now) && (until.IsZero() || t.Before(until)) {
			until = t
		}
	}
	if d != nil {
		blocked(d.until)
	}
	for _, key := range c.Entities {
		if e := l.held[key]; e != nil {
			blocked(e.until)
		}
	}
	if c.Bury != "" {
		for key, e := range l.held {
			if strings.HasPrefix(key, c.Bury+"/") {
				blocked(e.until)
			}
		}
	}
	if until.IsZero() {
		return 0
	}
	return until.Sub(now)
}

// forget makes room for what is new.
func (l *MemoryLedger) forget(now time.Time) {
	for place := l.order.Front(); place != nil && len(l.open) > l.maxDeliveries; {
		d, next := place.Value.(*memoryDelivery), place.Next() //nolint:forcetypeassert // it holds no others
		if !d.until.After(now) {
			l.order.Remove(place)
			delete(l.open, d.id)
			l.giveBack(d, true)
		}
		place = next
	}
}

// giveBack puts what a delivery has taken to the entities at rest.
func (l *MemoryLedger) giveBack(d *memoryDelivery, crashed bool) {
	for _, key := range d.entities {
		if e := l.held[key]; e != nil && e.holder == d {
			l.resting.put(e.key, e.place, Entity{Gone: e.gone, Crashed: crashed, State: e.state})
			delete(l.held, key)
		}
	}
}

// Save implements [Ledger].
func (l *MemoryLedger) Save(_ context.Context, p Progress) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.open[p.Delivery]
	if d == nil || d.attempt != p.Attempt || d.until.IsZero() {
		return ErrClaimLost
	}
	for _, key := range p.Held {
		if e := l.held[key]; e == nil || e.holder != d {
			return ErrClaimLost
		}
	}
	d.steps = p.Steps
	d.openSince = p.OpenSince
	for _, changed := range p.Entities {
		if e := l.held[changed.Key]; e != nil && e.holder == d {
			e.state = changed.State
		}
	}
	if p.Outcome == "" {
		return nil
	}
	d.until = time.Time{}
	if p.Outcome.OK() {
		l.finished.add(d.key, time.Now())
		l.order.Remove(d.place)
		delete(l.open, d.id)
	}
	l.giveBack(d, false)
	return nil
}

// Gone implements [Ledger].
func (l *MemoryLedger) Gone(_ context.Context, entities []string) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var gone []string
	for _, key := range entities {
		if l.look(key).Gone {
			gone = append(gone, key)
		}
	}
	return gone, nil
}
