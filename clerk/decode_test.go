package clerk_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestFixturesPresent(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(fixtureDir); err != nil {
		t.Skipf("only the samples in testdata are tested: no fixtures in %s: %v", fixtureDir, err)
	}
	seen := map[string]bool{}
	for name := range bodies(t) {
		seen[eventType(name)] = true
	}
	for _, name := range clerk.EventNames() {
		assert.True(t, seen[name], "no fixture of %s", name)
	}
}

// TestBodies decodes every body there is, as it stands and with everything
// missing, null, unknown and out of order, and compares with encoding/json.
func TestBodies(t *testing.T) {
	t.Parallel()
	for name, body := range bodies(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := clerk.Parse("msg_1", body)
			require.NoError(t, err)
			assert.Equal(t, "msg_1", e.ID)
			assert.Equal(t, eventType(name), e.Type)
			assert.Equal(t, string(body), string(e.Raw))
			var env struct {
				Data       json.RawMessage
				InstanceID string `json:"instance_id"`
				Attributes struct {
					Request struct {
						IP    string `json:"client_ip"`
						Agent string `json:"user_agent"`
					} `json:"http_request"`
				} `json:"event_attributes"`
				Timestamp int64
			}
			require.NoError(t, json.Unmarshal(body, &env))
			assert.Equal(t, string(env.Data), string(e.Data))
			assert.Equal(t, env.InstanceID, e.InstanceID)
			assert.Equal(t, clerk.Attributes{ClientIP: env.Attributes.Request.IP, UserAgent: env.Attributes.Request.Agent}, e.Attributes)
			if env.Timestamp != 0 {
				assert.WithinRange(t, e.Timestamp, time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
			}

			f, ok := families[e.Type]
			if !ok {
				assert.Contains(t, unconfirmed, e.Type)
				raw, err := clerk.Decode[json.RawMessage](e)
				require.NoError(t, err)
				assert.Equal(t, string(env.Data), string(raw.Data))
				return
			}
			same(t, f, "as it stands", e.Data)
			roundTrip(t, f, e.Data)
			mutants(t, e.Data, func(name string, data []byte) { same(t, f, name, data) })
		})
	}
}

// same requires that the data decodes, and to what encoding/json makes of it.
func same(t *testing.T, f family, name string, data []byte) {
	t.Helper()
	got, err := f.decode(&clerk.AnyEvent{Type: "sample", Data: data})
	require.NoError(t, err, "%s\n%s", name, data)
	want, err := f.standard(data)
	require.NoError(t, err, "%s\n%s", name, data)
	require.True(t, reflect.DeepEqual(want, got), "%s\nencoding/json: %s\nDecode:        %s",
		name, marshal(t, want), marshal(t, got))
}

// roundTrip requires that a value survives being marshaled.
func roundTrip(t *testing.T, f family, data []byte) {
	t.Helper()
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, data))
	first, err := f.decode(&clerk.AnyEvent{Data: compact.Bytes()})
	require.NoError(t, err)
	b := marshal(t, first)
	second, err := f.decode(&clerk.AnyEvent{Data: b})
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(first, second), "%s\n%s", b, marshal(t, second))
	assert.LessOrEqual(t, len(b), compact.Len()+200, "what is absent is not written")
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	require.NoError(t, enc.Encode(v))
	return bytes.TrimSpace(b.Bytes())
}

func TestZeroMarshalsToNothing(t *testing.T) {
	t.Parallel()
	for name, f := range families {
		v, err := f.decode(&clerk.AnyEvent{Data: json.RawMessage("{}")})
		require.NoError(t, err)
		if name == "organizationMembership.created" {
			assert.True(t, reflect.ValueOf(v).IsZero(), name)
		}
		assert.Equal(t, "{}", string(marshal(t, v)), name)
	}
}

