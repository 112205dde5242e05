//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/postern/postern/api"
)

// outcome is how an operation ended.
type outcome int

const (
	done    outcome = iota
	away            // 503 with a Retry-After: the database cannot be reached
	limited         // 429
	failed          // anything else
)

func outcomeOf(err error) outcome {
	if err == nil {
		return done
	}
	e, ok := errors.AsType[*api.Error](err)
	switch {
	case ok && e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0:
		return away
	case ok && e.Status == http.StatusTooManyRequests:
		return limited
	}
	return failed
}

// statistics counts operations by name. It is safe for concurrent use.
type statistics struct {
	mu       sync.Mutex
	by       map[string]*operationStatistics
	failures []string // the first of them
}

type operationStatistics struct {
	outcomes [failed + 1]int
	took     []time.Duration // of those done
}

// mostFailures is how many are told.
const mostFailures = 10

// record counts an operation that was due at a moment and has just ended.
func (s *statistics) record(name string, due time.Time, err error) outcome {
	took, o := time.Since(due), outcomeOf(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]*operationStatistics{}
	}
	of := s.by[name]
	if of == nil {
		of = &operationStatistics{}
		s.by[name] = of
	}
	of.outcomes[o]++
	switch {
	case o == done:
		of.took = append(of.took, took)
	case o == failed && len(s.failures) < mostFailures:
		s.failures = append(s.failures, fmt.Sprintf("%s: %v", name, err))
	}
	return o
}

// total is how many operations ended in an outcome.
func (s *statistics) total(o outcome) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.by {
		n += of.outcomes[o]
	}
	return n
}

// percentile returns the value below which a part of the sorted list lies.
func percentile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

// print writes a table, a line per operation.
func (s *statistics) print(out io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "operation\tdone\tp50 ms\tp99 ms\tmax ms\t503\t429\tfailed\t")
	line := func(name string, of *operationStatistics) {
		slices.Sort(of.took)
		ms := func(part float64) float64 { return percentile(of.took, part).Seconds() * 1000 }
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t\n", name, of.outcomes[done], ms(.5), ms(.99), ms(1), of.outcomes[away], of.outcomes[limited], of.outcomes[failed])
	}
	all := &operationStatistics{}
	for _, name := range slices.Sorted(maps.Keys(s.by)) {
		of := s.by[name]
		line(name, of)
		if name == seenOnStream {
			continue // nobody asked for it
		}
		all.took = append(all.took, of.took...)
		for o, n := range of.outcomes {
			all.outcomes[o] += n
		}
	}
	line("all requests", all)
	_ = w.Flush() // of a terminal
	for _, f := range s.failures {
		fmt.Fprintln(out, "failed:", f)
	}
}
