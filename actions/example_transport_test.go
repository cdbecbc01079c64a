package actions_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/clerkknock/bridge/actions"
)

// readOnly is a Transport that lets look-ups through and holds every write back.
type readOnly struct {
	next actions.Transport // an *actions.HTTP, say
}

// Do answers writes itself.
func (t readOnly) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	if r.Method == http.MethodGet {
		return t.next.Do(ctx, r)
	}
	fmt.Println("held back:", r.Method, r.Path)
	return &actions.Response{Status: http.StatusNoContent}, nil
}

func ExampleTransport() {
	knock := actions.NewClient(readOnly{next: &actions.HTTP{APIKey: "sk_test_1"}})
	err := knock.DeleteTenant(context.Background(), actions.DeleteTenant{ID: "org_1"})
	fmt.Println(err)
	// Output:
	// held back: DELETE /v1/tenants/org_1
	// <nil>
}
