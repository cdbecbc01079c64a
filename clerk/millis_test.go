package clerk_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestMillisTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		m    clerk.Millis
		want time.Time
	}{
		{0, time.Time{}},
		{1716883200000, time.Date(2024, 5, 28, 8, 0, 0, 0, time.UTC)},
		{1716883200123, time.Date(2024, 5, 28, 8, 0, 0, 123e6, time.UTC)},
		{1716883200, time.Date(2024, 5, 28, 8, 0, 0, 0, time.UTC)},
		{1, time.Unix(1, 0).UTC()},
		{-1, time.Unix(-1, 0).UTC()},
		{99_999_999_999, time.Unix(99_999_999_999, 0).UTC()},
		{100_000_000_000, time.Date(1973, 3, 3, 9, 46, 40, 0, time.UTC)},
		{-99_999_999_999, time.Unix(-99_999_999_999, 0).UTC()},
		{-100_000_000_000, time.UnixMilli(-100_000_000_000).UTC()},
	} {
		assert.Equal(t, tt.want, tt.m.Time(), "%d", tt.m)
	}
	assert.True(t, clerk.Millis(0).Time().IsZero())
}

func TestMillisJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]clerk.Millis{
		"null": 0, "0": 0, "-0": 0, "1716883200000": 1716883200000, "-5": -5,
		"1.7168832e12": 1716883200000, "1716883200000.9": 1716883200000, "17168832E5": 1716883200000,
		"9223372036854775807": 9223372036854775807,
	} {
		m := clerk.Millis(7)
		require.NoError(t, json.Unmarshal([]byte(text), &m), text)
		if text == "null" {
			assert.Zero(t, m)
		}
		assert.Equal(t, want, m, text)
		assert.Equal(t, want, decodeData[struct {
			M clerk.Millis `json:"m"`
		}](t, `{"m":`+text+`}`).M, text)
	}
	for _, text := range []string{`"1716883200000"`, `true`, `{}`, `[]`, `1e300`, `9223372036854775808`, `1e16`} {
		var m clerk.Millis
		require.Error(t, json.Unmarshal([]byte(text), &m), text)
	}
	b, err := json.Marshal(clerk.Millis(1716883200000))
	require.NoError(t, err)
	assert.Equal(t, "1716883200000", string(b))
}
