package clerk

import (
	"math"
	"strconv"
	"time"
)

// Millis is a point in time as Clerk writes it: milliseconds since 1970. Some
// bodies carry seconds, which [Millis.Time] recognizes.
type Millis int64

// secondsBelow tells seconds from milliseconds: as seconds it lies in the year
// 5138, as milliseconds in 1973.
const secondsBelow = 100_000_000_000

// Time returns the time in UTC. A value closer to 1970 than 1e11 is taken as
// seconds. Zero is the zero [time.Time].
func (m Millis) Time() time.Time {
	switch {
	case m == 0:
		return time.Time{}
	case -secondsBelow < m && m < secondsBelow:
		return time.Unix(int64(m), 0).UTC()
	default:
		return time.UnixMilli(int64(m)).UTC()
	}
}

// UnmarshalJSON decodes a number, also one with a fraction, which is cut off,
// or an exponent. Null is zero.
func (m *Millis) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*m = 0
		return nil
	}
	n, ok := parseMillis(b)
	if !ok {
		return mismatched[Millis](b)
	}
	*m = n
	return nil
}

func parseMillis(number []byte) (Millis, bool) {
	if n, err := strconv.ParseInt(string(number), 10, 64); err == nil {
		return Millis(n), true
	}
	// Such a number is rare, and no time lies beyond 2^53.
	if f, err := strconv.ParseFloat(string(number), 64); err == nil && math.Abs(f) < 1<<53 {
		return Millis(f), true
	}
	return 0, false
}
