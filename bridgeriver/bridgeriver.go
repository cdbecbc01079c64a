// Package bridgeriver is a [bridge.Queue] on PostgreSQL for any number of
// machines, built on River (github.com/riverqueue/river): a delivery is
// acknowledged once it is stored as a job, and the workers of all processes work
// on the jobs.
//
// The handler needs the client to store jobs, and the client needs the handler to
// work on them. So the worker is added last, which River allows until Start:
//
//	workers := river.NewWorkers()
//	client, err := river.NewClient(riverpgxv5.New(pool), bridgeriver.Configure(&river.Config{Workers: workers}))
//	...
//	handler, err := bridge.New(bridge.Config{Queue: bridgeriver.Queue(client), Ledger: ledger, ...})
//	...
//	bridgeriver.AddWorker(workers, handler)
//	err = client.Start(ctx)
//
// Serve requests only after AddWorker. The Ledger must be one that all processes
// share, preferably an sqlledger in the same database: it keeps two workers from
// processing the same user or organization, and knows what is done.
//
// A process that only receives leaves out Workers, AddWorker and Start; its
// handler then needs no Ledger.
//
// # What becomes of a job
//
// A job ends as "completed" when the delivery's outcome is OK, see
// [bridge.Outcome], and [bridge.Result.Retry] asks for no other attempt. What
// can't succeed, or has failed too often, ends as "cancelled": it is not attempted
// again by itself, and is kept for people to look at. One whose workers crash each
// time ends as "discarded". [bridge.Result.Retry] has the numbers. The time of the
// next attempt is exact, but River checks for jobs with waits of more than five
// seconds only every five seconds, so it may begin that much later. River takes the
// process's clock for that time and PostgreSQL's to find what is due: a process whose
// clock is ahead makes its jobs wait for as long, new ones included.
//
// River keeps a text for each failed attempt, which is [bridge.Result.Problem],
// and logs it: nothing of the payload, except what a mapping function puts into
// an error of its own.
//
// A delivery that finds another one of the same user in progress is put back for
// a moment, as is one that Knock's limits have no room for, or that a shutdown
// has cut off. None of these attempts count.
//
// # When the queue is behind
//
// A mass change in Clerk can bring many states of one user while Knock takes 60
// writes a second. So a job that starts half a second late or more looks for a
// newer state of its user, organization or membership among the jobs that are
// due, and if there is one, steps back for a second, once. It is then stale, see
// [bridge.Stale]: only the newest state is written, but the workflows of each
// event are started. The look-up uses the index that [Migrate] adds to River's
// table, and is left out without that index, and with drivers other than
// riverpgxv5.
//
// # One id, one job
//
// A svix-id is stored once, whatever state its job is in, as long as the job
// exists. Configure keeps completed jobs for 96 hours. After that, a delivery
// that comes again is stored again, and only the ledger recognizes it.
// Deliveries that arrive together are stored together, in one transaction.
//
// You can store a delivery in a transaction of your own:
//
//	_, err := client.InsertTx(ctx, tx, bridgeriver.NewArgs(delivery), nil)
//
// Keep the transaction short: whoever stores the same delivery meanwhile waits for it
// to end, as the id is unique.
//
// # What is stored
//
// A job holds the whole body, as it was received, until River removes it: for 96
// hours after it is completed, 14 days after it is cancelled or discarded. That
// is personal data. If that is too long, shorten the retention in
// [river.Config]: a completed job is no longer needed, as long as the ledger
// remembers. Don't map events that carry one-time codes (email.created,
// sms.created) with a queue unless storing them is fine; what is not mapped is
// not stored.
//
// # Stopping
//
// [river.Client.Stop] waits for deliveries in progress, about 12 seconds at
// most. Those cut off by [river.Client.StopAndCancel], or when SoftStopTimeout
// has passed, are continued elsewhere at once. The jobs of a process that is
// killed are taken over after RescueStuckJobsAfter and up to about 50 seconds
// more: River's leader checks every half minute, and may have to be elected
// first.
//
// # Dead letters
//
// List what needs a person with [river.Client.JobList]:
//
//	params := river.NewJobListParams().Kinds(bridgeriver.Args{}.Kind()).
//		States(rivertype.JobStateCancelled, rivertype.JobStateDiscarded)
//
// The Errors of a job say why. [river.Client.JobRetry] queues it again: it gets
// one more attempt, or as many as it had left. River UI can show and do the same.
package bridgeriver

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/clerkknock/bridge"
)

