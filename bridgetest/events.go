package bridgetest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/clerkknock/bridge/clerk"
)

// eventID is the id of the events made by [NewEvent], in the form of Svix's.
const eventID = "msg_3A0bridgetest0000000000000"

// eventTime is when the events made by [NewEvent] happen, a little after what
// is in the samples.
func eventTime() time.Time { return time.Date(2026, time.March, 10, 8, 0, 0, 0, time.UTC) }

// Sample returns the data of a typical event of type t: every member that Clerk
// documents, example addresses, invented ids. It is the same on every call and
// yours to change.
//
// The samples belong together: they are about one user, one organization and
// one membership of that user in it, so that a test can deliver several of
// them. Sample panics for a type without a sample, which is one that this
// module does not know.
//
//	user := bridgetest.Sample(clerk.UserCreated)
//	user.ID = "user_1"
func Sample[T any](t clerk.EventType[T]) T {
	raw, err := body(t.EventName(), nil, eventTime())
	if err != nil {
		panic(err)
	}
	e, err := decode[T](raw)
	if err != nil {
		panic(fmt.Sprintf("bridgetest: sample of %s: %v", t.EventName(), err))
	}
	return e.Data
}

// SampleData returns the JSON behind [Sample] for a type given by its name, and
// whether there is one.
func SampleData(eventType string) (json.RawMessage, bool) {
	data, ok := samples()[eventType]
	return bytes.Clone(data), ok
}

// NewEvent returns an event of type t as a mapping function gets it, for calling
// the function directly or through [Run]. Id, instance and time are the same on
// every call. Raw holds the body that goes with data. NewEvent panics when data
// can't be marshalled.
func NewEvent[T any](t clerk.EventType[T], data T) *clerk.Event[T] {
	raw, err := marshal(data)
	if err != nil {
		panic(fmt.Sprintf("bridgetest: data of %s can't be marshalled: %v", t.EventName(), err))
	}
	if raw, err = body(t.EventName(), raw, eventTime()); err != nil {
		panic(err)
	}
	return &clerk.Event[T]{
		ID:         eventID,
		Type:       t.EventName(),
		InstanceID: instanceID,
		Timestamp:  eventTime(),
		Attributes: clerk.Attributes{ClientIP: clientIP, UserAgent: userAgent},
		Data:       data,
		Raw:        raw,
	}
}

func decode[T any](raw []byte) (*clerk.Event[T], error) {
	e, err := clerk.Parse(eventID, raw)
	if err != nil {
		return nil, err
	}
	return clerk.Decode[T](e)
}

//go:embed samples/*.json
var sampleFiles embed.FS

// family is one file of samples: events whose data has the same members. What
// an event says of itself replaces members of the common data, as a whole.
type family struct {
	Data   map[string]json.RawMessage            `json:"data"`
	Events map[string]map[string]json.RawMessage `json:"events"`
}

// samples holds the data of every sample by event type. It does not change.
var samples = sync.OnceValue(func() map[string]json.RawMessage {
	files, err := sampleFiles.ReadDir("samples")
	if err != nil {
		panic(err)
	}
	all := make(map[string]json.RawMessage)
	for _, file := range files {
		var f family
		text, err := sampleFiles.ReadFile("samples/" + file.Name())
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			panic(fmt.Sprintf("bridgetest: samples/%s: %v", file.Name(), err))
		}
		for name, own := range f.Events {
			data := maps.Clone(f.Data)
			maps.Copy(data, own)
			if all[name], err = marshal(data); err != nil {
				panic(fmt.Sprintf("bridgetest: samples/%s: %s: %v", file.Name(), name, err))
			}
		}
	}
	return all
})
