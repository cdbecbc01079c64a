package inbox_test //nolint:testableexamples // it serves until it is told to stop

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/eventlog"
	"github.com/clerkknock/bridge/inbox"
	"github.com/clerkknock/bridge/sqlledger"
)

// serve receives and processes deliveries until ctx ends. Then it accepts no more,
// finishes what is in progress, and stores what was recorded, before the database is
// closed.
func serve(ctx context.Context, db *sql.DB) error {
	defer db.Close()
	ledger, err := sqlledger.Open(ctx, db, sqlledger.Config{})
	if err != nil {
		return err
	}
	box, err := inbox.New(ledger, inbox.Config{})
	if err != nil {
		return err
	}
	log := eventlog.New(ledger.EventLog(sqlledger.LogConfig{}), eventlog.Options{})
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{os.Getenv("CLERK_WEBHOOK_SIGNING_SECRET")},
		Knock:          &actions.HTTP{APIKey: os.Getenv("KNOCK_API_KEY")},
		Ledger:         ledger, Queue: box, OnResult: log.OnResult,
	})
	if err != nil {
		return err
	}
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	worked := make(chan error, 1)
	go func() { worked <- box.Run(working, handler) }()
	server := &http.Server{Addr: ":8080", Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()

	select {
	case err = <-served:
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err = errors.Join(err, server.Shutdown(limited)) // no new ones
	stopWorking()
	return errors.Join(err, <-worked, log.Flush(limited))
}

// A server with an inbox and an event log, and the order in which it stops.
func ExampleInbox() {
	db, err := sql.Open("sqlite", "file:bridge.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)&_txlock=immediate")
	if err != nil {
		return
	}
	_ = serve(context.Background(), db) // until the program is told to stop
}
