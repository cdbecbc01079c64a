package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
)

// signed returns a delivery of which the signed bytes are given.
func signed(t *testing.T, body string, at time.Time) capture {
	t.Helper()
	header, err := bridge.Sign(bridgetest.Secret, "msg_1", at, []byte(body))
	require.NoError(t, err)
	return capture{header: header, body: []byte(body)}
}

func TestChangedBodies(t *testing.T) {
	t.Parallel()
	const original = `{"type":"user.created","data":{"name":"Zoë & <Ada>","url":"https://example.com/a","n":1.50,"list":[1,true,null,{},[]]}}`
	now := time.Now()
	c := signed(t, original, now)
	assert.True(t, diagnose(c, bridgetest.Secret, 0, now).Verifies)

	var value any
	require.NoError(t, json.Unmarshal([]byte(original), &value))
	quoted, err := json.Marshal(original)
	require.NoError(t, err)
	for name, body := range map[string]string{
		"a line break at the end":   original + "\n",
		"a byte order mark":         "\xef\xbb\xbf" + original,
		"blanks":                    "  " + original + " \n",
		"a string":                  string(quoted),
		"spaces":                    strings.ReplaceAll(original, `,"`, `, "`),
		"escaped characters":        strings.ReplaceAll(original, "ë", `\u00eb`),
		"escaped < and >":           strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`).Replace(original),
		"escaped slashes":           strings.ReplaceAll(original, "/", `\/`),
		"line breaks and a newline": strings.ReplaceAll(original, ",", ",\n  ") + "\n",
	} {
		c.body = []byte(body)
		r := diagnose(c, bridgetest.Secret, 0, now)
		assert.False(t, r.Verifies, name)
		assert.Equal(t, fine, r.Secret, name)
		assert.Equal(t, "It does not verify: the body was changed on the way.", r.Verdict, name)
	}
	c.body = []byte(strings.ReplaceAll(original, "Ada", "Eve"))
	r := diagnose(c, bridgetest.Secret, 0, now)
	assert.Equal(t, "does not match", r.Secret)
	assert.Equal(t, "no sign of a change", r.Body)
}

func TestSignedInOtherEncodings(t *testing.T) {
	t.Parallel()
	const compact = `{"a":"Zoë/<","b":[1,{"c":[]}],"d":{}}`
	seen := make(map[string]bool)
	for _, e := range encodings {
		text, err := reencode([]byte(compact), e)
		require.NoError(t, err)
		assert.JSONEq(t, compact, string(text), e.name)
		assert.False(t, seen[string(text)], e.name)
		seen[string(text)] = true
		c := signed(t, string(text), time.Now())
		c.body = []byte(compact)
		r := diagnose(c, bridgetest.Secret, 0, time.Now())
		if string(text) == compact {
			assert.True(t, r.Verifies)
			continue
		}
		assert.Contains(t, r.Body, "decoded and encoded again (it was signed "+e.name+")")
	}
	for _, bad := range []string{"", "{", "[1", "{}{}", `{"a":}`, "x"} {
		_, err := reencode([]byte(bad), encodings[0])
		assert.Error(t, err, bad)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_772_442_927, 0)
	for seconds, want := range map[string]string{
		"1772442927":                         fine,
		"1772442627":                         fine,
		"1772443227":                         fine,
		"1772442626":                         "5 minutes old: ",
		"1772439327":                         "60 minutes old: ",
		"1772270127":                         "2 days old: ",
		"1772443527":                         "10 minutes in the future",
		"1772442927000":                      "the timestamp is in milliseconds",
		"0":                                  "20514 days old: ",
		strconv.FormatInt(math.MaxInt64, 10): "the timestamp is in milliseconds",
		strconv.FormatInt(math.MinInt64, 10): " days old: ",
		"soon":                               notKnown,
	} {
		r := &report{Clock: notKnown}
		counts := r.checkClock(http.Header{"Svix-Timestamp": {seconds}}, 0, now)
		assert.False(t, counts, "by default it does not")
		assert.Contains(t, r.Clock, want, seconds)
	}
	r := &report{}
	assert.True(t, r.checkClock(http.Header{"Webhook-Timestamp": {"1772442900"}}, time.Second, now))
}

func TestSecretFaults(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]string{
		" ":                     "is blank",
		" " + bridgetest.Secret: "has blanks or a line break",
		bridgetest.Secret[:20] + " " + bridgetest.Secret[20:]:                      "has blanks or a line break",
		bridgetest.Secret + "\n" + strings.TrimPrefix(bridgetest.Secret, "whsec_"): "give several secrets",
		"'" + bridgetest.Secret + "'":                                              "has quotes around it",
		"export " + secretVar + "=" + bridgetest.Secret:                            "has blanks",
		secretVar + "=" + bridgetest.Secret:                                        "begins with the name of the variable",
		"sk_test_1":                                                                "is a secret key",
		"pk_test_1":                                                                "is a publishable key",
		"ep_1":                                                                     "is the endpoint's id",
		"whsk_1":                                                                   "asymmetric",
		"whsec_":                                                                   `is only the prefix`,
		"whsec_QQ==":                                                               "holds 1 bytes of key",
		"whsec_***":                                                                "is not",
	} {
		got := secretFault(secret)
		assert.Contains(t, got, want, secret)
		assert.NotContains(t, got, "NotARealSecret", "is not quoted")
	}
}

func TestCaptures(t *testing.T) {
	t.Parallel()
	const event = `{"type":"user.created","data":{"id":"user_1"}}`
	quoted, err := json.Marshal(event)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"object":         `{"id":"msg_1","body":` + event + `}`,
		"text":           `{"delivery_id":"msg_1","payload":` + string(quoted) + `}`,
		"headers":        `{"headers":{"SVIX-ID":"msg_1"},"rawBody":` + string(quoted) + `}`,
		"header lists":   `{"headers":[["svix-id","msg_1"]],"body":` + event + `}`,
		"header objects": `{"headers":[{"name":"webhook-id","value":"msg_1"}],"body":` + event + `}`,
		"flat":           `{"svix_id":"msg_1","body":` + event + `}`,
		"base64":         `{"svix-id":"msg_1","body_b64":"eyJ0eXBlIjoidXNlci5jcmVhdGVkIiwiZGF0YSI6eyJpZCI6InVzZXJfMSJ9fQ=="}`,
		"base64 as body": `{"svix-id":"msg_1","body":"eyJ0eXBlIjoidXNlci5jcmVhdGVkIiwiZGF0YSI6eyJpZCI6InVzZXJfMSJ9fQ=="}`,
		"nested":         `{"request":{"headers":{"svix-id":"msg_1"},"body":` + event + `}}`,
		"list":           `[{"id":"msg_1","body":` + event + `}]`,
		"ready before":   `{"type":"ready"}` + "\n" + `{"id":"msg_1","body":` + event + `}`,
		"null":           `{"id":"msg_1","body_b64":null,"body":` + event + `}`,
	} {
		got, err := parseCaptures("file", []byte(text))
		require.NoError(t, err, name)
		require.Len(t, got, 1, name)
		assert.Equal(t, "msg_1", got[0].id, name)
		assert.True(t, bytes.Equal([]byte(event), got[0].body), name)
	}
	for text, want := range map[string]string{
		"":                               "holds no delivery",
		"[]":                             "holds no delivery",
		"1":                              "file, line 1: not a JSON object",
		"null":                           "not a JSON object",
		"{}\n":                           "no body in it",
		"\n\n{":                          "file, line 3: not JSON",
		`{"headers":3,"body":""}`:        "headers are not a JSON object",
		`{"headers":{"a":{}},"body":""}`: "header a is an object",
		`{"headers":[1],"body":""}`:      "not of names and values",
		`{"request":{"request":{}}}`:     "no body in it",
	} {
		_, err := parseCaptures("file", []byte(text))
		assert.ErrorContains(t, err, want, text)
	}
}

// TestManyCaptures takes minutes when a line costs more the further down it is.
func TestManyCaptures(t *testing.T) {
	t.Parallel()
	const n = 30_000
	got, err := parseCaptures("file", bytes.Repeat([]byte(`{"id":"msg_1","body":{"type":"user.created","data":{"id":"user_1"}}}`+"\n"), n))
	require.NoError(t, err)
	assert.Len(t, got, n)
	_, err = parseCaptures("file", append(bytes.Repeat([]byte("\n{\n\"body\":1}\n"), 3), "  \n x"...))
	assert.ErrorContains(t, err, "file, line 11: not JSON")
}

// TestDeepBody: the indents of a body that is nested deeply enough fill any
// memory.
func TestDeepBody(t *testing.T) {
	t.Parallel()
	const depth = 5000
	_, err := reencode([]byte(strings.Repeat("[", depth)+"1"+strings.Repeat("]", depth)), encoding{comma: ",", colon: ": ", indent: "    "})
	require.Error(t, err)
}
