package main

import (
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	base := []string{"--id", "gw-1", "--data", dir, "--public", "127.0.0.1:0"}
	for _, tt := range []struct {
		name string
		args []string
		want string // of the error; empty when it is a good command line
	}{
		{"a public listener alone", base, ""},
		{"several listeners of a side", append(base, "--public", "127.0.0.1:1,127.0.0.1:2", "--public", "[::1]:1"), ""},
		{"a private listener", append(base, "--private", "127.0.0.1:0", "--trusted-peer", "10.0.0.0/8"), ""},
		{"no directory", []string{"--public", "127.0.0.1:0"}, "--data"},
		{"nothing to listen on", []string{"--data", dir}, "--private"},
		{"private and nobody trusted", append(base, "--private", "127.0.0.1:0"), "--trusted-peer"},
		{"private and only the public side's balancer trusted", append(base, "--private", "127.0.0.1:0", "--public-trusted-peer", "10.0.0.1"), "--trusted-peer"},
		{"a range that is none", append(base, "--trusted-peer", "10.0.0.0/33"), "--help"},
		{"an address without a port", append(base, "--public", "127.0.0.1"), "--help"},
		{"a client's port that is none", append(base, "--public", "127.0.0.1:1=x"), "--help"},
		{"a client's port of zero", append(base, "--public", "127.0.0.1:1=0"), "--help"},
		{"one listener twice", append(base, "--public", "127.0.0.1:0"), "--help"},
		{"fewer loops than none", append(base, "--loops", "-1"), "--loops"},
		{"a size without a number", append(base, "--spool-size", "M"), "--help"},
		{"a size of nothing", append(base, "--spool-size", "0"), "--help"},
		{"a size beyond numbers", append(base, "--spool-size", "9999999999G"), "--help"},
		{"an unknown flag", append(base, "--open-sesame"), "--help"},
		{"an argument too many", append(base, "now"), `"now"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := parse(tt.args, nobody, io.Discard)
			if err == nil {
				names := make([]socketName, len(o.listeners))
				for i, l := range o.listeners {
					names[i] = l.name
				}
				err = o.fits(names)
			}
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, errUsage) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want one that names %q", err, tt.want)
			}
		})
	}
}

func nobody(string) string { return "" }

// from is an environment.
func from(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestWhatTheFlagsMean(t *testing.T) {
	o, err := parse([]string{
		"--data", "/var/lib/postern", "--control-url", "https://control.test", "--private", "10.0.0.4:8443=443", "--public", "[::]:443",
		"--trusted-peer", "10.0.0.0/16, 10.1.2.3", "--public-trusted-peer", "10.9.9.9/24", "--spool-size", "2G", "--max-flows", "1000",
		"--half-close-timeout", "1m", "--handover-drain", "2h", "--user", "nobody",
		"--front", "10.0.0.4:8080=443", "--front-trusted-peer", "10.8.0.1", "--front-certificate", "nginx=X-SSL-Cert",
		"--acme-domain", "Art.Test,b.test", "--private-target", "10.7.0.0/16",
	}, nobody, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	private, public := o.listenerConfig(o.listeners[0], nil), o.listenerConfig(o.listeners[1], nil)
	if private.Side != link.PrivateListener || private.Port != 443 || public.Side != link.PublicListener || public.Port != 0 {
		t.Errorf("listeners %+v, %+v", private, public)
	}
	if !slices.Equal(private.TrustedPeers, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.1.2.3/32")}) ||
		!slices.Equal(public.TrustedPeers, []netip.Prefix{netip.MustParsePrefix("10.9.9.0/24")}) {
		t.Errorf("trusted peers %v, %v", private.TrustedPeers, public.TrustedPeers)
	}
	front := o.listenerConfig(o.listeners[2], nil)
	if front.Side != link.PublicListener || front.Port != 443 || front.Front == nil || front.Front.Format != "nginx" || front.Front.Header != "X-SSL-Cert" ||
		!slices.Equal(front.TrustedPeers, []netip.Prefix{netip.MustParsePrefix("10.8.0.1/32")}) || private.Front != nil || public.Front != nil {
		t.Errorf("front %+v", front)
	}
	if !slices.Equal(o.acme.Domains, []string{"art.test", "b.test"}) || o.acme.Dir != "/var/lib/postern" || len(o.config.PrivateTargets) != 1 {
		t.Errorf("certificates %+v, %v", o.acme, o.config.PrivateTargets)
	}
	c := o.config
	if c.RulesFile != "/var/lib/postern/rules" || c.SpoolDir != "/var/lib/postern/spool" || c.SpoolSize != 2<<30 || c.MaxFlows != 1000 ||
		c.Timeouts.HalfClose != time.Minute || o.handoverDrain != 2*time.Hour || o.user != "nobody" {
		t.Errorf("%+v", o)
	}
}

func TestFlagsFromTheEnvironment(t *testing.T) {
	env := from(map[string]string{
		"POSTERN_GATEWAY_DATA": "/of/the/environment", "POSTERN_GATEWAY_PRIVATE": "127.0.0.1:1,127.0.0.1:2", "POSTERN_GATEWAY_TRUSTED_PEER": "10.0.0.0/8",
		"POSTERN_GATEWAY_DRAIN": "7s", "POSTERN_GATEWAY_LOG_JSON": "true",
		"POSTERN_GATEWAY_SERVICE_HOST": "10.0.0.1", // Kubernetes gives this to every pod beside a service named postern-gateway
	})
	o, err := parse([]string{"--drain", "9s", "--private", "127.0.0.1:3"}, env, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.data != "/of/the/environment" || len(o.trusted) != 1 || !o.logJSON {
		t.Errorf("not taken from the environment: %+v", o)
	}
	if o.drain != 9*time.Second || len(o.listeners) != 1 || o.listeners[0].name.addr != "127.0.0.1:3" {
		t.Errorf("the command line does not go before the environment: %+v", o)
	}
	_, err = parse(nil, from(map[string]string{"POSTERN_GATEWAY_DRAIN": "soon"}), io.Discard)
	if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "POSTERN_GATEWAY_DRAIN") {
		t.Errorf("a wrong variable: %v", err)
	}
}

func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := from(map[string]string{tokenVariable: "from the environment"})
	for _, tt := range []struct {
		name   string
		args   []string
		getenv func(string) string
		want   string
		err    string // of the error; empty for none
	}{
		{"without a control plane", nil, env, "", ""},
		{"from the environment", []string{"--control-url", "http://127.0.0.1:1"}, env, "from the environment", ""},
		{"from a file", []string{"--control-url", "http://127.0.0.1:1", "--token-file", file}, env, "from the file", ""},
		{"none", []string{"--control-url", "http://127.0.0.1:1"}, nobody, "", tokenVariable},
		{"a file that is not there", []string{"--control-url", "http://127.0.0.1:1", "--token-file", file + "x"}, nobody, "", "no such file"},
	} {
		o, err := parse(append(tt.args, "--data", "d"), tt.getenv, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		token, err := o.token(tt.getenv)
		if token != tt.want || tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %q, %v", tt.name, token, err)
		}
	}
}

// The unit in docs starts the program with flags and variables that there are, and gives it the time to drain.
func TestTheSystemdUnit(t *testing.T) {
	text, err := os.ReadFile("../../docs/postern-gateway.service")
	if err != nil {
		t.Fatal(err)
	}
	find := func(expression string) [][]string {
		t.Helper()
		found := regexp.MustCompile(`(?m)`+expression).FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Fatalf("the unit has no %s", expression)
		}
		return found
	}
	env := map[string]string{}
	for _, m := range find(`^#\s+(POSTERN_GATEWAY_\w+)=(\S+)$`) {
		env[m[1]] = m[2]
	}
	o, err := parse(strings.Fields(find(`^ExecStart=\S+ (.*)$`)[0][1]), from(env), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.listeners) == 0 || len(o.trusted) == 0 || o.config.ControlURL == "" {
		t.Errorf("the variables do not count: %+v", o)
	}
	stop, err := strconv.Atoi(find(`^TimeoutStopSec=(\d+)$`)[0][1])
	if err != nil || o.drain >= time.Duration(stop)*time.Second {
		t.Errorf("it may drain for %v, and is killed after %d seconds", o.drain, stop)
	}
}

// The help is written by hand: it names every flag, and fits a screen.
func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := parse([]string{"--help"}, nobody, &out); !errors.Is(err, flag.ErrHelp) || out.String() != help {
		t.Fatalf("--help: %v\n%s", err, out.String())
	}
	lines := strings.Split(help, "\n")
	if len(lines) > 45 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len(l) > 96 {
			t.Errorf("%d characters: %s", len(l), l)
		}
	}
	var o options
	flags := o.flags("host")
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.Contains(help, "--"+f.Name+" ") && !strings.Contains(help, "--"+f.Name+",") {
			t.Errorf("does not name --%s", f.Name)
		}
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" && f.Name != "id" && f.Name != "spool-size" &&
			!strings.Contains(help, "("+f.DefValue+")") {
			t.Errorf("does not name the default of --%s, %s", f.Name, f.DefValue)
		}
	})
}
