package bridgeriver_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgeriver"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/sqlledger"
)

// A process that receives webhooks and processes them. Any number of copies can
// run at once.
func Example() { //nolint:testableexamples // it takes a database
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Print(err)
	}
}

func run(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL")) // such as postgres://…?pool_max_conns=20
	if err != nil {
		return err
	}
	defer pool.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	client, err := startRiver(ctx, pool, bridge.Config{
		SigningSecrets: []string{os.Getenv("CLERK_WEBHOOK_SIGNING_SECRET")},
		Knock:          &actions.HTTP{APIKey: os.Getenv("KNOCK_API_KEY")},
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
		},
	})
	if err != nil {
		return err
	}
	defer func() { // it works until ctx ends, and finishes what it has begun
		stop()
		<-client.Stopped()
	}()

	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	closed := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		closed <- server.Shutdown(shutdown)
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-closed
}

func startRiver(ctx context.Context, pool *pgxpool.Pool, cfg bridge.Config) (*river.Client[pgx.Tx], error) {
	if err := bridgeriver.Migrate(ctx, pool); err != nil {
		return nil, err
	}
	ledger, err := sqlledger.Open(ctx, stdlib.OpenDBFromPool(pool), sqlledger.Config{})
	if err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	client, err := river.NewClient(riverpgxv5.New(pool), bridgeriver.Configure(&river.Config{Workers: workers}))
	if err != nil {
		return nil, err
	}
	cfg.Ledger, cfg.Queue = ledger, bridgeriver.Queue(client)
	handler, err := bridge.New(cfg)
	if err != nil {
		return nil, err
	}
	bridgeriver.AddWorker(workers, handler)
	http.Handle("/webhooks/clerk", handler)
	return client, client.Start(ctx)
}

// What was given up is listed, and retried, by River's own means.
func Example_deadLetters() { //nolint:testableexamples // it takes a database
	ctx := context.Background()
	var client *river.Client[pgx.Tx] // also one without Workers
	if client == nil {
		return
	}
	dead, err := client.JobList(ctx, river.NewJobListParams().
		Kinds(bridgeriver.Args{}.Kind()).
		States(rivertype.JobStateCancelled, rivertype.JobStateDiscarded).
		OrderBy(river.JobListOrderByFinalizedAt, river.SortOrderDesc))
	if err != nil {
		log.Print(err)
		return
	}
	for _, job := range dead.Jobs {
		for _, e := range job.Errors[max(0, len(job.Errors)-1):] {
			fmt.Println(job.ID, job.FinalizedAt, e.Error)
		}
		if _, err := client.JobRetry(ctx, job.ID); err != nil {
			log.Print(err)
		}
	}
}

// A delivery can be stored together with what the application stores.
func ExampleNewArgs() {
	store := func(ctx context.Context, client *river.Client[pgx.Tx], tx pgx.Tx, d bridge.Delivery) (stored bool, err error) {
		res, err := client.InsertTx(ctx, tx, bridgeriver.NewArgs(d), nil)
		return err == nil && !res.UniqueSkippedAsDuplicate, err
	}
	_ = store // in a transaction of the application

	args := bridgeriver.NewArgs(bridge.Delivery{
		ID: "msg_1", Body: []byte(`{"type":"user.updated","data":{"id":"user_1","updated_at":1760000000000}}`),
	})
	fmt.Println(args.ID, args.EventType, args.Entity, args.Version)
	// Output: msg_1 user.updated user/user_1 1760000000000
}
