package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issued is a self-signed certificate of names as PEM, good for so long.
func issued(t testing.TB, key crypto.Signer, lasts time.Duration, names ...string) (chain, keyPEM []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writePair(t testing.TB, certFile, keyFile string, names ...string) {
	t.Helper()
	chain, key := issued(t, ecKey(t), time.Hour, names...)
	write(t, certFile, chain)
	write(t, keyFile, key)
}

// lines is a log that can be looked at.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// clock is a clock that tests set; the files' own times are the system's.
type clock struct{ past atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.past.Load()) }
func (c *clock) advance(d time.Duration) { c.past.Add(int64(d)) }

// TestPairIsReadAgain: a renewed certificate is shown without a restart; one that is not good never is.
func TestPairIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writePair(t, certFile, keyFile, "first.test")
	var now clock
	var log lines
	pair, err := OpenPair(certFile, keyFile, now.now, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	shows := func(want string) {
		t.Helper()
		now.advance(2 * recheck)
		cert, err := pair.Certificate(nil)
		if err != nil || cert.Leaf.DNSNames[0] != want {
			t.Errorf("it shows %v, %v; want %s", cert.Leaf.DNSNames, err, want)
		}
	}
	shows("first.test")

	// Half of a renewal: the certificate is there, its key is not yet.
	writePair(t, certFile, filepath.Join(dir, "new-key.pem"), "second.test")
	shows("first.test")
	if !strings.Contains(log.String(), "the old one still is") {
		t.Errorf("a bad pair is not told: %s", log.String())
	}
	told := len(log.String())
	shows("first.test")
	if len(log.String()) != told {
		t.Error("the same bad pair is told again and again")
	}
	// The new key is as long as the old one, and may have been written in the same tick of the clock.
	old, err := os.Stat(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "new-key.pem"), old.ModTime(), old.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new-key.pem"), keyFile); err != nil {
		t.Fatal(err)
	}
	shows("second.test")

	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	shows("second.test")
	if _, err := OpenPair(certFile, keyFile, nil, log.logger()); err == nil {
		t.Error("a pair without its certificate was opened")
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Errorf("the log holds the key: %s", log.String())
	}
}

// followed is a Directory that a test looks with.
func followed(t *testing.T, dir string, now *clock, log *lines) *Directory {
	t.Helper()
	d, err := OpenDirectory(dir, now.now, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func look(t *testing.T, d *Directory) {
	t.Helper()
	if err := d.look(); err != nil {
		t.Fatal(err)
	}
}

// shown returns the names of the certificate that a client gets for a name.
func shown(t *testing.T, s Source, name string) string {
	t.Helper()
	cert, err := s.Certificate(&tls.ClientHelloInfo{ServerName: name})
	if err != nil {
		if !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
		return ""
	}
	return strings.Join(hostNames(cert.Leaf), " ")
}

// TestDirectoryShowsByName: the exact name, then a wildcard of one label, then nothing at all.
func TestDirectoryShowsByName(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	writePair(t, at("one.crt"), at("one.key"), "art.test", "Other.Test")
	writePair(t, at("wild.crt"), at("wild.key"), "*.art.test")
	writePair(t, at("exact.crt"), at("exact.key"), "docker.art.test")
	writePair(t, at("nobody.crt"), at("nobody.key"))
	write(t, at("torn.crt"), []byte("-----BEGIN CERTIFICATE-----"))
	write(t, at("readme.txt"), []byte("not a pair"))
	writePair(t, at(".hidden.crt"), at(".hidden.key"), "hidden.test")
	var log lines
	d := followed(t, dir, new(clock), &log)
	for name, want := range map[string]string{
		"art.test": "art.test other.test", "ART.Test.": "art.test other.test", "other.test": "art.test other.test",
		"docker.art.test": "docker.art.test", "maven.art.test": "*.art.test", "a.b.art.test": "", "test": "", "": "",
		"hidden.test": "", "evil.test": "", "127.0.0.1": "", "*.art.test": "*.art.test", ".art.test": "",
	} {
		if name == ".art.test" { // no client can ask so: gateways refuse it before
			continue
		}
		if got := shown(t, d, name); got != want {
			t.Errorf("%q gets %q, want %q", name, got, want)
		}
	}
	for _, told := range []string{"certificate=nobody", "certificate=torn"} {
		if !strings.Contains(log.String(), told) {
			t.Errorf("it is not told why %s is not shown: %s", told, log.String())
		}
	}
	if all := d.All(); len(all) != 3 || all[0].Name != "exact" || all[2].Name != "wild" || all[0].Expires.IsZero() {
		t.Errorf("all that it shows: %+v", all)
	}
	if _, err := OpenDirectory(at("none"), nil, log.logger()); err == nil {
		t.Error("a directory that is not there was opened")
	}
}

// TestDirectoryFollowsItsFiles: pairs come, change and go, and a mistake changes nothing.
func TestDirectoryFollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var now clock
	var log lines
	d := followed(t, dir, &now, &log)
	if got := shown(t, d, "a.test"); got != "" {
		t.Errorf("an empty directory shows %q", got)
	}
	step := func(what, name, want string, do func()) {
		t.Helper()
		do()
		look(t, d)
		if got := shown(t, d, name); got != want {
			t.Errorf("%s: %s gets %q, want %q\n%s", what, name, got, want, log.String())
		}
	}
	step("a new pair", "a.test", "a.test", func() { writePair(t, at("a.crt"), at("a.key"), "a.test") })
	step("renewed", "a.test", "a.test b.test", func() { writePair(t, at("a.crt"), at("a.key"), "a.test", "b.test") })
	chain, key := issued(t, ecKey(t), time.Hour, "a.test", "c.test")
	step("half renewed", "a.test", "a.test b.test", func() { write(t, at("a.crt"), chain) })
	told := len(log.String())
	step("still half renewed", "a.test", "a.test b.test", func() {})
	if len(log.String()) != told {
		t.Error("the same bad pair is told again and again")
	}
	step("renewed as a whole", "a.test", "a.test c.test", func() { write(t, at("a.key"), key) })
	step("a name that it no longer has", "b.test", "", func() {})
	step("the key is away", "a.test", "a.test c.test", func() { _ = os.Remove(at("a.key")) })
	step("both are away", "a.test", "a.test c.test", func() { _ = os.Remove(at("a.crt")) })
	step("and come back", "a.test", "a.test", func() { writePair(t, at("a.crt"), at("a.key"), "a.test") })
	step("both are away again", "a.test", "a.test", func() { _, _ = os.Remove(at("a.crt")), os.Remove(at("a.key")) })
	step("for long", "a.test", "", func() { now.advance(goneAfter) })
	step("a link to another place, as orchestrators have it", "d.test", "d.test", func() {
		elsewhere := t.TempDir()
		writePair(t, filepath.Join(elsewhere, "tls.crt"), filepath.Join(elsewhere, "tls.key"), "d.test")
		_, _ = os.Symlink(filepath.Join(elsewhere, "tls.crt"), at("d.crt")), os.Symlink(filepath.Join(elsewhere, "tls.key"), at("d.key"))
	})
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := d.look(); err == nil || shown(t, d, "d.test") != "d.test" {
		t.Errorf("without the directory: %v, %q", err, shown(t, d, "d.test"))
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Errorf("the log holds a key: %s", log.String())
	}
}

// TestDirectoryLooksByItself: nobody has to tell it that files changed.
func TestDirectoryLooksByItself(t *testing.T) {
	dir := t.TempDir()
	var log lines
	d := followed(t, dir, new(clock), &log)
	writePair(t, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), "a.test")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for shown(t, d, "a.test") == "" {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the pair is never shown\n%s", log.String())
		}
	}
}

