package clerk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func seeds(f *testing.F) [][]byte {
	f.Helper()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(f, err)
	var all [][]byte
	for _, file := range files {
		body, err := os.ReadFile(file)
		require.NoError(f, err)
		var compact bytes.Buffer
		require.NoError(f, json.Compact(&compact, body))
		all = append(all, compact.Bytes())
	}
	return all
}

// FuzzParse holds Parse against encoding/json: the same bodies are accepted,
// and the same is read from them.
func FuzzParse(f *testing.F) {
	for _, body := range seeds(f) {
		f.Add(body)
	}
	for _, body := range []string{
		``, ` `, `null`, `[]`, `{}`, `{"type":""}`, `{"type":"a.b"}`, `{"type":"a.b","data":null}`,
		`{"type":"a","type":"b","data":1,"data":{"x":[]}}`, `{"\u0074ype":"\ud83d\ude00\ud800","data":"\udc00"}`,
		"{\"type\":\"\xff\"}", `{"type":"a","timestamp":1e400}`, `{"type":"a"}x`, `{"type":"a\u0000\u0085"}`, ` {"type":"a"} `, `{"type":7}`,
		`{"type":"a","event_attributes":{"http_request":{"client_ip":"\\","user_agent":null}},"instance_id":[]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		e, err := clerk.Parse("msg_1", body)
		require.Equal(t, before, body, "Parse changed the body")

		var members map[string]json.RawMessage
		var typ string
		valid := utf8.Valid(body) && json.Unmarshal(body, &members) == nil && members != nil &&
			json.Unmarshal(members["type"], &typ) == nil && typ != "" && !strings.ContainsFunc(typ, unicode.IsControl)
		if !valid {
			require.Error(t, err)
			require.Nil(t, e)
			require.NotEmpty(t, err.Error())
			return
		}
		require.NoError(t, err)
		require.Equal(t, typ, e.Type)
		require.Equal(t, string(members["data"]), string(e.Data))
		require.Equal(t, before, []byte(e.Raw))

		var id string
		_ = json.Unmarshal(members["instance_id"], &id)
		require.Equal(t, id, e.InstanceID)

		for _, family := range families {
			_, _ = family.decode(e)
		}
	})
}

// FuzzDecodeUser holds Decode against encoding/json, where both read alike:
// without names that differ in case only or occur twice.
func FuzzDecodeUser(f *testing.F) {
	for _, body := range seeds(f) {
		e, err := clerk.Parse("msg_1", body)
		require.NoError(f, err)
		f.Add([]byte(e.Data))
	}
	for _, data := range []string{
		`{}`, `{"id":1}`, `{"id":"\ud800","created_at":1.5e12,"updated_at":null}`, `{"email_addresses":[null,{"verification":{}}]}`,
		`{"create_organizations_limit":1.0,"lockout_expires_in_seconds":-0}`, `{"user":{"user":{}}}`,
		`{"organization_memberships":[{"organization":null,"permissions":[null]}]}`,
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) || !json.Valid(data) || bytes.TrimSpace(data)[0] != '{' || !plainNames(data) {
			return
		}
		for _, name := range []string{"user.created", "session.created", "organizationMembership.created", "organization.created"} {
			got, err := families[name].decode(&clerk.AnyEvent{Data: data})
			want, wantErr := families[name].standard(data)
			require.Equal(t, wantErr == nil, err == nil, "%s: encoding/json: %v, Decode: %v", name, wantErr, err)
			if err == nil {
				require.True(t, reflect.DeepEqual(want, got), "%s\nencoding/json: %s\nDecode:        %s",
					name, marshal(t, want), marshal(t, got))
			}
		}
	})
}

// plainNames reports whether no object has a name twice, nor one that
// encoding/json would take for another.
func plainNames(data []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // a number may be out of range of all types
	type level struct {
		object, value bool
		names         map[string]bool
	}
	stack := []level{{}}
	for {
		tok, err := dec.Token()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		top := &stack[len(stack)-1]
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if top.object && !top.value {
			name, _ := tok.(string)
			for _, r := range name {
				if r >= utf8.RuneSelf || (r >= 'A' && r <= 'Z') {
					return false
				}
			}
			if top.names[name] {
				return false
			}
			top.names[name], top.value = true, true
			continue
		}
		top.value = false
		if d, ok := tok.(json.Delim); ok {
			stack = append(stack, level{object: d == '{', names: map[string]bool{}})
		}
	}
}
