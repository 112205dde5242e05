//go:build linux

// Command bench drives the gateway, HAProxy and nginx side by side with the same work, and prints what each costs: see
// docs/benchmarks.md. It needs Linux, and Debian's packages haproxy, nginx-light and libnginx-mod-stream.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings is the command line.
type settings struct {
	Rounds  int           `json:"rounds"`
	Only    []string      `json:"only,omitempty"`
	Proxies []string      `json:"proxies,omitempty"`
	Quick   bool          `json:"quick,omitempty"`
	TLS     string        `json:"tls"`
	Rate    float64       `json:"rate"` // flows per second of the measure "paced"
	Window  time.Duration `json:"window"`
	Idle    int           `json:"idle"` // flows of the measure "memory"
	Gateway string        `json:"gateway,omitempty"`
	json    string
}

func parse(args []string) (settings, error) {
	var s settings
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&s.Rounds, "rounds", 3, "how often each measure is taken from each proxy, in turns")
	only := f.String("only", "", "measures to take, separated by commas: saturated, one-core, paced, bulk, memory; of HTTP h1-small, h2-small, h1-large, h2-large, each also with -paced (all)")
	proxies := f.String("proxies", "", "proxies to measure, separated by commas: postern, haproxy, haproxy-splice, nginx, caddy (all)")
	f.BoolVar(&s.Quick, "quick", false, "one short round, to see that everything runs; its numbers mean little")
	f.StringVar(&s.TLS, "tls", "replay", "short flows: replay the bytes of a recorded TLS session, or real TLS")
	f.Float64Var(&s.Rate, "rate", 0, "flows per second of the measure paced (a quarter of what HAProxy does when saturated)")
	f.DurationVar(&s.Window, "window", 5*time.Second, "how long short flows are measured; longer to look at a proxy with a profiler meanwhile")
	f.IntVar(&s.Idle, "idle", 0, "flows of the measure memory (10,000, or what the limit of descriptors lets a proxy hold)")
	f.StringVar(&s.Gateway, "gateway", "", "gateway `program` to measure (built from these sources)")
	f.StringVar(&s.json, "json", "", "`file` to write the results to, as JSON")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	var err error
	s.Only, err = choice("measure", *only, each(measures, func(m measure) string { return m.name }))
	if err != nil {
		return s, err
	}
	if s.Proxies, err = choice("proxy", *proxies, []string{ourName, plainName, spliceName, nginxName, caddyName}); err != nil {
		return s, err
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case s.Rounds < 1:
		return s, errors.New("--rounds: at least one")
	case s.TLS != "replay" && s.TLS != "real":
		return s, fmt.Errorf("--tls %q: replay or real", s.TLS)
	}
	if s.Quick {
		s.Rounds = 1
	}
	if s.Idle <= 0 {
		s.Idle = min(10_000, (descriptorLimit()-4000)/2)
	}
	return s, nil
}

// choice reads names separated by commas; none stands for all.
func choice(what, text string, all []string) ([]string, error) {
	if text == "" {
		return all, nil
	}
	chosen := strings.Split(text, ",")
	for _, c := range chosen {
		if !slices.Contains(all, c) {
			return nil, fmt.Errorf("no %s %q: there are %s", what, c, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

func each[A, B any](list []A, of func(A) B) []B {
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = of(a)
	}
	return out
}
