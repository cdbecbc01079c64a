package bridge

import (
	"cmp"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	svix "github.com/svix/svix-webhooks/go"
)

// The errors with which a delivery fails its verification. They may be wrapped
// with details; tell them apart with [errors.Is].
var (
	// ErrMissingHeader: one of the id, timestamp and signature headers is absent
	// or blank, in the svix-* and in the webhook-* form.
	ErrMissingHeader = errors.New("bridge: signature header missing")

	// ErrBadHeader: a header is there but can't be read: the timestamp is not a
	// decimal number of seconds, the id is too long or not printable, the signatures
	// are longer than 16 KiB.
	ErrBadHeader = errors.New("bridge: signature header unreadable")

	// ErrTooOld: the timestamp is further in the past than the tolerance. Svix
	// signs every attempt anew, so look at this machine's clock.
	ErrTooOld = errors.New("bridge: timestamp too old")

	// ErrTooNew: the timestamp is further in the future than the tolerance.
	ErrTooNew = errors.New("bridge: timestamp too new")

	// ErrNoSignature: the signature header holds no v1 entry in the form of an
	// HMAC-SHA256.
	ErrNoSignature = errors.New("bridge: no v1 signature")

	// ErrSignature: no v1 entry matches any of the signing secrets: the secret is
	// another endpoint's, the body was changed on the way (a proxy or a body
	// parser that rewrites JSON), or the sender is not Clerk.
	ErrSignature = errors.New("bridge: signature does not match")
)

const (
	// minKey is the fewest bytes of key a signing secret may hold. Svix makes
	// 24, and a short key can be guessed.
	minKey = 16

	// maxDeliveryID bounds the id header; Svix's ids have about 31 characters.
	maxDeliveryID = 256

	// maxSignatures bounds the signature header, so that little is searched for a
	// sender who is not known: room for 340 signatures.
	maxSignatures = 16 << 10

	defaultTolerance = 5 * time.Minute
)

// Verifier checks that a delivery was signed with one of the signing secrets,
// and recently. It is safe for concurrent use.
type Verifier struct {
	webhooks  []*svix.Webhook
	tolerance time.Duration
}

