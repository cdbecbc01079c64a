// Package knocktest checks HTTP requests and responses against Knock's own
// OpenAPI document. It is a module of its own to keep what that needs out of
// the library.
package knocktest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// Spec is Knock's OpenAPI document. It is safe for concurrent use.
type Spec struct {
	router routers.Router
}

// formats makes a UUID be checked; by default only times are.
var formats = []openapi3.SchemaValidationOption{
	openapi3.WithStringFormatValidators(map[string]openapi3.StringFormatValidator{
		"uuid":      openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringForUUIDOfRFC4122),
		"date-time": openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringDateTime),
	}),
}

// Load reads the document from a file. When there is none the error is
// [os.ErrNotExist]. The document is relaxed, and in one place tightened, where
// it says something else than it means:
//
//   - It is not itself checked: examples don't fit their schemas, two schemas
//     have a blank in their name, and operations that nobody uses here leave
//     out their path parameters.
//   - oneOf is read as anyOf. Its alternatives overlap: an inline object is an
//     inline user too, and every Slack connection is a Teams connection.
//   - A union with an alternative that says nothing but "nullable" would take
//     any value. It is read as the other alternatives, or null.
//   - A type next to a union does not count. The setting of a category may be
//     true or false, next to which it says "object".
//   - The array parameters of three operations lack the "[]" that the wire has.
//   - "connections" is required for Slack and Teams, though the tenant's form
//     of both has only a token, or a Teams tenant id. It is read as optional if
//     the token or the id is there.
func Load(path string) (*Spec, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the caller, a test, names the document
	if err != nil {
		return nil, fmt.Errorf("knocktest: %w", err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		return nil, fmt.Errorf("knocktest: load %s: %w", path, err)
	}
	if doc.Paths.Len() == 0 {
		return nil, fmt.Errorf("knocktest: %s has no operations", path)
	}
	relax(doc)
	// Any host will do: the server under test is on the loopback interface.
	doc.Servers = nil
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("knocktest: %s: %w", path, err)
	}
	return &Spec{router}, nil
}

// ValidateRequest checks a request. The target is the escaped path and, after a
// question mark, the query. A nil body is none.
func (s *Spec) ValidateRequest(method, target string, body []byte) error {
	input, err := s.input(method, target, body)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateRequest(context.Background(), input)
}

// ValidateResponse checks the answer to a request: that the operation knows the
// status, and that the body is what it promises for it.
func (s *Spec) ValidateResponse(method, target string, status int, header http.Header, body []byte) error {
	input, err := s.input(method, target, nil)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input,
		Status:                 status,
		Header:                 header,
		Body:                   io.NopCloser(bytes.NewReader(body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, SchemaValidationOptions: formats},
	})
}

// Operation returns the method and path template that the target belongs to,
// such as "GET /v1/users/{user_id}".
func (s *Spec) Operation(method, target string) (string, error) {
	input, err := s.input(method, target, nil)
	if err != nil {
		return "", err
	}
	return method + " " + input.Route.Path, nil
}

func (s *Spec) input(method, target string, body []byte) (*openapi3filter.RequestValidationInput, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://knock.test"+target, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	route, params, err := s.router.FindRoute(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	return &openapi3filter.RequestValidationInput{
		Request:    req,
		PathParams: params,
		Route:      route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
			MultiError:         true,

			SchemaValidationOptions: formats,
		},
	}, nil
}

func relax(doc *openapi3.T) {
	seen := make(map[*openapi3.Schema]bool)
	for _, schema := range doc.Components.Schemas {
		relaxSchema(schema, seen)
	}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, p := range op.Parameters {
				relaxSchema(p.Value.Schema, seen)
				isArray := p.Value.Schema.Value.Type.Is(openapi3.TypeArray)
				if p.Value.In == openapi3.ParameterInQuery && isArray && !strings.HasSuffix(p.Value.Name, "[]") {
					p.Value.Name += "[]"
				}
			}
			if op.RequestBody != nil {
				relaxContent(op.RequestBody.Value.Content, seen)
			}
			for _, response := range op.Responses.Map() {
				relaxContent(response.Value.Content, seen)
			}
		}
	}
	tenantForm(doc, "SlackChannelData", "token")
	tenantForm(doc, "MsTeamsChannelData", "ms_teams_tenant_id")
}

func relaxContent(content openapi3.Content, seen map[*openapi3.Schema]bool) {
	for _, media := range content {
		relaxSchema(media.Schema, seen)
	}
}

func relaxSchema(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if ref == nil || ref.Value == nil || seen[ref.Value] {
		return
	}
	s := ref.Value
	seen[s] = true
	if len(s.OneOf) > 0 {
		s.AnyOf = append(s.AnyOf, s.OneOf...)
		s.OneOf = nil
	}
	alternatives := s.AnyOf[:0:0]
	for _, alternative := range s.AnyOf {
		if a := alternative.Value; alternative.Ref == "" && a.Nullable && a.Type == nil && a.AllOf == nil && a.AnyOf == nil && a.OneOf == nil {
			s.Nullable = true
			continue
		}
		alternatives = append(alternatives, alternative)
	}
	if len(alternatives) == 0 {
		alternatives = nil
	}
	s.AnyOf = alternatives
	if alternatives != nil {
		s.Type = nil
	}
	for _, group := range []openapi3.SchemaRefs{s.AnyOf, s.AllOf} {
		for _, part := range group {
			relaxSchema(part, seen)
		}
	}
	for _, property := range s.Properties {
		relaxSchema(property, seen)
	}
	relaxSchema(s.Items, seen)
	relaxSchema(s.AdditionalProperties.Schema, seen)
}

// tenantForm makes connections optional in a channel's data when the member of
// the tenant's form is there.
func tenantForm(doc *openapi3.T, name, member string) {
	schema := doc.Components.Schemas[name]
	if schema == nil {
		return
	}
	schema.Value.Required = nil
	schema.Value.AnyOf = openapi3.SchemaRefs{
		openapi3.NewSchemaRef("", &openapi3.Schema{Required: []string{"connections"}}),
		openapi3.NewSchemaRef("", &openapi3.Schema{Required: []string{member}}),
	}
}
