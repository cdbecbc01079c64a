package eventlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/eventlog"
)

// all is everything that a store keeps of a record.
func all(t *testing.T, r *eventlog.Record) string {
	t.Helper()
	record, bodies, err := r.Encode()
	require.NoError(t, err)
	return record + bodies
}

// TestRedactedTexts: names of steps, paths and errors are made by mapping
// functions, and may be made of what is private.
func TestRedactedTexts(t *testing.T) {
	t.Parallel()
	for _, bodies := range []bool{true, false} {
		log := newLog(eventlog.Options{Bodies: bodies})
		h := start(t, log, nil, bridge.On(clerk.UserCreated, func(ctx context.Context, e *userEvent, k *actions.Client) error {
			var private struct{ Short, Long string }
			if err := json.Unmarshal(e.Data.PrivateMetadata.Or(nil), &private); err != nil {
				return err
			}
			if err := k.Step(ctx, "call "+private.Long, func(context.Context) error { return nil }); err != nil {
				return err
			}
			if err := k.IdentifyUser(ctx, actions.IdentifyUser{ID: private.Long, Properties: map[string]any{private.Long: true}}); err != nil {
				return err
			}
			return fmt.Errorf("no such customer: %s, and https://example.com/?token=tok_1&x=1 with sk_test_abcdef", private.Long)
		}))
		deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","private_metadata":{"Short":"hunter","Long":"hunter2-stripe"}}`))
		r := last(t, log)
		require.Len(t, r.Steps, 2)
		for _, secret := range []string{"hunter", "stripe", "tok_1", "abcdef"} {
			assert.NotContains(t, all(t, r), secret)
		}
		assert.Contains(t, r.Problem, "no such customer")
	}
}

// TestRedactedWithoutErrors: what a delivery that is done has said to Knock under the
// name of an id is as private as what has failed.
func TestRedactedWithoutErrors(t *testing.T) {
	t.Parallel()
	for _, bodies := range []bool{true, false} {
		for name, use := range map[string]func(context.Context, *actions.Client) error{
			"an id": func(ctx context.Context, k *actions.Client) error {
				return k.SetObject(ctx, actions.SetObject{Collection: "accounts", ID: "cus_hunter2"})
			},
			"a part of an id": func(ctx context.Context, k *actions.Client) error {
				return k.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1-cus_hunter2"})
			},
			"a recipient": func(ctx context.Context, k *actions.Client) error {
				_, err := k.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "welcome", Recipients: []actions.Recipient{actions.UserID("cus_hunter2")}})
				return err
			},
			"a key": func(ctx context.Context, k *actions.Client) error {
				_, err := k.TriggerWorkflow(ctx, actions.TriggerWorkflow{
					Workflow: "welcome", Recipients: []actions.Recipient{actions.UserID("user_1")}, IdempotencyKey: "cus_hunter2",
				})
				return err
			},
			"a workflow": func(ctx context.Context, k *actions.Client) error {
				_, err := k.TriggerWorkflow(ctx, actions.TriggerWorkflow{Workflow: "cus_hunter2", Recipients: []actions.Recipient{actions.UserID("user_1")}})
				return err
			},
			"a subscriber": func(ctx context.Context, k *actions.Client) error {
				return k.Subscribe(ctx, actions.Subscribe{Object: actions.ObjectRef{Collection: "$tenants", ID: "user_1"}, Recipients: []actions.Recipient{actions.UserID("cus_hunter2")}})
			},
			"a query": func(ctx context.Context, k *actions.Client) error {
				return k.RemoveAudienceMember(ctx, actions.RemoveAudienceMember{Audience: "customers", Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "cus_hunter2"}}}})
			},
		} {
			log := newLog(eventlog.Options{Bodies: bodies})
			h := start(t, log, nil, bridge.On(clerk.UserCreated, func(ctx context.Context, _ *userEvent, k *actions.Client) error { return use(ctx, k) }))
			deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","private_metadata":{"customer":"cus_hunter2"}}`))
			r := last(t, log)
			require.Empty(t, r.Problem)
			require.Len(t, r.Steps, 1)
			assert.NotContains(t, all(t, r), "hunter2", name)
		}
	}
}

