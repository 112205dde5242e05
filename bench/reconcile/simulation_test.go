package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/plan"
)

// A small one of what the program measures: with faults and limits everything comes about, and while nothing changes the
// cloud is asked for the services alone.
func TestSimulation(t *testing.T) {
	s := setting{
		Connections: 300, Services: 5, PerCluster: 10, Changes: 20, Watch: 2 * time.Second, Faults: 0.02, Workers: 64,
		Latency: time.Millisecond, Settle: 50 * time.Millisecond, Dir: t.TempDir(),
		Cadence: plan.Cadence{Fast: 50 * time.Millisecond, Slow: 500 * time.Millisecond},
	}
	r, err := simulate(t.Context(), s, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.print(t.Output()); err != nil {
		t.Fatal(err)
	}
	const list, accept = "ec2:DescribeVpcEndpointConnections", "ec2:AcceptVpcEndpointConnections"
	if n := r.Requests[accept][cloud.Done]; n == 0 || n > s.Connections+s.Connections/5 {
		t.Errorf("%d requests let in %d endpoints", n, s.Connections)
	}
	if n := r.Steady[accept]; n != 0 {
		t.Errorf("%v endpoints a minute are let in while nothing changes", n)
	}
	// A list per service and slow look, which comes up to a tenth sooner, and those that failed once more.
	if most := float64(s.Services) * float64(time.Minute/s.Cadence.Slow) / 0.9 * 1.5; r.Steady[list] > most {
		t.Errorf("%v lists a minute while nothing changes, at most %v may be", r.Steady[list], most)
	}
}
