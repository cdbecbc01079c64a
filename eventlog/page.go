package eventlog

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/clerk"
)

// PageOptions configures [Handler]. Exactly one of Authorize and Private is required.
type PageOptions struct {
	// Authorize reports whether a request may see the page, and preview and replay
	// deliveries. It is asked for each request; one that it refuses gets 403, without
	// being asked to log in: Authorize is for sessions that exist already. For a
	// password, put the page behind a handler that answers 401, and set Private.
	Authorize func(*http.Request) bool

	// Private may be [ThisMountIsPrivate] instead of Authorize.
	Private Privacy

	// Title is the heading of the page. Defaults to "Clerk to Knock".
	Title string
}

// Privacy says that something else keeps strangers from the page.
type Privacy string

// ThisMountIsPrivate states that only those who may see the page can reach it: it
// is behind something that asks for a login, or on a port of its own that only
// the machine itself reaches. To guard such a port against web pages whose host
// name resolves to it (DNS rebinding), let the server check the Host header.
const ThisMountIsPrivate Privacy = "nobody reaches this page who may not see it"

// page serves all that is on the page.
type page struct {
	bridge *bridge.Handler
	log    *Log
	title  string

	authorize func(*http.Request) bool
	templates map[string]*template.Template
}

//go:embed assets
var assets embed.FS

const (
	// maxForm bounds the body of a POST: a payload of Svix's limit, escaped.
	maxForm = 4 << 20
	// maxReplays is how many deliveries are replayed at once.
	maxReplays = 100

	// maxLooked is how many records are looked at to find them.
	maxLooked = 500
)

// Handler returns a page that shows the log, to be mounted under any path that
// ends in a slash, with or without [http.StripPrefix]:
//
//	mux.Handle("/debug/bridge/", page)
//
// Every view is also there as JSON, for requests that accept application/json
// and not text/html. The package's documentation lists the addresses.
//
// The page shows ids and, with Options.Bodies, personal data, and it can replay
// deliveries, so it is an error if neither Authorize nor Private is set.
// Requests from other web sites can't post. The page needs no JavaScript, and
// loads nothing from elsewhere.
func Handler(h *bridge.Handler, log *Log, o PageOptions) (http.Handler, error) {
	switch {
	case h == nil || log == nil:
		return nil, errors.New("eventlog: Handler needs a *bridge.Handler and a *Log")
	case o.Private != "" && o.Private != ThisMountIsPrivate:
		return nil, errors.New("eventlog: PageOptions.Private can only be ThisMountIsPrivate")
	case o.Authorize == nil && o.Private == "":
		return nil, errors.New("eventlog: set PageOptions.Authorize, or Private to ThisMountIsPrivate: else anybody could read the log and replay deliveries")
	case o.Authorize != nil && o.Private != "":
		return nil, errors.New("eventlog: set either PageOptions.Authorize or Private, not both")
	}
	p := &page{bridge: h, log: log, authorize: o.Authorize, title: cmp.Or(o.Title, "Clerk to Knock"), templates: make(map[string]*template.Template)}
	for _, name := range []string{"list", "delivery", "mappings", "verifications", "preview", "replay", "replayed", "problem"} {
		t, err := template.New("base.html").Funcs(functionsOfTemplates).ParseFS(assets, "assets/base.html", "assets/parts.html", "assets/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("eventlog: %w", err)
		}
		p.templates[name] = t
	}
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.problem(w, r, http.StatusForbidden, "This request comes from another web site, so it was not carried out.")
	}))
	return p.guard(protection.Handler(http.HandlerFunc(p.serve))), nil
}