// TestRedactedCode: a mapping may take the code out of a message by itself.
func TestRedactedCode(t *testing.T) {
	t.Parallel()
	for _, bodies := range []bool{true, false} {
		log := newLog(eventlog.Options{Bodies: bodies})
		h := start(t, log, nil, bridge.On(clerk.SMSCreated, func(ctx context.Context, _ *clerk.Event[clerk.SMS], k *actions.Client) error {
			if err := k.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Properties: map[string]any{"last": "it is 424242"}}); err != nil {
				return err
			}
			return errors.New("could not send 424242")
		}))
		deliver(t, h, "sms.created", json.RawMessage(`{"id":"sms_1","message":"424242 is your code","preview":"424242 is","nested":{"html":"<b>424242</b>"}}`))
		assert.NotContains(t, all(t, last(t, log)), "424242")
	}
}

// TestTrailingSecret: what is behind the first value is not looked at, so it is
// not stored.
func TestTrailingSecret(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	_, err := start(t, log, nil).Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: []byte(`{"type":"user.created"} {"password":"hunter2"}`)})
	require.Error(t, err)
	assert.NotContains(t, all(t, last(t, log)), "hunter2")
}

// TestUnreadableSecrets: where the body can't be read, nobody knows what in the calls
// and in the texts is secret.
func TestUnreadableSecrets(t *testing.T) {
	t.Parallel()
	for _, bodies := range []bool{true, false} {
		log := newLog(eventlog.Options{Bodies: bodies})
		log.OnResult(t.Context(), &bridge.Result{
			EventType: "user.created", DeliveryID: "msg_1", Outcome: bridge.OutcomeMisconfigured, Err: errors.New("no such customer: hunter2-stripe"),
			Body: []byte(`{"type":"user.created","data":{"id":,"private_metadata":{"x":"hunter2-stripe"}}}`),
			Steps: []*bridge.Step{{
				Name: "users.identify:hunter2-stripe", Request: &actions.Request{Method: "PUT", Path: "/v1/users/hunter2-stripe", Body: []byte(`{"x":"hunter2-stripe"}`)},
			}},
		})
		r := last(t, log)
		require.Len(t, r.Steps, 1)
		assert.NotContains(t, all(t, r), "hunter2")
	}
}

// TestTooManySecrets: unsafe_metadata is the user's to write, and can't be filled
// up so that the rest is overlooked.
func TestTooManySecrets(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil, bridge.On(clerk.UserCreated, func(ctx context.Context, _ *userEvent, k *actions.Client) error {
		if err := k.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Properties: map[string]any{"x": "hunter2-stripe"}}); err != nil {
			return err
		}
		return errors.New("hunter2-stripe")
	}))
	junk := make([]string, 600)
	for i := range junk {
		junk[i] = fmt.Sprintf(`"junk-%d"`, i)
	}
	deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","unsafe_metadata":{"a":[`+strings.Join(junk, ",")+`]},"private_metadata":{"x":"hunter2-stripe"}}`))
	r := last(t, log)
	assert.NotContains(t, all(t, r), "hunter2")
	assert.NotEmpty(t, r.Steps[0].NoBody)
}

