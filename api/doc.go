// Package api holds the wire structs of Postern's REST API and a client for it. It depends on the standard library only,
// so that whoever imports it gets nothing else.
package api
