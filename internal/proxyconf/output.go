package proxyconf

import (
	"cmp"
	"errors"

	"github.com/postern/postern/internal/link"
)

// Output is a server's configuration.
type Output struct {
	Text  string
	Notes []Note
}

// Note is what a person should know before using a text. Code is stable and upper snake case.
type Note struct {
	Code, Text string
}

// Render returns the configuration of the target's server for p, which need not be complete and may have been made for another
// server. Errors are *link.Error of kind Invalid, all of them joined: what Check finds, and what the target's version cannot do.
func Render(p link.ReverseProxy, t Target) (Output, error) {
	t.Server = cmp.Or(t.Server, p.Server)
	t = t.complete()
	p.Server = t.Server
	p = Complete(p)
	if errs := Check(p); len(errs) > 0 {
		return Output{}, joined(errs)
	}
	return Output{}, nil
}

func joined(errs []*link.Error) error {
	all := make([]error, len(errs))
	for i, e := range errs {
		all[i] = e
	}
	return errors.Join(all...)
}
