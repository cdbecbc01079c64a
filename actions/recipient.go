package actions

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// TenantCollection is the collection in which Knock keeps tenants as objects.
const TenantCollection = "$tenants"

// Recipient is who a workflow or a subscription is for: a [UserID], an
// [ObjectRef] (made by [Tenant] for a tenant), or a recipient that Knock
// identifies first: an [IdentifyUser] or a [SetObject]. [WithTriggerData] adds
// data for one recipient.
type Recipient interface {
	// recipient returns what goes over the wire, and the name in steps.
	recipient(op, field string) (value json.RawMessage, ref string, err error)
}

// Reference is a Recipient that names something without changing it, as
// cancelling and unsubscribing require: a [UserID] or an [ObjectRef].
type Reference interface {
	Recipient
	reference()
}

// UserID names a user that Knock knows. It never creates one: a workflow
// triggered for an unknown id reaches nobody.
type UserID string

func (u UserID) recipient(op, field string) (json.RawMessage, string, error) {
	return appendString(nil, string(u)), string(u), checkID(op, field, string(u))
}
func (UserID) reference() {}

// ObjectRef names an object. Subscribers of an object receive what is sent to
// it.
type ObjectRef struct {
	// Collection is where it is, [TenantCollection] for a tenant.
	Collection string `json:"collection"`
	// ID is its id within the collection.
	ID string `json:"id"`
}

// Tenant names a tenant as a recipient or as the object of a subscription: an
// object of collection "$tenants". For the tenant that a workflow runs in, see
// [TenantID].
func Tenant(id string) ObjectRef { return ObjectRef{Collection: TenantCollection, ID: id} }

func (o ObjectRef) recipient(op, field string) (json.RawMessage, string, error) {
	if err := o.check(op, field); err != nil {
		return nil, "", err
	}
	m := newObject(op)
	m.text("collection", o.Collection)
	m.text("id", o.ID)
	value, err := m.end()
	return value, o.Collection + "/" + o.ID, err
}
func (ObjectRef) reference() {}

func (o ObjectRef) check(op, field string) error {
	if err := checkID(op, field+".collection", o.Collection); err != nil {
		return err
	}
	return checkID(op, field+".id", o.ID)
}

func (u IdentifyUser) recipient(op, field string) (json.RawMessage, string, error) {
	if err := checkID(op, field+".id", u.ID); err != nil {
		return nil, "", err
	}
	m := u.members(op)
	m.text("id", u.ID)
	value, err := m.end()
	return value, u.ID, err
}

func (o SetObject) recipient(op, field string) (json.RawMessage, string, error) {
	ref := ObjectRef{Collection: o.Collection, ID: o.ID}
	if err := ref.check(op, field); err != nil {
		return nil, "", err
	}
	m := o.members(op)
	m.text("collection", o.Collection)
	m.text("id", o.ID)
	value, err := m.end()
	return value, o.Collection + "/" + o.ID, err
}

// WithTriggerData returns r with data of its own: Knock merges it over the
// trigger's Data for this recipient only and does not store it. Only workflow
// triggers take it. A [UserID] becomes an inline user without further members,
// so Knock creates a user for an id that it does not know. Nil data is not
// sent; of several layers of data the outermost counts.
func WithTriggerData(r Recipient, data map[string]any) Recipient {
	if inner, ok := r.(withTriggerData); ok {
		r = inner.Recipient
	}
	return withTriggerData{r, data}
}

type withTriggerData struct {
	Recipient

	data map[string]any
}

func (w withTriggerData) recipient(op, field string) (json.RawMessage, string, error) {
	switch {
	case plain(w.Recipient) == nil:
		return nil, "", &InvalidError{Op: op, Field: field, Reason: "is nil"}
	case op != opTrigger || field != fieldRecipients:
		return nil, "", &InvalidError{Op: op, Field: field, Reason: "has trigger data, which only a workflow trigger's recipients take"}
	}
	r := plain(w.Recipient)
	if id, ok := r.(UserID); ok {
		r = IdentifyUser{ID: string(id)}
	}
	value, ref, err := r.recipient(op, field)
	if err != nil || w.data == nil {
		return value, ref, err
	}
	// What is inline is an object that is not empty: it goes on before its brace.
	o := object{op: op, raw: value[:len(value)-1]}
	o.member("$trigger_data", w.data)
	value, err = o.end()
	return value, ref, err
}

// TenantRef is the tenant that a workflow runs in: a [TenantID], or a
// [SetTenant] that Knock sets first.
type TenantRef interface {
	tenant(op string) (json.RawMessage, error)
	id() string
}

// TenantID names a tenant. Knock creates an empty one for an id it does not
// know.
type TenantID string

func (t TenantID) id() string  { return string(t) }
func (t SetTenant) id() string { return t.ID }

func (t TenantID) tenant(op string) (json.RawMessage, error) {
	return appendString(nil, string(t)), checkID(op, "tenant", string(t))
}

