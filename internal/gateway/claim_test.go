package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postern/postern/api"
)

// Two endpoints come with one code at the same time: both are let in before either has shown that it means it. The
// second one must not be told that it has claimed anything.
func TestTheSecondOfTwoClaimsIsToldNothing(t *testing.T) {
	const code, claimID, domain = "kxq3v5m2p7", "33333333-3333-4333-8333-333333333333", "us-east-1.pe.postern.test"
	w := newWorld(t, nil)
	hash := sha256.Sum256([]byte(code))
	rules := w.rules(1)
	rules.Claims = []api.GatewayClaimRule{{
		ID: claimID, ClusterID: acmeID, Domain: domain, Hash: hash[:], ExpiresAt: time.Now().Add(time.Hour),
	}}
	w.apply(rules)
	conf := &tls.Config{ServerName: code + ".claim." + domain, InsecureSkipVerify: true}

	slow := &gated{Conn: w.balancer(endpointC), until: make(chan struct{})}
	second := tls.Client(slow, conf)
	said := make(chan string, 1)
	go func() {
		_, _ = io.WriteString(second, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		text, _ := io.ReadAll(second)
		said <- string(text)
	}()
	eventually(t, "the flow is admitted", func() bool { return w.g.LiveFlows() == 1 })
	first := tls.Client(w.balancer(endpointB), conf)
	if err := first.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.control.await("the first claim", func() bool { return len(w.control.claims) == 1 })
	close(slow.until)
	if got := <-said; got != "" {
		t.Errorf("the second endpoint was told %q", got)
	}
	w.control.await("the report of the first claim alone", func() bool {
		return len(w.control.claims) == 1 && w.control.claims[0].EndpointID == endpointB
	})
}

// gated is a connection from which nothing is read before a channel is closed.
type gated struct {
	net.Conn
	until chan struct{}
}

func (g *gated) Read(b []byte) (int, error) {
	<-g.until
	return g.Conn.Read(b)
}
