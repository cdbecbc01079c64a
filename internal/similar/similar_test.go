package similar

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/clerkknock/bridge/clerk"
)

func TestName(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"user.create":                     "user.created",
		"userDeletd":                      "user.deleted",
		"user.bann":                       "",
		"organization_membership.created": "organizationMembership.created",
		"waitlist":                        "waitlistEntry.created",
		"us":                              "",
		"":                                "",
	} {
		assert.Equal(t, want, Name(written, clerk.EventNames(), 2), written)
	}
	assert.Equal(t, "user.created", Name("User.Created", clerk.EventNames(), 0))
	assert.Empty(t, Name("user.create", clerk.EventNames(), 0))
	assert.Equal(t, 3, distance("kitten", "sitting"))
	assert.Equal(t, 4, distance("", "four"))
}
