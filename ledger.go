package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Ledger remembers what has been done: which deliveries are finished, which
// steps of unfinished ones are, and the newest state of each entity (a user, an
// organization, a membership) that has been applied. Deliveries that are
// handled by several processes need a Ledger that these share, such as one of
// package sqlledger. [MemoryLedger] is for one process. Package ledgertest
// checks any other.
//
// All methods are safe for concurrent use, including by several processes. An
// error ends the delivery as [OutcomeTransient], except where a method names
// one.
//
// A Ledger measures all times on one clock of its own, so that the clocks of the
// processes do not matter.
type Ledger interface {
	// Claim takes a delivery, and all entities that the Claim names, for one
	// worker, or takes nothing. Claims and Saves that have a delivery or a key in
	// common, including Reads and keys below Bury, take effect one after the
	// other: transactions must be serializable, or take locks.
	Claim(ctx context.Context, c Claim) (Claimed, error)

	// Save records progress. A Progress with an Outcome also releases the delivery
	// and its entities. It records nothing and returns [ErrClaimLost] when the
	// delivery or one of its entities has been claimed again since, by whomever.
	Save(ctx context.Context, p Progress) error

	// Gone returns, in any order, the keys of those of the entities that have been
	// deleted: those that a Claim has named in Bury. It may be given thousands, or
	// none.
	Gone(ctx context.Context, entities []string) ([]string, error)
}

// ErrClaimLost says that a delivery took longer than its lease and that another
// worker has since taken it, or one of its entities.
var ErrClaimLost = errors.New("bridge: the delivery took too long and was taken over")

// Claim asks a [Ledger] for a delivery.
type Claim struct {
	// Delivery is the svix-id.
	Delivery string

	// EventType is the event's name, for people who look at the ledger.
	EventType string

	// ReceivedAt is the delivery's, on the clock of the process that received it,
	// for people who look at the ledger.
	ReceivedAt time.Time

	// Lease is how long the claim lasts. After that, others may take over the
	// delivery and its entities.
	Lease time.Duration

	// Entities are the keys of the entities to take with the delivery, at most
	// three. An entity has one holder at a time.
	Entities []string

	// Reads are the keys of entities to look at without taking them.
	Reads []string

	// Bury, unless empty, is one of Entities: it is permanently marked as gone,
	// even when the claim is refused as busy. The claim is granted only when
	// nobody holds an entity below it, that is, one whose key begins with Bury +
	// "/".
	Bury string
}

// ClaimStatus is a [Ledger]'s answer to a [Claim].
type ClaimStatus int

const (
	// ClaimBusy means that somebody else holds the delivery or an entity.
	ClaimBusy ClaimStatus = iota

	// ClaimGranted means that the delivery is the caller's, for the lease.
	ClaimGranted

	// ClaimFinished means that the delivery has been processed.
	ClaimFinished
)

// Claimed is the answer to a [Claim]. With ClaimBusy only RetryAfter is set.
type Claimed struct {
	// Status says whether the delivery is the caller's. The zero value is
	// ClaimBusy.
	Status ClaimStatus

	// RetryAfter is the time until the first of the leases that block the claim
	// ends.
	RetryAfter time.Duration

	// Attempt counts the claims of the delivery, from 1. It is part of Progress,
	// so that a worker that has lost its claim can't record anything.
	Attempt int

	// Now is the Ledger's clock.
	Now time.Time

	// OpenSince is when the first attempt began that ended without a Save, in a
	// crash: such an attempt may have sent its first call, which is not among
	// Steps. It is zero when there was none. Progress hands it back, to be kept.
	OpenSince time.Time

	// Forgotten is true when the delivery was finished so long ago that only its
	// id is left.
	Forgotten bool

	// Steps are those that earlier attempts have saved.
	Steps []StepRecord

	// Entities are those of the Claim, Reads included, in no order. One that the
	// Ledger has never seen has only its Key set.
	Entities []Entity
}

// StepRecord is what a [Ledger] keeps of a [Step].
type StepRecord struct {
	// Name is the step's, hashed when it is over 255 bytes long.
	Name string `json:"name"`

	// Kind is the step's.
	Kind string `json:"kind"`

	// Done is true when the step has succeeded. Otherwise it has been begun, and
	// may or may not have taken effect.
	Done bool `json:"done,omitzero"`

	// StartedAt is when it was first begun, on the Ledger's clock.
	StartedAt time.Time `json:"started_at"`

	// Duration is the time of the last attempt.
	Duration time.Duration `json:"duration,omitzero"`

	// Status, RequestID and Attempts are the step's.
	Status    int    `json:"status,omitzero"`
	RequestID string `json:"request_id,omitzero"`
	Attempts  int    `json:"attempts,omitzero"`

	// Result is the step's, which is the id of a workflow run and nothing else.
	Result json.RawMessage `json:"result,omitzero"`
}

// Entity is what a [Ledger] keeps of a user, an organization or a membership.
type Entity struct {
	// Key names it, such as "user/user_1". At most 1,024 bytes of printable
	// ASCII.
	Key string

	// Gone is true once it has been deleted.
	Gone bool

	// Crashed is true in a Claimed when the last holder of the entity never
	// released it. It is not used by Save.
	Crashed bool

	// State is for the bridge to read: JSON of a hundred bytes or more, nil at
	// first.
	State json.RawMessage
}

// Progress is what a [Ledger] is to record of a delivery.
type Progress struct {
	// Delivery and Attempt are those of the claim.
	Delivery string
	Attempt  int

	// OpenSince is that of the [Claimed]. Store it, even when it is zero, in place
	// of what the claim has recorded for this attempt.
	OpenSince time.Time

	// Steps are all steps so far, those of earlier attempts included.
	Steps []StepRecord

	// Entities are those taken with the claim whose State has changed. Their Gone
	// is ignored.
	Entities []Entity

	// Held are the keys of all entities taken with the claim.
	Held []string

	// Outcome is empty as long as the work goes on. Any other releases the claim;
	// one that is OK finishes the delivery permanently.
	Outcome Outcome
}
