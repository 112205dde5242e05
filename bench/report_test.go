//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

func TestSummaries(t *testing.T) {
	for _, tt := range []struct {
		rounds []float64
		want   summary
	}{
		{nil, summary{}},
		{[]float64{4}, summary{4, 4, 4}},
		{[]float64{9, 1, 2}, summary{1, 2, 9}},
		{[]float64{4, 1, 2, 3}, summary{1, 2.5, 4}},
	} {
		if got := summarise(tt.rounds); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.rounds, got, tt.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	hundred := func() []time.Duration {
		var all []time.Duration
		for i := range time.Duration(100) {
			all = append(all, 100-i) // percentile has to sort
		}
		return all
	}
	for _, tt := range []struct {
		name   string
		values []time.Duration
		p      float64
		want   time.Duration
	}{
		{"none", nil, 50, 0},
		{"one", []time.Duration{7}, 99, 7},
		{"the middle of three", []time.Duration{9, 1, 5}, 50, 5},
		{"the lower middle of two", []time.Duration{9, 1}, 50, 1},
		{"p50 of 1 to 100", hundred(), 50, 50},
		{"p99 of 1 to 100", hundred(), 99, 99},
		{"just above it", hundred(), 99.1, 100},
		{"all", hundred(), 100, 100},
		{"nothing", hundred(), 0, 1},
	} {
		if got := percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestGoals(t *testing.T) {
	rounds := func(ours, haproxy, splice, nginx float64) values {
		all := values{}
		for name, v := range map[string]float64{ourName: ours, plainName: haproxy, spliceName: splice, nginxName: nginx} {
			if v != 0 {
				all[name] = []float64{v * 2, v, v / 2} // the median counts
			}
		}
		return all
	}
	for _, tt := range []struct {
		name   string
		row    row
		rounds values
		ratio  float64
		missed bool
	}{
		{"less is better: against the lower peer", row{Goal: goal{0.85, betterPeer}}, rounds(8, 10, 1, 16), 0.8, false},
		{"the other peer is better", row{Goal: goal{0.85, betterPeer}}, rounds(8, 16, 1, 8), 1, true},
		{"more is better: against the higher peer", row{More: true, Goal: goal{1, betterPeer}}, rounds(20, 10, 1, 16), 1.25, false},
		{"more is better, and it is less", row{More: true, Goal: goal{1, betterPeer}}, rounds(12, 10, 1, 16), 0.75, true},
		{"against forced splicing", row{Goal: goal{1, splicePeer}}, rounds(3, 10, 2, 16), 1.5, true},
		{"as it is", row{Goal: goal{1, nothing}}, rounds(0.5, 10, 2, 16), 0.5, false},
		{"no peer was measured", row{Goal: goal{1, betterPeer}}, rounds(3, 0, 0, 0), 0, false},
		{"the gateway was not measured", row{Goal: goal{1, betterPeer}}, rounds(0, 10, 2, 16), 0, false},
		{"a peer that seems to take time away", row{Goal: goal{1, betterPeer}}, rounds(3, 10, 2, -16), 0, false},
		{"no goal", row{}, rounds(3, 10, 2, 16), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := judge(tt.row, tt.rounds, []string{ourName, plainName, spliceName, nginxName})
			if got.Ratio != tt.ratio || got.Missed != tt.missed {
				t.Errorf("ratio %v, missed %v; want %v, %v", got.Ratio, got.Missed, tt.ratio, tt.missed)
			}
		})
	}
}

func TestTheTableSaysWhatIsMissed(t *testing.T) {
	var out strings.Builder
	r := row{Title: "Oranges", Unit: "kg", Goal: goal{0.85, betterPeer}}
	printResults(&out, []result{judge(r, values{ourName: {0.12345}, plainName: {0.1}, nginxName: {0.2}}, []string{ourName, plainName, nginxName})})
	for _, want := range []string{"Oranges (kg)", "0.123", "1.23", "goal: ≤ 0.85 × the better peer: MISSED, 1.23"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.012345: "0.0123", 1.2345: "1.23", 123.4: "123", 12345: "12345", -1.2345: "-1.23"} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // of the error; empty for none
	}{
		{nil, ""},
		{[]string{"--only", "bulk,paced", "--proxies", "postern,nginx", "--rounds", "5"}, ""},
		{[]string{"--only", "speed"}, "saturated"},
		{[]string{"--proxies", "traefik"}, "haproxy-splice"},
		{[]string{"--rounds", "0"}, "--rounds"},
		{[]string{"--tls", "none"}, "--tls"},
		{[]string{"now"}, `"now"`},
	} {
		_, err := parse(tt.args)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%v: %v, want %q", tt.args, err, tt.want)
		}
	}
}
