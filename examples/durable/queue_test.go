package main

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/inbox"
	"github.com/clerkknock/bridge/sqlledger"
)

// TestMappings is how to test mappings together with a queue: a request is answered
// before the work is done, and what comes of it is told to OnResult.
func TestMappings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bridge.db")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)&_txlock=immediate")
	require.NoError(t, err)
	defer db.Close()
	ledger, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
	require.NoError(t, err)
	box, err := inbox.New(ledger, inbox.Config{})
	require.NoError(t, err)

	knock := bridgetest.NewKnock(t)
	results := make(chan *bridge.Result, 1)
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret}, Knock: knock.Transport(), Mappings: mappings(),
		Ledger: ledger, Queue: box,
		OnResult: func(_ context.Context, res *bridge.Result) {
			if res.Outcome != bridge.OutcomeQueued { // that one is stored comes first
				results <- res
			}
		},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx, handler) }()

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, bridgetest.NewRequest(t, "user.created", nil))
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Equal(t, bridge.OutcomeDone, (<-results).Outcome)
	require.Equal(t, "welcome", knock.Runs()[0].Workflow)

	stop()
	require.NoError(t, <-ended) // before the database is closed
}