// TestRedactedForms: secrets that no name gives away.
func TestRedactedForms(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil)
	for _, secret := range []string{
		"Bearer sk_live_abcdef", "x whsec_abcdef", "eyJraWQiOiJhIn0.eyJzdWIiOiJhIn0.abcdef", "https://example.com/a?x=1&access_token=abcdef",
		"https://example.com/#token=abcdef", "see https://accounts.example.com/v1/verify?a=1&__clerk_ticket=abcdef",
	} {
		text, err := json.Marshal(map[string]any{"id": "user_1", "public_metadata": map[string]string{"note": secret}})
		require.NoError(t, err)
		deliver(t, h, "user.created", json.RawMessage(text))
		assert.NotContains(t, all(t, last(t, log)), "abcdef", secret)
	}
	// Half of a surrogate pair is what the bridge takes, and so does the log.
	deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","first_name":"Ada \ud83d"}`))
	assert.NotNil(t, last(t, log).Payload)
	assert.NotNil(t, last(t, log).Steps[0].Body)
}

// TestKeptIDs: an id that is stored anyway is no secret because private_metadata
// repeats it.
func TestKeptIDs(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	deliver(t, start(t, log, nil), "user.created", json.RawMessage(`{"id":"user_4321","private_metadata":{"clerk":"user_4321","n":4321}}`))
	r := last(t, log)
	assert.Equal(t, "/v1/users/user_4321", r.Steps[0].Path)
	assert.Equal(t, "users.identify:user_4321", r.Steps[0].Name)
}

