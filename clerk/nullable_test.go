package clerk_test

import (
	"encoding/json"
	"fmt"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

type holder struct {
	Text   clerk.Nullable[string]          `json:"text,omitzero"`
	Raw    clerk.Nullable[json.RawMessage] `json:"raw,omitzero"`
	Number clerk.Nullable[int]             `json:"number,omitzero"`
	Time   clerk.Nullable[clerk.Millis]    `json:"time,omitzero"`
	List   clerk.Nullable[[]string]        `json:"list,omitzero"`
	Own    clerk.Nullable[*ownData]        `json:"own,omitzero"`
}

func TestNullableStates(t *testing.T) {
	t.Parallel()
	var absent clerk.Nullable[string]
	null, empty, value := clerk.Null[string](), clerk.Value(""), clerk.Value("a")

	for _, tt := range []struct {
		n                        clerk.Nullable[string]
		value                    string
		ok, null, absent         bool
		or, marshaled, formatted string
	}{
		{absent, "", false, false, true, "default", "null", "<absent>"},
		{null, "", false, true, false, "default", "null", "<null>"},
		{empty, "", true, false, false, "", `""`, ""},
		{value, "a", true, false, false, "a", `"a"`, "a"},
	} {
		v, ok := tt.n.Get()
		assert.Equal(t, tt.value, v)
		assert.Equal(t, tt.ok, ok)
		assert.Equal(t, tt.null, tt.n.IsNull())
		assert.Equal(t, tt.absent, tt.n.IsAbsent())
		assert.Equal(t, tt.absent, tt.n.IsZero())
		assert.Equal(t, tt.or, tt.n.Or("default"))
		b, err := json.Marshal(tt.n)
		require.NoError(t, err)
		assert.Equal(t, tt.marshaled, string(b))
		assert.Equal(t, tt.formatted, fmt.Sprint(tt.n))
		assert.Equal(t, tt.ok, tt.n.LogValue().Any() != nil)
	}
	assert.Equal(t, clerk.Value("a"), value)
	assert.Equal(t, `"a" 0x2a`, fmt.Sprintf("%q %#x", value, clerk.Value(42)))
}

func TestNullableRoundTrip(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{}`,
		`{"text":null,"raw":null,"number":null,"time":null,"list":null,"own":null}`,
		`{"text":"","raw":{},"number":0,"time":0,"list":[],"own":{"id":"","when":"0001-01-01T00:00:00Z"}}`,
		`{"text":"<a> & b","raw":{"b":[1,2,"<"]},"number":-7,"time":1767225600000,"list":["x",""],"own":{"id":"1","when":"2026-01-01T00:00:00Z"}}`,
	} {
		var standard, experimental holder
		require.NoError(t, json.Unmarshal([]byte(body), &standard))
		require.NoError(t, jsonv2.Unmarshal([]byte(body), &experimental))
		assert.Equal(t, standard, experimental, body)
		assert.Equal(t, standard, decodeData[holder](t, body), body)
		assert.Equal(t, body, string(marshal(t, standard)))
		b, err := jsonv2.Marshal(standard)
		require.NoError(t, err)
		assert.JSONEq(t, body, string(b))
	}
}

func TestNullableOverwrites(t *testing.T) {
	t.Parallel()
	h := holder{Text: clerk.Value("old"), Number: clerk.Value(1)}
	require.NoError(t, json.Unmarshal([]byte(`{"text":null}`), &h))
	assert.Equal(t, clerk.Null[string](), h.Text)
	assert.Equal(t, clerk.Value(1), h.Number)
	require.NoError(t, jsonv2.Unmarshal([]byte(`{"number":null}`), &h))
	assert.Equal(t, clerk.Null[int](), h.Number)
}

func TestNullableErrors(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"text":1}`, `{"number":"a"}`, `{"number":1.5}`, `{"time":"a"}`, `{"time":1e300}`, `{"list":[1]}`, `{"own":{"when":"x"}}`,
		`{"text":"a`, `{"raw":tru}`, `{"text":nul}`,
	} {
		var h holder
		require.Error(t, json.Unmarshal([]byte(body), &h), body)
		require.Error(t, jsonv2.Unmarshal([]byte(body), &h), body)
	}
	_, err := json.Marshal(clerk.Value(make(chan int)))
	require.Error(t, err)
}