// NewVerifier returns a Verifier for the signing secrets of Clerk's endpoint
// page ("whsec_…"). Any of them may match: during a rotation, or with several
// endpoints on one URL, give them all. A tolerance of zero means five minutes,
// in both directions.
//
// It refuses, with all problems joined, an empty list, and each secret that is
// empty, only a prefix, not standard base64, or less than 16 bytes of key.
func NewVerifier(tolerance time.Duration, secrets ...string) (*Verifier, error) {
	var problems []error
	v := &Verifier{tolerance: cmp.Or(tolerance, defaultTolerance)}
	if tolerance < 0 {
		problems = append(problems, errors.New("Tolerance is negative"))
	}
	if len(secrets) == 0 {
		problems = append(problems, errors.New("SigningSecrets is empty: anybody could forge deliveries"))
	}
	for i, secret := range secrets {
		wh, err := newWebhook(secret)
		if err != nil {
			problems = append(problems, fmt.Errorf("SigningSecrets[%d] %w", i, err))
			continue
		}
		v.webhooks = append(v.webhooks, wh)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return v, nil
}

func newWebhook(secret string) (*svix.Webhook, error) {
	text := strings.TrimPrefix(secret, "whsec_")
	switch {
	case secret == "":
		return nil, errors.New("is empty: is the environment variable set?")
	case text == "":
		return nil, errors.New(`is only the prefix "whsec_"`)
	case strings.HasPrefix(secret, "sk_"), strings.HasPrefix(secret, "pk_"):
		return nil, errors.New("is an API key (sk_… or pk_…): use the signing secret (whsec_…) of the endpoint's page")
	case strings.Trim(secret, " \t\"'") != secret:
		return nil, errors.New("has quotes or blanks around it")
	case strings.ContainsAny(strings.TrimRight(text, "\r\n"), ",\r\n"):
		return nil, errors.New("holds a comma or a line break: give several secrets as several strings")
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		// The decoder's own words would quote a piece of the secret's shape.
		return nil, errors.New(`is not "whsec_" and standard base64`)
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("holds %d bytes of key, want at least %d", len(key), minKey)
	}
	return svix.NewWebhookRaw(key)
}

// Verify checks the headers of one delivery against the bytes of its body as
// they were received, and returns the delivery's id. Headers are read in their
// svix-* form, or in their webhook-* form when that one is incomplete.
// The error is one of the Err… values of this package.
func (v *Verifier) Verify(h http.Header, body []byte) (id string, err error) {
	c, err := v.readHeaders(h)
	if err != nil {
		return "", err
	}
	if err := v.checkSignature(c, body); err != nil {
		return "", err
	}
	return c.id, nil
}

// headers are what the headers of a delivery say, before the signature is checked.
type headers struct {
	id         string
	timestamp  time.Time
	signatures []string // header values
}

// readHeaders does every check that needs no body, so that none is read for a
// sender that can't be genuine.
func (v *Verifier) readHeaders(h http.Header) (headers, error) {
	id, timestamp, signatures := h["Svix-Id"], h["Svix-Timestamp"], h["Svix-Signature"]
	if blank(id) || blank(timestamp) || blank(signatures) {
		id, timestamp, signatures = h["Webhook-Id"], h["Webhook-Timestamp"], h["Webhook-Signature"]
	}
	for _, header := range [...]struct {
		name   string
		values []string
	}{{"id", id}, {"timestamp", timestamp}, {"signature", signatures}} {
		if blank(header.values) {
			return headers{}, fmt.Errorf("%w: svix-%s", ErrMissingHeader, header.name)
		}
	}
	c := headers{id: id[0], signatures: signatures}
	if !isDeliveryID(c.id) {
		return headers{}, fmt.Errorf("%w: svix-id", ErrBadHeader)
	}
	size := 0
	for _, line := range signatures {
		size += len(line)
	}
	if size > maxSignatures {
		return headers{}, fmt.Errorf("%w: svix-signature", ErrBadHeader)
	}
	seconds, err := strconv.ParseInt(timestamp[0], 10, 64)
	if err != nil || timestamp[0][0] == '+' {
		return headers{}, fmt.Errorf("%w: svix-timestamp", ErrBadHeader)
	}
	// Seconds are compared as integers: a time.Time made of an extreme value wraps.
	now := time.Now()
	switch {
	case seconds < now.Add(-v.tolerance).Unix():
		return headers{}, fmt.Errorf("%w: %ds before this machine's clock", ErrTooOld, uint64(now.Unix())-uint64(seconds)) //nolint:gosec // wraps to the distance
	case seconds > now.Add(v.tolerance).Unix():
		return headers{}, fmt.Errorf("%w: %ds after this machine's clock", ErrTooNew, uint64(seconds)-uint64(now.Unix())) //nolint:gosec // likewise
	}
	c.timestamp = time.Unix(seconds, 0)
	for range c.signed() {
		return c, nil
	}
	return headers{}, ErrNoSignature
}

func isDeliveryID(id string) bool {
	return id != "" && len(id) <= maxDeliveryID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (v *Verifier) checkSignature(c headers, body []byte) error {
	for _, wh := range v.webhooks {
		want, err := wh.Sign(c.id, c.timestamp, body)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSignature, err)
		}
		want = strings.TrimPrefix(want, "v1,")
		for mac := range c.signed() {
			if subtle.ConstantTimeCompare([]byte(mac), []byte(want)) == 1 {
				return nil
			}
		}
	}
	return ErrSignature
}

// signed yields the base64 texts of the signatures of version v1, "v1,MAC v1,MAC".
// Proxies may have joined lines with commas, and some adapters cut lines at each comma.
func (c headers) signed() iter.Seq[string] {
	return func(yield func(string) bool) {
		version := ""
		for _, line := range c.signatures {
			for text := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ' ' || r == ',' }) {
				if version == "v1" && len(text) == base64.StdEncoding.EncodedLen(32) && !yield(text) {
					return
				}
				version = text
			}
		}
	}
}

func blank(values []string) bool { return len(values) == 0 || strings.TrimSpace(values[0]) == "" }

// Sign returns the headers with which Svix would deliver body: the svix-id, the
// time of the attempt and the signature made with secret. It is for tests and
// for tools that replay deliveries. The id is 1 to 256 characters of printable
// ASCII without spaces, as [Verifier.Verify] requires. The error says what is
// wrong with the secret or the id.
func Sign(secret, id string, at time.Time, body []byte) (http.Header, error) {
	if !isDeliveryID(id) {
		return nil, fmt.Errorf("%w: svix-id", ErrBadHeader)
	}
	wh, err := newWebhook(secret)
	if err != nil {
		return nil, fmt.Errorf("bridge: signing secret %w", err)
	}
	signature, err := wh.Sign(id, at, body)
	if err != nil {
		return nil, fmt.Errorf("bridge: sign: %w", err)
	}
	return http.Header{
		"Svix-Id":        {id},
		"Svix-Timestamp": {strconv.FormatInt(at.Unix(), 10)},
		"Svix-Signature": {signature},
	}, nil
}
