package bridge_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	svix "github.com/svix/svix-webhooks/go"

	"github.com/clerkknock/bridge"
)

const (
	secretA = "whsec_YnJpZGdlLXRlc3Qtc2VjcmV0LWEtMDAwMDAx"
	secretB = "whsec_YnJpZGdlLXRlc3Qtc2VjcmV0LWItMDAwMDAx"
)

// sign returns headers for body at an offset from now.
func sign(t testing.TB, secret, id string, offset time.Duration, body []byte) http.Header {
	t.Helper()
	h, err := bridge.Sign(secret, id, time.Now().Add(offset), body)
	require.NoError(t, err)
	return h
}

func verifier(t testing.TB, tolerance time.Duration, secrets ...string) *bridge.Verifier {
	t.Helper()
	v, err := bridge.NewVerifier(tolerance, secrets...)
	require.NoError(t, err)
	return v
}

func TestNewVerifierFailsClosed(t *testing.T) {
	t.Parallel()
	short := base64.StdEncoding.EncodeToString(make([]byte, 15))
	for name, secret := range map[string]string{
		"empty":            "",
		"prefix only":      "whsec_",
		"space":            " ",
		"newline":          "\n",
		"not base64":       "whsec_!!!",
		"unpadded":         "whsec_QQ",
		"cut off":          secretA + "A",
		"with more":        secretA + "*",
		"URL-safe":         "whsec_" + strings.Repeat("_-_-", 8),
		"short key":        "whsec_" + short,
		"one byte":         "whsec_QQ==",
		"Clerk secret key": "sk_test_0123456789abcdefghijklmnop",
		"public key":       "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := bridge.NewVerifier(0, secretA, secret)
			require.ErrorContains(t, err, "SigningSecrets[1]")
			if text := strings.TrimPrefix(secret, "whsec_"); strings.TrimSpace(text) != "" {
				assert.NotContains(t, err.Error(), text, "the error must not print a secret")
			}
		})
	}
	for secret, want := range map[string]string{
		"sk_test_x": "is an API key", "pk_test_x": "is an API key", secretA + " ": "blanks", secretA + "," + secretB: "comma",
		strings.TrimPrefix(secretA, "whsec_") + "\n" + strings.TrimPrefix(secretB, "whsec_"): "line break", `"` + secretA + `"`: "quotes",
	} {
		_, err := bridge.NewVerifier(0, secret)
		require.ErrorContains(t, err, want)
	}
	_, err := bridge.NewVerifier(0, secretA+"\n")
	require.NoError(t, err, "a file's last line break is no part of it")
	_, err = bridge.NewVerifier(0)
	require.ErrorContains(t, err, "SigningSecrets is empty")
	_, err = bridge.NewVerifier(-1, secretA)
	require.ErrorContains(t, err, "Tolerance")

	for name, secret := range map[string]string{
		"sixteen bytes":  "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 16)),
		"without prefix": strings.TrimPrefix(secretA, "whsec_"),
	} {
		_, err := bridge.NewVerifier(0, secret)
		assert.NoError(t, err, name)
	}
}

