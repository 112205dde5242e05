//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measure is one way to drive the proxies; each run of it gives values for some rows of the result.
type measure struct {
	name    string
	rows    []row
	direct  bool // also driven without any proxy, to tell what the proxies add
	splices bool // HAProxy with splicing forced takes part
	web     bool // the proxies end TLS and speak HTTP
	run     func(b *bench, ctx context.Context, on site) (outcome, error)
}

// outcome is what one run of a measure found.
type outcome struct {
	values map[string]float64 // by the rows' names
	others float64            // the part of the processors' time that went to other programs
}

// row is a line of the result.
type row struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Unit  string `json:"unit"`
	More  bool   `json:"more_is_better,omitempty"`
	Goal  goal   `json:"goal"`
}

// goal is what the gateway is held to. The zero value is none.
type goal struct {
	Limit   float64 `json:"limit,omitempty"`
	Against against `json:"against,omitempty"`
}

// against says what a limit is a ratio to.
type against string

const (
	nothing    against = "absolute"
	betterPeer against = "the better peer"
	splicePeer against = "HAProxy with splicing forced"
	nginxPeer  against = "nginx"
)

// site is where a measure runs.
type site struct {
	proxy  proxy // command is nil for none: straight to the backend
	quick  bool
	length time.Duration // of a window
}

// How long things take. The warm-up lets heaps, caches and slow starts settle.
func (s site) window() window {
	if s.quick {
		return window{warmUp: 500 * time.Millisecond, length: s.length / 4}
	}
	return window{warmUp: 1500 * time.Millisecond, length: s.length}
}

const (
	workers     = 2   // worker threads, or processes, of every proxy, but where it is one
	concurrency = 128 // short flows at a time, which keeps every processor busy
	streams     = 8   // bulk flows side by side, half of them each way
)

var measures = append([]measure{
	{
		name: "saturated",
		rows: []row{
			{Name: "flow-cpu", Title: "CPU per 1,000 short flows, saturated", Unit: "s", Goal: goal{0.85, betterPeer}},
			{Name: "flow-rate", Title: "Short flows per second, two workers and the load on all processors", Unit: "1/s", More: true},
		},
		run: (*bench).saturated,
	},
	{
		name: "one-core",
		rows: []row{
			{Name: "core-rate", Title: "New flows per second with one core", Unit: "1/s", More: true},
			{Name: "core-cpu", Title: "CPU per 1,000 short flows, one worker on one core", Unit: "s"},
			{Name: "core-busy", Title: "How busy that core was with the proxy", Unit: "%"},
		},
		run: (*bench).oneCore,
	},
	{
		name: "paced", direct: true,
		rows: []row{
			{Name: "paced-cpu", Title: "CPU per 1,000 short flows at the fixed rate", Unit: "s", Goal: goal{1, betterPeer}},
			{Name: "latency-p50", Title: "Latency added to a short flow at the fixed rate, p50", Unit: "µs"},
			{Name: "latency-p99", Title: "Latency added to a short flow at the fixed rate, p99", Unit: "µs", Goal: goal{1, betterPeer}},
		},
		run: (*bench).paced,
	},
	{
		name: "bulk", splices: true,
		rows: []row{
			{Name: "bulk-1", Title: "CPU per GB, one stream", Unit: "s", Goal: goal{1, splicePeer}},
			{Name: "bulk-8", Title: "CPU per GB, eight streams, four each way", Unit: "s", Goal: goal{1, splicePeer}},
		},
		run: (*bench).bulk,
	},
	{
		name: "memory",
		rows: []row{{Name: "memory", Title: "Resident memory per idle flow, beyond the idle process", Unit: "KiB", Goal: goal{1, nothing}}},
		run:  (*bench).memory,
	},
}, webMeasures()...)

// flows is the load of short flows: played back, or real TLS.
type flows interface {
	saturate(concurrency int, w window) (flows int, err error)
	pace(rate float64, w window) (flows int, latency []time.Duration, err error)
}

// shortFlows returns the load of short flows to a proxy, or to the backend without one.
func (b *bench) shortFlows(run *process) flows {
	preface, to := proxyHeader(clientAddress, endpointID), b.backend.addrs[short]
	if b.realTLS != nil {
		to = b.realTLS.routes()[short].Backend
	}
	if run != nil {
		to = run.addr
	} else {
		preface = nil
	}
	if b.realTLS != nil {
		return &tlsClient{id: b.identity, preface: preface, to: to}
	}
	b.client.to, b.client.preface = to, preface
	return b.client
}

// placed runs do with the proxy on n processors of its own, as far as there are others for the load, or with no proxy.
func (b *bench) placed(ctx context.Context, p proxy, n int, do func(run *process) error) error {
	return errors.Join(b.placedAt(ctx, p, n, b.routes(), do), b.backend.failure())
}

