package eventlog_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/eventlog"
)

// The page is mounted beside the handler, for those who may see it.
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
	isAdmin := func(r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		return user == "ada" && password == "correct horse" // ask your own sessions
	}
	page, err := eventlog.Handler(handler, log, eventlog.PageOptions{Authorize: isAdmin})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/clerk", handler)
	mux.Handle("/debug/bridge/", page)

	stranger := httptest.NewRecorder()
	mux.ServeHTTP(stranger, httptest.NewRequest(http.MethodGet, "/debug/bridge/", nil))
	fmt.Println(stranger.Code)

	admin, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/debug/bridge/", nil)
	request.SetBasicAuth("ada", "correct horse")
	mux.ServeHTTP(admin, request)
	fmt.Println(admin.Code)
	// Output:
	// 403
	// 200
}
