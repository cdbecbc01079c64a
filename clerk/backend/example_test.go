package backend_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/clerk/backend"
)

// A session.created event of an older instance carries only the user's id.
func ExampleClient_SessionUser() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/users/user_1" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"errors":[{"code":"resource_not_found"}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"user_1","first_name":"Ada"}`)
	}))
	defer api.Close()

	// Without a BaseURL it is Clerk's own.
	users, err := backend.New(backend.Config{SecretKey: "sk_test_123", BaseURL: api.URL + "/v1"})
	if err != nil {
		panic(err)
	}
	for _, id := range []string{"user_1", "user_2"} {
		e := &clerk.Event[clerk.Session]{Data: clerk.Session{UserID: id}}
		user, err := users.SessionUser(context.Background(), e)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			fmt.Println(id, "is gone")
		case err != nil:
			panic(err)
		default:
			fmt.Println(user.ID, "looked up")
		}
	}
	// Output:
	// user_1 looked up
	// user_2 is gone
}
