package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/clerkknock/bridge"
)

// replayTime bounds how long deliveries are replayed for one request. Those that
// are left are said to be.
const replayTime = 25 * time.Second

type replayView struct {
	// Records can be replayed, and Others can't.
	Records []*Record  `json:"records"`
	Others  []noReplay `json:"others"`
	Next    string     `json:"next,omitempty"` // the cursor, when there may be more

	NextLink string `json:"-"`
	Back     string `json:"-"`
}

type noReplay struct {
	*Record

	Reason string `json:"reason"`
}

// confirm shows what a replay would be, of one record or of all failures that a
// filter finds.
func (p *page) confirm(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	data := replayView{Records: []*Record{}, Others: []noReplay{}}
	var err error
	if id := v.Get("id"); id != "" {
		data.Back = "delivery?" + url.Values{"id": {id}}.Encode()
		err = p.addReplay(r.Context(), &data, id)
	} else {
		err = p.findReplays(r.Context(), &data, v)
	}
	switch {
	case errors.Is(err, errFilter):
		p.problem(w, r, http.StatusBadRequest, err.Error())
	case err != nil:
		p.failed(w, r, err)
	default:
		p.show(w, r, http.StatusOK, "replay", "Replay", data)
	}
}

var errFilter = errors.New("eventlog: the filter is unreadable")

// findReplays looks for the deliveries that failed and have not succeeded since,
// each once.
func (p *page) findReplays(ctx context.Context, data *replayView, v url.Values) error {
	fv, f, err := readFilter(v)
	if err != nil {
		return fmt.Errorf("%w: %w", errFilter, err)
	}
	data.Back = "./?" + fv.query()
	if len(f.Outcomes) == 0 {
		f.Outcomes = failures()
	}
	f.Outcomes = slices.DeleteFunc(f.Outcomes, bridge.Outcome.OK)
	if len(f.Outcomes) == 0 {
		return nil
	}
	seen := make(map[string]bool)
	looked := 0
	for q := (Query{Filter: f, Cursor: v.Get("cursor"), Limit: maxLimit}); ; {
		found, err := p.log.store.List(ctx, q)
		if err != nil {
			return err
		}
		for i, rec := range found.Records {
			looked++
			if !seen[rec.DeliveryID] {
				seen[rec.DeliveryID] = true
				if err := p.addFailed(ctx, data, rec); err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
			}
			if more := i+1 < len(found.Records) || found.Next != ""; more && (len(data.Records) == maxReplays || looked >= maxLooked) {
				data.Next = rec.ID
				data.NextLink = "replay?" + fv.query("cursor", rec.ID)
				return nil
			}
		}
		if q.Cursor = found.Next; q.Cursor == "" {
			return nil
		}
	}
}

// addFailed adds a delivery unless it has succeeded since.
func (p *page) addFailed(ctx context.Context, data *replayView, rec *Record) error {
	latest, err := p.log.store.List(ctx, Query{Filter: Filter{Search: rec.DeliveryID}, Limit: 1})
	if err != nil {
		return err
	}
	if len(latest.Records) > 0 && !latest.Records[0].Failed() && !latest.Records[0].DryRun {
		return nil
	}
	return p.addReplay(ctx, data, rec.ID)
}

func (p *page) addReplay(ctx context.Context, data *replayView, id string) error {
	rec, err := p.log.store.Get(ctx, id)
	if err != nil {
		return err
	}
	if body, reason := rec.ReplayBody(); body == nil {
		data.Others = append(data.Others, noReplay{Record: rec.bodiless(""), Reason: reason})
	} else {
		data.Records = append(data.Records, rec.bodiless(""))
	}
	return nil
}

type replayedView struct {
	Results []replayed `json:"results"`
	Left    int        `json:"left,omitzero"` // the time was over
}

// replayed is how one replay ended.
type replayed struct {
	DeliveryID string         `json:"delivery_id"`
	EventType  string         `json:"event_type"`
	Outcome    bridge.Outcome `json:"outcome,omitempty"`
	Problem    string         `json:"problem,omitempty"`
}

// replay does what confirm has shown: the form names the records.
func (p *page) replay(w http.ResponseWriter, r *http.Request) {
	ids, err := readIDs(r)
	if err != nil {
		p.badForm(w, r, err)
		return
	}
	if len(ids) == 0 || len(ids) > maxReplays {
		p.problem(w, r, http.StatusBadRequest, fmt.Sprintf("Name between 1 and %d records to replay, in JSON as {\"ids\": [\"…\"]}.", maxReplays))
		return
	}
	data := replayedView{Results: []replayed{}}
	ctx, cancel := context.WithTimeout(r.Context(), replayTime)
	defer cancel()
	for i, id := range ids {
		if ctx.Err() != nil {
			data.Left = len(ids) - i
			break
		}
		data.Results = append(data.Results, p.replayOne(ctx, id))
	}
	p.show(w, r, http.StatusOK, "replayed", "Replayed", data)
}

func (p *page) replayOne(ctx context.Context, id string) replayed {
	rec, err := p.log.store.Get(ctx, id)
	if err != nil {
		return replayed{Problem: err.Error()}
	}
	out := replayed{DeliveryID: rec.DeliveryID, EventType: rec.EventType}
	body, reason := rec.ReplayBody()
	if body == nil {
		out.Problem = reason
		return out
	}
	// One that has begun is finished, even when whoever asked has gone.
	res, _ := p.bridge.Replay(context.WithoutCancel(ctx), bridge.Delivery{ID: rec.DeliveryID, ReceivedAt: rec.ReceivedAt, Body: body})
	out.Outcome, out.Problem = res.Outcome, res.Problem()
	return out
}

func readIDs(r *http.Request) ([]string, error) {
	if isJSON(r) {
		var body struct {
			IDs []string `json:"ids"`
		}
		err := json.NewDecoder(r.Body).Decode(&body)
		return body.IDs, err
	}
	err := r.ParseForm()
	return r.PostForm["id"], err
}
