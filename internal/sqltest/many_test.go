package sqltest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/internal/history"
)

// TestOneOfMany delivers one event a thousand times at once, to four handlers
// with connections of their own: one does the work.
func TestOneOfMany(t *testing.T) {
	t.Parallel()
	for name, create := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knock := bridgetest.NewKnock(t)
			d := create(t)
			handlers := make([]*bridge.Handler, 4)
			for i := range handlers {
				cfg := history.Config()
				cfg.Knock = knock.Transport()
				cfg.Timeout = time.Minute // they all wait for one file, however slow the disk is
				db := d.open(t)
				db.SetMaxOpenConns(8)
				db.SetMaxIdleConns(8)
				cfg.Ledger = open(t, db, d.cfg)
				var err error
				handlers[i], err = bridge.New(cfg)
				require.NoError(t, err)
			}
			delivery := history.Event("msg_1", "user.created", 1, `{"id":"user_1","first_name":"Ada"}`)
			outcomes := make(map[bridge.Outcome]int)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Go(func() {
					res, _ := handlers[i%len(handlers)].Process(t.Context(), delivery)
					mu.Lock()
					defer mu.Unlock()
					outcomes[res.Outcome]++
				})
			}
			wg.Wait()
			t.Log(outcomes)
			assert.Equal(t, 1, outcomes[bridge.OutcomeDone])
			assert.Equal(t, 999, outcomes[bridge.OutcomeDuplicate]+outcomes[bridge.OutcomeTransient], "nothing else")
			assert.Len(t, knock.Calls(), 2, "identify and welcome")
		})
	}
}
