package clerk

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

// FuzzDecoder holds the decoder against jsontext: both take the same JSON.
func FuzzDecoder(f *testing.F) {
	for _, text := range []string{
		"", " ", " null\n", "nul", "truefalse", "tru", "[]", "[1,]", "[,1]", "[1 2]", "[1,[2,{}]]", "{", "{}x",
		`{"a":1,"a":[true,false,null]}`, `{"a" : "b" , "c":{}}`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":}`, `{1:2}`,
		"0", "-0", "01", "-", "1.", ".5", "1.5e+10", "1E-2", "1e", "+1", "0x1", "1_0", "Infinity",
		`"a`, `"\"`, `"\`, `"\\"`, `"\n\/\b\f\r\t\""`, `"\u00e9\uD800"`, `"\u12"`, `"\u12g4"`, `"\ug012"`, `"\u0g12"`, `"\u012g"`, `"\u:000"`, `"\u000/"`, `"\u@000"`, `"\x"`, "\"a\x1f\"", "\"\x7f\"", "\"\xff\"",
		`"0123456789abcdef"`, `"0123456\u003789abcdef"`, `"01234567é89abcdef"`, "\"01234567\n\"", "\ufeff1",
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		strings.Repeat(`{"":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1),
		"[" + strings.Repeat("[],", maxDepth) + "1]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := decoder{b: text}
		value, err := d.value()
		if err == nil {
			err = d.end()
		}
		require.Equal(t, jsontext.Value(text).IsValid(lenient...), err == nil)
		if err != nil {
			require.Error(t, d.explain(err))
			return
		}
		require.Equal(t, strings.Trim(string(text), " \t\r\n"), string(value))
		if value[0] == '"' {
			var want, got string
			require.NoError(t, unmarshal(value, &want))
			d = decoder{b: value}
			require.NoError(t, decodeString(&d, &got))
			require.Equal(t, want, got)
		}
	})
}
