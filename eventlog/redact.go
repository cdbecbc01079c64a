package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/clerkknock/bridge"
)

// redacted stands for a value that was taken out.
const redacted = "[redacted]"

const (
	maxRedacted = 20  // names that are listed
	maxSecrets  = 500 // values that are looked for in the calls
	// A value that is shorter than this is not looked for, and one that is shorter
	// than minPart is not looked for within others, unless it has a digit.
	minSecret, minPart = 4, 6
)

// redactor takes out of one delivery what is not to be stored: of its payload
// what has a name of a secret, and of the calls that too, and whatever has been
// taken out of the payload and shows up there under another name.
type redactor struct {
	event   string
	secrets []string
	blind   bool // not all of the secrets are known
}

// payload returns the body of a delivery without what is secret, and the members
// that it is without. It returns the body itself when there are none.
func (r *redactor) payload(body []byte) (out json.RawMessage, members []string, err error) {
	w := &walk{
		redactor: r,
		secret: func(w *walk, name string) bool {
			return secretName(name) || isMessage(r.event) && w.isOfMessage(name) || name == "url" && r.isInvitation()
		},
		taken: func(at jsontext.Pointer, value jsontext.Value) {
			if len(members) < maxRedacted {
				members = append(members, plain(strings.ReplaceAll(strings.TrimPrefix(string(at), "/"), "/", ".")))
			}
			r.learn(value)
		},
	}
	out, err = w.run(body)
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) }) // none hides within a longer one
	if err != nil {
		r.blind = r.event != ""
		return nil, nil, err
	}
	if len(members) == 0 {
		return body, nil, nil
	}
	return out, members, nil
}

var errTooManySecrets = errors.New("eventlog: more values were taken out than can be looked for")

// call returns the body of a call without what is secret.
func (r *redactor) call(body []byte) (json.RawMessage, error) {
	if r.blind {
		return nil, errTooManySecrets
	}
	w := &walk{
		redactor: r, calls: true,
		secret: func(w *walk, name string) bool {
			return secretName(name) || isMessage(r.event) && w.dec.StackPointer() == "/data"
		},
	}
	return w.run(body)
}

// keep says that these are no secrets: they are stored in any case.
func (r *redactor) keep(res *bridge.Result) {
	ids := append(strings.Split(res.Entity, "/"), res.DeliveryID)
	r.secrets = slices.DeleteFunc(r.secrets, func(secret string) bool { return slices.Contains(ids, secret) })
}

// text returns a text for people without what is secret.
func (r *redactor) text(s string) string {
	if r.blind {
		return redacted
	}
	for _, secret := range r.secrets {
		switch {
		case len(secret) >= minPart:
			s = strings.ReplaceAll(s, secret, redacted)
		case isShortCode(secret):
			s = withoutWord(s, secret)
		}
	}
	return withoutKeys(s)
}

// path returns a path without what is secret: segments that hold it, escaped.
func (r *redactor) path(s string) string {
	segments := strings.Split(s, "/")
	for i, segment := range segments {
		if value, err := url.PathUnescape(segment); err == nil && value != segment && r.shows(value) {
			segments[i] = redacted
		}
	}
	return r.text(strings.Join(segments, "/"))
}

