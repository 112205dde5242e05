package policy

import "github.com/postern/postern/internal/link"

// Everyone is the external id of a trusted owner that stands for every account.
const Everyone = "*"

// OwnerTypeOf is the type of the accounts that own endpoints at a provider; empty for a provider that we do not know,
// which matches no trusted owner.
func OwnerTypeOf(p link.Provider) link.OwnerType {
	switch p {
	case link.AWS:
		return link.AWSAccountID
	case link.Azure:
		return link.AzureSubscriptionID
	case link.GCP:
		return link.GCPProjectID
	}
	return ""
}

// Trusts reports whether one of owners covers the account that owns an endpoint at a provider. An account that is not
// known yet is covered by nobody, not even by Everyone.
func Trusts(owners []link.TrustedOwner, p link.Provider, account string) bool {
	typ := OwnerTypeOf(p)
	if account == "" || typ == "" {
		return false
	}
	for _, o := range owners {
		if o.Type == typ && (o.ExternalOwnerID == account || o.ExternalOwnerID == Everyone) {
			return true
		}
	}
	return false
}

// NotTrusted is the condition Accepted of a connection whose endpoint's owner is not trusted by its holder, a "cluster" or
// a "project".
func NotTrusted(holder, owner string) link.Condition {
	return link.Condition{
		Type: link.ConditionAccepted, Status: link.False, Reason: link.ReasonOwnerNotTrusted,
		Message:  "owner " + owner + " is not trusted by this " + holder,
		NextStep: "add " + owner + " to the " + holder + "'s trusted owners, and the endpoint is accepted by itself; or delete the connection",
	}
}

// RejectedByAdmin is the condition Accepted of a connection whose endpoint an admin rejected.
func RejectedByAdmin() link.Condition {
	return link.Condition{
		Type: link.ConditionAccepted, Status: link.False, Reason: link.ReasonRejectedByAdmin,
		Message: "an admin rejected this endpoint", NextStep: "connect the endpoint again to accept it after all",
	}
}
