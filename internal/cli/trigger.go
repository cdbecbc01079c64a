package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/bridgetest"
)

const triggerHelp = `
Send a signed sample event to your handler, as Clerk would, and print the answer.

The samples are about one user and one organization, always the same, as of now.
Once they are deleted, the handler takes no news of them: --set data.id=user_2
makes another one. A story is a sequence of events about a new user or
organization. "bridge trigger --list" shows events and stories.

What is sent is invented, and your handler writes it to Knock: use a development
environment there.

The exit status is 0 when every answer is the expected one: 2xx, or 401 with
--old and --forge.`

const triggerExample = `
  bridge trigger user.created
  bridge trigger user.created --to http://localhost:3000/api/webhooks
  bridge trigger user.updated --set data.first_name=Ada --set data.username=null
  bridge trigger user.updated --set 'data.email_addresses[1].email_address=ada@example.com'
  bridge trigger user.created --duplicate   # processed once
  bridge trigger user.deleted --forge       # has to be refused
  bridge trigger organization-life --shuffle
  bridge trigger user.created --print > payload.json
  bridge trigger --file payload.json
`

// oldAge is outside of any tolerance that somebody may have set.
const oldAge = 24 * time.Hour

// maxCount bounds what is built before the first is sent.
const maxCount = 10_000

// trigger holds the flags of the command.
type trigger struct {
	target

	sets      listFlag
	file      string
	id        string
	count     int
	duplicate bool
	old       bool
	forge     bool
	shuffle   bool
	seed      uint64
	print     bool
	list      bool
}

// listFlag is a flag that may be given more than once.
type listFlag []string

// String returns the values, separated by spaces.
func (l *listFlag) String() string { return strings.Join(*l, " ") }

// Set adds a value.
func (l *listFlag) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func setupTrigger(a *app, flags *flag.FlagSet) func(context.Context, []string) error {
	t := new(trigger)
	t.register(flags)
	flags.Var(&t.sets, "set", "change a member by its `path=value`, such as data.first_name=Ada; a\nvalue that is JSON is taken as JSON, null clears; may be repeated")
	flags.StringVar(&t.file, "file", "", "send the event in a `file`, or the event with the data in it, instead\nof the sample; - is standard input")
	flags.StringVar(&t.id, "id", "", "delivery `id` (svix-id) instead of a new one")
	flags.IntVar(&t.count, "count", 1, "send it `n` times, each about another user or organization")
	flags.BoolVar(&t.duplicate, "duplicate", false, "send each delivery twice, as Svix may")
	flags.BoolVar(&t.old, "old", false, "sign with a timestamp of yesterday: 401 is expected")
	flags.BoolVar(&t.forge, "forge", false, "sign with another secret: 401 is expected")
	flags.BoolVar(&t.shuffle, "shuffle", false, "send the deliveries in random order")
	flags.Uint64Var(&t.seed, "seed", 0, "repeat the order of an earlier --shuffle by its `number`")
	flags.BoolVar(&t.print, "print", false, "print the event instead of sending it; with --json a signed\ndelivery for verify and replay")
	flags.BoolVar(&t.list, "list", false, "list all events and stories")
	return func(ctx context.Context, args []string) error { return a.trigger(ctx, t, args) }
}

func (a *app) trigger(ctx context.Context, t *trigger, args []string) error {
	if t.list {
		if len(args) > 0 {
			return usagef("--list lists everything; unexpected argument %q", args[0])
		}
		return a.list(t.json)
	}
	name, err := t.checkArgs(args)
	if err != nil {
		return err
	}
	if !t.print {
		if err := t.check(); err != nil {
			return err
		}
	}
	secret := ""
	switch {
	case t.forge:
		key := make([]byte, 24)
		_, _ = rand.Read(key) // never fails
		secret = "whsec_" + base64.StdEncoding.EncodeToString(key)
	case !t.print || t.json:
		if secret, err = a.signingSecret(t.secret); err != nil {
			return err
		}
	}
	shipments, err := a.shipments(ctx, t, name, secret)
	if err != nil {
		return err
	}
	if t.shuffle {
		seed := t.seed
		if seed == 0 {
			seed = 1 + uint64(mathrand.Uint32()) //nolint:gosec // an order, not a secret
		}
		mathrand.New(mathrand.NewPCG(seed, 0)).Shuffle(len(shipments), func(i, j int) { //nolint:gosec // likewise
			shipments[i], shipments[j] = shipments[j], shipments[i]
		})
		fmt.Fprintf(a.stderr, "shuffled; --seed %d repeats this order\n", seed)
	}
	if t.print {
		return a.printShipments(t, shipments)
	}
	return a.send(ctx, &t.target, shipments)
}

// checkArgs returns the event or story to send; it may be empty with --file.
func (t *trigger) checkArgs(args []string) (name string, err error) {
	switch {
	case len(args) > 1:
		return "", usagef("one event or story at a time; unexpected argument %q", args[1])
	case len(args) == 1:
		name = args[0]
	case t.file == "":
		return "", usagef("which event? See bridge trigger --list")
	}
	story := isStory(name)
	if name != "" && !story && !isEvent(name) && t.file == "" {
		return "", usagef("unknown event %q%s; see bridge trigger --list, or give --file for one that is newer than this command", name, suggest(name, triggerNames(), ""))
	}
	return name, t.checkFlags(name, story)
}

