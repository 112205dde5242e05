package policy

import (
	"fmt"

	"github.com/postern/postern/internal/link"
)

// Role is what a caller is to the installation. The zero value is Anonymous, who may do nothing.
type Role string

// The roles.
const (
	Anonymous Role = ""
	Operator  Role = "operator" // may everything except to speak for a gateway
	Gateway   Role = "gateway"  // may fetch the rules, acknowledge them and report; nothing else
	Member    Role = "member"   // a person or a service account: may what its grants say
)

// Caller is who asks for something, as its token told. The zero value is nobody.
type Caller struct {
	ID        link.ID // of the principal; empty for a token that belongs to the installation itself
	Name      string  // stands in the history of what it changes
	Role      Role
	Grants    []link.Grant // of a Member, those that its API key leaves it
	RequestID string       // of the request that this caller makes now; stands in the audit log
}

// Action is one thing that a caller may ask for.
type Action string

// The actions. Read covers lists and single objects; Change everything that alters intent.
const (
	Read          Action = "read"
	Change        Action = "change"
	ReceiveRules  Action = "receive-rules"
	ReportTraffic Action = "report-traffic"
)

// Permission says whether a caller may do what it asked for, and by which rule.
type Permission struct {
	Allow   bool
	Visible bool   // the caller may know that the object is there; where it may not, it is told what it would be told of none
	Rule    string // stable, upper snake case: what decided
	Reason  string // one sentence for the caller; empty when allowed
}

// May decides whether caller may do action to an object, or to the list of its kind, that stands at a place.
func May(caller Caller, action Action, object link.ObjectRef, at link.Place) Permission {
	switch caller.Role {
	case Operator:
		switch action {
		case Read, Change:
			return Permission{Allow: true, Visible: true, Rule: "OPERATOR"}
		}
		return refuse("OPERATOR_IS_NO_GATEWAY", "an operator's token cannot speak for a gateway: use a gateway's token")
	case Gateway:
		switch action {
		case ReceiveRules, ReportTraffic:
			return Permission{Allow: true, Visible: true, Rule: "GATEWAY"}
		}
		return refuse("GATEWAY_ONLY_REPORTS", fmt.Sprintf("a gateway's token cannot %s a %s: use an operator's token", action, object.Kind))
	}
	return refuse("NOT_AUTHENTICATED", "nobody is signed in")
}

func refuse(rule, reason string) Permission {
	return Permission{Visible: true, Rule: rule, Reason: reason}
}
