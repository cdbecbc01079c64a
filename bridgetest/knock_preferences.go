package bridgetest

import (
	"encoding/hex"
	"strings"
)

// defaultSet is the id of the preference set that belongs to no tenant.
const defaultSet = "default"

const (
	strategyMerge   = "merge"
	strategyReplace = "replace"
)

// preferenceMembers are the members of a preference set.
var preferenceMembers = [...]string{"categories", "channel_types", "channels", "commercial_subscribed", "workflows"}

// Preferences returns a preference set of a user, object or tenant. The id of a
// set is "default" or a tenant's id.
func (k *Knock) Preferences(owner Ref, setID string) (set map[string]any, ok bool) {
	k.inspect(func() {
		if r := k.recipients[owner]; r != nil && r.preferences[setID] != nil {
			set, ok = showPreferences(setID, r.preferences[setID]), true
		}
	})
	return set, ok
}

// ChannelData returns what a user, object or tenant has stored for a channel.
func (k *Knock) ChannelData(owner Ref, channelID string) (data map[string]any, ok bool) {
	k.inspect(func() {
		if r := k.recipients[owner]; r != nil && r.channelData[channelID] != nil {
			data, ok = cloneMap(r.channelData[channelID]), true
		}
	})
	return data, ok
}

// showPreferences shows a set with every member; what was not set is null.
func showPreferences(id string, set map[string]any) map[string]any {
	shown := map[string]any{"id": id}
	for _, name := range preferenceMembers {
		shown[name] = clone(set[name])
	}
	return shown
}

func (r *recipient) showPreferenceSets() map[string]any {
	shown := make(map[string]any, len(r.preferences))
	for id, set := range r.preferences {
		shown[id] = showPreferences(id, set)
	}
	return shown
}

// updatePreferences returns the set after an update; strategy counts when the
// update does not name its own.
func updatePreferences(have, update map[string]any, strategy string) (map[string]any, error) {
	if named, given := update["__persistence_strategy__"]; given {
		if named != strategyMerge && named != strategyReplace {
			return nil, invalid("__persistence_strategy__", "must be merge or replace")
		}
		strategy, _ = named.(string)
	}
	set := make(map[string]any)
	if strategy == strategyMerge {
		set = cloneMap(have)
	}
	for _, name := range preferenceMembers {
		value, given := update[name]
		if !given {
			continue
		}
		_, isMap := value.(map[string]any)
		_, isBool := value.(bool)
		if !isMap && value != nil && (!isBool || name != "commercial_subscribed") {
			return nil, invalid(name, "must be an object or null")
		}
		mergeMember(set, name, value)
	}
	return set, nil
}

// setInlinePreferences merges the sets that an identify call brings, by id.
func (r *recipient) setInlinePreferences(value any) error {
	if value == nil {
		return nil
	}
	sets, isMap := value.(map[string]any)
	if !isMap {
		return invalid("preferences", "must be an object of preference sets, or null")
	}
	for id, value := range sets {
		update, isMap := value.(map[string]any)
		if !isMap {
			return invalid("preferences", "must be an object of preference sets, or null")
		}
		set, err := updatePreferences(r.preferences[id], update, strategyMerge)
		if err != nil {
			return err
		}
		r.preferences[id] = set
	}
	return nil
}

func (k *Knock) setPreferences(r *request) (reply, error) {
	owner, rest := r.owner()
	id := rest[0]
	if err := checkRef(owner); err != nil {
		return reply{}, err
	}
	b := k.batch(r.now)
	rec := b.edit(owner)
	set, err := updatePreferences(rec.preferences[id], r.body, strategyReplace)
	if err != nil {
		return reply{}, err
	}
	rec.preferences[id] = set
	b.commit()
	return success(showPreferences(id, set))
}

