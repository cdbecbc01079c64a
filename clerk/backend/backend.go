// Package backend looks users and organizations up in Clerk's Backend API, for
// mapping functions whose event carries only an id:
//
//	users, err := backend.New(backend.Config{SecretKey: os.Getenv("CLERK_SECRET_KEY")})
//
//	bridge.On(clerk.SessionCreated, func(ctx context.Context, e *clerk.Event[clerk.Session], knock *actions.Client) error {
//		user, err := users.SessionUser(ctx, e)
//		if errors.Is(err, backend.ErrNotFound) {
//			return nil // deleted since
//		}
//		if err != nil || user.TwoFactorEnabled {
//			return err
//		}
//		_, err = knock.TriggerWorkflow(ctx, actions.TriggerWorkflow{
//			Workflow: "protect-your-account", Recipients: []actions.Recipient{actions.UserID(user.ID)},
//		})
//		return err
//	})
//
// Requests are made by Clerk's own SDK (clerk-sdk-go), whose types and
// package-level settings are kept out of this package's interface. Results have
// the types of package clerk, decoded from the bytes of the answer as an
// event's data is, because the SDK's structs lack some members of the answer
// (clerk.User of v2.7.0 has no timezone, for one).
package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/clerk/clerk-sdk-go/v2"

	"github.com/clerkknock/bridge/actions"
	bridgeclerk "github.com/clerkknock/bridge/clerk"
)

const (
	defaultTimeout = 5 * time.Second
	maxAnswer      = 4 << 20
	maxID          = 256
)

// Config configures a [Client].
type Config struct {
	// BaseURL is where Clerk's Backend API is, version included. Defaults to
	// "https://api.clerk.com/v1".
	BaseURL string

	// HTTPClient sends the requests. Its CheckRedirect is not used: a redirect is
	// an error, so that the key goes nowhere else. Defaults to a client with Go's
	// default transport.
	HTTPClient *http.Client

	// SecretKey is the secret key of the Clerk instance ("sk_live_…",
	// "sk_test_…"). Required.
	SecretKey string

	// Timeout bounds one look-up, reading the answer included, within what the
	// context leaves. Defaults to 5 seconds, which fits into the 12 seconds the
	// bridge takes for a delivery.
	Timeout time.Duration
}

// Client looks things up in one Clerk instance. It keeps nothing between calls
// and is safe for concurrent use.
type Client struct {
	sdk     clerk.Backend
	timeout time.Duration
}

// New returns a Client. Nothing is sent. The error joins every problem of the
// config.
func New(cfg Config) (*Client, error) {
	var problems []error
	switch {
	case cfg.SecretKey == "":
		problems = append(problems, errors.New("SecretKey is empty"))
	case strings.HasPrefix(cfg.SecretKey, "pk_"):
		problems = append(problems, errors.New("SecretKey is a publishable key (pk_…)"))
	case strings.ContainsFunc(cfg.SecretKey, func(r rune) bool { return r <= ' ' || r > '~' }):
		problems = append(problems, errors.New("SecretKey holds white space or other characters no key has"))
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = clerk.APIURL
	} else if u, err := url.Parse(cfg.BaseURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		problems = append(problems, errors.New("BaseURL is not an http or https URL"))
	} else if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		problems = append(problems, errors.New("BaseURL holds a user, a query or a fragment"))
	}
	if cfg.Timeout < 0 {
		problems = append(problems, errors.New("Timeout is negative"))
	} else if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("backend: invalid config:\n%w", err)
	}

	var client http.Client
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	client.Transport = watcher{client.Transport}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		// A Key that is not nil keeps the SDK from its package-level one.
		sdk:     clerk.NewBackend(&clerk.BackendConfig{HTTPClient: &client, URL: &cfg.BaseURL, Key: &cfg.SecretKey}),
		timeout: cfg.Timeout,
	}, nil
}

// User returns the user with the given id.
//
// The error is an *[Error] when Clerk refused, which is [ErrNotFound] for a user
// that does not exist (any more); [ErrInvalidID] when the id can't be one, and
// nothing was sent; anything else means that no usable answer came, for the
// reasons that [net/http] or the context give.
func (c *Client) User(ctx context.Context, id string) (*bridgeclerk.User, error) {
	u, err := lookUp[bridgeclerk.User](ctx, c, "users", id)
	if err != nil {
		return nil, err
	}
	if u.ID != id {
		return nil, fmt.Errorf("clerk: GET /users/%s: the answer is another user, %q", id, u.ID)
	}
	return u, nil
}

