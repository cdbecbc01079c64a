package actions_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/actions"
)

func TestHTTPSendsHeadersAndBody(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body []byte
	_, knock := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Request-Id", "req_1")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"u"}`)
	})
	knock.Branch = "my-branch"
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
		res, err := knock.Do(t.Context(), &actions.Request{
			Method: method, Path: "/v1/x/members", Body: json.RawMessage(`{"a":null}`), IdempotencyKey: "key-1",
		})
		require.NoError(t, err)
		assert.Equal(t, http.StatusCreated, res.Status)
		assert.JSONEq(t, `{"id":"u"}`, string(res.Body))
		assert.Equal(t, "req_1", res.Header.Get("X-Request-Id"))
		assert.Equal(t, 1, res.Attempts)

		assert.Equal(t, method, got.Method)
		assert.Equal(t, `{"a":null}`, string(body))
		assert.EqualValues(t, 10, got.ContentLength)
		assert.Equal(t, "Bearer sk_test_1", got.Header.Get("Authorization"))
		assert.Equal(t, "application/json", got.Header.Get("Accept"))
		assert.Equal(t, "application/json", got.Header.Get("Content-Type"))
		assert.Equal(t, "my-branch", got.Header.Get("X-Knock-Branch"))
		assert.Equal(t, "key-1", got.Header.Get("Idempotency-Key"))
		assert.Regexp(t, `^clerkknock-bridge/\d+\.\d+\.\d+`, got.Header.Get("User-Agent"))
		assert.Equal(t, "identity", got.Header.Get("Accept-Encoding"))
	}
}

func TestHTTPLeavesOutHeaders(t *testing.T) {
	t.Parallel()
	var got http.Header
	_, knock := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.WriteHeader(http.StatusNoContent)
	})
	res, err := knock.Do(t.Context(), &actions.Request{Method: http.MethodDelete, Path: "/v1/users/u"})
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, res.Status)
	assert.Empty(t, res.Body)
	for _, name := range []string{"Content-Type", "X-Knock-Branch", "Idempotency-Key"} {
		assert.NotContains(t, got, name)
	}
}

// The request target has to arrive byte for byte, whatever net/url thinks of it.
func TestHTTPSendsPathByteForByte(t *testing.T) {
	t.Parallel()
	var target string
	s, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { target = r.RequestURI })
	paths := []string{
		"/v1/users/u", "/v1/objects/$tenants/org_1/subscriptions", "/v1/users/a%2Fb", "/v1/users/%24tenants",
		"/v1/users/%252F", "/v1/users/%2E%2E/x", "/v1/users/..", "/v1/users/%3F%23", "/v1/users/a!'()*+,;=:@&~",
		"/v1/users/%C3%BC%F0%9F%98%80", "/v1/users/", "/v1/audiences/a/members?create_audience=true",
		"/v1/tenants?ids[]=a%20b&x=$+/?", "/v1/x?", "//x.example.com/v1",
	}
	for _, prefix := range []string{"", "/", "/proxy", "/proxy/", "/a%2Fb/$x//"} {
		knock := &actions.HTTP{APIKey: "sk", BaseURL: s.URL + prefix}
		for _, path := range paths {
			res, err := knock.Do(t.Context(), &actions.Request{Method: http.MethodGet, Path: path})
			require.NoError(t, err, path)
			assert.Equal(t, http.StatusOK, res.Status)
			assert.Equal(t, strings.TrimRight(prefix, "/")+path, target)
		}
		knock.CloseIdleConnections()
	}
}

func TestHTTPRefusesUnescapedPath(t *testing.T) {
	t.Parallel()
	knock := &actions.HTTP{APIKey: "sk", Client: failing(t)}
	for _, path := range []string{"", "v1/users", "/v1/a b", "/v1/ü", "/v1/%zz", "/v1/%2", "/v1/x#y", "/v1/x?a b", "/v1/x?a#b", "/v1/\r\nX: y"} {
		_, err := knock.Do(t.Context(), &actions.Request{Method: http.MethodGet, Path: path})
		require.ErrorAs(t, err, new(*actions.InvalidError))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// failing is a client that must not be used.
func failing(t *testing.T) *http.Client {
	t.Helper()
	return &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("something was sent")
		return nil, errors.New("sent")
	})}
}

