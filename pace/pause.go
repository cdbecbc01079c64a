package pace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/clerkknock/bridge/actions"
)

const (
	firstPause   = 10 * time.Second
	longestPause = 10 * time.Minute
	probeTime    = time.Second // how long a call waits for the outcome of another one's probe

	everything = "" // the pause of all calls
)

// PausedError says that a call was not sent because Knock refused one of its kind
// for a reason that somebody has to fix: a key, a workflow that is not committed.
type PausedError struct {
	// Calls says which calls are paused: "all calls", "workflow welcome" or
	// "audience admins", the key escaped as in a path.
	Calls string
	// Status is what Knock answered: 401, 403 or 404.
	Status int
}

// Error names the calls and the status.
func (e *PausedError) Error() string {
	return fmt.Sprintf("pace: paused: %s, since Knock answered %d", e.Calls, e.Status)
}

// pause holds calls back.
type pause struct {
	reason  PausedError
	wait    time.Duration
	until   time.Time
	probing bool // a call is under way that will tell whether it is over
}

// admit returns an error while c is paused. With probe set c is about to be sent,
// and becomes the one that tells whether a pause that has run out is over.
func (t *Transport) admit(c *call, probe bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, key := range c.pausedBy() {
		p := t.pauses[key]
		if p == nil {
			continue
		}
		left := p.until.Sub(now)
		if left <= 0 && p.probing {
			left = probeTime
		}
		if left > 0 {
			reason := p.reason
			return c.fail(left, &reason)
		}
	}
	if probe {
		for _, key := range c.pausedBy() {
			if p := t.pauses[key]; p != nil {
				p.probing = true
				c.probes = append(c.probes, p)
			}
		}
	}
	return nil
}

// pausedBy lists the pauses that concern c.
func (c *call) pausedBy() []string {
	if c.pauses == "" {
		return []string{everything}
	}
	return []string{everything, c.pauses}
}

// settle starts, prolongs and ends pauses by the answer to c, nil when there is
// none.
func (t *Transport) settle(c *call, res *actions.Response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	key, calls, bad := c.misconfigured(res)
	if p := t.pauses[key]; bad && p == nil {
		// Those that ended long ago, and that nobody has asked for since, go.
		maps.DeleteFunc(t.pauses, func(_ string, p *pause) bool { return now.Sub(p.until) > longestPause && !p.probing })
		t.pauses[key] = &pause{
			reason: PausedError{Calls: calls, Status: res.Status}, wait: firstPause, until: now.Add(firstPause),
		}
	}
	for _, p := range c.probes {
		p.probing = false
		switch {
		case bad && t.pauses[key] == p:
			p.wait = min(2*p.wait, longestPause)
			p.until = now.Add(p.wait)
			p.reason.Status = res.Status
		case conclusive(res) && (!bad || key != everything):
			maps.DeleteFunc(t.pauses, func(_ string, other *pause) bool { return other == p })
		}
	}
	c.probes = nil
}

// misconfigured reports whether an answer pauses calls, and which.
func (c *call) misconfigured(res *actions.Response) (key, calls string, bad bool) {
	if res == nil {
		return "", "", false
	}
	code, refused := refusal(res.Body)
	switch {
	case !refused: // a firewall's, say, which has refused what one user has typed
	case res.Status == http.StatusUnauthorized || res.Status == http.StatusForbidden:
		return everything, "all calls", true
	case res.Status == http.StatusNotFound && c.pauses != "" && code != "actor_missing":
		// A missing actor is the event's matter, not the workflow's.
		return c.pauses, c.pauses, true
	}
	return "", "", false
}

// refusal returns the code of Knock's JSON, an object. It is not ok for anything else:
// that is not Knock's.
func refusal(answer []byte) (code string, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(answer, &members) != nil || members == nil {
		return "", false
	}
	_ = json.Unmarshal(members["code"], &code) // there may be none
	return code, true
}

// conclusive reports whether Knock has looked at the call.
func conclusive(res *actions.Response) bool {
	switch {
	case res == nil, res.Status == http.StatusTooManyRequests, res.Status == http.StatusRequestTimeout,
		res.Status >= http.StatusInternalServerError:
		return false
	case res.Status < http.StatusMultipleChoices:
		return !bytes.HasPrefix(bytes.TrimSpace(res.Body), []byte("<")) // a web page
	default:
		_, ok := refusal(res.Body)
		return ok
	}
}