// Organization returns the organization with the given id, or slug. Errors are
// those of [Client.User].
func (c *Client) Organization(ctx context.Context, idOrSlug string) (*bridgeclerk.Organization, error) {
	o, err := lookUp[bridgeclerk.Organization](ctx, c, "organizations", idOrSlug)
	if err != nil {
		return nil, err
	}
	if o.ID == "" {
		return nil, fmt.Errorf("clerk: GET /organizations/%s: the answer has no id", idOrSlug)
	}
	return o, nil
}

// SessionUser returns the user of a session: the one that the event carries, or else,
// because bodies before 2025 and impersonated sessions carry none, the one that Clerk
// has under its id now. Errors are those of [Client.User]. The event's user may be
// out of date: do not write it to Knock, where it could overwrite a newer state.
func (c *Client) SessionUser(ctx context.Context, e *bridgeclerk.Event[bridgeclerk.Session]) (*bridgeclerk.User, error) {
	if u := e.Data.User; u != nil && u.ID != "" {
		return u, nil
	}
	return c.User(ctx, e.Data.UserID)
}

// lookUp gets /collection/id and decodes the answer.
func lookUp[T any](ctx context.Context, c *Client, collection, id string) (*T, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var (
		seen sighting
		res  rawResource
		path = "/" + collection + "/" + url.PathEscape(id)
	)
	err := c.sdk.Call(context.WithValue(ctx, sightingKey{}, &seen), clerk.NewAPIRequest(http.MethodGet, path), &res)
	switch {
	case seen.status != 0 && seen.status != http.StatusOK:
		return nil, newError(path, &seen, err)
	case err != nil:
		return nil, &sendError{path, err}
	}
	e, err := bridgeclerk.Decode[T](&bridgeclerk.AnyEvent{Data: res.Response.RawJSON})
	if err != nil {
		// The cause is not wrapped: the event at hand is not at fault, so the
		// delivery must not be given up for it.
		return nil, fmt.Errorf("clerk: GET %s: the answer can't be decoded: %v", path, err) //nolint:errorlint // see above
	}
	return &e.Data, nil
}

// rawResource keeps the bytes of an answer. The SDK decodes an answer into the
// resource besides handing it over; the method turns that into a check that it
// is JSON.
type rawResource struct{ clerk.APIResource }

// UnmarshalJSON does nothing.
func (*rawResource) UnmarshalJSON([]byte) error { return nil }

func checkID(id string) error {
	var reason string
	switch {
	case id == "":
		reason = "is empty"
	case id == "." || id == "..":
		reason = "is a dot segment"
	case !utf8.ValidString(id):
		reason = "is not UTF-8"
	case len(id) > maxID:
		reason = "is too long"
	case strings.ContainsAny(id, `/\`):
		reason = "holds a slash"
	case strings.ContainsFunc(id, unicode.IsControl):
		reason = "holds a control character"
	default:
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalidID, &actions.InvalidError{Op: "clerk", Field: "id", Reason: reason, Data: true})
}

// sighting is what the watcher saw of an answer.
type sighting struct {
	status int
	header http.Header
}

type sightingKey struct{}

// watcher notes the status and the header of an answer, and bounds its body. The
// SDK loses both for an error that is not Clerk's JSON (clerk.go, handleError:
// errors.New(string(body))), reads bodies without a limit, and takes any status
// below 400 for success.
type watcher struct{ next http.RoundTripper }

// RoundTrip sends the request once.
func (w watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(r)
	if err != nil {
		return res, err
	}
	if seen, ok := r.Context().Value(sightingKey{}).(*sighting); ok {
		seen.status, seen.header = res.StatusCode, res.Header
	}
	res.Body = &limitedBody{ReadCloser: res.Body, left: maxAnswer}
	return res, nil
}

// limitedBody fails once more than left bytes were read.
type limitedBody struct {
	io.ReadCloser

	left int
}

var errTooLarge = errors.New("the answer is larger than 4 MiB")

// Read reads up to the limit.
func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		return 0, errTooLarge
	}
	b.left -= n
	return n, err
}