// TestHTTPQuotesNobody: what the other side has sent in place of HTTP is in no text.
func TestHTTPQuotesNobody(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"sk_secret\r\n\r\n", "HTTP/1.1 200 OK\r\nyou sent Bearer sk_secret\r\n\r\n",
		"HTTP/1.1 sk_secret OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: sk_secret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: sk_secret\r\n\r\n",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
		}))
		knock := &actions.HTTP{APIKey: "sk_secret", BaseURL: s.URL, MaxAttempts: 1}
		_, err := knock.Do(t.Context(), &actions.Request{Method: http.MethodPut, Path: "/v1/users/u", Body: []byte("{}")})
		failed, ok := errors.AsType[*actions.SendError](err)
		require.True(t, ok, answer)
		assert.Contains(t, failed.Err.Error(), "sk_secret", "the cause is whole")
		assert.NotContains(t, err.Error(), "sk_secret")
		knock.CloseIdleConnections()
		s.Close()
	}
}

func TestHTTPValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		http *actions.HTTP
		want []string
	}{
		"nothing":             {&actions.HTTP{}, []string{"APIKey is empty"}},
		"line break":          {&actions.HTTP{APIKey: "sk_hunter2\n"}, []string{"APIKey holds white space"}},
		"quotes":              {&actions.HTTP{APIKey: `"sk_hunter2"`}, []string{"APIKey has quotes"}},
		"space":               {&actions.HTTP{APIKey: "sk_ hunter2"}, []string{"APIKey holds white space"}},
		"not ASCII":           {&actions.HTTP{APIKey: "sk_hunter2ü"}, []string{"APIKey holds"}},
		"public":              {&actions.HTTP{APIKey: "pk_hunter2"}, []string{"public key"}},
		"not a URL":           {&actions.HTTP{APIKey: "sk", BaseURL: "http://u:hunter2@[::1"}, []string{"BaseURL is not a URL"}},
		"no scheme":           {&actions.HTTP{APIKey: "sk", BaseURL: "api.knock.app"}, []string{"BaseURL is not an absolute"}},
		"other scheme":        {&actions.HTTP{APIKey: "sk", BaseURL: "ftp://api.knock.app"}, []string{"BaseURL is not an absolute"}},
		"no host":             {&actions.HTTP{APIKey: "sk", BaseURL: "https://:80/x"}, []string{"BaseURL is not an absolute"}},
		"user":                {&actions.HTTP{APIKey: "sk", BaseURL: "https://u:hunter2@x.y"}, []string{"BaseURL holds a user"}},
		"query":               {&actions.HTTP{APIKey: "sk", BaseURL: "https://x.y?a"}, []string{"BaseURL holds a user, a query"}},
		"fragment":            {&actions.HTTP{APIKey: "sk", BaseURL: "https://x.y#hunter2"}, []string{"BaseURL holds a user, a query or a fragment"}},
		"path of the API":     {&actions.HTTP{APIKey: "sk", BaseURL: "https://api.knock.app/v1"}, []string{"BaseURL ends in /v1"}},
		"branch":              {&actions.HTTP{APIKey: "sk", Branch: "a\r\nb"}, []string{"Branch"}},
		"negative":            {&actions.HTTP{APIKey: "sk", MaxAttempts: -1}, []string{"can't be negative"}},
		"everything at once":  {&actions.HTTP{BaseURL: "x", Branch: " ", AttemptTimeout: -1}, []string{"APIKey is empty", "BaseURL", "Branch", "negative"}},
		"key and base, quiet": {&actions.HTTP{APIKey: "pk_hunter2", BaseURL: "x"}, []string{"public key", "BaseURL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.http.Validate()
			require.Error(t, err)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "hunter2")
			tc.http.Client = failing(t)
			_, doErr := tc.http.Do(t.Context(), put("/v1/users/u"))
			assert.EqualError(t, doErr, err.Error())
		})
	}
	assert.NoError(t, (&actions.HTTP{APIKey: "sk_test"}).Validate())
	assert.NoError(t, (&actions.HTTP{APIKey: "sk_test", BaseURL: "http://127.0.0.1:80/x/"}).Validate())
}

func TestHTTPDefaultBaseURL(t *testing.T) {
	t.Parallel()
	var got string
	knock := &actions.HTTP{APIKey: "sk", Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.URL.String()
		return answer(200, ""), nil
	})}}
	_, err := knock.Do(t.Context(), put("/v1/users/u"))
	require.NoError(t, err)
	assert.Equal(t, "https://api.knock.app/v1/users/u", got)
}

