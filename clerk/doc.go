// Package clerk holds the webhook events of Clerk: a constant for each of them,
// the Go types of their data, and the functions that read a body.
//
// [Parse] reads the envelope of a body and leaves its data as it is. [Decode]
// turns the data into the Go type that goes with the event. Neither verifies a
// signature: give them bodies that are verified already.
//
// Clerk's bodies differ from each other and from Clerk's own description of
// them, and they gain members at any time. So everything is read leniently:
// unknown events, members and states are accepted, everything may be missing or
// null, and members that older bodies name differently end up in the same
// field. Only a member of a wrong type is an error. [Nullable] distinguishes
// null from absent where that matters.
//
// Printing or logging an event or its data shows nothing secret, with one
// exception: slog's JSON handler marshals slices, maps and structs that hold
// them, and marshaling hides nothing. Log them as attributes of their own.
//
// An event newer than this package needs one line; see [EventType].
package clerk
