package eventlog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/eventlog"
	"github.com/clerkknock/bridge/internal/logtest"
)

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	logtest.Run(t, func(testing.TB) eventlog.Store { return eventlog.NewMemory(0) })
}

// TestZeroMemory: it is as NewMemory(0) returns one.
func TestZeroMemory(t *testing.T) {
	t.Parallel()
	logtest.Run(t, func(testing.TB) eventlog.Store { return new(eventlog.Memory) })
	for _, m := range []*eventlog.Memory{{}, eventlog.NewMemory(0), eventlog.NewMemory(-1)} {
		at := time.Now()
		for i := range 10_001 {
			r := logtest.Record(at.Add(time.Duration(i)*time.Second), nil)
			require.NoError(t, m.Append(t.Context(), []*eventlog.Record{r}))
		}
		counts, err := m.Counts(t.Context(), eventlog.Filter{})
		require.NoError(t, err)
		assert.Equal(t, []eventlog.Count{{Outcome: bridge.OutcomeDone, N: 10_000}}, counts)
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	bare := logtest.Record(time.Now().UTC(), nil)
	full := logtest.Record(time.Now().UTC(), func(r *eventlog.Record) {
		r.Payload, r.Original = []byte(`{ "a": "\u0000" }`), []byte(`1.0`)
		r.Steps = []eventlog.Step{{Name: "n", Body: []byte(`{ "b": 1 }`)}, {Name: "bare"}}
	})
	for _, want := range []*eventlog.Record{bare, full} {
		record, bodies, err := want.Encode()
		require.NoError(t, err)
		assert.Equal(t, want == bare, bodies == "")
		got, err := eventlog.Decode(record, bodies)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	var syntax *json.SyntaxError
	_, err := eventlog.Decode(`{`, "")
	require.ErrorAs(t, err, &syntax)
	_, err = eventlog.Decode(`{}`, `{`)
	require.ErrorAs(t, err, &syntax)
	r, err := eventlog.Decode(`{"steps":[{"name":"n"}]}`, `{"steps":{"-1":"x","1":"x"}}`)
	require.NoError(t, err)
	assert.Nil(t, r.Steps[0].Body)
}

func TestMemoryConcurrently(t *testing.T) {
	t.Parallel()
	m := eventlog.NewMemory(10)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			r := logtest.Record(time.Now(), func(r *eventlog.Record) { r.DeliveryID = fmt.Sprint("msg_", i) })
			_ = m.Append(t.Context(), []*eventlog.Record{r})
			got, _ := m.Get(t.Context(), r.ID)
			assert.Equal(t, r, got)
		})
	}
	all.Wait()
	page, err := m.List(t.Context(), eventlog.Query{})
	require.NoError(t, err)
	assert.Len(t, page.Records, 4)
}

func TestMemoryBounds(t *testing.T) {
	t.Parallel()
	m := eventlog.NewMemory(100)
	at := time.Now()
	for i := range 250 {
		require.NoError(t, m.Append(t.Context(), []*eventlog.Record{logtest.Record(at.Add(time.Duration(i)*time.Second), func(r *eventlog.Record) {
			r.DeliveryID = fmt.Sprint("msg_", i)
			r.Payload = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
		})}))
	}
	var ids []string
	var q eventlog.Query
	for q.Limit = 30; ; {
		page, err := m.List(t.Context(), q)
		require.NoError(t, err)
		for _, r := range page.Records {
			ids = append(ids, r.DeliveryID)
			assert.Nil(t, r.Payload)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	require.Len(t, ids, 100)
	assert.Equal(t, "msg_249", ids[0])
	assert.Equal(t, "msg_150", ids[99])
	page, err := m.List(t.Context(), eventlog.Query{Limit: 100})
	require.NoError(t, err)
	bodies := 0
	for i, listed := range page.Records {
		r, err := m.Get(t.Context(), listed.ID)
		require.NoError(t, err)
		if r.Payload != nil {
			bodies++
			assert.Less(t, i, 64, "the oldest lose theirs")
		} else {
			assert.NotEmpty(t, r.NoPayload)
		}
	}
	assert.Equal(t, 63, bodies)
}