// The version in the User-Agent is the module's, which package bridge exports.
func TestHTTPVersion(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../bridge.go")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^const Version = "(.+)"$`).FindSubmatch(source)
	require.NotNil(t, version)
	var got string
	knock := &actions.HTTP{APIKey: "sk", Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.UserAgent()
		return answer(200, ""), nil
	})}}
	_, err = knock.Do(t.Context(), put("/v1/users/u"))
	require.NoError(t, err)
	assert.Equal(t, "clerkknock-bridge/"+string(version[1]), got)
}

func TestFromEnv(t *testing.T) {
	t.Setenv("KNOCK_API_KEY", "sk_env")
	t.Setenv("KNOCK_BASE_URL", "https://knock.example.com")
	t.Setenv("KNOCK_BRANCH", "env-branch")

	h := actions.FromEnv(nil)
	assert.Equal(t, [3]string{"sk_env", "https://knock.example.com", "env-branch"}, [3]string{h.APIKey, h.BaseURL, h.Branch})

	given := &actions.HTTP{BaseURL: "https://mine.example.com", MaxAttempts: 1}
	h = actions.FromEnv(given)
	assert.Same(t, given, h)
	assert.Equal(t, [3]string{"sk_env", "https://mine.example.com", "env-branch"}, [3]string{h.APIKey, h.BaseURL, h.Branch})

	t.Setenv("KNOCK_API_KEY", "")
	require.ErrorContains(t, actions.FromEnv(nil).Validate(), "APIKey is empty")
	_, err := (&actions.HTTP{}).Do(t.Context(), put("/v1/users/u"))
	require.ErrorContains(t, err, "APIKey is empty", "nothing is read from the environment by itself")
}

func TestHTTPDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	s, knock := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, h := range []*actions.HTTP{knock, {APIKey: "sk", BaseURL: s.URL, Client: client}} {
		calls.Store(0)
		err := actions.NewClient(h).IdentifyUser(t.Context(), actions.IdentifyUser{ID: "u"})
		var failure *actions.Error
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, http.StatusFound, failure.Status)
		assert.EqualValues(t, 1, calls.Load())
	}
	assert.Nil(t, client.CheckRedirect, "the user's client stays as it is")
}

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// scripted answers the attempts of one call in turn, the last one for all that
// follow, and keeps when they came. Run it within synctest.
type scripted struct {
	answers []func(*http.Request) (*http.Response, error)
	start   time.Time
	at      []time.Duration
	bodies  []string
}

func script(answers ...func(*http.Request) (*http.Response, error)) *scripted {
	return &scripted{answers: answers, start: time.Now()}
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	s.at = append(s.at, time.Since(s.start))
	res, err := s.answers[min(len(s.at), len(s.answers))-1](r)
	op, failed := errors.AsType[*net.OpError](err)
	if r.Body != nil && (!failed || op.Op != "dial") {
		b, _ := io.ReadAll(r.Body)
		s.bodies = append(s.bodies, string(b))
	}
	return res, err
}

func (s *scripted) http() *actions.HTTP {
	return &actions.HTTP{APIKey: "sk", Client: &http.Client{Transport: s}}
}

func status(code int, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return answer(code, `{}`, header...), nil }
}

func fails(err error) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestHTTPRetriesStatuses(t *testing.T) {
	t.Parallel()
	for code, attempts := range map[int]int{
		200: 1, 204: 1, 301: 1, 302: 1, 400: 1, 401: 1, 403: 1, 404: 1, 408: 3, 409: 1, 413: 1, 422: 1, 429: 3,
		500: 3, 501: 3, 502: 3, 503: 3, 504: 3, 520: 3,
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := script(status(code))
				res, err := s.http().Do(t.Context(), put("/v1/users/u"))
				require.NoError(t, err)
				assert.Equal(t, code, res.Status)
				assert.Equal(t, attempts, res.Attempts)
				assert.Len(t, s.at, attempts)
				for _, b := range s.bodies {
					assert.Equal(t, string(put("").Body), b, "every attempt has the whole body")
				}
			})
		})
	}
}

func TestHTTPBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := script(fails(syscall.ECONNREFUSED), status(503), status(429), status(500), status(500), status(200))
		h := s.http()
		h.MaxAttempts = 10
		res, err := h.Do(t.Context(), put("/v1/users/u"))
		require.NoError(t, err)
		assert.Equal(t, 200, res.Status)
		assert.Equal(t, 6, res.Attempts)
		require.Len(t, s.at, 6)
		for i, longest := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 2 * time.Second} {
			waited := s.at[i+1] - s.at[i]
			assert.GreaterOrEqual(t, waited, longest/2)
			assert.LessOrEqual(t, waited, longest)
		}
	})
}

