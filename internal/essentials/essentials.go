// Package essentials lets package bridge ask package clerk for less than a whole
// object, and for the type of one, without a word of it in what package clerk exports.
// Package clerk sets its variables.
package essentials

import "reflect"

// Decode decodes, of the data of an event that clerk.Parse has taken, the members
// that package bridge's default functions and its order read: into v, which points
// to a clerk.User, Organization, OrganizationMembership, Session or DeletedObject,
// whose memory it uses again.
//
// It reports false, and leaves anything in v, for other types and for data that
// clerk.Decode has to judge.
var Decode func(data []byte, v any) bool

// DataTypes are the types of the data of the events that package clerk knows.
var DataTypes map[string]reflect.Type
