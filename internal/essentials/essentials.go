// Package essentials lets package bridge ask package clerk for less than a whole
// object, without a word of it in what package clerk exports.
package essentials

// Decode decodes, of the data of an event that clerk.Parse has taken, the members
// that package bridge's default functions and its order read: into v, which points
// to a clerk.User, Organization, OrganizationMembership, Session or DeletedObject,
// whose memory it uses again.
//
// It reports false, and leaves anything in v, for other types and for data that
// clerk.Decode has to judge. Package clerk sets it.
var Decode func(data []byte, v any) bool
