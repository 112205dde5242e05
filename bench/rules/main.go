// Command rules measures how soon a change of the rules is in force at every gateway. The control plane is the real one,
// its API, its SQLite database and all, with a hundred thousand clusters and a million authorised endpoints in it. The
// gateways are what a gateway's rules stream is: the real client over real HTTP, the documents decoded, and the policy's
// own rules changed by them and acknowledged, without flows and without a disk. One of them loads and holds everything;
// a machine does not have the memory for a hundred such, so the others begin as gateways that come back do: they hold a
// part of the same version and follow the same changes. To apply one costs in proportion to the change, not to the rules.
//
//	go run ./bench/rules [--json] [--gateways 100] [--clusters 100000] [--endpoints 1000000] [--changes 200] [--every 250ms]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// setting is what is simulated.
type setting struct {
	Gateways  int           `json:"gateways"`
	Clusters  int           `json:"clusters"`
	Endpoints int           `json:"endpoints"`
	Changes   int           `json:"changes"`
	Every     time.Duration `json:"every_ns"` // from one change to the next
	Part      int           `json:"part"`     // how many clusters all gateways but one hold
}

// result is what was measured. Times are in milliseconds unless their name says otherwise.
type result struct {
	Setting setting `json:"setting"`

	FullBytes     int64   `json:"full_set_bytes"`       // on the wire
	FullLoad      float64 `json:"full_load_ms"`         // from the hello of a gateway without rules to its rules in force
	FullCompile   float64 `json:"full_compile_ms"`      // of that, the policy's part
	FullMemory    int64   `json:"full_memory_bytes"`    // of one gateway's rules in force
	DecideNs      float64 `json:"decide_ns"`            // one decision at full size, in one goroutine
	ControlMemory int64   `json:"control_memory_bytes"` // heap of the whole simulation less the rules, after the changes

	Call    quantiles `json:"call_ms"`    // an operator's call that changes the rules
	Commit  quantiles `json:"commit_ms"`  // from the commit of a change to its being in force, over all gateways
	Last    quantiles `json:"last_ms"`    // the same at the last of the gateways, over the changes
	Request quantiles `json:"request_ms"` // from before the operator's call to its being in force, over all gateways
	Acked   quantiles `json:"acked_ms"`   // from the commit to the control plane's answer to the acknowledgement
	Apply   quantiles `json:"apply_ms"`   // of one change at the gateway that holds everything
}

// quantiles are a distribution's.
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
	N   int     `json:"n"`
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func quantilesOf(times []time.Duration) quantiles {
	if len(times) == 0 {
		return quantiles{}
	}
	slices.Sort(times)
	at := func(q float64) float64 { return ms(times[min(int(q*float64(len(times))), len(times)-1)]) }
	return quantiles{P50: at(0.5), P99: at(0.99), Max: ms(times[len(times)-1]), N: len(times)}
}

func main() {
	var s setting
	asJSON := flag.Bool("json", false, "print the result as JSON")
	flag.IntVar(&s.Gateways, "gateways", 100, "how many gateways follow the rules")
	flag.IntVar(&s.Clusters, "clusters", 100_000, "how many clusters there are")
	flag.IntVar(&s.Endpoints, "endpoints", 1_000_000, "how many endpoints are authorised")
	flag.IntVar(&s.Changes, "changes", 200, "how many changes are made")
	flag.DurationVar(&s.Every, "every", 250*time.Millisecond, "the time from one change to the next")
	flag.IntVar(&s.Part, "part", 1000, "how many clusters the gateways hold that do not hold all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	r, err := simulate(ctx, s, os.Stderr)
	stop()
	if err == nil && *asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(r)
	} else if err == nil {
		err = r.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/rules:", err)
		os.Exit(1)
	}
}

func (r result) print(w io.Writer) error {
	s := r.Setting
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%d gateways, %d clusters, %d authorised endpoints; %d changes, one every %v; %d processors, %s\n\n",
		s.Gateways, s.Clusters, s.Endpoints, s.Changes, s.Every, runtime.GOMAXPROCS(0), runtime.Version())
	fmt.Fprintln(t, "ms\tp50\tp99\tmax\tn\t")
	for _, row := range []struct {
		name string
		q    quantiles
	}{
		{"commit → in force, every gateway", r.Commit},
		{"commit → in force, the last gateway", r.Last},
		{"commit → acknowledged, every gateway", r.Acked},
		{"call → in force, every gateway", r.Request},
		{"the operator's call", r.Call},
		{"applying at the full size", r.Apply},
	} {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%d\t\n", row.name, row.q.P50, row.q.P99, row.q.Max, row.q.N)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	const mega = 1 << 20
	_, err := fmt.Fprintf(w, "\nfull set: %.1f MiB on the wire, in force after %.1f s (%.1f s of it compiling), %.0f MiB of memory per gateway\n"+
		"one decision among them: %.0f ns\nthe control plane, its database's cache and the clients: %.0f MiB of heap\n",
		float64(r.FullBytes)/mega, r.FullLoad/1000, r.FullCompile/1000, float64(r.FullMemory)/mega, r.DecideNs, float64(r.ControlMemory)/mega)
	return err
}
