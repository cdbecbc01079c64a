package clerk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"reflect"
	"strings"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decoder walks through JSON that is in memory as a whole. It takes what jsontext
// takes with the lenient options, in less than half the time: it keeps no names
// and no tokens. What it has to say about an error it leaves to jsontext.
type decoder struct {
	b     []byte
	pos   int
	depth int
}

// maxDepth is jsontext's limit.
const maxDepth = 10_000

// errSyntax stands for the error of jsontext, see decoder.explain.
var errSyntax = errors.New("malformed JSON")

// kind returns the first byte of what comes next, 0 at the end.
func (d *decoder) kind() byte {
	for d.pos < len(d.b) {
		switch c := d.b[d.pos]; c {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return c
		}
	}
	return 0
}

// skip moves behind the next value.
func (d *decoder) skip() error {
	switch d.kind() {
	case '"':
		_, _, err := d.text()
		return err
	case '{':
		return d.object(func([]byte) error { return d.skip() })
	case '[':
		return d.array(d.skip)
	case 't':
		return d.literal("true")
	case 'f':
		return d.literal("false")
	case 'n':
		return d.literal("null")
	default:
		return d.number()
	}
}

// pass is skip for JSON that skip has passed before, nesting included, and faster.
func (d *decoder) pass() error {
	d.kind()
	depth := 0
	for b, i := d.b, d.pos; i < len(b); i++ {
		switch b[i] {
		case '"':
			d.pos = i
			if _, _, err := d.text(); err != nil {
				return err
			}
			i = d.pos - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 { // a comma, a colon, or within a number
				continue
			}
			d.pos = i
			return d.skip()
		}
		if depth == 0 {
			d.pos = i + 1
			return nil
		}
	}
	return errSyntax
}

// value returns the next value as it stands.
func (d *decoder) value() ([]byte, error) {
	d.kind()
	start := d.pos
	err := d.skip()
	return d.b[start:d.pos:d.pos], err
}

// object calls member with each name of the object that comes next, for it to
// read the value. The name is valid until then.
func (d *decoder) object(member func(name []byte) error) error {
	d.pos++
	for first := true; ; first = false {
		if more, err := d.more('}', first); !more {
			return err
		}
		name, err := d.name()
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
}

// array calls element for it to read each element of the array that comes next.
func (d *decoder) array(element func() error) error {
	d.pos++
	for first := true; ; first = false {
		if more, err := d.more(']', first); !more {
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// more moves to the next part of an object or array, or behind its end.
func (d *decoder) more(end byte, first bool) (bool, error) {
	if first {
		if d.depth++; d.depth > maxDepth {
			return false, errSyntax
		}
	}
	switch c := d.kind(); {
	case c == end:
		d.pos++
		d.depth--
		return false, nil
	case first:
		return true, nil
	case c == ',':
		d.pos++
		return true, nil
	default:
		return false, errSyntax
	}
}

func (d *decoder) name() ([]byte, error) {
	if d.kind() != '"' {
		return nil, errSyntax
	}
	quoted, plain, err := d.text()
	if err != nil {
		return nil, err
	}
	if d.kind() != ':' {
		return nil, errSyntax
	}
	d.pos++
	if plain {
		return quoted[1 : len(quoted)-1], nil
	}
	return unquote(nil, quoted), nil
}

// text reads a string. It is plain when it stands for just what is between its
// quotes, in ASCII. It looks at eight bytes at a time.
func (d *decoder) text() (quoted []byte, plain bool, err error) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	b, start, i := d.b, d.pos, d.pos+1
	plain = true
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			quote, backslash := w^ones*'"', w^ones*'\\'
			// The top bit of a byte is set in w when it is not ASCII, and, from the
			// lowest byte on up to the first that is special, in each difference only
			// when it borrows: below a space, a quote, a backslash.
			if special := (w | (w - ones*' ') | (quote - ones) | (backslash - ones)) & tops; special != 0 {
				i += bits.TrailingZeros64(special) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return nil, false, errSyntax
		}
		switch c := b[i]; {
		case c == '"':
			d.pos = i + 1
			return b[start:d.pos], plain, nil
		case c == '\\':
			n := escape(b[i:])
			if n == 0 {
				return nil, false, errSyntax
			}
			i += n
			plain = false
		case c < ' ':
			return nil, false, errSyntax
		default: // not ASCII, or within the last bytes
			i++
			plain = plain && c < utf8.RuneSelf
		}
	}
}

// escape returns the length of the escape sequence that b begins with, 0 when it
// is none.
func escape(b []byte) int {
	switch {
	case len(b) < 2:
		return 0
	case strings.IndexByte(`"\/bfnrt`, b[1]) >= 0:
		return 2
	case b[1] != 'u' || len(b) < 6:
		return 0
	}
	for _, c := range b[2:6] {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return 0
		}
	}
	return 6
}

// unquote appends what a string stands for.
func unquote(dst, quoted []byte) []byte {
	// It reports only halves of surrogate pairs and broken UTF-8, which it has
	// replaced.
	dst, _ = jsontext.AppendUnquote(dst, quoted)
	return dst
}

func (d *decoder) literal(word string) error {
	if !bytes.HasPrefix(d.b[d.pos:], []byte(word)) {
		return errSyntax
	}
	d.pos += len(word)
	return nil
}

func (d *decoder) number() error {
	d.accept('-')
	if !d.accept('0') && !d.digits() {
		return errSyntax
	}
	if d.accept('.') && !d.digits() {
		return errSyntax
	}
	if d.accept('e') || d.accept('E') {
		_ = d.accept('-') || d.accept('+')
		if !d.digits() {
			return errSyntax
		}
	}
	return nil
}

func (d *decoder) accept(c byte) bool {
	if d.pos < len(d.b) && d.b[d.pos] == c {
		d.pos++
		return true
	}
	return false
}

func (d *decoder) digits() bool {
	start := d.pos
	for d.pos < len(d.b) && '0' <= d.b[d.pos] && d.b[d.pos] <= '9' {
		d.pos++
	}
	return d.pos > start
}

// end makes sure that nothing follows the value just read.
func (d *decoder) end() error {
	if at := d.pos; d.kind() != 0 || d.pos < len(d.b) {
		d.pos = at
		return errTrailing
	}
	return nil
}

// explain puts the error of jsontext, and where it occurs, in the place of
// errSyntax.
func (d *decoder) explain(err error) error {
	if err != errSyntax { //nolint:errorlint // it is never wrapped
		return err
	}
	dec := jsontext.NewDecoder(bytes.NewReader(d.b), lenient...)
	for {
		if _, err := dec.ReadToken(); err != nil {
			d.pos = int(dec.InputOffset())
			return err
		}
	}
}

// mismatch reads a value that is not of type T and says so.
func mismatch[T any](d *decoder) error {
	kind := jsontext.Value(d.b[d.pos:]).Kind()
	if err := d.skip(); err != nil {
		return err
	}
	return d.mismatched(kind, reflect.TypeFor[T](), nil)
}

// mismatched says that the value just read does not fit a type.
func (d *decoder) mismatched(kind jsontext.Kind, t reflect.Type, err error) error {
	return &jsonv2.SemanticError{JSONPointer: d.pointer(), JSONKind: kind, GoType: t, Err: err}
}

// pointer names the value just read.
func (d *decoder) pointer() jsontext.Pointer {
	dec := jsontext.NewDecoder(bytes.NewReader(d.b), lenient...)
	for dec.InputOffset() < int64(d.pos) {
		if _, err := dec.ReadToken(); err != nil {
			break
		}
	}
	return dec.StackPointer()
}
