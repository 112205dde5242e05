package link_test

import (
	"slices"
	"testing"

	"github.com/postern/postern/internal/link"
)

func TestHappening(t *testing.T) {
	event := func(kind, typ, state, reason, next string) link.Event {
		return link.Event{Object: link.ObjectRef{Kind: kind, ID: "a/b"}, Type: typ, State: state, Reason: reason, NextStep: next}
	}
	for _, tt := range []struct {
		name  string
		event link.Event
		want  link.Happening
	}{
		{"a connection stands", event(link.ObjectConnection, link.EventStateChanged, "AVAILABLE", link.ReasonOwnerTrusted, ""), "connection.connected"},
		{"the cloud failed", event(link.ObjectConnection, link.EventStateChanged, "FAILED", link.ReasonEndpointFailed, "create a new one"), "connection.failed"},
		{"and its second line says no more", event(link.ObjectConnection, link.EventNotAccepted, "", link.ReasonEndpointFailed, "create a new one"), ""},
		{"nobody answered", event(link.ObjectConnection, link.EventStateChanged, "EXPIRED", link.ReasonEndpointExpired, ""), "connection.expired"},
		{"its owner is not trusted", event(link.ObjectConnection, link.EventNotAccepted, "", link.ReasonOwnerNotTrusted, "add the owner"), "connection.action_needed"},
		{"and its state says no more", event(link.ObjectConnection, link.EventStateChanged, "REJECTED", link.ReasonOwnerNotTrusted, "add the owner"), ""},
		{"somebody rejected it at the cloud", event(link.ObjectConnection, link.EventDrift, "", link.ReasonRejectedOutside, "find out who"), "connection.action_needed"},
		{"put back by itself", event(link.ObjectService, link.EventDrift, "", "SERVICE_CHANGED", ""), ""},
		{"it was asked for", event(link.ObjectConnection, "CONNECTED", "", "", ""), ""},
		{"it waits", event(link.ObjectConnection, link.EventStateChanged, "PENDING_ACCEPTANCE", "", ""), ""},
		{"it is about to expire", event(link.ObjectConnection, link.EventExpiring, "", "", ""), "connection.expiring"},
		{"a way out stands", event(link.ObjectEgress, link.EventStateChanged, "AVAILABLE", "", ""), "egress_endpoint.connected"},
		{"a way out waits for the customer", event(link.ObjectEgress, link.EventStateChanged, "PENDING_ACCEPTANCE", "", "accept it"), "egress_endpoint.action_needed"},
		{"a way out is being made", event(link.ObjectEgress, link.EventStateChanged, "PENDING", "", ""), ""},
		{"a project's connection", event(link.ObjectProjectConnection, link.EventStateChanged, "AVAILABLE", "", ""), "project_connection.connected"},
		{"a service failed", event(link.ObjectService, link.EventStateChanged, "CREATE_FAILED", "", ""), "service.failed"},
		{"a service stands, as it should", event(link.ObjectService, link.EventStateChanged, "AVAILABLE", "", ""), ""},
		{"a claim ends soon", event(link.ObjectClaim, link.EventExpiring, "", "", ""), "claim.expiring"},
		{"a certificate ends soon", event(link.ObjectTrustedCertificate, link.EventExpiring, "", "", ""), "trusted_certificate.expiring"},
		{"a revocation list is over", event(link.ObjectTrustedCertificate, link.EventExpired, "", "", ""), "trusted_certificate.expired"},
		{"a key ends soon", event(link.ObjectAPIKey, link.EventExpiring, "", "", ""), "api_key.expiring"},
		{"a cluster was changed", event(link.ObjectCluster, "CHANGED", "", "", ""), ""},
		{"a subscription is tested", event(link.ObjectWebhook, link.EventTest, "", "", ""), link.TestHappening},
		{"a subscription was changed", event(link.ObjectWebhook, "CHANGED", "", "", ""), ""},
	} {
		got, ok := tt.event.Happening()
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %t; want %q", tt.name, got, ok, tt.want)
		}
		if ok && got != link.TestHappening && !slices.Contains(link.Happenings(), got) {
			t.Errorf("%s: nobody can ask for %q", tt.name, got)
		}
	}
}
