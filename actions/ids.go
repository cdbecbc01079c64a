package actions

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxID is Knock's limit for ids, in characters.
const maxID = 256

// checkID refuses what Knock does not take as an id, or what would reach
// another resource once it stands in a path.
func checkID(op, field, id string) error {
	var reason string
	switch {
	case id == "":
		reason = "is empty"
	case id == "." || id == "..":
		reason = "is a dot segment"
	case !utf8.ValidString(id):
		reason = "is not UTF-8"
	case utf8.RuneCountInString(id) > maxID:
		reason = "is longer than " + strconv.Itoa(maxID) + " characters"
	case strings.ContainsAny(id, "/#"):
		reason = "holds a slash or a number sign"
	case strings.ContainsFunc(id, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }):
		reason = "holds a control character"
	default:
		return nil
	}
	return &InvalidError{Op: op, Field: field, Reason: reason, Data: !isName(field)}
}

// isName reports whether a field holds a name that the code chooses.
func isName(field string) bool {
	switch field {
	case "workflow", "audience", "channel_id", "collection":
		return true
	}
	return strings.HasSuffix(field, ".collection")
}

const upperhex = "0123456789ABCDEF"

// appendPath appends a slash and segment, percent-encoded the way Knock's own
// SDKs do: unreserved characters, sub-delimiters, ":" and "@" stay, so that
// "$tenants" is sent as it reads.
func appendPath(b []byte, segment string) []byte {
	b = append(b, '/')
	for i := range len(segment) {
		c := segment[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', upperhex[c>>4], upperhex[c&15])
		}
	}
	return b
}

// path joins escaped segments below /v1.
func path(segments ...string) string {
	b := make([]byte, 0, 96)
	b = append(b, "/v1"...)
	for _, s := range segments {
		b = appendPath(b, s)
	}
	return string(b)
}
