//go:build linux

package main

import (
	"context"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

//go:embed web.haproxy.cfg.tmpl
var webHAProxyText string

//go:embed web.nginx.conf.tmpl
var webNginxText string

//go:embed web.caddyfile.tmpl
var webCaddyText string

var (
	webHAProxyTemplate = template.Must(template.New("haproxy").Parse(webHAProxyText))
	webNginxTemplate   = template.Must(template.New("nginx").Parse(webNginxText))
	webCaddyTemplate   = template.Must(template.New("caddy").Parse(webCaddyText))
)

// webName is the host name that the proxies which speak HTTP have: one that the identity's certificate is for.
var webName = short.serverName()

// webConfiguration is what the templates of the peers that speak HTTP are filled with. Their folder holds the certificate
// and its key: server.crt, server.key, and both in server.pem.
type webConfiguration struct {
	configuration
	ServerName, Backend string
}

func newWebConfiguration(s *start, id identity) (webConfiguration, error) {
	r := s.routes[0]
	c := webConfiguration{configuration: newConfiguration(s), ServerName: r.ServerName, Backend: r.Backend.String()}
	return c, id.write(s.dir)
}

func (c webConfiguration) write(t *template.Template) (string, error) {
	path := filepath.Join(c.Dir, t.Name()+".conf")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	if err := t.Execute(f, c); err != nil {
		_ = f.Close()
		return "", err
	}
	return path, f.Close()
}

// write puts the server's certificate and key where web servers read them.
func (id identity) write(dir string) error {
	own := id.server.Certificates[0]
	var chain []byte
	for _, der := range own.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, text := range map[string][]byte{"server.crt": chain, "server.key": key, "server.pem": append(chain[:len(chain):len(chain)], key...)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// webProxies are the gateway and its peers where they end TLS and speak HTTP.
func webProxies(program string, id identity) []proxy {
	return []proxy{webGateway(program, id), webHAProxy(id), webNginx(id), webCaddy(id)}
}

// webGateway is the gateway with one cluster, whose reverse proxy it is.
func webGateway(program string, id identity) proxy {
	return proxy{name: ourName, command: func(s *start) (*exec.Cmd, error) {
		certificates := filepath.Join(s.dir, "certificates")
		if err := errors.Join(os.Mkdir(certificates, 0o700), id.write(certificates)); err != nil {
			return nil, err
		}
		rules := gatewayRules(s.routes)
		to := s.routes[0].Backend
		rules.Clusters[0].Proxy = &api.GatewayProxy{
			ServerName: s.routes[0].ServerName, AppContext: "artifactory", PublicContext: "artifactory", HTTPS: true, HTTPSPort: 443,
			TLSProfile: string(link.TLSIntermediate), DockerMethod: string(link.DockerNone), OverrideBaseURL: true,
			Nodes: []api.GatewayProxyNode{{Host: to.Addr().String(), DirectPort: to.Port()}},
		}
		return gatewayCommand(s, program, rules, "--certificates", certificates)
	}}
}

func webHAProxy(id identity) proxy {
	return proxy{name: plainName, command: func(s *start) (*exec.Cmd, error) {
		c, err := newWebConfiguration(s, id)
		if err != nil {
			return nil, err
		}
		path, err := c.write(webHAProxyTemplate)
		if err != nil {
			return nil, err
		}
		return exec.CommandContext(s.ctx, "haproxy", "-db", "-q", "-f", path), nil
	}}
}

func webNginx(id identity) proxy {
	return proxy{name: nginxName, command: func(s *start) (*exec.Cmd, error) {
		c, err := newWebConfiguration(s, id)
		if err != nil {
			return nil, err
		}
		s.processes = 1 + s.workers
		path, err := c.write(webNginxTemplate)
		if err != nil {
			return nil, err
		}
		return exec.CommandContext(s.ctx, "nginx", "-e", "stderr", "-p", s.dir, "-c", path), nil
	}}
}

// webCaddy is Debian's Caddy. Its 2.6 reads no PROXY header; clients leave it out.
func webCaddy(id identity) proxy {
	return proxy{name: caddyName, bare: true, talks: true, command: func(s *start) (*exec.Cmd, error) {
		c, err := newWebConfiguration(s, id)
		if err != nil {
			return nil, err
		}
		path, err := c.write(webCaddyTemplate)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(s.ctx, "caddy", "run", "--adapter", "caddyfile", "--config", path)
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "HOME="+s.dir, "GOMAXPROCS="+strconv.Itoa(s.workers))
		return cmd, nil
	}}
}

// webRun runs do with the proxy on the processors, and tells what failed on any side.
func (b *bench) webRun(ctx context.Context, p proxy, do func(run *process) error) error {
	backend, err := startWebBackend()
	if err != nil {
		return err
	}
	defer backend.close()
	return b.placedAt(ctx, p, workers, []route{{webName, backend.addr}}, func(run *process) error {
		if err := do(run); err != nil {
			return err
		}
		return backend.failure()
	})
}
