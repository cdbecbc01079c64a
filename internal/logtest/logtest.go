// Package logtest checks that every [eventlog.Store] does the same.
package logtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/eventlog"
)

// Record returns a record of that time, changed.
func Record(at time.Time, change func(*eventlog.Record)) *eventlog.Record {
	r := &eventlog.Record{
		ID: eventlog.NewID(at), At: at, EventType: "user.created", DeliveryID: "msg_1", Verification: eventlog.Verified,
		Outcome: bridge.OutcomeDone,
	}
	if change != nil {
		change(r)
	}
	return r
}

// full is a record of which every field is set.
func full(at time.Time) *eventlog.Record {
	return &eventlog.Record{
		ID: eventlog.NewID(at), At: at, ReceivedAt: at.Add(-time.Minute), Duration: 1234567, EventType: "user.created", DeliveryID: "msg_1",
		Entity: "user/user_1", Verification: eventlog.Verified, Outcome: bridge.OutcomeMisconfigured, Attempt: 2, Replay: true, DryRun: true,
		RetryAfter: time.Second, Functions: []string{"bridge.SyncUser"}, Problem: `it "failed"` + "\x00<&\u2028",
		Fault: &eventlog.Fault{Kind: eventlog.FaultWrongPath, Op: "o", Fields: []string{"f"}, Target: "PUT /v1", Status: 404, Code: "c"},
		Steps: []eventlog.Step{{
			Name: "n", Kind: "k", Method: "PUT", Path: "/v1", Status: 404, RequestID: "r", IdempotencyKey: "i", Attempts: 3, Duration: 5,
			Skipped: "s", Replayed: true, Warning: "w", Error: "e", Body: []byte(`{ "a": "<&>" }`), NoBody: "b",
		}, {Name: "empty"}},
		Payload: []byte("{ \"b\" :\n1.0 }"), NoPayload: "p", Redacted: []string{"data.x"}, Original: []byte(` {"c":"\u0000"} `),
	}
}

// base is when the records of the tests begin: one second each.
var base = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func after(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }

// Run checks a store that open returns, an empty one each time.
func Run(t *testing.T, open func(t testing.TB) eventlog.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, eventlog.Store){
		"get": testGet, "filters": testFilters, "paging": testPaging, "unverified": testUnverified, "same moment": testSameMoment, "text": testText,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func testGet(t *testing.T, s eventlog.Store) {
	t.Helper()
	r, bare := full(base), Record(after(1), nil)
	require.NoError(t, s.Append(t.Context(), []*eventlog.Record{r, bare}))
	require.NoError(t, s.Append(t.Context(), nil))
	for _, want := range []*eventlog.Record{full(base), Record(after(1), nil)} {
		id := r.ID
		if want.Problem == "" {
			id = bare.ID
		}
		want.ID = id
		got, err := s.Get(t.Context(), id)
		require.NoError(t, err)
		got.At = got.At.UTC()
		if !got.ReceivedAt.IsZero() {
			got.ReceivedAt = got.ReceivedAt.UTC()
		}
		assert.Equal(t, want, got)
	}
	page, err := s.List(t.Context(), eventlog.Query{})
	require.NoError(t, err)
	require.Len(t, page.Records, 2)
	listed := page.Records[1]
	assert.Equal(t, r.Problem, listed.Problem)
	assert.Equal(t, "n", listed.Steps[0].Name)
	assert.Nil(t, listed.Payload)
	assert.Nil(t, listed.Original)
	assert.Nil(t, listed.Steps[0].Body)
	for _, id := range []string{"", "x", eventlog.NewID(base), "'\x00\xff"} {
		_, err = s.Get(t.Context(), id)
		require.ErrorIs(t, err, eventlog.ErrNotFound)
	}
}

func testFilters(t *testing.T, s eventlog.Store) {
	t.Helper()
	add := func(second int, delivery, event, entity string, outcome bridge.Outcome) {
		require.NoError(t, s.Append(t.Context(), []*eventlog.Record{Record(after(second), func(r *eventlog.Record) {
			r.DeliveryID, r.EventType, r.Entity, r.Outcome = delivery, event, entity, outcome
		})}))
	}
	add(0, "msg_0", "user.created", "user/user_1", bridge.OutcomeDone)
	add(1, "msg_1", "user.updated", "user/user_1", bridge.OutcomeRejected)
	add(2, "msg_2", "organization.created", "organization/org_1", bridge.OutcomeDone)
	add(3, "msg_3", "organizationMembership.created", "organization/org_1/user/user_1", bridge.OutcomeTransient)
	add(4, "msg_3", "organizationMembership.created", "organization/org_1/user/user_1", bridge.OutcomeDone)
	add(5, "msg_5", "user.created", "user/user_2", bridge.OutcomeRejected)
	add(6, "msg_6", "role.created", "", bridge.OutcomeIgnored)

	failed := []bridge.Outcome{bridge.OutcomeRejected, bridge.OutcomeTransient}
	for _, test := range []struct {
		f      eventlog.Filter
		want   []int
		counts map[bridge.Outcome]int
	}{
		{eventlog.Filter{}, []int{6, 5, 4, 3, 2, 1, 0}, map[bridge.Outcome]int{"done": 3, "rejected": 2, "transient": 1, "ignored": 1}},
		{eventlog.Filter{EventType: "user.created"}, []int{5, 0}, map[bridge.Outcome]int{"done": 1, "rejected": 1}},
		{eventlog.Filter{Outcomes: failed}, []int{5, 3, 1}, map[bridge.Outcome]int{"done": 3, "rejected": 2, "transient": 1, "ignored": 1}},
		{eventlog.Filter{EventType: "user.created", Outcomes: failed}, []int{5}, map[bridge.Outcome]int{"done": 1, "rejected": 1}},
		{eventlog.Filter{Search: "user_1"}, []int{4, 3, 1, 0}, map[bridge.Outcome]int{"done": 2, "rejected": 1, "transient": 1}},
		{eventlog.Filter{Search: "user/user_1"}, []int{4, 3, 1, 0}, map[bridge.Outcome]int{"done": 2, "rejected": 1, "transient": 1}},
		{eventlog.Filter{Search: "org_1"}, []int{4, 3, 2}, map[bridge.Outcome]int{"done": 2, "transient": 1}},
		{eventlog.Filter{Search: "organization/org_1"}, []int{4, 3, 2}, map[bridge.Outcome]int{"done": 2, "transient": 1}},
		{eventlog.Filter{Search: "organization/org_1/user/user_1"}, []int{4, 3}, map[bridge.Outcome]int{"done": 1, "transient": 1}},
		{eventlog.Filter{Search: "msg_3", Outcomes: failed}, []int{3}, map[bridge.Outcome]int{"done": 1, "transient": 1}},
		{eventlog.Filter{Search: "user_1", EventType: "user.created"}, []int{0}, map[bridge.Outcome]int{"done": 1}},
		{eventlog.Filter{From: after(2), To: after(5)}, []int{4, 3, 2}, map[bridge.Outcome]int{"done": 2, "transient": 1}},
		{eventlog.Filter{From: after(2), Outcomes: failed}, []int{5, 3}, map[bridge.Outcome]int{"done": 2, "rejected": 1, "transient": 1, "ignored": 1}},
		{eventlog.Filter{Search: "user_1", To: after(3)}, []int{1, 0}, map[bridge.Outcome]int{"done": 1, "rejected": 1}},
		{eventlog.Filter{Search: "user_"}, nil, map[bridge.Outcome]int{}},
		{eventlog.Filter{Search: "%"}, nil, map[bridge.Outcome]int{}},
		{eventlog.Filter{Search: "'; drop table x --\x00\xff"}, nil, map[bridge.Outcome]int{}},
		{eventlog.Filter{EventType: "\x00\xff", Outcomes: []bridge.Outcome{"\x00"}}, nil, map[bridge.Outcome]int{}},
		{eventlog.Filter{From: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, nil, map[bridge.Outcome]int{}},
	} {
		name := fmt.Sprintf("%+v", test.f)
		page, err := s.List(t.Context(), eventlog.Query{Filter: test.f})
		require.NoError(t, err, name)
		var got []int
		for _, r := range page.Records {
			got = append(got, int(r.At.Sub(base)/time.Second))
		}
		assert.Equal(t, test.want, got, name)
		assert.NotNil(t, page.Records, "in JSON, no records are []")
		assert.Empty(t, page.Next)
		counts, err := s.Counts(t.Context(), test.f)
		require.NoError(t, err, name)
		counted := make(map[bridge.Outcome]int)
		for _, c := range counts {
			counted[c.Outcome] = c.N
			assert.False(t, c.More)
		}
		assert.Equal(t, test.counts, counted, name)
		assert.True(t, slices.IsSortedFunc(counts, func(a, b eventlog.Count) int {
			return slices.Index(eventlog.Outcomes(), a.Outcome) - slices.Index(eventlog.Outcomes(), b.Outcome)
		}))
	}
}

// testPaging compares pages with a list, while records come in.
func testPaging(t *testing.T, s eventlog.Store) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	var all []*eventlog.Record
	events, outcomes := []string{"a", "b"}, eventlog.Outcomes()[:3]
	for i := range 400 {
		all = append(all, Record(after(i), func(r *eventlog.Record) {
			r.EventType, r.Outcome = events[random.IntN(2)], outcomes[random.IntN(3)]
			r.Entity = fmt.Sprint("user/", random.IntN(3))
		}))
	}
	require.NoError(t, s.Append(t.Context(), all))
	for _, f := range []eventlog.Filter{
		{}, {EventType: "a"}, {Outcomes: outcomes[:2]}, {EventType: "b", Outcomes: outcomes[1:2]}, {Search: "1"}, {Search: "user/2", EventType: "a", Outcomes: outcomes[:1]},
		{To: after(300)}, {From: after(50), To: after(350)}, {From: after(390)}, {To: after(300), EventType: "a"}, {To: after(300), Outcomes: outcomes[:2]}, {To: after(300), Search: "1"},
	} {
		var want, got []string
		for _, r := range slices.Backward(all) {
			if (f.EventType == "" || f.EventType == r.EventType) && (len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, r.Outcome)) &&
				(f.Search == "" || f.Search == r.Entity || "user/"+f.Search == r.Entity) &&
				!r.At.Before(f.From) && (f.To.IsZero() || r.At.Before(f.To)) {
				want = append(want, r.ID)
			}
		}
		q := eventlog.Query{Filter: f, Limit: 7}
		for {
			page, err := s.List(t.Context(), q)
			require.NoError(t, err)
			for _, r := range page.Records {
				got = append(got, r.ID)
			}
			require.Less(t, len(got), 2*len(all), "the pages have an end")
			require.NoError(t, s.Append(t.Context(), []*eventlog.Record{Record(after(10_000+len(got)), func(r *eventlog.Record) {
				r.EventType, r.Outcome, r.Entity = "a", outcomes[0], "user/1"
			})}))
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
			require.Len(t, page.Records, 7)
		}
		for len(got) > 0 && got[0] > all[len(all)-1].ID { // those of the filters before
			got = got[1:]
		}
		assert.Equal(t, want, got, "%+v", f)
	}
	for _, cursor := range []string{"x", "'", "\x00", eventlog.NewID(base) + "0", "g" + eventlog.NewID(base)[1:], "A" + eventlog.NewID(base)[1:]} {
		_, err := s.List(t.Context(), eventlog.Query{Cursor: cursor})
		require.ErrorIs(t, err, eventlog.ErrBadCursor)
	}
	page, err := s.List(t.Context(), eventlog.Query{Limit: 10_000})
	require.NoError(t, err)
	assert.Len(t, page.Records, 200)
}

