// Package safelog keeps a slog.Handler that panics from undoing the work that is
// logged, and from ending the process where nobody else recovers.
package safelog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
)

// New returns a Logger that writes what logger, or [slog.Default] if it is nil, would,
// and reports its panics on standard error.
func New(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		logger = slog.Default()
	}
	return slog.New(handler{logger.Handler()})
}

type handler struct{ slog.Handler }

// Enabled is false when it panics.
func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	defer report()
	return h.Handler.Enabled(ctx, level)
}

// Handle returns no error when it panics.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	defer report()
	return h.Handler.Handle(ctx, r)
}

// report is to be deferred. The value of a panic may hold data of an event.
func report() {
	switch v := recover().(type) {
	case nil:
	case runtime.Error:
		_, _ = fmt.Fprintf(os.Stderr, "the Logger panicked: %v\n%s", v, debug.Stack())
	default:
		_, _ = fmt.Fprintf(os.Stderr, "the Logger panicked with a %T\n%s", v, debug.Stack())
	}
}
