package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func TestRulesAreOnDiskBeforeTheyAreAcknowledged(t *testing.T) {
	w := newWorld(t, nil)
	for i := int64(1); i <= 5; i++ {
		w.apply(w.rules(i))
		if r, err := onDisk(t, w.cfg.RulesFile); err != nil || r < i {
			t.Fatalf("revision %d was acknowledged with revision %d on disk, %v", i, r, err)
		}
	}
}

func TestRulesThatCannotBeKeptAreInForceAndNotAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	w := newWorld(t, func(c *Config) { c.RulesFile = filepath.Join(dir, "rules") })
	w.control.publish(w.rules(4))
	w.awaitRevision(4)
	// A full disk must not delay what comes next: the stream stays, and the rules after these are in force at once.
	flow := w.open(endpointA, acmePrivate)
	revoked := w.rules(5)
	revoked.Clusters[0].EndpointIDs = nil
	start := time.Now()
	w.control.publish(revoked)
	if _, err := flow.Read(make([]byte, 1)); err == nil {
		t.Error("the flow goes on")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the flow was cut after %v", took)
	}
	w.control.change(func() {
		if len(w.control.acks) > 0 || w.control.streams != 1 {
			t.Errorf("acknowledged %v though nothing was kept; %d streams", w.control.acks, w.control.streams)
		}
	})
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.control.await("the acknowledgement, once the directory is there", func() bool { return slices.Contains(w.control.acks, 5) })
	if r, err := onDisk(t, w.cfg.RulesFile); err != nil || r != 5 {
		t.Errorf("on disk: revision %d, %v", r, err)
	}
}

