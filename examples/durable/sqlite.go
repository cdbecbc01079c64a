package main

import (
	"context"
	"database/sql"
	"net/url"

	_ "modernc.org/sqlite"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/inbox"
	"github.com/clerkknock/bridge/sqlledger"
)

// file is the engine of one machine.
type file struct {
	db     *sql.DB
	ledger *sqlledger.Ledger
	inbox  *inbox.Inbox
}

func openSQLite(ctx context.Context, c *config) (*file, error) {
	// Each commit waits for the disk (synchronous is FULL), as a delivery that was
	// acknowledged is not to be lost when the power is.
	options := url.Values{"_pragma": {"journal_mode(WAL)", "busy_timeout(1000)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(c.file), RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, err
	}
	f := &file{db: db}
	if f.ledger, err = sqlledger.Open(ctx, db, sqlledger.Config{Logger: c.logger}); err == nil {
		f.inbox, err = inbox.New(f.ledger, inbox.Config{Logger: c.logger, Workers: c.workers})
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *file) configure(cfg *bridge.Config) { cfg.Ledger, cfg.Queue = f.ledger, f.inbox }

func (f *file) start(ctx context.Context, handler *bridge.Handler) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.inbox.Run(ctx, handler) }()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

func (f *file) close() { _ = f.db.Close() }
