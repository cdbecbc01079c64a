package cli

import (
	"context"
	"flag"
)

const replayHelp = `
Send captured deliveries again, with their ids and bodies, but signed anew with
your handler's secret, and print each answer and a summary.

A file holds one delivery or many, as JSON: lines of "clerk webhooks listen
--json" (Clerk's CLI, github.com/clerk/cli), objects with an id and a body, or
bare events, which get a new id. All files are read before anything is sent. A
handler that has worked a delivery off answers "duplicate" to the same id;
--new-ids makes it work them off again.

The exit status is 0 when every answer is 2xx.`

const replayExample = `
  clerk webhooks listen --json > captured.ndjson
  bridge replay captured.ndjson
  bridge replay --new-ids --to http://localhost:3000/api/webhooks day1.ndjson day2.ndjson
  bridge replay event.json
`

func setupReplay(a *app, flags *flag.FlagSet) func(context.Context, []string) error {
	t := new(target)
	t.register(flags)
	newIDs := flags.Bool("new-ids", false, "give each delivery a new id")
	return func(ctx context.Context, files []string) error { return a.replay(ctx, t, *newIDs, files) }
}

func (a *app) replay(ctx context.Context, t *target, newIDs bool, files []string) error {
	if len(files) == 0 {
		return usagef("which file? - is standard input")
	}
	if err := t.check(); err != nil {
		return err
	}
	secret, err := a.signingSecret(t.secret)
	if err != nil {
		return err
	}
	var shipments []shipment
	for _, name := range files {
		captures, err := a.recorded(ctx, name)
		if err != nil {
			return err
		}
		for _, c := range captures {
			s := shipment{id: c.id, event: typeOf(c.body), body: c.body, secret: secret}
			if newIDs || s.id == "" {
				s.id = newID("msg_")
			}
			shipments = append(shipments, s)
		}
	}
	return a.send(ctx, t, shipments)
}
