package sqlledger

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/clerkknock/bridge"
)

// stepsFormat is the newest format of stored steps that this version can read.
const stepsFormat = 1

// storedStep is a [bridge.StepRecord] as it is stored.
type storedStep struct {
	Name      text          `json:"name"`
	Kind      text          `json:"kind,omitempty"`
	Done      bool          `json:"done,omitempty"`
	StartedAt time.Time     `json:"started_at"`
	Duration  time.Duration `json:"duration_ns,omitempty"`
	Status    int           `json:"status,omitempty"`
	RequestID text          `json:"request_id,omitempty"`
	Attempts  int           `json:"attempts,omitempty"`
	Result    text          `json:"result,omitempty"` // JSON in JSON, so that it comes back as it was
}

func encodeSteps(records []bridge.StepRecord) (string, error) {
	if len(records) == 0 {
		return "", nil
	}
	steps := make([]storedStep, len(records))
	for i, r := range records {
		steps[i] = storedStep{
			Name: text(r.Name), Kind: text(r.Kind), Done: r.Done, StartedAt: r.StartedAt.UTC(), Duration: r.Duration,
			Status: r.Status, RequestID: text(r.RequestID), Attempts: r.Attempts, Result: text(r.Result),
		}
	}
	b, err := json.Marshal(steps)
	if err != nil {
		return "", fmt.Errorf("encode the steps: %w", err)
	}
	return string(b), nil
}

func decodeSteps(s string) ([]bridge.StepRecord, error) {
	if s == "" {
		return nil, nil
	}
	var steps []storedStep
	if err := json.Unmarshal([]byte(s), &steps); err != nil {
		return nil, fmt.Errorf("its steps are unreadable: %w", err)
	}
	records := make([]bridge.StepRecord, len(steps))
	for i, r := range steps {
		records[i] = bridge.StepRecord{
			Name: string(r.Name), Kind: string(r.Kind), Done: r.Done, StartedAt: r.StartedAt, Duration: r.Duration,
			Status: r.Status, RequestID: string(r.RequestID), Attempts: r.Attempts, Result: json.RawMessage(r.Result),
		}
	}
	return records, nil
}

// text is a string of any bytes. In JSON, which is UTF-8, it is a string where
// that can hold it and else an object with the bytes in base64.
type text string

type base64Text struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements [json.Marshaler].
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(base64Text{Base64: []byte(t)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var raw base64Text
		err := json.Unmarshal(b, &raw)
		*t = text(raw.Base64)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}
