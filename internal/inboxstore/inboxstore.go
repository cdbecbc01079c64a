// Package inboxstore is what package inbox asks of its tables, which package
// sqlledger has.
package inboxstore

import (
	"context"
	"time"

	"github.com/clerkknock/bridge"
)

// Store is the tables.
type Store interface {
	// Add stores a delivery that is neither stored nor finished. One that was
	// given up waits again. It reports whether it did any of that.
	Add(ctx context.Context, d Delivery) (bool, error)

	// Turn gives back what has ended, and takes others.
	Turn(ctx context.Context, t Turn) (Taken, error)

	// Stats counts.
	Stats(ctx context.Context) (bridge.QueueStats, error)

	// Dead returns those given up, the latest first, from before seq (0 for the
	// first page).
	Dead(ctx context.Context, seq int64, limit int) ([]Letter, error)

	// Revive lets those given up wait again, and Remove forgets them. Both return
	// how many there were.
	Revive(ctx context.Context, ids []string) (int, error)
	Remove(ctx context.Context, ids []string) (int, error)
}

// Delivery is one that is stored.
type Delivery struct {
	ID, EventType, Entity string
	Deletes               bool
	Version, Timestamp    int64
	ReceivedAt            time.Time
	Body                  []byte
	Attempt               int // those that have failed
}

// Turn is one turn of the loop that feeds the workers of a process.
type Turn struct {
	Owner string        // the process
	Lease time.Duration // of what is taken
	Renew bool          // the leases of all that the process has
	Ended []Ended
	Take  int // lists of deliveries

	// Suspects lets one be taken of those in the middle of which the process has
	// ended twice in a row or more often, unless another one is under way.
	Suspects bool
}

// Ended is a delivery that a worker gives back.
type Ended struct {
	ID string

	// Done removes it. Otherwise it is due After some time, or Dead.
	Done, Dead bool
	After      time.Duration

	// Free attempts do not count.
	Free bool

	Outcome, Problem string
}

// Taken is the answer to a Turn.
type Taken struct {
	// Lists are deliveries to work off one after the other: those about the same
	// entity, the newest state first, and a deletion last.
	Lists [][]Delivery

	// GivenUp are those in the middle of which the process has ended too often. Their
	// Attempt counts that.
	GivenUp []Delivery

	// Next is when the next delivery is due, suspects left out, and negative when
	// there is none. It is zero when there is one that could not be taken, as somebody
	// else has its entity, or there was no room.
	Next time.Duration

	// Searched is how long it took to find them. It grows with the deliveries that
	// are due and could not be taken.
	Searched time.Duration
}

// Letter is a delivery that was given up.
type Letter struct {
	Delivery

	Seq              int64
	DeadAt           time.Time
	Outcome, Problem string
}
