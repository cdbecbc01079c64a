// Package similar finds what somebody may have meant.
package similar

import "strings"

// Name returns the known name that is nearest to what was written, and at most so
// many edits away from it; "" when none is. Case and separators do not count, and of
// three bytes or more that a name begins with, what is missing counts as two edits.
func Name(written string, known []string, edits int) string {
	best, least := "", 1+edits
	for _, name := range known {
		d := distance(plain(written), plain(name))
		if len(written) > 2 && strings.HasPrefix(plain(name), plain(written)) {
			d = min(d, 2)
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

func plain(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(s))
}

// distance counts the bytes to insert, delete or replace between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
