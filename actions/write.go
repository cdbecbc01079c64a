package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"
)

// operation is one write: what it is called in steps, and where it goes.
type operation struct {
	op, kind, target, method, path string
}

// put sends body as one step.
func (c *Client) put(ctx context.Context, o operation, body json.RawMessage) error {
	_, err := c.write(ctx, o, body, "")
	return err
}

// write sends body as one step and returns the step, whose Result is Knock's
// answer. A trigger without a key gets one made of the step's name.
func (c *Client) write(ctx context.Context, o operation, body json.RawMessage, key string) (*Step, error) {
	s := &Step{Name: c.name(o.op + ":" + o.target), Kind: o.kind}
	if o.op == opTrigger {
		s.returns = true
		if key == "" {
			key = c.idempotencyKey(s.Name)
		}
	}
	return s, c.call(ctx, s, &Request{Method: o.method, Path: o.path, Body: body, IdempotencyKey: key})
}

// putAll sends values as the member of that name, at most so many in a call, each of
// which is a step of its own. Values that are nil are left out.
func (c *Client) putAll(
	ctx context.Context, o operation, name string, most int, values []json.RawMessage, refs []string, properties json.RawMessage,
) error {
	target := o.target
	for from := 0; from < len(values); from += most {
		to := min(from+most, len(values))
		o.target = target + ":" + targets(refs[from:to])
		left := present(values[from:to])
		if len(left) == 0 {
			if err := c.skipGone(ctx, o); err != nil {
				return err
			}
			continue
		}
		m := newObject(o.op)
		m.array(name, left)
		if properties != nil {
			m.member("properties", properties)
		}
		body, err := m.end()
		if err != nil {
			return err
		}
		if err := c.put(ctx, o, body); err != nil {
			return err
		}
	}
	return nil
}

// remove sends a DELETE without a body.
func (c *Client) remove(ctx context.Context, o operation) error {
	return c.put(ctx, o, nil)
}

type idArg struct{ field, id string }

func checkIDs(op string, ids ...idArg) error {
	for _, a := range ids {
		if err := checkID(op, a.field, a.id); err != nil {
			return err
		}
	}
	return nil
}

// oversize words a limit that a body passes.
func oversize(op, field string, limit int) error {
	return &InvalidError{Op: op, Field: field, Reason: "is over Knock's limit of " + strconv.Itoa(limit) + " bytes", Data: true}
}

// object is a JSON object under construction. The same calls give the same
// bytes, which a trigger's idempotency depends on. The first error stays.
type object struct {
	op     string
	custom map[string]any // custom properties, see properties
	raw    []byte
	err    error
}

func newObject(op string) *object {
	return &object{op: op, raw: append(make([]byte, 0, 512), '{')}
}

// newRecipient begins the object of a user, an object or a tenant with its
// custom properties, sorted by name. It refuses names that mean something else
// to Knock than a property.
func newRecipient(op string, custom map[string]any, reserved ...string) *object {
	o := newObject(op)
	o.custom = custom
	names := make([]string, 0, 16)
	for name := range custom {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch name {
		case "id", "collection", "channel_data", "preferences", "$trigger_data":
			o.fail("properties."+name, "is reserved by Knock")
		default:
			if slices.Contains(reserved, name) {
				o.fail("properties."+name, "is reserved by Knock")
			}
			o.member(name, custom[name])
		}
	}
	if len(o.raw) > maxProperties && o.err == nil {
		o.err = oversize(op, "properties", maxProperties)
	}
	return o
}

func (o *object) fail(field, reason string) {
	if o.err == nil {
		o.err = &InvalidError{Op: o.op, Field: field, Reason: reason}
	}
}

func (o *object) name(name string) {
	if len(o.raw) > 1 {
		o.raw = append(o.raw, ',')
	}
	o.raw = append(appendString(o.raw, name), ':')
}

// member adds a member of any value, a nil one as null.
func (o *object) member(name string, v any) {
	o.name(name)
	raw, err := appendJSON(o.raw, v)
	if err != nil {
		o.fail(name, notJSON(err))
		return
	}
	o.raw = raw
}

// text adds a field that is set. One that is a custom property too is a mistake.
func (o *object) text(name, v string) {
	if v == "" {
		return
	}
	if _, ok := o.custom[name]; ok {
		o.fail("properties."+name, "is also set as a field")
	}
	o.name(name)
	o.raw = appendString(o.raw, v)
}

// createdAt adds the member of that name, in RFC 3339 UTC with milliseconds,
// which is Clerk's precision.
func (o *object) createdAt(t time.Time) {
	if !t.IsZero() {
		o.text("created_at", t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
}

// array adds an array of values that are JSON.
func (o *object) array(name string, values []json.RawMessage) {
	o.name(name)
	o.raw = append(o.raw, '[')
	for i, v := range values {
		if i > 0 {
			o.raw = append(o.raw, ',')
		}
		o.raw = append(o.raw, v...)
	}
	o.raw = append(o.raw, ']')
}

func (o *object) end() (json.RawMessage, error) {
	if o.err != nil {
		return nil, o.err
	}
	return append(o.raw, '}'), nil
}

// appendJSON is encoding/json without HTML escaping. The plain values that most
// members have are written without its help.
func appendJSON(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case string:
		return appendString(b, v), nil
	case json.RawMessage:
		if json.Valid(v) {
			return append(b, v...), nil
		}
	}
	return encode(b, v)
}

// notJSON words an error of encoding/json without the value that it may quote.
func notJSON(err error) string {
	if e, ok := errors.AsType[*json.UnsupportedTypeError](err); ok {
		return "is not JSON: " + e.Error()
	}
	return "is not JSON"
}

func encode(b []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(b)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return b, err
	}
	return bytes.TrimSuffix(w.Bytes(), []byte("\n")), nil
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b, _ = encode(b, s) // a string always encodes
			return b
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
