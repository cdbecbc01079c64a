package eventlog

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/clerkknock/bridge"
)

// Store keeps records: [Memory], or an EventLog of package sqlledger. It removes
// the oldest records by itself. What was not verified is kept in a separate list
// with its own bound, so that nobody can flush the log with forged requests.
//
// All methods are safe for concurrent use.
type Store interface {
	// Append adds records to the log, or to the list of failed verifications.
	Append(ctx context.Context, records []*Record) error

	// Get returns one record with its bodies, from either list, and [ErrNotFound]
	// when there is none of that id.
	Get(ctx context.Context, id string) (*Record, error)

	// List returns records of the log without their bodies, the latest first. The
	// error is [ErrBadCursor] for a cursor that no List has returned.
	List(ctx context.Context, q Query) (Page, error)

	// Counts returns how many records there are of each outcome. The filter's own
	// Outcomes are ignored.
	Counts(ctx context.Context, f Filter) ([]Count, error)

	// Unverified returns the latest failed verifications, the latest first: up to
	// limit of them.
	Unverified(ctx context.Context, limit int) ([]*Record, error)
}

// What a [Store] returns, to be told apart with [errors.Is].
var (
	// ErrNotFound says that there is no such record, or no longer.
	ErrNotFound = errors.New("eventlog: no such record")

	// ErrBadCursor says that no List has returned this cursor.
	ErrBadCursor = errors.New("eventlog: the cursor is unreadable")
)

// Filter chooses records. The zero value chooses all.
type Filter struct {
	// EventType is the event's name. Empty means any.
	EventType string

	// Outcomes are the outcomes to choose. Empty means any.
	Outcomes []bridge.Outcome

	// Search is the id of a delivery, of a user or of an organization, or an
	// entity's key such as "user/user_1". It is matched as a whole; the id of a
	// user finds the user's memberships, too. Empty means any.
	Search string

	// From and To choose by Record.At: not before From, and before To. Zero means
	// any time.
	From, To time.Time
}

// Query asks for a page of records.
type Query struct {
	Filter

	// Cursor is where the last page ended, its Next. Empty means the latest.
	Cursor string

	// Limit is how many records a page has. Zero means 50; the maximum is 200.
	Limit int
}

// Page is a page of records.
type Page struct {
	// Records are without their bodies. They must not be changed.
	Records []*Record

	// Next is the Cursor for the records before these. It is empty when there are
	// none.
	Next string
}

// Count is how many records there are of an outcome.
type Count struct {
	// Outcome is the outcome that is counted.
	Outcome bridge.Outcome `json:"outcome"`
	// N is how many records have it.
	N int `json:"n"`

	// More is true when there are more than N: a [Store] need not count any further
	// than [CountLimit].
	More bool `json:"more,omitzero"`
}

// The bounds of a [Store].
const (
	// CountLimit is how far a [Store] counts.
	CountLimit = 1000

	defaultLimit, maxLimit = 50, 200
)

// PageSize is the number of records that a query asks for.
func (q *Query) PageSize() int {
	if q.Limit <= 0 {
		return defaultLimit
	}
	return min(q.Limit, maxLimit)
}

// Bounds returns the ids between which the records of the filter are: not before
// the first and before the second, each empty for no bound.
func (f *Filter) Bounds() (from, before string) {
	if !f.From.IsZero() {
		from = timePart(f.From)
	}
	if !f.To.IsZero() {
		before = timePart(f.To)
	}
	return from, before
}

// Start is Bounds with the second moved to the query's cursor.
func (q *Query) Start() (from, before string, err error) {
	from, before = q.Bounds()
	if q.Cursor == "" {
		return from, before, nil
	}
	if !validID(q.Cursor) {
		return "", "", ErrBadCursor
	}
	if before == "" || q.Cursor < before {
		before = q.Cursor
	}
	return from, before, nil
}

// Keys returns what Search finds a record by, besides the id of its delivery:
// the user and the organization of its entity. Either may be empty.
func (r *Record) Keys() (user, organization string) { return entityKeys(r.Entity) }

// Terms returns what Search asks for: an id of any kind, or the user and the
// organization of an entity's key.
func (f *Filter) Terms() (id, user, organization string) {
	if user, organization := entityKeys(f.Search); user != "" || organization != "" {
		return "", user, organization
	}
	return f.Search, "", ""
}

func entityKeys(key string) (user, organization string) {
	rest := key
	if after, ok := strings.CutPrefix(rest, "organization/"); ok {
		organization, rest, _ = strings.Cut(after, "/")
	}
	user, _ = strings.CutPrefix(rest, "user/")
	if user == rest { // it is none
		user = ""
	}
	return user, organization
}

const (
	timeDigits = 16
	idLength   = timeDigits + 8
)

// NewID returns an id for a record of that time. It is made of the time and a random part, so that
// ids of several processes differ and sort by time.
func NewID(at time.Time) string {
	var b [idLength]byte
	var chance [4]byte
	binary.BigEndian.PutUint32(chance[:], rand.Uint32()) //nolint:gosec // it need not be unpredictable
	appendTime(b[:0], at)
	hex.Encode(b[timeDigits:], chance[:])
	return string(b[:])
}

func timePart(at time.Time) string { return string(appendTime(nil, at)) }

func appendTime(dst []byte, at time.Time) []byte {
	n := max(at.UnixNano(), 0)
	if at.Year() > 2261 { //nolint:mnd // beyond what nanoseconds can say
		n = 1<<63 - 1
	}
	var b [timeDigits / 2]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	return hex.AppendEncode(dst, b[:])
}

func validID(id string) bool {
	if len(id) != idLength {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
