package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/clerkknock/bridge/clerk"
)

// eventTexts says in a line what each event is. A test holds it against the
// events that package clerk knows.
var eventTexts = map[string]string{
	"user.created":                     "somebody signed up, or was created by an administrator or the API",
	"user.updated":                     "anything about a user changed, sign-ins included",
	"user.deleted":                     "a user is gone",
	"session.created":                  "a user signed in",
	"session.ended":                    "a user signed out",
	"session.pending":                  "a user signed in with a task still open",
	"session.removed":                  "the client dropped a session",
	"session.revoked":                  "an administrator or the API ended a session",
	"organization.created":             "an organization was created",
	"organization.updated":             "an organization changed",
	"organization.deleted":             "an organization is gone",
	"organizationMembership.created":   "a user joined an organization",
	"organizationMembership.updated":   "a member's role or metadata changed",
	"organizationMembership.deleted":   "a user left an organization or was removed",
	"organizationInvitation.created":   "somebody was invited to an organization",
	"organizationInvitation.accepted":  "the invited person joined",
	"organizationInvitation.revoked":   "an invitation was taken back",
	"organizationDomain.created":       "a domain was added to an organization",
	"organizationDomain.updated":       "a domain changed, for example was verified",
	"organizationDomain.deleted":       "a domain was removed",
	"role.created":                     "a role was defined",
	"role.updated":                     "a role changed",
	"role.deleted":                     "a role is gone",
	"permission.created":               "a permission was defined",
	"permission.updated":               "a permission changed",
	"permission.deleted":               "a permission is gone",
	"email.created":                    "an e-mail was written, by Clerk or for you to send",
	"sms.created":                      "a text message was written, by Clerk or for you to send",
	"waitlistEntry.created":            "somebody joined the waitlist",
	"waitlistEntry.updated":            "an entry was invited, rejected or completed",
	"subscription.created":             "a payer's subscription was created",
	"subscription.updated":             "a subscription changed",
	"subscription.active":              "a subscription became active",
	"subscription.pastDue":             "a subscription has an item past due",
	"subscriptionItem.created":         "an item was created (older instances)",
	"subscriptionItem.updated":         "an item changed",
	"subscriptionItem.active":          "an item became active",
	"subscriptionItem.canceled":        "an item was canceled and runs until it ends",
	"subscriptionItem.upcoming":        "an item is to follow the present one",
	"subscriptionItem.ended":           "an item has ended",
	"subscriptionItem.abandoned":       "an item was given up before it began",
	"subscriptionItem.incomplete":      "an item's first payment is missing",
	"subscriptionItem.pastDue":         "a recurring payment of an item failed",
	"subscriptionItem.freeTrialEnding": "a free trial ends in three days or less",
	"paymentAttempt.created":           "a payment was attempted",
	"paymentAttempt.updated":           "a payment was made or failed",
}

func isEvent(name string) bool { return slices.Contains(clerk.EventNames(), name) }

// story is a sequence of events about the same user and organization.
type story struct {
	name, text string
	steps      []storyStep
}

// storyStep is an event of a story, and what differs from its sample.
type storyStep struct {
	event string
	sets  []string
}

var stories = []story{
	{"sign-up", "somebody signs up, signs in, completes the profile and signs out", []storyStep{
		{"user.created", []string{"data.first_name=null", "data.last_name=null", "data.last_sign_in_at=null"}},
		{"session.created", nil},
		{"user.updated", nil},
		{"session.ended", nil},
	}},
	{"organization-life", "an organization from its creation to its end, with one member", []storyStep{
		{"user.created", nil},
		{"organization.created", nil},
		{"organizationMembership.created", nil},
		{"organization.updated", nil},
		{"organizationMembership.updated", nil},
		{"organizationMembership.deleted", nil},
		{"organization.deleted", nil},
	}},
}

func isStory(name string) bool {
	return slices.ContainsFunc(stories, func(s story) bool { return s.name == name })
}

// triggerNames are all events and stories.
func triggerNames() []string {
	names := clerk.EventNames()
	for _, s := range stories {
		names = append(names, s.name)
	}
	return names
}

// list prints what can be triggered.
func (a *app) list(asJSON bool) error {
	if asJSON {
		type line struct {
			Name        string   `json:"name"`
			Kind        string   `json:"kind"`
			Description string   `json:"description"`
			Events      []string `json:"events,omitempty"`
		}
		enc := json.NewEncoder(a.stdout)
		for _, name := range clerk.EventNames() {
			if err := enc.Encode(line{Name: name, Kind: "event", Description: eventTexts[name]}); err != nil {
				return err
			}
		}
		for _, s := range stories {
			if err := enc.Encode(line{s.name, "story", s.text, s.events()}); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Events:")
	for _, name := range clerk.EventNames() {
		fmt.Fprintf(w, "  %s\t%s\n", name, eventTexts[name])
	}
	fmt.Fprintln(w, "\nStories:")
	for _, s := range stories {
		fmt.Fprintf(w, "  %s\t%s (%d events)\n", s.name, s.text, len(s.steps))
	}
	return w.Flush()
}

func (s story) events() []string {
	names := make([]string, len(s.steps))
	for i, step := range s.steps {
		names[i] = step.event
	}
	return names
}