// testSameMoment: ids of one moment are in no order, and all of them are listed.
func testSameMoment(t *testing.T, s eventlog.Store) {
	t.Helper()
	want := make(map[string]bool)
	for range 40 {
		r := Record(base, nil)
		want[r.ID] = true
		require.NoError(t, s.Append(t.Context(), []*eventlog.Record{r}))
	}
	got := make(map[string]bool)
	for q := (eventlog.Query{Limit: 9}); ; {
		page, err := s.List(t.Context(), q)
		require.NoError(t, err)
		for _, r := range page.Records {
			got[r.ID] = true
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	assert.Equal(t, want, got)
}

func testUnverified(t *testing.T, s eventlog.Store) {
	t.Helper()
	for i := range 20 {
		require.NoError(t, s.Append(t.Context(), []*eventlog.Record{
			Record(after(2*i), nil),
			Record(after(2*i+1), func(r *eventlog.Record) {
				r.Verification, r.Outcome, r.DeliveryID, r.EventType = eventlog.WrongSignature, bridge.OutcomeUnverified, "", ""
			}),
		}))
	}
	list, err := s.Unverified(t.Context(), 7)
	require.NoError(t, err)
	require.Len(t, list, 7)
	for i, r := range list {
		assert.Equal(t, eventlog.WrongSignature, r.Verification)
		assert.True(t, after(2*(19-i)+1).Equal(r.At))
	}
	got, err := s.Get(t.Context(), list[0].ID)
	require.NoError(t, err)
	assert.Equal(t, list[0].ID, got.ID)
	page, err := s.List(t.Context(), eventlog.Query{})
	require.NoError(t, err)
	assert.Len(t, page.Records, 20)
}

// testText: a store takes any text.
func testText(t *testing.T, s eventlog.Store) {
	t.Helper()
	r := Record(base, func(r *eventlog.Record) {
		r.EventType, r.DeliveryID, r.Entity, r.Outcome = `a"b\{},`, "m'\u00e4", `user/"\`, "new"
	})
	require.NoError(t, s.Append(t.Context(), []*eventlog.Record{r}))
	got, err := s.List(t.Context(), eventlog.Query{Filter: eventlog.Filter{Search: `"\`, EventType: r.EventType, Outcomes: []bridge.Outcome{"new"}}})
	require.NoError(t, err)
	require.Len(t, got.Records, 1)
	assert.Equal(t, r.DeliveryID, got.Records[0].DeliveryID)
}
