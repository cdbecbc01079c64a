package bridgetest

import (
	"maps"
	"slices"
)

// Subscription is a subscription to an object or tenant of the fake.
type Subscription struct {
	// Recipient is who subscribes: a user, or another object.
	Recipient Ref

	// Properties were sent with the subscription; nil means none.
	Properties map[string]any
}

type subscription struct {
	seq        uint64
	object     Ref
	recipient  Ref
	properties map[string]any
	insertedAt string
	updatedAt  string
}

// Subscriptions returns who subscribes to an object, oldest subscription first.
// The subscriptions to a tenant are those of collection "$tenants".
func (k *Knock) Subscriptions(collection, objectID string) (subscriptions []Subscription) {
	k.inspect(func() {
		for _, sub := range k.subscriptions {
			if sub.object == (Ref{collection, objectID}) {
				subscriptions = append(subscriptions, Subscription{sub.recipient, cloneOptional(sub.properties)})
			}
		}
	})
	return subscriptions
}

// cloneOptional is cloneMap that keeps nil.
func cloneOptional(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	return cloneMap(m)
}

// jsonMap is the map as a JSON value: nil is null.
func jsonMap(m map[string]any) any {
	if m == nil {
		return nil
	}
	return cloneMap(m)
}

func contains(refs []Ref, ref Ref) bool { return slices.Contains(refs, ref) }

func (s *store) subscription(object, recipient Ref) *subscription {
	for _, sub := range s.subscriptions {
		if sub.object == object && sub.recipient == recipient {
			return sub
		}
	}
	return nil
}

func (s *store) showSubscription(sub *subscription) map[string]any {
	return map[string]any{
		"__typename":  "Subscription",
		"object":      s.showRecipient(sub.object, sub.insertedAt),
		"recipient":   s.showRecipient(sub.recipient, sub.insertedAt),
		"properties":  jsonMap(sub.properties),
		"inserted_at": sub.insertedAt,
		"updated_at":  sub.updatedAt,
	}
}

// addSubscription creates the subscription or updates it.
func (k *Knock) addSubscription(object, recipient Ref, properties map[string]any, given bool, now string) *subscription {
	sub := k.subscription(object, recipient)
	if sub == nil {
		sub = &subscription{seq: k.next(), object: object, recipient: recipient, insertedAt: now}
		k.subscriptions = append(k.subscriptions, sub)
	}
	switch {
	case !given:
	case k.options.MergeProperties && properties != nil:
		merged := cloneMap(sub.properties)
		merge(merged, properties)
		sub.properties = merged
	default:
		sub.properties = cloneOptional(properties)
	}
	sub.updatedAt = now
	return sub
}

// subscribable checks that the object of a subscription is there, or creates
// it if the options say so.
func (k *Knock) subscribable(b *batch, object Ref) error {
	if !k.options.CreateObjects {
		_, err := k.lookup(object)
		return err
	}
	b.ensure(object)
	return checkRef(object)
}

func (k *Knock) subscribe(r *request) (reply, error) {
	object := Ref{r.params[0], r.params[1]}
	b := k.batch(r.now)
	if err := k.subscribable(b, object); err != nil {
		return reply{}, err
	}
	recipients, properties, err := b.subscribers(r.body)
	if err != nil {
		return reply{}, err
	}
	b.commit()
	_, given := r.body["properties"]
	shown := make([]any, len(recipients))
	for i, recipient := range recipients {
		shown[i] = k.showSubscription(k.addSubscription(object, recipient, properties, given, b.now))
	}
	return success(shown)
}

// subscribers reads the recipients and properties of a subscription.
func (b *batch) subscribers(body map[string]any) (recipients []Ref, properties map[string]any, err error) {
	items, err := list(body, "recipients", maxSubscribers)
	if err != nil {
		return nil, nil, err
	}
	if properties, err = optionalMap(body, "properties"); err != nil {
		return nil, nil, err
	}
	for _, item := range items {
		ref, err := b.recipient("recipients", item)
		if err != nil {
			return nil, nil, err
		}
		recipients = append(recipients, ref)
	}
	return recipients, properties, nil
}

// unsubscribe answers with the subscriptions it removed; recipients that did
// not subscribe are passed over.
func (k *Knock) unsubscribe(r *request) (reply, error) {
	object := Ref{r.params[0], r.params[1]}
	recipients, err := references(r.body, "recipients", maxSubscribers)
	if err != nil {
		return reply{}, err
	}
	if _, err := k.lookup(object); err != nil && !k.options.DeleteMissing {
		return reply{}, err
	}
	removed := []any{}
	for _, sub := range k.removeSubscriptions(object, recipients) {
		removed = append(removed, k.showSubscription(sub))
	}
	return success(removed)
}

func (k *Knock) removeSubscriptions(object Ref, recipients []Ref) (removed []*subscription) {
	k.subscriptions = slices.DeleteFunc(k.subscriptions, func(sub *subscription) bool {
		if sub.object != object || !contains(recipients, sub.recipient) {
			return false
		}
		removed = append(removed, sub)
		return true
	})
	return removed
}

// listObjectSubscriptions lists who subscribes to the object, or with
// mode=recipient what the object subscribes to.
func (k *Knock) listObjectSubscriptions(r *request) (reply, error) {
	ref := Ref{r.params[0], r.params[1]}
	if _, err := k.lookup(ref); err != nil {
		return reply{}, err
	}
	recipients, byRecipient, err := r.query.references("recipients")
	if err != nil {
		return reply{}, err
	}
	objects, byObject, err := r.query.references("objects")
	if err != nil {
		return reply{}, err
	}
	var here func(*subscription) Ref
	switch r.query.scalars["mode"] {
	case "", "object":
		here = func(sub *subscription) Ref { return sub.object }
	case "recipient":
		here = func(sub *subscription) Ref { return sub.recipient }
	default:
		return reply{}, invalid("mode", "must be object or recipient")
	}
	return k.pageSubscriptions(r, func(sub *subscription) bool {
		return here(sub) == ref &&
			(!byRecipient || contains(recipients, sub.recipient)) &&
			(!byObject || contains(objects, sub.object))
	})
}

func (k *Knock) pageSubscriptions(r *request, wanted func(*subscription) bool) (reply, error) {
	withPreferences, err := r.query.include()
	if err != nil {
		return reply{}, err
	}
	var entries []entry
	for _, sub := range k.subscriptions {
		if !wanted(sub) {
			continue
		}
		entries = append(entries, entry{sub.seq, func() map[string]any {
			shown := k.showSubscription(sub)
			if rec := k.recipients[sub.recipient]; withPreferences && rec != nil {
				recipient := rec.show()
				if rec.ref.Collection != "" {
					recipient = rec.showObject()
				}
				maps.Copy(recipient, map[string]any{"preferences": rec.showPreferenceSets()})
				shown["recipient"] = recipient
			}
			return shown
		}})
	}
	return r.query.page(entries)
}