func TestHTTPRetryAfter(t *testing.T) {
	t.Parallel()
	const formula = -1 // the backoff's own wait
	for value, want := range map[string]time.Duration{
		"2": 2 * time.Second, "0.5": 500 * time.Millisecond, "5": 5 * time.Second, "date": 3 * time.Second,
		"-1": formula, "0": formula, "soon": formula, "": formula, "NaN": formula, "inf": formula, "past": formula,
		"3600": 0, "5.1": 0, "1e300": 0,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				header := value
				switch value {
				case "date":
					header = time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat)
				case "past":
					header = time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
				}
				s := script(status(429, "Retry-After", header), status(200))
				res, err := s.http().Do(t.Context(), put("/v1/users/u"))
				require.NoError(t, err)
				if want == 0 {
					assert.Equal(t, 429, res.Status, "returned at once")
					assert.Equal(t, header, res.Header.Get("Retry-After"))
					assert.Zero(t, time.Since(s.start))
					return
				}
				assert.Equal(t, 200, res.Status)
				least, most := want, want+125*time.Millisecond
				if want == formula {
					least, most = 125*time.Millisecond, 250*time.Millisecond
				}
				assert.GreaterOrEqual(t, s.at[1], least)
				assert.LessOrEqual(t, s.at[1], most)
			})
		})
	}
}

func TestHTTPRetryAfterReachesTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s := script(status(429, "Retry-After", "3")) // within the cap, beyond the deadline
		err := actions.NewClient(s.http()).IdentifyUser(ctx, actions.IdentifyUser{ID: "u"})
		var failure *actions.Error
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, 3*time.Second, failure.RetryAfter)
		assert.Equal(t, 1, failure.Attempts)
		assert.Zero(t, time.Since(s.start))
	})
}

func TestHTTPNeverWaitsPastTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 220*time.Millisecond)
		defer cancel()
		s := script(fails(syscall.ECONNRESET))
		_, err := s.http().Do(ctx, put("/v1/users/u"))
		var failed *actions.SendError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		assert.Equal(t, 1, failed.Attempts)
		assert.Zero(t, time.Since(s.start))
	})
}

func TestHTTPAttemptTimeout(t *testing.T) {
	t.Parallel()
	t.Run("one hanging connection", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := script(hangs, status(200))
			res, err := s.http().Do(t.Context(), put("/v1/users/u"))
			require.NoError(t, err)
			assert.Equal(t, 2, res.Attempts)
			assert.GreaterOrEqual(t, s.at[1], 5*time.Second)
			assert.LessOrEqual(t, s.at[1], 5250*time.Millisecond)
		})
	})
	t.Run("Knock hangs for the whole delivery", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
			defer cancel()
			s := script(hangs)
			_, err := s.http().Do(ctx, put("/v1/users/u"))
			var failed *actions.SendError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 3, failed.Attempts)
			assert.LessOrEqual(t, time.Since(s.start), 12*time.Second)
		})
	})
	t.Run("a body that never ends", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := script(func(r *http.Request) (*http.Response, error) {
				res := answer(200, "")
				res.ContentLength = -1
				res.Body = io.NopCloser(readerFunc(func([]byte) (int, error) {
					<-r.Context().Done()
					return 0, r.Context().Err()
				}))
				return res, nil
			})
			res, err := s.http().Do(t.Context(), put("/v1/users/u"))
			require.NoError(t, err, "the status of a write says it all")
			assert.Equal(t, 200, res.Status)
			assert.Empty(t, res.Body)
			assert.Equal(t, 5*time.Second, time.Since(s.start))
		})
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestHTTPCancel(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := (&actions.HTTP{APIKey: "sk", Client: failing(t)}).Do(ctx, put("/v1/users/u"))
		var failed *actions.SendError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, failed.Attempts)
	})
	t.Run("during an attempt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			s := script(hangs)
			_, err := s.http().Do(ctx, put("/v1/users/u"))
			require.ErrorIs(t, err, context.Canceled)
			assert.Len(t, s.at, 1)
			assert.Equal(t, time.Second, time.Since(s.start))
		})
	})
	t.Run("during a wait", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			s := script(fails(syscall.ECONNREFUSED))
			_, err := s.http().Do(ctx, put("/v1/users/u"))
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			assert.Equal(t, 100*time.Millisecond, time.Since(s.start))
		})
	})
	t.Run("during a wait after an answer", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			s := script(status(503))
			res, err := s.http().Do(ctx, put("/v1/users/u"))
			require.NoError(t, err)
			assert.Equal(t, 503, res.Status)
		})
	})
}

