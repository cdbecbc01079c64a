package clerk_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestEventNames(t *testing.T) {
	t.Parallel()
	names := clerk.EventNames()
	assert.Len(t, names, 46)
	assert.Equal(t, slices.Sorted(maps.Keys(families)), names)
	names[0] = "changed"
	assert.NotEqual(t, names, clerk.EventNames(), "the caller owns the slice")
	for _, n := range unconfirmed {
		assert.NotContains(t, names, n)
	}
}

func TestEventNameIsTheConstant(t *testing.T) {
	t.Parallel()
	var named clerk.Named = clerk.SubscriptionItemFreeTrialEnding
	assert.Equal(t, "subscriptionItem.freeTrialEnding", named.EventName())
}

// printed is v in every way that fmt and slog print it.
func printed(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%#x", "%10v", "%T"} {
		out[verb] = fmt.Sprintf(verb, v)
		out["in a slice "+verb] = fmt.Sprintf(verb, []any{v})
		out["in a struct "+verb] = fmt.Sprintf(verb, struct{ V any }{v})
		out["in a map "+verb] = fmt.Sprintf(verb, map[string]any{"v": v})
	}
	out["Sprint"] = fmt.Sprint(v)
	out["Errorf"] = fmt.Errorf("x: %v", v).Error()
	var text, js strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).With("with", v).Info("message", "v", v, slog.Group("g", "v", v))
	slog.New(slog.NewJSONHandler(&js, nil)).With("with", v).Info("message", "v", v, slog.Group("g", "v", v))
	out["slog text"], out["slog JSON"] = text.String(), js.String()
	return out
}

func TestNothingSecretIsPrinted(t *testing.T) {
	t.Parallel()
	body := func(name string) []byte {
		b, err := os.ReadFile("testdata/" + name + ".json")
		require.NoError(t, err)
		return b
	}
	user := sample(t, clerk.UserCreated)
	legacy := sample(t, clerk.UserUpdated)
	session := sample(t, clerk.SessionCreated)
	organization := sample(t, clerk.OrganizationCreated)
	membership := sample(t, clerk.OrganizationMembershipCreated)
	invitation := sample(t, clerk.OrganizationInvitationCreated)
	email := sample(t, clerk.EmailCreated)
	sms := sample(t, clerk.SMSCreated)
	waitlist := sample(t, clerk.WaitlistEntryUpdated)
	raw, err := clerk.Parse("msg_1", body("email.created"))
	require.NoError(t, err)

	for _, v := range []any{
		user, *user, &user.Data, user.Data, user.Data.PhoneNumbers[0], &user.Data.PhoneNumbers[0],
		legacy, legacy.Data, legacy.Data.Web3Wallets[0].Verification, legacy.Data.OrganizationMemberships[0],
		session, *session, session.Data, &session.Data, session.Data.User,
		organization, organization.Data, membership, membership.Data, &membership.Data,
		invitation, invitation.Data, &invitation.Data, waitlist, waitlist.Data, waitlist.Data.Invitation,
		email, *email, email.Data, &email.Data, sms, *sms, sms.Data, &sms.Data,
		raw, *raw, clerk.Value(email.Data), clerk.Value(user.Data),
	} {
		for how, s := range printed(v) {
			for _, secret := range []string{
				"867530", "sample-private-value", "sample-backup-code", "sample-secret-token", "sample-nonce",
				"stripe", "otp_code", "body_plain", "billing_reference",
			} {
				assert.NotContains(t, s, secret, "%T %s", v, how)
				assert.NotContains(t, s, fmt.Sprintf("%x", secret), "%T %s", v, how)
				assert.NotContains(t, s, strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"), "%T %s", v, how)
			}
		}
	}

	// The JSON handler of slog marshals what is no LogValuer itself, a slice for
	// one; the package's documentation says so. fmt has no such gap.
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(verb, user.Data.PhoneNumbers), "sample-backup-code")
		assert.NotContains(t, fmt.Sprintf(verb, []clerk.Event[clerk.Email]{*email}), "867530")
	}

	b, err := json.Marshal(email)
	require.NoError(t, err)
	assert.Contains(t, string(b), "867530", "marshaling is faithful")
	b, err = json.Marshal(user.Data)
	require.NoError(t, err)
	assert.Contains(t, string(b), "sample-backup-code-1")
}

func TestPrintedText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		v    any
		want string
	}{
		{
			sample(t, clerk.EmailCreated),
			`clerk.Event{id:"msg_1" type:"email.created" instance_id:"ins_2sample0instance00000000001" timestamp:2026-01-01T00:00:00.005Z}`,
		},
		{
			sample(t, clerk.EmailCreated).Data,
			`clerk.Email{id:"ema_sample_1" slug:"verification_code" user_id:"user_sample_1" status:"queued" delivered_by_clerk:false}`,
		},
		{
			sample(t, clerk.SMSCreated).Data,
			`clerk.SMS{id:"sms_sample_1" slug:"verification_code" user_id:"user_sample_1" status:"queued" delivered_by_clerk:false}`,
		},
		{
			sample(t, clerk.UserUpdated).Data,
			`clerk.User{id:"user_sample_1" banned:true locked:true updated_at:2026-01-01T00:00:00.007Z}`,
		},
		{
			sample(t, clerk.OrganizationMembershipCreated).Data,
			`clerk.OrganizationMembership{id:"orgmem_sample_1" organization_id:"org_sample_1" user_id:"user_sample_1" role:"org:admin" updated_at:2026-01-01T00:00:00.002Z}`,
		},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			assert.Equal(t, tt.want, fmt.Sprintf(verb, tt.v), verb)
		}
		assert.Equal(t, tt.want, tt.v.(fmt.Stringer).String())
	}

	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).Info("m", "event", sample(t, clerk.SMSCreated))
	assert.JSONEq(t, `{"level":"INFO","msg":"m","event":{"id":"msg_1","type":"sms.created",
		"instance_id":"ins_2sample0instance00000000001","timestamp":"2026-01-01T00:00:00.005Z"}}`, log.String())
}
