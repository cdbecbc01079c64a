package cli

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// capture is a delivery as somebody has recorded it.
type capture struct {
	id     string // empty when the recording has none
	header http.Header
	body   []byte

	// embedded is true when the body stood in the recording as JSON and not as
	// text: spaces in it may not be those that were signed.
	embedded bool
}

// parseCaptures reads recordings: JSON objects one after the other, on a line
// each or not, or in a list. It passes over the "ready" line of clerk webhooks
// listen.
func parseCaptures(name string, data []byte) ([]capture, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	dec := json.NewDecoder(bytes.NewReader(data))
	var all []capture
	for start, line := 0, 1; ; {
		next := len(data) - len(bytes.TrimLeft(data[dec.InputOffset():], " \t\r\n"))
		line += bytes.Count(data[start:next], []byte("\n"))
		start = next
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, usagef("%s, line %d: not JSON: %w", name, line, err)
		}
		items := []json.RawMessage{raw}
		if raw[0] == '[' {
			if err := json.Unmarshal(raw, &items); err != nil {
				return nil, usagef("%s, line %d: %w", name, line, err)
			}
		}
		for _, item := range items {
			c, skip, err := parseCapture(item)
			if err != nil {
				return nil, usagef("%s, line %d: %w", name, line, err)
			}
			if !skip {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return nil, usagef("%s holds no delivery", name)
	}
	return all, nil
}

// The members of a recording are looked up by these names, without regard to
// case, dashes and underscores.
var (
	idNames     = []string{"svixid", "webhookid", "id", "deliveryid", "delivery", "msgid", "messageid"}
	headerNames = []string{"headers", "header"}
	bodyNames   = []string{"bodyb64", "bodybase64", "payloadb64", "payloadbase64", "rawbody", "body", "rawpayload", "payload"}
	nestedNames = []string{"request", "event", "delivery", "message"}
)

func parseCapture(raw json.RawMessage) (c capture, skip bool, err error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return capture{}, false, errors.New("not a JSON object")
	}
	members := plainNames(object)
	if c.header, err = recordedHeaders(members); err != nil {
		return capture{}, false, err
	}
	body, hasBody := first(members, bodyNames)
	_, hasData := object["data"]
	switch {
	case hasBody:
	case isString(object["type"]) && hasData && len(c.header) == 0:
		return capture{header: c.header, body: raw, embedded: true}, false, nil // a bare event
	case string(object["type"]) == `"ready"`:
		return capture{}, true, nil
	default:
		if inner, ok := first(members, nestedNames); ok && inner[0] == '{' {
			return parseCapture(inner)
		}
		return capture{}, false, fmt.Errorf("no body in it: want a member body, body_b64 or payload, or an event with type and data; it has %s", strings.Join(sortedKeys(object), ", "))
	}
	c.id = cmp.Or(c.header.Get("Svix-Id"), c.header.Get("Webhook-Id"))
	if text, ok := first(members, idNames); ok && c.id == "" {
		_ = json.Unmarshal(text, &c.id) // an id that is no string is not Svix's
	}
	c.body, c.embedded, err = recordedBody(body)
	return c, false, err
}

// recordedHeaders takes the headers from their member, and those that stand
// beside it.
func recordedHeaders(members map[string]json.RawMessage) (http.Header, error) {
	h := make(http.Header)
	if text, ok := first(members, headerNames); ok {
		var err error
		if h, err = parseJSONHeaders(text); err != nil {
			return nil, err
		}
	}
	for _, name := range [...]string{"Svix-Id", "Svix-Timestamp", "Svix-Signature", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
		if text, ok := members[plainName(name)]; ok && len(h[name]) == 0 {
			var value any
			if err := json.Unmarshal(text, &value); err != nil {
				return nil, err
			}
			if err := addHeader(h, name, value); err != nil {
				return nil, err
			}
		}
	}
	return h, nil
}

// recordedBody returns the bytes of a body: of a JSON value as it stands, of a
// string its text, or what it encodes in base64.
func recordedBody(raw json.RawMessage) (body []byte, embedded bool, err error) {
	if !isString(raw) {
		return raw, true, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, false, err
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			return decoded, false, nil
		}
	}
	return []byte(text), false, nil
}

func plainName(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
}

func plainNames(object map[string]json.RawMessage) map[string]json.RawMessage {
	members := make(map[string]json.RawMessage, len(object))
	for _, name := range sortedKeys(object) {
		if text := object[name]; string(text) != "null" {
			members[plainName(name)] = text
		}
	}
	return members
}

func first(members map[string]json.RawMessage, names []string) (json.RawMessage, bool) {
	for _, name := range names {
		if text, ok := members[name]; ok {
			return text, true
		}
	}
	return nil, false
}

func isString(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '"' }

// parseHeaders reads a file of headers: "Name: value" lines, with whatever curl
// or a browser puts around them, or a JSON object.
func parseHeaders(text []byte) (http.Header, error) {
	if text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))); len(text) == 0 {
		return nil, errors.New("is empty")
	}
	if text[0] == '{' || text[0] == '[' {
		return parseJSONHeaders(text)
	}
	h := make(http.Header)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(strings.TrimLeft(line, "<> "))
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t") {
			continue // a request line, a blank one
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if len(h) == 0 {
		return nil, errors.New(`has no "Name: value" line`)
	}
	return h, nil
}

// parseJSONHeaders reads {"name": "value"}, {"name": ["value"]},
// [["name", "value"]] and [{"name": "…", "value": "…"}].
func parseJSONHeaders(text []byte) (http.Header, error) {
	h := make(http.Header)
	var object map[string]any
	if json.Unmarshal(text, &object) == nil {
		for name, v := range object {
			if err := addHeader(h, name, v); err != nil {
				return nil, err
			}
		}
		return h, nil
	}
	var list []any
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("headers are not a JSON object: %w", err)
	}
	for _, v := range list {
		var name, value any
		switch v := v.(type) {
		case []any:
			if len(v) == 2 {
				name, value = v[0], v[1]
			}
		case map[string]any:
			name, value = v["name"], v["value"]
		}
		text, ok := name.(string)
		if !ok {
			return nil, errors.New("headers are a list, but not of names and values")
		}
		if err := addHeader(h, text, value); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func addHeader(h http.Header, name string, v any) error {
	switch v := v.(type) {
	case nil:
	case string:
		h.Add(name, strings.TrimSpace(v))
	case float64:
		h.Add(name, fmt.Sprintf("%.0f", v)) // a timestamp
	case []any:
		for _, v := range v {
			if err := addHeader(h, name, v); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("header %s is %s, want a string", name, kindOf(v))
	}
	return nil
}