func TestHTTPRepeatsOnlyWhatIsSafe(t *testing.T) {
	t.Parallel()
	reset := fails(&net.OpError{Op: "read", Err: syscall.ECONNRESET})
	refused := fails(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	for name, tc := range map[string]struct {
		method, path, key string
		answer            func(*http.Request) (*http.Response, error)
		attempts          int
	}{
		"merge, connection lost":    {"POST", "/v1/users/u/merge", "", reset, 1},
		"merge, no connection":      {"POST", "/v1/users/u/merge", "", refused, 3},
		"merge, 500":                {"POST", "/v1/users/u/merge", "", status(500), 1},
		"merge, 503":                {"POST", "/v1/users/u/merge", "", status(503), 1},
		"merge, 408":                {"POST", "/v1/users/u/merge", "", status(408), 1},
		"merge, 429":                {"POST", "/v1/users/u/merge", "", status(429), 3},
		"trigger with a key":        {"POST", "/v1/workflows/w/trigger", "k", reset, 3},
		"trigger without a key":     {"POST", "/v1/workflows/w/trigger", "", reset, 1},
		"cancel":                    {"POST", "/v1/workflows/w/cancel", "", reset, 3},
		"subscribe":                 {"POST", "/v1/objects/c/o/subscriptions", "", reset, 3},
		"add members, with a query": {"POST", "/v1/audiences/a/members?create_audience=true", "", reset, 3},
		"put":                       {"PUT", "/v1/users/u", "", reset, 3},
		"delete":                    {"DELETE", "/v1/users/u", "", status(500), 3},
		"get":                       {"GET", "/v1/users/u", "", reset, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := script(tc.answer)
				_, _ = s.http().Do(t.Context(), &actions.Request{
					Method: tc.method, Path: tc.path, IdempotencyKey: tc.key, Body: json.RawMessage(`{}`),
				})
				assert.Len(t, s.at, tc.attempts)
			})
		})
	}
}

// TestHTTPUnsentIsCertain: a call that was sent on a kept connection, which then
// closed, may have been taken, although what fails in the end is another dial.
func TestHTTPUnsentIsCertain(t *testing.T) {
	t.Parallel()
	trigger := &actions.Request{Method: "POST", Path: "/v1/workflows/w/trigger", IdempotencyKey: "k", Body: json.RawMessage(`{}`)}
	for name, tc := range map[string]struct {
		attempts int
		request  *actions.Request
	}{
		"net/http dials again": {1, trigger},
		"without a body":       {1, &actions.Request{Method: "DELETE", Path: "/v1/users/u"}},
		"a second attempt":     {2, trigger},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got atomic.Int32
			var server *httptest.Server
			server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadAll(r.Body)
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, `{"id":"u"}`)
					return
				}
				got.Add(1)
				_ = server.Listener.Close()
				panic(http.ErrAbortHandler)
			}))
			defer server.Close()
			h := &actions.HTTP{APIKey: "sk", BaseURL: server.URL, MaxAttempts: tc.attempts}
			defer h.CloseIdleConnections()
			if tc.attempts == 1 {
				_, err := h.Do(t.Context(), &actions.Request{Method: "GET", Path: "/v1/users/u"})
				require.NoError(t, err)
			}
			_, err := h.Do(t.Context(), tc.request)
			failed, ok := errors.AsType[*actions.SendError](err)
			require.True(t, ok, "%v", err)
			assert.EqualValues(t, 1, got.Load())
			assert.False(t, failed.Unsent)
			_, err = h.Do(t.Context(), tc.request)
			failed, ok = errors.AsType[*actions.SendError](err)
			require.True(t, ok, "%v", err)
			assert.True(t, failed.Unsent, "nothing listens any more")
		})
	}
}

// TestHTTPUnsentOverHTTP2: a stream that was opened may have been taken, on a new
// connection as on a kept one.
func TestHTTPUnsentOverHTTP2(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		assert.Equal(t, 2, r.ProtoMajor)
		panic(http.ErrAbortHandler)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	h := &actions.HTTP{APIKey: "sk", BaseURL: server.URL, Client: server.Client(), MaxAttempts: 1}
	for range 2 {
		_, err := h.Do(t.Context(), put("/v1/users/u"))
		failed, ok := errors.AsType[*actions.SendError](err)
		require.True(t, ok, "%v", err)
		assert.False(t, failed.Unsent)
	}
}

