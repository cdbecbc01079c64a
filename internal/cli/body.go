package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decodeBody reads an event's body for changing it. Numbers keep their digits.
func decodeBody(body []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var members map[string]any
	if err := dec.Decode(&members); err != nil {
		return nil, fmt.Errorf("is not a JSON object: %w", err)
	}
	if members == nil {
		return nil, errors.New("is not a JSON object")
	}
	if dec.More() {
		return nil, errors.New("has more than one JSON value")
	}
	return members, nil
}

// encode is encoding/json without HTML escaping.
func encode(v any, indent string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		panic(err) // was decoded from JSON
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// retime moves an event to a point in time: its envelope, and the times in its
// data by which the bridge tells newer states from older ones.
func retime(body map[string]any, at time.Time) {
	ms := json.Number(strconv.FormatInt(at.UnixMilli(), 10))
	body["timestamp"] = ms
	data, ok := body["data"].(map[string]any)
	if !ok {
		return
	}
	if _, ok := data["updated_at"]; ok {
		data["updated_at"] = ms
	}
	name, _ := body["type"].(string)
	if _, ok := data["created_at"]; ok && strings.HasSuffix(name, ".created") {
		data["created_at"] = ms
	}
}

// setting is one --set: a path and what to put there.
type setting struct {
	text  string // as it was written
	steps []any  // string or int
	value any
}

var pathStep = regexp.MustCompile(`^([^.\[\]]+)((?:\[\d+\])*)$`)

// parseSetting reads "data.email_addresses[0].email_address=ada@example.com".
func parseSetting(text string) (setting, error) {
	path, value, ok := strings.Cut(text, "=")
	if !ok {
		return setting{}, fmt.Errorf("%q has no =: want a path, = and a value, such as data.first_name=Ada", text)
	}
	s := setting{text: path}
	for part := range strings.SplitSeq(path, ".") {
		m := pathStep.FindStringSubmatch(part)
		if m == nil {
			return setting{}, fmt.Errorf("path %q: %q is not a member's name, with [index] behind it for a list", path, part)
		}
		s.steps = append(s.steps, m[1])
		for index := range strings.SplitSeq(strings.Trim(m[2], "[]"), "][") {
			if index == "" {
				continue
			}
			n, err := strconv.Atoi(index)
			if err != nil {
				return setting{}, fmt.Errorf("path %q: index %s is too large", path, index)
			}
			s.steps = append(s.steps, n)
		}
	}
	dec := json.NewDecoder(strings.NewReader(value))
	dec.UseNumber()
	if err := dec.Decode(&s.value); err != nil || dec.More() {
		s.value = value
	}
	return s, nil
}

// apply changes the body. A member that does not exist is created where its
// parent is an object. The envelope gets no new members: Clerk's is fixed, and
// the path most likely lacks its "data.".
func (s setting) apply(body map[string]any) error {
	first, _ := s.steps[0].(string)
	if _, ok := body[first]; !ok {
		return fmt.Errorf("the event has no member %q; did you mean data.%s? It has %s", first, s.text, strings.Join(sortedKeys(body), ", "))
	}
	var at any = body
	where := ""
	for i, step := range s.steps {
		last := i == len(s.steps)-1
		switch step := step.(type) {
		case string:
			object, ok := at.(map[string]any)
			if !ok {
				return fmt.Errorf("%s: %s is %s and can't have a member %q", s.text, where, kindOf(at), step)
			}
			next, exists := object[step]
			switch {
			case last:
				object[step] = s.value
				return nil
			case !exists:
				return fmt.Errorf("%s: %s has no member %q%s", s.text, where, step, suggest(step, sortedKeys(object), ""))
			}
			at, where = next, strings.TrimPrefix(where+"."+step, ".")
		case int:
			list, ok := at.([]any)
			if !ok {
				return fmt.Errorf("%s: %s is %s, not a list", s.text, where, kindOf(at))
			}
			if step >= len(list) {
				return fmt.Errorf("%s: %s has %d elements, counted from 0", s.text, where, len(list))
			}
			if last {
				list[step] = s.value
				return nil
			}
			at, where = list[step], fmt.Sprintf("%s[%d]", where, step)
		}
	}
	return nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "a number"
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// clerkID has the form of Clerk's ids: what it is, and 27 characters.
var clerkID = regexp.MustCompile(`^[a-z][a-z0-9_]*_[0-9A-Za-z]{27}$`)

// renamer gives the ids in bodies other values, the same for the same id, so
// that events belong together as before and to nothing else.
type renamer map[string]string

func (r renamer) rename(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if text, ok := member.(string); ok && isID(key, text) {
				v[key] = r.id(text)
				continue
			}
			r.rename(member)
		}
	case []any:
		for _, element := range v {
			r.rename(element)
		}
	}
}

// isID reports whether a member holds an id of Clerk's, or one that somebody
// wrote in its place, such as user_1.
func isID(member, value string) bool {
	switch {
	case member == "instance_id" || member == "external_id":
		return false
	case member == "id" || strings.HasSuffix(member, "_id"):
		return strings.Contains(value, "_")
	}
	return clerkID.MatchString(value)
}

func (r renamer) id(old string) string {
	id, ok := r[old]
	if !ok {
		id = newID(old[:strings.LastIndex(old, "_")+1])
		r[old] = id
	}
	return id
}

// newID returns prefix and 27 characters, as Clerk's and Svix's ids have. Like
// theirs, it begins with the time, so that a later one sorts behind: of two
// deliveries with the same state, the bridge takes the higher id for the newer.
func newID(prefix string) string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var stamp [11]byte
	n := time.Now().UnixNano()
	for i := range stamp {
		stamp[len(stamp)-1-i] = letters[n%int64(len(letters))]
		n /= int64(len(letters))
	}
	return prefix + string(stamp[:]) + rand.Text()[:16]
}
