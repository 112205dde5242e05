package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// onDisk is the revision that a start would begin with, 0 for none.
func onDisk(t testing.TB, path string) (int64, error) {
	t.Helper()
	rules, err := newRulesKeeper(path, testLog(t)).load()
	return rules.Revision(), err
}

func document(t testing.TB, wire api.GatewayRules) []byte {
	t.Helper()
	doc, err := json.Marshal(wire)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// oneCluster is a cluster whose only endpoint tells versions apart.
func oneCluster(id string, version int64) api.GatewayClusterRules {
	return api.GatewayClusterRules{
		ClusterID: id, PrivateNames: []string{id + ".pe.test"}, PublicNames: []string{}, Backends: []api.GatewayTarget{},
		EndpointIDs: []string{fmt.Sprintf("vpce-%d", version)}, PublicAccess: "DISABLED", AllowList: []api.AllowRule{},
	}
}

// follower is a gateway's rules without the gateway: what comes is applied, put and kept.
type follower struct {
	t     testing.TB
	k     *rulesKeeper
	rules *policy.Rules
}

func follow(t testing.TB, path string) *follower {
	t.Helper()
	f := &follower{t: t, k: newRulesKeeper(path, testLog(t))}
	var err error
	if f.rules, err = f.k.load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.k.stop)
	return f
}

// hears applies documents and puts them to be kept.
func (f *follower) hears(docs ...api.GatewayRules) {
	f.t.Helper()
	news := &rulesNews{}
	for _, doc := range docs {
		whole, err := news.add(document(f.t, doc))
		if err != nil {
			f.t.Fatal(err)
		}
		if !whole {
			continue
		}
		if f.rules, err = news.applyTo(f.rules, f.k.version()); err != nil {
			f.t.Fatal(err)
		}
		f.k.put(news)
		news = &rulesNews{}
	}
}

func (f *follower) keeps() {
	f.t.Helper()
	if _, err := f.k.keep(); err != nil {
		f.t.Fatal(err)
	}
}

func full(revision int64, clusters ...api.GatewayClusterRules) api.GatewayRules {
	return api.GatewayRules{Revision: revision, Tag: fmt.Sprint("t", revision), Clusters: clusters}
}

func step(from int64, clusters ...api.GatewayClusterRules) api.GatewayRules {
	return api.GatewayRules{From: from, Revision: from + 1, Tag: fmt.Sprint("t", from+1), Clusters: clusters}
}

// reaches tells through which of the endpoints vpce-1 … a cluster is reached.
func reaches(rules *policy.Rules, cluster string, versions int64) (out []int64) {
	for v := range versions + 1 {
		d := rules.Decide(policy.FlowFacts{
			Listener: link.PrivateListener, Name: cluster + ".pe.test", EndpointID: link.EndpointID(fmt.Sprintf("vpce-%d", v)),
		})
		if d.Allow {
			out = append(out, v)
		}
	}
	return out
}

func TestChangesGoToTheJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	f := follow(t, path)
	f.hears(full(1, oneCluster(acmeID, 1), oneCluster(globexID, 1)))
	f.keeps()
	base, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.hears(step(1, oneCluster(acmeID, 2)))
	f.keeps()
	more, end := step(2, oneCluster(acmeID, 3)), step(2)
	more.More, end.RemovedClusters = true, []string{globexID}
	f.hears(more, end, step(3), step(4)) // several at once, and one in parts
	f.keeps()
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, base) {
		t.Errorf("the base was written again, %v", err)
	}
	again := follow(t, path)
	if v := again.k.version(); v != (link.RulesVersion{Revision: 5, Tag: "t5"}) || again.rules.Revision() != 5 {
		t.Errorf("the next start has %+v", v)
	}
	if got := fmt.Sprint(reaches(again.rules, acmeID, 5), reaches(again.rules, globexID, 5)); got != "[3] []" {
		t.Errorf("acme and globex are reached through %s", got)
	}
	for _, name := range []string{path, path + journalName, path + lockName} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v: only the owner may read it", name, info.Mode(), err)
		}
	}
}