// TestHTTPUnsentBehindOtherRoundTrippers: what does not tell of all it sends is believed
// only when it has failed to connect, and has not asked for the body again.
func TestHTTPUnsentBehindOtherRoundTrippers(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	trigger := &actions.Request{Method: "POST", Path: "/v1/workflows/w/trigger", IdempotencyKey: "k", Body: json.RawMessage(`{}`)}
	for name, tc := range map[string]struct {
		trip   roundTripper
		unsent bool
	}{
		"one that wraps net/http's": {http.DefaultTransport.RoundTrip, true},
		"sends by other means first": {func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			again := r.Clone(r.Context())
			again.Body, _ = r.GetBody()
			return http.DefaultTransport.RoundTrip(again)
		}, false},
		"sends what it has read, first": {func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			return http.DefaultTransport.RoundTrip(again)
		}, false},
		"gives up while it dials": {func(r *http.Request) (*http.Response, error) {
			httptrace.ContextClientTrace(r.Context()).GetConn("x")
			return nil, errors.New("gave up")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &actions.HTTP{APIKey: "sk", BaseURL: closed.URL, MaxAttempts: 1, Client: &http.Client{Transport: tc.trip}}
			_, err := h.Do(t.Context(), trigger)
			failed, ok := errors.AsType[*actions.SendError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, tc.unsent, failed.Unsent, "%v", err)
		})
	}
}

// TestHTTPNeverConnected: whatever keeps a call from getting a connection, it was not sent.
func TestHTTPNeverConnected(t *testing.T) {
	t.Parallel()
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(refuses.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	unknownCA := httptest.NewUnstartedServer(nil)
	unknownCA.Config.ErrorLog = log.New(io.Discard, "", 0)
	unknownCA.StartTLS()
	t.Cleanup(unknownCA.Close)
	through := func(proxy string) *http.Client {
		u, err := url.Parse(proxy)
		require.NoError(t, err)
		return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u)}}
	}
	for name, h := range map[string]*actions.HTTP{
		"refused":                {BaseURL: closed.URL},
		"proxy refuses CONNECT":  {BaseURL: "https://knock.invalid", Client: through(refuses.URL)},
		"no proxy there":         {BaseURL: "https://knock.invalid", Client: through(closed.URL)},
		"no SOCKS proxy there":   {BaseURL: "https://knock.invalid", Client: through("socks5" + strings.TrimPrefix(closed.URL, "http"))},
		"unknown authority":      {BaseURL: unknownCA.URL},
		"an own dialler's error": {Client: &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no") }}}},
		"an own RoundTripper without traces": {Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}
		})}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h.APIKey, h.MaxAttempts = "sk", 1
			_, err := h.Do(t.Context(), &actions.Request{Method: "POST", Path: "/v1/workflows/w/trigger", IdempotencyKey: "k", Body: json.RawMessage(`{}`)})
			failed, ok := errors.AsType[*actions.SendError](err)
			require.True(t, ok, "%v", err)
			assert.True(t, failed.Unsent, "%v", err)
		})
	}
}

// TestHTTPAnswersMadeByHand: a RoundTripper that caches, plays back or unpacks may
// leave the length wrong.
func TestHTTPAnswersMadeByHand(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{0, -1, 3, 100} {
		knock := &actions.HTTP{APIKey: "sk", Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			res := answer(200, `{"id":"u"}`)
			res.ContentLength = length
			return res, nil
		})}}
		res, err := knock.Do(t.Context(), put("/v1/users/u"))
		require.NoError(t, err)
		assert.JSONEq(t, `{"id":"u"}`, string(res.Body))
	}
}

// TestHTTPChangedByARoundTripper: what it does to one attempt is not done to the next.
func TestHTTPChangedByARoundTripper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		knock := &actions.HTTP{APIKey: "sk", Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			r.URL.Path = "/knock" + r.URL.Path
			r.Header.Add("X-Trace", "t")
			seen = append(seen, r.URL.Path+" "+strings.Join(r.Header["X-Trace"], ","))
			return answer(503, ""), nil
		})}}
		_, err := knock.Do(t.Context(), put("/v1/users/u"))
		require.NoError(t, err)
		assert.Equal(t, []string{"/knock/v1/users/u t", "/knock/v1/users/u t", "/knock/v1/users/u t"}, seen)
	})
}

