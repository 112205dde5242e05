// Command postern-gateway is Postern's data path alone: it takes flows from the load balancer and from the public side,
// and relays those that the control plane's rules allow. It links no database driver and no cloud SDK.
//
// The process starts twice. The first time it opens its listening sockets, drops every privilege and executes itself
// with the sockets; the second time it serves. A successor, started on SIGHUP, gets the sockets in the same way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
)

func main() {
	err := run(os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "postern-gateway:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "postern-gateway:", err)
		os.Exit(1)
	}
}

// errUsage is in the chain of every error that another command line heals.
var errUsage = errors.New("try postern-gateway --help")

func run(args []string, getenv func(string) string, stderr io.Writer) error {
	o, err := parse(args, getenv, stderr)
	if err != nil {
		return err
	}
	log := o.logger(stderr)
	if getenv(socketsVariable) == "" {
		return prepare(o, getenv, log)
	}
	p := &process{
		options: o, log: log, ended: make(chan struct{}),
		notifySocket: getenv("NOTIFY_SOCKET"), setProcessors: getenv("GOMAXPROCS") == "",
	}
	if p.sockets, p.ready, err = inherited(getenv); err != nil {
		return err
	}
	return p.serve(getenv)
}

// prepare does what may take privileges, drops them, and puts the program in its own place. It returns only when one of
// these fails.
func prepare(o options, getenv func(string) string, log *slog.Logger) error {
	var who *account
	if o.user != "" {
		var err error
		if who, err = findAccount(o.user); err != nil {
			return err
		}
	}
	s, err := activated(getenv)
	if err != nil {
		return err
	}
	names := slices.Collect(maps.Keys(s))
	for _, l := range o.listeners {
		names = append(names, l.name)
	}
	if o.metrics != nil {
		names = append(names, *o.metrics)
	}
	if err := o.fits(names); err != nil {
		return err
	}
	if err := s.open(context.Background(), names); err != nil {
		return fmt.Errorf("%w\nNext: check --private, --public and --metrics; is another process listening there?", err)
	}
	if err := makeData(o.data, who); err != nil {
		return fmt.Errorf("%w\nNext: give a directory that can be made, with --data", err)
	}
	if err := giveUp(log, who, o.data); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		log.Warn("runs as root, which it does not need: give --user")
	}
	return s.replace()
}
