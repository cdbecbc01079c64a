package bridgetest

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	maxIdempotencyKey    = 255
	maxTriggerData       = 10_000_000
	idempotencyRetention = 24 * time.Hour
)

// WorkflowRun is a workflow that was triggered. A replayed trigger is not
// another run.
type WorkflowRun struct {
	// ID is the workflow_run_id of the answer.
	ID string

	// Workflow is the workflow's key.
	Workflow string

	// Recipients are those the trigger names, in order.
	Recipients []Ref

	// Reached are the ids of the users that get something: recipients that are
	// known users, and the subscribers of recipients that are objects, through one
	// more object at most. The actor is left out when reached only through a
	// subscription. Nobody is in it twice. An id that was not identified when the
	// workflow ran reaches nobody, as at Knock.
	Reached []string

	// Actor is who caused the run, or the zero Ref.
	Actor Ref

	// Tenant is the id of the tenant, or empty.
	Tenant string

	// Data is the data of the trigger, or nil.
	Data map[string]any

	// CancellationKey is what a cancellation must name, or empty.
	CancellationKey string

	// IdempotencyKey is the header of the trigger, or empty.
	IdempotencyKey string

	// Canceled says that the run was canceled for all its recipients.
	Canceled bool

	// CanceledFor are the recipients that were canceled by name.
	CanceledFor []Ref
}

type workflowRun struct{ WorkflowRun }

// replay is the remembered answer to a trigger.
type replay struct {
	parameters string
	requestID  string
	answer     reply
	expires    time.Time
}

// Runs returns the workflows that ran, oldest first.
func (k *Knock) Runs() (runs []WorkflowRun) {
	k.inspect(func() {
		for _, run := range k.runs {
			shown := run.WorkflowRun
			shown.Recipients = slices.Clone(run.Recipients)
			shown.Reached = slices.Clone(run.Reached)
			shown.Data = cloneOptional(run.Data)
			shown.CanceledFor = slices.Clone(run.CanceledFor)
			runs = append(runs, shown)
		}
	})
	return runs
}

// workflow checks that the workflow exists; a trigger also needs it active.
func (k *Knock) workflow(key string) error {
	if k.options.Workflows == nil || slices.Contains(k.options.Workflows, key) || slices.Contains(k.options.InactiveWorkflows, key) {
		return nil
	}
	return &apiError{
		status: http.StatusNotFound, code: "workflow_missing", kind: typeInvalid,
		message: "The workflow does not exist in this environment.",
	}
}

func (k *Knock) activeWorkflow(key string) error {
	if err := k.workflow(key); err != nil {
		return err
	}
	if slices.Contains(k.options.InactiveWorkflows, key) {
		return &apiError{
			status: http.StatusUnprocessableEntity, code: "workflow_inactive", kind: typeInvalid,
			message: "The workflow is not active.",
		}
	}
	return nil
}

func (k *Knock) triggerWorkflow(r *request) (reply, error) {
	key := r.header.Get("Idempotency-Key")
	if key == "" {
		return k.runWorkflow(r, "")
	}
	if utf8.RuneCountInString(key) > maxIdempotencyKey {
		return reply{}, invalid("idempotency-key", "must not be longer than 255 characters")
	}
	body, err := json.Marshal(r.body) // sorts members, drops white space
	if err != nil {
		return reply{}, err
	}
	parameters := r.params[0] + "\n" + string(body)
	if seen, found := k.replays[key]; found && r.now.Before(seen.expires) {
		return k.replayed(seen, parameters)
	}
	answer, err := k.runWorkflow(r, key)
	if err == nil {
		k.replays[key] = replay{parameters, r.id, answer, r.now.Add(idempotencyRetention)}
	}
	return answer, err
}

func (k *Knock) replayed(seen replay, parameters string) (reply, error) {
	if seen.parameters != parameters {
		code := k.options.IdempotencyMismatch
		if code == "" {
			code = "idempotency_key_mismatch"
		}
		return reply{}, &apiError{
			status: http.StatusBadRequest, code: code, kind: typeInvalid,
			message: "The idempotency key was used with other parameters.",
		}
	}
	answer := seen.answer
	answer.header = http.Header{
		"Idempotent-Replayed":   {"true"},
		"Original-X-Request-Id": {seen.requestID},
	}
	return answer, nil
}

func (k *Knock) runWorkflow(r *request, idempotencyKey string) (reply, error) {
	workflow := r.params[0]
	if err := k.activeWorkflow(workflow); err != nil {
		return reply{}, err
	}
	run := &workflowRun{WorkflowRun{Workflow: workflow, IdempotencyKey: idempotencyKey}}
	b := k.batch(r.now)
	if err := k.readTrigger(b, r.body, run); err != nil {
		return reply{}, err
	}
	b.commit()
	run.ID = k.uuid()
	run.Reached = k.reach(run.Recipients, run.Actor)
	k.runs = append(k.runs, run)
	return success(map[string]any{"workflow_run_id": run.ID})
}

