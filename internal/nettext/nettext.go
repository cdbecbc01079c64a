// Package nettext words what happens between this library, net/http and Knock.
package nettext

import (
	"fmt"
	"regexp"
	"strings"
)

// NothingToRemove is the Warning of a step that removes what Knock does not have. The
// log leaves it out of a delivery's line.
const NothingToRemove = "Knock does not have it; nothing to remove"

// quoted is what %q writes, and what is left of it where it was cut off.
var quoted = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.|\\$)*"?`)

const longest = 512

// Of returns the text of an error without what is in quotes, and not too long:
// net/http quotes what the other side has sent, which may be what it was sent.
func Of(err error) string {
	s := quoted.ReplaceAllString(fmt.Sprint(err), `"…"`) // which takes nil, too
	if len(s) <= longest {
		return strings.ToValidUTF8(s, "")
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
