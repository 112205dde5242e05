package servertest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// PostgresPrograms is where Debian's package postgresql-15 keeps the server's programs.
const PostgresPrograms = "/usr/lib/postgresql/15/bin/"

// Postgres is the data of a PostgreSQL server that trusts its superuser "u".
type Postgres struct {
	dir string
	as  Account
}

// NewPostgres makes the data of a server that shows a certificate when it is started with ssl=on.
func NewPostgres(t testing.TB, cert tls.Certificate) *Postgres {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &Postgres{dir: dir, as: NotRoot(t, "postgres", dir)}
	initdb := p.as.run(t, PostgresPrograms+"initdb", "--no-sync", "--auth=trust", "--username=u", "--encoding=UTF8", "-D", dir)
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	certificate, key := PEM(t, cert)
	for name, text := range map[string][]byte{"server.crt": certificate, "server.key": key} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p.as.Own(t, path)
	}
	return p
}

// Start starts a server on the data, which no other may use, with settings of the form name=value.
func (p *Postgres) Start(t testing.TB, addr netip.AddrPort, settings ...string) *Server {
	t.Helper()
	args := []string{"-D", p.dir, "-p", strconv.Itoa(int(addr.Port()))}
	for _, s := range append([]string{
		"listen_addresses=" + addr.Addr().String(), "unix_socket_directories=", "fsync=off", "log_connections=off", "lc_messages=C",
	}, settings...) {
		args = append(args, "-c", s)
	}
	s := start(t, p.as, PostgresPrograms+"postgres", args...)
	s.await(func() bool { return s.says("ready to accept connections") })
	return s
}

// PEM returns a certificate's chain and its key as most servers read them.
func PEM(t testing.TB, cert tls.Certificate) (chain, key []byte) {
	t.Helper()
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