// awaitRevision waits until the gateway decides by a revision, acknowledged or not.
func (w *world) awaitRevision(revision int64) {
	w.t.Helper()
	for deadline := time.After(60 * time.Second); w.g.Revision() != revision; {
		select {
		case <-deadline:
			w.t.Fatalf("revision %d in force, waited in vain for %d", w.g.Revision(), revision)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// The last rules are kept also when the gateway ends right after them.
func TestRulesAreKeptAtTheEnd(t *testing.T) {
	w := newWorld(t, nil)
	w.control.publish(w.rules(7))
	w.awaitRevision(7)
	if err := w.g.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := onDisk(t, w.cfg.RulesFile); err != nil || r != 7 {
		t.Errorf("on disk: revision %d, %v", r, err)
	}
}

func TestARevisionThatGoesBackIsApplied(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(9))
	restored := w.rules(3)
	restored.Clusters = restored.Clusters[:1]
	w.apply(restored)
	if r := w.g.Revision(); r != 3 {
		t.Errorf("revision %d, want 3", r)
	}
	w.knock(w.balancer(endpointB), globexName, policy.UnknownName)
}

// A change cuts the flows that it no longer allows, and those alone; one that does not fit is answered by asking for all.
func TestChangesAreApplied(t *testing.T) {
	w := newWorld(t, nil)
	first := w.rules(1)
	first.Tag = "t1"
	w.apply(first)
	acme, globex := w.open(endpointA, acmePrivate), w.open(endpointB, globexName)
	w.apply(api.GatewayRules{From: 1, Revision: 4, Tag: "t4", RemovedClusters: []string{acmeID}})
	if _, err := acme.Read(make([]byte, 1)); err == nil {
		t.Error("the flow to a removed cluster goes on")
	}
	echo(t, globex, "still here")
	w.apply(api.GatewayRules{From: 4, Revision: 5, Tag: "t5", Clusters: first.Clusters[:1]})
	echo(t, w.open(endpointA, acmePrivate), "back again")

	var streams int
	w.control.change(func() { streams = w.control.streams })
	w.control.publish(api.GatewayRules{From: 7, Revision: 8, Tag: "t8", RemovedClusters: []string{globexID}})
	w.control.await("a hello that asks for everything", func() bool {
		n := len(w.control.askedSince)
		return w.control.streams > streams && w.control.askedSince[n-1] == "0 "
	})
	echo(t, globex, "still here")
	again := w.rules(9)
	again.Tag = "t9"
	w.apply(again)
	w.control.change(func() { w.control.drop() })
	w.control.await("a hello that says what is in force", func() bool {
		return w.control.askedSince[len(w.control.askedSince)-1] == "9 t9"
	})
	w.control.change(func() { w.control.acks = nil })
	w.control.publish(api.GatewayRules{From: 9, Revision: 9, Tag: "t9"}) // it is the newest
	w.control.await("the acknowledgement of what is in force", func() bool { return slices.Contains(w.control.acks, 9) })
	echo(t, globex, "never blinked")
}

// Parts hold together or not at all.
func TestPartsMakeAWhole(t *testing.T) {
	w := newWorld(t, nil)
	all := w.rules(3)
	part, end := all, all
	part.Clusters, part.More = all.Clusters[:1], true
	end.Clusters = all.Clusters[1:]
	lines := func(docs ...api.GatewayRules) (out []byte) {
		for i, doc := range docs {
			b, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				out = append(out, '\n')
			}
			out = append(out, b...)
		}
		return out
	}
	w.control.change(func() { w.control.line = lines(part, end) })
	w.awaitRevision(3)
	echo(t, w.open(endpointA, acmePrivate), "of the first part")
	echo(t, w.open(endpointB, globexName), "of the last part")
	w.control.await("the acknowledgement", func() bool { return slices.Contains(w.control.acks, 3) })

	other := end
	other.Revision = 5
	for name, docs := range map[string][]byte{
		"another revision": lines(part, other),
		"another tag":      lines(part, api.GatewayRules{Revision: 3, Tag: "x"}),
		"a change":         lines(part, api.GatewayRules{From: 3, Revision: 3}),
	} {
		var news rulesNews
		var err error
		for _, doc := range bytes.Split(docs, []byte{'\n'}) {
			_, err = news.add(doc)
		}
		if err == nil {
			t.Errorf("%s was taken for the next part", name)
		}
	}
}

func TestBrokenRulesChangeNothing(t *testing.T) {
	good, err := json.Marshal(api.GatewayRules{
		Revision: 2, Clusters: []api.GatewayClusterRules{{
			ClusterID: acmeID, PrivateNames: []string{acmePrivate}, Backends: []api.GatewayTarget{{Address: "127.0.0.1:1"}},
			EndpointIDs: []string{endpointA}, PublicAccess: "ENABLED", AllowList: []api.AllowRule{{Prefix: "10.0.0.0/8"}},
			Health: &api.GatewayHealthCheck{Check: "HTTP", Path: "/healthz", Statuses: []int{200}}, Limits: &api.GatewayLimits{Flows: 5},
			DeniedPorts: []uint16{22},
		}}, Ports: &[]api.GatewayPort{{Port: 5432, Protocol: "POSTGRES", Traffic: "SQL"}},
		Projects: []api.GatewayProjectRules{{ProjectID: globexID, EndpointIDs: []string{endpointB}}},
		Claims:   []api.GatewayClaimRule{{ID: globexID, ClusterID: acmeID, Domain: "pe.postern.test", Hash: make([]byte, 32)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(rulesNews).add(good); err != nil {
		t.Fatalf("the document that the others are made of: %v", err)
	}
	tests := map[string]string{
		"cut short":                string(good[:len(good)-5]),
		"no JSON":                  "rules!",
		"an unknown field":         strings.Replace(string(good), `"revision"`, `"deny":true,"revision"`, 1),
		"two documents":            string(good) + string(good),
		"a negative revision":      strings.Replace(string(good), `"revision":2`, `"revision":-2`, 1),
		"an unknown access":        strings.Replace(string(good), "ENABLED", "AJAR", 1),
		"no cluster id":            strings.Replace(string(good), acmeID, "acme", 1),
		"a name with a line break": strings.Replace(string(good), acmePrivate, `a\nb`, 1),
		"a backend without a port": strings.Replace(string(good), "127.0.0.1:1", "127.0.0.1", 1),
		"a backend with port 0":    strings.Replace(string(good), "127.0.0.1:1", "127.0.0.1:0", 1),
		"an empty endpoint id":     strings.Replace(string(good), endpointA, "", 1),
		"a range with host bits":   strings.Replace(string(good), "10.0.0.0/8", "10.0.0.1/8", 1),
		"revision 0":               strings.Replace(string(good), `"revision":2`, `"revision":0`, 1),
		"nothing":                  `null`,
		"a change that leads back": strings.Replace(string(good), `"revision":2`, `"from":3,"revision":2`, 1),
		"a full set that removes":  strings.Replace(string(good), `"revision":2`, `"revision":2,"removed_clusters":["`+acmeID+`"]`, 1),
		"a removed cluster's id":   strings.Replace(string(good), `"revision":2`, `"from":1,"revision":2,"removed_clusters":["acme"]`, 1),
		"a tag without end":        strings.Replace(string(good), `"tag":""`, `"tag":"`+strings.Repeat("x", 200)+`"`, 1),
		"an unknown check":         strings.Replace(string(good), `"HTTP"`, `"ICMP"`, 1),
		"a check's broken path":    strings.Replace(string(good), `/healthz`, `/he\r\nalthz`, 1),
		"a check's odd status":     strings.Replace(string(good), `[200]`, `[2]`, 1),
		"a limit below 0":          strings.Replace(string(good), `"flows":5`, `"flows":-5`, 1),
		"denied port 0":            strings.Replace(string(good), `[22]`, `[0]`, 1),
		"a rule of port 0":         strings.Replace(string(good), `"port":5432`, `"port":0`, 1),
		"an unknown protocol":      strings.Replace(string(good), `"POSTGRES"`, `"SMTP"`, 1),
		"an unknown traffic":       strings.Replace(string(good), `"SQL"`, `"VOICE"`, 1),
		"a weight beyond measure":  strings.Replace(string(good), `"127.0.0.1:1"`, `"127.0.0.1:1","weight":257`, 1),
		"a claim's domain":         strings.Replace(string(good), `"pe.postern.test"`, `"PE.postern.test."`, 1),
		"a claim's short hash":     strings.Replace(string(good), `"hash":"AAAA`, `"hash":"`, 1),
		"a project without an id":  strings.Replace(string(good), `"project_id":"`+globexID, `"project_id":"`, 1),
	}
	for name, doc := range tests {
		var news rulesNews
		if _, err := news.add([]byte(doc)); err == nil {
			t.Errorf("%s: taken for revision %d", name, news.to.Revision)
		}
	}
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	flow := w.open(endpointA, acmePrivate)
	var streams int
	w.control.change(func() { w.control.line, streams = []byte(tests["an unknown field"]), w.control.streams })
	w.control.await("a new stream, since the document broke the last", func() bool { return w.control.streams > streams })
	if r := w.g.Revision(); r != 1 {
		t.Errorf("revision %d, want 1", r)
	}
	w.apply(w.rules(2))
	echo(t, flow, "still here")
}

func TestASilentStreamIsGivenUp(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.KeepAlive = 300 * time.Millisecond })
	w.apply(w.rules(1))
	streams := 0
	w.control.change(func() { w.control.mute, streams = true, w.control.streams })
	w.control.await("a new stream after the silence", func() bool { return w.control.streams > streams })
	w.control.change(func() { w.control.mute = false })
	w.apply(w.rules(2))
	// With empty lines alone the stream lives on.
	w.control.change(func() { streams = w.control.streams })
	quiet := time.NewTimer(3 * w.cfg.KeepAlive)
	<-quiet.C
	w.control.change(func() {
		if w.control.streams != streams {
			t.Errorf("a stream that is kept alive was given up: %d streams, want %d", w.control.streams, streams)
		}
	})
}

func TestABatchWhoseAnswerIsLostIsSentAgainUnderItsID(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	w.control.change(func() { w.control.failing = 2 })
	w.knock(w.balancer(endpointC), acmePrivate, policy.EndpointNotAuthorised)
	w.control.await("the batch a third time", func() bool {
		for _, n := range w.control.batches {
			if n == 3 {
				return true
			}
		}
		return false
	})
	var total int64
	w.control.change(func() {
		for _, r := range w.control.refused {
			total += r.Count
		}
	})
	if total != 1 {
		t.Errorf("one refused flow was counted %d times", total)
	}
}

func TestWrongTokenIsNoReasonToStop(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Token = "another" })
	w.knockUnrecorded(w.balancer(endpointA), acmePrivate)
	if r := w.g.Revision(); r != 0 {
		t.Errorf("revision %d", r)
	}
}

func (w *world) knockUnrecorded(conn net.Conn, name string) {
	w.t.Helper()
	if _, err := w.tls(conn, name); err == nil {
		w.t.Errorf("the flow to %s was admitted", name)
	}
}

func TestProofKeyLasts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first, err := LoadOrCreateKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(dir)
	if err != nil || !first.Equal(again) {
		t.Errorf("another key the second time, %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: only the owner may read it", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKey(dir); err == nil {
		t.Error("a damaged key was replaced in silence")
	}
}

func TestConfigIsChecked(t *testing.T) {
	key, err := LoadOrCreateKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"no id":            {Key: key},
		"id with a space":  {ID: "gw 1", Key: key},
		"no key":           {ID: "gw"},
		"URL without host": {ID: "gw", Key: key, ControlURL: "127.0.0.1:80"},
		"mapped range":     {ID: "gw", Key: key, Listeners: []ListenerConfig{{Side: link.PrivateListener, Addr: "127.0.0.1:0", TrustedPeers: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}}},
		"no address":       {ID: "gw", Key: key, Listeners: []ListenerConfig{{Side: link.PrivateListener, Addr: "127.0.0.1:0"}, {Side: link.PublicListener, Addr: "256.0.0.1:1"}}},
	} {
		if g, err := Start(t.Context(), cfg); err == nil {
			_ = g.Close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestStartFailsOnAnAddressInUse(t *testing.T) {
	w := newWorld(t, nil)
	cfg := w.cfg
	cfg.Listeners = []ListenerConfig{{Side: link.PublicListener, Addr: w.g.PublicAddr().String()}}
	if g, err := Start(t.Context(), cfg); !errors.Is(err, syscall.EADDRINUSE) {
		if err == nil {
			_ = g.Close()
		}
		t.Errorf("Start: %v, want that the address is in use", err)
	}
}
