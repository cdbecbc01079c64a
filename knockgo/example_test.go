package knockgo_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/knockgo"
	"github.com/knocklabs/knock-go"
	"github.com/knocklabs/knock-go/option"
)

func ExampleNew() {
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path, r.Header.Get("Authorization"))
	}))
	defer api.Close()

	client := knock.NewClient(option.WithAPIKey("sk_test_123"), option.WithBaseURL(api.URL))

	calls := actions.NewClient(knockgo.New(client))
	err := calls.IdentifyUser(context.Background(), actions.IdentifyUser{ID: "user_1", Name: "Ada Lovelace"})
	fmt.Println(err)

	// The bridge takes the same.
	_, err = newHandler(client, bridgetest.Secret)
	fmt.Println(err)
	// Output:
	// PUT /v1/users/user_1 Bearer sk_test_123
	// <nil>
	// <nil>
}

func newHandler(client *knock.Client, secret string) (*bridge.Handler, error) {
	return bridge.New(bridge.Config{
		SigningSecrets: []string{secret},
		Knock:          knockgo.New(client),
	})
}
