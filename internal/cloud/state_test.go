package cloud

import (
	"testing"

	"github.com/postern/postern/internal/link"
)

func TestEndpointState(t *testing.T) {
	for wire, want := range map[string]link.State{
		"pendingAcceptance": link.PendingAcceptance, "PendingAcceptance": link.PendingAcceptance,
		"pending": link.Pending, "available": link.Available, "Available": link.Available,
		"rejected": link.Rejected, "deleting": link.Deleting, "deleted": link.Deleted,
		"failed": link.Failed, "expired": link.Expired, "partial": link.Failed, "somethingNew": link.Failed, "": link.Failed,
	} {
		if got := EndpointState(wire); got != want {
			t.Errorf("%q is %s, want %s", wire, got, want)
		}
	}
}
