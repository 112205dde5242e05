// Package httpapi serves the control plane as the REST API that api describes: it turns requests into calls of
// control.Plane and what comes back into wire structs and errors. It decides nothing itself and reaches no cloud.
package httpapi
