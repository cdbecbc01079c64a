package eventlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/eventlog"
)

// site is a page that is mounted, and what it shows.
type site struct {
	*httptest.Server

	bridge *bridge.Handler
	log    *eventlog.Log
	broken atomic.Bool // Knock fails
	calls  atomic.Int64
}

const mount = "/debug/bridge/"

func newSite(t testing.TB, o eventlog.Options, mappings ...bridge.Mapping) *site {
	t.Helper()
	s := &site{log: newLog(o)}
	s.bridge = start(t, s.log, func(*actions.Request) (int, string) {
		s.calls.Add(1)
		if s.broken.Load() {
			return 422, `{"code":"invalid_params","errors":[{"field":"email","message":"is no address"}]}`
		}
		return 200, "{}"
	}, mappings...)
	page, err := eventlog.Handler(s.bridge, s.log, eventlog.PageOptions{Private: eventlog.ThisMountIsPrivate})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle(mount, page)
	mux.Handle("/stripped/", http.StripPrefix("/stripped", page))
	mux.Handle("/all/", http.StripPrefix("/all/", page))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Cleanup(s.Client().CloseIdleConnections)
	return s
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (s *site) do(t testing.TB, method, path string, body io.Reader, header ...string) reply {
	t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = mount + path
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := s.Client().Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return reply{res.StatusCode, res.Header, string(b)}
}

func (s *site) get(t testing.TB, path string) string {
	t.Helper()
	got := s.do(t, http.MethodGet, path, nil, "Accept", "text/html,*/*")
	require.Equal(t, http.StatusOK, got.status, got.body)
	return got.body
}

func (s *site) json(t testing.TB, path string, into any) {
	t.Helper()
	got := s.do(t, http.MethodGet, path, nil, "Accept", "application/json")
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.NoError(t, json.Unmarshal([]byte(got.body), into))
}

// post sends a form as the browser does.
func (s *site) post(t testing.TB, path string, form url.Values, header ...string) reply {
	t.Helper()
	header = append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Accept", "text/html"}, header...)
	return s.do(t, http.MethodPost, path, strings.NewReader(form.Encode()), header...)
}

func TestHandlerRefuses(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{})
	h := start(t, log, nil)
	everybody := func(*http.Request) bool { return true }
	for _, o := range []eventlog.PageOptions{{}, {Private: "yes"}, {Authorize: everybody, Private: eventlog.ThisMountIsPrivate}} {
		_, err := eventlog.Handler(h, log, o)
		require.ErrorContains(t, err, "PageOptions.")
	}
	_, err := eventlog.Handler(nil, log, eventlog.PageOptions{Authorize: everybody})
	require.Error(t, err)

	page, err := eventlog.Handler(h, log, eventlog.PageOptions{Authorize: func(r *http.Request) bool { return r.Header.Get("X-Admin") != "" }})
	require.NoError(t, err)
	for _, view := range []string{"", "delivery", "mappings", "replay", "preview", "style.css"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			w := httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequest(method, "/"+view, nil))
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Contains(t, w.Body.String(), "PageOptions.Authorize has refused")
		}
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Admin", "1")
	page.ServeHTTP(w, r)
	assert.Equal(t, http.StatusOK, w.Code)
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{})
	for _, path := range []string{"", "mappings", "nothing", "delivery?id=x", "style.css"} {
		h := s.do(t, http.MethodGet, path, nil).header
		policy := h.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe")
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		for _, name := range []string{"Referrer-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy"} {
			assert.Equal(t, "same-origin", h.Get(name), name)
		}
		assert.Equal(t, "DENY", h.Get("X-Frame-Options"))
		assert.Equal(t, "noindex", h.Get("X-Robots-Tag"))
		assert.Equal(t, "Accept", h.Get("Vary"))
		caching := "no-store"
		if path == "style.css" {
			caching = "private, max-age=300"
		}
		assert.Equal(t, caching, h.Get("Cache-Control"))
	}
	assert.Contains(t, s.do(t, http.MethodGet, "style.css", nil).header.Get("Content-Type"), "text/css")
	assert.Contains(t, s.do(t, http.MethodGet, "live.js", nil).header.Get("Content-Type"), "javascript")
}

