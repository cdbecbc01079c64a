package actions

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	opTrigger = "workflows.trigger"

	// maxRecipients is Knock's limit of recipients in one trigger.
	maxRecipients = 1000
	// maxData is Knock's limit for a trigger's data, in bytes of JSON.
	maxData = 10_000_000
)

// TriggerWorkflow starts a workflow ("workflows_trigger"). Knock only accepts
// the trigger; it runs the workflow later.
//
// Inside a delivery, build it from the event alone: the same event has to give
// the same bytes on every attempt (no clock, no randomness), because Knock
// refuses an idempotency key that comes again with other parameters.
type TriggerWorkflow struct {
	// Workflow is the workflow's key, required.
	Workflow string

	// Recipients are who it is for, at least one. More than 1,000, Knock's limit,
	// are split into several calls, each a step with a key of its own. Recipients
	// given inline are created when Knock does not know them, even if they have
	// been deleted before.
	Recipients []Recipient

	// Actor is who caused it. Not sent when nil. A [UserID] must be known to
	// Knock, or it answers 422 (actor_missing): where the user may come later, look with
	// [Client.GetUser] first.
	Actor Recipient

	// Tenant is the tenant it runs in: a [TenantID] or an inline [SetTenant].
	// Not sent when nil.
	Tenant TenantRef

	// Data is what the templates read, at most 10 MB of JSON. Not sent when nil.
	Data map[string]any

	// CancellationKey is needed to cancel the run later. Not sent when empty.
	CancellationKey string

	// Settings is not sent when nil.
	Settings *TriggerSettings

	// IdempotencyKey is sent as it is, at most 255 characters; with several calls,
	// each gets its number appended. Defaults to a key made of the delivery's id
	// and the step's name. Knock remembers keys for 24 hours.
	IdempotencyKey string
}

// TriggerSettings change how Knock runs one trigger.
type TriggerSettings struct {
	// SandboxMode runs the workflow without sending anything.
	SandboxMode bool `json:"sandbox_mode"`
	// SkipDelay skips the workflow's delay steps.
	SkipDelay bool `json:"skip_delay"`
}

// TriggerWorkflow starts a workflow and returns the id of the run. With more than 1,000
// recipients it is the id of the first call's run; the steps hold all ids. The id is
// empty in a dry run, for a step that was skipped as gone or as a replay, and when
// Knock had accepted the same trigger before with other parameters, which counts as
// done.
func (c *Client) TriggerWorkflow(ctx context.Context, t TriggerWorkflow) (runID string, err error) {
	if err := checkID(opTrigger, "workflow", t.Workflow); err != nil {
		return "", err
	}
	if len(t.Recipients) == 0 {
		return "", &InvalidError{Op: opTrigger, Field: "recipients", Reason: "is empty"}
	}
	t.Tenant = plainTenant(t.Tenant)
	if t, err = c.triggerWithoutGone(ctx, t); err != nil {
		return "", err
	}
	values, refs, err := recipientValues(opTrigger, t.Recipients)
	if err != nil {
		return "", err
	}
	calls := (len(values) + maxRecipients - 1) / maxRecipients
	if err := t.checkKey(calls); err != nil {
		return "", err
	}
	shared, err := t.members().end()
	if err != nil {
		return "", err
	}
	for from := 0; from < len(values); from += maxRecipients {
		end := min(from+maxRecipients, len(values))
		o := operation{
			opTrigger, "workflows_trigger", t.Workflow + ":" + targets(refs[from:end]),
			http.MethodPost, path("workflows", t.Workflow, "trigger"),
		}
		to := present(values[from:end])
		if len(to) == 0 {
			if err := c.skipGone(ctx, o); err != nil {
				return runID, err
			}
			continue
		}
		body := object{op: opTrigger, raw: shared[: len(shared)-1 : len(shared)-1]}
		body.array(fieldRecipients, to)
		raw, err := body.end()
		if err != nil {
			return runID, err
		}
		key := t.IdempotencyKey
		if key != "" && calls > 1 {
			key += ":" + strconv.Itoa(from/maxRecipients+1)
		}
		s, err := c.write(ctx, o, raw, key)
		if err != nil {
			return runID, err
		}
		if runID == "" {
			runID = workflowRunID(s.Result)
		}
	}
	return runID, nil
}

