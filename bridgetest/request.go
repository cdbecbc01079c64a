package bridgetest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clerkknock/bridge"
)

// Secret is the signing secret of [NewRequest] and [Attempt]. It is public:
// never configure it outside of tests.
const Secret = "whsec_bridgetestNotARealSecret00000000"

// What the envelope of every event says.
const (
	instanceID = "ins_3Ai6Ep5w5U5v7Kb8zgtUf3Z8Bjb"
	clientIP   = "203.0.113.10"
	userAgent  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)

// NewRequest returns the request with which Clerk would deliver an event at
// this moment: a POST to /webhooks/clerk, signed with [Secret], under an id of
// its own. It is [Attempt] of [NewDelivery]: see these for details.
//
//	handler.ServeHTTP(recorder, bridgetest.NewRequest(t, "user.created", nil))
func NewRequest(t testing.TB, eventType string, data any) *http.Request {
	t.Helper()
	return Attempt(t, NewDelivery(t, eventType, data))
}

// NewDelivery returns a delivery of an event, received now, under an id of its
// own. Hand it to [bridge.Handler.Process], or to [Attempt] as often as Svix
// should attempt it.
//
// Data is what becomes the "data" member of the body. A [json.RawMessage], a
// []byte and a string are taken as JSON text, anything else is marshalled: a
// struct of package clerk, a map. Nil stands for the sample of the event type,
// see [SampleData]. The test fails when the data is not JSON, and when data is
// nil and there is no sample.
func NewDelivery(t testing.TB, eventType string, data any) bridge.Delivery {
	t.Helper()
	body, err := Body(eventType, data)
	if err != nil {
		t.Fatal(err)
	}
	return bridge.Delivery{ID: "msg_" + rand.Text(), ReceivedAt: time.Now(), Body: body}
}

// Attempt returns a request for one attempt of a delivery. As with Svix, the id
// and the body are the delivery's; the timestamp and the signature are new.
//
// The request is meant for [http.Handler.ServeHTTP]. To send it through an
// [http.Client], set URL.Scheme and URL.Host first.
func Attempt(t testing.TB, d bridge.Delivery) *http.Request {
	t.Helper()
	header, err := bridge.Sign(Secret, d.ID, time.Now(), d.Body)
	if err != nil {
		t.Fatalf("bridgetest: sign: %v", err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks/clerk", bytes.NewReader(d.Body))
	if err != nil {
		t.Fatalf("bridgetest: %v", err)
	}
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", "Svix-Webhooks/1.99.1")
	r.Header = header
	r.Host, r.RemoteAddr = "example.com", "192.0.2.1:1234" // as package httptest sets them
	return r
}

// Body returns the body of a delivery of an event that happens now, for
// programs that are not tests; [bridge.Sign] signs it. No two bodies have the
// same timestamp, so that the bridge can tell their order. Data is taken as
// [NewDelivery] takes it, and the error says what is wrong with it.
func Body(eventType string, data any) ([]byte, error) {
	return body(eventType, data, moment())
}

var lastMoment atomic.Int64

// moment returns the present, in milliseconds of which no two are the same.
func moment() time.Time {
	for {
		last := lastMoment.Load()
		next := max(time.Now().UnixMilli(), last+1)
		if lastMoment.CompareAndSwap(last, next) {
			return time.UnixMilli(next)
		}
	}
}

func body(eventType string, data any, at time.Time) ([]byte, error) {
	if eventType == "" {
		return nil, errors.New("bridgetest: the event type is empty")
	}
	raw, err := rawData(eventType, data)
	if err != nil {
		return nil, fmt.Errorf("bridgetest: data of %s %w", eventType, err)
	}
	var e envelope
	e.Data, e.Type, e.Object = raw, eventType, "event"
	e.Timestamp, e.InstanceID = at.UnixMilli(), instanceID
	e.Attributes.Request.ClientIP, e.Attributes.Request.UserAgent = clientIP, userAgent
	text, err := marshal(e)
	if err != nil {
		return nil, fmt.Errorf("bridgetest: data of %s is not JSON: %w", eventType, err)
	}
	return text, nil
}

// envelope is what Clerk puts around the data of every event.
type envelope struct {
	Data       json.RawMessage `json:"data"`
	Attributes struct {
		Request struct {
			ClientIP  string `json:"client_ip"`
			UserAgent string `json:"user_agent"`
		} `json:"http_request"`
	} `json:"event_attributes"`
	InstanceID string `json:"instance_id"`
	Object     string `json:"object"`
	Timestamp  int64  `json:"timestamp"` // milliseconds
	Type       string `json:"type"`
}

// rawData turns the data of an event into JSON text. Its errors complete a
// sentence that begins with the data.
func rawData(eventType string, data any) (json.RawMessage, error) {
	switch d := data.(type) {
	case nil:
		sample, ok := SampleData(eventType)
		if !ok {
			return nil, errors.New("is nil, and there is no sample of this type")
		}
		return sample, nil
	case json.RawMessage:
		return d, valid(d)
	case []byte:
		return d, valid(d)
	case string:
		return json.RawMessage(d), valid([]byte(d))
	}
	raw, err := marshal(data)
	if err != nil {
		return nil, fmt.Errorf("can't be marshalled: %w", err)
	}
	return raw, nil
}

func valid(text []byte) error {
	var raw json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	return nil
}

// marshal is encoding/json without HTML escaping.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
