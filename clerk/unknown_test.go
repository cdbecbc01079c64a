package clerk_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestUnknownMembers(t *testing.T) {
	t.Parallel()
	unknown := func(body string) []string {
		e, err := clerk.Parse("msg_1", []byte(body))
		require.NoError(t, err)
		return clerk.UnknownMembers(e)
	}
	assert.Equal(t, []string{"shoe_size", "", "Id"},
		unknown(`{"type":"user.created","data":{"id":"user_1","shoe_size":{"eu":[43]},"":1,"Id":2,"banned":false}}`))
	assert.Equal(t, []string{"new"}, unknown(`{"type":"sms.created","data":{"created_at_ms":1,"new":1}}`))
	for _, body := range []string{
		`{"type":"user.created"}`, `{"type":"user.created","data":null}`, `{"type":"user.created","data":[1]}`,
		`{"type":"passkey.created","data":{"id":"passkey_1"}}`, `{"type":"user.deleted","data":{}}`,
	} {
		assert.Empty(t, unknown(body), body)
	}
}

// TestNothingUnknownInSamples: the samples are what Clerk sends.
func TestNothingUnknownInSamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		body, err := os.ReadFile(file)
		require.NoError(t, err)
		e, err := clerk.Parse("msg_1", body)
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSuffix(filepath.Base(file), ".json"), e.Type)
		assert.Empty(t, clerk.UnknownMembers(e), file)
	}
}
