package pace_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/pace"
)

// TestDrain works off 10,000 new users under the fake Knock's limits. Run it with -v
// for calls and time, on the fake's clock.
func TestDrain(t *testing.T) {
	t.Parallel()
	const users = 10_000
	requests := make([]*actions.Request, users)
	for i := range requests {
		requests[i] = putUser(fmt.Sprintf("user_%d", i))
	}
	for _, tc := range []struct {
		name    string
		workers int
		noBulk  bool
		within  time.Duration
	}{
		{"bulk, 2000 workers", 2000, false, 20 * time.Second},
		{"bulk, 256 workers", 256, false, time.Minute},
		{"one by one, 256 workers", 256, true, 4 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			k, knock := fake(t)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				work(t, &pace.Transport{Knock: knock, NoBulk: tc.noBulk}, tc.workers, requests)
				took := time.Since(start)
				var single, bulk, polls int
				for _, c := range k.Calls() {
					switch {
					case c.Method == http.MethodPut:
						single++
					case strings.HasSuffix(c.Path, "/bulk/identify"):
						bulk++
					default:
						polls++
					}
				}
				t.Logf("%s: %v, %d calls: %d single, %d bulk, %d polls",
					tc.name, took.Round(time.Second/10), single+bulk+polls, single, bulk, polls)
				assert.Zero(t, refusals(k))
				assert.Len(t, k.Users(), users)
				assert.Less(t, took, tc.within)
			})
		})
	}
}