// getPreferences answers with an empty set when there is none. With a tenant in
// the query, the tenant's defaults stand behind the user's own settings.
func (k *Knock) getPreferences(r *request) (reply, error) {
	owner, rest := r.owner()
	rec, err := k.lookup(owner)
	if err != nil {
		return reply{}, err
	}
	set := make(map[string]any)
	if id := r.query.scalars["tenant"]; id != "" && owner.Collection == "" {
		if tenant := k.recipients[Ref{tenantCollection, id}]; tenant != nil {
			settings, _ := tenant.properties["settings"].(map[string]any)
			defaults, _ := settings["preference_set"].(map[string]any)
			set = cloneMap(defaults)
		}
	}
	merge(set, rec.preferences[rest[0]])
	return success(showPreferences(rest[0], set))
}

func (k *Knock) unsetPreferences(r *request) (reply, error) {
	owner, rest := r.owner()
	if _, err := k.lookup(owner); err != nil {
		if k.options.DeleteMissing {
			return noContent()
		}
		return reply{}, err
	}
	b := k.batch(r.now)
	delete(b.edit(owner).preferences, rest[0])
	b.commit()
	return noContent()
}

// setInlineChannelData takes channel data as an identify call brings it: by
// channel, without the "data" around it.
func (r *recipient) setInlineChannelData(value any) error {
	if value == nil {
		return nil
	}
	channels, isMap := value.(map[string]any)
	if !isMap {
		return invalid("channel_data", "must be an object of channels, or null")
	}
	for id, value := range channels {
		data, isMap := value.(map[string]any)
		if !isMap || !isUUID(id) {
			return invalid("channel_data", "must be an object of channels by their id")
		}
		r.channelData[id] = cloneMap(data)
	}
	return nil
}

func isUUID(s string) bool {
	digits := strings.ReplaceAll(s, "-", "")
	_, err := hex.DecodeString(digits)
	return len(s) == 36 && len(digits) == 32 && err == nil &&
		s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
}

func showChannelData(channel string, data map[string]any) map[string]any {
	shown := cloneMap(data)
	// Push tokens are answered both ways, whichever way they were sent.
	for _, form := range [...][2]string{{"tokens", "token"}, {"target_arns", "target_arn"}} {
		all, one := form[0], form[1]
		if tokens, isList := shown[all].([]any); isList && shown["devices"] == nil {
			devices := make([]any, len(tokens))
			for i, token := range tokens {
				devices[i] = map[string]any{one: token, "locale": nil, "timezone": nil}
			}
			shown["devices"] = devices
		}
		if devices, isList := shown["devices"].([]any); isList && shown[all] == nil {
			var tokens []any
			for _, device := range devices {
				if d, isMap := device.(map[string]any); isMap && d[one] != nil {
					tokens = append(tokens, d[one])
				}
			}
			if tokens != nil {
				shown[all] = tokens
			}
		}
	}
	return map[string]any{"__typename": "ChannelData", "channel_id": channel, "data": shown}
}

func (k *Knock) setChannelData(r *request) (reply, error) {
	owner, rest := r.owner()
	channel := rest[0]
	if err := checkRef(owner); err != nil {
		return reply{}, err
	}
	if !isUUID(channel) {
		return reply{}, invalid("channel_id", "must be a UUID")
	}
	data, isMap := r.body["data"].(map[string]any)
	if !isMap {
		return reply{}, invalid("data", "must be an object")
	}
	b := k.batch(r.now)
	b.edit(owner).channelData[channel] = cloneMap(data)
	b.commit()
	return success(showChannelData(channel, data))
}

func (k *Knock) getChannelData(r *request) (reply, error) {
	owner, rest := r.owner()
	rec, err := k.lookup(owner)
	if err != nil {
		return reply{}, err
	}
	data := rec.channelData[rest[0]]
	if data == nil {
		return reply{}, missing("channel data")
	}
	return success(showChannelData(rest[0], data))
}

func (k *Knock) unsetChannelData(r *request) (reply, error) {
	owner, rest := r.owner()
	rec, err := k.lookup(owner)
	if err == nil && rec.channelData[rest[0]] == nil {
		err = missing("channel data")
	}
	if err != nil {
		if k.options.DeleteMissing {
			return noContent()
		}
		return reply{}, err
	}
	b := k.batch(r.now)
	delete(b.edit(owner).channelData, rest[0])
	b.commit()
	return noContent()
}
