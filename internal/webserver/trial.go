package webserver

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// trial is a configuration in a temporary folder, with everything that it names.
type trial struct {
	dir     string
	program Program
	proxy   link.ReverseProxy // as it is tried
	report  Report

	portTaken bool // the server did not start because a port is somebody else's
}

// textName is the configuration's file in the folder; the server's own, which includes it, is another.
const textName = "configuration"

func (tr *trial) path(parts ...string) string {
	return filepath.Join(append([]string{tr.dir}, parts...)...)
}

// env keeps the server out of the user's own folders.
func (tr *trial) env() []string {
	return []string{"HOME=" + tr.dir, "XDG_DATA_HOME=" + tr.path("data"), "XDG_CONFIG_HOME=" + tr.path("config"), "TMPDIR=" + tr.dir}
}

// prepare fills the folder.
func (tr *trial) prepare(p link.ReverseProxy, t proxyconf.Target) error {
	p.Server = t.Server
	p = proxyconf.Complete(p)
	for i := range p.Nodes {
		if _, err := netip.ParseAddr(p.Nodes[i].Host); err != nil {
			p.Nodes[i].Host = fmt.Sprintf("127.0.%d.%d", 1+i/250, 1+i%250)
		}
	}
	if err := tr.otherPorts(&p); err != nil {
		return err
	}
	if err := tr.otherFiles(&p); err != nil {
		return err
	}
	tr.proxy = p
	out, err := proxyconf.Render(p, t)
	if err != nil {
		return fmt.Errorf("render the trial: %w", err)
	}
	return os.WriteFile(tr.path(textName), []byte(out.Text), 0o600)
}

// otherPorts gives the trial ports that are free, when the server opens them: Apache at its start; nginx at its test, where
// a port that is taken does not count but one that is forbidden does.
func (tr *trial) otherPorts(p *link.ReverseProxy) error {
	switch {
	case tr.program.Server == link.Apache:
	case tr.program.Server == link.NGINX && os.Geteuid() != 0:
	default:
		return nil
	}
	ports := []*uint16{&p.HTTPPort, &p.HTTPSPort}
	for i := range p.Repositories {
		if p.Repositories[i].Port != 0 {
			ports = append(ports, &p.Repositories[i].Port)
		}
	}
	free, err := freePorts(len(ports))
	if err != nil {
		return err
	}
	for i, port := range ports {
		*port = free[i]
	}
	return nil
}

// freePorts returns ports on which nobody listens now.
func freePorts(n int) ([]uint16, error) {
	var held []net.Listener // until all are known, so that none is given twice
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	var ports []uint16
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held, ports = append(held, l), append(ports, uint16(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// otherFiles has the trial name files in its own folder, below their true paths, so that they have the same form.
func (tr *trial) otherFiles(p *link.ReverseProxy) error {
	made, err := makeMaterial(p.ServerName, p.Wildcard)
	if err != nil {
		return err
	}
	type named struct {
		path *string
		text []byte
	}
	root, files := tr.path("files"), map[string][]byte{}
	for _, together := range [][]named{
		{{&p.Certificate, made.certificate}, {&p.Key, made.key}},
		{{&p.ClientCertificates.CAFile, made.ca}},
		{{&p.ClientCertificates.CRLFile, made.crl}},
	} {
		// A path that would get too long loses its beginning, and a key as much as its certificate, beside which it may have to be.
		over := 0
		for _, f := range together {
			over = max(over, len(root)+len("/")+len(*f.path)-longestPath)
		}
		for _, f := range together {
			if *f.path == "" {
				continue
			}
			*f.path = root + "/" + strings.TrimLeft((*f.path)[min(over, len(*f.path)-1):], "/")
			files[*f.path] = append(files[*f.path], f.text...)
		}
	}
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// longestPath is the longest that proxyconf takes.
const longestPath = 255

// material is what a configuration names as files, in PEM.
type material struct{ certificate, key, ca, crl []byte }

// makeMaterial makes a certificate for some names, its key, the authority that it comes from and that one's empty
// revocation list. They are good for an hour and for nothing but a trial.
func makeMaterial(names ...string) (material, error) {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return material{}, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a trial's authority"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return material{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return material{}, err
	}
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a trial"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return material{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return material{}, err
	}
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: ca.NotBefore, NextUpdate: ca.NotAfter,
	}, ca, caKey)
	if err != nil {
		return material{}, err
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return material{block("CERTIFICATE", der), block("PRIVATE KEY", keyDER), block("CERTIFICATE", caDER), block("X509 CRL", crl)}, nil
}

// decoration is what servers put into a message that says nothing to whoever reads it now: times and process ids.
var decoration = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d |^\[\w{3} \w{3} [^\]]*\] |\[pid [^\]]*\] |\b\d+#\d+: | *\(\d+\) :|^nginx: `)

// clean is a line of what the server said, as a person wants to read it; empty when it says nothing.
func (tr *trial) clean(line string) string {
	line = strings.TrimSpace(line)
	line = strings.NewReplacer(tr.path("files")+"/", "/", tr.path(textName), textName, tr.dir+"/", "", tr.dir, "").Replace(line)
	return strings.TrimSpace(decoration.ReplaceAllString(line, ""))
}

// write writes one of the server's own files.
func (tr *trial) write(name, text string) error {
	return os.WriteFile(tr.path(name), []byte(text), 0o600)
}

// serverUser is whom a server that starts as root becomes, the first that there is of Debian's names.
func serverUser() string {
	passwd, err := os.ReadFile("/etc/passwd")
	for _, name := range []string{"www-data", "nobody"} {
		if err == nil && strings.Contains("\n"+string(passwd), "\n"+name+":") {
			return name
		}
	}
	return cmp.Or(os.Getenv("USER"), "root")
}
