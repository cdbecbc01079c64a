package eventlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/eventlog"
)

func TestRedactedUser(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, func(*actions.Request) (int, string) {
		return 422, `{"code":"invalid_params","message":"hunter2-stripe is no id, ada@example.com is"}`
	}, bridge.On(clerk.UserCreated, func(ctx context.Context, e *userEvent, k *actions.Client) error {
		user := bridge.KnockUser(&e.Data)
		user.Properties["stripe"] = "cus_hunter2-stripe"
		user.Properties["pin_code"] = 4321
		user.Properties["apiToken"] = "short"
		return k.IdentifyUser(ctx, user)
	}))
	deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","first_name":"Ada","password_enabled":true,"password_last_updated_at":1760000000000,
		"public_metadata":{"plan":"pro","session_token":"tok_1"},"private_metadata":{"stripe":"hunter2-stripe","n":4321},"unsafe_metadata":{},
		"phone_numbers":[{"id":"idn_1","backup_codes":["aaaa-bbbb"]}],"twoFactorSecret":"s3cr3t"}`))
	r := last(t, log)
	require.Len(t, r.Steps, 1)
	stored := string(r.Payload) + string(r.Steps[0].Body) + r.Steps[0].Error + r.Problem
	for _, secret := range []string{"hunter2", "4321", "aaaa-bbbb", "s3cr3t", "tok_1", "short"} {
		assert.NotContains(t, stored, secret)
	}
	assert.Equal(t, []string{"data.public_metadata.session_token", "data.private_metadata", "data.phone_numbers.0.backup_codes", "data.twoFactorSecret"}, r.Redacted)
	var payload struct {
		Data map[string]any `json:"data"`
	}
	require.NoError(t, json.Unmarshal(r.Payload, &payload))
	assert.Equal(t, map[string]any{
		"id": "user_1", "first_name": "Ada", "password_enabled": true, "password_last_updated_at": 1760000000000.0,
		"public_metadata": map[string]any{"plan": "pro", "session_token": "[redacted]"}, "private_metadata": map[string]any{"[redacted]": true}, "unsafe_metadata": map[string]any{},
		"phone_numbers": []any{map[string]any{"id": "idn_1", "backup_codes": []any{"[redacted]"}}}, "twoFactorSecret": "[redacted]",
	}, payload.Data)
	assert.Contains(t, r.Problem, "ada@example.com is", "with bodies, Knock's own words are there")
	assert.Contains(t, string(r.Steps[0].Body), `"name":"Ada"`)
	_, reason := r.ReplayBody()
	assert.Contains(t, reason, "Options.KeepOriginals")
}

// TestRedactedMessages: nothing of a one-time code is stored, wherever a mapping
// puts it.
func TestRedactedMessages(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil, bridge.On(clerk.EmailCreated, emailFunc(func(ctx context.Context, e *clerk.Event[clerk.Email], k *actions.Client) error {
		_, err := k.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow: "mail", Recipients: []actions.Recipient{actions.IdentifyUser{ID: "user_1", Properties: map[string]any{"last": "it is 424242!"}}},
			Data: map[string]any{"subject": e.Data.Subject.Or(""), "x": 424242},
		})
		return err
	})))
	deliver(t, h, "email.created", json.RawMessage(`{"id":"ema_1","slug":"verification_code","to_email_address":"ada@example.com","subject":"424242 is your code",
		"body":"<p>424242</p>","body_plain":"424242","data":{"otp_code":"424242","app":{"name":"Acme"}},"user_id":"user_1"}`))
	r := last(t, log)
	require.Len(t, r.Steps, 1)
	require.NotNil(t, r.Steps[0].Body)
	assert.NotContains(t, string(r.Payload)+string(r.Steps[0].Body), "424242")
	assert.Contains(t, string(r.Payload), `"slug":"verification_code"`)
	assert.Contains(t, string(r.Steps[0].Body), `"id":"user_1"`)

	deliver(t, h, "sms.created", json.RawMessage(`{"id":"sms_1","message":"424242 is your code","data":{"otp_code":"424242"}}`))
	assert.NotContains(t, string(last(t, log).Payload), "424242")
	for _, event := range []string{"organizationInvitation.created", "invitation.created", "waitlistEntry.updated"} {
		deliver(t, h, event, json.RawMessage(`{"id":"inv_1","url":"https://clerk.example.com/v1/tickets/accept/x1y2z3"}`))
		assert.NotContains(t, string(last(t, log).Payload), "x1y2z3", event)
		assert.Equal(t, []string{"data.url"}, last(t, log).Redacted)
	}
	deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","web3_wallets":[{"id":"idn_1","verification":{"nonce":"x1y2z3"}}]}`))
	assert.NotContains(t, string(last(t, log).Payload), "x1y2z3")
}

