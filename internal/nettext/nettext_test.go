package nettext

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

type failing struct{ text string }

func (e *failing) Error() string { return e.text }

func TestOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"connection refused": "connection refused",
		fmt.Sprintf("malformed MIME header: missing colon: %q", `you sent "Bearer sk" \`): `malformed MIME header: missing colon: "…"`,
		fmt.Sprintf("a %q b %q c", "x", ""):                                               `a "…" b "…" c`,
		`cut off "here`:                                                                   `cut off "…"`,
		`cut off "here\`:                                                                  `cut off "…"`,
		strings.Repeat("é", 400):                                                          strings.Repeat("é", 256) + "…",
	} {
		assert.Equal(t, want, Of(errors.New(text)))
	}
	assert.Equal(t, "<nil>", Of(nil))
	assert.Equal(t, "<nil>", Of((*failing)(nil)))
}
