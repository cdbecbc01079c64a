package knocktest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/knocktest"
)

// TestTheOfficialSDK runs node/sdk.test.mjs against the fake.
func TestTheOfficialSDK(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: %v", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := os.Stat(filepath.Join("node", "node_modules", "@knocklabs", "node")); err != nil {
		install := exec.CommandContext(ctx, "npm", "ci")
		install.Dir = "node"
		if out, err := install.CombinedOutput(); err != nil {
			t.Skipf("npm ci can't install Knock's SDK: %v\n%s", err, out)
		}
	}

	knock := bridgetest.StartKnock()
	defer knock.Close()
	run := exec.CommandContext(ctx, "node", "--test", "sdk.test.mjs")
	run.Dir = "node"
	run.Env = append(os.Environ(), "KNOCK_BASE_URL="+knock.URL)
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)

	calls := knock.Calls()
	for _, c := range calls {
		assert.NotZero(t, c.Status, "%s %s", c.Method, c.Path)
		assert.Less(t, c.Status, 500, "%s %s", c.Method, c.Path)
	}
	spec, err := knocktest.Load(document)
	if errors.Is(err, fs.ErrNotExist) {
		t.Logf("what the SDK sent is not held against the document, which is not here: %v", err)
		return
	}
	require.NoError(t, err)
	reached := make(map[string]bool)
	for _, c := range calls {
		if c.Status >= 300 {
			continue
		}
		target := c.Path
		if len(c.Query) > 0 {
			target += "?" + c.Query.Encode()
		}
		name, err := spec.Operation(c.Method, target)
		require.NoError(t, err)
		reached[name] = true
		assert.NoError(t, spec.ValidateRequest(c.Method, target, c.Body), "%s %s %s", c.Method, target, c.Body)
	}
	assert.Len(t, reached, operations, "operations the SDK performed")
}

// TestTheLockFileNamesNoRegistry keeps download addresses out of the lock file:
// npm then uses the registry of whoever installs.
func TestTheLockFileNamesNoRegistry(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("node", "package-lock.json"))
	require.NoError(t, err)
	assert.NotContains(t, string(raw), `"resolved"`)
	assert.Contains(t, string(raw), `"integrity"`)
}
