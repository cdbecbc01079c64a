package actions

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// maxProperties is Knock's limit for the custom properties of one recipient, in
// bytes of JSON.
const maxProperties = 256 << 10

// IdentifyUser creates or updates a user in Knock ("users_identify"). It also
// serves as a [Recipient], which Knock identifies before it sends.
//
// Knock merges: a member that is not sent keeps its value, objects merge
// deeply, and a property can be set to null but never removed. The zero value
// of a field below is not sent. To clear a member, set it to nil in Properties,
// which sends null.
type IdentifyUser struct {
	// ID is Clerk's user id, required.
	ID string

	// Name is the full name.
	Name string
	// Email is the address that e-mail channels send to.
	Email string
	// PhoneNumber is in E.164, such as "+46701740605".
	PhoneNumber string
	// Avatar is the URL of a picture.
	Avatar string
	// Locale is a BCP 47 tag, such as "sv-SE".
	Locale string
	// Timezone is an IANA name, such as "Europe/Stockholm".
	Timezone string
	// CreatedAt is sent in UTC with milliseconds.
	CreatedAt time.Time

	// Properties holds custom properties, at most 256 kB of JSON, and any of the
	// members above that should be null. A nil value is sent as null. The names
	// id, collection, channel_data, preferences and $trigger_data mean something
	// else to Knock and are refused: never spread metadata from elsewhere here,
	// give it a key of its own.
	Properties map[string]any

	// ChannelData is keyed by channel id (a UUID): tokens, connections. Knock
	// overwrites the data of each channel named.
	ChannelData map[string]any

	// Preferences is keyed by preference set ("default" or a tenant id) and
	// merges deeply.
	Preferences map[string]PreferenceSet
}

const opIdentify = "users.identify"

func (u IdentifyUser) members(op string) *object {
	o := newRecipient(op, u.Properties)
	o.text("name", u.Name)
	o.text("email", u.Email)
	o.text("phone_number", u.PhoneNumber)
	o.text("avatar", u.Avatar)
	o.text("locale", u.Locale)
	o.text("timezone", u.Timezone)
	o.createdAt(u.CreatedAt)
	if u.ChannelData != nil {
		o.member("channel_data", u.ChannelData)
	}
	if u.Preferences != nil {
		o.member("preferences", u.Preferences)
	}
	return o
}

// IdentifyUser creates or updates a user.
func (c *Client) IdentifyUser(ctx context.Context, u IdentifyUser) error {
	if err := checkID(opIdentify, "id", u.ID); err != nil {
		return err
	}
	body, err := u.members(opIdentify).end()
	if err != nil {
		return err
	}
	o := operation{opIdentify, "users_identify", u.ID, http.MethodPut, path("users", u.ID)}
	return c.putFor(ctx, UserID(u.ID), o, body)
}

// User is a user as Knock has it. Nullable members are empty when null.
type User struct {
	// ID is the user's id.
	ID string `json:"id"`
	// Name is the full name.
	Name string `json:"name"`
	// Email is the address that e-mail channels send to.
	Email string `json:"email"`
	// PhoneNumber is in E.164.
	PhoneNumber string `json:"phone_number"`
	// Avatar is the URL of a picture.
	Avatar string `json:"avatar"`
	// Timezone is an IANA name.
	Timezone string `json:"timezone"`
	// CreatedAt is what was sent to Knock; zero when nothing was.
	CreatedAt time.Time `json:"created_at"`
	// UpdatedAt is when the user last changed in Knock.
	UpdatedAt time.Time `json:"updated_at"`

	// Raw is the whole answer, custom properties at its top level included.
	Raw json.RawMessage `json:"-"`
}

// GetUser looks a user up. An unknown id is an [Error] with status 404. In a
// dry run nothing is sent: the user returned holds only the id.
func (c *Client) GetUser(ctx context.Context, id string) (*User, error) {
	const op = "users.get"
	if err := checkID(op, "id", id); err != nil {
		return nil, err
	}
	s := &Step{Name: c.name(op + ":" + id), Kind: "users_get", returns: true}
	if err := c.call(ctx, s, &Request{Method: http.MethodGet, Path: path("users", id)}); err != nil {
		return nil, err
	}
	return decodeUser(id, s.Result), nil
}

// decodeUser is lenient: what Knock has answered with 200 is not failed for a
// member of an unexpected type.
func decodeUser(id string, body json.RawMessage) *User {
	u := &User{ID: id, Raw: body}
	var members map[string]json.RawMessage
	_ = json.Unmarshal(body, &members)
	for name, field := range map[string]any{
		"name": &u.Name, "email": &u.Email, "phone_number": &u.PhoneNumber, "avatar": &u.Avatar,
		"timezone": &u.Timezone, "created_at": &u.CreatedAt, "updated_at": &u.UpdatedAt,
	} {
		_ = json.Unmarshal(members[name], field)
	}
	return u
}

// DeleteUser permanently removes a user from Knock, with preferences, channel
// data, subscriptions and messages. It may take up to ten minutes to show.
type DeleteUser struct {
	// ID is the user's id, required.
	ID string
}

// DeleteUser removes a user ("users_delete"). It succeeds when Knock does not
// have the user.
func (c *Client) DeleteUser(ctx context.Context, u DeleteUser) error {
	const op = "users.delete"
	if err := checkID(op, "id", u.ID); err != nil {
		return err
	}
	c.removing(UserID(u.ID))
	return c.remove(ctx, operation{op, "users_delete", u.ID, http.MethodDelete, path("users", u.ID)})
}

// MergeUser moves what one user has to another and deletes the first.
type MergeUser struct {
	// ID is the user that stays, required.
	ID string
	// FromID is the user that is merged into it and then deleted, required.
	// Workflow runs in flight for it stop without notice.
	FromID string
}

// MergeUser merges two users ("users_merge"). A repeat after success is an [Error],
// because the second user is gone.
func (c *Client) MergeUser(ctx context.Context, m MergeUser) error {
	const op = "users.merge"
	if err := checkIDs(op, idArg{"id", m.ID}, idArg{"from_user_id", m.FromID}); err != nil {
		return err
	}
	if m.ID == m.FromID {
		return &InvalidError{Op: op, Field: "from_user_id", Reason: "is the user to keep", Data: true}
	}
	o := newObject(op)
	o.text("from_user_id", m.FromID)
	body, err := o.end()
	if err != nil {
		return err
	}
	return c.put(ctx, operation{op, "users_merge", m.ID + ":" + m.FromID, http.MethodPost, path("users", m.ID, "merge")}, body)
}
