module github.com/clerkknock/bridge/internal/cmdtest

go 1.26.0

require (
	github.com/clerkknock/bridge v0.0.0
	github.com/rogpeppe/go-internal v1.14.1
)

require (
	github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/svix/svix-webhooks v1.99.1 // indirect
	golang.org/x/sys v0.26.0 // indirect
	golang.org/x/tools v0.26.0 // indirect
)

replace github.com/clerkknock/bridge => ../..
