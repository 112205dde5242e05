package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) reverseProxyCommand() *cobra.Command {
	get := a.clusterVerb("get", "Show a cluster's reverse proxy", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		p, err := c.ReverseProxy(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.showProxy(p)
	})
	remove := a.clusterVerb("delete", "Take a cluster's reverse proxy away: its TLS passes the gateway unread again", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		if err := c.DeleteReverseProxy(ctx, cl.ID); err != nil {
			return err
		}
		return a.done(cl, "cluster %s has no reverse proxy", cl.Name)
	})
	var target string
	snippet := a.clusterVerb("snippet", "Print a cluster's reverse proxy as the configuration of a web server", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		s, err := c.ReverseProxySnippet(ctx, cl.ID, target)
		if err != nil {
			return err
		}
		return a.showSnippet(s)
	})
	snippet.Flags().StringVar(&target, "target", "", targetUsage)
	return noun("reverse-proxy", "", "The web server in front of a cluster, or the gateway as one", get, a.reverseProxySet(), remove, snippet)
}

const targetUsage = "server and version, for example nginx=1.22 (default the server of the settings, as Debian 12 has it)"

// showSnippet prints a configuration so that it can be kept in a file, and beside it what to know of it.
func (a *app) showSnippet(s api.ReverseProxySnippet) error {
	if a.json() {
		return a.printJSON(s)
	}
	for _, n := range s.Notes {
		fmt.Fprintf(a.err, "note: %s\n", n.Text)
	}
	_, err := io.WriteString(a.out, s.Text)
	return err
}

// proxyFlags are the settings that a command line names.
type proxyFlags struct {
	file          string
	dryRun        bool
	target        string // of a dry run
	set           api.ReverseProxySettings
	nodes         []string // host[:direct port[:router port]]
	repositories  []string // key[=port]
	redirects     string
	redirectHosts []string
}

