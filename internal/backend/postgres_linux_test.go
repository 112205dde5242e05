package backend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/servertest"
)

// TestAskPostgres asks a real server, with TLS and without, and looks at what it wrote of that into its log.
func TestAskPostgres(t *testing.T) {
	if _, err := os.Stat(servertest.PostgresPrograms + "postgres"); err != nil {
		t.Skip("needs postgres (Debian package postgresql-15)")
	}
	data := servertest.NewPostgres(t, certificate(t))
	for _, ssl := range []string{"on", "off"} {
		addr := servertest.Addr(t)
		server := data.Start(t, addr, "ssl="+ssl)
		for range 10 {
			for _, c := range []link.Check{link.CheckPostgres, link.CheckTCP} {
				q := probe{HealthCheck: link.HealthCheck{Check: c, Timeout: 20 * time.Second}, addr: addr, host: "db.test"}
				if err := ask(t.Context(), q); err != nil {
					t.Errorf("%s with ssl %s: %v", c, ssl, err)
				}
			}
		}
		complaints := server.Stop()
		if strings.Contains(complaints, "SSL") || strings.Contains(complaints, "startup packet") || strings.Contains(complaints, "FATAL") {
			t.Errorf("with ssl %s the server complained:\n%s", ssl, complaints)
		}
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
