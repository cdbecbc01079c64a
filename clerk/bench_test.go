package clerk_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/essentials"
)

func BenchmarkParse(b *testing.B) {
	body := sampleUser(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := clerk.Parse("msg_1", body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeUser(b *testing.B) {
	e, err := clerk.Parse("msg_1", sampleUser(b))
	require.NoError(b, err)
	b.SetBytes(int64(len(e.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := clerk.Decode[clerk.User](e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStandardLibrary is the yardstick: what encoding/json takes for the
// same struct.
func BenchmarkStandardLibrary(b *testing.B) {
	e, err := clerk.Parse("msg_1", sampleUser(b))
	require.NoError(b, err)
	b.SetBytes(int64(len(e.Data)))
	b.ReportAllocs()
	for b.Loop() {
		var u clerk.User
		if err := json.Unmarshal(e.Data, &u); err != nil {
			b.Fatal(err)
		}
	}
}

func sampleUser(tb testing.TB) []byte {
	tb.Helper()
	body, err := os.ReadFile("testdata/user.created.json")
	require.NoError(tb, err)
	return body
}

// BenchmarkEssentials decodes what the default functions read.
func BenchmarkEssentials(b *testing.B) {
	e, err := clerk.Parse("msg_1", sampleUser(b))
	require.NoError(b, err)
	b.SetBytes(int64(len(e.Data)))
	b.ReportAllocs()
	var u clerk.User
	for b.Loop() {
		if !essentials.Decode(e.Data, &u) {
			b.Fatal("not decoded")
		}
	}
}
