//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"time"
)

// errand is what a flow is for. Each has a name of its own, by which the proxies send it to a backend of its own.
type errand uint8

const (
	short    errand = iota // a handshake, one small exchange; the backend closes
	idle                   // the same, but nobody closes
	download               // after the request the backend sends many bytes, and closes
	upload                 // after the request the client sends many bytes; the backend answers and closes
	errands                // how many there are
)

// serverName is what a ClientHello asks for. All are of one length, so that all hellos are.
func (e errand) serverName() string {
	return [errands]string{"brief", "quiet", "fetch", "stash"}[e] + ".bench.example"
}

// Sizes in the application's data of a flow: about what a database's first query or a small API call moves.
const (
	requestSize = 256
	answerSize  = 1024
)

// transcript is a TLS 1.3 session as it passed over the wire: what one side said until the other had to answer.
type transcript struct {
	hello   []byte // the client: ClientHello
	flight  []byte // the server: ServerHello to Finished, with a chain of two certificates
	request []byte // the client: Finished and a request
	answer  []byte // the server: session tickets, an answer, and close_notify
}

// size is how many bytes a short flow moves, both ways.
func (t *transcript) size() int {
	return len(t.hello) + len(t.flight) + len(t.request) + len(t.answer)
}

// record holds a real TLS session in memory and writes down what both sides send. Played back, its bytes and their
// order are those of real TLS, at no cost of cryptography, which would drown the proxies' own work.
func record(id identity, serverName string) (transcript, error) {
	near, far := net.Pipe()
	w := &wiretap{}
	served := make(chan error, 1)
	go func() { served <- answerOnce(tls.Server(tapped{far, w.fromServer}, id.server)) }()
	err := askOnce(tls.Client(tapped{near, w.fromClient}, id.client(serverName)))
	if served := <-served; err == nil {
		err = served
	}
	if err != nil {
		return transcript{}, fmt.Errorf("record a TLS session: %w", err)
	}
	return w.transcript, nil
}

// askOnce is the client's part of a short flow.
func askOnce(conn *tls.Conn) error {
	defer conn.Close()
	if _, err := conn.Write(make([]byte, requestSize)); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err == nil && len(got) != answerSize {
		err = fmt.Errorf("an answer of %d bytes, want %d", len(got), answerSize)
	}
	return err
}

// answerOnce is the server's part of a short flow.
func answerOnce(conn *tls.Conn) error {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, requestSize)); err != nil {
		return err
	}
	_, err := conn.Write(make([]byte, answerSize))
	return err
}

// wiretap writes down who said what.
type wiretap struct {
	mu sync.Mutex
	transcript
}

func (w *wiretap) fromClient(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.answer) > 0: // close_notify, which a client whose server has closed may as well leave out
	case len(w.flight) == 0:
		w.hello = append(w.hello, b...)
	default:
		w.request = append(w.request, b...)
	}
}

func (w *wiretap) fromServer(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.request) == 0 {
		w.flight = append(w.flight, b...)
	} else {
		w.answer = append(w.answer, b...)
	}
}

// tapped is a connection whose writes are told to note.
type tapped struct {
	net.Conn
	note func([]byte)
}

func (t tapped) Write(b []byte) (int, error) {
	t.note(b)
	return t.Conn.Write(b)
}

// identity is what the backends prove, and the clients check.
type identity struct {
	server *tls.Config
	roots  *x509.CertPool
}

func (id identity) client(serverName string) *tls.Config {
	return &tls.Config{ServerName: serverName, RootCAs: id.roots, MinVersion: tls.VersionTLS13}
}

// newIdentity makes a certificate for every errand's name, ECDSA on P-256, with the authority that issued it.
func newIdentity() (identity, error) {
	authority, err := newCertificate(pkix.Name{CommonName: "bench authority"}, nil, nil)
	if err != nil {
		return identity{}, err
	}
	var names []string
	for e := range errands {
		names = append(names, e.serverName())
	}
	leaf, err := newCertificate(pkix.Name{CommonName: names[0]}, names, &authority)
	if err != nil {
		return identity{}, err
	}
	leaf.Certificate = append(leaf.Certificate, authority.Certificate...) // the chain that public servers send is as long
	roots := x509.NewCertPool()
	roots.AddCert(authority.Leaf)
	server := &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: tls.VersionTLS13}
	return identity{server: server, roots: roots}, nil
}

// newCertificate issues a certificate for names; without an issuer it is an authority's own.
func newCertificate(subject pkix.Name, names []string, issuer *tls.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: issuer == nil,
	}
	parent, signer := template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// expected compares what was read with the message that is due, of which *at bytes came before. It moves *at on and
// returns what was read beyond the message.
func expected(message []byte, at *int, read []byte) (rest []byte, err error) {
	n := min(len(read), len(message)-*at)
	if !bytes.Equal(read[:n], message[*at:*at+n]) {
		return nil, fmt.Errorf("other bytes than were sent, %d to %d of %d", *at, *at+n, len(message))
	}
	*at += n
	return read[n:], nil
}