// TestQuotedSecrets: a value within quotes, or in JSON within JSON, is written in
// another way.
func TestQuotedSecrets(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil, bridge.On(clerk.UserCreated, func(ctx context.Context, e *userEvent, k *actions.Client) error {
		var private map[string]string
		if err := json.Unmarshal(e.Data.PrivateMetadata.Or(nil), &private); err != nil {
			return err
		}
		text, err := json.Marshal(private)
		if err != nil {
			return err
		}
		if err := k.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Properties: map[string]any{"note": string(text)}}); err != nil {
			return err
		}
		return fmt.Errorf("bad value %q", private["x"])
	}))
	deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","private_metadata":{"x":"hunter2 \"<stripe>\" \n"}}`))
	r := last(t, log)
	require.Len(t, r.Steps, 1)
	for _, secret := range []string{"hunter2", "stripe"} {
		assert.NotContains(t, all(t, r), secret)
	}
}

// TestRedactedInOtherForms: a value is found where a mapping has escaped it for a
// path, or written a number anew.
func TestRedactedInOtherForms(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil, bridge.On(clerk.UserCreated, func(ctx context.Context, e *userEvent, k *actions.Client) error {
		var private struct {
			Name        string
			Limit, Most float64
		}
		if err := json.Unmarshal(e.Data.PrivateMetadata.Or(nil), &private); err != nil {
			return err
		}
		return k.SetObject(ctx, actions.SetObject{
			Collection: "customers", ID: private.Name, Properties: map[string]any{"limit": private.Limit, "most": private.Most},
		})
	}))
	for _, name := range []string{"se<cr>et 1&2", "O'Brien (VIP), Inc", "plain secret"} {
		deliver(t, h, "user.created", json.RawMessage(fmt.Sprintf(`{"id":"user_1","private_metadata":{"Name":%q,"Limit":1250.50,"Most":1E22}}`, name)))
		r := last(t, log)
		require.Len(t, r.Steps, 1)
		step := r.Steps[0]
		assert.Equal(t, "/v1/objects/customers/[redacted]", step.Path)
		assert.Equal(t, "objects.set:customers/[redacted]", step.Name)
		assert.JSONEq(t, `{"limit":0,"most":0}`, string(step.Body))
	}
}

// TestSecretNames: what is taken out wherever it is, and what is not.
func TestSecretNames(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil)
	for name, taken := range map[string]bool{
		"pwd": true, "passcode": true, "apiKey": true, "stripe_key": true, "access-key": true, "ssh_key": true, "encryptionKey": true,
		"magic_link": true, "resetLink": true, "invite_url": true, "login_url": true, "redirect_url": true, "otp_code": true, "nonce": true,
		"ticket": true, "invitation_ticket": true, "device_code": true, "userCode": true, "two_factor_code": true, "2fa_code": true, "code_verifier": true,
		// with digits behind
		"password1": true, "token2": true, "session_token2": true, "refreshToken1": true, "apiKey1": true, "otp1": true, "totp": true, "code_1": false, "key1": false,
		"backup_code_1": true, "backup2code": true, "api_2_key": true, "oauth2token": true, "pin2": true, "2FACode": true, "2facode": true, "line2": false, "base64": false,
		// written together
		"newpassword": true, "NEWPASSWORD": true, "secretkey": true, "clientsecret": true, "authtoken": true, "sessiontoken": true, "sessiontokens": true,
		"accesskey": true, "awsaccesskey": true, "privatekey": true, "apikeys": true, "stripekey": true, "backupcode": true, "backupcodes": true, "recoverycode": true,
		"onetimecode": true, "userotp": true, "resetlink": true, "magiclink": true, "inviteurl": true, "codeverifier": true, "privatemetadata": true, "dbpasswd": true,
		"user_newpassword": true, "newpassword_confirmed": true, "usercredentials": true, "sessioncookie": true, "userjwt": true, "oauthcode": true,
		"passWord": true, "pass_phrase": true, "PassCode": true, "passcode1": true, "passphrase": true,
		"secretary": false, "secretariat": false, "zipcode": false, "postcode": false, "pincode": false, "timecode": false, "countrycode": false, "barcode": false,
		"tokenized": false, "tokenizer": false, "passwordless": false, "passport": false, "compass": false, "spin": false, "keyboard": false, "monkey": false, "publickey": false,
		"turkey": false, "forbearer": false, "hyperlink": false, "imageurl": false, "publicmetadata": false, "announce": false, "passkeys": false, "pins": false,
		// capitals
		"JWTToken": true, "PASSWORDHash": true, "APIKey": true, "APIKEY": true, "userOTPCode": true, "OTPs": true, "TOKENs": true, "myAPIKEYs": true, "loginURL": true, "APIkey": true, "APIkeys": true, "OTPcode": true, "OTPcodes": true, "SSHkey": true, "SMScode": true, "PRIVATEmetadata": true, "PASSword": true,
		"loginURLs": true, "imageURL": false, "SPINs": false,
		"code2": false, "ticket_count": false, "verifier": false, "key": false, "primary_key": false, "url": false, "avatar_url": false, "link": false, "country_code": false, "pinned": false,
	} {
		deliver(t, h, "user.created", json.RawMessage(fmt.Sprintf(`{"id":"user_1","public_metadata":{%q:"the value"}}`, name)))
		assert.Equal(t, !taken, strings.Contains(string(last(t, log).Payload), "the value"), name)
	}
	for _, name := range []string{"code", "code1"} {
		deliver(t, h, "user.created", json.RawMessage(fmt.Sprintf(`{"id":"user_1","public_metadata":{%q:"424242"}}`, name)))
		assert.NotContains(t, string(last(t, log).Payload), "424242", name)
	}
}

// TestRedactedParts: what a mapping takes out of a message, or of private metadata,
// and passes on in another form.
func TestRedactedParts(t *testing.T) {
	t.Parallel()
	const message = `{"id":"ema_1","user_id":"user_1","body":"<a href='https://example.com/v1/verify?a=1&amp;token=abcDEF1%2B3ghi&amp;x=1'>424242</a>",
		"data":{"otp_code":"AB3D","action_url":"https://example.com/magic#__clerk_ticket=tkt_stu99&foo=barbar"}}`
	for passed, test := range map[string]struct{ event, data, secret string }{
		"abcDEF1%2B3ghi":              {"email.created", message, "abcDEF1"},
		"token abcDEF1+3ghi":          {"email.created", message, "abcDEF1"},
		"tkt_stu99":                   {"email.created", message, "stu99"},
		"424-242":                     {"email.created", message, "424-242"},
		"424 242":                     {"email.created", message, "424 242"},
		"refused: AB3D!":              {"email.created", message, "AB3D"},
		"https://accept.example/t1k2": {"organizationInvitation.created", `{"id":"inv_1","url":"https://accept.example/t1k2"}`, "t1k2"},
		"xabcdefx":                    {"user.created", `{"id":"user_1","private_metadata":{"a":"abcdef"}}`, "abcdef"},
		"t1k2t3":                      {"organizationInvitation.created", `{"id":"inv_1","url":"https://accept.example/?ticket=t1k2t3"}`, "t1k2t3"},
		"from ada@example.com":        {"user.created", `{"id":"user_1","private_metadata":{"ada@example.com":true}}`, "ada@"},
		"hunter_2nd":                  {"user.created", `{"id":"user_1","private_metadata":{"a":[{"hunter_2nd":1}]}}`, "hunter_2nd"},
	} {
		for _, bodies := range []bool{true, false} {
			log := newLog(eventlog.Options{Bodies: bodies})
			h := start(t, log, nil, bridge.On(clerk.EventType[json.RawMessage](test.event), func(ctx context.Context, _ *clerk.Event[json.RawMessage], k *actions.Client) error {
				if err := k.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Properties: map[string]any{"x": passed}}); err != nil {
					return err
				}
				return errors.New(passed)
			}))
			deliver(t, h, test.event, json.RawMessage(test.data))
			assert.NotContains(t, all(t, last(t, log)), test.secret)
		}
	}
}

// TestPlainNames: a member of private metadata whose name is a word says nothing, and
// the same word elsewhere stays.
func TestPlainNames(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{Bodies: true})
	h := start(t, log, nil, bridge.On(clerk.UserCreated, func(ctx context.Context, _ *userEvent, k *actions.Client) error {
		return k.SetObject(ctx, actions.SetObject{Collection: "accounts", ID: "a1b2c3", Properties: map[string]any{"billing_plan": "x1y2", "active": "true", "text": "it is null"}})
	}))
	deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1","private_metadata":{"accounts":1,"billing_plan":"free","on":true,"off":null}}`))
	r := last(t, log)
	assert.Equal(t, "/v1/objects/accounts/a1b2c3", r.Steps[0].Path)
	assert.Contains(t, string(r.Steps[0].Body), `"billing_plan":"x1y2"`)
	assert.Contains(t, string(r.Steps[0].Body), `"active":"true"`)
}

