package bridge

import (
	"container/list"
	"context"
	"crypto/sha256"
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

// MemoryLedger is a [Ledger] in memory, for one process. It forgets everything
// with the process: a delivery whose attempt was cut off starts from the
// beginning, a late event can overwrite a newer one from before the restart, and
// one for a user that was deleted before brings the user back.
type MemoryLedger struct {
	open     map[string]*memoryDelivery
	order    list.List // of *memoryDelivery, the oldest claim first
	finished finishedDeliveries
	entities map[string]*memoryEntity
	recent   list.List // of *memoryEntity, the least recently claimed first
	held     map[string]*memoryEntity

	maxDeliveries, maxEntities int

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
	if _, known := f.at[key]; !known {
		if len(f.ring) < f.max {
			f.ring = append(f.ring, key)
		} else {
			delete(f.at, f.ring[f.next])
			f.ring[f.next] = key
			f.next = (f.next + 1) % f.max
		}
	}
	f.at[key] = now.Sub(f.started)
}

func (f *finishedDeliveries) age(key fingerprint, now time.Time) (age time.Duration, known bool) {
	at, known := f.at[key]
	return now.Sub(f.started) - at, known
}

type memoryEntity struct {
	Entity

	holder *memoryDelivery
	during int // the holder's attempt
	until  time.Time
	place  *list.Element
}

// NewMemoryLedger returns an empty MemoryLedger that remembers as many
// deliveries and entities, forgetting those claimed longest ago first. An entity
// takes up to half a kilobyte, a finished delivery some 80 bytes. Zero means
// 100,000 each.
func NewMemoryLedger(maxDeliveries, maxEntities int) *MemoryLedger {
	if maxDeliveries <= 0 {
		maxDeliveries = defaultMemoryDeliveries
	}
	if maxEntities <= 0 {
		maxEntities = defaultMemoryEntities
	}
	return &MemoryLedger{
		open:          make(map[string]*memoryDelivery),
		finished:      finishedDeliveries{started: time.Now(), at: make(map[fingerprint]time.Duration), max: maxDeliveries},
		entities:      make(map[string]*memoryEntity),
		held:          make(map[string]*memoryEntity),
		maxDeliveries: maxDeliveries,
		maxEntities:   maxEntities,
	}
}

// Claim implements [Ledger].
func (l *MemoryLedger) Claim(ctx context.Context, c Claim) (Claimed, error) {
	if err := ctx.Err(); err != nil {
		return Claimed{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	d := l.open[c.Delivery]
	key := fingerprintOf(c.Delivery)
	age, known := l.finished.age(key, now)
	if d == nil && known && age < keepDelivery {
		return Claimed{Status: ClaimFinished, Now: now}, nil
	}
	if c.Bury != "" {
		l.entity(c.Bury).Gone = true
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
	for _, key := range c.Entities {
		e := l.entity(key)
		e.Crashed = e.holder != nil
		claimed.Entities = append(claimed.Entities, e.Entity)
		e.holder, e.during, e.until = d, d.attempt, d.until
		l.held[key] = e
		l.recent.MoveToBack(e.place)
	}
	for _, key := range c.Reads {
		read := Entity{Key: key}
		if e := l.entities[key]; e != nil {
			read.Gone, read.State = e.Gone, e.State
		}
		claimed.Entities = append(claimed.Entities, read)
	}
	l.forget(now)
	return claimed, nil
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

func (l *MemoryLedger) entity(key string) *memoryEntity {
	e := l.entities[key]
	if e == nil {
		e = &memoryEntity{Entity: Entity{Key: key}}
		e.place = l.recent.PushBack(e)
		l.entities[key] = e
	}
	return e
}

// forget makes room for what is new.
func (l *MemoryLedger) forget(now time.Time) {
	for place := l.order.Front(); place != nil && len(l.open) > l.maxDeliveries; {
		d, next := place.Value.(*memoryDelivery), place.Next() //nolint:forcetypeassert // it holds no others
		if !d.until.After(now) {
			l.order.Remove(place)
			delete(l.open, d.id)
		}
		place = next
	}
	for place := l.recent.Front(); place != nil && len(l.entities) > l.maxEntities; {
		e, next := place.Value.(*memoryEntity), place.Next() //nolint:forcetypeassert // it holds no others
		if !e.until.After(now) {
			l.recent.Remove(place)
			delete(l.entities, e.Key)
			delete(l.held, e.Key)
		}
		place = next
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
		if e := l.entities[key]; e == nil || e.holder != d || e.during != p.Attempt {
			return ErrClaimLost
		}
	}
	d.steps = p.Steps
	d.openSince = p.OpenSince
	for _, changed := range p.Entities {
		l.entities[changed.Key].State = changed.State
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
	for _, key := range p.Held {
		e := l.entities[key]
		e.holder, e.until = nil, time.Time{}
		delete(l.held, key)
	}
	return nil
}

// Gone implements [Ledger].
func (l *MemoryLedger) Gone(_ context.Context, entity string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entities[entity]
	return e != nil && e.Gone, nil
}
