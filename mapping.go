package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/essentials"
	"github.com/clerkknock/bridge/internal/similar"
)

// Func is a mapping function: it turns one event into calls to Knock. The
// error decides the outcome of the delivery, see [OutcomeOf].
//
// A delivery may be attempted more than once and by several machines, so build
// calls from the event alone, without clock or randomness. Return when ctx ends,
// and not before all goroutines that use knock have ended. The event may be
// shared with other functions mapped to it; do not change it.
type Func[T any] func(ctx context.Context, e *clerk.Event[T], knock *actions.Client) error

// Mapping is one entry of the mapping table, made by [On], [Also], [Disable] or
// [OnUnmapped].
type Mapping interface {
	addTo(t *table) error
}

// Mappings is a list of mappings. Their order does not matter, except that
// functions added by [Also] to one type run in the order given.
type Mappings []Mapping

// On maps fn to t, in place of the default. [New] reports a nil fn, a type that is
// mapped twice, and a type written as a string literal whose data is not what fn
// takes: to read less of an event, such as its id alone, use a type of your own.
func On[T any](t clerk.EventType[T], fn Func[T]) Mapping {
	return mapping{name: t.EventName(), verb: "On", fn: erase(fn), set: func(e *entry, fn *function) bool {
		if e.main != nil {
			return false
		}
		e.main = fn
		return true
	}}
}

// Also adds fn to what is mapped to t: the default, or what [On] put in its
// place. fn runs only after that has succeeded, or alone where nothing else is
// mapped.
func Also[T any](t clerk.EventType[T], fn Func[T]) Mapping {
	return mapping{name: t.EventName(), verb: "Also", fn: erase(fn), set: func(e *entry, fn *function) bool {
		e.also = append(e.also, fn)
		return true
	}}
}

// Disable removes the defaults of the types given. Functions that [Also] adds to
// them still run; events without any are ignored. [New] reports a type that is also
// mapped by [On], or disabled twice.
func Disable(types ...clerk.Named) Mapping { return disable(types) }

// OnUnmapped maps fn to every event whose type has no mapping, types that this
// package does not know included. Disabled types count as mapped: with a [Queue],
// which stores what is mapped, disable those whose bodies hold one-time codes
// (email.created, sms.created), unless you want them. There can be only one
// OnUnmapped.
func OnUnmapped(fn Func[json.RawMessage]) Mapping { return unmapped{erase(fn)} }

// Chain returns a function that runs fns in order and stops at the first error.
// It is nil, which [New] reports, when one of fns is nil or there are none.
func Chain[T any](fns ...Func[T]) Func[T] {
	if len(fns) == 0 || slices.ContainsFunc(fns, func(fn Func[T]) bool { return fn == nil }) {
		return nil
	}
	return func(ctx context.Context, e *clerk.Event[T], knock *actions.Client) error {
		for _, fn := range fns {
			if err := fn(ctx, e, knock); err != nil {
				return err
			}
		}
		return nil
	}
}

// function is a Func with its type erased: it decodes the event itself.
type function struct {
	run  func(ctx context.Context, e *rawEvent, knock *actions.Client) error
	name string
	zero func() any // makes a *clerk.Event[T]
	data reflect.Type

	// isDefault lets it run on the essentials of an event that holds something else of
	// an unexpected type.
	isDefault bool
}

// rawEvent is an event on its way through the functions mapped to it.
type rawEvent struct {
	*clerk.AnyEvent

	decoded any    // the last *clerk.Event[T], so that functions of one type share it
	spare   any    // a *clerk.Event[T] for a default function, see entry.spares
	pooled  bool   // the body is in a buffer that is used again
	kept    []byte // the copy of it that functions get
}

// body returns the body for a function that may keep it.
func (raw *rawEvent) body() []byte {
	if !raw.pooled {
		return raw.Raw
	}
	if raw.kept == nil {
		raw.kept = bytes.Clone(raw.Raw)
	}
	return raw.kept
}