// TestAnyMount: all links of all views lead to views, wherever the page is.
func TestAnyMount(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true})
	s.broken.Store(true)
	for range 60 {
		deliver(t, s.bridge, "organization.created", nil)
	}
	deliver(t, s.bridge, "role.created", nil)
	s.bridge.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	link := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	for _, prefix := range []string{mount, "/stripped/", "/all/"} {
		base, err := url.Parse(s.URL + prefix)
		require.NoError(t, err)
		seen := map[string]bool{base.String(): true}
		for queue := []string{base.String()}; len(queue) > 0; queue = queue[1:] {
			at, err := url.Parse(queue[0])
			require.NoError(t, err)
			got := s.do(t, http.MethodGet, at.RequestURI(), nil, "Accept", "text/html")
			require.Equal(t, http.StatusOK, got.status, at)
			if strings.HasSuffix(at.Path, ".js") || strings.HasSuffix(at.Path, ".css") {
				continue
			}
			for _, m := range link.FindAllStringSubmatch(got.body, -1) {
				if m[1] == "#main" {
					continue
				}
				to, err := at.Parse(strings.ReplaceAll(m[1], "&amp;", "&"))
				require.NoError(t, err)
				require.Equal(t, base.Host, to.Host, "nothing is from elsewhere")
				require.True(t, strings.HasPrefix(to.Path, prefix), to)
				if !seen[to.String()] && len(seen) < 300 {
					seen[to.String()] = true
					queue = append(queue, to.String())
				}
			}
		}
		assert.Greater(t, len(seen), 60)
	}
}

// TestNoSlash: http.StripPrefix of the whole path leaves none.
func TestNoSlash(t *testing.T) {
	t.Parallel()
	log := newLog(eventlog.Options{})
	page, err := eventlog.Handler(start(t, log, nil), log, eventlog.PageOptions{Private: eventlog.ThisMountIsPrivate})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	http.StripPrefix("/bridge", page).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/bridge", nil))
	assert.Equal(t, http.StatusNotFound, w.Code)
	assert.Contains(t, w.Body.String(), "ends in a slash")
}

func TestList(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{})
	assert.Contains(t, s.get(t, ""), "No delivery yet")
	for i := range 60 {
		deliver(t, s.bridge, "user.created", json.RawMessage(fmt.Sprintf(`{"id":"user_%d"}`, i)))
	}
	s.broken.Store(true)
	failed := deliver(t, s.bridge, "organization.created", nil)
	first := s.get(t, "")
	assert.Contains(t, first, failed.ID)
	assert.Contains(t, first, "user_59")
	assert.NotContains(t, first, "user_0<")
	next := regexp.MustCompile(`rel="next" href="\?([^"]*)"`).FindStringSubmatch(first)
	require.NotNil(t, next)
	second := s.get(t, "?"+next[1])
	assert.Contains(t, second, "user_0<")
	assert.NotContains(t, second, `rel="next"`)
	assert.Contains(t, second, ">Latest</a>")

	only := s.get(t, "?outcome=failed")
	assert.Contains(t, only, failed.ID)
	assert.NotContains(t, only, "user_59")
	assert.Regexp(t, `aria-current="true" class="failure">failed <span class="n">1`, only)
	assert.Contains(t, only, `href="replay?outcome=failed"`)
	assert.Contains(t, s.get(t, "?q=user_7"), "user/user_7<")
	assert.Contains(t, s.get(t, "?q=nobody"), "No delivery fits the filter.")
	assert.Contains(t, s.get(t, "?type=user.created&from=2020-01-01T00:00&to=2020-01-02T00:00"), "No delivery fits")

	var got struct {
		Records []eventlog.Record `json:"records"`
		Counts  []eventlog.Count  `json:"counts"`
		Next    string            `json:"next"`
	}
	s.json(t, "?type=user.created", &got)
	assert.Len(t, got.Records, 50)
	assert.NotEmpty(t, got.Next)
	assert.Contains(t, got.Counts, eventlog.Count{Outcome: "done", N: 60})

	for path, status := range map[string]int{"?from=x": 400, "?cursor=x": 400, "delivery?id=x": 404, "nothing": 404} {
		assert.Equal(t, status, s.do(t, http.MethodGet, path, nil).status, path)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, s.do(t, http.MethodDelete, "", nil).status)
	assert.Equal(t, http.StatusMethodNotAllowed, s.post(t, "", nil).status)
}

