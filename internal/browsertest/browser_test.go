package browsertest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/eventlog"
)

// hostile is in every text that a sender of events chooses.
const hostile = `"></textarea></script><script>alert(1)</script><img src=x onerror="alert(1)"><svg onload=alert(1)>`

// site is a server with a bridge whose Knock can be told to fail.
type site struct {
	*httptest.Server

	bridge *bridge.Handler
	broken atomic.Bool
	calls  atomic.Int64
}

func newSite(t *testing.T) *site {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	s := &site{}
	events := eventlog.New(eventlog.NewMemory(0), eventlog.Options{Bodies: true, Logger: quiet})
	var err error
	s.bridge, err = bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret}, Knock: s, OnResult: events.OnResult, Logger: quiet,
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
			bridge.On(clerk.UserUpdated, bridge.SkipStale(bridge.SyncUser)),
			bridge.Disable(clerk.UserDeleted),
		},
	})
	require.NoError(t, err)
	view, err := eventlog.Handler(s.bridge, events, eventlog.PageOptions{Private: eventlog.ThisMountIsPrivate})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/debug/bridge/", view)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// Do implements [actions.Transport].
func (s *site) Do(_ context.Context, r *actions.Request) (*actions.Response, error) {
	s.calls.Add(1)
	header := http.Header{"X-Request-Id": {"req_2f1c"}}
	if s.broken.Load() && strings.HasPrefix(r.Path, "/v1/workflows/") {
		return &actions.Response{Status: http.StatusNotFound, Header: header, Body: json.RawMessage(`{"code":"workflow_missing","message":"no such workflow"}`)}, nil
	}
	return &actions.Response{Status: http.StatusOK, Header: header, Body: json.RawMessage(`{"workflow_run_id":"run_1"}`), Attempts: 1}, nil
}

func (s *site) deliver(t *testing.T, eventType string, data any) bridge.Delivery {
	t.Helper()
	d := bridgetest.NewDelivery(t, eventType, data)
	s.bridge.ServeHTTP(httptest.NewRecorder(), bridgetest.Attempt(t, d))
	return d
}

// fill has a bit of everything arrive.
func (s *site) fill(t *testing.T) {
	t.Helper()
	for i := range 60 {
		s.deliver(t, "organization.created", json.RawMessage(fmt.Sprintf(`{"id":"org_%02d","name":"Organization %d"}`, i, i)))
	}
	s.deliver(t, "role.created", nil)
	s.deliver(t, "user.created", nil)
	s.deliver(t, "session.created", nil)
	s.deliver(t, "user.updated", json.RawMessage(`{"id":"user_2","shoe_size":43,"email_addresses":"ada@example.com"}`))
	s.deliver(t, "passkey.created", json.RawMessage(`{"id":"passkey_1"}`))
	s.bridge.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	forged := bridgetest.NewRequest(t, "user.created", nil)
	forged.Header.Set("Svix-Signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	s.bridge.ServeHTTP(httptest.NewRecorder(), forged)
	s.broken.Store(true)
	s.deliver(t, "user.created", json.RawMessage(`{"id":"user_1","first_name":"Ada","last_name":"Lovelace","unsafe_metadata":{}}`))
}

// tab is one tab of a browser. It fails the test when a script runs that is not
// the page's, when a dialog opens, or when something is loaded from elsewhere.
type tab struct {
	context.Context //nolint:containedctx // the driver keeps the tab in it

	t    *testing.T
	site *site

	forgives string // a complaint of the browser that is expected
}

// browser is where Debian has it; elsewhere it may be called otherwise.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no Chromium: apt-get install -y chromium")
	return ""
}

func open(t *testing.T, s *site) *tab {
	t.Helper()
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(browser(t)), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.Env("TMPDIR=" + t.TempDir()), // it leaves a socket there
	}
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update",
		"disable-sync", "disable-dev-shm-usage",
	} {
		flags = append(flags, chromedp.Flag(flag, true))
	}
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // waits until the browser has ended
	require.NoError(t, chromedp.Do(ctx))
	const patience = 90 * time.Second
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	b := &tab{Context: ctx, t: t, site: s}
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *page.EventJavascriptDialogOpening:
			t.Errorf("a dialog opened: %s", e.Message)
		case *runtime.EventExceptionThrown:
			t.Errorf("a script failed: %v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.Text, "status of 4") &&
				(b.forgives == "" || !strings.Contains(e.Entry.Text, b.forgives)) {
				t.Errorf("the browser complains: %s", e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			own := strings.HasPrefix(e.Request.URL, s.URL+"/debug/bridge/")
			if !own && !strings.HasPrefix(e.Request.URL, "data:") { // the browser's own icons
				t.Errorf("something from elsewhere: %s", e.Request.URL)
			}
		}
	}))
	call(b, network.Enable, network.EnableParams{})
	call(b, page.Enable, page.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	return b
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	_, err := chromedp.Call(b, command, params)
	require.NoError(b.t, err)
}

