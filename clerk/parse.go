package clerk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	errNotUTF8   = errors.New("not valid UTF-8")
	errNotObject = errors.New("not a JSON object")
	errTrailing  = errors.New("more than one JSON value")
	errNoType    = errors.New(`the member "type" is missing or not a non-empty string`)
	errControl   = errors.New(`the member "type" has a control character`)
	errNoData    = errors.New("the event carries no data")
)

// ParseError says that a body is not a webhook event. Its text holds nothing of
// the body.
type ParseError struct {
	// Offset is roughly where in the body, in bytes.
	Offset int64
	// Err is the cause. Unlike the ParseError, it may quote a character of the
	// body.
	Err error

	reason string
}

// Error says what is wrong and where.
func (e *ParseError) Error() string {
	s := "clerk: the body is no event"
	if e.reason != "" {
		s += ": " + e.reason
	}
	return s + " (byte " + strconv.FormatInt(e.Offset, 10) + ")"
}

// Unwrap returns Err.
func (e *ParseError) Unwrap() error { return e.Err }

// DecodeError says that the data of an event does not fit the Go type asked
// for. Its text names the event type and the member, and holds no value of the
// data.
type DecodeError struct {
	// Type is the event's name.
	Type string
	// Err is the cause. Unlike the DecodeError, it may quote a value of the data.
	Err error
}

// Error names the event, the member and what was expected there.
func (e *DecodeError) Error() string {
	var b strings.Builder
	b.WriteString("clerk: decode ")
	b.WriteString(strconv.Quote(e.Type))
	if se, ok := errors.AsType[*jsonv2.SemanticError](e.Err); ok {
		describe(&b, se)
	} else if errors.Is(e.Err, errNoData) {
		b.WriteString(": the event carries no data")
	} else if malformed(e.Err) {
		b.WriteString(": the data is not valid JSON")
	}
	return b.String()
}

// Unwrap returns Err.
func (e *DecodeError) Unwrap() error { return e.Err }

func malformed(err error) bool {
	_, ok := errors.AsType[*jsontext.SyntacticError](err)
	return ok || errors.Is(err, errTrailing) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func describe(b *strings.Builder, e *jsonv2.SemanticError) {
	b.WriteString(": data")
	// The names may be anything in a map of a caller's own type.
	pointer := strconv.Quote(string(e.JSONPointer))
	b.WriteString(pointer[1 : len(pointer)-1])
	kind := kindName(e.JSONKind)
	if kind == "" || e.Err != nil {
		b.WriteString(" does not fit ")
	} else {
		b.WriteString(" is ")
		b.WriteString(kind)
		b.WriteString(", want ")
	}
	b.WriteString(wanted(e.GoType))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject, jsontext.KindEndObject:
		return "an object"
	case jsontext.KindBeginArray, jsontext.KindEndArray:
		return "an array"
	default:
		return ""
	}
}

func wanted(t reflect.Type) string {
	if t == nil {
		return "the Go type"
	}
	if t.Name() == "" || t.Kind() == reflect.Struct {
		return t.Kind().String()
	}
	return t.String()
}

// lenient is how everything here reads JSON: a name that occurs twice is not
// worth an error, the last one wins; half of a surrogate pair becomes U+FFFD,
// as in encoding/json. Broken UTF-8 is refused by Parse.
var lenient = []jsonv2.Options{jsonv2.JoinOptions(
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
)}

func unmarshal(b []byte, v any) error { return jsonv2.Unmarshal(b, v, lenient...) }

// Parse reads the envelope of a webhook body and leaves its data as it is; see
// [Decode]. The id is the delivery's svix-id, which the body does not carry.
//
// The whole body must be one JSON object in valid UTF-8 with a "type" without
// control characters, as not every database can store those. Nothing else is
// required: metadata that is missing, null or of a wrong type leaves its field zero,
// unknown members and unknown events are accepted, and of members that occur twice
// the last one counts. Any other body is a [*ParseError].
//
// Data and Raw of the event share memory with body, which must not be changed
// while the event is in use. Parse does not change it. Data is nil when the
// body carries none.
func Parse(id string, body []byte) (*AnyEvent, error) {
	if !utf8.Valid(body) {
		return nil, &ParseError{Offset: firstInvalid(body), Err: errNotUTF8, reason: errNotUTF8.Error()}
	}
	d := decoder{b: body}
	var env envelope
	if err := env.read(&d); err != nil {
		return nil, parseError(&d, err)
	}

	// The strings share one allocation, and a known type needs none.
	var scratch [512]byte
	buf := appendString(scratch[:0], env.typ)
	if len(buf) == 0 {
		return nil, &ParseError{Err: errNoType, reason: errNoType.Error()}
	}
	e := &AnyEvent{
		ID:        id,
		Timestamp: env.timestamp.Time(),
		Data:      json.RawMessage(env.data),
		Raw:       body,
	}
	if name, ok := known[string(buf)]; ok {
		e.Type = name
	} else if bytes.ContainsFunc(buf, unicode.IsControl) {
		return nil, &ParseError{Err: errControl, reason: errControl.Error()}
	} else {
		e.Type = string(buf)
	}
	buf = appendString(buf[:0], env.instanceID)
	ip := len(buf)
	buf = appendString(buf, env.clientIP)
	agent := len(buf)
	buf = appendString(buf, env.userAgent)
	s := string(buf)
	e.InstanceID = s[:ip]
	e.Attributes = Attributes{ClientIP: s[ip:agent], UserAgent: s[agent:]}
	return e, nil
}

