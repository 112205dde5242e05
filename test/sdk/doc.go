// Package sdk holds no code, only a test: the published Go SDK of the CockroachDB Cloud API, a client that knows nothing
// of Postern, runs against a Postern. It is a module of its own, so that the product does not depend on that SDK.
package sdk
