package policy

import (
	"testing"

	"github.com/postern/postern/internal/link"
)

func TestMay(t *testing.T) {
	cluster := link.ObjectRef{Kind: link.ObjectCluster, ID: "c"}
	for _, c := range []struct {
		who    Role
		action Action
		allow  bool
		rule   string
	}{
		{Anonymous, Read, false, "NOT_AUTHENTICATED"},
		{Anonymous, Change, false, "NOT_AUTHENTICATED"},
		{Anonymous, ReceiveRules, false, "NOT_AUTHENTICATED"},
		{Anonymous, ReportTraffic, false, "NOT_AUTHENTICATED"},
		{Role("made up"), Read, false, "NOT_AUTHENTICATED"},
		{Operator, Read, true, "OPERATOR"},
		{Operator, Change, true, "OPERATOR"},
		{Operator, ReceiveRules, false, "OPERATOR_IS_NO_GATEWAY"},
		{Operator, ReportTraffic, false, "OPERATOR_IS_NO_GATEWAY"},
		{Operator, Action("made up"), false, "OPERATOR_IS_NO_GATEWAY"},
		{Gateway, ReceiveRules, true, "GATEWAY"},
		{Gateway, ReportTraffic, true, "GATEWAY"},
		{Gateway, Read, false, "GATEWAY_ONLY_REPORTS"},
		{Gateway, Change, false, "GATEWAY_ONLY_REPORTS"},
	} {
		got := May(Caller{Name: "n", Role: c.who}, c.action, cluster, link.Place{ClusterID: "c"})
		if got.Allow != c.allow || got.Rule != c.rule {
			t.Errorf("May(%q, %q) = %+v, want allow %t by %s", c.who, c.action, got, c.allow, c.rule)
		}
		if got.Allow == (got.Reason != "") {
			t.Errorf("May(%q, %q): reason %q: a refusal says why, a permission does not", c.who, c.action, got.Reason)
		}
	}
}

func TestTrusts(t *testing.T) {
	owner := func(typ link.OwnerType, id string) []link.TrustedOwner {
		return []link.TrustedOwner{{Type: typ, ExternalOwnerID: id}}
	}
	for _, c := range []struct {
		name     string
		owners   []link.TrustedOwner
		provider link.Provider
		account  string
		want     bool
	}{
		{"nobody is trusted", nil, link.AWS, "111111111111", false},
		{"the account itself", owner(link.AWSAccountID, "111111111111"), link.AWS, "111111111111", true},
		{"another account", owner(link.AWSAccountID, "222222222222"), link.AWS, "111111111111", false},
		{"everyone", owner(link.AWSAccountID, Everyone), link.AWS, "111111111111", true},
		{"everyone of another provider", owner(link.GCPProjectID, Everyone), link.AWS, "111111111111", false},
		{"the same id of another provider", owner(link.GCPProjectID, "111111111111"), link.AWS, "111111111111", false},
		{"an account not known yet", owner(link.AWSAccountID, Everyone), link.AWS, "", false},
		{"an account not known yet, and an owner without id", owner(link.AWSAccountID, ""), link.AWS, "", false},
		{"an unknown provider", owner("", Everyone), link.Provider("MOON"), "1", false},
	} {
		if got := Trusts(c.owners, c.provider, c.account); got != c.want {
			t.Errorf("%s: Trusts = %t, want %t", c.name, got, c.want)
		}
	}
}
