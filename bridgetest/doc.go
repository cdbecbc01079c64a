// Package bridgetest helps to test code built on package bridge, with events as
// Clerk would send them and a fake of Knock that remembers what it was told.
//
// # Events
//
// [Sample] returns the data of a typical event, to be changed as a test needs
// it; [SampleData] is the JSON behind it. Three functions make an event from
// such data, or any other:
//
//   - [NewEvent] returns it as a mapping function gets it,
//   - [NewDelivery] as [bridge.Handler.Process] takes it,
//   - [NewRequest] as the signed request with which Clerk would deliver it.
//     [Attempt] makes another request for the same delivery, as Svix does after
//     a failure.
//
// # Mapping functions
//
// [Run] calls a mapping function and records what it tells Knock, without a
// server; [Want] puts what is expected into the same form:
//
//	got := bridgetest.Run(t, welcome, bridgetest.NewEvent(clerk.UserCreated, user))
//	require.NoError(t, got.Err)
//	assert.Equal(t, bridgetest.Want(t, func(ctx context.Context, knock *actions.Client) error {
//		return knock.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Name: "Ada"})
//	}), got.Actions)
//
// # The fake of Knock
//
// [NewKnock] starts the fake for one test, [StartKnock] for a program:
//
//	knock := bridgetest.NewKnock(t)
//	handler, err := bridge.New(bridge.Config{
//		SigningSecrets: []string{bridgetest.Secret},
//		Knock:          knock.Transport(),
//	})
//	// …
//	handler.ServeHTTP(httptest.NewRecorder(), bridgetest.NewRequest(t, "user.created", user))
//	stored, ok := knock.User("user_1")
//
// The fake follows Knock's published API: routes, statuses, answers, errors,
// limits, merge rules and idempotency. Where the documents are silent it takes
// the stricter reading, and [KnockOptions] switch to the other one.
// [Knock.Fail] makes the next requests go wrong in a chosen way.
//
// The package is for tests and demonstrations. It has no state of its own, so
// tests that use it can run in parallel.
package bridgetest