// TestDecodeEveryMember sends each member of each type alone: a name that is
// misspelled in the tag or in the switch shows up as a difference.
func TestDecodeEveryMember(t *testing.T) {
	t.Parallel()
	for name, f := range families {
		v, err := f.decode(&clerk.AnyEvent{Data: json.RawMessage("{}")})
		require.NoError(t, err)
		for data := range allMembers(reflect.TypeOf(v), nil) {
			got, err := f.decode(&clerk.AnyEvent{Data: json.RawMessage(data)})
			require.NoError(t, err, "%s %s", name, data)
			assert.False(t, reflect.ValueOf(got).IsZero(), "%s %s", name, data)
			same(t, f, name, []byte(data))
			assert.JSONEq(t, data, string(marshal(t, got)), name)

			for _, other := range []string{`"x"`, `7`, `{"x":7}`} {
				wrong := leaf.ReplaceAllLiteralString(data, ":"+other)
				_, want := f.standard([]byte(wrong))
				_, err := f.decode(&clerk.AnyEvent{Data: json.RawMessage(wrong)})
				assert.Equal(t, want != nil, err != nil, "%s %s: %v", name, wrong, err)
			}
		}
	}
}

// leaf is the one value in a body of allMembers.
var leaf = regexp.MustCompile(`:("text"|true|1767225600000|0\.5|null)`)

// allMembers yields a body of t for each member of it and of what it contains.
func allMembers(t reflect.Type, seen []reflect.Type) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		values(t, seen, yield)
	}
}

func values(t reflect.Type, seen []reflect.Type, yield func(string) bool) bool {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return yield(`{"x":[1]}`)
	case t == reflect.TypeFor[clerk.Interval]():
		return yield(`"month"`)
	case t == reflect.TypeFor[clerk.Money]():
		return yield(`{"amount":7,"currency":"USD"}`) && yield(`{"amount":0,"amount_formatted":"a"}`) &&
			yield(`{"amount":0,"currency_symbol":"$"}`)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return values(t.Elem(), seen, yield)
	case reflect.String:
		return yield(`"text"`)
	case reflect.Bool:
		return yield(`true`)
	case reflect.Int64:
		return yield(`1767225600000`)
	case reflect.Float64:
		return yield(`0.5`)
	case reflect.Slice:
		return values(t.Elem(), seen, func(s string) bool { return yield("[" + s + "]") })
	case reflect.Struct:
	default:
		panic("no value of " + t.String())
	}
	if get, ok := t.MethodByName("Get"); ok { // a Nullable
		return yield("null") && values(get.Type.Out(0), seen, yield)
	}
	if slices.Contains(seen, t) {
		return true
	}
	seen = append(slices.Clone(seen), t)
	for f := range t.Fields() {
		name, opts, _ := bytes.Cut([]byte(f.Tag.Get("json")), []byte(","))
		if string(opts) != "omitzero" {
			panic("no omitzero: " + t.String() + "." + f.Name)
		}
		if !values(f.Type, seen, func(s string) bool { return yield(`{"` + string(name) + `":` + s + `}`) }) {
			return false
		}
	}
	return true
}

func TestDecodeRaw(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "null", "[]", `{"a": 1}`} {
		e := &clerk.AnyEvent{ID: "msg_1", Type: "a.b", Data: json.RawMessage(data)}
		d, err := clerk.Decode[json.RawMessage](e)
		require.NoError(t, err)
		assert.Equal(t, data, string(d.Data))
		assert.NotSame(t, e, d)
	}
}

func TestDecodeKeepsTheEnvelope(t *testing.T) {
	t.Parallel()
	e, err := clerk.Parse("msg_1", sampleUser(t))
	require.NoError(t, err)
	d, err := clerk.Decode[clerk.User](e)
	require.NoError(t, err)
	assert.Equal(t, "msg_1", d.ID)
	assert.Equal(t, "user.created", d.Type)
	assert.Equal(t, e.InstanceID, d.InstanceID)
	assert.Equal(t, e.Timestamp, d.Timestamp)
	assert.Equal(t, e.Attributes, d.Attributes)
	assert.Equal(t, e.Raw, d.Raw)
}

