package bridgetest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// bulkOperation is work that Knock accepts now and does later. The first poll
// finds it processing, the second completed.
type bulkOperation struct {
	id          string
	name        string
	status      string
	rows        []bulkRow
	errorItems  []any
	insertedAt  string
	updatedAt   string
	startedAt   any
	completedAt any
}

// bulkRow is the work on one entity.
type bulkRow struct {
	ref Ref
	run func(now time.Time) error
}

const (
	bulkQueued     = "queued"
	bulkProcessing = "processing"
	bulkCompleted  = "completed"
)

// submit queues the rows. With rate limits on, an entity that was updated less
// than a second ago is left out and named in a header; member is what the
// request calls its rows.
func (k *Knock) submit(r *request, name, member string, rows []bulkRow) (reply, error) {
	header := make(http.Header)
	if k.options.RateLimits {
		var skipped []string
		kept := rows[:0]
		for _, row := range rows {
			last, updated := k.bulkUpdates[row.ref]
			if updated && r.now.Before(last.Add(time.Second)) {
				skipped = append(skipped, row.ref.ID)
				continue
			}
			k.bulkUpdates[row.ref] = r.now
			kept = append(kept, row)
		}
		rows = kept
		if skipped != nil {
			header.Set("X-Ratelimited-"+member, strings.Join(skipped, ","))
		}
	}
	op := &bulkOperation{
		id:         k.uuid(),
		name:       name,
		status:     bulkQueued,
		rows:       rows,
		errorItems: []any{},
		insertedAt: timestamp(r.now),
		updatedAt:  timestamp(r.now),
	}
	k.operations = append(k.operations, op)
	answer, err := success(k.showBulkOperation(op))
	answer.header = header
	return answer, err
}

func (k *Knock) showBulkOperation(op *bulkOperation) map[string]any {
	processed := 0
	if op.status == bulkCompleted {
		processed = len(op.rows)
	}
	return map[string]any{
		"__typename":           "BulkOperation",
		"id":                   op.id,
		"name":                 op.name,
		"status":               op.status,
		"estimated_total_rows": len(op.rows),
		"processed_rows":       processed,
		"success_count":        processed - len(op.errorItems),
		"error_count":          len(op.errorItems),
		"error_items":          op.errorItems,
		"progress_path":        k.URL + "/v1/bulk_operations/" + op.id,
		"started_at":           op.startedAt,
		"completed_at":         op.completedAt,
		"failed_at":            nil,
		"inserted_at":          op.insertedAt,
		"updated_at":           op.updatedAt,
	}
}

func (k *Knock) getBulkOperation(r *request) (reply, error) {
	for _, op := range k.operations {
		if op.id == r.params[0] {
			k.advance(op, r.now)
			return success(k.showBulkOperation(op))
		}
	}
	return reply{}, missing("bulk operation")
}

// advance takes an operation one step further. Its rows take effect together,
// when it completes.
func (k *Knock) advance(op *bulkOperation, now time.Time) {
	switch op.status {
	case bulkQueued:
		op.status = bulkProcessing
		op.startedAt = timestamp(now)
	case bulkProcessing:
		op.status = bulkCompleted
		op.completedAt = timestamp(now)
		for _, row := range op.rows {
			if err := row.run(now); err != nil {
				op.fail(row.ref, err)
			}
		}
	default:
		return
	}
	op.updatedAt = timestamp(now)
}

// fail names the row in the error items. An error that is no refusal is a bug.
func (op *bulkOperation) fail(ref Ref, err error) {
	if _, refused := errors.AsType[*apiError](err); !refused {
		panic(err)
	}
	item := map[string]any{"id": ref.ID, "collection": nil}
	if ref.Collection != "" {
		item["collection"] = ref.Collection
	}
	op.errorItems = append(op.errorItems, item)
}

// settle completes every operation, in the order in which they were queued.
func (k *Knock) settle(now time.Time) {
	for _, op := range k.operations {
		for op.status != bulkCompleted {
			k.advance(op, now)
		}
	}
}

// bulkIdentify reads a list of inline recipients without their collection, and
// identifies each.
func (k *Knock) bulkIdentify(r *request, name, member, collection string) (reply, error) {
	items, err := list(r.body, member, maxBulkRows)
	if err != nil {
		return reply{}, err
	}
	rows := make([]bulkRow, len(items))
	for i, item := range items {
		members, isMap := item.(map[string]any)
		if id, isString := item.(string); isString && collection == tenantCollection {
			members, isMap = map[string]any{"id": id}, true
		}
		id, isString := members["id"].(string)
		if !isMap || !isString {
			return reply{}, invalid(fmt.Sprintf("%s.%d", member, i), "must be an object with an id")
		}
		ref := Ref{collection, id}
		rows[i] = bulkRow{ref, func(now time.Time) error {
			b := k.batch(now)
			if err := b.identify(ref, members); err != nil {
				return err
			}
			b.commit()
			return nil
		}}
	}
	return k.submit(r, name, member, rows)
}

// bulkDelete deletes recipients by id.
func (k *Knock) bulkDelete(r *request, name, member, collection string, ids []string) (reply, error) {
	rows := make([]bulkRow, len(ids))
	for i, id := range ids {
		ref := Ref{collection, id}
		rows[i] = bulkRow{ref, func(time.Time) error {
			_, err := k.delete(ref)
			return err
		}}
	}
	return k.submit(r, name, member, rows)
}

func (k *Knock) bulkIdentifyUsers(r *request) (reply, error) {
	return k.bulkIdentify(r, "users.identify", "users", "")
}

func (k *Knock) bulkDeleteUsers(r *request) (reply, error) {
	ids, err := idList(r.body, "user_ids", maxBulkRows)
	if err != nil {
		return reply{}, err
	}
	return k.bulkDelete(r, "users.delete", "user_ids", "", ids)
}

