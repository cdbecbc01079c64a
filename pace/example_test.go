package pace_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/pace"
)

func Example() {
	fake := bridgetest.StartKnock() // in place of Knock
	defer fake.Close()

	// In a program: Knock: actions.FromEnv(&actions.HTTP{}).
	transport := &pace.Transport{Knock: fake.Transport(), Share: 0.5} // one of two processes

	knock := actions.NewClient(transport)
	ctx := actions.AllowBulk(context.Background())
	for _, id := range []string{"user_1", "user_2", "user_3"} {
		if err := knock.IdentifyUser(ctx, actions.IdentifyUser{ID: id}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(fake.Users())
	// Output: [user_1 user_2 user_3]
}

// forbidden answers every call with 403.
type forbidden struct{}

func (forbidden) Do(context.Context, *actions.Request) (*actions.Response, error) {
	return &actions.Response{Status: http.StatusForbidden, Body: []byte(`{"code":"authorization"}`)}, nil
}

func ExamplePausedError() {
	knock := actions.NewClient(&pace.Transport{Knock: forbidden{}})
	for range 2 {
		err := knock.DeleteTenant(context.Background(), actions.DeleteTenant{ID: "org_1"})
		if paused, ok := errors.AsType[*pace.PausedError](err); ok {
			failure, _ := errors.AsType[*actions.SendError](err)
			fmt.Println(paused.Calls, paused.Status, failure.RetryAfter.Round(time.Second))
		} else {
			fmt.Println(err)
		}
	}
	// Output:
	// knock: DELETE /v1/tenants/org_1: 403 authorization
	// all calls 403 10s
}
