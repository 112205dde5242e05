// Package api holds the wire structs of Postern's REST API and a client for it. It depends on the standard library only,
// so that whoever imports it gets nothing else.
//
// Paths, field names and status words of everything under /clusters/{id}/networking are those of the one complete
// published API for this job (CockroachDB Cloud, API version 2023-04-10), so that its clients work unchanged. Beside
// those fields every object says why it is in its state (conditions) and since when.
package api