func TestVerifyHeaders(t *testing.T) {
	t.Parallel()
	body := []byte(`{"type":"user.created","data":{}}`)
	good := sign(t, secretA, "msg_1", 0, body)
	signature, timestamp := good.Get("svix-signature"), good.Get("svix-timestamp")
	bad := "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32))

	with := func(changes map[string][]string) http.Header {
		h := maps.Clone(good)
		for name, values := range changes {
			name = http.CanonicalHeaderKey(name)
			delete(h, name)
			if values != nil {
				h[name] = values
			}
		}
		return h
	}
	unbranded := http.Header{}
	for name, values := range good {
		unbranded[strings.Replace(name, "Svix-", "Webhook-", 1)] = values
	}

	// beside has webhook-* headers, too.
	beside := func(changes map[string][]string) http.Header {
		h := maps.Clone(unbranded)
		maps.Copy(h, with(changes))
		return h
	}
	room := strings.Repeat("x", 16<<10-len(signature)-1)

	for name, test := range map[string]struct {
		header http.Header
		want   error
	}{
		"good":                         {good, nil},
		"webhook-* headers":            {unbranded, nil},
		"svix-* incomplete, webhook-*": {func() http.Header { h := maps.Clone(unbranded); h["Svix-Id"] = []string{"x"}; return h }(), nil},
		"no svix-id, webhook-*":        {beside(map[string][]string{"svix-id": nil, "svix-signature": {bad}}), nil},
		"no svix-timestamp, webhook-*": {beside(map[string][]string{"svix-timestamp": nil, "svix-signature": {bad}}), nil},
		"no svix-signature, webhook-*": {beside(map[string][]string{"svix-signature": nil, "svix-id": {"x"}}), nil},
		"both, svix-* bad": {func() http.Header {
			h := maps.Clone(unbranded)
			maps.Copy(h, with(map[string][]string{"svix-signature": {bad}}))
			return h
		}(), bridge.ErrSignature},
		"both, svix-* good":         {beside(nil), nil},
		"no headers":                {http.Header{}, bridge.ErrMissingHeader},
		"no id":                     {with(map[string][]string{"svix-id": nil}), bridge.ErrMissingHeader},
		"no timestamp":              {with(map[string][]string{"svix-timestamp": nil}), bridge.ErrMissingHeader},
		"no signature":              {with(map[string][]string{"svix-signature": nil}), bridge.ErrMissingHeader},
		"blank signature":           {with(map[string][]string{"svix-signature": {"   "}}), bridge.ErrMissingHeader},
		"blank id":                  {with(map[string][]string{"svix-id": {""}}), bridge.ErrMissingHeader},
		"id too long":               {with(map[string][]string{"svix-id": {strings.Repeat("m", 257)}}), bridge.ErrBadHeader},
		"id with a newline":         {with(map[string][]string{"svix-id": {"msg_1\nx"}}), bridge.ErrBadHeader},
		"id not ASCII":              {with(map[string][]string{"svix-id": {"msg_é"}}), bridge.ErrBadHeader},
		"other id":                  {with(map[string][]string{"svix-id": {"msg_2"}}), bridge.ErrSignature},
		"timestamp fraction":        {with(map[string][]string{"svix-timestamp": {timestamp + ".0"}}), bridge.ErrBadHeader},
		"timestamp text":            {with(map[string][]string{"svix-timestamp": {"yesterday"}}), bridge.ErrBadHeader},
		"timestamp hex":             {with(map[string][]string{"svix-timestamp": {"0x10"}}), bridge.ErrBadHeader},
		"timestamp plus":            {with(map[string][]string{"svix-timestamp": {"+" + timestamp}}), bridge.ErrBadHeader},
		"timestamp overflow":        {with(map[string][]string{"svix-timestamp": {"9223372036854775808"}}), bridge.ErrBadHeader},
		"timestamp negative":        {with(map[string][]string{"svix-timestamp": {"-1"}}), bridge.ErrTooOld},
		"timestamp least":           {with(map[string][]string{"svix-timestamp": {strconv.FormatInt(math.MinInt64, 10)}}), bridge.ErrTooOld},
		"timestamp most":            {with(map[string][]string{"svix-timestamp": {strconv.FormatInt(math.MaxInt64, 10)}}), bridge.ErrTooNew},
		"timestamp in milliseconds": {with(map[string][]string{"svix-timestamp": {timestamp + "000"}}), bridge.ErrTooNew},
		"wrong signature":           {with(map[string][]string{"svix-signature": {bad}}), bridge.ErrSignature},
		"version only":              {with(map[string][]string{"svix-signature": {"v1,"}}), bridge.ErrNoSignature},
		"no comma":                  {with(map[string][]string{"svix-signature": {"v1"}}), bridge.ErrNoSignature},
		"capital version":           {with(map[string][]string{"svix-signature": {"V1" + signature[2:]}}), bridge.ErrNoSignature},
		"other version":             {with(map[string][]string{"svix-signature": {"v2" + signature[2:]}}), bridge.ErrNoSignature},
		"asymmetric version":        {with(map[string][]string{"svix-signature": {"v1a" + signature[2:]}}), bridge.ErrNoSignature},
		"without padding":           {with(map[string][]string{"svix-signature": {strings.TrimRight(signature, "=")}}), bridge.ErrNoSignature},
		"no version":                {with(map[string][]string{"svix-signature": {signature[3:]}}), bridge.ErrNoSignature},
		"no version, and bad":       {with(map[string][]string{"svix-signature": {signature[3:] + " " + bad}}), bridge.ErrSignature},
		"16 KiB":                    {with(map[string][]string{"svix-signature": {signature + " ", room}}), nil},
		"more than 16 KiB":          {with(map[string][]string{"svix-signature": {signature + " ", room + "x"}}), bridge.ErrBadHeader},
		"garbage":                   {with(map[string][]string{"svix-signature": {"v1,!!!not-base64!!!"}}), bridge.ErrNoSignature},
		"many, one good":            {with(map[string][]string{"svix-signature": {bad + " v2,x  " + signature + " " + bad}}), nil},
		"many, none good":           {with(map[string][]string{"svix-signature": {bad + " " + bad}}), bridge.ErrSignature},
		"second line good":          {with(map[string][]string{"svix-signature": {bad, signature}}), nil},
		"lines folded by a proxy":   {with(map[string][]string{"svix-signature": {signature + ", " + bad}}), nil},
		"folded without blanks":     {with(map[string][]string{"svix-signature": {bad + "," + signature}}), nil},
		"cut at each comma":         {with(map[string][]string{"svix-signature": append(strings.Split(bad, ","), strings.Split(signature, ",")...)}), nil},
		"other version, cut":        {with(map[string][]string{"svix-signature": {"v2", signature[3:]}}), bridge.ErrNoSignature},
		"300 before the good one":   {with(map[string][]string{"svix-signature": {strings.Repeat(bad+" ", 300) + signature}}), nil},
		"too many":                  {with(map[string][]string{"svix-signature": {strings.Repeat(bad+" ", 200), strings.Repeat(bad+" ", 200), signature}}), bridge.ErrBadHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := verifier(t, 0, secretB, secretA).Verify(test.header, body)
			if test.want == nil {
				require.NoError(t, err)
				assert.Equal(t, "msg_1", id)
				return
			}
			require.ErrorIs(t, err, test.want)
			assert.Empty(t, id)
		})
	}

	_, err := verifier(t, 0, secretA).Verify(good, append(body, ' '))
	require.ErrorIs(t, err, bridge.ErrSignature, "tampered body")
	_, err = verifier(t, 0, secretB).Verify(good, body)
	require.ErrorIs(t, err, bridge.ErrSignature, "another endpoint's secret")
}

func TestVerifyWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		body := []byte(`{}`)
		for _, test := range []struct {
			tolerance, offset time.Duration
			want              error
		}{
			{0, -300 * time.Second, nil},
			{0, -301 * time.Second, bridge.ErrTooOld},
			{0, 300 * time.Second, nil},
			{0, 301 * time.Second, bridge.ErrTooNew},
			{time.Minute, -61 * time.Second, bridge.ErrTooOld},
			{time.Hour, -59 * time.Minute, nil},
			{time.Hour, 61 * time.Minute, bridge.ErrTooNew},
		} {
			_, err := verifier(t, test.tolerance, secretA).Verify(sign(t, secretA, "msg_1", test.offset, body), body)
			require.ErrorIs(t, err, test.want, "tolerance %v, offset %v", test.tolerance, test.offset)
			if test.want != nil {
				require.ErrorContains(t, err, fmt.Sprintf(": %.0fs ", test.offset.Abs().Seconds()))
			}
		}
	})
}

// TestVectors runs the vectors gathered from the official libraries of Svix and
// Standard Webhooks.
func TestVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../shared/clerk/vectors.json")
	if err != nil {
		t.Skip("the vectors are not part of a clone: ", err)
	}
	var vectors struct {
		Sign []struct {
			Name, Secret, ID, Body, Signature string
			Timestamp                         int64
			BodyRepeat                        struct {
				Char  string
				Count int
			} `json:"body_repeat"`
		}
		Asymmetric []struct {
			ID, Body, Signature string
			Timestamp           int64
		}
		Verify []struct {
			Name, Drop, Headers, ID, Body, Timestamp, Signature, Expect string
		}
		Secrets []struct{ Secret, Expect string }
	}
	require.NoError(t, json.Unmarshal(raw, &vectors))
	require.Len(t, vectors.Sign, 7)
	require.Len(t, vectors.Verify, 24)
	require.Len(t, vectors.Secrets, 6)

	for _, v := range vectors.Sign {
		body := []byte(v.Body + strings.Repeat(v.BodyRepeat.Char, v.BodyRepeat.Count))
		h, err := bridge.Sign(v.Secret, v.ID, time.Unix(v.Timestamp, 0), body)
		require.NoError(t, err, v.Name)
		assert.Equal(t, v.Signature, h.Get("svix-signature"), v.Name)
	}

	template := vectors.Sign[0]
	const (
		bad1 = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
		bad2 = "v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
	)
	check := verifier(t, 0, template.Secret)
	for _, v := range vectors.Verify {
		now := time.Now()
		at, signedAt, text := now, now, ""
		switch v.Timestamp {
		case "", "NOW":
		case "NOW-301":
			at = now.Add(-301 * time.Second)
			signedAt = at
		case "NOW+301":
			at = now.Add(302 * time.Second) // a second of slack for a slow machine
			signedAt = at
		case "NOW+1":
			at = now.Add(time.Second)
		default:
			text = v.Timestamp
		}
		h := sign(t, template.Secret, template.ID, signedAt.Sub(now), []byte(template.Body))
		signature := h.Get("svix-signature")
		if text == "" {
			text = strconv.FormatInt(at.Unix(), 10)
		}
		h.Set("svix-timestamp", text)
		switch {
		case v.Signature == "" || strings.HasPrefix(v.Signature, "SIG of"):
		case v.Signature == "SIG[0:8]":
			h.Set("svix-signature", signature[:8])
		default:
			h.Set("svix-signature", strings.NewReplacer(
				"<value of SIG>", strings.TrimPrefix(signature, "v1,"), "SIG", signature, "BAD1", bad1, "BAD2", bad2,
			).Replace(v.Signature))
		}
		if v.ID != "" {
			h.Set("svix-id", v.ID)
		}
		if v.Drop != "" {
			h.Del("svix-" + v.Drop)
		}
		if v.Headers == "webhook-*" {
			for _, name := range []string{"id", "timestamp", "signature"} {
				h.Set("webhook-"+name, h.Get("svix-"+name))
				h.Del("svix-" + name)
			}
		}
		body := template.Body
		if v.Body == "<body> plus one space" {
			body += " "
		}
		_, err := check.Verify(h, []byte(body))
		assert.Equal(t, strings.HasPrefix(v.Expect, "accept"), err == nil, "%s: %v", v.Name, err)
	}

	for _, v := range vectors.Asymmetric {
		h := sign(t, template.Secret, v.ID, 0, []byte(v.Body))
		h.Set("svix-signature", v.Signature)
		_, err := check.Verify(h, []byte(v.Body))
		require.ErrorIs(t, err, bridge.ErrNoSignature)
	}
	for _, v := range vectors.Secrets {
		_, err := bridge.NewVerifier(0, v.Secret)
		assert.Equal(t, strings.HasPrefix(v.Expect, "accept"), err == nil, "%q: %v", v.Secret, err)
	}
}

func TestSignRefusesIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "a b", "é", "a\n", strings.Repeat("x", 257)} {
		_, err := bridge.Sign(secretA, id, time.Now(), nil)
		require.ErrorIs(t, err, bridge.ErrBadHeader, "%q", id)
	}
	_, err := bridge.Sign("whsec_", "msg_1", time.Now(), nil)
	require.ErrorContains(t, err, "bridge: signing secret is only the prefix")
	h, err := bridge.Sign(secretA, strings.Repeat("!~", 128), time.Now(), nil)
	require.NoError(t, err)
	v, err := bridge.NewVerifier(0, secretA)
	require.NoError(t, err)
	_, err = v.Verify(h, nil)
	require.NoError(t, err)
}

// FuzzVerifyHeaders: nothing verifies but what carries a signature made with
// the secret, whatever the headers look like.
func FuzzVerifyHeaders(f *testing.F) {
	body := []byte(`{"type":"user.created","data":{"id":"user_1"}}`)
	good, err := bridge.Sign(secretA, "msg_1", time.Now(), body)
	if err != nil {
		f.Fatal(err)
	}
	now := good.Get("svix-timestamp")
	f.Add("msg_1", now, good.Get("svix-signature"), "")
	f.Add("msg_1", now, "v1,", "v1 v2,x  v1,"+strings.Repeat("A", 44))
	f.Add("", "-1", "v1a,"+strings.Repeat("=", 44), ",")
	f.Add("msg\x00", "9223372036854775807", strings.Repeat("v1, ", 100), " ")
	check, err := bridge.NewVerifier(0, secretB, secretA)
	if err != nil {
		f.Fatal(err)
	}
	wh, err := svix.NewWebhook(secretA)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, timestamp, signature, second string) {
		h := http.Header{"Svix-Id": {id}, "Svix-Timestamp": {timestamp}, "Svix-Signature": {signature, second}}
		got, err := check.Verify(h, body)
		if err != nil {
			return
		}
		if got != id {
			t.Fatalf("id %q, want %q", got, id)
		}
		seconds, err := strconv.ParseInt(timestamp, 10, 64)
		if err != nil {
			t.Fatalf("accepted timestamp %q", timestamp)
		}
		want, err := wh.Sign(id, time.Unix(seconds, 0), body)
		if err != nil || !strings.Contains(signature+" "+second, want) {
			t.Fatalf("accepted %q and %q without a signature of the secret", signature, second)
		}
	})
}
