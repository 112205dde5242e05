package cloud

import (
	"strings"

	"github.com/postern/postern/internal/link"
)

// EndpointState reads an endpoint's state without regard to case: AWS writes pendingAcceptance on the wire and
// PendingAcceptance in its SDK's constants. An endpoint that works in some of its zones only ("partial") and a state
// that is not known are no working endpoints either: both are Failed, never Available.
func EndpointState(word string) link.State {
	switch strings.ToLower(word) {
	case "pendingacceptance":
		return link.PendingAcceptance
	case "pending":
		return link.Pending
	case "available":
		return link.Available
	case "deleting":
		return link.Deleting
	case "deleted":
		return link.Deleted
	case "rejected":
		return link.Rejected
	case "expired":
		return link.Expired
	default:
		return link.Failed
	}
}