func get[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b, action)
	require.NoError(b.t, err)
	return value
}

func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b, steps...))
}

func (b *tab) visit(view string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.site.URL+"/debug/bridge/"+view), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// follow clicks something that leads to another page.
func (b *tab) follow(selector string) {
	b.t.Helper()
	_, err := chromedp.RunResponse(b, chromedp.Click(selector, chromedp.NodeVisible))
	require.NoError(b.t, err)
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return get(b, chromedp.Text(chromedp.CSS(selector)))
}

func (b *tab) eval(script string) string {
	b.t.Helper()
	return get(b, chromedp.Evaluate[string]("String("+script+")"))
}

func (b *tab) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.run(chromedp.KeyEvent(key))
	}
}

func (b *tab) backwards() {
	b.t.Helper()
	b.run(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(kb.ModifierShift)))
}

func TestListFilterDetail(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill(t)
	b := open(t, s)
	b.visit("")
	assert.Equal(t, "50", b.eval(`document.querySelectorAll("tbody tr").length`))
	b.follow(`a[rel=next]`)
	assert.Contains(t, b.text("tbody"), "organization/org_00")
	b.follow(`//nav[@aria-label="Outcomes"]//a[starts-with(., "failed")]`)
	assert.Equal(t, "2", b.eval(`document.querySelectorAll("tbody tr").length`))
	b.run(chromedp.SetValue(chromedp.CSS("#type"), "user.created"))
	b.follow(`.filter button`)
	assert.Equal(t, "1", b.eval(`document.querySelectorAll("tbody tr").length`))
	assert.Contains(t, b.eval("location.search"), "outcome=failed")

	b.follow("tbody td[data-label=Event] a")
	detail := b.text("main")
	for _, want := range []string{
		"user.created", "A wrong path: Knock does not have what POST /v1/workflows/welcome/trigger names (404 workflow_missing).", "What to do:",
		"bridge.SyncUser, then bridge.TriggerForUser", "PUT /v1/users/user_1", `"name": "Ada Lovelace"`, "failed with 404", "req_2f1c",
	} {
		assert.Contains(t, detail, want)
	}
	b.visit("mappings")
	assert.Contains(t, b.text("main"), "shoe_size")
	b.visit("verifications")
	assert.Contains(t, b.text("main"), "wrong_signature")
}

func TestPreviewAndReplay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill(t)
	b := open(t, s)
	b.visit("?outcome=misconfigured")
	b.follow("tbody td[data-label=Event] a")
	before := s.calls.Load()
	b.follow(`//a[starts-with(., "Preview with")]`)
	b.follow("form button")
	assert.Contains(t, b.text("main"), "would be sent")
	assert.Contains(t, b.text("ol.steps"), "POST /v1/workflows/welcome/trigger")
	assert.Equal(t, before, s.calls.Load(), "nothing was sent")

	s.broken.Store(false)
	b.visit("?outcome=failed")
	b.follow(`//a[starts-with(., "Replay what failed")]`)
	assert.Contains(t, b.text("main"), "2 deliveries will be processed again")
	b.follow("form button")
	assert.Contains(t, b.text("tbody"), "done")
	assert.Contains(t, b.text("tbody"), "permanent", "a payload that does not fit still does not")
	b.visit("")
	assert.Contains(t, b.text("tbody"), "replay")
}

// TestHostilePayload: markup in a payload is text.
func TestHostilePayload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	text := strconv.Quote(hostile)
	for i, body := range []string{
		fmt.Sprintf(`{"type":%s,"data":{"id":%s}}`, text, text),
		fmt.Sprintf(`{"type":"user.created","data":{"id":%s,"first_name":%s,%s:%s}}`, text, text, text, text),
	} {
		_, _ = s.bridge.Process(t.Context(), bridge.Delivery{ID: fmt.Sprint("msg_", i, hostile), Body: []byte(body)})
	}
	b := open(t, s)
	// A script of the page's own that ran would be seen, too.
	for _, view := range []string{"", "?q=" + url.QueryEscape(hostile), "?type=" + url.QueryEscape(hostile), "mappings"} {
		b.visit(view)
		assert.Equal(t, "0", b.eval(`document.querySelectorAll("img, svg, script:not([src])").length`), view)
	}
	b.visit("")
	b.follow("tbody td[data-label=Event] a")
	assert.Contains(t, b.text("main"), `<script>alert(1)</script>`)
	assert.Equal(t, "0", b.eval(`document.querySelectorAll("img, svg, script").length`))
	b.follow(`//a[starts-with(., "Preview with")]`)
	assert.Contains(t, b.eval(`document.querySelector("textarea").value`), `</textarea></script>`)
	b.follow("form button")
	assert.Equal(t, "0", b.eval(`document.querySelectorAll("img, svg, script").length`))
	// And if markup came through all the same, the policy would stop it.
	b.forgives = "Executing inline script violates"
	b.visit("")
	assert.Equal(t, "undefined", b.eval(`(() => { const s = document.createElement("script"); s.textContent = "window.ran = 1"; document.body.append(s); return window.ran })()`))
}

