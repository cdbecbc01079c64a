package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"

	sdk "github.com/clerk/clerk-sdk-go/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/bridgetest"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/sqlledger"
)

// clerkAPI stands for Clerk's Backend API: five users, two organizations and three
// memberships. Told so, it deletes the first user once a page of them was sent.
func clerkAPI(t *testing.T, deletes bool) sdk.Backend {
	t.Helper()
	lists := map[string][]string{}
	add := func(path, object string, args ...any) {
		lists[path] = append(lists[path], fmt.Sprintf(object, args...))
	}
	for i := 1; i <= 5; i++ {
		add("/v1/users", `{"id":"user_%d","object":"user","first_name":"Old","timezone":"Europe/London","updated_at":1000}`, i)
	}
	for i := 1; i <= 2; i++ {
		add("/v1/organizations", `{"id":"org_%d","object":"organization","name":"Org %[1]d","updated_at":1000}`, i)
	}
	for i := 1; i <= 3; i++ {
		add("/v1/organization_memberships", `{"id":"orgmem_%d","role":"org:member","organization":{"id":"org_1"},`+
			`"public_user_data":{"user_id":"user_%[1]d"},"updated_at":1000}`, i)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		assert.Equal(t, "Bearer sk_test_clerk", r.Header.Get("Authorization"))
		assert.Equal(t, "+created_at", q.Get("order_by"))
		limit, err := strconv.Atoi(q.Get("limit"))
		assert.NoError(t, err)
		offset, err := strconv.Atoi(q.Get("offset"))
		assert.NoError(t, err)
		objects := []json.RawMessage{}
		list, ok := lists[r.URL.Path]
		assert.True(t, ok, r.URL.Path)
		for _, object := range list[min(offset, len(list)):min(offset+limit, len(list))] {
			objects = append(objects, json.RawMessage(object))
		}
		var answer any = objects
		if r.URL.Path != "/v1/users" {
			answer = map[string]any{"data": objects, "total_count": len(list)}
		}
		assert.NoError(t, json.NewEncoder(w).Encode(answer))
		if deletes && r.URL.Path == "/v1/users" {
			lists[r.URL.Path] = list[1:]
			deletes = false
		}
	}))
	t.Cleanup(server.Close)
	return sdk.NewBackend(&sdk.BackendConfig{Key: new("sk_test_clerk"), URL: new(server.URL + "/v1"), HTTPClient: server.Client()})
}

// TestBeside a server that has received some events, with a ledger in one file.
func TestBeside(t *testing.T) {
	t.Parallel()
	file := "file:" + filepath.Join(t.TempDir(), "bridge.db") + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)&_txlock=immediate"
	open := func() bridge.Ledger {
		db, err := sql.Open("sqlite", file)
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		ledger, err := sqlledger.Open(t.Context(), db, sqlledger.Config{})
		require.NoError(t, err)
		return ledger
	}
	knock := bridgetest.NewKnock(t)
	server, err := bridge.New(bridge.Config{
		SigningSecrets: []string{bridgetest.Secret}, Knock: knock.Transport(), Ledger: open(),
		Mappings: bridge.Mappings{
			bridge.Also(clerk.UserCreated, bridge.TriggerForUser[clerk.User]("welcome")),
			bridge.Also(clerk.UserUpdated, bridge.TriggerForUser[clerk.User]("changed")),
		},
	})
	require.NoError(t, err)
	receive := func(eventType, data string, want bridge.Outcome) {
		t.Helper()
		res, err := server.Process(t.Context(), bridgetest.NewDelivery(t, eventType, data))
		require.Equal(t, want, res.Outcome, err)
	}
	receive("user.deleted", `{"id":"user_1","deleted":true}`, bridge.OutcomeDone)
	receive("user.updated", `{"id":"user_2","first_name":"New","updated_at":2000}`, bridge.OutcomeDone)
	require.Len(t, knock.Runs(), 1)

	handler, err := newHandler(knock.Transport(), open())
	require.NoError(t, err)
	b := &backfill{clerk: clerkAPI(t, false), handler: handler, number: 1, limit: 2}

	// Knock goes down on the way.
	stop := knock.Fail(100, bridgetest.Fault{Path: "user_4", Status: http.StatusServiceUnavailable})
	var out bytes.Buffer
	require.ErrorContains(t, b.all(t.Context(), &out), "start it again to go on")
	assert.Equal(t, "/users map[done:1 stale:2 transient:1]\n", out.String())
	stop()

	out.Reset()
	require.NoError(t, b.all(t.Context(), &out))
	assert.Equal(t, "/users map[done:2 duplicate:3]\n"+
		"/organizations map[done:2]\n"+
		"/organization_memberships map[done:2 stale:1]\n", out.String())
	assert.Equal(t, []string{"user_2", "user_3", "user_4", "user_5"}, knock.Users(), "what was deleted stays deleted")
	for id, name := range map[string]string{"user_2": "New", "user_3": "Old"} {
		user, ok := knock.User(id)
		require.True(t, ok)
		assert.Equal(t, name, user["name"])
	}
	user, _ := knock.User("user_3")
	assert.Equal(t, "Europe/London", user["timezone"])
	assert.Len(t, knock.Subscriptions(actions.TenantCollection, "org_1"), 2)
	assert.Len(t, knock.Runs(), 1, "the backfill starts no workflow")

	// An event of before that comes late still starts its workflow, and writes nothing.
	receive("user.created", `{"id":"user_3","first_name":"Older","updated_at":900}`, bridge.OutcomeDone)
	assert.Len(t, knock.Runs(), 2)
	user, _ = knock.User("user_3")
	assert.Equal(t, "Old", user["name"])

	// Another one takes all anew; what Knock was told today already is left out.
	out.Reset()
	b.number++
	require.NoError(t, b.all(t.Context(), &out))
	assert.Equal(t, "/users map[stale:2 unchanged:3]\n"+
		"/organizations map[unchanged:2]\n"+
		"/organization_memberships map[done:2 stale:1]\n", out.String())
}

// TestDeletedMeanwhile: what comes after moves up in the list.
func TestDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	knock := bridgetest.NewKnock(t)
	handler, err := newHandler(knock.Transport(), bridge.NewMemoryLedger(0, 0))
	require.NoError(t, err)
	b := &backfill{clerk: clerkAPI(t, true), handler: handler, number: 1, limit: 2}
	require.NoError(t, b.all(t.Context(), io.Discard))
	assert.Equal(t, []string{"user_1", "user_2", "user_3", "user_4", "user_5"}, knock.Users())
}

func TestRunNamesWhatIsMissing(t *testing.T) {
	t.Setenv("CLERK_SECRET_KEY", "")
	t.Setenv("KNOCK_API_KEY", "")
	require.ErrorContains(t, run(nil), "set CLERK_SECRET_KEY and KNOCK_API_KEY")
}
