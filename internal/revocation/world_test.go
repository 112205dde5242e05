package revocation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ocsp"

	"github.com/postern/postern/internal/clientcert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come, on a machine that is busy with something else.
const patience = 60 * time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// clock is moved by hand.
type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.at.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// pki is a CA and a client's certificate.
type pki struct {
	key    crypto.Signer
	issuer *x509.Certificate
	leaf   *x509.Certificate
}

func newPKI(t testing.TB, at time.Time) pki {
	t.Helper()
	sign := func(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
		template.NotBefore, template.NotAfter = at.Add(-time.Hour), at.Add(1000*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := pki{key: key}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true}
	p.issuer = sign(root, root, key.Public(), key)
	p.leaf = sign(&x509.Certificate{SerialNumber: big.NewInt(0xabc), Subject: pkix.Name{CommonName: "alice"}}, p.issuer, key.Public(), key)
	return p
}

// responder is a stand-in whose answers a test chooses; the real one is openssl's.
type responder struct {
	pki
	clock *clock
	*httptest.Server
	asked atomic.Int64

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request, signed []byte) // nil: signed
	status int
	holds  time.Duration
}

func newResponder(t testing.TB, c *clock) *responder {
	r := &responder{pki: newPKI(t, c.now()), clock: c, status: ocsp.Good, holds: time.Hour}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.asked.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	signed, err := ocsp.CreateResponse(r.issuer, r.issuer, ocsp.Response{
		Status: r.status, SerialNumber: r.leaf.SerialNumber, ThisUpdate: r.clock.now(), NextUpdate: r.clock.now().Add(r.holds),
	}, r.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.answer != nil {
		r.answer(w, q, signed)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = w.Write(signed)
}

func (r *responder) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *responder) question() clientcert.Question {
	return clientcert.Question{Leaf: r.leaf, Issuer: r.issuer, URL: r.URL}
}

// keeper is one that may ask the loopback.
func keeper(t testing.TB, c Config) *Keeper {
	if c.Private == nil {
		c.Private = loopback
	}
	k := New(c)
	t.Cleanup(k.Close)
	return k
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late, beat := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer beat.Stop()
	for !holds() {
		select {
		case <-beat.C:
		case <-late:
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// hosts answers look-ups by turns, so that a second one would find something else.
type hosts struct {
	mu     sync.Mutex
	turns  []string // addresses, separated by spaces
	looked int
}

func (h *hosts) LookupNetIP(_ context.Context, _, _ string) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.looked == len(h.turns) {
		return nil, errors.New("no such host")
	}
	var out []netip.Addr
	for a := range strings.FieldsSeq(h.turns[h.looked]) {
		out = append(out, netip.MustParseAddr(a))
	}
	h.looked++
	return out, nil
}

// bytesOf reads a request's body.
func bytesOf(r *http.Request) []byte {
	b, _ := io.ReadAll(r.Body)
	return b
}