func TestDetail(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true}, bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")))
	s.broken.Store(true)
	deliver(t, s.bridge, "user.created", json.RawMessage(`{"id":"user_1","first_name":"Ada","private_metadata":{"x":"hunter2"}}`))
	id := last(t, s.log).ID
	got := s.get(t, "delivery?id="+id)
	for _, want := range []string{
		"bridge.SyncUser", "bridge.TriggerForUser", "PUT /v1/users/user_1", "&#34;name&#34;: &#34;Ada&#34;", "failed with 422", "req_1",
		"A wrong type: Knock can&#39;t take email in PUT /v1/users/user_1 (422 invalid_params).", "What to do:", "data.private_metadata", "It can’t be replayed.",
	} {
		assert.Contains(t, got, want)
	}
	assert.NotContains(t, got, "hunter2")
	var data struct {
		Record      eventlog.Record      `json:"record"`
		Explanation eventlog.Explanation `json:"explanation"`
		Replayable  bool                 `json:"replayable"`
		NoReplay    string               `json:"no_replay"`
	}
	s.json(t, "delivery?id="+id, &data)
	assert.Equal(t, id, data.Record.ID)
	assert.False(t, data.Replayable)
	assert.Contains(t, data.NoReplay, "KeepOriginals")
	assert.Contains(t, data.NoReplay, "(data.private_metadata)")
	assert.NotEmpty(t, data.Explanation.Why)

	deliver(t, s.bridge, "role.created", nil)
	unmapped := s.do(t, http.MethodGet, "delivery?id="+last(t, s.log).ID, nil, "Accept", "application/json").body
	assert.Contains(t, unmapped, "map a function to the type")
	assert.NotContains(t, unmapped, `"mapping_changed"`)

	s.bridge.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Contains(t, s.get(t, "verifications"), "Not a POST.")
}

func TestMappingsView(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{}, bridge.Disable(clerk.UserDeleted), bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
		bridge.On(clerk.UserUpdated, bridge.SkipStale(bridge.SyncUser)))
	deliver(t, s.bridge, "passkey.created", json.RawMessage(`{"id":"passkey_1"}`))
	deliver(t, s.bridge, "user.created", json.RawMessage(`{"id":"user_1","shoe_size":43}`))
	got := s.get(t, "mappings")
	for _, want := range []string{"bridge.SyncTenant", ">overridden<", ">disabled<", ">and 1 added<", "passkey.created", "shoe_size", "more types that Clerk has"} {
		assert.Contains(t, got, want)
	}
	var data struct {
		Mappings []bridge.MappingInfo `json:"mappings"`
		Drift    eventlog.Drift       `json:"drift"`
	}
	s.json(t, "mappings", &data)
	assert.Equal(t, s.bridge.Mappings(), data.Mappings)
	assert.Len(t, data.Drift.Unknown, 1)

	s = newSite(t, eventlog.Options{}, bridge.OnUnmapped(func(context.Context, *clerk.AnyEvent, *actions.Client) error { return nil }))
	got = s.get(t, "mappings")
	assert.Contains(t, got, "all others")
	assert.NotContains(t, got, "nothing is mapped to")
}

