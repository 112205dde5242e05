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

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func TestRulesAreOnDiskBeforeTheyAreAcknowledged(t *testing.T) {
	w := newWorld(t, nil)
	for i := int64(1); i <= 5; i++ {
		w.apply(w.rules(i))
		set, err := loadRules(w.cfg.RulesFile)
		if err != nil || set.Revision < i {
			t.Fatalf("revision %d was acknowledged with revision %d on disk, %v", i, set.Revision, err)
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
	if set, err := loadRules(w.cfg.RulesFile); err != nil || set.Revision != 5 {
		t.Errorf("on disk: revision %d, %v", set.Revision, err)
	}
}

// awaitRevision waits until the gateway decides by a revision, acknowledged or not.
func (w *world) awaitRevision(revision int64) {
	w.t.Helper()
	for deadline := time.After(10 * time.Second); w.g.Revision() != revision; {
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
	if set, err := loadRules(w.cfg.RulesFile); err != nil || set.Revision != 7 {
		t.Errorf("on disk: revision %d, %v", set.Revision, err)
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

func TestBrokenRulesChangeNothing(t *testing.T) {
	good, err := json.Marshal(api.GatewayRules{Revision: 2, Clusters: []api.GatewayClusterRules{{
		ClusterID: acmeID, PrivateNames: []string{acmePrivate}, Backends: []api.GatewayTarget{{Address: "127.0.0.1:1"}},
		EndpointIDs: []string{endpointA}, PublicAccess: "ENABLED", AllowList: []api.AllowRule{{Prefix: "10.0.0.0/8"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := decodeRules(good); err != nil {
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
	}
	for name, doc := range tests {
		if _, set, err := decodeRules([]byte(doc)); err == nil {
			t.Errorf("%s: taken for revision %d", name, set.Revision)
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

func TestADamagedRulesFileRefusesEverybody(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	rules := api.GatewayRules{Revision: 5, Clusters: []api.GatewayClusterRules{{
		ClusterID: acmeID, PrivateNames: []string{acmePrivate}, EndpointIDs: []string{endpointA}, PublicAccess: "ENABLED",
	}}}
	if err := saveRules(good, rules); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	want := link.RuleSet{Revision: 5, Clusters: []link.ClusterRules{{
		ClusterID: acmeID, PrivateNames: []string{acmePrivate}, Endpoints: []link.EndpointID{endpointA},
		PublicAccess: link.PublicEnabled, AllowList: []link.AllowEntry{},
	}}}
	if got, err := loadRules(good); err != nil || !cmp.Equal(got, want, cmpopts.EquateComparable(netip.Prefix{})) {
		t.Fatalf("read back: %v\n%s", err, cmp.Diff(want, got))
	}
	for name, damaged := range map[string][]byte{
		"empty":                    {},
		"cut short":                text[:len(text)-3],
		"another endpoint":         bytes.Replace(text, []byte(endpointA), []byte(endpointB), 1),
		"no checksum":              text[bytes.IndexByte(text, '\n')+1:],
		"something else":           []byte("SQLite format 3\x00"),
		"zeros after a power loss": make([]byte, len(text)),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rules")
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, func(c *Config) { c.RulesFile = path })
			w.knock(w.balancer(endpointA), acmePrivate, policy.NoRules)
			w.apply(w.rules(6)) // and the control plane heals it
			if set, err := loadRules(path); err != nil || set.Revision != 6 {
				t.Errorf("after the control plane's rules: revision %d, %v", set.Revision, err)
			}
		})
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

func FuzzRules(f *testing.F) {
	for _, doc := range []string{
		`{"revision":1,"clusters":[]}`, `{"revision":0}`, `null`, `[]`, `{"revision":9223372036854775807,"clusters":[null]}`,
		`{"revision":2,"clusters":[{"cluster_id":"` + acmeID + `","private_names":["a.test"],"public_names":["b.test"],"backends":["h:1"],` +
			`"endpoint_ids":["` + endpointA + `"],"public_access":"ENABLED","allowlist":[{"prefix":"10.0.0.0/8","ui":true,"sql":false}]}]}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		wire, set, err := decodeRules(doc)
		if err != nil {
			return
		}
		if rules := policy.Compile(set); rules.Revision() != wire.Revision {
			t.Errorf("revision %d became %d", wire.Revision, rules.Revision())
		}
		path := filepath.Join(t.TempDir(), "rules")
		if err := saveRules(path, wire); err != nil {
			t.Fatal(err)
		}
		if again, err := loadRules(path); err != nil || !cmp.Equal(again, set, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})) {
			t.Errorf("kept and read back: %v\n%s", err, cmp.Diff(set, again, cmpopts.EquateComparable(netip.Prefix{})))
		}
	})
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