// withoutWord leaves alone what is part of an id.
func withoutWord(s, word string) string {
	var out strings.Builder
	isPart := func(c byte) bool { return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' }
	for {
		i := strings.Index(s, word)
		if i < 0 {
			out.WriteString(s)
			return out.String()
		}
		end := i + len(word)
		out.WriteString(s[:i])
		if i > 0 && isPart(s[i-1]) || end < len(s) && isPart(s[end]) {
			out.WriteString(word)
		} else {
			out.WriteString(redacted)
		}
		s = s[end:]
	}
}

// isMessage: these carry live one-time codes and links in their texts.
func isMessage(eventType string) bool {
	return strings.HasPrefix(eventType, "email.") || strings.HasPrefix(eventType, "sms.")
}

// isInvitation: who opens the URL of one may join.
func (r *redactor) isInvitation() bool {
	return strings.HasPrefix(r.event, "organizationInvitation.") || strings.HasPrefix(r.event, "invitation.") || strings.HasPrefix(r.event, "waitlistEntry.")
}

// isOfMessage reports whether the next value is a member of a message, or beside it,
// that can hold its text.
func (w *walk) isOfMessage(name string) bool {
	switch {
	case w.isMemberOf("/data"):
		return !slices.Contains(plainMembers, name)
	case !w.isMemberOf(""):
		return false
	case name == "data":
		return w.dec.PeekKind() != jsontext.KindBeginObject
	}
	return !slices.Contains(envelope, name)
}

// envelope are the members around the data that are stored.
var envelope = []string{"type", "object", "timestamp", "instance_id", "event_attributes"}

// plainMembers are those of a message that are stored. The others, also those
// that Clerk may add, can hold its text.
var plainMembers = []string{
	"id", "object", "slug", "status", "locale", "delivered_by_clerk", "user_id", "from_email_name", "reply_to_email_name", "to_email_address", "email_address_id",
	"from_phone_number", "to_phone_number", "phone_number_id", "suppression_reason", "created_at", "updated_at",
}

// learn notes the values of what was taken out.
func (r *redactor) learn(value jsontext.Value) {
	d := jsontext.NewDecoder(bytes.NewReader(value), lenient...)
	for {
		t, err := d.ReadToken()
		if err != nil {
			return
		}
		kind, n := d.StackIndex(d.StackDepth())
		name := kind == jsontext.KindBeginObject && n%2 == 1
		if t.Kind() != jsontext.KindString && t.Kind() != jsontext.KindNumber {
			continue
		}
		s := t.String()
		if name && !isData(s) {
			continue
		}
		r.add(s)
		if t.Kind() == jsontext.KindNumber { // as it is written when it has been decoded
			if f, err := strconv.ParseFloat(s, 64); err == nil {
				text, _ := json.Marshal(f) //nolint:errchkjson // infinity is an error, and then it is not written
				r.add(string(text))
			}
		}
		if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune("\"\\<>&", c) }) {
			r.add(strings.Trim(strconv.Quote(s), `"`))
			if text, err := json.Marshal(s); err == nil {
				r.add(strings.Trim(string(text), `"`))
			}
		}
		r.learnParts(s)
	}
}

// learnParts notes what a mapping may take out of a text by itself: the tokens of its
// links, and of a message the codes.
func (r *redactor) learnParts(s string) {
	for _, parameter := range parameters.FindAllString(s, -1) {
		if name, value := cutParameter(parameter); secretParameter(name) {
			r.add(value)
			if plain, err := url.QueryUnescape(value); err == nil {
				r.add(plain)
			}
		}
	}
	if !isMessage(r.event) {
		return
	}
	for _, code := range codes.FindAllString(s, -1) {
		r.add(code)
		if half := len(code) / 2; len(code) == codeDigits { // as people are shown it
			r.add(code[:half] + "-" + code[half:])
			r.add(code[:half] + " " + code[half:])
		}
	}
}

const codeDigits = 6 // of most one-time codes

var codes = regexp.MustCompile(`[0-9]{4,}`)

// isData reports whether a name tells something, as {"ada@example.com": true} does.
// Those that are words stay: code has them, and paths and keys of Knock.
func isData(name string) bool {
	return len(name) >= minPart && strings.ContainsFunc(name, func(c rune) bool { return c != '_' && c != '-' && !unicode.IsLetter(c) })
}

func (r *redactor) add(secret string) {
	switch {
	case len(secret) < minSecret || slices.Contains(r.secrets, secret):
	case len(r.secrets) >= maxSecrets:
		r.blind = true
	default:
		r.secrets = append(r.secrets, secret)
	}
}

