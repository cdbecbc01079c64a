package actions

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
)

// SetChannelData stores what a channel needs to reach a recipient: push tokens
// and Slack or Teams connections of a user or an object, or the Slack token of
// an organization.
type SetChannelData struct {
	// Owner is a [UserID], or an [ObjectRef] ([Tenant] for an organization),
	// required.
	Owner Reference

	// ChannelID is the channel's UUID in Knock, required.
	ChannelID string

	// Data replaces what is stored for the channel. Its members depend on the
	// channel's provider. A nil value is sent as null, a nil map as an empty object.
	Data map[string]any
}

// SetChannelData stores channel data ("channel_data_set"). Knock creates an owner
// that it does not know.
func (c *Client) SetChannelData(ctx context.Context, d SetChannelData) error {
	const op = "channel_data.set"
	p, ref, err := ownerPath(op, d.Owner, idArg{"channel_id", d.ChannelID}, "channel_data")
	if err != nil {
		return err
	}
	data := d.Data
	if data == nil {
		data = map[string]any{}
	}
	o := newObject(op)
	o.member("data", data)
	body, err := o.end()
	if err != nil {
		return err
	}
	return c.putFor(ctx, d.Owner, operation{op, "channel_data_set", ref + ":" + d.ChannelID, http.MethodPut, p}, body)
}

// UnsetChannelData removes what is stored for one channel.
type UnsetChannelData struct {
	// Owner is a [UserID], or an [ObjectRef] ([Tenant] for an organization),
	// required.
	Owner Reference

	// ChannelID is the channel's UUID in Knock, required.
	ChannelID string
}

// UnsetChannelData removes channel data ("channel_data_unset"). It succeeds
// when Knock has none.
func (c *Client) UnsetChannelData(ctx context.Context, d UnsetChannelData) error {
	const op = "channel_data.unset"
	p, ref, err := ownerPath(op, d.Owner, idArg{"channel_id", d.ChannelID}, "channel_data")
	if err != nil {
		return err
	}
	return c.remove(ctx, operation{op, "channel_data_unset", ref + ":" + d.ChannelID, http.MethodDelete, p})
}

// PreferenceSet says which notifications a recipient wants. Members that are
// nil or empty are not sent. A value in a map is a bool, or an object with
// conditions or channel types, as Knock's preferences take it.
type PreferenceSet struct {
	// Categories is keyed by workflow category.
	Categories map[string]any `json:"categories,omitempty"`
	// Channels is keyed by channel id (a UUID).
	Channels map[string]any `json:"channels,omitempty"`
	// ChannelTypes is keyed by "email", "in_app_feed", "sms", "push", "chat" and
	// "http".
	ChannelTypes map[string]any `json:"channel_types,omitempty"`
	// Workflows is keyed by workflow.
	Workflows map[string]any `json:"workflows,omitempty"`
	// CommercialSubscribed is a bool, or an object with conditions.
	CommercialSubscribed any `json:"commercial_subscribed,omitempty"`

	// PersistenceStrategy says what happens to members that are not sent.
	// Empty means Knock's default, which depends on the call: [SetPreferences]
	// replaces, a tenant's default set and inline preferences merge.
	PersistenceStrategy PersistenceStrategy `json:"__persistence_strategy__,omitempty"` //nolint:tagliatelle // Knock's name for it
}

// PersistenceStrategy is how Knock treats the stored preference set.
type PersistenceStrategy string

const (
	// Merge keeps stored members that are not sent, at any depth.
	Merge PersistenceStrategy = "merge"
	// Replace drops stored members that are not sent.
	Replace PersistenceStrategy = "replace"
)

// SetPreferences stores a preference set of a user or an object. A tenant's
// default set for its users is [TenantSettings].PreferenceSet of [SetTenant].
type SetPreferences struct {
	// Owner is a [UserID] or an [ObjectRef], required.
	Owner Reference

	// ID is the set's id: a tenant's id for the preferences within that
	// tenant. Defaults to "default".
	ID string

	// Preferences replaces the stored set, unless its PersistenceStrategy is
	// [Merge].
	Preferences PreferenceSet
}

// SetPreferences stores a preference set ("preferences_set").
func (c *Client) SetPreferences(ctx context.Context, s SetPreferences) error {
	const op = "preferences.set"
	id := cmp.Or(s.ID, "default")
	p, ref, err := ownerPath(op, s.Owner, idArg{"id", id}, "preferences")
	if err != nil {
		return err
	}
	body, err := appendJSON(nil, s.Preferences)
	if err != nil {
		return &InvalidError{Op: op, Field: "preferences", Reason: notJSON(err)}
	}
	return c.putFor(ctx, s.Owner, operation{op, "preferences_set", ref + ":" + id, http.MethodPut, p}, body)
}

// putFor is put for what would create its owner.
func (c *Client) putFor(ctx context.Context, owner Reference, o operation, body json.RawMessage) error {
	if c.mayWrite(owner) {
		return c.put(ctx, o, body)
	}
	gone, err := c.goneOf(ctx, referenceTo(owner))
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		return c.skipGone(ctx, o)
	}
	return c.put(ctx, o, body)
}

// ownerPath returns the path of something that a user or an object owns, and
// the owner's name in steps.
func ownerPath(op string, owner Reference, part idArg, noun string) (p, ref string, err error) {
	if owner == nil || plain(owner) == nil {
		return "", "", &InvalidError{Op: op, Field: "owner", Reason: "is nil"}
	}
	if _, ref, err = plain(owner).recipient(op, "owner"); err != nil {
		return "", "", err
	}
	if err := checkID(op, part.field, part.id); err != nil {
		return "", "", err
	}
	if o, ok := plain(owner).(ObjectRef); ok {
		return path("objects", o.Collection, o.ID, noun, part.id), ref, nil
	}
	return path("users", ref, noun, part.id), ref, nil
}
