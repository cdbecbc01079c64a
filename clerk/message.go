package clerk

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Email is an e-mail that Clerk sends or leaves to you to send. Subject, Body,
// BodyPlain and Data hold live one-time codes and magic links: never log or
// store them. Printing or logging an Email leaves them out; marshaling it to
// JSON does not.
type Email struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// Slug names the template, such as "verification_code" or
	// "magic_link_sign_in".
	Slug Nullable[string] `json:"slug,omitzero"`
	// FromEmailName is the part before the @ of the sender.
	FromEmailName    string           `json:"from_email_name,omitzero"`
	ReplyToEmailName Nullable[string] `json:"reply_to_email_name,omitzero"`
	ToEmailAddress   Nullable[string] `json:"to_email_address,omitzero"`
	// EmailAddressID is null for somebody who is not a user yet, as is UserID.
	EmailAddressID Nullable[string] `json:"email_address_id,omitzero"`
	UserID         Nullable[string] `json:"user_id,omitzero"`
	// Subject is secret: it may hold the code.
	Subject Nullable[string] `json:"subject,omitzero"`
	// Body is HTML, and secret.
	Body Nullable[string] `json:"body,omitzero"`
	// BodyPlain is secret.
	BodyPlain Nullable[string] `json:"body_plain,omitzero"`
	// Status is such as "queued".
	Status Nullable[string] `json:"status,omitzero"`
	// Data is an object with the variables of the template. It is secret: among
	// them is the code or the link.
	Data Nullable[json.RawMessage] `json:"data,omitzero"`
	// DeliveredByClerk is false when sending the message is up to you.
	DeliveredByClerk bool `json:"delivered_by_clerk,omitzero"`
	// SuppressionReason says why Clerk held the message back. Null when it did not.
	SuppressionReason Nullable[string] `json:"suppression_reason,omitzero"`
}

// LogValue logs ids, the template and the status.
func (e Email) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", e.ID),
		slog.String("slug", e.Slug.Or("")),
		slog.String("user_id", e.UserID.Or("")),
		slog.String("status", e.Status.Or("")),
		slog.Bool("delivered_by_clerk", e.DeliveredByClerk),
	)
}

// String returns ids, the template and the status.
func (e Email) String() string { return summary("Email", e.LogValue()) }

// Format prints [Email.String] whatever the verb.
func (e Email) Format(f fmt.State, _ rune) { printSummary(f, e.String()) }

// SMS is a text message that Clerk sends or leaves to you to send. Message and
// Data hold live one-time codes: never log or store them. Printing or logging
// an SMS leaves them out; marshaling it to JSON does not.
//
// Do not embed an SMS in a struct to decode into: its UnmarshalJSON would be
// promoted, and the members of the struct itself left out.
type SMS struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// Slug names the template, such as "verification_code".
	Slug            Nullable[string] `json:"slug,omitzero"`
	FromPhoneNumber string           `json:"from_phone_number,omitzero"`
	ToPhoneNumber   string           `json:"to_phone_number,omitzero"`
	// PhoneNumberID is null for somebody who is not a user yet, as is UserID.
	PhoneNumberID Nullable[string] `json:"phone_number_id,omitzero"`
	UserID        Nullable[string] `json:"user_id,omitzero"`
	// Message is secret: it holds the code.
	Message Nullable[string] `json:"message,omitzero"`
	// Status is such as "queued".
	Status string `json:"status,omitzero"`
	// Data is an object with the variables of the template. It is secret: among
	// them is the code.
	Data Nullable[json.RawMessage] `json:"data,omitzero"`
	// DeliveredByClerk is false when sending the message is up to you.
	DeliveredByClerk bool `json:"delivered_by_clerk,omitzero"`
	// CreatedAt is read from "created_at" and from "created_at_ms".
	CreatedAt Millis `json:"created_at,omitzero"`
}

// UnmarshalJSON accepts both names of CreatedAt.
func (s *SMS) UnmarshalJSON(b []byte) error {
	type fields SMS
	var v struct {
		fields

		CreatedAtMillis Millis `json:"created_at_ms"`
	}
	if err := unmarshal(b, &v); err != nil {
		return err
	}
	*s = SMS(v.fields)
	if s.CreatedAt == 0 {
		s.CreatedAt = v.CreatedAtMillis
	}
	return nil
}

// LogValue logs ids, the template and the status.
func (s SMS) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", s.ID),
		slog.String("slug", s.Slug.Or("")),
		slog.String("user_id", s.UserID.Or("")),
		slog.String("status", s.Status),
		slog.Bool("delivered_by_clerk", s.DeliveredByClerk),
	)
}

// String returns ids, the template and the status.
func (s SMS) String() string { return summary("SMS", s.LogValue()) }

// Format prints [SMS.String] whatever the verb.
func (s SMS) Format(f fmt.State, _ rune) { printSummary(f, s.String()) }
