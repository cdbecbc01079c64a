package eventlog

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/clerk"
)

// Drift is what has arrived since the start that the mapping table or package
// clerk does not know.
type Drift struct {
	// Since is when the [Log] was made.
	Since time.Time `json:"since"`

	// Unmapped are types of events that arrive and that nothing is mapped to.
	Unmapped []Arrived `json:"unmapped"`

	// Unknown are types of events that have no constant in package clerk.
	Unknown []Arrived `json:"unknown"`

	// Members are members of the data that the type of an event's data does not
	// have. They are looked for in the first 20 events of each type, and then in
	// one in a hundred.
	Members []UnknownMember `json:"members"`
}

// Arrived is a type of events.
type Arrived struct {
	// EventType is the event's name, at most 100 bytes of it.
	EventType string `json:"event_type"`
	// N is how many of them have arrived since the start.
	N int `json:"n"`
	// First and Last are when the first and the latest arrived.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// UnknownMember is a member of an event's data.
type UnknownMember struct {
	// EventType is the event's name, at most 100 bytes of it.
	EventType string `json:"event_type"`
	// Member is where it is in the data, at most 100 bytes of it.
	Member string `json:"member"`
	// N is how many of the events that were looked at have it.
	N int `json:"n"`
	// First and Last are when the first and the latest of these arrived.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

const (
	maxDriftTypes   = 200
	maxDriftMembers = 50 // of one type
	maxDriftName    = 100

	sampleFirst = 20
	sampleEvery = 100
)

// drift collects what a [Drift] reports. Whoever sends, within the bounds above.
type drift struct {
	since time.Time

	mu    sync.Mutex
	types map[string]*driftType
}

type driftType struct {
	Arrived

	unmapped int
	members  map[string]*UnknownMember
}

func newDrift() *drift { return &drift{since: time.Now(), types: make(map[string]*driftType)} }

// see takes note of a verified event.
func (d *drift) see(res *bridge.Result, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := driftName(res.EventType)
	t := d.types[name]
	if t == nil {
		if len(d.types) >= maxDriftTypes {
			return
		}
		t = &driftType{Arrived: Arrived{EventType: strings.Clone(name), First: at}}
		d.types[t.EventType] = t
	}
	t.N++
	t.Last = at
	if res.Outcome == bridge.OutcomeIgnored {
		t.unmapped++
	}
	if t.N > sampleFirst && t.N%sampleEvery != 0 {
		return
	}
	e, err := clerk.Parse(res.DeliveryID, res.Body)
	if err != nil {
		return
	}
	for _, name := range clerk.UnknownMembers(e) {
		t.member(driftName(name), at)
	}
}

func (t *driftType) member(name string, at time.Time) {
	m := t.members[name]
	if m == nil {
		if len(t.members) >= maxDriftMembers {
			return
		}
		if t.members == nil {
			t.members = make(map[string]*UnknownMember)
		}
		m = &UnknownMember{EventType: t.EventType, Member: name, First: at}
		t.members[name] = m
	}
	m.N++
	m.Last = at
}

func driftName(s string) string {
	if len(s) > maxDriftName {
		s = s[:maxDriftName] + "…"
	}
	return plain(s)
}

func (d *drift) report() Drift {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := clerk.EventNames()
	out := Drift{Since: d.since, Unmapped: []Arrived{}, Unknown: []Arrived{}, Members: []UnknownMember{}}
	for _, name := range slices.Sorted(maps.Keys(d.types)) {
		t := d.types[name]
		if t.unmapped > 0 {
			a := t.Arrived
			a.N = t.unmapped
			out.Unmapped = append(out.Unmapped, a)
		}
		if !slices.Contains(known, name) {
			out.Unknown = append(out.Unknown, t.Arrived)
		}
		for _, member := range slices.Sorted(maps.Keys(t.members)) {
			out.Members = append(out.Members, *t.members[member])
		}
	}
	return out
}