// A process that is killed, or a machine, leaves a journal cut anywhere: the next start has the changes before the cut, and
// can go on from there.
func TestAJournalCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rules")
	f := follow(t, path)
	f.hears(full(1, oneCluster(acmeID, 1)))
	f.keeps()
	whole := map[int64]int64{0: 1} // where a change ends → the revision then
	for from := int64(1); from < 4; from++ {
		next := step(from, oneCluster(acmeID, from+1))
		if from == 2 {
			part := next
			part.More = true
			f.hears(part, step(from))
		} else {
			f.hears(next)
		}
		f.keeps()
		whole[f.k.files.end] = from + 1
	}
	f.k.stop()
	base, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := os.ReadFile(path + journalName)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "cut")
	if err := os.WriteFile(path, base, 0o600); err != nil {
		t.Fatal(err)
	}
	want := int64(1)
	for n := range int64(len(journal) + 1) {
		if r, ends := whole[n]; ends {
			want = r
		}
		tails := []string{"", "\x00\x00\n\x00", "no checksum {}\n"}
		if _, ends := whole[n]; !ends && n%50 != 0 {
			tails = tails[:1]
		}
		for _, tail := range tails {
			if err := os.WriteFile(path+journalName, append(bytes.Clone(journal[:n]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			f := follow(t, path)
			if got := f.rules.Revision(); got != want || fmt.Sprint(reaches(f.rules, acmeID, 9)) != fmt.Sprint([]int64{want}) {
				t.Fatalf("cut at %d of %d with %q after it: revision %d, want %d", n, len(journal), tail, got, want)
			}
			f.hears(step(want, oneCluster(acmeID, 9)))
			f.keeps()
			f.k.stop()
			if f = follow(t, path); f.rules.Revision() != want+1 || fmt.Sprint(reaches(f.rules, acmeID, 9)) != "[9]" {
				t.Fatalf("cut at %d of %d with %q after it, and then a change: revision %d", n, len(journal), tail, f.rules.Revision())
			}
		}
	}
}

// Half a base would be wrong rules: it is refused, and the control plane heals it.
func TestABaseCutAnywhereIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rules")
	f := follow(t, path)
	part, end := full(1, oneCluster(acmeID, 1)), full(1, oneCluster(globexID, 1))
	part.More = true
	f.hears(part, end)
	f.keeps()
	base, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range base {
		if err := os.WriteFile(path, base[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := onDisk(t, path); err == nil {
			t.Fatalf("cut at %d of %d: taken for revision %d", n, len(base), r)
		}
	}
	if r, err := onDisk(t, filepath.Join(dir, "none")); err != nil || r != 0 {
		t.Errorf("no file: revision %d, %v", r, err)
	}
}

func TestADamagedRulesFileRefusesEverybody(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	f := follow(t, good)
	set := full(5, oneCluster(acmeID, 1))
	set.Clusters[0].PrivateNames, set.Clusters[0].EndpointIDs = []string{acmePrivate}, []string{endpointA}
	f.hears(set)
	f.keeps()
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"empty":                    {},
		"another endpoint":         bytes.Replace(text, []byte(endpointA), []byte(endpointB), 1),
		"no checksum":              text[bytes.LastIndexByte(text, ' ')+1:],
		"a line too many":          append(bytes.Clone(text), text[len(baseMagic)+1:]...),
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
			if r, err := onDisk(t, path); err != nil || r != 6 {
				t.Errorf("after the control plane's rules: revision %d, %v", r, err)
			}
		})
	}
}

// A journal that has become long goes into the base: what the files lead to stays the same.
func TestTheJournalBecomesPartOfTheBase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	f := follow(t, path)
	part, end := full(1, oneCluster(acmeID, 1)), full(1, oneCluster(globexID, 1))
	ports := []api.GatewayPort{{Port: 22, Denied: true}}
	part.More, part.Ports = true, &ports
	end.Claims = []api.GatewayClaimRule{{ID: globexID, ClusterID: acmeID, Domain: "pe.test", Hash: make([]byte, 32)}}
	end.Projects = []api.GatewayProjectRules{{ProjectID: globexID, EndpointIDs: []string{"vpce-7"}}}
	f.hears(part, end)
	f.keeps()
	const last = 50
	compacted := 0
	for from := int64(1); from < last; from++ {
		change := step(from, oneCluster(acmeID, from+1))
		change.Clusters[0].AllowList = make([]api.AllowRule, 1000)
		for i := range change.Clusters[0].AllowList {
			change.Clusters[0].AllowList[i].Prefix = fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)
		}
		switch from {
		case 10:
			change.RemovedClusters = []string{globexID}
		case 20:
			more := []api.GatewayPort{{Port: 25, Denied: true}}
			change.Ports = &more
		case 30:
			change.RemovedClaims = []string{globexID}
		case 40:
			change.Clusters = append(change.Clusters, oneCluster(globexID, from+1))
		}
		f.hears(change)
		f.keeps()
		if f.k.tidy(); f.k.journal == nil {
			compacted++
			if _, err := os.Stat(path + journalName); err == nil {
				t.Errorf("at revision %d the journal is still there", from+1)
			}
		}
		if f.k.journal != nil && from%10 != 0 {
			continue
		}
		if r, err := onDisk(t, path); err != nil || r != from+1 {
			t.Fatalf("on disk: revision %d, %v; want %d", r, err, from+1)
		}
	}
	if compacted == 0 || compacted > 10 {
		t.Errorf("the journal became part of the base %d times", compacted)
	}
	f.k.stop()
	again := follow(t, path)
	if v := again.k.version(); v != (link.RulesVersion{Revision: last, Tag: fmt.Sprint("t", last)}) {
		t.Errorf("the next start has %+v", v)
	}
	if got := fmt.Sprint(reaches(again.rules, acmeID, last), reaches(again.rules, globexID, last)); got != "[50] [41]" {
		t.Errorf("acme and globex are reached through %s", got)
	}
	if again.rules.Port(22).Denied || !again.rules.Port(25).Denied {
		t.Error("the ports are not those of the last change")
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), `"claims"`) || !strings.Contains(string(text), `"projects"`) {
		t.Errorf("the claim that was removed is in the base, or the project that was not is not; %v", err)
	}
}

