package clerk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"reflect"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Nullable is a member that Clerk may leave out, send as null, or send with a
// value. The three mean different things: null says that there is no such
// thing; an absent member says nothing at all, since sparse and older bodies
// leave members out. The zero Nullable is absent.
//
// A struct that is marshaled by encoding/json needs the tag option omitzero on
// its Nullable fields to leave absent members out. Nullables of a comparable T
// can be compared with ==.
type Nullable[T any] struct {
	value T
	state state
}

type state uint8

const (
	stateAbsent state = iota
	stateNull
	stateValue
)

// Value returns a member that is sent with v.
func Value[T any](v T) Nullable[T] { return Nullable[T]{value: v, state: stateValue} }

// Null returns a member that is sent as null.
func Null[T any]() Nullable[T] { return Nullable[T]{state: stateNull} }

// Get returns the value and whether there is one; there is none for null and
// absent.
func (n Nullable[T]) Get() (T, bool) { return n.value, n.state == stateValue }

// Or returns the value, or def for a member that is null or absent.
func (n Nullable[T]) Or(def T) T {
	if n.state != stateValue {
		return def
	}
	return n.value
}

// IsNull reports whether the member was sent as null.
func (n Nullable[T]) IsNull() bool { return n.state == stateNull }

// IsAbsent reports whether the member was left out.
func (n Nullable[T]) IsAbsent() bool { return n.state == stateAbsent }

// IsZero is [Nullable.IsAbsent] under the name that the tag option omitzero
// looks for.
func (n Nullable[T]) IsZero() bool { return n.state == stateAbsent }

// MarshalJSON encodes the value, or null for a member that is null or absent.
func (n Nullable[T]) MarshalJSON() ([]byte, error) {
	if n.state != stateValue {
		return []byte("null"), nil
	}
	// Not json.Marshal: whether to escape HTML is up to the outer encoder.
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(n.value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// UnmarshalJSON decodes a value or null. It never leaves the member absent.
func (n *Nullable[T]) UnmarshalJSON(b []byte) error {
	*n = Nullable[T]{state: stateNull}
	if string(b) == "null" {
		return nil
	}
	if err := unmarshal(b, &n.value); err != nil {
		return err
	}
	n.state = stateValue
	return nil
}

// mismatched says that a value is not of type T.
func mismatched[T any](b []byte) error {
	return &jsonv2.SemanticError{JSONKind: jsontext.Value(b).Kind(), GoType: reflect.TypeFor[T]()}
}

// Format prints the value as fmt would print it alone, so that what T hides
// stays hidden; null and absent members are printed as <null> and <absent>.
func (n Nullable[T]) Format(f fmt.State, verb rune) {
	switch n.state {
	case stateAbsent:
		_, _ = io.WriteString(f, "<absent>")
	case stateNull:
		_, _ = io.WriteString(f, "<null>")
	case stateValue:
		_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), n.value)
	}
}

// LogValue logs the value itself, and null and absent members as nil.
func (n Nullable[T]) LogValue() slog.Value {
	if n.state != stateValue {
		return slog.AnyValue(nil)
	}
	return slog.AnyValue(n.value)
}
