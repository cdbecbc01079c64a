package clerk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestParse(t *testing.T) {
	t.Parallel()
	body := []byte(` {"timestamp":1767225600005,"data":{"a":[1, 2]},"type":"user.created","object":"event",
		"instance_id":"ins_1","event_attributes":{"http_request":{"client_ip":"192.0.2.1","user_agent":"a\u0062c","x":{}},"y":[]},"z":null} ` + "\n")
	e, err := clerk.Parse("msg_1", body)
	require.NoError(t, err)
	assert.Equal(t, &clerk.AnyEvent{
		ID:         "msg_1",
		Type:       "user.created",
		InstanceID: "ins_1",
		Timestamp:  time.UnixMilli(1767225600005).UTC(),
		Attributes: clerk.Attributes{ClientIP: "192.0.2.1", UserAgent: "abc"},
		Data:       json.RawMessage(`{"a":[1, 2]}`),
		Raw:        body,
	}, e)
}

func TestParseSharesTheBody(t *testing.T) {
	t.Parallel()
	body := []byte(`{"type":"user.created","instance_id":"ins_1","data":{"id":"user_1"},"event_attributes":{"http_request":{"client_ip":"::1"}}}`)
	before := bytes.Clone(body)
	e, err := clerk.Parse("msg_1", body)
	require.NoError(t, err)
	assert.Equal(t, before, body)
	assert.Same(t, unsafe.SliceData(body), unsafe.SliceData(e.Raw))
	assert.Same(t, &body[bytes.Index(body, []byte(`{"id"`))], unsafe.SliceData(e.Data))
	assert.Equal(t, len(e.Data), cap(e.Data), "appending to Data must not write into Raw")

	for i := range body {
		body[i] = 'x'
	}
	assert.Equal(t, "user.created", e.Type)
	assert.Equal(t, "ins_1", e.InstanceID)
	assert.Equal(t, "::1", e.Attributes.ClientIP)
}

func TestParseIsLenientWithMetadata(t *testing.T) {
	t.Parallel()
	for _, metadata := range []string{
		``,
		`"timestamp":null,"instance_id":null,"event_attributes":null,"object":null,`,
		`"timestamp":"1767225600005","instance_id":7,"event_attributes":"a","object":{},`,
		`"timestamp":{},"instance_id":[],"event_attributes":[{}],`,
		`"timestamp":1e999,"event_attributes":{"http_request":null},`,
		`"timestamp":99999999999999999999999,"event_attributes":{"http_request":[]},`,
		`"timestamp":true,"event_attributes":{"http_request":{"client_ip":null,"user_agent":null}},`,
		`"timestamp":0,"event_attributes":{"http_request":{"client_ip":1,"user_agent":{"a":1}}},`,
		`"TIMESTAMP":1767225600005,"Instance_ID":"ins_1",`,
		`"timestamp":5,"timestamp":null,"instance_id":"a","instance_id":null,`,
		`"event_attributes":{"http_request":{"client_ip":"a"}},"event_attributes":{},`,
		`"event_attributes":{"http_request":{"client_ip":"a"},"http_request":{}},`,
	} {
		e, err := clerk.Parse("msg_1", []byte(`{`+metadata+`"type":"a.b"}`))
		require.NoError(t, err, metadata)
		assert.Equal(t, &clerk.AnyEvent{ID: "msg_1", Type: "a.b", Raw: e.Raw}, e, metadata)
		assert.Nil(t, e.Data)
	}
}

func TestParseTimestamp(t *testing.T) {
	t.Parallel()
	want := time.Date(2024, 5, 28, 8, 0, 0, 0, time.UTC)
	for _, number := range []string{"1716883200", "1716883200000", "1.7168832e12", "1716883200000.25", "1.7168832E9"} {
		e, err := clerk.Parse("msg_1", []byte(`{"type":"a.b","timestamp":`+number+`}`))
		require.NoError(t, err, number)
		assert.Equal(t, want, e.Timestamp, number)
	}
}

func TestParseLastDuplicateWins(t *testing.T) {
	t.Parallel()
	e, err := clerk.Parse("msg_1", []byte(`{"type":"a.b","data":{"x":1},"instance_id":"1","type":"c.d","data":[2],"instance_id":"2","timestamp":1,"timestamp":1716883200}`))
	require.NoError(t, err)
	assert.Equal(t, "c.d", e.Type)
	assert.JSONEq(t, `[2]`, string(e.Data))
	assert.Equal(t, "2", e.InstanceID)
	assert.Equal(t, 2024, e.Timestamp.Year())
}

