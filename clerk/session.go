package clerk

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Session is a user's session. Printing or logging it shows ids and the status.
type Session struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	UserID string `json:"user_id,omitzero"`
	// ClientID names what the user signed in with: a browser or an app.
	ClientID string `json:"client_id,omitzero"`
	// Actor is set while somebody impersonates the user: an object with the
	// member "sub", the id of who does.
	Actor Nullable[json.RawMessage] `json:"actor,omitzero"`
	// Status is "active", "pending", "revoked", "ended", "expired", "removed",
	// "abandoned" or "replaced". Clerk may add others.
	Status string `json:"status,omitzero"`
	// LastActiveOrganizationID is null when the user is in no organization.
	LastActiveOrganizationID Nullable[string] `json:"last_active_organization_id,omitzero"`
	LastActiveAt             Millis           `json:"last_active_at,omitzero"`
	// LatestActivity describes the device.
	LatestActivity Nullable[SessionActivity] `json:"latest_activity,omitzero"`
	// ExpireAt and AbandonAt are when Clerk will count the session as expired
	// and as abandoned.
	ExpireAt  Millis `json:"expire_at,omitzero"`
	AbandonAt Millis `json:"abandon_at,omitzero"`
	// Tasks are what the user has yet to do before a pending session is active.
	Tasks Nullable[[]SessionTask] `json:"tasks,omitzero"`
	// User is nil in bodies before 2025, and where Clerk sends null.
	User      *User  `json:"user,omitzero"`
	CreatedAt Millis `json:"created_at,omitzero"`
	UpdatedAt Millis `json:"updated_at,omitzero"`
}

// LogValue logs ids and the status.
func (s Session) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", s.ID),
		slog.String("user_id", s.UserID),
		slog.String("status", s.Status),
		slog.Time("updated_at", s.UpdatedAt.Time()),
	)
}

// String returns ids and the status.
func (s Session) String() string { return summary("Session", s.LogValue()) }

// Format prints [Session.String] whatever the verb.
func (s Session) Format(f fmt.State, _ rune) { printSummary(f, s.String()) }

// SessionTask is something that the user has yet to do.
type SessionTask struct {
	// Key is such as "choose-organization".
	Key string `json:"key,omitzero"`
}

// SessionActivity describes the device that a session was last used on.
type SessionActivity struct {
	ID             string           `json:"id,omitzero"`
	Object         string           `json:"object,omitzero"`
	IsMobile       bool             `json:"is_mobile,omitzero"`
	DeviceType     Nullable[string] `json:"device_type,omitzero"`
	BrowserName    Nullable[string] `json:"browser_name,omitzero"`
	BrowserVersion Nullable[string] `json:"browser_version,omitzero"`
	IPAddress      Nullable[string] `json:"ip_address,omitzero"`
	City           Nullable[string] `json:"city,omitzero"`
	Country        Nullable[string] `json:"country,omitzero"`
}
