package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// readProxySettings reads the settings of a reverse proxy from a file, in JSON or YAML; "-" is in. What
// "postern reverse-proxy get --output json" prints is such a file.
func readProxySettings(path string, in io.Reader) (api.ReverseProxySettings, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(in)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return api.ReverseProxySettings{}, usagef("give a readable file, or - for standard input", "the settings cannot be read: %v", err)
	}
	wrong := func(err error) error {
		return &link.Error{
			Kind: link.Invalid, Reason: "SETTINGS_FILE", Message: fmt.Sprintf("%s is not the settings of a reverse proxy: %v", path, err),
			Hint: `"postern reverse-proxy get --output json" prints such settings`,
		}
	}
	// JSON is YAML too; by way of JSON the names are those of the API, and one that is not known is an error.
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return api.ReverseProxySettings{}, wrong(errors.New(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	if len(doc) == 0 {
		return api.ReverseProxySettings{}, wrong(errors.New("it is empty"))
	}
	text, err = json.Marshal(doc)
	if err != nil {
		return api.ReverseProxySettings{}, wrong(err)
	}
	var out api.ReverseProxy
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return api.ReverseProxySettings{}, wrong(errors.New(strings.TrimPrefix(err.Error(), "json: ")))
	}
	return out.ReverseProxySettings, nil
}

// proxyOf is what settings mean. Its error has all that cannot mean anything; what may not be is for proxyconf to say.
func proxyOf(s api.ReverseProxySettings) (link.ReverseProxy, error) {
	var errs []error
	port := func(field string, n int) uint16 {
		if n < 0 || n > 65535 {
			errs = append(errs, &link.Error{
				Kind: link.Invalid, Reason: "MALFORMED_PORT", Field: field, Message: fmt.Sprintf("not a port: %d", n), Hint: "ports are 1 to 65535",
			})
		}
		return uint16(n)
	}
	p := link.ReverseProxy{
		Server: link.WebServer(s.Server), ServerName: s.ServerName, Wildcard: s.Wildcard, Upstream: s.Upstream,
		AppContext: s.AppContext, PublicContext: s.PublicContext,
		HTTP: s.HTTP, HTTPS: s.HTTPS, HTTPPort: port("http_port", s.HTTPPort), HTTPSPort: port("https_port", s.HTTPSPort),
		Certificate: s.Certificate, Key: s.Key, Profile: link.TLSProfile(s.TLSProfile), OverrideBaseURL: s.OverrideBaseURL,
		Docker: link.DockerMethod(s.DockerMethod), ProxyProtocol: s.ProxyProtocol,
	}
	for i, n := range s.Nodes {
		at := fmt.Sprintf("nodes[%d].", i)
		p.Nodes = append(p.Nodes, link.ProxyNode{Host: n.Host, DirectPort: port(at+"direct_port", n.DirectPort), RouterPort: port(at+"router_port", n.RouterPort)})
	}
	for i, r := range s.Repositories {
		p.Repositories = append(p.Repositories, link.ProxyRepository{
			Key: r.Key, ServerName: r.ServerName, Port: port(fmt.Sprintf("repositories[%d].port", i), r.Port),
		})
	}
	if c := s.ClientCertificates; c != nil {
		p.ClientCertificates = link.ProxyCertificates{
			Mode: link.CertificateMode(c.Mode), CAFile: c.CAFile, CRLFile: c.CRLFile, Depth: c.Depth, Header: c.Header,
		}
	}
	for i, text := range s.TrustedPeers {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			errs = append(errs, &link.Error{
				Kind: link.Invalid, Reason: "MALFORMED_PREFIX", Field: fmt.Sprintf("trusted_peers[%d]", i),
				Message: "not a range of addresses: " + link.Quote(text), Hint: "for example 10.0.0.0/16",
			})
		}
		p.TrustedPeers = append(p.TrustedPeers, prefix)
	}
	for _, id := range s.Endpoints {
		p.Endpoints = append(p.Endpoints, link.EndpointID(id))
	}
	if r := s.Redirects; r != nil {
		p.Redirects = link.Redirects{Mode: link.RedirectMode(r.Mode), Hosts: slices.Clone(r.Hosts)}
	}
	return p, errors.Join(errs...)
}

// everyWrong makes one error of all that is wrong with settings: as it is when there is one thing, a line for each otherwise.
func everyWrong(err error) error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // errors.Join's own, not one that wraps it
	if !ok {
		return err
	}
	var lines []string
	for _, one := range joined.Unwrap() {
		e, ok := errors.AsType[*link.Error](one)
		if !ok {
			return err
		}
		if len(joined.Unwrap()) == 1 {
			return e
		}
		line := fmt.Sprintf("%s: %s", e.Field, e.Message)
		if e.Hint != "" {
			line += " (" + e.Hint + ")"
		}
		lines = append(lines, line)
	}
	return &link.Error{
		Kind: link.Invalid, Reason: "REVERSE_PROXY", Message: "the settings of the reverse proxy are not right:\n  " + strings.Join(lines, "\n  "),
	}
}