// shows reports whether a value of a call is one that was taken out.
func (r *redactor) shows(s string) bool {
	for _, secret := range r.secrets {
		if s == secret || (len(secret) >= minPart || isNumber(secret)) && strings.Contains(s, secret) ||
			isShortCode(secret) && withoutWord(s, secret) != s {
			return true
		}
	}
	return false
}

// isShortCode reports whether a value is told from a word by a digit.
func isShortCode(secret string) bool {
	return len(secret) < minPart && strings.ContainsAny(secret, "0123456789") &&
		!strings.ContainsFunc(secret, func(c rune) bool { return (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') })
}

// isCode: code, or one of several. It may be a country's, so the value decides.
func isCode(name string) bool {
	rest, ok := strings.CutPrefix(name, "code")
	return ok && isNumber(rest)
}

func isNumber(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' }) < 0
}

// lenient is as lenient as the bridge: names may repeat, and half of a surrogate
// pair is U+FFFD.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// walk copies JSON and takes values out.
type walk struct {
	*redactor

	secret func(w *walk, name string) bool
	taken  func(at jsontext.Pointer, value jsontext.Value) // may be nil
	calls  bool                                            // look for the values, too

	dec *jsontext.Decoder
	enc *jsontext.Encoder
}

func (w *walk) run(body []byte) (json.RawMessage, error) {
	var out bytes.Buffer
	out.Grow(len(body))
	w.dec = jsontext.NewDecoder(bytes.NewReader(body), lenient...)
	w.enc = jsontext.NewEncoder(&out, lenient...)
	if err := w.value(""); err != nil {
		return nil, fmt.Errorf("eventlog: redact: %w", err)
	}
	if _, err := w.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("eventlog: redact: more than one value")
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// value copies the next value, which is the member of that name.
func (w *walk) value(name string) error {
	switch kind := w.dec.PeekKind(); {
	case w.isSecret(name, kind):
		value, err := w.dec.ReadValue()
		if err != nil {
			return err
		}
		if isEmpty(value) {
			return w.enc.WriteValue(value)
		}
		return w.take(value)
	case kind == jsontext.KindBeginObject, kind == jsontext.KindBeginArray:
		return w.container(kind == jsontext.KindBeginObject)
	default:
		value, err := w.dec.ReadValue()
		if err != nil {
			return err
		}
		if w.isSecretValue(name, value) {
			return w.take(value)
		}
		return w.enc.WriteValue(value)
	}
}

// isMemberOf reports whether the next value is a member of the object at parent.
func (w *walk) isMemberOf(parent jsontext.Pointer) bool {
	return w.dec.StackDepth() == strings.Count(string(parent), "/")+1 && w.dec.StackPointer().Parent() == parent
}

func (w *walk) isSecret(name string, kind jsontext.Kind) bool {
	switch kind {
	case jsontext.KindTrue, jsontext.KindFalse, jsontext.KindNull:
		return false
	case jsontext.KindNumber: // password_last_updated_at
		if strings.HasSuffix(name, "_at") || strings.HasSuffix(name, "_seconds") {
			return false
		}
	default:
	}
	return name != "" && w.secret(w, name)
}

func (w *walk) take(value jsontext.Value) error {
	if w.taken != nil {
		w.taken(w.dec.StackPointer(), value)
	}
	return w.enc.WriteValue(placeholder(value))
}

// placeholder stands for a value that was taken out. It is of the same kind, so
// that what is left can still be decoded.
func placeholder(value jsontext.Value) jsontext.Value {
	switch value.Kind() {
	case jsontext.KindBeginObject:
		return jsontext.Value(`{"` + redacted + `":true}`)
	case jsontext.KindBeginArray:
		if rest := bytes.TrimLeft(value[1:], " \t\r\n"); rest[0] != '"' {
			return jsontext.Value("[]")
		}
		return jsontext.Value(`["` + redacted + `"]`)
	case jsontext.KindNumber:
		return jsontext.Value("0")
	default:
		return jsontext.Value(`"` + redacted + `"`)
	}
}

func (w *walk) container(object bool) error {
	open, err := w.dec.ReadToken()
	if err != nil {
		return err
	}
	if err := w.enc.WriteToken(open); err != nil {
		return err
	}
	for w.dec.PeekKind() != jsontext.KindEndObject && w.dec.PeekKind() != jsontext.KindEndArray {
		name := ""
		if object {
			t, err := w.dec.ReadToken()
			if err != nil {
				return err
			}
			name = t.String()
			if w.calls && w.shows(name) {
				t = jsontext.String(redacted)
			}
			if err := w.enc.WriteToken(t); err != nil {
				return err
			}
		}
		if err := w.value(name); err != nil {
			return err
		}
	}
	end, err := w.dec.ReadToken()
	if err != nil {
		return err
	}
	return w.enc.WriteToken(end)
}

// isSecretValue looks at a string or a number itself.
func (w *walk) isSecretValue(name string, value jsontext.Value) bool {
	if !w.calls && !isCode(name) && bytes.IndexByte(value, '\\') < 0 && !mayHoldKey(value) {
		return false // before it is copied
	}
	var s string
	switch value.Kind() {
	case jsontext.KindString:
		if len(value) < minSecret || bytes.IndexByte(value, '\\') < 0 {
			s = string(value[1 : len(value)-1])
			break
		}
		unquoted, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return false
		}
		s = string(unquoted)
	case jsontext.KindNumber:
		s = string(value)
	default:
		return false
	}
	if withoutKeys(s) != s {
		return true
	}
	if isCode(name) && isNumber(s) && len(s) >= minSecret {
		return true
	}
	return w.calls && w.shows(s)
}

// keys are those of Clerk, Knock and Svix, and signed tokens. An eyJ by itself is
// no token: Clerk's image URLs have it.
var (
	keys       = regexp.MustCompile(`(?:sk_(?:live|test)|whsec)_[\w+/=-]+|eyJhbGci[\w-]*(?:\.[\w-]*)*|eyJ[\w-]+\.eyJ[\w-]+(?:\.[\w-]*)?`)
	parameters = regexp.MustCompile(`[?&#](?:amp;)?[\w.~%-]+=[^&#\s"'<>]+`) // also as HTML has them
)

// keyParts: a text without any of these has no key.
var keyParts = [][]byte{[]byte("sk_live_"), []byte("sk_test_"), []byte("whsec_"), []byte("eyJhbGci"), []byte(".eyJ")}

func mayHoldKey(s []byte) bool {
	return bytes.IndexByte(s, '=') > 0 || slices.ContainsFunc(keyParts, func(part []byte) bool { return bytes.Contains(s, part) })
}

// withoutKeys takes keys and tokens out, and those parameters of URLs whose names
// are of secrets.
func withoutKeys(s string) string {
	if !mayHoldKey([]byte(s)) {
		return s
	}
	s = keys.ReplaceAllLiteralString(s, redacted)
	if strings.IndexByte(s, '=') > 0 && strings.ContainsAny(s, "?&#") {
		s = parameters.ReplaceAllStringFunc(s, func(parameter string) string {
			if name, value := cutParameter(parameter); secretParameter(name) {
				return strings.TrimSuffix(parameter, value) + redacted
			}
			return parameter
		})
	}
	return s
}

func cutParameter(parameter string) (name, value string) {
	name, value, _ = strings.Cut(parameter[1:], "=")
	return strings.TrimPrefix(name, "amp;"), value
}

// secretParameter goes by the name of a parameter of a URL.
func secretParameter(name string) bool {
	return name == "code" || strings.HasPrefix(name, "__clerk_") || secretName(name)
}

func isEmpty(v jsontext.Value) bool {
	switch string(v) {
	case "null", `""`, "{}", "[]":
		return true
	}
	return false
}

// secretName goes by the words of a name, however they are written together.
func secretName(name string) bool {
	switch name { // those that are in most payloads
	case "private_metadata", "unsafe_metadata", "backup_codes", "ticket":
		return true
	case "id", "object", "type", "data", "code", "name", "email", "status", "created_at", "updated_at":
		return false
	}
	lower := strings.ToLower(name)
	if !slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(lower, part) }) {
		return false
	}
	before := ""
	for _, word := range wordsOf(name) {
		if secretWord(before, word) {
			return true
		}
		before = word
	}
	for run := range strings.FieldsFuncSeq(name, func(c rune) bool { return !unicode.IsLetter(c) }) {
		if secretWord("", strings.ToLower(run)) { // APIkey: where words begin is not clear
			return true
		}
	}
	return false
}

// secretParts: a name without any of these is not split into words.
var secretParts = []string{"pass", "pwd", "secret", "token", "otp", "pin", "key", "auth", "cred", "jwt", "bearer", "cookie", "code", "metadata", "link", "url", "nonce", "ticket"}

// secretWord reports whether a word makes a name that of a secret, behind the word
// before or fused with it. A plural counts as the singular does.
func secretWord(before, word string) bool {
	if word != "pins" { // what is pinned
		word = strings.TrimSuffix(word, "s")
	}
	behind, known := secretWords[word]
	return known && (behind == nil || slices.Contains(behind, before)) ||
		slices.ContainsFunc(secretEnds, func(end string) bool { return strings.HasSuffix(word, end) })
}

// secretWords are words that make a name that of a secret, by themselves or
// behind one of these.
var secretWords = func() map[string][]string {
	ofCodes := []string{
		"otp", "totp", "backup", "recovery", "verification", "time", "mfa", "sms", "email", "login", "auth", "access", "magic", "security",
		"confirmation", "pin", "device", "user", "factor", "fa", "pass", "onetime",
	}
	ofKeys := []string{"api", "private", "secret", "signing", "access", "encryption", "master", "ssh", "license", "stripe"}
	ofLinks := []string{"magic", "reset", "invite", "invitation", "login", "signin", "accept", "verification"}
	m := map[string][]string{
		"code": ofCodes, "verifier": {"code"}, "ticket": ofLinks, "key": ofKeys, "metadata": {"private", "unsafe"}, "link": ofLinks, "url": append([]string{"redirect"}, ofLinks...),
		"word": {"pass"}, "phrase": {"pass"}, "pin": nil, "authorization": nil, "bearer": nil,
	}
	for _, word := range plainSecrets {
		m[word] = nil
	}
	return m
}()

// plainSecrets are those of the secretWords that no other word ends in.
var plainSecrets = []string{"password", "passwd", "pwd", "secret", "token", "otp", "credential", "jwt", "cookie", "nonce"}

// secretEnds are what the words end in that make a name that of a secret: fused as in
// newpassword and apikey.
var secretEnds = func() []string {
	ends := slices.Clone(plainSecrets)
	for word, behind := range secretWords {
		for _, before := range behind {
			switch before + word {
			case "pincode", "timecode": // of addresses in India, and of films
			default:
				ends = append(ends, before+word)
			}
		}
	}
	return ends
}()

// wordsOf splits a_name, a-name, aName, NAMEOfIt and name1 into words in lower case.
// Digits are in none of them.
func wordsOf(name string) []string {
	const longest = 200
	letters := []rune(name[:min(len(name), longest)])
	is := func(i int, kind func(rune) bool) bool { return i >= 0 && i < len(letters) && kind(letters[i]) }
	var words []string
	begin := 0
	end := func(i int) {
		if begin < i {
			words = append(words, strings.ToLower(string(letters[begin:i])))
		}
		begin = i
	}
	for i, c := range letters {
		switch {
		case !unicode.IsLetter(c):
			end(i)
			begin = i + 1
		case !unicode.IsUpper(c):
		case is(i-1, unicode.IsLower):
			end(i)
		case is(i-1, unicode.IsUpper) && is(i+1, unicode.IsLower) && (letters[i+1] != 's' || is(i+2, unicode.IsLower)): // NAMEs are one word
			end(i)
		}
	}
	end(len(letters))
	return words
}
