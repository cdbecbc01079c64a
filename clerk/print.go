package clerk

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// summary writes what is safe to print: the attributes of a LogValue.
func summary(name string, v slog.Value) string {
	var b strings.Builder
	b.WriteString("clerk.")
	b.WriteString(name)
	b.WriteByte('{')
	for i, a := range v.Group() {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.Key)
		b.WriteByte(':')
		switch a.Value.Kind() {
		case slog.KindString:
			fmt.Fprintf(&b, "%q", a.Value.String())
		case slog.KindTime:
			b.WriteString(a.Value.Time().Format(time.RFC3339Nano))
		default:
			b.WriteString(a.Value.String())
		}
	}
	b.WriteByte('}')
	return b.String()
}

func printSummary(f fmt.State, s string) { _, _ = io.WriteString(f, s) }
