package clerk

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// WaitlistEntry is somebody on the waitlist: an e-mail address that no user has
// yet.
type WaitlistEntry struct {
	ID           string `json:"id,omitzero"`
	Object       string `json:"object,omitzero"`
	EmailAddress string `json:"email_address,omitzero"`
	// Status is "pending", "invited", "rejected" or "completed". Clerk may add
	// others.
	Status   string `json:"status,omitzero"`
	IsLocked bool   `json:"is_locked,omitzero"`
	// Invitation is set once the person has been invited.
	Invitation Nullable[Invitation] `json:"invitation,omitzero"`
	CreatedAt  Millis               `json:"created_at,omitzero"`
	UpdatedAt  Millis               `json:"updated_at,omitzero"`
}

// LogValue logs the id and the status.
func (w WaitlistEntry) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", w.ID),
		slog.String("status", w.Status),
		slog.Time("updated_at", w.UpdatedAt.Time()),
	)
}

// String returns the id and the status.
func (w WaitlistEntry) String() string { return summary("WaitlistEntry", w.LogValue()) }

// Format prints [WaitlistEntry.String] whatever the verb.
func (w WaitlistEntry) Format(f fmt.State, _ rune) { printSummary(f, w.String()) }

// Invitation is an invitation to sign up. Printing or logging it never shows
// the URL.
type Invitation struct {
	ID             string                    `json:"id,omitzero"`
	Object         string                    `json:"object,omitzero"`
	EmailAddress   string                    `json:"email_address,omitzero"`
	PublicMetadata Nullable[json.RawMessage] `json:"public_metadata,omitzero"`
	Revoked        bool                      `json:"revoked,omitzero"`
	// Status is "pending", "accepted", "revoked" or "expired". Clerk may add
	// others.
	Status string `json:"status,omitzero"`
	// URL is secret while the invitation is pending: who opens it may sign up.
	URL       Nullable[string] `json:"url,omitzero"`
	ExpiresAt Nullable[Millis] `json:"expires_at,omitzero"`
	CreatedAt Millis           `json:"created_at,omitzero"`
	UpdatedAt Millis           `json:"updated_at,omitzero"`
}

// LogValue logs the id and the status.
func (i Invitation) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", i.ID),
		slog.String("status", i.Status),
		slog.Time("updated_at", i.UpdatedAt.Time()),
	)
}

// String returns the id and the status.
func (i Invitation) String() string { return summary("Invitation", i.LogValue()) }

// Format prints [Invitation.String] whatever the verb.
func (i Invitation) Format(f fmt.State, _ rune) { printSummary(f, i.String()) }
