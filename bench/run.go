//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
)

// quiet is the most that other programs, and the kernel's own threads, may take of the processors without a word.
const quiet = 0.03

// bench is everything that a run is made of.
type bench struct {
	settings
	cores    processors
	identity identity
	backend  *backend
	realTLS  *tlsBackend // nil when short flows are played back
	client   *client
	rate     float64
	webRates map[string]float64 // by the names of kinds
	others   float64            // the most that other programs took of the processors in any window
}

func run(ctx context.Context, args []string) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what is left of a folder for temporary files
	if s.Gateway == "" && slices.Contains(s.Proxies, ourName) {
		if s.Gateway, err = buildGateway(ctx, dir); err != nil {
			return err
		}
	}
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	m := describeMachine(b)
	fmt.Println(m)
	chosen := func(all ...proxy) []proxy {
		return slices.DeleteFunc(all, func(p proxy) bool { return !slices.Contains(s.Proxies, p.name) })
	}
	proxies := chosen(gateway(s.Gateway), haproxy(plainName, false), haproxy(spliceName, true), nginx())
	if slices.ContainsFunc(measures, func(m measure) bool { return !m.web && slices.Contains(s.Only, m.name) }) {
		if err := b.verify(ctx, proxies); err != nil {
			return err
		}
	}
	results, err := b.measure(ctx, proxies, chosen(webProxies(s.Gateway, b.identity)...))
	printResults(os.Stdout, results)
	if b.others > quiet {
		fmt.Printf("\nThe machine was not quiet: up to %.0f%% of its processors' time went to other programs.\n", 100*b.others)
	}
	if err == nil && s.json != "" {
		s.Rate = b.rate
		err = document{m, s, b.others, results}.write(s.json)
	}
	return err
}

func newBench(s settings) (*bench, error) {
	b := &bench{settings: s, rate: s.Rate, webRates: map[string]float64{}}
	var err error
	if b.cores, err = ownProcessors(); err != nil {
		return nil, err
	}
	if b.identity, err = newIdentity(); err != nil {
		return nil, err
	}
	var transcripts [errands]transcript
	for e := range errands {
		if transcripts[e], err = record(b.identity, e.serverName()); err != nil {
			return nil, err
		}
	}
	if b.backend, err = startBackend(transcripts); err != nil {
		return nil, err
	}
	if s.TLS == "real" {
		if b.realTLS, err = startTLSBackend(b.identity); err != nil {
			return nil, err
		}
	}
	b.client, err = newClient(transcripts)
	return b, err
}

func (b *bench) close() error {
	b.client.close()
	if b.realTLS != nil {
		b.realTLS.close()
	}
	return b.backend.close()
}

// routes says where flows go.
func (b *bench) routes() []route {
	var out []route
	for e := range errands {
		out = append(out, route{e.serverName(), b.backend.addrs[e]})
	}
	if b.realTLS != nil {
		out[short] = b.realTLS.routes()[short]
	}
	return out
}

// setBulk says how many bytes a bulk flow moves. No flow may be open.
func (b *bench) setBulk(n int64) { b.client.bulk, b.backend.bulk = n, n }

// verify sees with real TLS that all proxies do the same work.
func (b *bench) verify(ctx context.Context, proxies []proxy) error {
	server, err := startTLSBackend(b.identity)
	if err != nil {
		return err
	}
	defer server.close()
	for _, p := range proxies {
		run, err := p.run(ctx, server.routes(), workers, b.cores.all)
		if err != nil {
			return err
		}
		err = verify(tlsClient{b.identity, proxyHeader(clientAddress, endpointID), run.addr})
		if err := errors.Join(err, run.close()); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// measure takes all rounds of all measures. With an error it returns what there is so far.
func (b *bench) measure(ctx context.Context, proxies, web []proxy) (results []result, err error) {
	for _, m := range measures {
		if !slices.Contains(b.Only, m.name) {
			continue
		}
		if m.direct && b.rate == 0 {
			if b.rate, err = b.quarter(ctx); err != nil {
				return results, err
			}
		}
		taking := proxies
		if m.web {
			taking = web
		}
		rounds, names, err := b.rounds(ctx, m, taking)
		if err != nil {
			return results, fmt.Errorf("%s: %w", m.name, err)
		}
		for _, r := range m.rows {
			results = append(results, judge(r, rounds[r.Name], names))
		}
	}
	return results, nil
}

// rounds takes one measure from every proxy in turns, so that what changes at the machine meanwhile meets all of them.
func (b *bench) rounds(ctx context.Context, m measure, proxies []proxy) (map[string]values, []string, error) {
	var taking []proxy
	if m.direct {
		taking = append(taking, proxy{name: directName})
	}
	for _, p := range proxies {
		if p.name != spliceName || m.splices {
			taking = append(taking, p)
		}
	}
	all := map[string]values{}
	for _, r := range m.rows {
		all[r.Name] = values{}
	}
	for n := range b.Rounds {
		got := map[string]map[string]float64{}
		for i := range taking {
			p := taking[(i+n)%len(taking)] // another one is first each time
			out, err := m.run(b, ctx, site{p, b.Quick, b.Window})
			if err = errors.Join(err, context.Cause(ctx)); err != nil {
				return nil, nil, fmt.Errorf("%s, round %d: %w", p.name, n+1, err)
			}
			fmt.Fprintf(os.Stderr, "%s %d/%d %s:", m.name, n+1, b.Rounds, p.name)
			for _, r := range m.rows {
				if value, has := out.values[r.Name]; has {
					fmt.Fprintf(os.Stderr, " %s %s %s,", r.Name, number(value), r.Unit)
				}
			}
			fmt.Fprintf(os.Stderr, " others %.0f%%\n", 100*out.others)
			b.others = max(b.others, out.others)
			got[p.name] = out.values
		}
		for name, v := range got {
			for row, value := range v {
				if name != directName {
					value -= got[directName][row] // zero but for what is measured without a proxy too
				}
				all[row][name] = append(all[row][name], value)
			}
		}
	}
	return all, each(taking, func(p proxy) string { return p.name }), nil
}

// quarter returns about a quarter of the rate at which HAProxy is saturated.
func (b *bench) quarter(ctx context.Context) (float64, error) {
	out, err := b.saturated(ctx, site{haproxy(plainName, false), true, b.Window})
	if err != nil {
		return 0, fmt.Errorf("find the fixed rate: %w", err)
	}
	return math.Round(out.values["flow-rate"]/4/100) * 100, nil
}
