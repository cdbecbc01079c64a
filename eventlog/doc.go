// Package eventlog shows what a [bridge.Handler] has done: each attempt of a
// delivery with its outcome and each call to Knock, in a [Store] that can be
// queried, and on a page.
//
//	log := eventlog.New(eventlog.NewMemory(0), eventlog.Options{})
//	handler, err := bridge.New(bridge.Config{OnResult: log.OnResult, ...})
//	...
//	page, err := eventlog.Handler(handler, log, eventlog.PageOptions{Authorize: isAdmin})
//	...
//	mux.Handle("/debug/bridge/", page)
//
// # Where
//
// [Memory] is for one process, and forgets everything when it ends. An EventLog
// of package sqlledger keeps the records of all processes in SQLite or
// PostgreSQL. Whatever happens to the store, deliveries go on: records that
// could not be stored are counted, see [Log.Lost], and logged.
//
// # What is stored
//
// For each attempt: times, the event's type, the ids of the delivery and of the
// user, organization or membership, the outcome and its reason, the names of the
// functions mapped to the type, and for each call its name, method, path, status,
// times and keys. These are ids and names, nothing else of the payload; but if a
// mapping builds an object's name or id from something private, that is stored.
//
// With Options.Bodies, payloads and the bodies of calls are kept as well. Before they
// are stored, these are removed from them: private_metadata and unsafe_metadata;
// texts and variables of e-mails and text messages, which hold one-time codes; URLs
// of invitations; and whatever is named a password, secret, token, nonce, backup
// code, one-time code, link (magic, login, reset, invitation) or key (API, private,
// access and the like), at any depth, and also where the name has a number or is part
// of one word: token2, newpassword. A value of four characters or more that was
// removed from the payload is also removed from the calls, whatever its name there.
// Names, addresses and public metadata remain: whoever may see the page may see
// these.
//
// # Replay
//
// A delivery can be replayed only with the payload as it came. With Options.Bodies, the
// store has that if nothing had to be removed from it, and with Options.KeepOriginals,
// which keeps what was removed, always. [bridge.Handler.Replay] does the work: what has
// been done before is not done again, and a finished delivery is a duplicate
// for 96 hours.
//
// # JSON
//
// Every view of the page is also there as JSON, for requests that accept
// application/json and not text/html. Addresses are relative to where the page is
// mounted:
//
//	GET  ./?type=&outcome=&q=&from=&to=&cursor=   the records of a filter, each of whose parts may be left out
//	GET  delivery?id=…                            one record, and why it ended as it did
//	GET  mappings                                 the mapping table in force, and what arrives unmapped or unknown
//	GET  verifications                            requests that failed their verification
//	POST preview                                  the calls that a webhook's body would lead to
//	GET  replay?id=…, or with a filter            what can be replayed, and why the rest can't
//	POST replay                                   {"ids": […]} replays 1 to 100 records
//
// Programs post application/json. Outcome may be "failed", for all failures; times
// have the form 2026-03-01T12:00, in UTC.
//
// # Requests that are not verified
//
// Anybody can send these. They are kept in a list of their own, of 500 or as many
// as the store says, and at most five a second are recorded, with bursts of up to
// 50, so that they can neither flush the log nor keep the database busy.
package eventlog
