package backend_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/clerk/backend"
)

// clerkAPI stands for Clerk's Backend API. It has one user.
func clerkAPI() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/users/user_1" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"errors":[{"code":"resource_not_found"}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"user_1","first_name":"Ada"}`)
	}))
}

func ExampleNew() {
	_, err := backend.New(backend.Config{SecretKey: "pk_live_123", Timeout: -1})
	fmt.Println(err)
	// Output:
	// backend: invalid config:
	// SecretKey is a publishable key (pk_…)
	// Timeout is negative
}

func ExampleClient_User() {
	api := clerkAPI()
	defer api.Close()

	// Without a BaseURL it is Clerk's own.
	users, err := backend.New(backend.Config{SecretKey: "sk_test_123", BaseURL: api.URL + "/v1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, id := range []string{"user_1", "user_2"} {
		user, err := users.User(context.Background(), id)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			fmt.Println(id, "is gone")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(id, "is", user.FullName())
		}
	}
	// Output:
	// user_1 is Ada
	// user_2 is gone
}

// A session.created event of an older instance carries only the user's id. The
// mapping function looks the user up before it tells Knock.
func ExampleClient_SessionUser() {
	api, fake := clerkAPI(), bridgetest.StartKnock()
	defer api.Close()
	defer fake.Close()

	// Without a BaseURL it is Clerk's own.
	users, err := backend.New(backend.Config{SecretKey: "sk_test_123", BaseURL: api.URL + "/v1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	signedIn := func(ctx context.Context, e *clerk.Event[clerk.Session], knock *actions.Client) error {
		user, err := users.SessionUser(ctx, e)
		if errors.Is(err, backend.ErrNotFound) {
			return nil // deleted since
		}
		if err != nil || user.TwoFactorEnabled {
			return err
		}
		_, err = knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
			Workflow: "protect-your-account", Recipients: []actions.Recipient{actions.UserID(user.ID)},
			Data: map[string]any{"name": user.FullName()},
		})
		return err
	}
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          fake.Transport(),
		Mappings:       bridge.Mappings{bridge.On(clerk.SessionCreated, signedIn)},
		Logger:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	_, err = handler.Process(context.Background(), bridge.Delivery{
		ID:   "msg_1",
		Body: []byte(`{"type":"session.created","data":{"id":"sess_1","user_id":"user_1"}}`),
	})
	for _, run := range fake.Runs() {
		fmt.Println(run.Workflow, run.Data, err)
	}
	// Output: protect-your-account map[name:Ada] <nil>
}
