package bridge

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
)

// MappingInfo says what is mapped to one event type, see [Handler.Mappings].
type MappingInfo struct {
	// EventType is the event's name. It is empty for the function of [OnUnmapped].
	EventType string `json:"event_type"`

	// Origin says where the mapping comes from, before what [Also] adds.
	Origin MappingOrigin `json:"origin"`

	// Functions are the names of the functions, in the order they run in:
	// "bridge.SyncUser", "main.welcome", for a ready-made function what has made it,
	// without its arguments, as in "bridge.TriggerForUser" or "bridge.Chain", and for a
	// function without a name its place, as in "main.newHandler.func1 (main.go:42)". It
	// is empty for a type that is disabled, and never nil.
	Functions []string `json:"functions"`

	// Added is how many Functions, at the end, Also has added.
	Added int `json:"added"`
}

// MappingOrigin says where a mapping comes from.
type MappingOrigin string

const (
	// OriginDefault means that the default is in force.
	OriginDefault MappingOrigin = "default"

	// OriginOverridden means that [On] has replaced the default.
	OriginOverridden MappingOrigin = "overridden"

	// OriginOwn means that On has mapped a type that has no default, or whose default
	// Config.NoDefaults leaves out.
	OriginOwn MappingOrigin = "own"

	// OriginAdded means that there are only functions that [Also] has added.
	OriginAdded MappingOrigin = "added"

	// OriginDisabled means that [Disable] has removed the default, if there is one.
	OriginDisabled MappingOrigin = "disabled"

	// OriginUnmapped means the function of [OnUnmapped], for all other types.
	OriginUnmapped MappingOrigin = "unmapped"
)

// Mappings returns the mapping table in force, sorted by event type, with the
// function of [OnUnmapped] last if there is one. The caller owns the slice.
func (h *Handler) Mappings() []MappingInfo {
	t := h.table
	infos := make([]MappingInfo, 0, len(t.entries)+1)
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		e := t.entries[name]
		infos = append(infos, MappingInfo{
			EventType: name, Origin: e.origin(), Functions: append([]string{}, e.names...), Added: len(e.also),
		})
	}
	if t.unmapped.main != nil {
		infos = append(infos, MappingInfo{Origin: OriginUnmapped, Functions: slices.Clone(t.unmapped.names)})
	}
	return infos
}

func (e *entry) origin() MappingOrigin {
	switch {
	case e.disabled && len(e.all) == 0:
		return OriginDisabled
	case e.main == nil:
		return OriginAdded
	case e.isDefault:
		return OriginDefault
	case e.replaces:
		return OriginOverridden
	}
	return OriginOwn
}

// funcName is how a person calls a function: with its package's name, and
// without what the compiler adds. One without a name gets the place where it is
// written.
func funcName(fn any) string {
	f := runtime.FuncForPC(reflect.ValueOf(fn).Pointer())
	if f == nil {
		return "unknown"
	}
	name := path.Base(strings.ReplaceAll(f.Name(), "[...]", ""))
	name = strings.TrimSuffix(name, "-fm") // a method's value
	closure := strings.LastIndex(name, ".func")
	if closure < 0 {
		return name
	}
	file, line := f.FileLine(f.Entry())
	// One that a function of this package has returned is called by that function.
	for _, maker := range makers {
		if strings.HasSuffix(name[:closure], "."+maker) && path.Dir(file) == here {
			return "bridge." + maker
		}
	}
	return fmt.Sprintf("%s (%s:%d)", name, path.Base(file), line)
}

// here is the folder of this package, as the compiler knows it.
var here = func() string {
	_, file, _, _ := runtime.Caller(0)
	return path.Dir(file)
}()

// makers are the functions of this package that return mapping functions.
var makers = []string{"Chain", "SkipStale", "TriggerForUser", "TriggerForOrganization", "TriggerFor", "CancelWorkflow", "AddToAudience"}
