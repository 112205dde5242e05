package link

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestSetCondition(t *testing.T) {
	t0 := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	t1 := t0.Add(time.Minute)
	first := SetCondition(nil, Condition{Type: ConditionAccepted, Status: False, Reason: "OWNER_NOT_TRUSTED", Message: "a"}, t0)
	for _, c := range []struct {
		name string
		set  Condition
		want time.Time
	}{
		{"the same again keeps its time", Condition{Type: ConditionAccepted, Status: False, Reason: "OWNER_NOT_TRUSTED"}, t0},
		{"another message keeps its time", Condition{Type: ConditionAccepted, Status: False, Reason: "OWNER_NOT_TRUSTED", Message: "b"}, t0},
		{"another reason is a transition", Condition{Type: ConditionAccepted, Status: False, Reason: "REJECTED_BY_ADMIN"}, t1},
		{"another status is a transition", Condition{Type: ConditionAccepted, Status: True, Reason: "OWNER_NOT_TRUSTED"}, t1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := SetCondition(first, c.set, t1)
			if len(got) != 1 || !got[0].LastTransition.Equal(c.want) || got[0].Message != c.set.Message {
				t.Errorf("%+v", got)
			}
			if first[0].Message != "a" || !first[0].LastTransition.Equal(t0) {
				t.Error("the conditions given were changed")
			}
		})
	}
	both := SetCondition(first, Condition{Type: ConditionReachable, Status: True}, t1)
	if len(both) != 2 || ConditionOf(both, ConditionReachable).Status != True || ConditionOf(both, ConditionDNSReady).Status != Unknown {
		t.Errorf("%+v", both)
	}
}

func TestPathProof(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := PathProof{
		Nonce: "abcdefghijklmnop", ClusterID: "0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11", Name: "proof.acme.us-east-1.pe.vendor.example",
		Listener: PrivateListener, EndpointID: "vpce-0a1b2c3d4e5f60718", Source: "10.0.0.4:40000", GatewayID: "gw-1",
		IssuedAt: time.Date(2026, 11, 1, 12, 0, 0, 42, time.UTC),
	}.Sign(private)
	keys := []ed25519.PublicKey{nil, other, public}
	if err := signed.Check(signed.Nonce, keys); err != nil {
		t.Error(err)
	}
	if signed.Check("another-nonce-xx", keys) == nil {
		t.Error("a proof of another nonce counts")
	}
	if signed.Check(signed.Nonce, []ed25519.PublicKey{other, nil}) == nil {
		t.Error("a proof by an unknown key counts")
	}
	for name, change := range map[string]func(*PathProof){
		"cluster":  func(p *PathProof) { p.ClusterID = "1b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11" },
		"name":     func(p *PathProof) { p.Name = "proof.other.example" },
		"listener": func(p *PathProof) { p.Listener = PublicListener },
		"endpoint": func(p *PathProof) { p.EndpointID = "vpce-1a1b2c3d4e5f60718" },
		"source":   func(p *PathProof) { p.Source = "10.0.0.5:40000" },
		"gateway":  func(p *PathProof) { p.GatewayID = "gw-2" },
		"time":     func(p *PathProof) { p.IssuedAt = p.IssuedAt.Add(time.Nanosecond) },
		"fields swapped over a line": func(p *PathProof) {
			p.Source, p.GatewayID = p.GatewayID, p.Source
		},
	} {
		forged := signed
		change(&forged)
		if forged.Check(forged.Nonce, keys) == nil {
			t.Errorf("a proof with another %s counts", name)
		}
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("disk full")
	err := fmt.Errorf("store the cluster: %w", &Error{Kind: Unavailable, Message: "try again", Err: cause})
	if KindOf(err) != Unavailable || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if KindOf(cause) != Internal || KindOf(nil) != Internal {
		t.Error("an error of no kind is internal")
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		PublicName("acme", "us-east-1", "vendor.example"):  "acme.us-east-1.vendor.example",
		PrivateName("acme", "us-east-1", "vendor.example"): "acme.us-east-1.pe.vendor.example",
		PrivateWildcard("us-east-1", "vendor.example"):     "*.us-east-1.pe.vendor.example",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
