package eventlog

import (
	"encoding/json"
	"fmt"
)

// storedBodies are the bodies of a record, byte for byte.
type storedBodies struct {
	Payload  *string         `json:"payload,omitempty"`
	Original *string         `json:"original,omitempty"`
	Steps    map[int]*string `json:"steps,omitempty"`
}

// Encode writes a record as two JSON texts, for a [Store] that keeps text: one
// with everything but the bodies, and one with the bodies, which is empty when
// there are none. The texts are UTF-8 and have no NUL byte.
func (r *Record) Encode() (record, bodies string, err error) {
	text, err := json.Marshal(r.bodiless(""))
	if err != nil {
		return "", "", fmt.Errorf("eventlog: encode the record: %w", err)
	}
	if bodySize(r) == 0 {
		return string(text), "", nil
	}
	b := storedBodies{Payload: stored(r.Payload), Original: stored(r.Original), Steps: make(map[int]*string)}
	for i := range r.Steps {
		if body := stored(r.Steps[i].Body); body != nil {
			b.Steps[i] = body
		}
	}
	all, err := json.Marshal(b)
	if err != nil {
		return "", "", fmt.Errorf("eventlog: encode the bodies: %w", err)
	}
	return string(text), string(all), nil
}

// Decode reads what Encode has written. The bodies may be empty.
func Decode(record, bodies string) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal([]byte(record), r); err != nil {
		return nil, fmt.Errorf("eventlog: the record is unreadable: %w", err)
	}
	if bodies == "" {
		return r, nil
	}
	var b storedBodies
	if err := json.Unmarshal([]byte(bodies), &b); err != nil {
		return nil, fmt.Errorf("eventlog: the bodies are unreadable: %w", err)
	}
	r.Payload, r.Original = unstored(b.Payload), unstored(b.Original)
	for i, body := range b.Steps {
		if i >= 0 && i < len(r.Steps) {
			r.Steps[i].Body = unstored(body)
		}
	}
	return r, nil
}

func stored(raw json.RawMessage) *string {
	if raw == nil {
		return nil
	}
	s := string(raw)
	return &s
}

func unstored(s *string) json.RawMessage {
	if s == nil {
		return nil
	}
	return json.RawMessage(*s)
}