// Two processes share the files while the one hands its listeners over to the other.
func TestOneProcessAtATimeKeepsRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	old := follow(t, path)
	old.hears(full(1, oneCluster(acmeID, 1)))
	old.keeps()
	old.hears(step(1, oneCluster(acmeID, 2)))
	old.keeps()

	young := follow(t, path)
	young.hears(step(2, oneCluster(acmeID, 3)))
	if _, err := young.k.keep(); !errors.Is(err, errRulesHeld) {
		t.Errorf("a second writer: %v", err)
	}
	old.k.stop()
	old.hears(step(2, oneCluster(acmeID, 3)))
	if _, err := old.k.keep(); !errors.Is(err, errRulesStopped) {
		t.Errorf("one that stopped: %v", err)
	}
	young.keeps()
	if r, err := onDisk(t, path); err != nil || r != 3 {
		t.Errorf("on disk: revision %d, %v", r, err)
	}

	// The old one may have gone on after the young one read the files: then the young one's changes continue something
	// else, and it needs the full rules.
	youngest := follow(t, path)
	young.hears(step(3, oneCluster(acmeID, 4)))
	young.keeps()
	young.k.stop()
	youngest.hears(step(3, oneCluster(acmeID, 4)), step(4, oneCluster(acmeID, 5)))
	for range 2 {
		if _, err := youngest.k.keep(); !errors.Is(err, errRulesLost) {
			t.Errorf("changes of what is not on disk: %v", err)
		}
	}
	if r, err := onDisk(t, path); err != nil || r != 4 {
		t.Errorf("on disk: revision %d, %v; want that of the one that stopped", r, err)
	}
	youngest.hears(full(6, oneCluster(acmeID, 6)), step(6, oneCluster(acmeID, 7)))
	youngest.keeps()
	if r, err := onDisk(t, path); err != nil || r != 7 {
		t.Errorf("after the full rules: revision %d, %v", r, err)
	}
}