// envelope holds the parts of a body, as they stand in it.
type envelope struct {
	typ, instanceID     []byte
	clientIP, userAgent []byte
	data                []byte
	timestamp           Millis
}

func (v *envelope) read(d *decoder) error {
	switch d.kind() {
	case '{':
	case '[':
		d.pos++
		return errNotObject
	default:
		if err := d.skip(); err != nil {
			return err
		}
		return errNotObject
	}
	err := d.object(func(name []byte) error {
		switch string(name) {
		case "type":
			return readString(d, &v.typ)
		case "instance_id":
			return readString(d, &v.instanceID)
		case "data":
			var err error
			v.data, err = d.value()
			return err
		case "timestamp":
			return v.readTimestamp(d)
		case "event_attributes":
			return v.readAttributes(d)
		default:
			return d.skip()
		}
	})
	if err != nil {
		return err
	}
	return d.end()
}

// readTimestamp leaves what is no number, or one beyond all times, zero.
func (v *envelope) readTimestamp(d *decoder) error {
	number, err := d.value()
	v.timestamp, _ = parseMillis(number)
	return err
}

func (v *envelope) readAttributes(d *decoder) error {
	v.clientIP, v.userAgent = nil, nil
	return members(d, func(name []byte) error {
		if string(name) != "http_request" {
			return d.skip()
		}
		v.clientIP, v.userAgent = nil, nil
		return members(d, func(name []byte) error {
			switch string(name) {
			case "client_ip":
				return readString(d, &v.clientIP)
			case "user_agent":
				return readString(d, &v.userAgent)
			default:
				return d.skip()
			}
		})
	})
}

// members is decoder.object for a value that may be none, which is skipped.
func members(d *decoder, member func(name []byte) error) error {
	if d.kind() != '{' {
		return d.skip()
	}
	return d.object(member)
}

// readString notes where the next string stands; any other value counts as none.
func readString(d *decoder, p *[]byte) error {
	*p = nil
	if d.kind() != '"' {
		return d.skip()
	}
	var err error
	*p, _, err = d.text()
	return err
}

// appendString appends what a string of JSON stands for. No string is "".
func appendString(dst, quoted []byte) []byte {
	if len(quoted) == 0 {
		return dst
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return append(dst, quoted[1:len(quoted)-1]...)
	}
	return unquote(dst, quoted)
}

func firstInvalid(b []byte) int64 {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return int64(i)
		}
		i += n
	}
	return int64(len(b))
}

// parseError words err without quoting the body.
func parseError(d *decoder, err error) *ParseError {
	err = d.explain(err)
	e := &ParseError{Offset: int64(d.pos), Err: err, reason: "malformed JSON"}
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		e.Offset = se.ByteOffset
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.reason = "the JSON ends early"
	case errors.Is(err, errNotObject), errors.Is(err, errTrailing):
		e.reason = err.Error()
	}
	return e
}

// Decode decodes the data of an event into T: the type that the event's
// constant carries, or one of your own. Data that does not fit T, or is missing
// or null, is a [*DecodeError]. With T [json.RawMessage] nothing is decoded, and
// nothing fails.
//
// Names of members are matched exactly. Unknown members are ignored, and null
// leaves a field zero. The result shares no memory with e, except Raw.
func Decode[T any](e *AnyEvent) (*Event[T], error) {
	if same, ok := any(e).(*Event[T]); ok {
		c := *same
		return &c, nil
	}
	out := &Event[T]{
		ID:         e.ID,
		Type:       e.Type,
		InstanceID: e.InstanceID,
		Timestamp:  e.Timestamp,
		Attributes: e.Attributes,
		Raw:        e.Raw,
	}
	if err := decodeData(e.Data, &out.Data); err != nil {
		return nil, &DecodeError{Type: e.Type, Err: err}
	}
	return out, nil
}

func decodeData(data []byte, v any) error {
	if len(data) == 0 {
		return errNoData
	}
	if jsontext.Value(data).Kind() == jsontext.KindNull {
		return &jsonv2.SemanticError{JSONKind: jsontext.KindNull, GoType: reflect.TypeOf(v).Elem()}
	}
	if done, err := decodeFast(data, v); done {
		return err
	}
	return unmarshal(data, v)
}
