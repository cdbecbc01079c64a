package actions_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/clerkknock/bridge/actions"
)

// FuzzPath checks that an id is either refused, and nothing is sent, or reaches
// Knock as one segment which decodes to the same id.
func FuzzPath(f *testing.F) {
	for _, id := range append([]string{"user_1", "%2F", "a?b", "a b", "ü", "a;b", "$tenants", "a\\b", "%", "%zz", "...", "a..b"}, badIDs...) {
		f.Add(id, "x")
		f.Add("x", id)
	}
	f.Fuzz(func(t *testing.T, collection, id string) {
		var target string
		knock := &actions.HTTP{APIKey: "sk", MaxAttempts: 1, Client: &http.Client{
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				target = r.URL.RequestURI()
				return answer(http.StatusOK, "{}"), nil
			}),
		}}
		err := actions.NewClient(knock).SetPreferences(t.Context(), actions.SetPreferences{
			Owner: actions.ObjectRef{Collection: collection, ID: id}, ID: "org",
		})
		if err != nil {
			if _, ok := errors.AsType[*actions.InvalidError](err); !ok {
				t.Fatalf("%q %q: %v", collection, id, err)
			}
			if target != "" {
				t.Fatalf("%q %q: refused, yet sent to %s", collection, id, target)
			}
			return
		}
		want := []string{"", "v1", "objects", collection, id, "preferences", "org"}
		segments := strings.Split(target, "/")
		if len(segments) != len(want) || strings.ContainsAny(target, "?#") {
			t.Fatalf("%q %q: sent to %s", collection, id, target)
		}
		for i, s := range segments {
			got, err := url.PathUnescape(s)
			if err != nil || got != want[i] || s == "." || s == ".." {
				t.Fatalf("%q %q: sent to %s", collection, id, target)
			}
		}
	})
}
