// Package bridgetest helps to test code that is built on package bridge: with
// signed deliveries as Clerk would send them, and with a fake of Knock that
// remembers what it was told.
//
// [NewKnock] starts the fake for one test:
//
//	knock := bridgetest.NewKnock(t)
//	handler, err := bridge.New(bridge.Config{
//		SigningSecrets: []string{bridgetest.Secret},
//		Knock:          knock.Transport(),
//	})
//	// … deliver events to the handler …
//	user, ok := knock.User("user_1")
//
// The fake follows Knock's published API: routes, statuses, answers, errors,
// limits, merge rules and idempotency. Where the documents are silent it takes
// the stricter reading, and [KnockOptions] switch to the other one.
// [Knock.Fail] makes the next requests go wrong in a chosen way.
//
// The package is for tests and demonstrations. It has no state of its own, so
// tests that use it can run in parallel.
package bridgetest