// placedAt is placed with other routes than those of the short flows' backend.
func (b *bench) placedAt(ctx context.Context, p proxy, n int, routes []route, do func(run *process) error) error {
	proxyCores, loadCores := b.cores.split(n)
	if err := stayOn(loadCores); err != nil {
		return err
	}
	if p.command == nil {
		return do(nil)
	}
	run, err := p.run(ctx, routes, min(n, b.cores.all.Count()), proxyCores)
	if err != nil {
		return err
	}
	err = do(run)
	if ended := run.close(); ended != nil {
		err = errors.Join(err, fmt.Errorf("%s: %w", p.name, ended))
	}
	return err
}

func (b *bench) saturated(ctx context.Context, on site) (outcome, error) {
	return b.saturate(ctx, on, workers, func(m meter, n int) map[string]float64 {
		return map[string]float64{"flow-cpu": perThousand(m.cpu, n), "flow-rate": float64(n) / m.spent.Seconds()}
	})
}

func (b *bench) oneCore(ctx context.Context, on site) (outcome, error) {
	return b.saturate(ctx, on, 1, func(m meter, n int) map[string]float64 {
		return map[string]float64{
			"core-cpu": perThousand(m.cpu, n), "core-rate": float64(n) / m.spent.Seconds(),
			"core-busy": 100 * m.cpu.Seconds() / m.spent.Seconds(),
		}
	})
}

func (b *bench) saturate(
	ctx context.Context, on site, workers int, say func(m meter, flows int) map[string]float64,
) (out outcome, err error) {
	err = b.placed(ctx, on.proxy, workers, func(run *process) error {
		m := meter{pids: run.pids}
		n, err := b.shortFlows(run).saturate(concurrency, m.window(on.window()))
		out = outcome{say(m, n), m.others}
		return err
	})
	return out, err
}

func perThousand(cpu time.Duration, flows int) float64 { return cpu.Seconds() / float64(flows) * 1000 }

// paced drives the proxy at the fixed rate. Its latencies are those of the whole way; what the proxy added is told once
// the same round without a proxy is known.
func (b *bench) paced(ctx context.Context, on site) (out outcome, err error) {
	err = b.placed(ctx, on.proxy, workers, func(run *process) error {
		var m meter
		if run != nil {
			m.pids = run.pids
		}
		n, latency, err := b.shortFlows(run).pace(b.rate, m.window(on.window()))
		if err != nil {
			return err
		}
		out = outcome{map[string]float64{
			"latency-p50": float64(percentile(latency, 50).Nanoseconds()) / 1e3,
			"latency-p99": float64(percentile(latency, 99).Nanoseconds()) / 1e3,
		}, m.others}
		if run != nil {
			out.values["paced-cpu"] = perThousand(m.cpu, n)
		}
		return nil
	})
	return out, err
}

// bulk moves bytes on one stream and on several.
func (b *bench) bulk(ctx context.Context, on site) (out outcome, err error) {
	several := make([]errand, streams)
	for i := range several {
		several[i] = download
		if i%2 == 1 {
			several[i] = upload
		}
	}
	total := int64(4e9)
	if on.quick {
		total = 1e9
	}
	err = b.placed(ctx, on.proxy, workers, func(run *process) error {
		b.client.to, b.client.preface = run.addr, proxyHeader(clientAddress, endpointID)
		move := func(total int64, flows []errand) (float64, error) {
			b.setBulk(total / int64(len(flows)))
			m := meter{pids: run.pids}
			err := errors.Join(m.open(), b.client.carry(flows), m.shut())
			out.others = max(out.others, m.others)
			return m.cpu.Seconds() / (float64(total) / 1e9), err
		}
		if _, err := move(2e8, several); err != nil { // the warm-up
			return err
		}
		one, err1 := move(total, []errand{download})
		eight, err8 := move(total, several)
		out.values = map[string]float64{"bulk-1": one, "bulk-8": eight}
		return errors.Join(err1, err8)
	})
	return out, err
}

// settle is how long a proxy is left alone before its memory is read.
const settle = 3 * time.Second

// idleFor is how long flows have idled when memory is taken: idle flows stay for minutes and hours, and what opening
// thousands at once needed for a moment is not theirs.
const idleFor = 25 * time.Second

// memory opens many flows, lets each have its exchange, and looks what they hold while nothing happens.
func (b *bench) memory(ctx context.Context, on site) (out outcome, err error) {
	err = b.placed(ctx, on.proxy, workers, func(run *process) error {
		b.client.to, b.client.preface = run.addr, proxyHeader(clientAddress, endpointID)
		// What the first flows load is not what a flow holds.
		if err := errors.Join(b.client.hold(100), b.client.release()); err != nil {
			return err
		}
		time.Sleep(settle)
		before, err := residentMemory(run.pids)
		if err != nil {
			return err
		}
		if err := b.client.hold(b.Idle); err != nil {
			return err
		}
		time.Sleep(idleFor)
		after, err := residentMemory(run.pids)
		out.values = map[string]float64{"memory": float64(after-before) / 1024 / float64(b.Idle)}
		return errors.Join(err, b.client.release())
	})
	return out, err
}
