module github.com/clerkknock/bridge/examples/chi

go 1.26.0

require (
	github.com/clerkknock/bridge v0.0.0
	github.com/go-chi/chi/v5 v5.5.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/svix/svix-webhooks v1.99.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/clerkknock/bridge => ../../
