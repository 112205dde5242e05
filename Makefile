# What people type. The whole check is .ci/run; these are its parts and the way around the product.
.PHONY: build test race lint format fuzz bench bench-l7 bench-reconcile bench-load ci demo

build: ## the programs, in dist/
	go build -o dist/ ./cmd/...

test: ## every test; those that need a program which is not installed say so
	go test ./...

race: ## every test with the race detector; fails when one skipped for want of a program
	.ci/run race sdk

lint: ## go vet and golangci-lint, at the versions of tools/go.mod
	.ci/run lint

format: ## gofumpt and goimports over everything
	go tool -modfile=tools/go.mod golangci-lint fmt ./...

fuzz: ## every fuzz target for FUZZTIME (3s)
	.ci/run fuzz

bench: ## the gateway beside HAProxy and nginx, on Linux with both installed; 9 minutes on a quiet machine (docs/benchmarks.md)
	go run ./bench

bench-l7: ## the part of it in which TLS ends at the proxies, which speak HTTP, with Caddy beside them; 7 minutes on a quiet machine
	go run ./bench --only h1-small,h2-small,h1-large,h2-large,h1-small-paced,h2-small-paced,h1-large-paced,h2-large-paced

bench-reconcile: ## what 1,000 and 100,000 connections cost the cloud; the latter takes the better part of an hour (docs/benchmarks.md)
	go run ./bench/reconcile

bench-load: ## 200 clients at the control plane for a minute, on SQLite and PostgreSQL, and through an outage; 4 minutes (docs/benchmarks.md)
	go run ./bench/load

ci: ## all that a change has to pass, from a clean clone, as root on Debian 12
	.ci/run

demo: ## the whole story on loopback
	go run ./cmd/postern demo
