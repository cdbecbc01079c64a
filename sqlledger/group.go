package sqlledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	// busyPatience is how long to wait for a lock when the context does not end.
	busyPatience           = 5 * time.Second
	firstBusy, longestBusy = time.Millisecond, 20 * time.Millisecond
)

// write is what is done in a transaction, perhaps more than once before it counts.
type write func(context.Context, *transaction) error

// group has writes to SQLite share transactions.
type group struct {
	*gatherer[write]

	db *sql.DB
}

func newGroup(db *sql.DB) *group {
	g := &group{db: db}
	g.gatherer = newGatherer(g.transact)
	return g
}

// write runs do in a transaction, and returns once that is committed. It may run
// do again, after what it did before has been undone.
func (g *group) write(ctx context.Context, do write) error { return g.do(ctx, do) }

// transact runs writes in a transaction, on a connection of its own: not all
// drivers let BeginTx lock the database.
func (g *group) transact(ctx context.Context, writes []write) error {
	conn, err := g.db.Conn(ctx)
	if err != nil {
		return err
	}
	tx := &transaction{conn: conn, statements: make(map[string]*sql.Stmt)}
	defer tx.close()
	run := func(ctx context.Context, statement string) error {
		return patiently(ctx, func() error {
			_, err := conn.ExecContext(ctx, statement)
			return err
		})
	}
	if err = run(ctx, "begin immediate"); err == nil {
		for _, w := range writes {
			if err = w(ctx, tx); err != nil {
				break
			}
		}
		if err == nil {
			// It is not cut off: a driver then says that it failed, whether or not it did,
			// and all would be done again.
			if err = run(context.WithoutCancel(ctx), "commit"); err == nil {
				return nil
			}
		}
	}
	// There may be no transaction: some errors end it, and it may or may not have
	// been begun in the moment that ctx ended.
	_, undone := conn.ExecContext(context.WithoutCancel(ctx), "rollback")
	if undone != nil && !strings.Contains(undone.Error(), "no transaction is active") {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // nobody is to use it
	}
	return err
}

// transaction is one that locks the database, with its statements prepared once
// for all writes.
type transaction struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

func (tx *transaction) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := tx.statements[query]; s != nil {
		return s, nil
	}
	s, err := tx.conn.PrepareContext(ctx, query)
	if err == nil {
		tx.statements[query] = s
	}
	return s, err
}

func (tx *transaction) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := tx.prepare(ctx, query) //nolint:sqlclosecheck // with the transaction
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (tx *transaction) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := tx.prepare(ctx, query) //nolint:sqlclosecheck // with the transaction
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// queryRow scans the one row of a query.
func (tx *transaction) queryRow(ctx context.Context, query string, args []any, to ...any) error {
	s, err := tx.prepare(ctx, query) //nolint:sqlclosecheck // with the transaction
	if err != nil {
		return err
	}
	return s.QueryRowContext(ctx, args...).Scan(to...)
}

func (tx *transaction) close() {
	for _, s := range tx.statements {
		_ = s.Close()
	}
	_ = tx.conn.Close()
}

// patiently repeats what fails because somebody else has locked the database.
func patiently(ctx context.Context, do func() error) error {
	end := time.Now().Add(busyPatience)
	var locked error
	for wait := firstBusy; ; wait = min(2*wait, longestBusy) {
		err := do()
		switch {
		case err == nil:
			return nil
		case !isBusy(err) && locked != nil: // the context has ended in this attempt
			return fmt.Errorf("%w: %w", err, locked)
		case !isBusy(err) || time.Now().After(end):
			return err
		}
		locked = err
		select {
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // a wait need not be unpredictable
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), locked)
		}
	}
}

// isBusy goes by the text, as the errors are the drivers'. All have SQLite's.
func isBusy(err error) bool {
	return strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "database table is locked") ||
		strings.Contains(err.Error(), "database schema is locked")
}