// QueueName is the queue, in River's sense, of all deliveries. It is one of
// their own, so that a mass change in Clerk does not hold other jobs up.
const QueueName = "clerk"

const (
	kind = "clerk_delivery"

	// maxAttempts is out of the way of bridge.Result.Retry, which decides, but ends
	// what kills its worker every time.
	maxAttempts = 500

	jobTimeout = 20 * time.Second
)

// Args are the arguments of a job: one delivery. Make them with [NewArgs].
type Args struct {
	// ID is the svix-id.
	ID string `json:"svix_id" river:"unique"`

	// ReceivedAt is when the delivery was received, zero if nobody knows.
	ReceivedAt time.Time `json:"received_at,omitzero"`

	// EventType and Entity say what the delivery is about, for people who look at
	// the job, and Version and Timestamp which state of the entity it carries; see
	// [bridge.Subject].
	EventType string `json:"event,omitzero"`
	Entity    string `json:"entity,omitzero"`
	Version   int64  `json:"version,omitzero"`
	Timestamp int64  `json:"timestamp,omitzero"`

	// Body is the received body. It is a string, as PostgreSQL would write JSON
	// anew and refuses some of it.
	Body string `json:"body"`

	// Base64 says that Body is in base64 (RFC 4648, section 4), because it is not a
	// text that PostgreSQL can hold.
	Base64 bool `json:"base64,omitzero"`

	// after is how long a failed attempt is to wait for the next. River asks for it
	// after Work, with the same job.
	after time.Duration
}

// NewArgs returns the arguments of the job for a delivery, whose body is
// copied. Any body can be stored; one that is not an event ends as a cancelled
// job.
func NewArgs(d bridge.Delivery) Args {
	a := Args{ID: d.ID, ReceivedAt: d.ReceivedAt}
	// A name that can't be stored would keep others of its batch from being stored.
	if s, err := bridge.SubjectOf(d); err == nil && storable(s.EventType) {
		a.EventType, a.Entity, a.Version, a.Timestamp = s.EventType, s.Entity, s.Version, s.Timestamp
	}
	if a.Body = string(d.Body); !storable(a.Body) {
		a.Body, a.Base64 = base64.StdEncoding.EncodeToString(d.Body), true
	}
	return a
}

// storable reports whether JSONB can hold a string.
func storable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// Delivery returns the delivery, with the bytes of its body as they were
// received.
func (a Args) Delivery() (bridge.Delivery, error) {
	d := bridge.Delivery{ID: a.ID, ReceivedAt: a.ReceivedAt, Body: []byte(a.Body)}
	if a.Base64 {
		var err error
		if d.Body, err = base64.StdEncoding.DecodeString(a.Body); err != nil {
			return bridge.Delivery{}, fmt.Errorf("bridgeriver: the body of the job: %w", err)
		}
	}
	return d, nil
}

// Kind is the kind of the jobs, "clerk_delivery".
func (Args) Kind() string { return kind }

// InsertOpts are how the jobs are inserted: in the queue [QueueName], and one for
// each svix-id, also when the delivery was given up.
func (Args) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		MaxAttempts: maxAttempts,
		Queue:       QueueName,
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
	}
}

