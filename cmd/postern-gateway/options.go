package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/gateway"
	"github.com/postern/postern/internal/link"
)

// tokenVariable is the environment variable that holds the gateway's token when no --token-file is given.
const tokenVariable = "POSTERN_GATEWAY_TOKEN"

// flagVariable returns the environment variable that takes the place of a flag.
func flagVariable(name string) string {
	return "POSTERN_GATEWAY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

const help = `postern-gateway relays the flows that the control plane's rules allow, and closes all others.

Flows (one of --private and --public at least; repeat them for more)
  --private ADDR[=PORT]      host:port for the load balancer's flows, with PROXY protocol v2;
                             PORT is what clients dial, when it is another
  --public ADDR[=PORT]       host:port for flows from the internet
  --trusted-peer CIDR        the load balancer before --private: only its PROXY headers count
  --public-trusted-peer CIDR a balancer before --public, which sends PROXY v1 or v2
  --front ADDR[=PORT]        host:port for a reverse proxy that ended TLS and speaks plain HTTP
  --front-trusted-peer CIDR  that proxy, whose X-Forwarded-For and Host count
  --front-certificate FORMAT[=HEADER]  how it tells of client certificates (nginx, rfc9440, …)
  --front-proxy-header       its flows begin with a PROXY header, too
  --max-flows N              most flows open at once (default: what descriptors allow)
  --header-timeout TIME      for the PROXY header to arrive (5s)
  --hello-timeout TIME       for the ClientHello to arrive (10s)
  --dial-timeout TIME        for one try to reach a backend (5s)
  --idle-timeout TIME        ends a flow on which nothing moves (1h0m0s)
  --half-close-timeout TIME  the same once one side has ended (5m0s)
TLS that ends here, of clusters with a reverse proxy
  --certificates DIR         pairs NAME.crt and NAME.key (PEM), read again when they change
  --acme-domain NAME         a name to get a certificate for from an ACME authority
  --acme-directory URL       the authority (https://acme-v02.api.letsencrypt.org/directory)
  --acme-email ADDRESS       of the account there
  --acme-ca-file FILE        PEM roots of the authority's own certificate
  --private-target CIDR      redirects and OCSP may lead there though it is not public
Control plane
  --data DIR                 the proof key, the last rules, unsent records (required)
  --id NAME                  unique in the installation (default: the host's name)
  --control-url URL          without it the rules in --data are all there is
  --ca-file FILE             PEM roots of its certificate (default: the system's)
  --token-file FILE          the token; without it $POSTERN_GATEWAY_TOKEN holds it
  --spool-size SIZE          most bytes of unsent records on disk (64M)
Process
  --user NAME|UID[:GID]      becomes this user once it listens
  --loops N                  event loops (default: one per processor)
  --metrics ADDR             host:port for Prometheus; without a host on loopback
  --drain TIME               that open flows have to end after SIGTERM (30s)
  --handover-drain TIME      the same after SIGHUP (1h0m0s)
  --log-json, --log-level L  DEBUG, INFO, WARN or ERROR (INFO)

SIGTERM drains and ends it, a second one at once. SIGHUP starts the program on disk anew with
the same arguments; when that serves, this process drains, otherwise it goes on.
Each flag can be given as $POSTERN_GATEWAY_ and its name, for example POSTERN_GATEWAY_DATA.
`

// options is the command line, checked.
type options struct {
	config        gateway.Config // without what comes from files and sockets
	listeners     []listenerOption
	trusted       peers // of the private side
	publicTrusted peers
	frontTrusted  peers
	front         gateway.Front
	metrics       *socketName // nil for none
	data          string
	caFile        string
	tokenFile     string
	user          string
	drain         time.Duration
	handoverDrain time.Duration
	logLevel      slog.Level
	logJSON       bool

	certificates   string // a directory; empty for none
	acme           certificate.ACMEConfig
	privateTargets peers
}

// listenerOption is one --private, --public or --front.
type listenerOption struct {
	name socketName
	port uint16 // that clients dial, 0 when it is the address's own
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	host, _ := os.Hostname() // without one the id has to be given
	flags := o.flags(host)
	flags.SetOutput(stderr)
	flags.Usage = func() {} // which would hide what is wrong behind a screen of help
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(stderr, help)
			return o, err
		}
		return o, errUsage // the flag package has said what is wrong
	}
	if err := fromEnvironment(flags, getenv); err != nil {
		return o, err
	}
	c := &o.config
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q: %w", flags.Arg(0), errUsage)
	case o.data == "":
		return o, fmt.Errorf("--data is missing: give a directory for the proof key and the last rules; %w", errUsage)
	case c.Loops < 0 || c.MaxFlows < 0:
		return o, fmt.Errorf("--loops and --max-flows count: give 0 for the default; %w", errUsage)
	}
	c.RulesFile = filepath.Join(o.data, "rules")
	c.PrivateTargets = o.privateTargets
	o.acme.Dir = o.data
	if c.ControlURL != "" {
		c.SpoolDir = filepath.Join(o.data, "spool")
	}
	return o, nil
}