func (a *app) reverseProxySet() *cobra.Command {
	var f proxyFlags
	var cmd *cobra.Command
	cmd = a.clusterVerb("set", "Make or change a cluster's reverse proxy", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		if f.target != "" && !f.dryRun {
			return usagef(`add --dry-run; "postern reverse-proxy snippet --target" prints what is stored`, "--target says what a dry run renders for")
		}
		settings, err := f.settings(ctx, c, cl, cmd)
		if err != nil {
			return err
		}
		if !f.dryRun {
			p, err := c.PutReverseProxy(ctx, cl.ID, settings, false)
			if err != nil {
				return err
			}
			return a.showProxy(p)
		}
		p, err := c.TryReverseProxy(ctx, cl.ID, settings, f.target)
		switch {
		case err != nil:
			return err
		case a.json():
			return a.showProxy(p)
		}
		return a.showSnippet(*p.Snippet)
	})
	cmd.Long = `Make or change a cluster's reverse proxy. With --file it is as the file says, in JSON or YAML, with the words that "reverse-proxy get
--output json" prints; otherwise the flags change what they name, and the rest stays as it is.`
	fs := cmd.Flags()
	fs.StringVar(&f.file, "file", "", "all settings in JSON or YAML, - for standard input")
	fs.BoolVar(&f.dryRun, "dry-run", false, "check the settings and print the configuration, and store nothing")
	fs.StringVar(&f.target, "target", "", "with --dry-run: "+targetUsage)
	fs.StringVar(&f.set.Server, "server", "", "web server: nginx, apache, haproxy, caddy, or direct for the gateway itself")
	fs.StringVar(&f.set.ServerName, "server-name", "", "public host name")
	fs.StringVar(&f.set.Wildcard, "wildcard", "", `"*." and the domain below which each repository has a name (default "*." and the server name)`)
	fs.StringSliceVar(&f.nodes, "node", nil, "HOST[:DIRECT-PORT[:ROUTER-PORT]] of the application (default ports 8081 and 8082); replaces all")
	fs.BoolVar(&f.set.HTTP, "http", false, "serve HTTP")
	fs.BoolVar(&f.set.HTTPS, "https", false, "serve HTTPS")
	fs.IntVar(&f.set.HTTPPort, "http-port", 0, "port of HTTP (default 80)")
	fs.IntVar(&f.set.HTTPSPort, "https-port", 0, "port of HTTPS (default 443)")
	fs.StringVar(&f.set.Certificate, "certificate", "", "the certificate's file on the web server")
	fs.StringVar(&f.set.Key, "key", "", "the key's file on the web server")
	fs.StringVar(&f.set.TLSProfile, "tls-profile", "", "intermediate or modern (default intermediate)")
	fs.StringVar(&f.set.DockerMethod, "docker-method", "", "SUBDOMAIN, REPOPATHPREFIX, PORTPERREPO or NOVALUE (default SUBDOMAIN)")
	fs.StringSliceVar(&f.repositories, "repository", nil, "KEY[=PORT] of a Docker repository; replaces all")
	fs.BoolVar(&f.set.OverrideBaseURL, "override-base-url", false, "tell the application how the client reached it")
	fs.StringVar(&f.redirects, "redirects", "", "what becomes of redirects that leave the private path: pass, follow, rewrite or refuse")
	fs.StringSliceVar(&f.redirectHosts, "redirect-host", nil, "exact names of the hosts that may be led to; replaces all")
	for flag, words := range map[string][]string{
		"server": {"nginx", "apache", "haproxy", "caddy", "direct"}, "docker-method": {"SUBDOMAIN", "REPOPATHPREFIX", "PORTPERREPO", "NOVALUE"},
		"tls-profile": {"intermediate", "modern"}, "redirects": {"pass", "follow", "rewrite", "refuse"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// settings are what the file says, or what the flags make of what the cluster has.
func (f *proxyFlags) settings(ctx context.Context, c *api.Client, cl api.Cluster, cmd *cobra.Command) (api.ReverseProxySettings, error) {
	named := namedFlags(cmd, "dry-run", "target", "cluster", "file")
	switch {
	case f.file == "" && len(named) == 0:
		return api.ReverseProxySettings{}, usagef("give --file, or flags such as --server nginx; see --help", "nothing is to be set")
	case f.file != "" && len(named) > 0:
		return api.ReverseProxySettings{}, usagef("leave one of them out", "--file says it all, and so --%s cannot stand beside it", named[0])
	case f.file != "":
		var p api.ReverseProxy
		err := readDocument(cmd, f.file, &p)
		return p.ReverseProxySettings, err
	}
	p, err := c.ReverseProxy(ctx, cl.ID)
	if err != nil && api.Reason(err) != "REVERSE_PROXY_NOT_FOUND" {
		return api.ReverseProxySettings{}, err
	}
	s := p.ReverseProxySettings
	for _, name := range named {
		if err := f.put(&s, name); err != nil {
			return s, err
		}
	}
	if s.Server == "" {
		return s, usagef("give --server nginx, apache, haproxy, caddy or direct", "cluster %s has no reverse proxy yet, and no server is named", cl.Name)
	}
	return s, nil
}

// namedFlags are the flags of a command's own that a command line has, but for some.
func namedFlags(cmd *cobra.Command, but ...string) (out []string) {
	cmd.Flags().Visit(func(given *pflag.Flag) {
		if cmd.InheritedFlags().Lookup(given.Name) == nil && !slices.Contains(but, given.Name) {
			out = append(out, given.Name)
		}
	})
	return out
}

// put changes in s what one flag names.
func (f *proxyFlags) put(s *api.ReverseProxySettings, flag string) (err error) {
	switch flag {
	case "server":
		s.Server = f.set.Server
	case "server-name":
		if s.Wildcard == "*."+s.ServerName {
			s.Wildcard = "" // it follows the name
		}
		s.ServerName = f.set.ServerName
	case "wildcard":
		s.Wildcard = f.set.Wildcard
	case "node":
		s.Nodes, err = proxyNodes(f.nodes)
	case "http":
		s.HTTP = f.set.HTTP
	case "https":
		s.HTTPS = f.set.HTTPS
	case "http-port":
		s.HTTPPort = f.set.HTTPPort
	case "https-port":
		s.HTTPSPort = f.set.HTTPSPort
	case "certificate":
		s.Certificate = f.set.Certificate
	case "key":
		s.Key = f.set.Key
	case "tls-profile":
		s.TLSProfile = strings.ToUpper(f.set.TLSProfile)
	case "docker-method":
		s.DockerMethod = strings.ToUpper(f.set.DockerMethod)
	case "repository":
		s.Repositories, err = proxyRepositories(f.repositories)
	case "override-base-url":
		s.OverrideBaseURL = f.set.OverrideBaseURL
	case "redirects", "redirect-host":
		r := api.ProxyRedirects{}
		if s.Redirects != nil {
			r = *s.Redirects
		}
		if flag == "redirects" {
			r.Mode = strings.ToUpper(f.redirects)
		} else {
			r.Hosts = f.redirectHosts
		}
		s.Redirects = &r
	}
	return err
}

func proxyNodes(args []string) (out []api.ProxyNode, err error) {
	for _, arg := range args {
		n := api.ProxyNode{Host: arg}
		if _, bare := netip.ParseAddr(arg); bare != nil { // an IPv6 address has colons of its own, and stands in brackets before ports
			host, ports, inBrackets := strings.Cut(strings.TrimPrefix(arg, "["), "]")
			if !inBrackets || arg[0] != '[' {
				host, ports, _ = strings.Cut(arg, ":")
				ports = ":" + ports
			}
			n.Host = host
			direct, router, _ := strings.Cut(strings.TrimPrefix(ports, ":"), ":")
			if n.DirectPort, err = portArg(direct); err == nil {
				n.RouterPort, err = portArg(router)
			}
			if err != nil || n.Host == "" {
				return nil, usagef("write it as art-1.internal, art-1.internal:8081 or [2001:db8::1]:8081:8082", "not a node: %s", link.Quote(arg))
			}
		}
		out = append(out, n)
	}
	return out, nil
}

func proxyRepositories(args []string) (out []api.ProxyRepository, err error) {
	for _, arg := range args {
		key, port, has := strings.Cut(arg, "=")
		r := api.ProxyRepository{Key: key}
		if r.Port, err = portArg(port); err != nil || has && r.Port == 0 {
			return nil, usagef("write it as docker-local or docker-local=5001", "not a repository: %s", link.Quote(arg))
		}
		out = append(out, r)
	}
	return out, nil
}

// portArg reads a port, 0 for none.
func portArg(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err
}

// readDocument reads a document in JSON or YAML that a command line names into v, and refuses fields that v has not.
func readDocument(cmd *cobra.Command, file string, v any) error {
	b, err := readInput(cmd, file)
	if err != nil {
		return err
	}
	refuse := func(err error) error {
		return usagef("give a document in JSON or YAML; /openapi.json describes its fields", "%s does not fit: %v", file, err)
	}
	// JSON is YAML too. By way of JSON the names are those of the API, and one that is not known is a mistake.
	var doc map[string]any
	y := yaml.NewDecoder(bytes.NewReader(b))
	switch err := y.Decode(&doc); {
	case errors.Is(err, io.EOF) || err == nil && doc == nil:
		return refuse(errors.New("it is empty"))
	case err != nil:
		return refuse(errors.New(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	if err := y.Decode(new(any)); !errors.Is(err, io.EOF) {
		return usagef("give one", "%s holds more than one document", file)
	}
	if b, err = json.Marshal(doc); err != nil {
		return refuse(errors.New(strings.TrimPrefix(err.Error(), "json: ")))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return refuse(errors.New(strings.TrimPrefix(err.Error(), "json: ")))
	}
	return nil
}

// mostInput is how long a file may be that is sent to the API, in bytes.
const mostInput = 1 << 20

// readInput reads a file, or standard input for "-".
func readInput(cmd *cobra.Command, file string) ([]byte, error) {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("give a readable file, or - for standard input", "%v", err)
		}
		defer func() { _ = f.Close() }() // it was read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, mostInput+1))
	if err != nil {
		return nil, err
	}
	if len(b) > mostInput {
		return nil, usagef("give a shorter one", "%s is longer than %d bytes", file, mostInput)
	}
	return b, nil
}

func (a *app) showProxy(p api.ReverseProxy) error {
	return a.show(p, &table{head: []string{"SETTING", "VALUE"}}, func(t *table) {
		t.add("server", p.Server)
		t.add("server name", p.ServerName)
		t.add("wildcard", p.Wildcard)
		for _, n := range p.Nodes {
			t.add("node "+n.Host, fmt.Sprintf("direct port %d, router port %s", n.DirectPort, orZero(n.RouterPort, "none")))
		}
		t.add("paths", fmt.Sprintf("/%s of clients, /%s of the application", p.PublicContext, p.AppContext))
		t.add("http", portText(p.HTTP, p.HTTPPort))
		t.add("https", portText(p.HTTPS, p.HTTPSPort))
		if p.Certificate != "" {
			t.add("certificate", p.Certificate+", key "+p.Key)
		}
		t.add("TLS profile", p.TLSProfile)
		t.add("Docker", p.DockerMethod)
		for _, r := range p.Repositories {
			t.add("repository "+r.Key, strings.TrimSpace(r.ServerName+" "+orZero(r.Port, "")))
		}
		if c := p.ClientCertificates; c != nil && c.Mode != "OFF" && p.Server != string(link.Embedded) {
			t.add("client certificates", fmt.Sprintf("%s, of %s, told in %s", c.Mode, c.CAFile, c.Header))
		}
		if p.ProxyProtocol {
			t.add("PROXY protocol", "from "+strings.Join(p.TrustedPeers, " "))
		}
		if len(p.Endpoints) > 0 {
			t.add("endpoints", strings.Join(p.Endpoints, " "))
		}
		if r := p.Redirects; r != nil {
			t.add("redirects", strings.TrimSpace(cmp.Or(r.Mode, "PASS")+" "+strings.Join(r.Hosts, " ")))
		}
	})
}

func portText(on bool, port int) string {
	if !on {
		return "no"
	}
	return fmt.Sprintf("port %d", port)
}
