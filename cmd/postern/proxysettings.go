package main

import (
	"errors"
	"slices"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// proxyOf is what settings mean, and everything that is wrong with them.
func proxyOf(s api.ReverseProxySettings) (link.ReverseProxy, error) {
	p, err := httpapi.ReadReverseProxy(s)
	if err == nil {
		return p, nil // what may not be, proxyconf says when it renders
	}
	errs := parts(err)
	for _, e := range proxyconf.Check(proxyconf.Complete(p)) {
		if !slices.ContainsFunc(errs, func(known error) bool {
			k, ok := errors.AsType[*link.Error](known)
			return ok && k.Field == e.Field
		}) {
			errs = append(errs, e)
		}
	}
	return p, errors.Join(errs...)
}

// parts are the errors that were joined to one.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
