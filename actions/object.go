package actions

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// maxSubscribers is Knock's limit of recipients in one subscription call.
const maxSubscribers = 100

// SetObject creates or updates an object ("objects_set"). It also serves as a
// [Recipient], which Knock sets before it sends. Knock merges as it does for
// [IdentifyUser]; the zero value of a field is not sent.
type SetObject struct {
	// Collection and ID name the object; both are required.
	Collection, ID string

	// Name is what people call it.
	Name string
	// Locale is a BCP 47 tag, such as "sv-SE".
	Locale string
	// Timezone is an IANA name, such as "Europe/Stockholm".
	Timezone string
	// CreatedAt is sent in UTC with milliseconds.
	CreatedAt time.Time

	// Properties holds custom properties, see [IdentifyUser].
	Properties map[string]any

	// ChannelData is keyed by channel id (a UUID).
	ChannelData map[string]any

	// Preferences is keyed by preference set id and merges deeply.
	Preferences map[string]PreferenceSet
}

func (o SetObject) members(op string) *object {
	m := newRecipient(op, o.Properties)
	m.text("name", o.Name)
	m.text("locale", o.Locale)
	m.text("timezone", o.Timezone)
	m.createdAt(o.CreatedAt)
	if o.ChannelData != nil {
		m.member("channel_data", o.ChannelData)
	}
	if o.Preferences != nil {
		m.member("preferences", o.Preferences)
	}
	return m
}

// SetObject creates or updates an object.
func (c *Client) SetObject(ctx context.Context, o SetObject) error {
	const op = "objects.set"
	if err := checkIDs(op, idArg{"collection", o.Collection}, idArg{"id", o.ID}); err != nil {
		return err
	}
	body, err := o.members(op).end()
	if err != nil {
		return err
	}
	ref := ObjectRef{Collection: o.Collection, ID: o.ID}
	return c.putFor(ctx, ref, operation{op, "objects_set", o.Collection + "/" + o.ID, http.MethodPut, path("objects", o.Collection, o.ID)}, body)
}

// DeleteObject names the object to remove.
type DeleteObject struct {
	// Collection and ID name the object; both are required.
	Collection, ID string
}

// DeleteObject removes an object ("objects_delete"). It succeeds when Knock
// does not have the object.
func (c *Client) DeleteObject(ctx context.Context, o DeleteObject) error {
	const op = "objects.delete"
	if err := checkIDs(op, idArg{"collection", o.Collection}, idArg{"id", o.ID}); err != nil {
		return err
	}
	c.removing(ObjectRef(o))
	return c.remove(ctx, operation{op, "objects_delete", o.Collection + "/" + o.ID, http.MethodDelete, path("objects", o.Collection, o.ID)})
}

// Subscribe subscribes recipients to an object ("objects_subscribe"): what is
// sent to the object reaches them. Subscribing again updates the properties.
type Subscribe struct {
	// Object is what to subscribe to, [Tenant] for a tenant. Required. It has to exist,
	// or Knock answers 404: call [Client.SetObject] or [Client.SetTenant] first.
	Object ObjectRef

	// Recipients are the subscribers. More than 100, Knock's limit, are split into
	// several calls, each a step of its own. An empty list does nothing.
	Recipients []Recipient

	// Properties are stored with each subscription; a nil value is sent as
	// null. A nil map is not sent.
	Properties map[string]any
}

// Subscribe subscribes recipients to an object. When one of several calls
// fails, the ones before it have taken effect.
func (c *Client) Subscribe(ctx context.Context, s Subscribe) error {
	const op = "objects.subscribe"
	if err := s.Object.check(op, "object"); err != nil {
		return err
	}
	recipients, gone, err := c.withoutGone(ctx, s.Recipients, referenceTo(s.Object))
	if err != nil {
		return err
	}
	if gone[s.Object] && !c.mayWrite(s.Object) {
		for i, r := range recipients {
			if plain(r) != nil { // which is refused as ever
				recipients[i] = absent{r}
			}
		}
	}
	return subscriptions(ctx, c, op, "objects_subscribe", http.MethodPost, s.Object, recipients, s.Properties)
}

// Unsubscribe ends subscriptions to an object ("objects_unsubscribe").
type Unsubscribe struct {
	// Object is what the recipients are subscribed to, [Tenant] for a tenant.
	// Required.
	Object ObjectRef

	// Recipients are the subscribers to remove, in calls of 100 at most. An
	// empty list does nothing.
	Recipients []Reference
}

// Unsubscribe ends subscriptions. It succeeds when Knock does not have the
// object or the subscription.
func (c *Client) Unsubscribe(ctx context.Context, u Unsubscribe) error {
	const op = "objects.unsubscribe"
	if err := u.Object.check(op, "object"); err != nil {
		return err
	}
	return subscriptions(ctx, c, op, "objects_unsubscribe", http.MethodDelete, u.Object, u.Recipients, nil)
}

func subscriptions[R Recipient](
	ctx context.Context, c *Client, op, kind, method string, object ObjectRef, recipients []R, properties map[string]any,
) error {
	values, refs, err := recipientValues(op, recipients)
	if err != nil {
		return err
	}
	var shared json.RawMessage
	if properties != nil {
		if shared, err = appendJSON(nil, properties); err != nil {
			return &InvalidError{Op: op, Field: "properties", Reason: notJSON(err)}
		}
	}
	target := object.Collection + "/" + object.ID
	o := operation{op, kind, target, method, path("objects", object.Collection, object.ID, "subscriptions")}
	return c.putAll(ctx, o, fieldRecipients, maxSubscribers, values, refs, shared)
}
