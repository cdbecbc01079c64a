package bridgeriver

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Migrate brings River's tables up to date, in the first schema of the search path, and adds
// [EntityIndex]. Any number of processes can call it at once: one migrates and the others wait,
// until ctx ends. River's own migration takes no lock, and fails in all processes but one. It needs
// two connections of the pool at a time.
//
// Where processes may not create tables, run River's command-line tool and
// EntityIndex at deployment instead.
func Migrate(ctx context.Context, pool *pgxpool.Pool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("bridgeriver: migrate: %w", err)
		}
	}()
	if pool.Config().MaxConns < 2 {
		return fmt.Errorf("the pool has %d connection, and it takes two", pool.Config().MaxConns)
	}
	unlock, err := lock(ctx, pool)
	if err != nil {
		return err
	}
	defer unlock()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	if _, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	return createIndex(ctx, pool)
}

// createIndex makes EntityIndex. The statement would lock the table also when the
// index is there.
func createIndex(ctx context.Context, pool *pgxpool.Pool) error {
	var there bool
	err := pool.QueryRow(ctx, "select to_regclass($1) is not null", entityIndex).Scan(&there)
	if err == nil && !there {
		_, err = pool.Exec(ctx, EntityIndex)
	}
	return err
}

// lock takes an advisory lock. It asks for it again and again, because a session
// that waits for one keeps PostgreSQL from building indexes concurrently.
func lock(ctx context.Context, pool *pgxpool.Pool) (unlock func(), err error) {
	const (
		key   int64 = 0x636c65726b // "clerk"
		pause       = 50 * time.Millisecond
	)
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	for {
		var locked bool
		if err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", key).Scan(&locked); err != nil {
			conn.Release()
			return nil, err
		}
		if locked {
			return func() { release(ctx, conn, key) }, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			conn.Release()
			return nil, ctx.Err()
		}
	}
}

// release gives the lock back, with the connection if need be.
func release(ctx context.Context, conn *pgxpool.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	if _, err := conn.Exec(ctx, "select pg_advisory_unlock($1)", key); err != nil {
		_ = conn.Conn().Close(ctx)
	}
	conn.Release()
}