func TestDecodeSharesNoMemory(t *testing.T) {
	t.Parallel()
	for name, body := range bodies(t) {
		f, ok := families[eventType(name)]
		if !ok {
			continue
		}
		body = bytes.Clone(body)
		e, err := clerk.Parse("msg_1", body)
		require.NoError(t, err)
		v, err := f.decode(e)
		require.NoError(t, err)
		before := marshal(t, v)
		for i := range body {
			body[i] = 'x'
		}
		assert.Equal(t, string(before), string(marshal(t, v)), name)
	}
}

type ownData struct {
	ID   string    `json:"id"`
	When time.Time `json:"when"`
}

// oldStyle implements only encoding/json's interface.
type oldStyle struct{ got string }

func (o *oldStyle) UnmarshalJSON(b []byte) error {
	o.got = string(b)
	return nil
}

type typedMetadata struct {
	clerk.User

	PublicMetadata struct {
		Plan string `json:"plan"`
	} `json:"public_metadata"`
	Extra string `json:"extra"`
}

func TestDecodeOwnTypes(t *testing.T) {
	t.Parallel()
	own := decodeData[ownData](t, `{"id":"a","when":"2026-01-01T00:00:00Z","ID":"b"}`)
	assert.Equal(t, ownData{ID: "a", When: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, own)

	assert.Equal(t, `{"a":1}`, decodeData[oldStyle](t, `{"a":1}`).got)
	assert.Equal(t, map[string]int{"a": 1}, decodeData[map[string]int](t, `{"a":1}`))
	assert.Equal(t, "user_1", decodeData[*clerk.User](t, `{"id":"user_1"}`).ID)

	u := decodeData[typedMetadata](t, `{"id":"user_1","first_name":"Bo","public_metadata":{"plan":"team"},"extra":"e"}`)
	assert.Equal(t, "user_1", u.ID)
	assert.Equal(t, "Bo", u.FullName())
	assert.Equal(t, "team", u.PublicMetadata.Plan)
	assert.Equal(t, "e", u.Extra)
}

func TestDecodeLastDuplicateWins(t *testing.T) {
	t.Parallel()
	u := decodeData[clerk.User](t, `{"id":"a","first_name":"x","email_addresses":[{"id":"1"},{"id":"2"}],
		"id":"b","first_name":null,"email_addresses":[{"id":"3"}]}`)
	assert.Equal(t, "b", u.ID)
	assert.True(t, u.FirstName.IsNull())
	assert.Equal(t, []clerk.EmailAddress{{ID: "3"}}, u.EmailAddresses)
}

func TestDecodeEscapedNamesAndStrings(t *testing.T) {
	t.Parallel()
	u := decodeData[clerk.User](t, `{"\u0069d":"us\u0065r","first_name":"\ud83d\ude00 \ud800","object":"us\u0065r","email_addresses":[{"verification":{"st\u0061tus":"verifie\u0064"}}]}`)
	assert.Equal(t, "user", u.ID)
	assert.Equal(t, "user", u.Object)
	assert.Equal(t, clerk.Value("😀 \ufffd"), u.FirstName)
	assert.True(t, u.EmailAddresses[0].Verified())
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	const hidden = "geheim"
	decode := func(f func(*clerk.AnyEvent) (any, error)) func(string) error {
		return func(data string) error {
			_, err := f(&clerk.AnyEvent{Type: "user.created", Data: json.RawMessage(data)})
			return err
		}
	}
	user := decode(families["user.created"].decode)
	sms := decode(families["sms.created"].decode)
	email := decode(families["email.created"].decode)
	item := decode(families["subscriptionItem.active"].decode)
	domain := decode(families["organizationDomain.created"].decode)
	own := decode(familyOf(clerk.EventType[ownData]("own")).decode)

	for _, tt := range []struct {
		name   string
		decode func(string) error
		data   string
		want   string
	}{
		{"missing", user, ``, `clerk: decode "user.created": the event carries no data`},
		{"null", user, `null`, `clerk: decode "user.created": data is null, want struct`},
		{"null with space", user, ` null`, `clerk: decode "user.created": data is null, want struct`},
		{"null, reflected", email, `null`, `clerk: decode "user.created": data is null, want struct`},
		{"array", user, `["geheim"]`, `clerk: decode "user.created": data is an array, want struct`},
		{"array, reflected", email, `["geheim"]`, `clerk: decode "user.created": data is an array, want struct`},
		{"array, own unmarshaler", sms, `["geheim"]`, `clerk: decode "user.created": data is an array, want struct`},
		{"string", user, `"geheim"`, `clerk: decode "user.created": data is a string, want struct`},
		{"id", user, `{"id":4711}`, `clerk: decode "user.created": data/id is a number, want string`},
		{"word", user, `{"object":true}`, `clerk: decode "user.created": data/object is a boolean, want string`},
		{"nullable", user, `{"first_name":{"geheim":1}}`, `clerk: decode "user.created": data/first_name is an object, want string`},
		{"bool", user, `{"banned":"geheim"}`, `clerk: decode "user.created": data/banned is a string, want bool`},
		{"list", user, `{"email_addresses":"geheim"}`, `clerk: decode "user.created": data/email_addresses is a string, want slice`},
		{"nested", user, `{"email_addresses":[{},{"verification":{"attempts":"geheim"}}]}`, `clerk: decode "user.created": data/email_addresses/1/verification/attempts is a string, want int64`},
		{"float", user, `{"email_addresses":[{"verification":{"attempts":1.5}}]}`, `clerk: decode "user.created": data/email_addresses/0/verification/attempts does not fit int64`},
		{"millis", user, `{"updated_at":"geheim"}`, `clerk: decode "user.created": data/updated_at is a string, want clerk.Millis`},
		{"rare", user, `{"scim":{"directory_id":["geheim"]}}`, `clerk: decode "user.created": data/scim/directory_id is an array, want string`},
		{"reflected", email, `{"id":4711}`, `clerk: decode "user.created": data/id is a number, want string`},
		{"reflected nullable", email, `{"subject":4711}`, `clerk: decode "user.created": data/subject is a number, want string`},
		{"own unmarshaler", sms, `{"message":4711}`, `clerk: decode "user.created": data/message is a number, want string`},
		{"domain", domain, `{"verification":{"expires_at":"geheim"}}`, `clerk: decode "user.created": data/verification/expires_at is a string, want clerk.Millis`},
		{"interval", item, `{"plan":{"interval":["geheim"]}}`, `clerk: decode "user.created": data/plan/interval is an array, want clerk.Interval`},
		{"money", item, `{"lifetime_paid":"geheim"}`, `clerk: decode "user.created": data/lifetime_paid is a string, want struct`},
		{"money amount", item, `{"lifetime_paid":{"amount":"geheim"}}`, `clerk: decode "user.created": data/lifetime_paid/amount is a string, want int64`},
		{"cut off", user, `{"id":"geheim`, `clerk: decode "user.created": the data is not valid JSON`},
		{"trailing", user, `{"id":"a"} "geheim"`, `clerk: decode "user.created": the data is not valid JSON`},
		{"trailing, reflected", email, `{"id":"a"} "geheim"`, `clerk: decode "user.created": the data is not valid JSON`},
		{"only space", user, ` `, `clerk: decode "user.created": the data is not valid JSON`},
		{"own type", own, `{"when":"geheim"}`, `clerk: decode "user.created": data/when does not fit struct`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.decode(tt.data)
			var de *clerk.DecodeError
			require.ErrorAs(t, err, &de)
			assert.Equal(t, "user.created", de.Type)
			require.Error(t, de.Err)
			assert.Equal(t, de.Err, de.Unwrap())
			require.EqualError(t, err, tt.want)
			assert.NotContains(t, err.Error(), hidden)
		})
	}

	failed, err := clerk.Decode[clerk.User](&clerk.AnyEvent{Data: json.RawMessage(`{"id":1}`)})
	require.Error(t, err)
	assert.Nil(t, failed)
}

func TestDecodeErrorOfAnyValue(t *testing.T) {
	t.Parallel()
	require.EqualError(t, &clerk.DecodeError{Type: "a\nb", Err: os.ErrClosed}, `clerk: decode "a\nb"`)
	require.EqualError(t, &clerk.DecodeError{Type: "a.b"}, `clerk: decode "a.b"`)
}
