//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"text/tabwriter"
)

// result is a row with what every proxy did in it.
type result struct {
	row
	Proxies []proxyResult `json:"proxies"`
	// Ratio is the gateway's median in the goal's terms; 0 when there is nothing to compare with.
	Ratio  float64 `json:"ratio,omitempty"`
	Missed bool    `json:"missed,omitempty"`
}

// proxyResult is one proxy's part of a row.
type proxyResult struct {
	Proxy  string    `json:"proxy"`
	Rounds []float64 `json:"rounds"`
	summary
	ToHAProxy float64 `json:"to_haproxy,omitempty"` // ratios of medians
	ToBetter  float64 `json:"to_better_peer,omitempty"`
}

// The names that ratios are made of.
const (
	ourName    = "postern"
	plainName  = "haproxy"
	spliceName = "haproxy-splice"
	nginxName  = "nginx"
	caddyName  = "caddy"
	directName = "direct"
)

// values are the rounds of a row, by proxy.
type values map[string][]float64

// judge makes a result of a row's rounds. Proxies come in the order of names; those without rounds are left out.
func judge(r row, rounds values, names []string) result {
	out := result{row: r}
	medians := map[string]float64{}
	for _, name := range names {
		if len(rounds[name]) > 0 {
			medians[name] = summarise(rounds[name]).Median
		}
	}
	better := 0.0
	for _, peer := range []string{plainName, nginxName} {
		if m, has := medians[peer]; has && (better == 0 || r.More == (m > better)) {
			better = m
		}
	}
	for _, name := range names {
		if m, has := medians[name]; has {
			out.Proxies = append(out.Proxies, proxyResult{
				Proxy: name, Rounds: rounds[name], summary: summarise(rounds[name]),
				ToHAProxy: ratio(m, medians[plainName]), ToBetter: ratio(m, better),
			})
		}
	}
	ours, has := medians[ourName]
	if !has || r.Goal == (goal{}) {
		return out
	}
	switch r.Goal.Against {
	case nothing:
		out.Ratio = ours
	case betterPeer:
		out.Ratio = ratio(ours, better)
	case splicePeer:
		out.Ratio = ratio(ours, medians[spliceName])
	case nginxPeer:
		out.Ratio = ratio(ours, medians[nginxName])
	}
	out.Missed = out.Ratio > r.Goal.Limit
	if r.More {
		out.Missed = out.Ratio != 0 && out.Ratio < r.Goal.Limit
	}
	return out
}

// ratio returns a/b, 0 when there is none. What a peer seems to add can be below nothing on a machine that is busy with
// other things, and nothing is a ratio to that.
func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// print writes the results as a table.
func printResults(w io.Writer, results []result) {
	for _, r := range results {
		fmt.Fprintf(w, "\n%s (%s)\n", r.Title, r.Unit)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "\tmedian\tmin\tmax\t× haproxy\t× better peer\t")
		for _, p := range r.Proxies {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", p.Proxy, number(p.Median), number(p.Min), number(p.Max),
				times(p.ToHAProxy), times(p.ToBetter))
		}
		_ = t.Flush() // to where everything else goes
		if g := r.Goal; g != (goal{}) {
			fmt.Fprintf(w, "  goal: %s: %s\n", g.text(r.More), r.verdict())
		}
	}
}

func (g goal) text(more bool) string {
	sign := "≤"
	if more {
		sign = "≥"
	}
	if g.Against == nothing {
		return fmt.Sprintf("%s %g", sign, g.Limit)
	}
	return fmt.Sprintf("%s %.2f × %s", sign, g.Limit, g.Against)
}

func (r result) verdict() string {
	switch {
	case r.Ratio == 0:
		return "nothing to compare with"
	case r.Missed:
		return fmt.Sprintf("MISSED, %.2f", r.Ratio)
	default:
		return fmt.Sprintf("reached, %.2f", r.Ratio)
	}
}

// number writes three significant digits.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return fmt.Sprintf("%.*f", max(digits, 0), v)
}

func times(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}

// document is what --json writes.
type document struct {
	Machine  machine  `json:"machine"`
	Settings settings `json:"settings"`
	Others   float64  `json:"others"` // the most that other programs took of the processors in any window
	Results  []result `json:"results"`
}

func (d document) write(path string) error {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // for whoever wants to read it
}
