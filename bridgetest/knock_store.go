package bridgetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits that Knock documents.
const (
	maxBulkRows         = 1000
	maxIDLength         = 256
	maxPropertiesBytes  = 256 << 10 // of one recipient
	maxSubscribers      = 100       // recipients of a subscribe or schedule call
	maxTriggerRecipient = 1000
	maxMembers          = 1000 // of one audience call
)

// tenantCollection is where Knock keeps tenants among its objects.
const tenantCollection = "$tenants"

// Ref names a user, an object or a tenant of the fake.
type Ref struct {
	// Collection is empty for a user and "$tenants" for a tenant.
	Collection string

	// ID is the id within the collection.
	ID string
}

func (r Ref) kind() string {
	switch r.Collection {
	case "":
		return "user"
	case tenantCollection:
		return "tenant"
	default:
		return "object"
	}
}

// recipient is a user, object or tenant. Stored recipients are not changed: an
// update stores another one in their place.
type recipient struct {
	ref         Ref
	seq         uint64 // order of creation, and the cursor of lists
	properties  map[string]any
	createdAt   any // a date-time string or nil
	updatedAt   string
	preferences map[string]map[string]any
	channelData map[string]map[string]any
}

// store is the memory of the fake. Lists are kept in order of creation.
type store struct {
	seq           uint64
	recipients    map[Ref]*recipient
	subscriptions []*subscription
	audiences     map[string]*audience
	schedules     []*schedule
	runs          []*workflowRun
	replays       map[string]replay
	operations    []*bulkOperation
	bulkUpdates   map[Ref]time.Time
}

func newStore() *store {
	return &store{
		recipients:  make(map[Ref]*recipient),
		audiences:   make(map[string]*audience),
		replays:     make(map[string]replay),
		bulkUpdates: make(map[Ref]time.Time),
	}
}

func (s *store) next() uint64 {
	s.seq++
	return s.seq
}