// With a disk that takes nothing the memory for what waits is bounded.
func TestWhatWaitsForTheDiskIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	f := follow(t, filepath.Join(dir, "rules"))
	f.hears(full(1, oneCluster(acmeID, 1)))
	big := oneCluster(globexID, 1)
	for range 10_000 {
		big.EndpointIDs = append(big.EndpointIDs, strings.Repeat("x", 1000))
	}
	for from := int64(1); from < 9; from++ {
		f.hears(step(from, big))
		if _, err := f.k.keep(); err == nil {
			t.Fatal("it was kept where nothing can be")
		}
		if f.k.size > waitingMost {
			t.Fatalf("%d bytes wait", f.k.size)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.k.keep(); !errors.Is(err, errRulesLost) {
		t.Errorf("changes were dropped, and keep says %v", err)
	}
	f.hears(full(20, oneCluster(acmeID, 20)))
	f.keeps()
}

func FuzzRules(f *testing.F) {
	for _, doc := range []string{
		`{"revision":1,"clusters":[]}`, `{"revision":0}`, `null`, `[]`, `{"revision":9223372036854775807,"clusters":[null]}`,
		`{"from":1,"revision":2,"removed_clusters":["` + acmeID + `"],"removed_claims":["` + acmeID + `"]}`,
		`{"revision":2,"more":true,"tag":"x","ports":[{"port":22,"denied":true}],"projects":[{"project_id":"` + acmeID + `","endpoint_ids":["e"]}],` +
			`"claims":[{"id":"` + acmeID + `","cluster_id":"` + acmeID + `","domain":"a.test","hash":"` + strings.Repeat("A", 43) + `=","expires_at":"2026-01-02T03:04:05Z"}]}`,
		`{"revision":2,"clusters":[{"cluster_id":"` + acmeID + `","private_names":["a.test"],"public_names":["b.test"],"backends":[{"address":"h:1","weight":3}],` +
			`"endpoint_ids":["` + endpointA + `"],"public_access":"ENABLED","allowlist":[{"prefix":"10.0.0.0/8","ui":true,"sql":false}],` +
			`"health":{"check":"HTTP","path":"/","statuses":[200]},"limits":{"flows":1},"denied_ports":[22]}]}`,
	} {
		f.Add([]byte(doc))
	}
	f.Add([]byte(`{"revision":3,"clusters":[` + strings.ReplaceAll(proxyRulesJSON(f), "\n", "") + `]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		news := &rulesNews{}
		whole, err := news.add(doc)
		if err != nil || !whole || !news.full() {
			return
		}
		rules, err := news.applyTo(nil, link.RulesVersion{})
		if err != nil || rules.Revision() != news.to.Revision {
			t.Fatalf("revision %d became %d, %v", news.to.Revision, rules.Revision(), err)
		}
		path := filepath.Join(t.TempDir(), "rules")
		k := newRulesKeeper(path, testLog(t))
		defer k.stop()
		k.put(news)
		if _, err := k.keep(); bytes.ContainsRune(doc, '\n') {
			return // it cannot have come on a line
		} else if err != nil {
			t.Fatal(err)
		}
		again := newRulesKeeper(path, testLog(t))
		if r, err := again.load(); err != nil || r.Revision() != rules.Revision() || again.version() != news.to {
			t.Errorf("kept and read back: revision %d, %+v, %v", r.Revision(), again.version(), err)
		}
	})
}

// Whatever is in the files, reading them ends, with rules of the version that they say or none.
// With sealed the bytes are documents, a line each, that get the checksums they need.
func FuzzRulesFiles(f *testing.F) {
	whole, next := document(f, full(1, oneCluster(acmeID, 1))), document(f, step(1, oneCluster(acmeID, 2)))
	f.Add(whole, next, true)
	f.Add(whole, append(append(bytes.Clone(next), '\n'), document(f, step(2, oneCluster(acmeID, 3)))...), true)
	f.Add(whole, append(append(bytes.Clone(next), '\n'), document(f, step(7))...), true)
	f.Add(next, whole, true)
	f.Add(whole, whole, true)
	f.Add(whole, []byte(`{"from":1,"revision":2,"more":true}`), true)
	f.Add(whole, next, false)
	f.Add([]byte(baseMagic+"\n"), []byte(journalHead(checksum{})), false)
	f.Fuzz(func(t *testing.T, base, journal []byte, sealed bool) {
		if sealed {
			var sum checksum
			base, sum = seal(baseMagic+"\n", sum, base)
			journal, _ = seal(journalHead(sum), sum, journal)
		}
		path := filepath.Join(t.TempDir(), "rules")
		if os.WriteFile(path, base, 0o600) != nil || os.WriteFile(path+journalName, journal, 0o600) != nil {
			t.Fatal("no disk")
		}
		k := newRulesKeeper(path, testLog(t))
		rules, err := k.load()
		if err != nil {
			if rules != nil || k.version() != (link.RulesVersion{}) {
				t.Errorf("rules with an error: %v", err)
			}
			return
		}
		files, err := scanRules(path, func(doc []byte) (bool, error) {
			wire, err := decodeDocument(doc)
			if err == nil && wire.Revision > rules.Revision() && wire.From != 0 {
				err = errMisfit
			}
			return !wire.More, err
		})
		if err != nil || files.end > int64(len(journal)) || files.size != int64(len(base)) {
			t.Fatalf("%+v, %v", files, err)
		}
		if rules.Revision() != k.version().Revision {
			t.Errorf("rules of revision %d, said to be %+v", rules.Revision(), k.version())
		}
	})
}

// seal gives each line its checksum.
func seal(head string, sum checksum, lines []byte) ([]byte, checksum) {
	var out bytes.Buffer
	out.WriteString(head)
	for doc := range bytes.SplitSeq(lines, []byte{'\n'}) {
		sum, _ = writeDocument(&out, sum, doc)
	}
	return out.Bytes(), sum
}
