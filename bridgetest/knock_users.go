package bridgetest

import "maps"

// User returns a user as Knock's API shows it: custom properties next to id,
// created_at, updated_at and whatever else was set. A property that was set to
// null is there as nil; one that was never sent is not there.
func (k *Knock) User(id string) (user map[string]any, ok bool) { return k.show(Ref{ID: id}) }

// Users returns the ids of all users in order of creation.
func (k *Knock) Users() (ids []string) {
	k.inspect(func() { ids = k.ids("") })
	return ids
}

func (k *Knock) show(ref Ref) (shown map[string]any, found bool) {
	k.inspect(func() {
		if r := k.recipients[ref]; r != nil {
			shown, found = r.show(), true
		}
	})
	return shown, found
}

// show returns the recipient in the form of its type.
func (r *recipient) show() map[string]any {
	switch r.ref.kind() {
	case "user":
		return r.flat("User")
	case "tenant":
		return r.flat("Tenant")
	default:
		return r.showObject()
	}
}

// flat shows properties at the top level, as users and tenants do.
func (r *recipient) flat(typename string) map[string]any {
	shown := cloneMap(r.properties)
	maps.Copy(shown, map[string]any{
		"__typename": typename,
		"id":         r.ref.ID,
		"created_at": r.createdAt,
		"updated_at": r.updatedAt,
	})
	return shown
}

// showRecipient shows a user or object as part of something else: tenants are
// objects there, and a user who was only ever named is shown as just an id.
func (s *store) showRecipient(ref Ref, at string) map[string]any {
	r := s.recipients[ref]
	if r == nil {
		r = &recipient{ref: ref, updatedAt: at}
	}
	if ref.Collection == "" {
		return r.flat("User")
	}
	return r.showObject()
}

func (k *Knock) listUsers(r *request) (reply, error) { return k.listRecipients(r, "") }

func (k *Knock) listRecipients(r *request, collection string) (reply, error) {
	withPreferences, err := r.query.include()
	if err != nil {
		return reply{}, err
	}
	var entries []entry
	for _, rec := range k.sorted(collection) {
		entries = append(entries, entry{rec.seq, func() map[string]any {
			shown := rec.show()
			if collection == tenantCollection {
				shown = rec.showObject()
			}
			if withPreferences {
				shown["preferences"] = rec.showPreferenceSets()
			}
			return shown
		}})
	}
	return r.query.page(entries)
}

func (k *Knock) getUser(r *request) (reply, error) {
	user, err := k.lookup(Ref{ID: r.params[0]})
	if err != nil {
		return reply{}, err
	}
	return success(user.show())
}

func (k *Knock) identifyUser(r *request) (reply, error) {
	return k.put(r, Ref{ID: r.params[0]})
}

// put merges the body into the recipient, which is created when missing.
func (k *Knock) put(r *request, ref Ref) (reply, error) {
	b := k.batch(r.now)
	if err := b.identify(ref, r.body); err != nil {
		return reply{}, err
	}
	b.commit()
	return success(k.recipients[ref].show())
}

func (k *Knock) deleteUser(r *request) (reply, error) { return k.delete(Ref{ID: r.params[0]}) }

func (k *Knock) delete(ref Ref) (reply, error) {
	_, err := k.lookup(ref)
	k.remove(ref) // also what was subscribed by an id that Knock never identified
	if err != nil && !k.options.DeleteMissing {
		return reply{}, err
	}
	return noContent()
}

// mergeUser moves what the one user has to the other and deletes it. Where both
// have something, the survivor keeps its own.
func (k *Knock) mergeUser(r *request) (reply, error) {
	survivor := Ref{ID: r.params[0]}
	from, isString := r.body["from_user_id"].(string)
	if !isString || from == "" || from == survivor.ID {
		return reply{}, invalid("from_user_id", "must be the id of another user")
	}
	gone := Ref{ID: from}
	if _, err := k.lookup(survivor); err != nil {
		return reply{}, err
	}
	secondary, err := k.lookup(gone)
	if err != nil {
		return reply{}, err
	}
	b := k.batch(r.now)
	merged := b.edit(survivor)
	properties := cloneMap(secondary.properties)
	merge(properties, merged.properties)
	merged.properties = properties
	if merged.createdAt == nil {
		merged.createdAt = secondary.createdAt
	}
	adopt(merged.preferences, secondary.preferences)
	adopt(merged.channelData, secondary.channelData)
	b.commit()

	for _, sub := range k.subscriptions {
		if sub.recipient == gone && k.subscription(sub.object, survivor) == nil {
			sub.recipient = survivor
		}
	}
	for _, sc := range k.schedules {
		if sc.recipient == gone {
			sc.recipient = survivor
		}
	}
	for _, a := range k.audiences {
		for _, m := range a.members {
			if m.user == gone.ID && a.member(survivor.ID, m.tenant) == nil {
				m.user = survivor.ID
			}
		}
	}
	k.remove(gone)
	return success(k.recipients[survivor].show())
}

func adopt(into, from map[string]map[string]any) {
	for id, set := range from {
		if into[id] == nil {
			into[id] = cloneMap(set)
		}
	}
}

func (k *Knock) listUserSubscriptions(r *request) (reply, error) {
	ref := Ref{ID: r.params[0]}
	if _, err := k.lookup(ref); err != nil {
		return reply{}, err
	}
	objects, filtered, err := r.query.references("objects")
	if err != nil {
		return reply{}, err
	}
	return k.pageSubscriptions(r, func(sub *subscription) bool {
		return sub.recipient == ref && (!filtered || contains(objects, sub.object))
	})
}
