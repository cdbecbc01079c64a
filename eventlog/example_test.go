package eventlog_test

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/eventlog"
)

// withPassword has a browser ask for one. Behind a login of your own, set Authorize
// instead.
func withPassword(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "ada" || subtle.ConstantTimeCompare([]byte(password), []byte("correct horse")) == 0 {
			w.Header().Set("WWW-Authenticate", `Basic realm="webhooks"`)
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		page.ServeHTTP(w, r)
	})
}

// The page is mounted beside the handler, behind a password.
func Example() {
	knock := bridgetest.StartKnock()
	defer knock.Close()
	log := eventlog.New(eventlog.NewMemory(0), eventlog.Options{Bodies: true})
	handler, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret},
		Knock:          knock.Transport(),
		Logger:         slog.New(slog.DiscardHandler),
		OnResult:       log.OnResult,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := eventlog.Handler(handler, log, eventlog.PageOptions{Private: eventlog.ThisMountIsPrivate})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/clerk", handler)
	mux.Handle("/debug/bridge/", withPassword(page))

	stranger := httptest.NewRecorder()
	mux.ServeHTTP(stranger, httptest.NewRequest(http.MethodGet, "/debug/bridge/", nil))
	fmt.Println(stranger.Code)

	admin, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/debug/bridge/", nil)
	request.SetBasicAuth("ada", "correct horse")
	mux.ServeHTTP(admin, request)
	fmt.Println(admin.Code)
	// Output:
	// 401
	// 200
}