// guard sets the headers and asks whether the request is authorized.
func (p *page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		// With no-referrer, browsers would say that a form's Origin is null.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Vary", "Accept")
		h.Set("X-Robots-Tag", "noindex")
		if p.authorize != nil && !p.authorize(r) {
			http.Error(w, "This page is not for you: PageOptions.Authorize has refused the request.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve finds the view by the last part of the path. All links are relative and
// on one level, so it does not matter what is before.
func (p *page) serve(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if name != "preview" && name != "replay" {
			w.Header().Set("Allow", "GET, HEAD")
			p.problem(w, r, http.StatusMethodNotAllowed, "There is nothing to post here.")
			return
		}
		// A browser says where a form comes from, and no form can send JSON.
		if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" && !isJSON(r) {
			p.problem(w, r, http.StatusForbidden, "The request does not say where it comes from (Sec-Fetch-Site or Origin), so it was not carried out. A program can send it as application/json.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		p.problem(w, r, http.StatusMethodNotAllowed, "This method is not used here.")
		return
	}
	switch name {
	case "":
		p.list(w, r)
	case "delivery":
		p.delivery(w, r)
	case "mappings":
		p.mappings(w, r)
	case "verifications":
		p.verifications(w, r)
	case "preview":
		p.preview(w, r)
	case "replay":
		if r.Method == http.MethodPost {
			p.replay(w, r)
			return
		}
		p.confirm(w, r)
	case "style.css":
		asset(w, r, "assets/style.css")
	case "live.js":
		asset(w, r, "assets/live.js")
	case "icon.svg":
		asset(w, r, "assets/icon.svg")
	default:
		p.problem(w, r, http.StatusNotFound, "There is no such view. Mount the page under a path that ends in a slash.")
	}
}

func isJSON(r *http.Request) bool {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

func asset(w http.ResponseWriter, r *http.Request, file string) {
	w.Header().Set("Cache-Control", "private, max-age=300")
	http.ServeFileFS(w, r, assets, file)
}

// view is what every template gets.
type view struct {
	Title, Name, Heading string
	Lost                 int64
	Data                 any
}

// show answers with a view, or with JSON.
func (p *page) show(w http.ResponseWriter, r *http.Request, status int, name, heading string, data any) {
	var out bytes.Buffer
	var err error
	if accept := r.Header.Get("Accept"); strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(&out)
		enc.SetIndent("", "  ")
		err = enc.Encode(data)
	} else {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		err = p.templates[name].Execute(&out, view{Title: p.title, Name: name, Heading: heading, Lost: p.log.Lost(), Data: data})
	}
	if err != nil {
		http.Error(w, "eventlog: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

type problemView struct {
	Problem string `json:"problem"`
}

func (p *page) problem(w http.ResponseWriter, r *http.Request, status int, text string) {
	p.show(w, r, status, "problem", http.StatusText(status), problemView{Problem: text})
}

// failed answers with what a store returned.
func (p *page) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		p.problem(w, r, http.StatusNotFound, "There is no such record, or no more: old ones are removed.")
	case errors.Is(err, ErrBadCursor):
		p.problem(w, r, http.StatusBadRequest, "The address is not one that this page has made.")
	default:
		p.problem(w, r, http.StatusInternalServerError, "The store does not answer: "+err.Error())
	}
}

// filterView is a filter as it stands in the address.
type filterView struct {
	EventType string `json:"type"`
	Outcome   string `json:"outcome"`
	Search    string `json:"q"`
	From      string `json:"from"`
	To        string `json:"to"`
}

// failedOutcomes is the value that stands for all failures.
const failedOutcomes = "failed"

func readFilter(v url.Values) (filterView, Filter, error) {
	view := filterView{EventType: strings.TrimSpace(v.Get("type")), Outcome: v.Get("outcome"), Search: strings.TrimSpace(v.Get("q")), From: v.Get("from"), To: v.Get("to")}
	f := Filter{EventType: view.EventType, Search: view.Search}
	switch view.Outcome {
	case "":
	case failedOutcomes:
		f.Outcomes = failures()
	default:
		f.Outcomes = []bridge.Outcome{bridge.Outcome(view.Outcome)}
	}
	var err error
	if f.From, err = readTime(view.From); err != nil {
		return view, f, err
	}
	f.To, err = readTime(view.To)
	return view, f, err
}

func failures() []bridge.Outcome {
	return slices.DeleteFunc(Outcomes(), bridge.Outcome.OK)
}

func readTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is not a time such as 2026-03-01T12:00", s)
}

// query writes the filter as an address on this level, with one more parameter.
func (f filterView) query(more ...string) string {
	v := url.Values{}
	for _, pair := range [][2]string{{"type", f.EventType}, {"outcome", f.Outcome}, {"q", f.Search}, {"from", f.From}, {"to", f.To}} {
		if pair[1] != "" {
			v.Set(pair[0], pair[1])
		}
	}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v.Encode()
}

type countView struct {
	Count

	Name    string `json:"-"`
	Link    string `json:"-"`
	Current bool   `json:"-"`
	Failure bool   `json:"-"`
}

type listView struct {
	Filter  filterView  `json:"filter"`
	Counts  []countView `json:"counts"`
	Records []*Record   `json:"records"`
	Next    string      `json:"next,omitempty"`

	NextLink   string   `json:"-"`
	LatestLink string   `json:"-"` // set on later pages
	ReplayLink string   `json:"-"` // set when there are failures
	Types      []string `json:"-"`
	Filtered   bool     `json:"-"`
}

func (p *page) list(w http.ResponseWriter, r *http.Request) {
	// Without a slash, as http.StripPrefix can leave it, all links would lead elsewhere.
	if asked, _, _ := strings.Cut(r.RequestURI, "?"); r.URL.Path == "" && asked != "" && !strings.HasSuffix(asked, "/") {
		p.problem(w, r, http.StatusNotFound, "The address of this page ends in a slash.")
		return
	}
	v := r.URL.Query()
	fv, f, err := readFilter(v)
	if err != nil {
		p.problem(w, r, http.StatusBadRequest, err.Error()+".")
		return
	}
	found, err := p.log.store.List(r.Context(), Query{Filter: f, Cursor: v.Get("cursor")})
	if err != nil {
		p.failed(w, r, err)
		return
	}
	counts, err := p.log.store.Counts(r.Context(), f)
	if err != nil {
		p.failed(w, r, err)
		return
	}
	data := listView{Filter: fv, Records: found.Records, Next: found.Next, Filtered: fv != filterView{}, Types: p.types()}
	var failures int
	data.Counts, failures = countViews(fv, counts)
	if found.Next != "" {
		data.NextLink = "?" + fv.query("cursor", found.Next)
	}
	if v.Get("cursor") != "" {
		data.LatestLink = "?" + fv.query()
	}
	if failures > 0 {
		data.ReplayLink = "replay?" + fv.query()
	}
	p.show(w, r, http.StatusOK, "list", "Deliveries", data)
}

// countViews are the counts as links, with all and all failures first.
func countViews(f filterView, counts []Count) (views []countView, failures int) {
	all, failed := Count{}, Count{Outcome: failedOutcomes}
	for _, c := range counts {
		all.N, all.More = all.N+c.N, all.More || c.More
		if !c.Outcome.OK() {
			failed.N, failed.More = failed.N+c.N, failed.More || c.More
		}
	}
	for _, c := range slices.Concat([]Count{all, failed}, counts) {
		link := f
		link.Outcome = string(c.Outcome)
		views = append(views, countView{
			Count: c, Name: cmp.Or(string(c.Outcome), "all"), Link: "?" + link.query(), Current: f.Outcome == string(c.Outcome),
			Failure: c.Outcome == failedOutcomes || c.Outcome != "" && !c.Outcome.OK(),
		})
	}
	return views, failed.N
}

// types are the event types to choose from.
func (p *page) types() []string {
	types := clerk.EventNames()
	for _, m := range p.bridge.Mappings() {
		if m.EventType != "" {
			types = append(types, m.EventType)
		}
	}
	for _, a := range p.log.Drift().Unknown {
		types = append(types, a.EventType)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

type deliveryView struct {
	Record      *Record     `json:"record"`
	Explanation Explanation `json:"explanation"`
	Replayable  bool        `json:"replayable"`
	NoReplay    string      `json:"no_replay,omitempty"`

	// Changed is true when another version of the code has other functions.
	Mapping *bridge.MappingInfo `json:"mapping,omitempty"`
	Changed bool                `json:"mapping_changed,omitzero"`
}

func (p *page) delivery(w http.ResponseWriter, r *http.Request) {
	rec, err := p.log.store.Get(r.Context(), r.URL.Query().Get("id"))
	if err != nil {
		p.failed(w, r, err)
		return
	}
	data := deliveryView{Record: rec, Explanation: Explain(rec)}
	body, reason := rec.ReplayBody()
	data.Replayable, data.NoReplay = body != nil, reason
	if rec.EventType != "" {
		data.Mapping = p.mapping(rec.EventType)
		data.Changed = data.Mapping == nil && len(rec.Functions) > 0 || data.Mapping != nil && !slices.Equal(data.Mapping.Functions, rec.Functions)
	}
	p.show(w, r, http.StatusOK, "delivery", cmp.Or(rec.EventType, "Request"), data)
}

// mapping is what is mapped to a type now, nil for nothing.
func (p *page) mapping(eventType string) *bridge.MappingInfo {
	var unmapped *bridge.MappingInfo
	for _, m := range p.bridge.Mappings() {
		switch m.EventType {
		case eventType:
			return &m
		case "":
			unmapped = &m
		}
	}
	return unmapped
}

type mappingsView struct {
	Mappings []bridge.MappingInfo `json:"mappings"`
	NotInUse []string             `json:"not_mapped"`
	Drift    Drift                `json:"drift"`

	Caught bool `json:"-"` // what is not in use goes to the function of OnUnmapped
}

func (p *page) mappings(w http.ResponseWriter, r *http.Request) {
	data := mappingsView{Mappings: p.bridge.Mappings(), Drift: p.log.Drift()}
	mapped := make(map[string]bool)
	for _, m := range data.Mappings {
		mapped[m.EventType] = true
		data.Caught = data.Caught || m.EventType == ""
	}
	data.NotInUse = slices.DeleteFunc(clerk.EventNames(), func(name string) bool { return mapped[name] })
	p.show(w, r, http.StatusOK, "mappings", "Mappings", data)
}

type verificationsView struct {
	Records    []unverifiedView `json:"records"`
	Unrecorded int64            `json:"unrecorded"`
}

type unverifiedView struct {
	*Record

	Explanation Explanation `json:"explanation"`
}

func (p *page) verifications(w http.ResponseWriter, r *http.Request) {
	const most = 200
	records, err := p.log.store.Unverified(r.Context(), most)
	if err != nil {
		p.failed(w, r, err)
		return
	}
	data := verificationsView{Records: []unverifiedView{}, Unrecorded: p.log.Unrecorded()}
	for _, rec := range records {
		data.Records = append(data.Records, unverifiedView{Record: rec, Explanation: Explain(rec)})
	}
	p.show(w, r, http.StatusOK, "verifications", "Failed verifications", data)
}

type previewView struct {
	Payload     string       `json:"-"`
	Problem     string       `json:"problem,omitempty"`
	Record      *Record      `json:"record,omitempty"`
	Explanation *Explanation `json:"explanation,omitempty"`
	Redacted    []string     `json:"redacted,omitempty"` // of the stored payload
}

func (p *page) preview(w http.ResponseWriter, r *http.Request) {
	data := previewView{}
	show := func(status int) { p.show(w, r, status, "preview", "Preview", data) }
	if r.Method != http.MethodPost {
		if id := r.URL.Query().Get("id"); id != "" {
			rec, err := p.log.store.Get(r.Context(), id)
			if err != nil {
				p.failed(w, r, err)
				return
			}
			data.Payload, data.Redacted = pretty(rec.Payload), rec.Redacted
		}
		show(http.StatusOK)
		return
	}
	payload, err := readPayload(r)
	if err != nil {
		p.badForm(w, r, err)
		return
	}
	data.Payload = payload
	if strings.TrimSpace(payload) == "" {
		data.Problem = "Paste a payload first: the whole body of a webhook, with its type and data."
		show(http.StatusBadRequest)
		return
	}
	ctx := context.WithValue(r.Context(), previewKey{}, true)
	res, _ := p.bridge.DryRun(ctx, bridge.Delivery{ID: "msg_preview", ReceivedAt: time.Now(), Body: json.RawMessage(payload)})
	whole := Log{options: Options{Bodies: true, MaxBodyBytes: maxForm}}
	data.Record = whole.recordOf(res, time.Now())
	e := Explain(data.Record)
	data.Explanation = &e
	show(http.StatusOK)
}

// readPayload returns the payload of a form, or of a program that sends it as it
// is.
func readPayload(r *http.Request) (string, error) {
	if isJSON(r) {
		var b bytes.Buffer
		_, err := b.ReadFrom(r.Body)
		return b.String(), err
	}
	err := r.ParseForm()
	return r.PostForm.Get("payload"), err
}

func (p *page) badForm(w http.ResponseWriter, r *http.Request, err error) {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		p.problem(w, r, http.StatusRequestEntityTooLarge, "The payload is too large.")
		return
	}
	p.problem(w, r, http.StatusBadRequest, "The form is unreadable: "+err.Error())
}

// pretty is JSON for people.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}
