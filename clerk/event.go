package clerk

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// EventType names a webhook event of Clerk and carries the Go type of its
// data, so that a function paired with the wrong event does not compile.
//
// An event newer than this package needs one line:
//
//	const PasskeyCreated clerk.EventType[MyPasskey] = "passkey.created"
type EventType[T any] string

// EventName returns the name as it stands in the "type" member of the body.
func (t EventType[T]) EventName() string { return string(t) }

// Named is implemented by every [EventType], whatever its data.
type Named interface{ EventName() string }

// Attributes says where the request behind an event came from. A user agent that
// names Clerk's Go SDK stands for Clerk's own dashboard, too: it is no sign of
// your own calls.
type Attributes struct {
	// ClientIP is an IPv4 or IPv6 address. It may be empty.
	ClientIP string
	// UserAgent may be empty.
	UserAgent string
}

// Event is one of Clerk's webhook deliveries, with its data decoded into T.
//
// Printing or logging an Event, with whatever verb or handler of slog, shows
// its ids, type and time, and nothing of Data and Raw: these hold private
// metadata, and live one-time codes in e-mails and text messages. Marshaling it
// to JSON hides nothing.
type Event[T any] struct {
	// ID is the svix-id of the delivery, the same on every attempt.
	ID string
	// Type is the event's name, such as "user.created".
	Type string
	// InstanceID names the Clerk instance. Empty in bodies before April 2025.
	InstanceID string
	// Timestamp is when the event happened, in UTC. Zero in bodies before October
	// 2024.
	Timestamp time.Time
	// Attributes is zero in bodies before July 2024.
	Attributes Attributes
	// Data is the decoded "data" member.
	Data T
	// Raw holds the verified bytes of the whole body, untouched. It must not be
	// changed.
	Raw json.RawMessage
}

// AnyEvent is an event whose data has not been decoded: Data holds the raw
// "data" member, a part of Raw, and is nil when the body has none.
type AnyEvent = Event[json.RawMessage]

// LogValue logs the ids, the type and the time.
func (e Event[T]) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", e.ID),
		slog.String("type", e.Type),
		slog.String("instance_id", e.InstanceID),
		slog.Time("timestamp", e.Timestamp),
	)
}

// String returns the ids, the type and the time.
func (e Event[T]) String() string { return summary("Event", e.LogValue()) }

// Format prints [Event.String] whatever the verb.
func (e Event[T]) Format(f fmt.State, _ rune) { printSummary(f, e.String()) }