// uuid returns the next id in the form of a version 4 UUID.
func (s *store) uuid() string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", s.next()) }

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// sorted returns the recipients of a collection in order of creation.
func (s *store) sorted(collection string) []*recipient {
	var list []*recipient
	for ref, r := range s.recipients {
		if ref.Collection == collection {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *recipient) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

func (s *store) ids(collection string) []string {
	list := s.sorted(collection)
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.ref.ID
	}
	return ids
}

// lookup returns a recipient, or a 404.
func (s *store) lookup(ref Ref) (*recipient, error) {
	if r := s.recipients[ref]; r != nil {
		return r, nil
	}
	return nil, missing(ref.kind())
}

// remove deletes a recipient and everything that hangs on it.
func (s *store) remove(ref Ref) {
	delete(s.recipients, ref)
	s.subscriptions = slices.DeleteFunc(s.subscriptions, func(sub *subscription) bool {
		return sub.object == ref || sub.recipient == ref
	})
	s.schedules = slices.DeleteFunc(s.schedules, func(sc *schedule) bool { return sc.recipient == ref })
	if ref.Collection == "" {
		for _, a := range s.audiences {
			a.members = slices.DeleteFunc(a.members, func(m *member) bool { return m.user == ref.ID })
		}
	}
}

// batch gathers the changes of one request to recipients, so that a request
// which is refused halfway changes nothing.
type batch struct {
	store  *store
	now    string
	staged map[Ref]*recipient
}

func (s *store) batch(now time.Time) *batch {
	return &batch{store: s, now: timestamp(now), staged: make(map[Ref]*recipient)}
}

// edit returns a copy of the recipient, new or stored, to be changed in place.
func (b *batch) edit(ref Ref) *recipient {
	if r := b.staged[ref]; r != nil {
		return r
	}
	r := &recipient{ref: ref}
	if stored := b.store.recipients[ref]; stored != nil {
		*r = *stored
	} else {
		r.seq = b.store.next()
	}
	r.properties = cloneMap(r.properties)
	r.preferences = cloneSets(r.preferences)
	r.channelData = cloneSets(r.channelData)
	r.updatedAt = b.now
	b.staged[ref] = r
	return r
}

// ensure creates the recipient, empty, unless it exists.
func (b *batch) ensure(ref Ref) {
	if b.store.recipients[ref] == nil {
		b.edit(ref)
	}
}

func (b *batch) commit() { maps.Copy(b.store.recipients, b.staged) }

// identify merges the members of a body, or of an inline recipient, into the
// recipient: members are kept unless sent, null stays null, maps merge, arrays
// are replaced.
func (b *batch) identify(ref Ref, members map[string]any) error {
	if err := checkRef(ref); err != nil {
		return err
	}
	r := b.edit(ref)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err := r.set(name, members[name]); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(r.properties)
	if err != nil {
		return err
	}
	if len(raw) > maxPropertiesBytes {
		return invalid("properties", "must not be larger than 256 kB")
	}
	return nil
}

func (r *recipient) set(name string, value any) error {
	switch name {
	case "id", "collection", "$trigger_data":
		return nil
	case "created_at":
		if value != nil {
			text, isString := value.(string)
			if _, err := time.Parse(time.RFC3339, text); !isString || err != nil {
				return invalid(name, "must be a date-time string or null")
			}
		}
		r.createdAt = value
		return nil
	case "preferences":
		return r.setInlinePreferences(value)
	case "channel_data":
		return r.setInlineChannelData(value)
	case "settings":
		if r.ref.Collection == tenantCollection {
			return r.setTenantSettings(value)
		}
	case "name", "locale", "timezone":
		if !stringOrNull(value) {
			return invalid(name, "must be a string or null")
		}
	case "email", "phone_number", "avatar":
		if r.ref.Collection == "" && !stringOrNull(value) {
			return invalid(name, "must be a string or null")
		}
	}
	mergeMember(r.properties, name, value)
	return nil
}

// checkRef checks the ids of a recipient that is about to be stored.
func checkRef(ref Ref) error {
	if ref.Collection != "" {
		if err := checkID("collection", ref.Collection); err != nil {
			return err
		}
	}
	return checkID("id", ref.ID)
}

func checkID(field, id string) error {
	switch {
	case id == "":
		return invalid(field, "can't be blank")
	case !utf8.ValidString(id):
		return invalid(field, "must be UTF-8")
	case utf8.RuneCountInString(id) > maxIDLength:
		return invalid(field, "must not be longer than 256 characters")
	case strings.ContainsAny(id, "/#"):
		return invalid(field, "must not contain / or #")
	}
	return nil
}

// reference reads a user id, or an object with collection and id. Other
// members of the object are not looked at.
func reference(field string, v any) (Ref, error) {
	switch v := v.(type) {
	case string:
		ref := Ref{ID: v}
		return ref, checkRef(ref)
	case map[string]any:
		id, isString := v["id"].(string)
		if !isString {
			return Ref{}, invalid(field, "must have an id that is a string")
		}
		ref := Ref{ID: id}
		if collection, given := v["collection"]; given {
			if ref.Collection, isString = collection.(string); !isString || ref.Collection == "" {
				return Ref{}, invalid(field, "must have a collection that is a string")
			}
		}
		return ref, checkRef(ref)
	default:
		return Ref{}, invalid(field, "must be a user id or an object")
	}
}

// strictReference is a reference where inline recipients are not allowed.
func strictReference(field string, v any) (Ref, error) {
	ref, err := reference(field, v)
	if _, isMap := v.(map[string]any); isMap && err == nil && ref.Collection == "" {
		return Ref{}, invalid(field, "must be a user id, or an object with collection and id")
	}
	return ref, err
}

// recipient reads a recipient and identifies it when it is sent inline. A bare
// user id creates nothing.
func (b *batch) recipient(field string, v any) (Ref, error) {
	ref, err := reference(field, v)
	if err != nil {
		return Ref{}, err
	}
	if members, inline := v.(map[string]any); inline {
		err = b.identify(ref, members)
	}
	return ref, err
}

// tenant reads a tenant: an id, an inline tenant, or null. One that does not
// exist is created.
func (b *batch) tenant(v any) (id any, err error) {
	switch v := v.(type) {
	case nil:
		return v, nil
	case string:
		ref := Ref{tenantCollection, v}
		if err := checkID("tenant", v); err != nil {
			return nil, err
		}
		b.ensure(ref)
		return v, nil
	case map[string]any:
		id, isString := v["id"].(string)
		if !isString {
			return nil, invalid("tenant", "must have an id that is a string")
		}
		return id, b.identify(Ref{tenantCollection, id}, v)
	default:
		return nil, invalid("tenant", "must be a tenant id, an object or null")
	}
}

// list returns the array in a body, which is required.
func list(body map[string]any, name string, limit int) ([]any, error) {
	value, given := body[name]
	if !given {
		return nil, invalid(name, "is required")
	}
	items, isList := value.([]any)
	switch {
	case !isList:
		return nil, invalid(name, "must be an array")
	case len(items) > limit:
		return nil, invalid(name, fmt.Sprintf("must not have more than %d items", limit))
	}
	return items, nil
}

// ids returns the array of ids in a body, which is required.
func idList(body map[string]any, name string, limit int) ([]string, error) {
	items, err := list(body, name, limit)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(items))
	for i, item := range items {
		id, isString := item.(string)
		if !isString || id == "" {
			return nil, invalid(name, "must hold ids")
		}
		ids[i] = id
	}
	return ids, nil
}

