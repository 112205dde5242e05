//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
)

// webKind is what is asked for of the proxies that speak HTTP, and how.
type webKind struct {
	name, title string
	path        string
	http2       bool
}

var webKinds = []webKind{
	{"h1-small", "HTTP/1.1, 1 KiB", smallPath, false},
	{"h2-small", "HTTP/2, 1 KiB", smallPath, true},
	{"h1-large", "HTTP/1.1, 1 MiB", largePath, false},
	{"h2-large", "HTTP/2, 1 MiB", largePath, true},
}

// webMeasures are two for each kind: what a request costs while the proxy has all it can do, and how long one takes, and
// what it costs, at a fixed rate.
func webMeasures() []measure {
	var out []measure
	for _, k := range webKinds {
		out = append(out, measure{
			name: k.name, web: true,
			rows: []row{
				{Name: k.name + "-cpu", Title: "CPU per 10,000 requests, saturated; " + k.title, Unit: "s", Goal: goal{1, nginxPeer}},
				{Name: k.name + "-rate", Title: "Requests per second, saturated, the load on all processors; " + k.title, Unit: "1/s", More: true},
			},
			run: func(b *bench, ctx context.Context, on site) (outcome, error) { return b.webSaturated(ctx, on, k) },
		}, measure{
			name: k.name + "-paced", web: true,
			rows: []row{
				{Name: k.name + "-paced-cpu", Title: "CPU per 10,000 requests at the fixed rate; " + k.title, Unit: "s"},
				{Name: k.name + "-p50", Title: "Latency at the fixed rate, p50; " + k.title, Unit: "µs"},
				{Name: k.name + "-p99", Title: "Latency at the fixed rate, p99; " + k.title, Unit: "µs"},
			},
			run: func(b *bench, ctx context.Context, on site) (outcome, error) { return b.webPaced(ctx, on, k) },
		})
	}
	return out
}

func (b *bench) webLoad(run *process, p proxy, k webKind) *webLoad {
	l := &webLoad{id: b.identity, to: run.addr, path: k.path, http2: k.http2}
	if !p.bare {
		l.preface = proxyHeader(clientAddress, endpointID)
	}
	return l
}

func (b *bench) webSaturated(ctx context.Context, on site, k webKind) (out outcome, err error) {
	err = b.webRun(ctx, on.proxy, func(run *process) error {
		m := meter{pids: run.pids}
		n, err := b.webLoad(run, on.proxy, k).saturate(ctx, m.window(on.window()))
		if err == nil && n == 0 {
			err = fmt.Errorf("no request was answered in %v", m.spent)
		}
		out = outcome{map[string]float64{
			k.name + "-cpu": perThousand(m.cpu, n) * 10, k.name + "-rate": float64(n) / m.spent.Seconds(),
		}, m.others}
		return err
	})
	return out, err
}

func (b *bench) webPaced(ctx context.Context, on site, k webKind) (out outcome, err error) {
	rate, err := b.webRate(ctx, on, k)
	if err != nil {
		return out, err
	}
	err = b.webRun(ctx, on.proxy, func(run *process) error {
		m := meter{pids: run.pids}
		n, latency, err := b.webLoad(run, on.proxy, k).pace(ctx, rate, m.window(on.window()))
		if err == nil && n == 0 {
			err = fmt.Errorf("no request was answered in %v", m.spent)
		}
		out = outcome{map[string]float64{
			k.name + "-paced-cpu": perThousand(m.cpu, n) * 10,
			k.name + "-p50":       float64(percentile(latency, 50).Nanoseconds()) / 1e3,
			k.name + "-p99":       float64(percentile(latency, 99).Nanoseconds()) / 1e3,
		}, m.others}
		return err
	})
	return out, err
}

// webRate is the fixed rate of a kind, the same for all proxies of a run: a tenth of what nginx does when saturated, which all of
// them can do.
func (b *bench) webRate(ctx context.Context, on site, k webKind) (float64, error) {
	if b.webRates[k.name] == 0 {
		out, err := b.webSaturated(ctx, site{proxy: webNginx(b.identity), quick: true, length: on.length}, k)
		if err != nil {
			return 0, fmt.Errorf("find the fixed rate: %w", err)
		}
		b.webRates[k.name] = math.Max(math.Round(out.values[k.name+"-rate"]/100)*10, 10)
	}
	return b.webRates[k.name], nil
}
