package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// trafficFlags are the settings that a command line names.
type trafficFlags struct {
	weights        []string // host:port=weight
	drain, undrain []string // host:port
	health         string
	path           string
	statuses       []int
	interval       time.Duration
	timeout        time.Duration
	rise, fall     int
	proxyProtocol  bool
	deny           []string // ports, or "none"
	limits         api.TrafficLimits
}

func (a *app) trafficCommand() *cobra.Command {
	var f trafficFlags
	var cmd *cobra.Command
	cmd = a.clusterVerb("traffic", "Show or change how gateways treat a cluster's flows", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		u, change, err := f.update(cmd.Flags())
		if err != nil {
			return err
		}
		var t api.ClusterTraffic
		if change {
			t, err = c.UpdateClusterTraffic(ctx, cl.ID, u)
		} else {
			t, err = c.ClusterTraffic(ctx, cl.ID)
		}
		if err != nil {
			return err
		}
		return a.show(t, &table{head: []string{"SETTING", "VALUE"}}, func(tab *table) { tellTraffic(tab, t) })
	})
	cmd.Long = `Show how gateways treat a cluster's flows, and change what the flags name; the rest stays as it is.
What a new cluster has: backends that are all alike, no active health checks, no PROXY protocol, no denied port, no limits.`
	fs := cmd.Flags()
	fs.StringSliceVar(&f.weights, "weight", nil, "HOST:PORT=WEIGHT of a backend, 1 to 256: its share of new flows beside the others'")
	fs.StringSliceVar(&f.drain, "drain", nil, "HOST:PORT of a backend that gets no new flows; those that it has go on")
	fs.StringSliceVar(&f.undrain, "undrain", nil, "HOST:PORT of a backend that gets new flows again")
	fs.StringVar(&f.health, "health", "", "how backends are checked: none, tcp, tls, http, https or postgres; replaces the whole check")
	fs.StringVar(&f.path, "health-path", "", "path that http and https ask for (default /)")
	fs.IntSliceVar(&f.statuses, "health-statuses", nil, "good answers to http and https (default 200 to 399)")
	fs.DurationVar(&f.interval, "health-interval", 0, "between the checks of one backend (default 10s)")
	fs.DurationVar(&f.timeout, "health-timeout", 0, "of one check, no longer than the interval (default 3s)")
	fs.IntVar(&f.rise, "health-rise", 0, "good checks in a row that heal a backend (default 2)")
	fs.IntVar(&f.fall, "health-fall", 0, "bad checks in a row that take a backend out (default 3)")
	fs.BoolVar(&f.proxyProtocol, "proxy-protocol", false, "tell the backends client and endpoint in a PROXY v2 header")
	fs.StringSliceVar(&f.deny, "deny-port", nil, "ports on which no flow reaches the cluster, or none; replaces all")
	fs.IntVar(&f.limits.Flows, "max-flows", 0, "flows open at once at one gateway; 0 for no limit, as for the three below")
	fs.IntVar(&f.limits.FlowsPerSecond, "max-flows-per-second", 0, "new flows per second at one gateway")
	fs.IntVar(&f.limits.FlowsPerEndpoint, "max-flows-per-endpoint", 0, "flows open at once through one endpoint")
	fs.IntVar(&f.limits.FlowsPerSecondByEndpoint, "max-flows-per-second-by-endpoint", 0, "new flows per second through one endpoint")
	_ = cmd.RegisterFlagCompletionFunc("health", cobra.FixedCompletions([]string{"none", "tcp", "tls", "http", "https", "postgres"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// update is what the flags that were given say; change is false when none was.
func (f *trafficFlags) update(fs *pflag.FlagSet) (u api.ClusterTrafficUpdate, change bool, err error) {
	if u.Backends, err = f.backends(); err != nil {
		return u, false, err
	}
	var ofHealth string
	fs.Visit(func(given *pflag.Flag) {
		if strings.HasPrefix(given.Name, "health-") {
			ofHealth = given.Name
		}
	})
	switch {
	case f.health != "":
		u.Health = &api.HealthCheck{
			Check: strings.ToUpper(f.health), Path: f.path, Statuses: f.statuses, Rise: f.rise, Fall: f.fall,
		}
		for _, d := range []struct {
			flag    string
			is      time.Duration
			seconds *int
		}{{"--health-interval", f.interval, &u.Health.IntervalSeconds}, {"--health-timeout", f.timeout, &u.Health.TimeoutSeconds}} {
			if d.is%time.Second != 0 {
				return u, false, usagef("give whole seconds, for example 5s", "%s cannot be %v", d.flag, d.is)
			}
			*d.seconds = int(d.is / time.Second)
		}
	case ofHealth != "":
		return u, false, usagef("give --health too: a check is replaced as a whole", "--%s says something of a check, and none is given", ofHealth)
	}
	if fs.Changed("proxy-protocol") {
		u.ProxyProtocol = &f.proxyProtocol
	}
	if fs.Changed("deny-port") {
		if u.DeniedPorts, err = f.deniedPorts(); err != nil {
			return u, false, err
		}
	}
	l := &api.TrafficLimitsUpdate{}
	for _, limit := range []struct {
		flag string
		is   *int
		to   **int
	}{
		{"max-flows", &f.limits.Flows, &l.Flows},
		{"max-flows-per-second", &f.limits.FlowsPerSecond, &l.FlowsPerSecond},
		{"max-flows-per-endpoint", &f.limits.FlowsPerEndpoint, &l.FlowsPerEndpoint},
		{"max-flows-per-second-by-endpoint", &f.limits.FlowsPerSecondByEndpoint, &l.FlowsPerSecondByEndpoint},
	} {
		if fs.Changed(limit.flag) {
			*limit.to, u.Limits = limit.is, l
		}
	}
	change = len(u.Backends) > 0 || u.Health != nil || u.ProxyProtocol != nil || u.DeniedPorts != nil || u.Limits != nil
	return u, change, nil
}

// backends is what the flags say of backends, each named once.
func (f *trafficFlags) backends() (out []api.BackendTrafficUpdate, err error) {
	of := func(address string) *api.BackendTrafficUpdate {
		i := slices.IndexFunc(out, func(b api.BackendTrafficUpdate) bool { return b.Address == address })
		if i < 0 {
			i, out = len(out), append(out, api.BackendTrafficUpdate{Address: address})
		}
		return &out[i]
	}
	for _, w := range f.weights {
		address, weight, ok := cutLast(w, "=")
		n, err := strconv.Atoi(weight)
		if !ok || err != nil {
			return nil, usagef("write it as db-1.internal:5432=10", "not a backend's weight: %s", link.Quote(w))
		}
		of(address).Weight = &n
	}
	yes, no := true, false
	for _, address := range f.drain {
		of(address).Draining = &yes
	}
	for _, address := range f.undrain {
		if b := of(address); b.Draining == nil {
			b.Draining = &no
			continue
		}
		return nil, usagef("name it once", "%s is to be drained and not to be", address)
	}
	return out, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (f *trafficFlags) deniedPorts() (*[]int, error) {
	out := []int{}
	if slices.Equal(f.deny, []string{"none"}) {
		return &out, nil
	}
	for _, p := range f.deny {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, usagef("write --deny-port 22,3389 or --deny-port none", "not a port: %s", link.Quote(p))
		}
		out = append(out, n)
	}
	return &out, nil
}

func tellTraffic(tab *table, t api.ClusterTraffic) {
	for _, b := range t.Backends {
		text := fmt.Sprintf("weight %d", b.Weight)
		if b.Draining {
			text += ", draining"
		}
		tab.add("backend "+b.Address, text)
	}
	tab.add("health check", healthText(t.Health))
	tab.add("PROXY protocol", yesNo(t.ProxyProtocol))
	var ports []string
	for _, p := range t.DeniedPorts {
		ports = append(ports, strconv.Itoa(p))
	}
	tab.add("denied ports", orWord(strings.Join(ports, " "), "none"))
	limit := func(n int) string { return orZero(n, "no limit") }
	tab.add("flows", limit(t.Limits.Flows))
	tab.add("flows per second", limit(t.Limits.FlowsPerSecond))
	tab.add("flows per endpoint", limit(t.Limits.FlowsPerEndpoint))
	tab.add("flows per second by endpoint", limit(t.Limits.FlowsPerSecondByEndpoint))
}

// healthText says how a check goes, with the defaults in the places of what is not set.
func healthText(h api.HealthCheck) string {
	if h.Check == "NONE" {
		return "none: only the flows tell"
	}
	text := h.Check
	if h.Check == "HTTP" || h.Check == "HTTPS" {
		var good []string
		for _, s := range h.Statuses {
			good = append(good, strconv.Itoa(s))
		}
		text += fmt.Sprintf(" %s answers %s", orWord(h.Path, "/"), orWord(strings.Join(good, " or "), "200 to 399"))
	}
	return fmt.Sprintf("%s, every %s s, within %s s; %s good ones heal, %s bad ones take out", text,
		orZero(h.IntervalSeconds, "10"), orZero(h.TimeoutSeconds, "3"), orZero(h.Rise, "2"), orZero(h.Fall, "3"))
}

// orZero writes a number, or what 0 means.
func orZero(n int, zero string) string {
	if n == 0 {
		return zero
	}
	return strconv.Itoa(n)
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}