func TestPreview(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true})
	got := s.post(t, "preview", url.Values{"payload": {`{"type":"user.created","data":{"id":"user_1","first_name":"Ada"}}`}})
	require.Equal(t, http.StatusOK, got.status)
	for _, want := range []string{"PUT /v1/users/user_1", "&#34;name&#34;: &#34;Ada&#34;", "would be sent", "bridge.SyncUser"} {
		assert.Contains(t, got.body, want)
	}
	assert.Zero(t, s.calls.Load(), "nothing is sent")
	page, err := s.log.Store().List(t.Context(), eventlog.Query{})
	require.NoError(t, err)
	assert.Empty(t, page.Records, "and nothing recorded")
	assert.Empty(t, s.log.Drift().Unmapped)

	for payload, want := range map[string]string{
		"": "Paste a payload first", "<script>": "Not an event", `{"type":"role.created"}`: "Nothing is mapped",
		`{"type":"user.created","data":{"id":7}}`: "A wrong type", `{"type":"user.created","data":{}}`: "A field is missing: id of users.identify",
	} {
		assert.Contains(t, s.post(t, "preview", url.Values{"payload": {payload}}).body, want)
	}
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.post(t, "preview", url.Values{"payload": {strings.Repeat("x", 5<<20)}}).status)

	deliver(t, s.bridge, "user.created", json.RawMessage(`{"id":"user_1","phone_numbers":[{"id":"idn_1","backup_codes":["aaaa-bbbb"]}],"private_metadata":{"a":1}}`))
	stored := s.get(t, "preview?id="+last(t, s.log).ID)
	assert.Contains(t, stored, "[redacted]")
	assert.Contains(t, stored, "Private data was left out")
	// What is redacted still decodes.
	got = s.post(t, "preview", url.Values{"payload": {string(last(t, s.log).Payload)}})
	assert.Contains(t, got.body, "would be sent")

	got = s.do(t, http.MethodPost, "preview", strings.NewReader(`{"type":"user.deleted","data":{"id":"user_1"}}`), "Content-Type", "application/json", "Accept", "application/json")
	assert.Equal(t, http.StatusOK, got.status)
	assert.Contains(t, got.body, `"method": "DELETE"`)
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true})
	s.broken.Store(true)
	for i := range 3 {
		d := deliver(t, s.bridge, "organization.created", json.RawMessage(fmt.Sprintf(`{"id":"org_%d"}`, i)))
		_, err := s.bridge.Process(t.Context(), d) // failed twice, replayed once
		require.Error(t, err)
	}
	deliver(t, s.bridge, "user.created", json.RawMessage(`{"id":"user_1","private_metadata":{"x":"hunter2"}}`))
	deliver(t, s.bridge, "role.created", nil)
	confirm := s.get(t, "replay?outcome=failed")
	assert.Contains(t, confirm, "<strong>3 deliveries</strong>")
	assert.Contains(t, confirm, "Can’t be replayed")
	var ids []string
	for _, m := range regexp.MustCompile(`name="id" value="([0-9a-f]+)"`).FindAllStringSubmatch(confirm, -1) {
		ids = append(ids, m[1])
	}
	require.Len(t, ids, 3)
	assert.Contains(t, s.get(t, "replay?outcome=done"), "nothing to replay")

	s.broken.Store(false)
	before := s.calls.Load()
	got := s.post(t, "replay", url.Values{"id": ids})
	require.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, 3, strings.Count(got.body, "</span> done</span>"))
	assert.EqualValues(t, 3, s.calls.Load()-before)
	r := last(t, s.log)
	assert.True(t, r.Replay)
	assert.Equal(t, bridge.OutcomeDone, r.Outcome)

	one := s.get(t, "replay?id="+ids[0])
	assert.Contains(t, one, "<strong>1 delivery</strong>")
	assert.Contains(t, s.post(t, "replay", url.Values{"id": ids[:1]}).body, "duplicate")
	unreplayable := s.post(t, "replay", url.Values{"id": {"x"}})
	assert.Contains(t, unreplayable.body, "not replayed")
	for _, ids := range [][]string{nil, make([]string, 101)} {
		assert.Equal(t, http.StatusBadRequest, s.post(t, "replay", url.Values{"id": ids}).status)
	}

	var results struct {
		Results []struct {
			Outcome bridge.Outcome `json:"outcome"`
		} `json:"results"`
	}
	res := s.do(t, http.MethodPost, "replay", strings.NewReader(`{"ids":["`+ids[1]+`"]}`), "Content-Type", "application/json", "Accept", "application/json")
	require.NoError(t, json.Unmarshal([]byte(res.body), &results))
	assert.Equal(t, bridge.OutcomeDuplicate, results.Results[0].Outcome)
}

