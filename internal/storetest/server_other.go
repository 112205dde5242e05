//go:build !linux

package storetest

import "testing"

func ownServer(t testing.TB) string {
	t.Helper()
	t.Skip("needs postgres on Linux, or the URL of a server in " + Variable)
	return ""
}

func stopOwnServer() {}
