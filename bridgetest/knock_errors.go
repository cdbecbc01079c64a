package bridgetest

import (
	"fmt"
	"net/http"
)

// The values of "type" in Knock's errors.
const (
	typeAPI            = "api_error"
	typeAuthentication = "authentication_error"
	typeInvalid        = "invalid_request_error"
)

// apiError is a refusal in Knock's form.
type apiError struct {
	status              int
	code, kind, message string
	fields              []any
	header              http.Header
}

// Error names the status, the code and the message.
func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

func errorReply(e *apiError) reply {
	body := map[string]any{"code": e.code, "type": e.kind, "message": e.message, "status": e.status}
	if e.fields != nil {
		body["errors"] = e.fields
	}
	return reply{status: e.status, header: e.header, body: body}
}

// invalid is the refusal of one member, query parameter or path parameter.
func invalid(field, problem string) error {
	return &apiError{
		status: http.StatusUnprocessableEntity, code: "invalid_params", kind: typeInvalid,
		message: "One or more parameters are invalid.",
		fields:  []any{map[string]any{"field": field, "message": problem, "type": nil}},
	}
}

func missing(what string) error {
	return &apiError{
		status: http.StatusNotFound, code: "resource_missing", kind: typeAPI,
		message: fmt.Sprintf("The %s was not found.", what),
	}
}
