// Package eventlog shows what a [bridge.Handler] has done: each attempt of a
// delivery with its outcome and each call to Knock, in a [Store] that can be
// asked, and on a page.
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
// [Memory] is for one process, and forgets with it. An EventLog of package
// sqlledger keeps the records of all processes in SQLite or PostgreSQL. Whatever
// happens to the store, deliveries go on: records that could not be stored are
// counted, see [Log.Lost], and logged.
//
// # What is stored
//
// Of each attempt: times, the event's type, the ids of the delivery and of the
// user, organization or membership, the outcome and why, the names of the
// functions mapped to the type, and of each call its name, method, path, status,
// times and keys. These are ids and names, nothing else of the payload; but where a
// mapping makes the name or the id of an object of something private, that is there.
//
// With Options.Bodies, payloads and the bodies of calls are kept as well. Before
// they are stored, these are taken out of them: private_metadata and
// unsafe_metadata; texts and variables of e-mails and text messages, which hold
// one-time codes; URLs of invitations; and whatever is named a password, secret,
// token, nonce, backup code, one-time code, link (magic, login, reset, invitation)
// or key (API, private, access and the like), at any depth, and also where the name
// is numbered or written together: token2, newpassword. A value that was taken out of
// the payload is also taken out of the calls, under whatever name it is there, if it
// has four characters or more. Names, addresses and public metadata remain: who may
// see the page may see these.
//
// # Replay
//
// A delivery can be replayed with the payload as it came. That is there when
// nothing had to be taken out of it, or with Options.KeepOriginals, which keeps
// what was taken out in the store. [bridge.Handler.Replay] does the work: what
// has been done before is not done again, and a delivery that is finished is a
// duplicate for 96 hours.
//
// # JSON
//
// Every view of the page is also there as JSON, for requests that accept
// application/json and not text/html. Addresses are relative to where the page is
// mounted:
//
//	GET  ./?type=&outcome=&q=&from=&to=&cursor=   the records of a filter, each of whose parts may be left out
//	GET  delivery?id=…                            one record, and why it ended as it did
//	GET  mappings                                 the mapping table in force, and what arrives that nobody knows
//	GET  verifications                            requests that failed their verification
//	POST preview                                  the calls that a webhook's body would lead to
//	GET  replay?id=…, or with a filter            what can be replayed, and why the rest can't
//	POST replay                                   {"ids": […]} replays 1 to 100 records
//
// Programs post application/json. Outcome may be "failed", for all failures; a time
// is one such as 2026-03-01T12:00, in UTC.
//
// # Requests that are not verified
//
// Anybody can send these. They are kept in a list of their own, 500 or as many
// as the store says, and five a second are recorded, with bursts of up to 50: they
// can neither flush the log nor keep the database busy.
package eventlog