// TestSamples: what is not redacted stays byte for byte, and what is valid stays
// valid.
func TestSamples(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true, KeepOriginals: true})
	h := start(t, log, nil)
	files, err := filepath.Glob("../clerk/testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		body, err := os.ReadFile(file)
		require.NoError(t, err)
		_, _ = h.Process(t.Context(), bridge.Delivery{ID: "msg_" + filepath.Base(file), Body: body})
		r := last(t, log)
		require.True(t, json.Valid(r.Payload), file)
		if len(r.Redacted) == 0 {
			assert.Equal(t, string(body), string(r.Payload))
		}
		replay, reason := r.ReplayBody()
		assert.Empty(t, reason)
		assert.Equal(t, string(body), string(replay))
	}
}

// TestKeepOriginals: whoever asks for them need not ask for bodies, too.
func TestKeepOriginals(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{KeepOriginals: true, MaxBodyBytes: -1})
	d := deliver(t, start(t, log, nil), "user.created", json.RawMessage(`{"id":"user_1","private_metadata":{"x":"hunter2"}}`))
	r := last(t, log)
	assert.NotContains(t, string(r.Payload), "hunter2")
	replay, reason := r.ReplayBody()
	assert.Empty(t, reason)
	assert.Equal(t, string(d.Body), string(replay))
}

func TestNoPayload(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true, MaxBodyBytes: 200})
	h := start(t, log, nil, bridge.On(clerk.UserUpdated, func(ctx context.Context, _ *userEvent, k *actions.Client) error {
		return k.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Name: strings.Repeat("x", 300)})
	}))
	deliver(t, h, "user.created", json.RawMessage(`{"id":"`+strings.Repeat("x", 200)+`"}`))
	assert.Nil(t, last(t, log).Payload)
	assert.Contains(t, last(t, log).NoPayload, "larger than")
	_, err := h.Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: []byte(`{"type": secret`)})
	require.Error(t, err)
	r := last(t, log)
	assert.Nil(t, r.Payload)
	assert.Contains(t, r.NoPayload, "not JSON")
	assert.NotContains(t, r.Problem, "secret")
	assert.Contains(t, r.Problem, "the body is no event")
	assert.Equal(t, eventlog.FaultNotAnEvent, r.Fault.Kind)
	_, reason := r.ReplayBody()
	assert.Contains(t, reason, "not stored")

	_, err = h.Process(t.Context(), bridge.Delivery{ID: "msg_2", Body: []byte(`{"type":"user.updated","data":{"id":"user_1"}}`)})
	require.NoError(t, err)
	r = last(t, log)
	assert.Contains(t, r.Steps[0].NoBody, "larger than")
	assert.Nil(t, r.Steps[0].Body)
	assert.NotNil(t, r.Payload)
}

// FuzzRedact: whatever the payload is, a secret in it is not stored.
func FuzzRedact(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), uint(0))
	f.Add([]byte(`[]`), uint(1))
	f.Add([]byte(`{"data":{"x":"y"},"x":1e400}`), uint(2))
	f.Add([]byte(`"\ud800"`), uint(3))
	names := []string{"password", "privateMetadata", "backup_codes", "otp_code", "client-secret", "accessToken", "apiKey", "PASSWORD", "one_time_code", "newpassword", "refreshToken1", "JWTToken"}
	f.Fuzz(func(t *testing.T, other []byte, name uint) {
		if !json.Valid(other) {
			return
		}
		const secret = "corre**-horse-battery"
		body := fmt.Appendf(nil, `{"type":"user.created","data":{"id":"user_1","other":%s,%q:{"x":["%s"]}}}`, other, names[name%uint(len(names))], secret)
		log := newLog(eventlog.Options{Bodies: true})
		_, _ = start(t, log, nil).Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: body})
		r := last(t, log)
		assert.NotContains(t, string(r.Payload), secret)
		assert.True(t, r.Payload == nil || json.Valid(r.Payload))
	})
}