// bulkSetPreferences replaces one preference set of many users.
func (k *Knock) bulkSetPreferences(r *request) (reply, error) {
	ids, err := idList(r.body, "user_ids", maxBulkRows)
	if err != nil {
		return reply{}, err
	}
	sent, isMap := r.body["preferences"].(map[string]any)
	if !isMap {
		return reply{}, invalid("preferences", "must be a preference set")
	}
	setID, err := optionalString(sent, "id")
	if err != nil {
		return reply{}, err
	}
	if setID == "" {
		setID = defaultSet
	}
	set, err := updatePreferences(nil, sent, strategyReplace)
	if err != nil {
		return reply{}, err
	}
	rows := make([]bulkRow, len(ids))
	for i, id := range ids {
		ref := Ref{ID: id}
		rows[i] = bulkRow{ref, func(now time.Time) error {
			if err := checkRef(ref); err != nil {
				return err
			}
			b := k.batch(now)
			b.edit(ref).preferences[setID] = cloneMap(set)
			b.commit()
			return nil
		}}
	}
	return k.submit(r, "users.set_preferences", "user_ids", rows)
}

func (k *Knock) bulkSetObjects(r *request) (reply, error) {
	return k.bulkIdentify(r, "objects.set", "objects", r.params[0])
}

func (k *Knock) bulkDeleteObjects(r *request) (reply, error) {
	ids, err := idList(r.body, "object_ids", maxBulkRows)
	if err != nil {
		return reply{}, err
	}
	return k.bulkDelete(r, "objects.delete", "object_ids", r.params[0], ids)
}

func (k *Knock) bulkSetTenants(r *request) (reply, error) {
	return k.bulkIdentify(r, "tenants.set", "tenants", tenantCollection)
}

// bulkDeleteTenants takes its ids from the query; it has no body.
func (k *Knock) bulkDeleteTenants(r *request) (reply, error) {
	ids, err := r.query.strings("tenant_ids")
	switch {
	case err != nil:
		return reply{}, err
	case len(ids) == 0:
		return reply{}, invalid("tenant_ids", "is required")
	case len(ids) > maxBulkRows:
		return reply{}, invalid("tenant_ids", "must not have more than 1000 items")
	}
	return k.bulkDelete(r, "tenants.delete", "tenant_ids", tenantCollection, ids)
}

// bulkObjects reads the list of {id, recipients, …} of the bulk subscription
// calls.
func bulkObjects(r *request) (objects []Ref, bodies []map[string]any, err error) {
	items, err := list(r.body, "subscriptions", maxBulkRows)
	if err != nil {
		return nil, nil, err
	}
	for i, item := range items {
		body, _ := item.(map[string]any)
		id, isString := body["id"].(string)
		if !isString {
			return nil, nil, invalid(fmt.Sprintf("subscriptions.%d", i), "must be an object with an id")
		}
		if _, err := list(body, "recipients", maxSubscribers); err != nil {
			return nil, nil, err
		}
		objects = append(objects, Ref{r.params[0], id})
		bodies = append(bodies, body)
	}
	return objects, bodies, nil
}

func (k *Knock) bulkSubscribe(r *request) (reply, error) {
	objects, bodies, err := bulkObjects(r)
	if err != nil {
		return reply{}, err
	}
	rows := make([]bulkRow, len(objects))
	for i, object := range objects {
		body := bodies[i]
		rows[i] = bulkRow{object, func(now time.Time) error {
			b := k.batch(now)
			if err := k.subscribable(b, object); err != nil {
				return err
			}
			recipients, properties, err := b.subscribers(body)
			if err != nil {
				return err
			}
			b.commit()
			_, given := body["properties"]
			for _, recipient := range recipients {
				k.addSubscription(object, recipient, properties, given, b.now)
			}
			return nil
		}}
	}
	return k.submit(r, "objects.subscriptions.add", "subscriptions", rows)
}

// bulkUnsubscribe passes over what does not exist.
func (k *Knock) bulkUnsubscribe(r *request) (reply, error) {
	objects, bodies, err := bulkObjects(r)
	if err != nil {
		return reply{}, err
	}
	rows := make([]bulkRow, len(objects))
	for i, object := range objects {
		recipients, err := references(bodies[i], "recipients", maxSubscribers)
		if err != nil {
			return reply{}, err
		}
		rows[i] = bulkRow{object, func(time.Time) error {
			k.removeSubscriptions(object, recipients)
			return nil
		}}
	}
	return k.submit(r, "objects.subscriptions.delete", "subscriptions", rows)
}

func (k *Knock) bulkCreateSchedules(r *request) (reply, error) {
	items, err := list(r.body, "schedules", maxBulkRows)
	if err != nil {
		return reply{}, err
	}
	rows := make([]bulkRow, len(items))
	for i, item := range items {
		body, _ := item.(map[string]any)
		workflow, isString := body["workflow"].(string)
		if !isString || workflow == "" {
			return reply{}, invalid(fmt.Sprintf("schedules.%d.workflow", i), "must be a workflow key")
		}
		recipient, err := reference("recipient", body["recipient"])
		if err != nil {
			return reply{}, err
		}
		rows[i] = bulkRow{recipient, func(now time.Time) error {
			if err := k.workflow(workflow); err != nil {
				return err
			}
			b := k.batch(now)
			if _, err := b.recipient("recipient", body["recipient"]); err != nil {
				return err
			}
			members, actor, err := k.scheduleMembers(b, body)
			if err != nil {
				return err
			}
			b.commit()
			k.schedules = append(k.schedules, k.newSchedule(workflow, recipient, actor, members, b.now))
			return nil
		}}
	}
	return k.submit(r, "schedules.create", "schedules", rows)
}