// triggerWithoutGone keeps the trigger from creating what has been deleted.
func (c *Client) triggerWithoutGone(ctx context.Context, t TriggerWorkflow) (TriggerWorkflow, error) {
	actor := referenceTo(t.Actor)
	var tenant Reference
	if t.Tenant != nil {
		tenant = Tenant(t.Tenant.id())
	}
	recipients, gone, err := c.withoutGone(ctx, t.Recipients, actor, tenant)
	if err != nil {
		return t, err
	}
	t.Recipients = recipients
	switch {
	case actor == nil || !gone[actor]:
	case c.mayWrite(actor):
		t.Actor = actor
	default:
		t.Actor = nil
	}
	switch {
	case tenant == nil || !gone[tenant]:
	case c.mayWrite(tenant):
		t.Tenant = TenantID(t.Tenant.id())
	default:
		t.Tenant = nil
	}
	return t, nil
}

// checkKey refuses a key that Knock would not take, before the first of several
// calls is sent.
func (t TriggerWorkflow) checkKey(calls int) error {
	key := t.IdempotencyKey
	if key != "" && calls > 1 {
		key += ":" + strconv.Itoa(calls)
	}
	var reason string
	switch {
	case utf8.RuneCountInString(key) > maxIdempotencyKey:
		reason = "is longer than 255 characters"
	case strings.TrimSpace(key) != key || strings.ContainsFunc(key, unicode.IsControl):
		reason = "holds control characters or begins or ends in white space"
	default:
		return nil
	}
	return &InvalidError{Op: opTrigger, Field: "idempotency key", Reason: reason, Data: true}
}

func (t TriggerWorkflow) members() *object {
	o := newObject(opTrigger)
	if plain(t.Actor) != nil {
		actor, _, err := plain(t.Actor).recipient(opTrigger, "actor")
		if err != nil {
			return &object{err: err}
		}
		o.member("actor", actor)
	}
	if t.Tenant != nil {
		tenant, err := t.Tenant.tenant(opTrigger)
		if err != nil {
			return &object{err: err}
		}
		o.member("tenant", tenant)
	}
	if t.Data != nil {
		before := len(o.raw)
		o.member("data", t.Data)
		if o.err == nil && len(o.raw)-before > maxData {
			o.err = oversize(opTrigger, "data", maxData)
		}
	}
	o.text("cancellation_key", t.CancellationKey)
	if t.Settings != nil {
		o.member("settings", t.Settings)
	}
	return o
}

// workflowRunID reads the run id out of a trigger's answer, and is lenient: the
// trigger has been accepted, whatever the answer looks like.
func workflowRunID(body json.RawMessage) string {
	var answer struct {
		ID string `json:"workflow_run_id"`
	}
	_ = json.Unmarshal(body, &answer)
	return answer.ID
}

// CancelWorkflow stops runs of a workflow that wait in a delay, batch or fetch
// step. Knock queues it: do not cancel within about five seconds of the trigger
// (it may miss), nor before it (it may stop the later run).
type CancelWorkflow struct {
	// Workflow is the workflow's key, required.
	Workflow string

	// CancellationKey is the one given with the trigger, required.
	CancellationKey string

	// Recipients narrows the cancellation to these, at most 1,000. Empty means
	// all recipients of the run.
	Recipients []Reference
}

// CancelWorkflow stops runs of a workflow ("workflows_cancel"). Knock does not say
// whether there was anything to stop.
func (c *Client) CancelWorkflow(ctx context.Context, w CancelWorkflow) error {
	const op = "workflows.cancel"
	if err := checkID(op, "workflow", w.Workflow); err != nil {
		return err
	}
	if w.CancellationKey == "" {
		return &InvalidError{Op: op, Field: "cancellation_key", Reason: "is empty"}
	}
	values, refs, err := recipientValues(op, w.Recipients)
	if err != nil {
		return err
	}
	m := newObject(op)
	m.text("cancellation_key", w.CancellationKey)
	target := w.Workflow + ":" + targets([]string{w.CancellationKey})
	if len(values) > maxRecipients {
		return &InvalidError{Op: op, Field: "recipients", Reason: "holds more than 1,000", Data: true}
	}
	if len(values) > 0 {
		m.array(fieldRecipients, values)
		target += ":" + targets(refs)
	}
	body, err := m.end()
	if err != nil {
		return err
	}
	return c.put(ctx, operation{op, "workflows_cancel", target, http.MethodPost, path("workflows", w.Workflow, "cancel")}, body)
}