// TestKeyboard does all of it with the keyboard alone.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill(t)
	b := open(t, s)
	focus := func() string {
		return strings.TrimSpace(b.eval(`document.activeElement.textContent || document.activeElement.id || document.activeElement.tagName`))
	}
	// seek presses Tab until something has the focus, and looks whether that shows.
	seek := func(want string) {
		t.Helper()
		for range 120 {
			b.press(kb.Tab)
			if strings.HasPrefix(focus(), want) {
				assert.NotEqual(t, "none", b.eval(`getComputedStyle(document.activeElement).outlineStyle`))
				return
			}
		}
		require.Failf(t, "not reached", "%q, at last %q", want, focus())
	}
	enter := func() {
		t.Helper()
		_, err := chromedp.RunResponse(b, chromedp.KeyEvent(kb.Enter))
		require.NoError(t, err)
	}
	b.visit("")
	b.press(kb.Tab)
	assert.Equal(t, "Skip to the content", focus())
	b.press(kb.Enter)
	assert.Equal(t, "main", b.eval("document.activeElement.id"))
	seek("type")
	b.press("user.created")
	b.press(kb.Escape)
	enter()
	assert.Equal(t, "2", b.eval(`document.querySelectorAll("tbody tr").length`))
	seek("failed")
	enter()
	seek("user.created")
	enter()
	assert.Contains(t, b.text("h1"), "user.created")
	s.broken.Store(false)
	seek("Replay…")
	enter()
	seek("Replay 1 delivery")
	enter()
	assert.Contains(t, b.text("tbody"), "done")
	b.backwards()
	assert.NotEmpty(t, focus())
}

// TestLive: with JavaScript the list can refresh itself.
func TestLive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := open(t, s)
	b.visit("")
	s.deliver(t, "user.created", nil)
	assert.Contains(t, b.text("main"), "No delivery yet", "it is off until it is switched on")
	b.run(chromedp.Click(chromedp.CSS("#live-box")), chromedp.WaitVisible(chromedp.CSS("tbody")))
	assert.Contains(t, b.text("tbody"), "user.created")
}

// TestWithoutJavaScript: nothing needs it.
func TestWithoutJavaScript(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill(t)
	b := open(t, s)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.visit("?outcome=misconfigured")
	s.broken.Store(false)
	b.follow("tbody td[data-label=Event] a")
	b.follow(`//a[starts-with(., "Replay")]`)
	b.follow("form button")
	assert.Contains(t, b.text("tbody"), "done")
}

// TestLooks: nothing is wider than a small screen. With BRIDGE_SCREENSHOTS set to
// a folder, it leaves pictures of all views there.
func TestLooks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill(t)
	b := open(t, s)
	folder := os.Getenv("BRIDGE_SCREENSHOTS")
	b.visit("?outcome=misconfigured")
	detail := b.eval(`document.querySelector("tbody td[data-label=Event] a").getAttribute("href")`)
	views := map[string]string{
		"list": "", "failed": "?outcome=failed", "empty": "?q=nobody", "detail": detail, "mappings": "mappings", "verifications": "verifications",
		"preview": strings.Replace(detail, "delivery", "preview", 1), "replay": "replay?outcome=failed", "problem": "nothing",
	}
	for look, width := range map[string]int64{"light": 1280, "dark": 1280, "narrow": 360} {
		const height = 900
		scheme := "light"
		if look == "dark" {
			scheme = "dark"
		}
		call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: 1, Mobile: look == "narrow",
		})
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		for name, view := range views {
			b.visit(view)
			assert.Equal(t, "true", b.eval(`document.documentElement.scrollWidth <= document.documentElement.clientWidth`), "%s, %s", name, look)
			assert.Equal(t, "1", b.eval(`document.querySelectorAll("h1").length`))
			assert.Equal(t, "0", b.eval(`[...document.querySelectorAll("input:not([type=hidden]), textarea")].filter(e => e.labels.length === 0).length`), "all have labels")
			if folder == "" {
				continue
			}
			picture := get(b, chromedp.FullScreenshot(100))
			require.NoError(t, os.WriteFile(filepath.Join(folder, name+"-"+look+".png"), picture, 0o600))
		}
	}
}
