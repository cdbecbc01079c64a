package clerk

import (
	"reflect"
	"strings"
	"sync"
)

// UnknownMembers returns the names of those members of the event's data that the
// type of its constant does not have, in the order in which they come: what Clerk
// has added since this version. It looks at the top level only. It returns nil
// for an event that has no constant here, for one with a [DeletedObject], which
// may carry all that was deleted, and for data that is not an object.
//
// Names may be anything that JSON can hold, of any length, and repeat.
func UnknownMembers(e *AnyEvent) []string {
	d := decoder{b: e.Data}
	members := membersOf(e.Type)
	if members == nil || len(e.Data) == 0 || d.kind() != '{' {
		return nil
	}
	var unknown []string
	err := d.object(func(name []byte) error {
		if !members[string(name)] {
			unknown = append(unknown, string(name))
		}
		return d.skip()
	})
	if err != nil {
		return nil
	}
	return unknown
}

// typed is implemented by every [EventType].
type typed interface {
	Named

	dataType() reflect.Type
}

// dataType is how the type of an event's data is found when only its name is
// known.
func (EventType[T]) dataType() reflect.Type { return reflect.TypeFor[T]() }

var memberCache sync.Map // event name to map[string]bool

// membersOf returns the members that the type of an event's data has, nil for an
// event that is not known.
func membersOf(event string) map[string]bool {
	if m, ok := memberCache.Load(event); ok {
		return m.(map[string]bool) //nolint:forcetypeassert // nothing else is stored
	}
	t, ok := dataTypes[event]
	if !ok || t == reflect.TypeFor[DeletedObject]() {
		return nil
	}
	members := make(map[string]bool)
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			members[name] = true
		}
	}
	switch t { // what else they read
	case reflect.TypeFor[SMS]():
		members["created_at_ms"] = true
	case reflect.TypeFor[OrganizationInvitation]():
		members["data"] = true
	}
	m, _ := memberCache.LoadOrStore(event, members)
	return m.(map[string]bool) //nolint:forcetypeassert // likewise
}