func (k *Knock) readTrigger(b *batch, body map[string]any, run *workflowRun) error {
	items, err := list(body, "recipients", maxTriggerRecipient)
	if err != nil {
		return err
	}
	if run.Data, err = optionalMap(body, "data"); err != nil {
		return err
	}
	if raw, err := json.Marshal(run.Data); err != nil || len(raw) > maxTriggerData {
		return invalid("data", "must not be larger than 10 MB")
	}
	if run.CancellationKey, err = optionalString(body, "cancellation_key"); err != nil {
		return err
	}
	if err := checkSettings(body); err != nil {
		return err
	}
	for _, item := range items {
		ref, err := b.recipient("recipients", item)
		if err != nil {
			return err
		}
		run.Recipients = append(run.Recipients, ref)
	}
	if run.Actor, err = k.actor(b, body["actor"]); err != nil {
		return err
	}
	tenant, err := b.tenant(body["tenant"])
	run.Tenant, _ = tenant.(string)
	return err
}

func checkSettings(body map[string]any) error {
	settings, err := optionalMap(body, "settings")
	if err != nil {
		return err
	}
	for _, name := range []string{"sandbox_mode", "skip_delay"} {
		if _, isBool := settings[name].(bool); !isBool && settings[name] != nil {
			return invalid("settings."+name, "must be true, false or null")
		}
	}
	return nil
}

// actor reads an actor. A bare user id must name a known user, or one that the
// same request identifies.
func (k *Knock) actor(b *batch, v any) (Ref, error) {
	if v == nil {
		return Ref{}, nil
	}
	ref, err := b.recipient("actor", v)
	if err != nil {
		return Ref{}, err
	}
	if k.recipients[ref] == nil && b.staged[ref] == nil {
		return Ref{}, &apiError{
			status: http.StatusUnprocessableEntity, code: "actor_missing", kind: typeInvalid,
			message: "The actor does not exist.",
		}
	}
	return ref, nil
}

// reach resolves recipients to users: subscriptions are followed from an object
// to users, and to objects once.
func (k *Knock) reach(recipients []Ref, actor Ref) []string {
	const depth = 2
	seen := make(map[Ref]bool)
	var users []string
	add := func(ref Ref) {
		if ref.Collection == "" && k.recipients[ref] != nil && !seen[ref] {
			seen[ref] = true
			users = append(users, ref.ID)
		}
	}
	var follow func(object Ref, left int)
	follow = func(object Ref, left int) {
		for _, sub := range k.subscriptions {
			if sub.object != object || left == 0 {
				continue
			}
			if sub.recipient != actor {
				add(sub.recipient)
			}
			if sub.recipient.Collection != "" {
				follow(sub.recipient, left-1)
			}
		}
	}
	for _, ref := range recipients {
		add(ref)
	}
	for _, ref := range recipients {
		if ref.Collection != "" {
			follow(ref, depth)
		}
	}
	return users
}

// cancelWorkflow cancels the runs of a workflow with the key. That there is
// none is no error: Knock answers before it looks.
func (k *Knock) cancelWorkflow(r *request) (reply, error) {
	workflow := r.params[0]
	if err := k.workflow(workflow); err != nil {
		return reply{}, err
	}
	key, isString := r.body["cancellation_key"].(string)
	if !isString || key == "" {
		return reply{}, invalid("cancellation_key", "must be a string")
	}
	var only []Ref
	if r.body["recipients"] != nil {
		var err error
		if only, err = references(r.body, "recipients", maxTriggerRecipient); err != nil {
			return reply{}, err
		}
	}
	for _, run := range k.runs {
		if run.Workflow == workflow && run.CancellationKey == key {
			run.cancel(only, r.body["recipients"] == nil)
		}
	}
	return noContent()
}

func (run *workflowRun) cancel(only []Ref, all bool) {
	if all {
		run.Canceled = true
		return
	}
	canceled := make(map[Ref]bool)
	for _, ref := range run.CanceledFor {
		canceled[ref] = true
	}
	for _, ref := range only {
		isPart := contains(run.Recipients, ref) || ref.Collection == "" && slices.Contains(run.Reached, ref.ID)
		if isPart && !canceled[ref] {
			canceled[ref] = true
			run.CanceledFor = append(run.CanceledFor, ref)
		}
	}
	if !slices.ContainsFunc(run.Recipients, func(ref Ref) bool { return !canceled[ref] }) {
		run.Canceled = true
	}
}