// TestHTTPNoEffect: whether an attempt before the answer can have taken effect.
func TestHTTPNoEffect(t *testing.T) {
	t.Parallel()
	dial := fails(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	for name, tc := range map[string]struct {
		answers []func(*http.Request) (*http.Response, error)
		want    bool
	}{
		"at once":             {[]func(*http.Request) (*http.Response, error){status(422)}, true},
		"429 each time":       {[]func(*http.Request) (*http.Response, error){status(429)}, true},
		"429, no connection":  {[]func(*http.Request) (*http.Response, error){status(429), dial, status(422)}, true},
		"503 before":          {[]func(*http.Request) (*http.Response, error){status(503), status(429), status(422)}, false},
		"a lost one before":   {[]func(*http.Request) (*http.Response, error){fails(io.ErrUnexpectedEOF), status(429)}, false},
		"503 at the very end": {[]func(*http.Request) (*http.Response, error){status(429), status(429), status(503)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				res, err := script(tc.answers...).http().Do(t.Context(), put("/v1/users/u"))
				require.NoError(t, err)
				assert.Equal(t, tc.want, res.NoEffectBefore)
			})
		})
	}
}

// raw serves HTTP by hand, one function per connection after the request has
// been read.
func raw(t *testing.T, respond func(n int, c net.Conn)) *actions.HTTP {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				respond(n, c)
			})
		}
	})
	h := &actions.HTTP{APIKey: "sk", BaseURL: "http://" + l.Addr().String()}
	t.Cleanup(func() {
		h.CloseIdleConnections()
		_ = l.Close()
		served.Wait()
	})
	return h
}

func says(text string) func(int, net.Conn) {
	return func(_ int, c net.Conn) { _, _ = io.WriteString(c, text) }
}

func TestHTTPOddAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		status int
		body   string
	}{
		"no length, closed":     {"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}", 200, `{"a":1}`},
		"chunked":               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n", 200, `{"a":1}`},
		"broken chunk":          {"HTTP/1.1 422 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\nzz", 422, ""},
		"length too long":       {"HTTP/1.1 422 X\r\nContent-Length: 100\r\n\r\n{\"a\":1}", 422, ""},
		"length too long, 200":  {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":1}", 200, ""},
		"length too short":      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rubbish", 200, "{}"},
		"length beyond reason":  {"HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n{}", 200, ""},
		"longer than the limit": {"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20+1), 200, ""},
		"as long as the limit":  {"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20), 200, strings.Repeat("x", 1<<20)},
		"gzip, not asked for":   {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nrubbish", 200, "rubbish"},
		"204 with a body":       {"HTTP/1.1 204 No Content\r\n\r\n{}", 204, ""},
		"HTTP/1.0":              {"HTTP/1.0 200 OK\r\n\r\n{}", 200, "{}"},
		"103 before":            {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := raw(t, says(tc.answer)).Do(t.Context(), put("/v1/users/u"))
			require.NoError(t, err)
			assert.Equal(t, tc.status, res.Status)
			assert.Equal(t, 1, res.Attempts)
			assert.True(t, bytes.Equal([]byte(tc.body), res.Body), "%.60q", res.Body)
		})
	}
}

func TestHTTPNoAnswer(t *testing.T) {
	t.Parallel()
	for name, respond := range map[string]func(int, net.Conn){
		"closed":       func(int, net.Conn) {},
		"reset":        func(_ int, c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) },
		"not HTTP":     says("SSH-2.0-OpenSSH\r\n\r\n"),
		"half a line":  says("HTTP/1.1 20"),
		"huge headers": says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, client := range []*http.Client{nil, {Transport: &http.Transport{MaxResponseHeaderBytes: 64 << 10}}} {
				h := raw(t, respond)
				h.MaxAttempts, h.Client = 2, client
				_, err := h.Do(t.Context(), put("/v1/users/u?x=y"))
				var failed *actions.SendError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, 2, failed.Attempts)
				assert.Equal(t, "/v1/users/u", failed.Path)
				require.NotErrorAs(t, err, new(*url.Error), "the address is not repeated")
				assert.NotContains(t, err.Error(), "last attempt", "the context has not ended")
			}
		})
	}
	t.Run("then one", func(t *testing.T) {
		t.Parallel()
		h := raw(t, func(n int, c net.Conn) {
			if n > 1 {
				says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")(n, c)
			}
		})
		res, err := h.Do(t.Context(), put("/v1/users/u"))
		require.NoError(t, err)
		assert.Equal(t, 2, res.Attempts)
	})
	t.Run("half an answer to a GET", func(t *testing.T) {
		t.Parallel()
		h := raw(t, func(n int, c net.Conn) {
			length := 100
			if n > 1 {
				length = 2
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{}", length)
		})
		res, err := h.Do(t.Context(), &actions.Request{Method: http.MethodGet, Path: "/v1/users/u"})
		require.NoError(t, err)
		assert.Equal(t, 2, res.Attempts, "its body is what was asked for")
	})
}