// TestForgedPosts: other web sites can't replay anything.
func TestForgedPosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true})
	s.broken.Store(true)
	deliver(t, s.bridge, "organization.created", json.RawMessage(`{"id":"org_1"}`))
	form := url.Values{"id": {last(t, s.log).ID}}
	before := s.calls.Load()
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
		{"Sec-Fetch-Site", "", "Origin", "null"}, {"Sec-Fetch-Site", ""}, {"Sec-Fetch-Site", "", "Content-Type", "text/plain"},
		{"Sec-Fetch-Site", "cross-site", "Content-Type", "application/json"},
	} {
		for _, view := range []string{"replay", "preview"} {
			got := s.post(t, view, form, header...)
			assert.Equal(t, http.StatusForbidden, got.status, header)
			assert.Contains(t, got.body, "not carried out")
		}
	}
	assert.Equal(t, before, s.calls.Load())
	assert.Equal(t, http.StatusOK, s.post(t, "replay", form, "Sec-Fetch-Site", "", "Origin", s.URL).status)
	assert.Greater(t, s.calls.Load(), before)
}

const hostile = `</textarea></script><script>alert(1)</script><img src=x onerror=alert(1)>'"` + "`{{.}}"

// TestHostile: nothing that comes from outside becomes markup.
func TestHostile(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true},
		bridge.OnUnmapped(func(context.Context, *clerk.AnyEvent, *actions.Client) error { return errors.New(hostile) }))
	text, err := json.Marshal(hostile)
	require.NoError(t, err)
	deliver(t, s.bridge, hostile, json.RawMessage(fmt.Sprintf(`{"id":%s,%s:%s}`, text, text, text)))
	deliver(t, s.bridge, "user.created", json.RawMessage(fmt.Sprintf(`{"id":%s,"first_name":%s,%s:1}`, text, text, text)))
	r := last(t, s.log)
	pages := map[string]string{"post": s.post(t, "preview", url.Values{"payload": {hostile}}).body}
	for _, path := range []string{"", "?q=" + url.QueryEscape(hostile), "?type=" + url.QueryEscape(hostile), "delivery?id=" + r.ID, "preview?id=" + r.ID, "mappings", "replay", "replay?id=" + r.ID} {
		pages[path] = s.get(t, path)
	}
	for path, got := range pages {
		assert.NotContains(t, got, "<script>alert", path)
		assert.NotContains(t, got, "<img", path)
		assert.NotContains(t, got, " style=", path)
		assert.NotRegexp(t, ` on[a-z]+="`, got, path)
	}
}

func TestBrokenStore(t *testing.T) {
	t.Parallel()
	log := eventlog.New(&brokenStore{}, eventlog.Options{Logger: quiet()})
	page, err := eventlog.Handler(start(t, log, nil), log, eventlog.PageOptions{Private: eventlog.ThisMountIsPrivate})
	require.NoError(t, err)
	for _, path := range []string{"/", "/delivery?id=x", "/verifications", "/replay", "/preview?id=x"} {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		assert.Equal(t, http.StatusInternalServerError, w.Code)
		assert.Contains(t, w.Body.String(), "The store does not answer: down")
	}
}

type brokenStore struct{ eventlog.Store }

var errDown = errors.New("down")

func (*brokenStore) Get(context.Context, string) (*eventlog.Record, error) { return nil, errDown }
func (*brokenStore) List(context.Context, eventlog.Query) (eventlog.Page, error) {
	return eventlog.Page{}, errDown
}
func (*brokenStore) Unverified(context.Context, int) ([]*eventlog.Record, error) { return nil, errDown }

