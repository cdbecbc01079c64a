package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// encoding is a way to write JSON.
type encoding struct {
	name         string
	comma, colon string
	indent       string
	ascii        bool // everything else is escaped
	html         bool // <, > and & are escaped
	slash        bool // / is escaped
}

// encodings are those of the usual libraries, the likeliest first.
var encodings = func() []encoding {
	var all []encoding
	for _, space := range [...]encoding{
		{name: "compact", comma: ",", colon: ":"},
		{name: "with blanks", comma: ", ", colon: ": "},
		{name: "with line breaks", comma: ",", colon: ": ", indent: "  "},
		{name: "with line breaks", comma: ",", colon: ": ", indent: "    "},
		{name: "with line breaks", comma: ",", colon: ": ", indent: "\t"},
	} {
		for _, escape := range [...]encoding{
			{},
			{ascii: true, name: ", only ASCII"},
			{html: true, name: ", with escaped <, > and &"},
			{slash: true, name: ", with escaped slashes"},
			{slash: true, ascii: true, name: ", only ASCII, with escaped slashes"},
		} {
			e := space
			e.name += escape.name
			e.ascii, e.html, e.slash = escape.ascii, escape.html, escape.slash
			all = append(all, e)
		}
	}
	return all
}()

// reencode writes JSON anew, members in their order, numbers as they stand.
func reencode(text []byte, e encoding) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var b bytes.Buffer
	w := writer{encoding: e, b: &b, dec: dec}
	if err := w.value(0); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return b.Bytes(), nil
}

type writer struct {
	encoding

	b   *bytes.Buffer
	dec *json.Decoder
}

// maxDepth is far more than Clerk's events have. The indents grow with its square.
const maxDepth = 100

func (w *writer) value(depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		return w.members(t, depth)
	case string:
		w.string(t)
	case nil:
		w.b.WriteString("null")
	default: // a number or a boolean
		fmt.Fprint(w.b, t)
	}
	return nil
}

func (w *writer) members(open json.Delim, depth int) error {
	w.b.WriteRune(rune(open))
	empty := true
	for ; w.dec.More(); empty = false {
		if !empty {
			w.b.WriteString(w.comma)
		}
		w.newline(depth + 1)
		if open == '{' {
			name, err := w.dec.Token()
			if err != nil {
				return err
			}
			w.string(name.(string)) //nolint:forcetypeassert // the decoder gives strings as names
			w.b.WriteString(w.colon)
		}
		if err := w.value(depth + 1); err != nil {
			return err
		}
	}
	end, err := w.dec.Token()
	if err != nil {
		return err
	}
	if !empty {
		w.newline(depth)
	}
	fmt.Fprint(w.b, end)
	return nil
}

func (w *writer) newline(depth int) {
	if w.indent == "" {
		return
	}
	w.b.WriteByte('\n')
	for range depth {
		w.b.WriteString(w.indent)
	}
}

var escapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func (w *writer) string(s string) {
	w.b.WriteByte('"')
	for _, r := range s {
		text, ok := escapes[r]
		switch {
		case ok:
			w.b.WriteString(text)
		case r == '/' && w.slash:
			w.b.WriteString(`\/`)
		case r < ' ', w.ascii && r >= utf8.RuneSelf, w.html && (r == '<' || r == '>' || r == '&' || r == '\u2028' || r == '\u2029'):
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(w.b, `\u%04x`, unit)
			}
		default:
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}