// flags returns the flags that fill in o, with their defaults. What they are for is in help.
func (o *options) flags(host string) *flag.FlagSet {
	c := &o.config
	flags := flag.NewFlagSet("postern-gateway", flag.ContinueOnError)
	for _, role := range listenerRoles {
		flags.Func(role, "", func(s string) error {
			for part := range strings.SplitSeq(s, ",") {
				if err := o.addListener(role, strings.TrimSpace(part)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	flags.Var(&o.trusted, "trusted-peer", "")
	flags.Var(&o.publicTrusted, "public-trusted-peer", "")
	flags.Var(&o.frontTrusted, "front-trusted-peer", "")
	flags.BoolVar(&o.front.ProxyHeader, "front-proxy-header", false, "")
	flags.Func("front-certificate", "", func(s string) error {
		format, header, _ := strings.Cut(s, "=")
		o.front.Format, o.front.Header = clientcert.Format(format), header
		if !slices.Contains(clientcert.Formats, o.front.Format) {
			return fmt.Errorf("not a format: give one of %v", clientcert.Formats)
		}
		return nil
	})
	flags.IntVar(&c.MaxFlows, "max-flows", 0, "")
	flags.DurationVar(&c.Timeouts.Header, "header-timeout", 5*time.Second, "")
	flags.DurationVar(&c.Timeouts.Hello, "hello-timeout", 10*time.Second, "")
	flags.DurationVar(&c.Timeouts.Dial, "dial-timeout", 5*time.Second, "")
	flags.DurationVar(&c.Timeouts.Idle, "idle-timeout", time.Hour, "")
	flags.DurationVar(&c.Timeouts.HalfClose, "half-close-timeout", 5*time.Minute, "")
	flags.StringVar(&o.certificates, "certificates", "", "")
	flags.Func("acme-domain", "", func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			name := strings.ToLower(strings.TrimSpace(part))
			if name == "" || strings.ContainsAny(name, "*/:") {
				return errors.New("not a host name: for example art.example.com")
			}
			o.acme.Domains = append(o.acme.Domains, name)
		}
		return nil
	})
	flags.StringVar(&o.acme.DirectoryURL, "acme-directory", "https://acme-v02.api.letsencrypt.org/directory", "")
	flags.StringVar(&o.acme.Email, "acme-email", "", "")
	flags.StringVar(&o.acme.CAFile, "acme-ca-file", "", "")
	flags.Var(&o.privateTargets, "private-target", "")
	flags.StringVar(&o.data, "data", "", "")
	flags.StringVar(&c.ID, "id", host, "")
	flags.StringVar(&c.ControlURL, "control-url", "", "")
	flags.StringVar(&o.caFile, "ca-file", "", "")
	flags.StringVar(&o.tokenFile, "token-file", "", "")
	c.SpoolSize = 64 << 20
	flags.Var((*size)(&c.SpoolSize), "spool-size", "")
	flags.StringVar(&o.user, "user", "", "")
	flags.IntVar(&c.Loops, "loops", 0, "")
	flags.Func("metrics", "", func(s string) error {
		name, err := metricsName(s)
		o.metrics = &name
		return err
	})
	flags.DurationVar(&o.drain, "drain", 30*time.Second, "")
	flags.DurationVar(&o.handoverDrain, "handover-drain", time.Hour, "")
	flags.BoolVar(&o.logJSON, "log-json", false, "")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "")
	return flags
}

// fromEnvironment sets the flags that the command line has not set from their variables.
func fromEnvironment(flags *flag.FlagSet, getenv func(string) string) (err error) {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	flags.VisitAll(func(f *flag.Flag) {
		variable := flagVariable(f.Name)
		if v := getenv(variable); v != "" && !given[f.Name] && err == nil {
			if setErr := flags.Set(f.Name, v); setErr != nil {
				err = fmt.Errorf("%s=%s: %w; %w", variable, v, setErr, errUsage)
			}
		}
	})
	return err
}

// addListener reads ADDR[=PORT].
func (o *options) addListener(role, s string) error {
	addr, port, hasPort := strings.Cut(s, "=")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return errors.New("not an address: for example 10.0.0.4:443")
	}
	l := listenerOption{name: socketName{role, addr}}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return errors.New("not a port behind the address: for example 10.0.0.4:8443=443")
		}
		l.port = uint16(n)
	}
	if slices.ContainsFunc(o.listeners, func(other listenerOption) bool { return other.name == l.name }) {
		return errors.New("given twice")
	}
	o.listeners = append(o.listeners, l)
	return nil
}

