package safelog_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/clerkknock/bridge/internal/safelog"
)

type panicking struct {
	slog.Handler

	enabled, handle any
}

func (p panicking) Enabled(context.Context, slog.Level) bool {
	if p.enabled != nil {
		panic(p.enabled)
	}
	return true
}

func (p panicking) Handle(context.Context, slog.Record) error { panic(p.handle) }

func TestPanics(t *testing.T) {
	t.Parallel()
	var index error
	func() {
		defer func() { index, _ = recover().(error) }()
		_ = []int{}[len(t.Name())]
	}()
	for _, h := range []slog.Handler{panicking{handle: "boom"}, panicking{enabled: "boom"}, panicking{handle: index}} {
		log := safelog.New(slog.New(h))
		assert.NotPanics(t, func() { log.ErrorContext(t.Context(), "x") })
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := safelog.New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{AddSource: true})).With("a", 1))
	log.DebugContext(t.Context(), "not enabled")
	log.InfoContext(t.Context(), "hello")
	assert.Contains(t, out.String(), "safelog_test.go")
	assert.Contains(t, out.String(), `msg=hello a=1`)
	assert.NotContains(t, out.String(), "enabled")
}
