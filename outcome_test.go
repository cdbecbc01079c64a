package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge"
	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	knock := func(status int) error { return &actions.Error{Status: status} }
	plain := errors.New("plain")
	_, noFile := os.Open("no such file")
	_, _, noAddress := net.ParseCIDR("x")
	_, noPort := net.Dial("tcp", "nowhere")
	_, noURL := url.Parse("http://[" + plain.Error())
	for _, test := range []struct {
		name string
		err  error
		want bridge.Outcome
	}{
		{"nil", nil, bridge.OutcomeDone},
		{"plain", plain, bridge.OutcomeMisconfigured},
		{"permanent", bridge.Permanent(plain), bridge.OutcomePermanent},
		{"permanent, wrapped twice", fmt.Errorf("a: %w", fmt.Errorf("b: %w", bridge.Permanent(plain))), bridge.OutcomePermanent},
		{"permanent, joined", errors.Join(plain, bridge.Permanent(plain)), bridge.OutcomePermanent},
		{"permanent of what is transient", bridge.Permanent(knock(503)), bridge.OutcomePermanent},
		{"retry after, wrapped", fmt.Errorf("a: %w", bridge.RetryAfter(time.Second, plain)), bridge.OutcomeTransient},
		{"retry after of what is rejected", bridge.RetryAfter(time.Second, knock(422)), bridge.OutcomeTransient},
		{"undecodable", fmt.Errorf("a: %w", &clerk.DecodeError{Err: plain}), bridge.OutcomePermanent},
		{"an id or a size that Knock does not take", fmt.Errorf("a: %w", &actions.InvalidError{Data: true}), bridge.OutcomePermanent},
		{"a call that is put together wrongly", fmt.Errorf("a: %w", &actions.InvalidError{}), bridge.OutcomeMisconfigured},
		{"no file", noFile, bridge.OutcomeMisconfigured},
		{"no address", noAddress, bridge.OutcomeMisconfigured},
		{"no URL", fmt.Errorf("a: %w", noURL), bridge.OutcomeMisconfigured},
		{"an address without a port", noPort, bridge.OutcomeMisconfigured},
		{"a network that can't be reached", fmt.Errorf("a: %w", syscall.ENETUNREACH), bridge.OutcomeTransient},
		{"a connection refused", fmt.Errorf("a: %w", syscall.ECONNREFUSED), bridge.OutcomeTransient},
		{
			"no port left", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)},
			bridge.OutcomeTransient,
		},
		{
			"no socket in the file system", &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ENOENT)},
			bridge.OutcomeMisconfigured,
		},
		{"a name that is not known", &net.DNSError{Err: "no such host", IsNotFound: true}, bridge.OutcomeTransient},
		{"no answer", &actions.SendError{Err: plain}, bridge.OutcomeTransient},
		{"deadline", fmt.Errorf("a: %w", context.DeadlineExceeded), bridge.OutcomeTransient},
		{"cancelled", context.Canceled, bridge.OutcomeTransient},
		{"the user's own call", &url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: plain}}, bridge.OutcomeTransient},
		{"connection lost", fmt.Errorf("a: %w", io.ErrUnexpectedEOF), bridge.OutcomeTransient},
		{"panic", &bridge.PanicError{Value: context.Canceled}, bridge.OutcomeMisconfigured},
		{"302", knock(302), bridge.OutcomeMisconfigured},
		{"400", knock(400), bridge.OutcomeRejected},
		{"401", knock(401), bridge.OutcomeMisconfigured},
		{"403", knock(403), bridge.OutcomeMisconfigured},
		{"404", knock(404), bridge.OutcomeMisconfigured},
		{"408", knock(408), bridge.OutcomeTransient},
		{"409", knock(409), bridge.OutcomeTransient},
		{"413", knock(413), bridge.OutcomeRejected},
		{"422", knock(422), bridge.OutcomeRejected},
		{"a panic with an error of a kind", &bridge.PanicError{Value: bridge.Permanent(plain)}, bridge.OutcomeMisconfigured},
		{"429", knock(429), bridge.OutcomeTransient},
		{"500", knock(500), bridge.OutcomeTransient},
		{"503", fmt.Errorf("a: %w", knock(503)), bridge.OutcomeTransient},
	} {
		assert.Equal(t, test.want, bridge.OutcomeOf(test.err), test.name)
	}
	assert.NoError(t, bridge.Permanent(nil))
	assert.NoError(t, bridge.RetryAfter(time.Second, nil))
	require.ErrorIs(t, bridge.Permanent(plain), plain)
	require.ErrorIs(t, bridge.RetryAfter(0, plain), plain)
}

func TestResultStatus(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[bridge.Outcome]int{
		bridge.OutcomeDone:          http.StatusOK,
		bridge.OutcomeIgnored:       http.StatusOK,
		bridge.OutcomeMalformed:     http.StatusBadRequest,
		bridge.OutcomeUnverified:    http.StatusUnauthorized,
		bridge.OutcomeTransient:     http.StatusServiceUnavailable,
		bridge.OutcomeRejected:      http.StatusUnprocessableEntity,
		bridge.OutcomeMisconfigured: http.StatusInternalServerError,
		bridge.OutcomePermanent:     http.StatusUnprocessableEntity,
		"unheard of":                http.StatusInternalServerError,
	} {
		assert.Equal(t, want, (&bridge.Result{Outcome: outcome}).Status(), outcome)
		assert.Equal(t, want == http.StatusOK, outcome.OK(), outcome)
	}
}
