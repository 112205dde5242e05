package main

import (
	"strings"
	"testing"

	"github.com/postern/postern/api"
)

func TestTheConnectionThatIsMeant(t *testing.T) {
	const ours, theirs = "222222222222", "333333333333"
	cn := func(id, status, owner string) api.Connection {
		return api.Connection{EndpointID: id, Status: status, ExternalOwnerID: owner}
	}
	var (
		available = cn("available", api.StatusAvailable, ours)
		deleted   = cn("deleted", api.StatusDeleted, ours)
		pending   = cn("pending", api.StatusPending, "")
		rejected  = cn("rejected", api.StatusRejected, theirs)
		foreign   = cn("foreign", api.StatusAvailable, theirs)
	)
	for _, tc := range []struct {
		name  string
		all   []api.Connection
		owner string
		want  string
	}{
		{"there is none", nil, "", ""},
		{"the only one, whatever it is", []api.Connection{deleted}, "", "deleted"},
		{"one that is gone does not count beside another", []api.Connection{deleted, pending}, "", "pending"},
		{"one that is let in before those that are not", []api.Connection{deleted, pending, rejected, available}, "", "available"},
		{"two that are let in", []api.Connection{available, foreign, deleted}, "", "available foreign"},
		{"our own, where it is known who we are", []api.Connection{available, foreign}, ours, "available"},
		{"somebody else's is not ours", []api.Connection{foreign}, ours, ""},
		{"one that nobody has seen may be ours", []api.Connection{foreign, pending}, ours, "pending"},
		{"all are gone", []api.Connection{deleted, deleted}, ours, "deleted deleted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, c := range candidateConnections(tc.all, tc.owner) {
				got = append(got, c.EndpointID)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %v, want %q", got, tc.want)
			}
		})
	}
}
