package bridge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/ledgertest"
)

func TestMemoryLedger(t *testing.T) {
	t.Parallel()
	ledgertest.Run(t, func(*testing.T) []bridge.Ledger { return []bridge.Ledger{bridge.NewMemoryLedger(0, 0)} })
}

func TestMemoryLedgerForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ledgertest.Forgotten(t, bridge.NewMemoryLedger(0, 0), func() { time.Sleep(97 * time.Hour) })
	})
}