// erase is where the generics end: below it, events are raw bytes and closures.
func erase[T any](fn Func[T]) *function {
	if fn == nil {
		return nil
	}
	f := &function{name: funcName(fn), zero: func() any { return new(clerk.Event[T]) }, data: reflect.TypeFor[T]()}
	f.run = func(ctx context.Context, raw *rawEvent, knock *actions.Client) error {
		e, err := decode[T](raw)
		if err != nil && f.isDefault {
			e = new(clerk.Event[T])
			if essentials.Decode(raw.Data, &e.Data) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
		return fn(ctx, e, knock)
	}
	return f
}

// decode decodes an event once for all who want the same type. A default function
// that has it for itself gets the essentials of its Data, and nothing else.
func decode[T any](raw *rawEvent) (*clerk.Event[T], error) {
	if e, ok := raw.decoded.(*clerk.Event[T]); ok {
		return e, nil
	}
	if e, ok := raw.spare.(*clerk.Event[T]); ok && essentials.Decode(raw.Data, &e.Data) {
		raw.decoded = e
		return e, nil
	}
	e, err := clerk.Decode[T](raw.AnyEvent)
	if err != nil {
		return nil, err
	}
	e.Raw = raw.body()
	if a, ok := any(e).(*clerk.AnyEvent); ok && raw.pooled {
		a.Data = bytes.Clone(a.Data)
	}
	raw.decoded = e
	return e, nil
}

// table is the mapping table. It does not change once New has built it.
type table struct {
	entries  map[string]*entry
	unmapped entry
}

// entry is what is mapped to one type. One that holds nothing is disabled.
type entry struct {
	main      *function
	also      []*function
	isDefault bool // main is the default
	replaces  bool // main is in place of the default
	disabled  bool

	all   []*function // main and also
	names []string    // of all

	// spares holds events for a default function that nothing is added to: it keeps
	// none of what it is given.
	spares *sync.Pool
}

// complete is called when nothing is added any more.
func (e *entry) complete() {
	if e.main != nil {
		e.all = append(e.all, e.main)
	}
	e.all = append(e.all, e.also...)
	for _, fn := range e.all {
		e.names = append(e.names, fn.name)
	}
	if e.isDefault && len(e.also) == 0 {
		e.spares = &sync.Pool{New: e.main.zero}
	}
}

// newTable builds the table of the user's mappings, and of the defaults where
// these leave room. It joins everything that is wrong.
func newTable(mappings, defaults Mappings) (*table, error) {
	t := &table{entries: make(map[string]*entry)}
	var problems []error
	for i, m := range mappings {
		if m == nil {
			problems = append(problems, fmt.Errorf("Mappings[%d] is nil", i))
		} else if err := m.addTo(t); err != nil {
			problems = append(problems, fmt.Errorf("Mappings[%d]: %w", i, err))
		}
	}
	for _, m := range defaults {
		if m, ok := m.(mapping); ok { // all of them are made by On
			m.addDefault(t)
		}
	}
	for _, e := range t.entries {
		e.complete()
	}
	t.unmapped.complete()
	return t, errors.Join(problems...)
}

func (t *table) entry(name string) *entry {
	e := t.entries[name]
	if e == nil {
		e = &entry{}
		t.entries[name] = e
	}
	return e
}

// mapped returns the functions mapped to a type, in the order to run them in.
func (t *table) mapped(eventType string) *entry {
	if e := t.entries[eventType]; e != nil {
		return e
	}
	return &t.unmapped
}

// names returns the types that have a function, sorted.
func (t *table) names() []string {
	var names []string
	for name, e := range t.entries {
		if len(e.all) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

var errNilFunction = errors.New("the function is nil; a ready-made one is nil when a name it needs is empty, when it has no recipients, or when a function given to it is nil")

type mapping struct {
	name, verb string
	fn         *function
	set        func(*entry, *function) bool
}

func (m mapping) addTo(t *table) error {
	switch {
	case m.name == "":
		return fmt.Errorf("%s: the event type is empty", m.verb)
	case m.fn == nil:
		return fmt.Errorf("%s(%q): %w", m.verb, m.name, errNilFunction)
	case m.fn.isForAnother(m.name):
		return fmt.Errorf("%s(%q): the function is for data of type %v, and the event carries %v", m.verb, m.name, m.fn.data, essentials.DataTypes[m.name])
	case !m.set(t.entry(m.name), m.fn):
		return fmt.Errorf("%s(%q): mapped before; use Chain or Also", m.verb, m.name)
	case m.verb == "On" && t.entries[m.name].disabled:
		return fmt.Errorf("On(%q): also disabled", m.name)
	}
	return nil
}

// resembled returns the event that somebody may have meant who has written the name of
// one that is not known, "" when there is none.
func resembled(name string) string {
	if _, known := essentials.DataTypes[name]; known {
		return ""
	}
	const edits = 2
	return similar.Name(name, clerk.EventNames(), edits)
}

// isForAnother reports whether the function is for the data of another one of Clerk's
// events, as a string literal in place of a constant allows. Types of the user's own
// are for the user to know.
func (f *function) isForAnother(name string) bool {
	want, known := essentials.DataTypes[name]
	return known && f.data != want && f.data.PkgPath() == want.PkgPath()
}

func (m mapping) addDefault(t *table) {
	e := t.entry(m.name)
	e.replaces = e.main != nil
	if e.main == nil && !e.disabled {
		e.main, e.isDefault = m.fn, true
		m.fn.isDefault = true
	}
}

type disable []clerk.Named

func (d disable) addTo(t *table) error {
	var problems []error
	if len(d) == 0 {
		problems = append(problems, errors.New("Disable: no event type given"))
	}
	for _, named := range d {
		if named == nil || named.EventName() == "" {
			problems = append(problems, errors.New("Disable: the event type is empty"))
			continue
		}
		e := t.entry(named.EventName())
		switch {
		case e.disabled:
			problems = append(problems, fmt.Errorf("Disable(%q): disabled before", named.EventName()))
		case e.main != nil:
			problems = append(problems, fmt.Errorf("Disable(%q): also mapped by On", named.EventName()))
		}
		e.disabled = true
	}
	return errors.Join(problems...)
}

type unmapped struct{ fn *function }

func (u unmapped) addTo(t *table) error {
	switch {
	case u.fn == nil:
		return fmt.Errorf("OnUnmapped: %w", errNilFunction)
	case t.unmapped.main != nil:
		return errors.New("OnUnmapped: given before")
	}
	t.unmapped.main = u.fn
	return nil
}