func TestParseEscapes(t *testing.T) {
	t.Parallel()
	agent := strings.Repeat("é\\n", 400)
	e, err := clerk.Parse("", []byte(`{"\u0074ype":"us\u0065r.created","d\u0061ta":{"\ud800":"\udc00"},"instance_id":"\ud83d\ude00\ud83d","event_attributes":{"http_request":{"user_agent":"`+agent+`"}}}`))
	require.NoError(t, err)
	assert.Equal(t, "user.created", e.Type)
	assert.Equal(t, `{"\ud800":"\udc00"}`, string(e.Data)) //nolint:testifylint // byte for byte
	assert.Equal(t, "😀\ufffd", e.InstanceID)
	assert.Equal(t, strings.Repeat("é\n", 400), e.Attributes.UserAgent)
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	const hidden = "geheim"
	for _, tt := range []struct{ name, body, want string }{
		{"nothing", "", "the JSON ends early (byte 0)"},
		{"space", " \n", "the JSON ends early (byte 0)"},
		{"text", "geheim", "malformed JSON (byte 0)"},
		{"null", "null", "not a JSON object (byte 4)"},
		{"string", `"geheim"`, "not a JSON object (byte 8)"},
		{"array", `[{"type":"geheim"}]`, "not a JSON object (byte 1)"},
		{"no type", `{"data":{"a":"geheim"}}`, `the member "type" is missing or not a non-empty string (byte 0)`},
		{"empty type", `{"type":""}`, `the member "type" is missing or not a non-empty string (byte 0)`},
		{"null type", `{"type":null}`, `the member "type" is missing or not a non-empty string (byte 0)`},
		{"number type", `{"type":1}`, `the member "type" is missing or not a non-empty string (byte 0)`},
		{"object type", `{"type":{"geheim":1}}`, `the member "type" is missing or not a non-empty string (byte 0)`},
		{"last type", `{"type":"geheim","type":null}`, `the member "type" is missing or not a non-empty string (byte 0)`},
		{"type with NUL", `{"type":"geheim\u0000"}`, `the member "type" has a control character (byte 0)`},
		{"type of two lines", `{"type":"geheim\ngeheim"}`, `the member "type" has a control character (byte 0)`},
		{"other case", `{"Type":"geheim"}`, `the member "type" is missing or not a non-empty string (byte 0)`},
		{"cut off", `{"type":"geheim","data":{"geheim":`, "the JSON ends early (byte 34)"},
		{"cut off string", `{"type":"geheim`, "the JSON ends early (byte 15)"},
		{"trailing", `{"type":"geheim"}{}`, "more than one JSON value (byte 17)"},
		{"trailing text", `{"type":"geheim"} geheim`, "more than one JSON value (byte 17)"},
		{"no comma", `{"type":"geheim" "geheim":1}`, "malformed JSON (byte 17)"},
		{"comma", `{"type":"geheim",}`, "malformed JSON (byte 16)"},
		{"no name", `{geheim:1}`, "malformed JSON (byte 1)"},
		{"number as name", `{1:"geheim"}`, "malformed JSON (byte 1)"},
		{"bad data", `{"type":"geheim","data":{"geheim":geheim}}`, "malformed JSON (byte 34)"},
		{"bad number", `{"type":"geheim","timestamp":01}`, "malformed JSON (byte 30)"},
		{"bad escape", `{"type":"geheim\x"}`, "malformed JSON (byte 15)"},
		{"control character", "{\"type\":\"geheim\n\"}", "malformed JSON (byte 15)"},
		{"broken UTF-8", "{\"type\":\"geheim\xff\"}", "not valid UTF-8 (byte 15)"},
		{"byte order mark", "\ufeff{\"type\":\"geheim\"}", "malformed JSON (byte 0)"},
		{"too deep", `{"type":"a","data":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "malformed JSON (byte 10018)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := clerk.Parse("msg_1", []byte(tt.body))
			assert.Nil(t, e)
			var pe *clerk.ParseError
			require.ErrorAs(t, err, &pe)
			require.Error(t, errors.Unwrap(err))
			require.EqualError(t, err, "clerk: the body is no event: "+tt.want)
			assert.NotContains(t, err.Error(), hidden)
			assert.False(t, tt.name != "too deep" && json.Valid([]byte(tt.body)) && strings.Contains(err.Error(), "malformed"))
		})
	}
}

func TestParseErrorOfAnyValue(t *testing.T) {
	t.Parallel()
	require.EqualError(t, &clerk.ParseError{Err: errors.New("geheim")}, "clerk: the body is no event (byte 0)")
}

// TestParseConcurrently would find a decoder that is shared between calls.
func TestParseConcurrently(t *testing.T) {
	t.Parallel()
	samples := bodies(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for name, body := range samples {
				e, err := clerk.Parse(name, body)
				if assert.NoError(t, err) {
					assert.Equal(t, eventType(name), e.Type)
				}
				_, err = clerk.Parse(name, body[:len(body)/2])
				assert.Error(t, err)
			}
		})
	}
	wg.Wait()
}
