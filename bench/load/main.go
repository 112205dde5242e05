//go:build linux

// Command load measures the control plane under load: "postern serve" as people run it, on SQLite and with several processes
// on one PostgreSQL, asked by clients with API keys of several organisations that read, write and follow events, with the
// embedded cloud behind it and a gateway beside it. It fails when one request fails, when something that was acknowledged is
// not there afterwards, when a stream of events has a gap, and when a flow through the gateway breaks. A third run stops
// PostgreSQL in the middle: see docs/benchmarks.md. It needs Linux, and Debian's package postgresql-15.
//
//	go run ./bench/load [--clients 200] [--rate 1] [--for 1m] [--outage 20s] [--only sqlite,postgres,outage]
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

// setting is what is run.
type setting struct {
	Clients       int
	Organisations int
	Rate          float64 // operations of a client in a second
	For           time.Duration
	Postgres      bool
	Processes     int           // on PostgreSQL
	Outage        time.Duration // how long PostgreSQL is away, from a third of the time on; 0 for not at all
	Programs      string        // folder with the programs
}

// runs are the variants, in this order.
var runs = []string{"sqlite", "postgres", "outage"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) (err error) {
	s := setting{}
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.IntVar(&s.Clients, "clients", 200, "how many ask, 256 at most; one in ten of them follows its events as well")
	f.IntVar(&s.Organisations, "organisations", 10, "of how many organisations they are")
	f.Float64Var(&s.Rate, "rate", 1, "operations of each in a second")
	f.DurationVar(&s.For, "for", time.Minute, "how long")
	f.IntVar(&s.Processes, "processes", 3, "control planes on PostgreSQL")
	outage := f.Duration("outage", 20*time.Second, "how long PostgreSQL is away in the run outage")
	only := f.String("only", strings.Join(runs, ","), "which of the runs")
	f.StringVar(&s.Programs, "programs", "", "`folder` with postern and postern-gateway (built from these sources)")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen := strings.Split(*only, ",")
	switch bad := slices.IndexFunc(chosen, func(r string) bool { return !slices.Contains(runs, r) }); {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case bad >= 0:
		return fmt.Errorf("no run %q: there are %s", chosen[bad], strings.Join(runs, ", "))
	case s.Clients < 1 || s.Clients > 256 || s.Organisations < 1 || s.Organisations > s.Clients || s.Processes < 1 || s.Rate <= 0:
		return errors.New("1 to 256 clients, of as many organisations at most; at least one process; a rate above 0")
	}
	dir, err := os.MkdirTemp("", "load-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if s.Programs == "" {
		s.Programs = dir
		if err := build(ctx, dir); err != nil {
			return err
		}
	}
	for _, name := range chosen {
		one := s
		one.Postgres = name != "sqlite"
		if name == "outage" {
			one.Outage = *outage
		}
		at := dir + "/" + name
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		fmt.Printf("== %s: %s\n", name, one)
		r, err := run(ctx, at, one)
		r.print(os.Stdout)
		if err == nil {
			err = r.err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s setting) String() string {
	planes := "one process on SQLite"
	if s.Postgres {
		planes = fmt.Sprintf("%d processes on PostgreSQL", s.Processes)
	}
	if s.Outage > 0 {
		planes += fmt.Sprintf(", which is stopped for %s", s.Outage)
	}
	return fmt.Sprintf("%d clients of %d organisations, %g operations a second each, %s; %s", s.Clients, s.Organisations, s.Rate, s.For, planes)
}