// checkFlags refuses flags that do not go together.
func (t *trigger) checkFlags(name string, story bool) error {
	switch {
	case story && (t.file != "" || len(t.sets) > 0):
		return usagef("--file and --set are for one event, %s is a story", name)
	case t.count < 1 || t.count > maxCount:
		return usagef("--count %d: want 1 to %d", t.count, maxCount)
	case t.id != "" && (story || t.count > 1):
		return usagef("--id is for one delivery")
	case t.seed != 0 && !t.shuffle:
		return usagef("--seed is for --shuffle")
	case t.shuffle && !story && t.count == 1:
		return usagef("--shuffle is for several deliveries: a story, or --count")
	case strings.ContainsFunc(t.id, func(r rune) bool { return r <= ' ' || r > '~' }):
		return usagef("--id %q: want printable ASCII without spaces", t.id)
	}
	return nil
}

// shipments builds all deliveries before the first is sent.
func (a *app) shipments(ctx context.Context, t *trigger, name, secret string) ([]shipment, error) {
	var file []byte
	if t.file != "" {
		var err error
		if file, err = a.readFile(ctx, t.file); err != nil {
			return nil, err
		}
	}
	sets := make([]setting, len(t.sets))
	for i, text := range t.sets {
		var err error
		if sets[i], err = parseSetting(text); err != nil {
			return nil, usagef("--set %w", err)
		}
	}
	var all []shipment
	for range t.count {
		var bodies [][]byte
		var err error
		if i := slices.IndexFunc(stories, func(s story) bool { return s.name == name }); i >= 0 {
			bodies = stories[i].bodies(time.Now())
		} else {
			var body []byte
			body, err = t.body(name, file, sets)
			bodies = append(bodies, body)
		}
		if err != nil {
			return nil, err
		}
		for _, body := range bodies {
			s := shipment{id: t.id, event: typeOf(body), body: body, secret: secret}
			if s.id == "" {
				s.id = newID("msg_")
			}
			switch {
			case t.forge:
				s.refused = "it is signed with another secret"
			case t.old:
				s.refused = "its timestamp is a day old"
			}
			if t.old {
				s.age = oldAge
			}
			all = append(all, s)
			if t.duplicate {
				s.note = "again"
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// body makes the body of one event: the file's or the sample's, changed by what
// was set.
func (t *trigger) body(name string, file []byte, sets []setting) ([]byte, error) {
	text, given, err := t.source(name, file)
	if err != nil {
		return nil, err
	}
	if given && len(sets) == 0 && t.count == 1 {
		return text, nil // byte for byte
	}
	body, err := decodeBody(text)
	if err != nil {
		return nil, usagef("%s %w", t.file, err)
	}
	if !given {
		retime(body, now(body))
	}
	if t.count > 1 {
		renamer{}.rename(body)
	}
	for _, s := range sets {
		if err := s.apply(body); err != nil {
			return nil, usagef("--set %w", err)
		}
	}
	return encode(body, ""), nil
}

// source returns the event in the file, an event around the data in it, or the
// sample; and whether the data was given, so that its times stay.
func (t *trigger) source(name string, file []byte) (text []byte, given bool, err error) {
	if t.file == "" {
		text, err = bridgetest.Body(name, nil)
		return text, false, err
	}
	members, err := decodeBody(file)
	if err != nil {
		return nil, false, usagef("%s %w", t.file, err)
	}
	inside, isEvent := members["type"].(string)
	if _, hasData := members["data"]; !isEvent || !hasData {
		if name == "" {
			return nil, false, usagef("%s is not an event with type and data. If it is the data of one, say which: bridge trigger EVENT --file %s", t.file, t.file)
		}
		text, err = bridgetest.Body(name, json.RawMessage(file))
		return text, true, err
	}
	if name != "" && name != inside {
		return nil, false, usagef("%s holds a %s, not a %s; leave the event out", t.file, inside, name)
	}
	return file, true, nil
}

// now is the time of an event that has just been made: bridgetest gives no two
// the same.
func now(body map[string]any) time.Time {
	n, _ := body["timestamp"].(json.Number)
	ms, err := n.Int64()
	if err != nil {
		return time.Now()
	}
	return time.UnixMilli(ms)
}

// bodies plays the story about new ids, a second between the events, the last
// one at the given time.
func (s story) bodies(end time.Time) [][]byte {
	ids := renamer{}
	bodies := make([][]byte, len(s.steps))
	for i, step := range s.steps {
		text, err := bridgetest.Body(step.event, nil)
		if err != nil {
			panic(err) // a test plays every story
		}
		body, err := decodeBody(text)
		if err != nil {
			panic(err)
		}
		retime(body, end.Add(time.Duration(i+1-len(s.steps))*time.Second))
		ids.rename(body)
		for _, text := range step.sets {
			set, err := parseSetting(text)
			if err == nil {
				err = set.apply(body)
			}
			if err != nil {
				panic(err)
			}
		}
		bodies[i] = encode(body, "")
	}
	return bodies
}

// typeOf returns the type member of a body, or a dash.
func typeOf(body []byte) string {
	var e struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(body, &e) != nil || e.Type == "" {
		return "-"
	}
	return e.Type
}

func (a *app) printShipments(t *trigger, shipments []shipment) error {
	for _, s := range shipments {
		if !t.json {
			body, err := decodeBody(s.body)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(a.stdout, "%s\n", encode(body, "  ")); err != nil {
				return err
			}
			continue
		}
		header, err := bridge.Sign(s.secret, s.id, time.Now().Add(-s.age), s.body)
		if err != nil {
			return err
		}
		flat := make(map[string]string, len(header))
		for name := range header {
			flat[strings.ToLower(name)] = header.Get(name)
		}
		line := struct {
			ID      string            `json:"id"`
			Event   string            `json:"event"`
			Headers map[string]string `json:"headers"`
			Body    string            `json:"body"`
		}{s.id, s.event, flat, string(s.body)}
		if _, err := fmt.Fprintf(a.stdout, "%s\n", encode(line, "")); err != nil {
			return err
		}
	}
	return nil
}
