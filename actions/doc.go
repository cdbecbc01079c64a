// Package actions calls Knock: users, tenants, objects, subscriptions,
// audiences, preferences, channel data and workflows.
//
// A mapping function of package bridge gets a [Client] for its delivery, whose
// calls are recorded steps with idempotency keys that stay the same on every
// attempt. Scripts and backfills create one themselves:
//
//	knock := actions.NewClient(&actions.HTTP{APIKey: os.Getenv("KNOCK_API_KEY")})
//	err := knock.IdentifyUser(ctx, actions.IdentifyUser{ID: "user_1", Name: "Ada Lovelace"})
//
// A write is a method of Client that takes the struct of the same name. The zero
// value of a field is not sent, so Knock keeps what it has; a nil value in
// Properties is sent as null, which clears. Arguments that Knock would refuse or
// mistake for something else are refused before anything is sent ([InvalidError]).
// What Knock itself refuses is an [Error]. Removing what is not there (404)
// succeeds, unless the answer is a web page or Knock's answer for an unknown
// route: then the base URL is wrong.
//
// An id is 1 to 256 characters of UTF-8 and not "." or "..", without control
// characters, slashes and number signs. All other characters are escaped where the
// id is part of a path.
//
// Requests go through a [Transport]. [HTTP] is the built-in one, which repeats
// what can be repeated; anything else that can send a [Request] will do.
package actions