// TestReplayRest: what succeeded since is not offered again, and what can't be
// replayed does not stand before what can.
func TestReplayRest(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true})
	s.broken.Store(true)
	for i := range 130 {
		deliver(t, s.bridge, "organization.created", json.RawMessage(fmt.Sprintf(`{"id":"org_%d"}`, i)))
	}
	for i := range 110 {
		deliver(t, s.bridge, "user.created", json.RawMessage(fmt.Sprintf(`{"id":"user_%d","private_metadata":{"x":"hunter2"}}`, i)))
	}
	s.broken.Store(false)
	id := regexp.MustCompile(`name="id" value="([0-9a-f]+)"`)
	older := regexp.MustCompile(`rel="next" href="(replay\?[^"]*)"`)
	replayed := 0
	for path := "replay?outcome=failed"; ; {
		got := s.get(t, path)
		var ids []string
		for _, m := range id.FindAllStringSubmatch(got, -1) {
			ids = append(ids, m[1])
		}
		require.LessOrEqual(t, len(ids), 100)
		replayed += len(ids)
		if len(ids) > 0 {
			require.Equal(t, http.StatusOK, s.post(t, "replay", url.Values{"id": ids}).status)
		}
		next := older.FindStringSubmatch(got)
		if next == nil {
			break
		}
		path = strings.ReplaceAll(next[1], "&amp;", "&")
		require.Contains(t, path, "cursor=")
		require.Contains(t, path, "outcome=failed")
	}
	assert.Equal(t, 130, replayed)
	again := s.get(t, "replay?outcome=failed")
	assert.NotContains(t, again, `name="id"`, "all have succeeded since")
	assert.Equal(t, http.StatusBadRequest, s.do(t, http.MethodGet, "replay?cursor=x", nil).status)
	unread := s.do(t, http.MethodPost, "replay", strings.NewReader(`{"ids":["x"`), "Content-Type", "application/json")
	assert.Equal(t, http.StatusBadRequest, unread.status)
	assert.Contains(t, unread.body, "The form is unreadable")
}

// TestReplayAfterDryRun: a dry run that went well is no success.
func TestReplayAfterDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, eventlog.Options{Bodies: true})
	s.broken.Store(true)
	d := deliver(t, s.bridge, "organization.created", json.RawMessage(`{"id":"org_1"}`))
	failed := last(t, s.log)
	_, err := s.bridge.DryRun(t.Context(), d)
	require.NoError(t, err)
	require.True(t, last(t, s.log).DryRun)
	assert.Contains(t, s.get(t, "replay?outcome=failed"), `name="id" value="`+failed.ID+`"`)
}

// queue takes what it is given and forgets it.
type queue struct{ n atomic.Int64 }

func (q *queue) Enqueue(context.Context, bridge.Delivery) (bool, error) {
	q.n.Add(1)
	return true, nil
}

// TestReplayBesideQueue: a replay is worked off at once, also where deliveries are
// queued, and neither it nor a preview is at the mercy of a mapping.
func TestReplayBesideQueue(t *testing.T) {
	t.Parallel()
	for _, value := range []any{"hunter2", http.ErrAbortHandler} {
		log, q := newLog(eventlog.Options{Bodies: true}), &queue{}
		h, err := bridge.New(bridge.Config{
			SigningSecrets: []string{bridgetest.Secret}, Knock: knock(nil), Queue: q, OnResult: log.OnResult, Logger: quiet(),
			Mappings: bridge.Mappings{bridge.On(clerk.UserCreated, func(context.Context, *userEvent, *actions.Client) error { panic(value) })},
		})
		require.NoError(t, err)
		d := deliver(t, h, "user.created", json.RawMessage(`{"id":"user_1"}`))
		assert.Equal(t, bridge.OutcomeQueued, last(t, log).Outcome)
		_, err = h.Process(t.Context(), d)
		require.Error(t, err)
		page, err := eventlog.Handler(h, log, eventlog.PageOptions{Private: eventlog.ThisMountIsPrivate})
		require.NoError(t, err)
		post := func(view, body string) string {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/"+view, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			page.ServeHTTP(w, r)
			assert.Equal(t, http.StatusOK, w.Code)
			return w.Body.String()
		}
		got := post("replay", `{"ids":["`+last(t, log).ID+`"]}`) + post("preview", string(d.Body))
		assert.Equal(t, 2, strings.Count(got, "</span> misconfigured</span>"))
		assert.NotContains(t, got, "hunter2")
		assert.True(t, last(t, log).Replay)
		assert.EqualValues(t, 1, q.n.Load())
		assert.Equal(t, eventlog.FaultPanic, last(t, log).Fault.Kind)
	}
}
