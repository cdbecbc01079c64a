package actions_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("ü", 10_000)
	for name, tc := range map[string]struct {
		status int
		body   string
		want   actions.Error
		text   string
	}{
		"Knock's": {
			401, `{"code":"api_key_missing","message":"An API key is required","status":401,"type":"authentication_error"}`,
			actions.Error{Code: "api_key_missing", Message: "An API key is required", Type: "authentication_error"},
			"knock: PUT /v1/users/u: 401 api_key_missing: An API key is required (request req_1)",
		},
		"fields": {
			422, `{"code":"invalid_params","message":"Bad","type":"invalid_request_error","errors":[{"field":"email","message":"is invalid","type":null}]}`,
			actions.Error{
				Code: "invalid_params", Message: "Bad", Type: "invalid_request_error",
				Fields: []actions.FieldError{{Field: "email", Message: "is invalid"}},
			},
			"knock: PUT /v1/users/u: 422 invalid_params: Bad; email is invalid (request req_1)",
		},
		"no route":        {404, `{"errors":{"detail":"404 Not Found"}}`, actions.Error{Message: "404 Not Found"}, "knock: PUT /v1/users/u: 404: 404 Not Found (request req_1)"},
		"HTML":            {502, `<html><h1>Bad gateway</h1></html>`, actions.Error{Message: "the answer was not Knock's JSON"}, ""},
		"empty":           {500, ``, actions.Error{Message: "the answer was not Knock's JSON"}, ""},
		"array":           {400, `[{"code":"x"}]`, actions.Error{}, "knock: PUT /v1/users/u: 400 (request req_1)"},
		"null":            {400, `null`, actions.Error{}, ""},
		"string":          {400, `"no"`, actions.Error{}, ""},
		"truncated":       {400, `{"code":"x","mess`, actions.Error{Message: "the answer was not Knock's JSON"}, ""},
		"code a number":   {400, `{"code":7,"message":"Bad"}`, actions.Error{Message: "Bad"}, ""},
		"errors a string": {422, `{"code":"c","errors":"no"}`, actions.Error{Code: "c"}, ""},
		"errors mixed":    {422, `{"code":"c","errors":[{"field":"a"},7]}`, actions.Error{Code: "c"}, ""},
		"redirect":        {302, ``, actions.Error{Message: "the answer was not Knock's JSON"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{"X-Request-Id": {"req_1"}, "Retry-After": {"7"}}
			err := actions.NewClient(answers(tc.status, header, tc.body)).IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u"})
			var got *actions.Error
			require.ErrorAs(t, err, &got)
			assert.Equal(t, tc.status, got.Status)
			assert.Equal(t, "req_1", got.RequestID)
			assert.Equal(t, 7*time.Second, got.RetryAfter)
			assert.Equal(t, 1, got.Attempts)
			assert.Equal(t, []string{"PUT", "/v1/users/u"}, []string{got.Method, got.Path})
			assert.Equal(t, tc.want.Code, got.Code)
			assert.Equal(t, tc.want.Type, got.Type)
			assert.Equal(t, tc.want.Message, got.Message)
			assert.Equal(t, tc.want.Fields, got.Fields)
			if tc.text != "" {
				require.EqualError(t, err, tc.text)
			}
		})
	}
	t.Run("huge", func(t *testing.T) {
		t.Parallel()
		fields := strings.Repeat(`{"field":"`+huge+`","message":"`+huge+`"},`, 30)
		body := `{"code":"` + huge + `","type":"` + huge + `","message":"` + huge + `","errors":[` + strings.TrimSuffix(fields, ",") + `]}`
		err := actions.NewClient(answers(422, nil, body)).IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u"})
		var got *actions.Error
		require.ErrorAs(t, err, &got)
		assert.Len(t, got.Fields, 20)
		assert.Less(t, len(err.Error()), 25_000)
		assert.NotContains(t, err.Error(), "\ufffd")
	})
	t.Run("query", func(t *testing.T) {
		t.Parallel()
		err := actions.NewClient(answers(404, nil, `{}`)).AddAudienceMember(t.Context(), actions.AddAudienceMember{
			Audience: "a", CreateAudience: true, Members: []actions.AudienceMember{{User: actions.IdentifyUser{ID: "u"}}},
		})
		require.ErrorContains(t, err, "POST /v1/audiences/a/members: 404")
	})
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "soon": 0, "NaN": 0, "inf": 0, "+Inf": 0, "-inf": 0, "1 2": 0, "12": 12 * time.Second, "1.5": 1500 * time.Millisecond,
		"3600": time.Hour, "1e300": 24 * time.Hour, "99999999999999999999": 24 * time.Hour,
		"Sat, 21 Nov 2026 08:00:30 GMT": 30 * time.Second, "Sat, 21 Nov 2026 07:00:00 GMT": 0,
		"Saturday, 21-Nov-26 08:01:00 GMT": time.Minute, "Sun, 21 Nov 2066 08:00:00 GMT": 24 * time.Hour,
	} {
		assert.Equal(t, want, actions.ParseRetryAfter(http.Header{"Retry-After": {value}}, now), value)
	}
	assert.Zero(t, actions.ParseRetryAfter(nil, now))
}