// TestSeveralCertificatesOfOneName: the one that lasts longest, of those that the client can use.
func TestSeveralCertificatesOfOneName(t *testing.T) {
	dir := t.TempDir()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key   crypto.Signer
		lasts time.Duration
	}{"old-ec": {ecKey(t), time.Hour}, "new-ec": {ecKey(t), 3 * time.Hour}, "rsa": {rsaKey, 2 * time.Hour}} {
		chain, key := issued(t, c.key, c.lasts, "a.test")
		write(t, filepath.Join(dir, name+".crt"), chain)
		write(t, filepath.Join(dir, name+".key"), key)
	}
	d := followed(t, dir, new(clock), new(lines))
	gets := func(hello *tls.ClientHelloInfo) (x509.PublicKeyAlgorithm, time.Duration) {
		hello.ServerName = "a.test"
		cert, err := d.Certificate(hello)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.PublicKeyAlgorithm, time.Until(cert.Leaf.NotAfter).Round(time.Hour)
	}
	modern := &tls.ClientHelloInfo{
		SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256},
		SupportedCurves: []tls.CurveID{tls.CurveP256},
	}
	if kind, lasts := gets(modern); kind != x509.ECDSA || lasts != 3*time.Hour {
		t.Errorf("a modern client gets %v that lasts %v", kind, lasts)
	}
	onlyRSA := &tls.ClientHelloInfo{
		SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.PSSWithSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
	}
	if kind, _ := gets(onlyRSA); kind != x509.RSA {
		t.Errorf("a client without ECDSA gets %v", kind)
	}
}

// TestSources: one after the other, and an authority's certificates for its own domains alone.
func TestSources(t *testing.T) {
	dir := t.TempDir()
	writePair(t, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), "a.test")
	acme, err := NewACME(ACMEConfig{
		Domains: []string{"acme.test"}, DirectoryURL: "https://127.0.0.1:1/dir", Dir: t.TempDir(), Port: 443, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer acme.Close()
	s := Sources{followed(t, dir, new(clock), new(lines)), acme}
	if got := shown(t, s, "a.test"); got != "a.test" {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{"acme.test", "other.test", ""} { // nothing is issued yet, and a hello without a connection is one
		if got := shown(t, s, name); got != "" {
			t.Errorf("%q got %q", name, got)
		}
	}
	if !s.Answers("acme.test") || s.Answers("a.test") {
		t.Error("it answers for others' names, or not for its own")
	}
	if all := s.All(); len(all) != 1 || all[0].Name != "a" {
		t.Errorf("%+v", all)
	}
	for _, bad := range []ACMEConfig{{CAFile: filepath.Join(dir, "a.key")}, {CAFile: filepath.Join(dir, "none")}, {ChallengeAddr: "x"}} {
		if _, err := NewACME(bad); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