// fits checks the options against the sockets that there will be.
func (o *options) fits(names []socketName) error {
	private := slices.ContainsFunc(names, func(n socketName) bool { return n.role == string(link.PrivateListener) })
	public := slices.ContainsFunc(names, func(n socketName) bool { return n.role == string(link.PublicListener) })
	front := slices.ContainsFunc(names, func(n socketName) bool { return n.role == frontRole })
	switch {
	case !private && !public && !front:
		return fmt.Errorf("nothing to listen on: give --private, --public or both; %w", errUsage)
	case front && len(o.frontTrusted) == 0:
		return fmt.Errorf("--front without --front-trusted-peer would refuse everybody: give the reverse proxy's addresses; %w", errUsage)
	case private && len(o.trusted) == 0:
		return fmt.Errorf("--private without --trusted-peer would refuse every flow: give the load balancer's addresses, "+
			"for example --trusted-peer 10.0.0.0/16; %w", errUsage)
	}
	return nil
}

func (o *options) onCommandLine(name socketName) bool {
	return slices.ContainsFunc(o.listeners, func(l listenerOption) bool { return l.name == name })
}

// listenerConfig is what the gateway is told of a listener.
func (o *options) listenerConfig(l listenerOption, tcp *net.TCPListener) gateway.ListenerConfig {
	c := gateway.ListenerConfig{Side: link.PublicListener, Listener: tcp, Port: l.port, TrustedPeers: o.publicTrusted}
	switch l.name.role {
	case string(link.PrivateListener):
		c.Side, c.TrustedPeers = link.PrivateListener, o.trusted
	case frontRole:
		front := o.front
		c.Front, c.TrustedPeers = &front, o.frontTrusted
	}
	return c
}

// token returns the token for the control plane, empty when there is no control plane.
func (o *options) token(getenv func(string) string) (string, error) {
	if o.config.ControlURL == "" {
		return "", nil
	}
	token := getenv(tokenVariable)
	if o.tokenFile != "" {
		text, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token, as user %d: %w", os.Getuid(), err)
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return "", fmt.Errorf("no token for the control plane: set %s or give --token-file; %w", tokenVariable, errUsage)
	}
	return token, nil
}

// httpClient returns the client for the control plane, nil for the gateway's own, which trusts whom the system trusts.
func (o *options) httpClient() (*http.Client, error) {
	if o.caFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, fmt.Errorf("read the roots of the control plane's certificate, as user %d: %w", os.Getuid(), err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no PEM certificate; %w", o.caFile, errUsage)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: t}, nil
}

func (o *options) logger(w io.Writer) *slog.Logger {
	if o.logJSON {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.logLevel}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: o.logLevel}))
}

// peers is a flag that holds address ranges: repeated, or separated by commas.
type peers []netip.Prefix

func (p *peers) String() string {
	if len(*p) == 0 {
		return ""
	}
	return fmt.Sprint(*p)
}

// Set adds ranges or single addresses.
func (p *peers) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if a, err := netip.ParseAddr(part); err == nil && a.Zone() == "" {
			a = a.Unmap()
			*p = append(*p, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return errors.New("not an address range: for example 10.0.0.0/16")
		}
		*p = append(*p, prefix.Masked())
	}
	return nil
}

// size is a flag that holds a number of bytes, with K, M or G for powers of 1024.
type size int64

func (z *size) String() string { return strconv.FormatInt(int64(*z), 10) }

// Set reads a size that is not zero.
func (z *size) Set(s string) error {
	digits := strings.TrimRight(s, "KMG")
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}
	by, ok := shift[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || n > math.MaxInt64>>by {
		return errors.New("not a size: for example 64M")
	}
	*z = size(n << by)
	return nil
}