// A kept connection that the server has closed meanwhile does not cost a wait.
func TestHTTPStaleConnection(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			served.Go(func() {
				defer c.Close()
				b := bufio.NewReader(c)
				for n := range 2 { // answers once, and closes on the second request
					r, err := http.ReadRequest(b)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if n == 0 {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
					}
				}
			})
		}
	})
	knock := &actions.HTTP{APIKey: "sk", BaseURL: "http://" + l.Addr().String()}
	defer func() {
		knock.CloseIdleConnections()
		_ = l.Close()
		served.Wait()
	}()
	for range 4 {
		res, err := knock.Do(t.Context(), put("/v1/users/u"))
		require.NoError(t, err)
		assert.Equal(t, 200, res.Status)
		assert.Equal(t, 1, res.Attempts)
	}
	assert.EqualValues(t, 4, connections.Load())
}

// N calls at a time need no more than N connections, however often they repeat.
func TestHTTPKeepsConnections(t *testing.T) {
	t.Parallel()
	const n, rounds = 32, 20
	for name, respond := range map[string]http.HandlerFunc{
		"length":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"a":1}`) },
		"nothing": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, `{"a":1}`)
		},
		"error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusNotFound) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup
			var addresses sync.Map
			arrived := make(chan struct{}, n)
			release := make(chan struct{})
			_, knock := serve(t, func(w http.ResponseWriter, r *http.Request) {
				addresses.Store(r.RemoteAddr, true)
				arrived <- struct{}{}
				<-release
				respond(w, r)
			})
			for range rounds {
				for range n {
					all.Go(func() {
						_, err := knock.Do(t.Context(), put("/v1/users/u"))
						assert.NoError(t, err)
					})
				}
				for range n {
					<-arrived
				}
				for range n {
					release <- struct{}{}
				}
				all.Wait()
			}
			used := 0
			addresses.Range(func(any, any) bool { used++; return true })
			// net/http closes a connection whose writer has not had a turn within 50 ms.
			assert.Less(t, used, 2*n, "of the %d that it takes without keeping any", n*rounds)
		})
	}
}

// Answers without a length are read into shared buffers, and must not stay there.
func TestHTTPAnswersAreNotShared(t *testing.T) {
	t.Parallel()
	_, knock := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, r.URL.Path)
	})
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			var want []string
			var got []*actions.Response
			for i := range 50 {
				want = append(want, fmt.Sprintf("/v1/users/%d_%d", worker, i))
				res, err := knock.Do(t.Context(), put(want[i]))
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, res)
			}
			for i := range got {
				assert.Equal(t, want[i], string(got[i].Body))
			}
		})
	}
	all.Wait()
}

// A RoundTripper of the user's that changes headers must not disturb others.
func TestHTTPHeadersAreNotShared(t *testing.T) {
	t.Parallel()
	knock := &actions.HTTP{APIKey: "sk", Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		assert.Len(t, r.Header.Values("Accept"), 1)
		r.Header.Add("Accept", "text/html")
		r.Header.Set("User-Agent", "mine")
		return answer(200, "{}"), nil
	})}}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := knock.Do(t.Context(), put("/v1/users/u"))
			assert.NoError(t, err)
		})
	}
	all.Wait()
}

// TestPaced is a call of a Transport that waits out Knock's limits itself.
func TestPaced(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sent.Add(1)
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()
	knock := &actions.HTTP{APIKey: "sk_test_1", BaseURL: server.URL}
	defer knock.CloseIdleConnections()
	res, err := knock.Do(t.Context(), &actions.Request{Method: http.MethodPut, Path: "/v1/users/user_1", Paced: true})
	require.NoError(t, err)
	assert.Equal(t, http.StatusTooManyRequests, res.Status)
	assert.Equal(t, int32(1), sent.Load())
}