// TestOddMessages: the text of a message is nowhere, whatever shape the event has.
func TestOddMessages(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"type":"email.created","data":"it is hunter2"}`,
		`{"type":"email.created","data":["it is hunter2"]}`,
		`{"type":"email.created","data":[{"body":"it is hunter2"}]}`,
		`{"type":"email.created","body":"it is hunter2","data":{"id":"ema_1"}}`,
		`{"type":"sms.created","DATA":{"message":"it is hunter2"}}`,
		`{"type":"sms.created","data":{"a/b":"it is hunter2"}}`,
		`{"type":"sms.created","a~b":"it is hunter2","data":{}}`,
	} {
		log := newLog(eventlog.Options{Bodies: true})
		_, err := start(t, log, nil).Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: []byte(body)})
		require.NoError(t, err)
		r := last(t, log)
		assert.NotContains(t, all(t, r), "hunter2", body)
		assert.NotEmpty(t, r.Redacted)
		assert.True(t, json.Valid(r.Payload))
	}
	log := newLog(eventlog.Options{Bodies: true})
	const plain = `{"type":"sms.created","object":"event","timestamp":1767225600005,"instance_id":"ins_1","data":{"id":"sms_1","status":"queued"},` +
		`"event_attributes":{"http_request":{"client_ip":"203.0.113.24"}}}`
	_, err := start(t, log, nil).Process(t.Context(), bridge.Delivery{ID: "msg_1", Body: []byte(plain)})
	require.NoError(t, err)
	assert.JSONEq(t, plain, string(last(t, log).Payload), "what is around it stays")
}
