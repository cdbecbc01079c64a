// Package essentials lets package bridge ask package clerk for less than a whole
// object, without a word of it in what package clerk exports.
package essentials

// Decode decodes, of the data of a valid event, the members that package bridge's
// default functions read: into v, a *clerk.User, a *clerk.Organization or a
// *clerk.OrganizationMembership, whose memory it uses again. What it decodes may
// share memory with data.
//
// It reports false, and leaves anything in v, for other types and for data that
// clerk.Decode has to judge. Package clerk sets it.
var Decode func(data []byte, v any) bool
