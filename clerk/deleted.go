package clerk

// DeletedObject is what is left of a user, organization, domain, role or
// permission. Nothing more is sent: whoever needs the e-mail address or the
// name of what was deleted must have kept it.
type DeletedObject struct {
	// ID may be empty, even by Clerk's own description: do not act on it then.
	ID string `json:"id,omitzero"`
	// Object is the kind of what was deleted, such as "user".
	Object string `json:"object,omitzero"`
	// Deleted is true, except for a role or permission sent in full.
	Deleted bool `json:"deleted,omitzero"`
	// ExternalID is the customer's own id, on deleted users of newer bodies.
	ExternalID Nullable[string] `json:"external_id,omitzero"`
	// Slug is sent with an organization, not with a user.
	Slug Nullable[string] `json:"slug,omitzero"`
}
