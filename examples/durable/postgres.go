package main

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/sqlledger"
)

// shared is the engine of many machines.
type shared struct {
	pool    *pgxpool.Pool
	db      *sql.DB // of the pool
	ledger  *sqlledger.Ledger
	workers *river.Workers
	client  *river.Client[pgx.Tx]
}

func openPostgres(ctx context.Context, c *config) (*shared, error) {
	const connections = 8 // of each copy; a server has 100 unless it is told otherwise
	cfg, err := pgxpool.ParseConfig(c.databaseURL)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &shared{pool: pool, db: stdlib.OpenDBFromPool(pool), workers: river.NewWorkers()}
	if err := s.open(ctx, c); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *shared) open(ctx context.Context, c *config) (err error) {
	if s.ledger, err = sqlledger.Open(ctx, s.db, sqlledger.Config{Logger: c.logger}); err != nil {
		return err
	}
	if err = bridgeriver.Migrate(ctx, s.pool); err != nil {
		return err
	}
	s.client, err = river.NewClient(riverpgxv5.New(s.pool), bridgeriver.Configure(&river.Config{
		Workers: s.workers,
		Queues:  map[string]river.QueueConfig{bridgeriver.QueueName: {MaxWorkers: c.workers}},
		Logger:  c.logger,
	}))
	return err
}

func (s *shared) configure(cfg *bridge.Config) {
	cfg.Ledger, cfg.Queue = s.ledger, bridgeriver.Queue(s.client)
}

func (s *shared) start(ctx context.Context, handler *bridge.Handler) (stop func() error, err error) {
	bridgeriver.AddWorker(s.workers, handler)
	if err := s.client.Start(ctx); err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		return s.client.Stop(ctx)
	}, nil
}

func (s *shared) close() {
	_ = s.db.Close()
	s.pool.Close()
}
