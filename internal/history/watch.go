package history

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/clerkknock/bridge/actions"
)

// Watcher is a transport that looks for what must not be seen at Knock, whatever
// order deliveries come in.
type Watcher struct {
	Knock actions.Transport

	mu       sync.Mutex
	busy     map[string]bool
	gone     map[string]bool
	problems []string
}

// Do implements [actions.Transport].
func (w *Watcher) Do(ctx context.Context, r *actions.Request) (*actions.Response, error) {
	target, _, _ := strings.Cut(r.Path, "?")
	if strings.HasSuffix(target, "/subscriptions") {
		_, recipients, _ := strings.Cut(string(r.Body), `"recipients"`)
		target += recipients
	}
	// A membership that comes before its organization sets a tenant without saying
	// anything of it.
	if !strings.HasSuffix(target, "/trigger") && string(r.Body) != "{}" {
		w.begin(target, r)
		defer w.end(target)
	}
	res, err := w.Knock.Do(ctx, r)
	if r.Method == http.MethodDelete && err == nil && res.Status < http.StatusMultipleChoices {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.gone == nil {
			w.gone = make(map[string]bool)
		}
		w.gone[target] = true
	}
	return res, err
}

// begin notes a call, and whether there is another one for the same, or one that
// brings back what was deleted.
func (w *Watcher) begin(target string, r *actions.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy == nil {
		w.busy = make(map[string]bool)
	}
	if w.busy[target] {
		w.problems = append(w.problems, fmt.Sprintf("two calls at once: %s %s", r.Method, target))
	}
	w.busy[target] = true
	single := strings.HasPrefix(target, "/v1/users/") || strings.HasPrefix(target, "/v1/tenants/")
	if single && r.Method != http.MethodDelete && w.gone[target] {
		w.problems = append(w.problems, fmt.Sprintf("a call after the deletion: %s %s", r.Method, target))
	}
}

func (w *Watcher) end(target string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, target)
}

// Problems returns what was seen.
func (w *Watcher) Problems() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problems
}
