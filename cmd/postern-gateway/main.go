// Command postern-gateway is Postern's data path alone: it takes flows from the load balancer and from the public side,
// and relays those that the control plane's rules allow. It links no database driver and no cloud SDK.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postern/postern/internal/gateway"
	"github.com/postern/postern/internal/link"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "postern-gateway:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "postern-gateway:", err)
		os.Exit(1)
	}
}

// errUsage is in the chain of every error that another command line heals.
var errUsage = errors.New("try postern-gateway --help")

// tokenVariable is the environment variable that holds the gateway's token when no --token-file is given.
const tokenVariable = "POSTERN_GATEWAY_TOKEN"

const description = `postern-gateway relays the flows that the control plane's rules allow, and closes all others.

The token for the control plane comes from the environment variable ` + tokenVariable + ` or from --token-file.
SIGTERM ends it: it stops to accept, lets the open flows end until the --drain deadline, and cuts the rest. A second
SIGTERM ends it at once.

Flags:
`

// run is the program without what belongs to the process. It returns when ctx has ended and the flows have drained.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	o, err := parse(args, getenv, stderr)
	if err != nil {
		return err
	}
	var handler slog.Handler = slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel})
	if o.logJSON {
		handler = slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.logLevel})
	}
	o.config.Log = slog.New(handler)
	if o.config.Key, err = gateway.LoadOrCreateKey(o.data); err != nil {
		return fmt.Errorf("%w\nNext: give a directory that this user may write with --data", err)
	}
	g, err := gateway.Start(ctx, o.config)
	if err != nil {
		return fmt.Errorf("%w\nNext: check --private and --public; is another process listening there?", err)
	}
	o.config.Log.Info("gateway listens", "id", o.config.ID, "private", g.PrivateAddr(), "public", g.PublicAddr(),
		"revision", g.Revision())
	<-ctx.Done()
	o.config.Log.Info("gateway drains", "flows", g.LiveFlows(), "deadline", o.drain)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.drain)
	defer cancel()
	if err := g.Shutdown(drain); err != nil {
		o.config.Log.Warn("the drain deadline passed", "error", err)
	}
	return nil
}

// options is the command line, checked.
type options struct {
	config   gateway.Config
	data     string
	drain    time.Duration
	logLevel slog.Level
	logJSON  bool
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	host, _ := os.Hostname() // without one the id has to be given
	c := &o.config
	var trusted []netip.Prefix
	flags := flag.NewFlagSet("postern-gateway", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, description)
		flags.PrintDefaults()
	}
	flags.StringVar(&c.ID, "id", host, "this gateway's `name`, unique in the installation")
	flags.StringVar(&o.data, "data", "", "`directory` for the proof key and the last rules (required)")
	private := flags.String("private", "", "`address` (host:port) for the load balancer's flows, which carry PROXY protocol v2")
	public := flags.String("public", "", "`address` (host:port) for flows from the internet")
	flags.Func("trusted-peer", "`range` (CIDR) or address of the load balancer, whose PROXY headers count; repeat it or separate with commas", func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			p, err := parsePeer(strings.TrimSpace(part))
			if err != nil {
				return err
			}
			trusted = append(trusted, p)
		}
		return nil
	})
	flags.StringVar(&c.ControlURL, "control-url", "", "the control plane's `URL`; without it the gateway decides by the rules in --data alone")
	tokenFile := flags.String("token-file", "", "`file` that holds the token for the control plane")
	flags.DurationVar(&c.Timeouts.Header, "header-timeout", 5*time.Second, "`time` for the PROXY header to arrive")
	flags.DurationVar(&c.Timeouts.Hello, "hello-timeout", 10*time.Second, "`time` for the ClientHello to arrive")
	flags.DurationVar(&c.Timeouts.Dial, "dial-timeout", 5*time.Second, "`time` for one try to reach a backend")
	flags.DurationVar(&c.Timeouts.Idle, "idle-timeout", time.Hour, "`time` after which a flow without traffic is closed")
	flags.DurationVar(&o.drain, "drain", 30*time.Second, "`time` that open flows have to end after SIGTERM")
	flags.BoolVar(&o.logJSON, "log-json", false, "write the log as JSON")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "least `level` to log: DEBUG, INFO, WARN, ERROR")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage // the flag package has said what is wrong, and printed the flags
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q: %w", flags.Arg(0), errUsage)
	case o.data == "":
		return o, fmt.Errorf("--data is missing: give a directory for the proof key and the last rules; %w", errUsage)
	case *private == "" && *public == "":
		return o, fmt.Errorf("nothing to listen on: give --private, --public or both; %w", errUsage)
	case *private != "" && len(trusted) == 0:
		return o, fmt.Errorf("--private without --trusted-peer would refuse every flow: give the load balancer's addresses, "+
			"for example --trusted-peer 10.0.0.0/16; %w", errUsage)
	}
	if *private != "" {
		c.Listeners = append(c.Listeners, gateway.ListenerConfig{Side: link.PrivateListener, Addr: *private, TrustedPeers: trusted})
	}
	if *public != "" {
		c.Listeners = append(c.Listeners, gateway.ListenerConfig{Side: link.PublicListener, Addr: *public})
	}
	c.RulesFile = filepath.Join(o.data, "rules")
	if c.ControlURL == "" {
		return o, nil
	}
	c.Token = getenv(tokenVariable)
	if *tokenFile != "" {
		text, err := os.ReadFile(*tokenFile)
		if err != nil {
			return o, fmt.Errorf("read the token: %w", err)
		}
		c.Token = strings.TrimSpace(string(text))
	}
	if c.Token == "" {
		return o, fmt.Errorf("no token for the control plane: set %s or give --token-file; %w", tokenVariable, errUsage)
	}
	return o, nil
}

// parsePeer reads a range or one address.
func parsePeer(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("not an address range: for example 10.0.0.0/16")
	}
	return p.Masked(), nil
}
