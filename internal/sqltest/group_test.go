package sqltest_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
)

// TestFailsAlone: of many claims at once, which share transactions, one fails.
func TestFailsAlone(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	l := d.ledger(t)
	save(t, l, claim("msg_newer"), grant(t, l, claim("msg_newer")), bridge.OutcomeTransient)
	d.exec(t, "update {p}deliveries set format = 2")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if i%10 == 0 {
				_, err := l.Claim(t.Context(), claim("msg_newer"))
				assert.ErrorContains(t, err, "written by a newer version")
				return
			}
			c := claim(fmt.Sprint("msg_", i), fmt.Sprint("user/", i))
			claimed, err := l.Claim(t.Context(), c)
			if assert.NoError(t, err) && assert.Equal(t, bridge.ClaimGranted, claimed.Status) {
				assert.NoError(t, l.Save(t.Context(), progress(c, claimed, bridge.OutcomeDone)))
			}
		})
	}
	wg.Wait()
	for i := range 200 {
		if i%10 != 0 {
			claimed, err := l.Claim(t.Context(), claim(fmt.Sprint("msg_", i)))
			require.NoError(t, err)
			assert.Equal(t, bridge.ClaimFinished, claimed.Status)
		}
	}
}