// Configure sets the fields of cfg that matter here and are unset, and returns cfg.
// Most of them affect other jobs of the client as well; River applies the retention
// and rescue settings of whichever client is the leader, so all clients of a
// database should have the same.
//
//   - Queues: [QueueName] with 50 workers, unless the client only inserts
//     (Workers is nil). Knock takes 60 writes a second of each kind, which
//     occupies a handful of workers most of the time, and all 50 when Knock is
//     slow. Each uses a connection of the ledger briefly. With package pace, a
//     few hundred make large bulk calls.
//   - FetchCooldown: 10 ms. River fetches as many jobs at a time as workers are
//     idle, and then waits that long; its default of 100 ms limits each worker
//     to 10 jobs a second.
//   - FetchPollInterval: 250 ms. River announces new jobs, but not those that
//     were put back for less than five seconds.
//   - JobTimeout: 20 seconds, more than the handler takes (bridge.Config.Timeout,
//     12 seconds). Deliveries have this limit whatever is configured here.
//   - RescueStuckJobsAfter: JobTimeout. No live worker has a job for longer, and a job
//     that is taken over too early is blocked by the ledger's lease. River's leader
//     checks every half minute, so the jobs of a worker that died wait for up to a
//     minute in all, and about 15 seconds more when the leader died with it. The field
//     is left alone when JobTimeout is -1.
//   - SoftStopTimeout: 15 seconds. When the context given to Start ends, the
//     work in progress is finished, as with Stop.
//   - CompletedJobRetentionPeriod: 96 hours, like the ledger. A svix-id is
//     unique as long as its job is there.
//   - CancelledJobRetentionPeriod, DiscardedJobRetentionPeriod: 14 days, for
//     people to look at what has failed.
func Configure(cfg *river.Config) *river.Config {
	const (
		maxWorkers = 50
		completed  = 96 * time.Hour
		given      = 14 * 24 * time.Hour
	)
	if _, ok := cfg.Queues[QueueName]; !ok && cfg.Workers != nil {
		queues := map[string]river.QueueConfig{QueueName: {MaxWorkers: maxWorkers}}
		maps.Copy(queues, cfg.Queues)
		cfg.Queues = queues
	}
	setUnset(&cfg.FetchCooldown, 10*time.Millisecond)
	setUnset(&cfg.FetchPollInterval, max(250*time.Millisecond, cfg.FetchCooldown))
	setUnset(&cfg.JobTimeout, jobTimeout)
	if cfg.JobTimeout > 0 {
		setUnset(&cfg.RescueStuckJobsAfter, cfg.JobTimeout)
	}
	setUnset(&cfg.SoftStopTimeout, 15*time.Second)
	setUnset(&cfg.CompletedJobRetentionPeriod, completed)
	setUnset(&cfg.CancelledJobRetentionPeriod, given)
	setUnset(&cfg.DiscardedJobRetentionPeriod, given)
	return cfg
}

func setUnset(d *time.Duration, value time.Duration) { *d = cmp.Or(*d, value) }

// AddWorker makes the clients that use workers process deliveries with handler.
// Call it once, before any of them is started. It panics when a worker for
// deliveries has been added before, or handler is nil.
//
// The work on a delivery is cut off after 20 seconds: bridge.Config.Timeout
// should be less.
func AddWorker(workers *river.Workers, handler *bridge.Handler) {
	if handler == nil {
		panic(errors.New("bridgeriver: the handler is nil"))
	}
	river.AddWorker(workers, &worker{handler: handler})
}

type worker struct {
	river.WorkerDefaults[Args]

	handler   *bridge.Handler
	coalescer coalescer
}

// Timeout is how long a worker has for one delivery.
func (*worker) Timeout(*river.Job[Args]) time.Duration { return jobTimeout }

// NextRetry is when a job is to be attempted again that has failed, or whose
// worker has died.
func (*worker) NextRetry(job *river.Job[Args]) time.Time {
	after := job.Args.after
	if after == 0 {
		died := bridge.Result{Outcome: bridge.OutcomeTransient}
		after = died.Retry(job.Attempt).After
	}
	return time.Now().Add(after)
}

// Work attempts a delivery once.
func (w *worker) Work(ctx context.Context, job *river.Job[Args]) error {
	d, err := job.Args.Delivery()
	if err != nil {
		return river.JobCancel(err)
	}
	if w.coalescer.yields(ctx, job) {
		return river.JobSnooze(yieldFor)
	}
	res, _ := w.handler.Process(ctx, d) // the error is the Result's
	if res.Outcome == bridge.OutcomeTransient && errors.Is(ctx.Err(), context.Canceled) {
		return river.JobSnooze(0) // a shutdown, nothing that the delivery could do anything about
	}
	retry := res.Retry(job.Attempt) // which leaves out attempts that were snoozed
	problem := errors.New(cmp.Or(res.Problem(), "the outcome is "+string(res.Outcome)))
	switch {
	case !retry.Again && res.Outcome.OK():
		return nil
	case !retry.Again:
		return river.JobCancel(problem)
	case retry.Free:
		return river.JobSnooze(retry.After)
	}
	job.Args.after = retry.After
	return problem
}
