package bridgetest

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query is a query string as Knock reads it: arrays carry brackets, "x[]=a" for
// scalars and "x[0][id]=a" for objects.
type query struct {
	scalars map[string]string
	arrays  map[string][]string
	indexed map[string]map[int]map[string]any
}

func parseQuery(raw string) (*query, error) {
	q := &query{
		scalars: make(map[string]string),
		arrays:  make(map[string][]string),
		indexed: make(map[string]map[int]map[string]any),
	}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			return nil, invalid(rawName, "is not a query parameter")
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, invalid(name, "is not a query parameter")
		}
		base, brackets, has := strings.Cut(name, "[")
		if !has {
			q.scalars[name] = value
			continue
		}
		if brackets == "]" {
			q.arrays[base] = append(q.arrays[base], value)
			continue
		}
		position, member, found := strings.Cut(strings.TrimSuffix(brackets, "]"), "][")
		index, err := strconv.Atoi(position)
		if !found || err != nil || index < 0 || member == "" {
			return nil, invalid(base, "must be written as name[]=value or name[0][member]=value")
		}
		if q.indexed[base] == nil {
			q.indexed[base] = make(map[int]map[string]any)
		}
		if q.indexed[base][index] == nil {
			q.indexed[base][index] = make(map[string]any)
		}
		q.indexed[base][index][member] = value
	}
	return q, nil
}

// strings returns an array of scalars. The name without brackets is refused.
func (q *query) strings(name string) ([]string, error) {
	if _, bare := q.scalars[name]; bare || q.indexed[name] != nil {
		return nil, invalid(name, "must be an array")
	}
	return q.arrays[name], nil
}

// references returns an array of user ids and objects; given tells an absent
// array from an empty one.
func (q *query) references(name string) (refs []Ref, given bool, err error) {
	if _, bare := q.scalars[name]; bare {
		return nil, false, invalid(name, "must be an array")
	}
	for _, id := range q.arrays[name] {
		refs = append(refs, Ref{ID: id})
	}
	for _, member := range q.indexed[name] {
		ref, err := strictReference(name, member)
		if err != nil {
			return nil, false, err
		}
		refs = append(refs, ref)
	}
	return refs, len(refs) > 0, nil
}

func (q *query) bool(name string) (bool, error) {
	switch q.scalars[name] {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, invalid(name, "must be true or false")
	}
}

// include reports whether preferences are to be shown with each recipient.
func (q *query) include() (bool, error) {
	values, err := q.strings("include")
	if err != nil {
		return false, err
	}
	for _, v := range values {
		if v != "preferences" {
			return false, invalid("include", "must be preferences")
		}
	}
	return len(values) > 0, nil
}

const maxPageSize = 50

// entry is one item of a list: its place in the order, and how it is shown.
type entry struct {
	seq  uint64
	show func() map[string]any
}

// page cuts the page out of the list that the query asks for. The entries are
// in ascending order of seq.
func (q *query) page(entries []entry) (reply, error) {
	size := maxPageSize
	if text, given := q.scalars["page_size"]; given {
		var err error
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > maxPageSize {
			return reply{}, invalid("page_size", "must be between 1 and 50")
		}
	}
	first, last := 0, len(entries)
	after, before := q.scalars["after"], q.scalars["before"]
	switch {
	case after != "":
		seq, err := parseCursor("after", after)
		if err != nil {
			return reply{}, err
		}
		if first = slices.IndexFunc(entries, func(e entry) bool { return e.seq > seq }); first < 0 {
			first = len(entries)
		}
	case before != "":
		seq, err := parseCursor("before", before)
		if err != nil {
			return reply{}, err
		}
		if last = slices.IndexFunc(entries, func(e entry) bool { return e.seq >= seq }); last < 0 {
			last = len(entries)
		}
		first = max(0, last-size)
	}
	last = min(last, first+size)
	shown := make([]any, 0, last-first)
	for _, e := range entries[first:last] {
		shown = append(shown, e.show())
	}
	info := map[string]any{"__typename": "PageInfo", "after": nil, "before": nil, "page_size": size}
	if last > first && last < len(entries) {
		info["after"] = cursor(entries[last-1].seq)
	}
	if last > first && first > 0 {
		info["before"] = cursor(entries[first].seq)
	}
	return success(map[string]any{"entries": shown, "page_info": info})
}

// cursor encodes a place in a list. The text is as long as it takes for the
// encoding to end in "==", as Knock's cursors do: clients must escape it.
func cursor(seq uint64) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%016x", seq))
}

func parseCursor(name, text string) (uint64, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return 0, invalid(name, "is not a cursor")
	}
	seq, err := strconv.ParseUint(string(raw), 16, 64)
	if err != nil {
		return 0, invalid(name, "is not a cursor")
	}
	return seq, nil
}
