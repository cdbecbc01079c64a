package bridgetest

// Object returns an object as Knock's API shows it: name and custom properties
// are inside "properties". Tenants are the objects of collection "$tenants".
func (k *Knock) Object(collection, id string) (object map[string]any, ok bool) {
	k.inspect(func() {
		if r := k.recipients[Ref{collection, id}]; r != nil && collection != "" {
			object, ok = r.showObject(), true
		}
	})
	return object, ok
}

// Objects returns the ids of all objects of a collection in order of creation.
func (k *Knock) Objects(collection string) (ids []string) {
	if collection == "" {
		return nil
	}
	k.inspect(func() { ids = k.ids(collection) })
	return ids
}

// Tenant returns a tenant as Knock's API shows it: name, settings and custom
// properties next to id, created_at and updated_at.
func (k *Knock) Tenant(id string) (tenant map[string]any, ok bool) {
	return k.show(Ref{tenantCollection, id})
}

// Tenants returns the ids of all tenants in order of creation.
func (k *Knock) Tenants() []string { return k.Objects(tenantCollection) }

func (r *recipient) showObject() map[string]any {
	return map[string]any{
		"__typename": "Object",
		"id":         r.ref.ID,
		"collection": r.ref.Collection,
		"created_at": r.createdAt,
		"updated_at": r.updatedAt,
		"properties": cloneMap(r.properties),
	}
}

func (k *Knock) listObjects(r *request) (reply, error) { return k.listRecipients(r, r.params[0]) }

func (k *Knock) getObject(r *request) (reply, error) {
	object, err := k.lookup(Ref{r.params[0], r.params[1]})
	if err != nil {
		return reply{}, err
	}
	return success(object.showObject())
}

func (k *Knock) setObject(r *request) (reply, error) {
	ref := Ref{r.params[0], r.params[1]}
	if answer, err := k.put(r, ref); err != nil {
		return answer, err
	}
	return success(k.recipients[ref].showObject())
}

func (k *Knock) deleteObject(r *request) (reply, error) {
	return k.delete(Ref{r.params[0], r.params[1]})
}

func (k *Knock) listTenants(r *request) (reply, error) {
	wantID, byID := r.query.scalars["tenant_id"]
	wantName, byName := r.query.scalars["name"]
	var entries []entry
	for _, t := range k.sorted(tenantCollection) {
		if byID && t.ref.ID != wantID || byName && t.properties["name"] != wantName {
			continue
		}
		entries = append(entries, entry{t.seq, t.show})
	}
	return r.query.page(entries)
}

// resolve reads a query parameter that has no effect here: it adds the
// defaults of the environment, and the fake has none.
func resolve(r *request) error {
	_, err := r.query.bool("resolve_full_preference_settings")
	return err
}

func (k *Knock) getTenant(r *request) (reply, error) {
	if err := resolve(r); err != nil {
		return reply{}, err
	}
	tenant, err := k.lookup(Ref{tenantCollection, r.params[0]})
	if err != nil {
		return reply{}, err
	}
	return success(tenant.show())
}

func (k *Knock) setTenant(r *request) (reply, error) {
	if err := resolve(r); err != nil {
		return reply{}, err
	}
	return k.put(r, Ref{tenantCollection, r.params[0]})
}

func (k *Knock) deleteTenant(r *request) (reply, error) {
	return k.delete(Ref{tenantCollection, r.params[0]})
}

// setTenantSettings merges settings. A preference set merges unless it says
// otherwise, and null clears it.
func (r *recipient) setTenantSettings(value any) error {
	if value == nil {
		r.properties["settings"] = nil
		return nil
	}
	sent, isMap := value.(map[string]any)
	if !isMap {
		return invalid("settings", "must be an object or null")
	}
	settings, _ := r.properties["settings"].(map[string]any)
	settings = cloneMap(settings)
	for name, value := range sent {
		if name != "preference_set" || value == nil {
			mergeMember(settings, name, value)
			continue
		}
		set, isMap := value.(map[string]any)
		if !isMap {
			return invalid("settings.preference_set", "must be an object or null")
		}
		have, _ := settings["preference_set"].(map[string]any)
		updated, err := updatePreferences(have, set, strategyMerge)
		if err != nil {
			return err
		}
		updated["id"] = defaultSet
		settings["preference_set"] = updated
	}
	r.properties["settings"] = settings
	return nil
}