func (t SetTenant) tenant(op string) (json.RawMessage, error) {
	if err := checkID(op, "tenant.id", t.ID); err != nil {
		return nil, err
	}
	o := t.members(op)
	o.text("id", t.ID)
	return o.end()
}

const fieldRecipients = "recipients"

// recipientValues checks recipients and turns them into JSON values and names.
func recipientValues[R Recipient](op string, rs []R) (values []json.RawMessage, refs []string, err error) {
	values, refs = make([]json.RawMessage, len(rs)), make([]string, len(rs))
	for i, r := range rs {
		to := plain(r)
		if to == nil {
			return nil, nil, &InvalidError{Op: op, Field: fieldRecipients, Reason: "holds nil"}
		}
		if values[i], refs[i], err = to.recipient(op, fieldRecipients); err != nil {
			if e, ok := errors.AsType[*InvalidError](err); ok {
				e.Field = strings.Replace(e.Field, fieldRecipients, fieldRecipients+"["+strconv.Itoa(i)+"]", 1)
			}
			return nil, nil, err
		}
	}
	return values, refs, nil
}

// plain returns what a pointer to a Recipient points to: pointers have the
// methods of values. Nil stays nil.
func plain(r Recipient) Recipient {
	switch p := r.(type) {
	case *UserID:
		if p != nil {
			return *p
		}
	case *ObjectRef:
		if p != nil {
			return *p
		}
	case *IdentifyUser:
		if p != nil {
			return *p
		}
	case *SetObject:
		if p != nil {
			return *p
		}
	default:
		return r
	}
	return nil
}

// referenceTo names what r names, or describes: nil unless it is a user or a tenant,
// of which alone a deletion is known.
func referenceTo(r Recipient) Reference {
	switch v := plain(r).(type) {
	case withTriggerData:
		return referenceTo(v.Recipient)
	case UserID:
		return v
	case IdentifyUser:
		return UserID(v.ID)
	case ObjectRef:
		if v.Collection == TenantCollection {
			return v
		}
	case SetObject:
		return referenceTo(ObjectRef{Collection: v.Collection, ID: v.ID})
	}
	return nil
}

// goneOf returns those of refs that have been deleted. Nil ones are passed over.
func (c *Client) goneOf(ctx context.Context, refs ...Reference) (map[Reference]bool, error) {
	var gone map[Reference]bool
	refs = slices.DeleteFunc(refs, func(r Reference) bool { return r == nil })
	if c.gone == nil || len(refs) == 0 {
		return gone, nil
	}
	found, err := c.gone(ctx, refs)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	gone = make(map[Reference]bool, len(found))
	for _, ref := range found {
		gone[ref] = true
	}
	return gone, nil
}

// withoutGone returns rs without what would bring back what has been deleted, and
// says which of rs and others that is. Knock creates the objects that recipients name,
// and the users that they describe: those are named instead, for people should hear of
// what happened.
func (c *Client) withoutGone(
	ctx context.Context, rs []Recipient, others ...Reference,
) (without []Recipient, gone map[Reference]bool, err error) {
	if c.gone == nil {
		return rs, nil, nil
	}
	for _, r := range rs {
		if _, named := plain(r).(UserID); !named {
			others = append(others, referenceTo(r))
		}
	}
	gone, err = c.goneOf(ctx, others...)
	if err != nil || len(gone) == 0 {
		return rs, gone, err
	}
	without = slices.Clone(rs)
	for i, r := range rs {
		ref := referenceTo(r)
		if ref == nil || !gone[ref] {
			continue
		}
		without[i] = ref
		if _, isUser := ref.(UserID); !isUser && !c.mayWrite(ref) {
			without[i] = absent{r}
		}
	}
	return without, gone, nil
}

// absent stands for a recipient that is left out of a call. It counts in the step's
// name, which must be the same on every attempt.
type absent struct{ Recipient }

func (a absent) recipient(op, field string) (json.RawMessage, string, error) {
	_, ref, err := a.Recipient.recipient(op, field)
	return nil, ref, err
}

// present returns the values of recipients that are not left out.
func present(values []json.RawMessage) []json.RawMessage {
	return slices.DeleteFunc(slices.Clone(values), func(v json.RawMessage) bool { return v == nil })
}

// skipGone records a step that would bring back what has been deleted, and does
// nothing else.
func (c *Client) skipGone(ctx context.Context, o operation) error {
	s := &Step{Name: c.name(o.op + ":" + o.target), Kind: o.kind, Skipped: SkippedGone}
	return c.runStep(ctx, s, func(context.Context) error { return nil })
}

// plainTenant is plain for a TenantRef.
func plainTenant(t TenantRef) TenantRef {
	switch p := t.(type) {
	case *TenantID:
		if p != nil {
			return *p
		}
	case *SetTenant:
		if p != nil {
			return *p
		}
	default:
		return t
	}
	return nil
}
