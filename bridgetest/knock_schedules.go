package bridgetest

import (
	"maps"
	"slices"
)

// schedule is a stored schedule. The members that an update may set are kept as
// they are shown.
type schedule struct {
	seq       uint64
	id        string
	workflow  string
	recipient Ref
	actor     Ref
	members   map[string]any
	times     [2]string // inserted and updated
}

// Schedules returns all schedules as Knock's API shows them, oldest first.
func (k *Knock) Schedules() (schedules []map[string]any) {
	k.inspect(func() {
		for _, sc := range k.schedules {
			schedules = append(schedules, k.showSchedule(sc))
		}
	})
	return schedules
}

func (k *Knock) showSchedule(sc *schedule) map[string]any {
	shown := map[string]any{
		"__typename":         "Schedule",
		"id":                 sc.id,
		"workflow":           sc.workflow,
		"recipient":          k.showRecipient(sc.recipient, sc.times[0]),
		"actor":              nil,
		"tenant":             nil,
		"data":               nil,
		"repeats":            []any{},
		"last_occurrence_at": nil,
		"next_occurrence_at": clone(sc.members["scheduled_at"]),
		"inserted_at":        sc.times[0],
		"updated_at":         sc.times[1],
	}
	for _, name := range []string{"tenant", "data", "repeats"} {
		if value, given := sc.members[name]; given {
			shown[name] = clone(value)
		}
	}
	if sc.actor != (Ref{}) {
		shown["actor"] = k.showRecipient(sc.actor, sc.times[0])
	}
	return shown
}

// scheduleMembers reads the members that creating and updating share.
func (k *Knock) scheduleMembers(b *batch, body map[string]any) (members map[string]any, actor Ref, err error) {
	members = make(map[string]any)
	if actor, err = k.actor(b, body["actor"]); err != nil {
		return nil, Ref{}, err
	}
	if _, given := body["tenant"]; given {
		if members["tenant"], err = b.tenant(body["tenant"]); err != nil {
			return nil, Ref{}, err
		}
	}
	if _, given := body["data"]; given {
		data, err := optionalMap(body, "data")
		if err != nil {
			return nil, Ref{}, err
		}
		members["data"] = jsonMap(data)
	}
	for _, name := range []string{"scheduled_at", "ending_at"} {
		if _, given := body[name]; given {
			if members[name], err = optionalTime(body, name); err != nil {
				return nil, Ref{}, err
			}
		}
	}
	if value := body["repeats"]; value != nil {
		if members["repeats"], err = repeats(value); err != nil {
			return nil, Ref{}, err
		}
	}
	return members, actor, nil
}

// repeats reads the rules of a schedule and fills in what is shown of them.
func repeats(value any) ([]any, error) {
	items, isList := value.([]any)
	if !isList {
		return nil, invalid("repeats", "must be an array")
	}
	rules := make([]any, len(items))
	for i, item := range items {
		sent, isMap := item.(map[string]any)
		if !isMap {
			return nil, invalid("repeats", "must hold rules")
		}
		switch sent["frequency"] {
		case "hourly", "daily", "weekly", "monthly":
		default:
			return nil, invalid("repeats.frequency", "must be hourly, daily, weekly or monthly")
		}
		rule := map[string]any{
			"__typename": "ScheduleRepeat", "interval": 1,
			"day_of_month": nil, "days": nil, "hours": nil, "minutes": nil,
		}
		maps.Copy(rule, cloneMap(sent))
		rules[i] = rule
	}
	return rules, nil
}

func (k *Knock) newSchedule(workflow string, recipient, actor Ref, members map[string]any, now string) *schedule {
	return &schedule{
		seq: k.next(), id: k.uuid(), workflow: workflow, recipient: recipient, actor: actor,
		members: members, times: [2]string{now, now},
	}
}

func (k *Knock) createSchedules(r *request) (reply, error) {
	workflow, isString := r.body["workflow"].(string)
	if !isString || workflow == "" {
		return reply{}, invalid("workflow", "must be a workflow key")
	}
	if err := k.workflow(workflow); err != nil {
		return reply{}, err
	}
	items, err := list(r.body, "recipients", maxSubscribers)
	if err != nil {
		return reply{}, err
	}
	b := k.batch(r.now)
	var recipients []Ref
	for _, item := range items {
		ref, err := b.recipient("recipients", item)
		if err != nil {
			return reply{}, err
		}
		recipients = append(recipients, ref)
	}
	members, actor, err := k.scheduleMembers(b, r.body)
	if err != nil {
		return reply{}, err
	}
	b.commit()
	shown := make([]any, len(recipients))
	for i, recipient := range recipients {
		sc := k.newSchedule(workflow, recipient, actor, cloneMap(members), b.now)
		k.schedules = append(k.schedules, sc)
		shown[i] = k.showSchedule(sc)
	}
	return success(shown)
}

// updateSchedules gives all the schedules the same values, or changes none.
func (k *Knock) updateSchedules(r *request) (reply, error) {
	ids, err := idList(r.body, "schedule_ids", maxSubscribers)
	if err != nil {
		return reply{}, err
	}
	var found []*schedule
	for _, id := range ids {
		i := slices.IndexFunc(k.schedules, func(sc *schedule) bool { return sc.id == id })
		if i < 0 {
			return reply{}, missing("schedule")
		}
		found = append(found, k.schedules[i])
	}
	b := k.batch(r.now)
	members, actor, err := k.scheduleMembers(b, r.body)
	if err != nil {
		return reply{}, err
	}
	b.commit()
	shown := make([]any, len(found))
	for i, sc := range found {
		maps.Copy(sc.members, cloneMap(members))
		if _, given := r.body["actor"]; given {
			sc.actor = actor
		}
		sc.times[1] = b.now
		shown[i] = k.showSchedule(sc)
	}
	return success(shown)
}

// deleteSchedules answers with the schedules it removed.
func (k *Knock) deleteSchedules(r *request) (reply, error) {
	ids, err := idList(r.body, "schedule_ids", maxSubscribers)
	if err != nil {
		return reply{}, err
	}
	removed := []any{}
	k.schedules = slices.DeleteFunc(k.schedules, func(sc *schedule) bool {
		if !slices.Contains(ids, sc.id) {
			return false
		}
		removed = append(removed, k.showSchedule(sc))
		return true
	})
	return success(removed)
}

func (k *Knock) listSchedules(r *request) (reply, error) {
	workflow := r.query.scalars["workflow"]
	if workflow == "" {
		return reply{}, invalid("workflow", "is required")
	}
	recipients, byRecipient, err := r.query.references("recipients")
	if err != nil {
		return reply{}, err
	}
	tenant, byTenant := r.query.scalars["tenant"]
	var entries []entry
	for _, sc := range k.schedules {
		if sc.workflow != workflow ||
			byRecipient && !contains(recipients, sc.recipient) ||
			byTenant && sc.members["tenant"] != tenant {
			continue
		}
		entries = append(entries, entry{sc.seq, func() map[string]any { return k.showSchedule(sc) }})
	}
	return r.query.page(entries)
}