// references returns the array of references in a body, which is required
// unless it may be null.
func references(body map[string]any, name string, limit int) ([]Ref, error) {
	items, err := list(body, name, limit)
	if err != nil {
		return nil, err
	}
	refs := make([]Ref, len(items))
	for i, item := range items {
		if refs[i], err = strictReference(name, item); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// optionalMap returns a member that is an object, null or absent.
func optionalMap(body map[string]any, name string) (map[string]any, error) {
	value, isMap := body[name].(map[string]any)
	if !isMap && body[name] != nil {
		return nil, invalid(name, "must be an object or null")
	}
	return value, nil
}

// optionalString returns a member that is a string, null or absent.
func optionalString(body map[string]any, name string) (string, error) {
	value, isString := body[name].(string)
	if !isString && body[name] != nil {
		return "", invalid(name, "must be a string or null")
	}
	return value, nil
}

// optionalTime returns a member that is a date-time string, null or absent.
func optionalTime(body map[string]any, name string) (any, error) {
	text, err := optionalString(body, name)
	if err != nil || body[name] == nil {
		return nil, err
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return nil, invalid(name, "must be a date-time string or null")
	}
	return text, nil
}

func stringOrNull(v any) bool {
	_, isString := v.(string)
	return isString || v == nil
}

// merge merges from into the map deeply: maps merge, anything else replaces.
func merge(into, from map[string]any) {
	for name, value := range from {
		mergeMember(into, name, value)
	}
}

func mergeMember(into map[string]any, name string, value any) {
	from, isMap := value.(map[string]any)
	have, wasMap := into[name].(map[string]any)
	if isMap && wasMap {
		merge(have, from)
		return
	}
	into[name] = clone(value)
}

// clone copies a decoded JSON value.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return cloneMap(v)
	case []any:
		c := make([]any, len(v))
		for i, item := range v {
			c[i] = clone(item)
		}
		return c
	default:
		return v
	}
}

// cloneMap copies a decoded JSON object; nil gives an empty one.
func cloneMap(m map[string]any) map[string]any {
	c := make(map[string]any, len(m))
	for name, value := range m {
		c[name] = clone(value)
	}
	return c
}

func cloneSets(sets map[string]map[string]any) map[string]map[string]any {
	c := make(map[string]map[string]any, len(sets))
	for id, set := range sets {
		c[id] = cloneMap(set)
	}
	return c
}

// inspect locks the fake, finishes the bulk operations under way, and runs
// read.
func (k *Knock) inspect(read func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settle(k.now())
	read()
}
