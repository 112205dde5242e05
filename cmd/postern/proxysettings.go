package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// readProxySettings reads the settings of a reverse proxy from a file, in JSON or YAML; "-" is in. What
// "postern reverse-proxy get --output json" prints is such a file.
func readProxySettings(path string, in io.Reader) (api.ReverseProxySettings, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(in)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return api.ReverseProxySettings{}, usagef("give a readable file, or - for standard input", "the settings cannot be read: %v", err)
	}
	wrong := func(err error) error {
		return &link.Error{
			Kind: link.Invalid, Reason: "SETTINGS_FILE", Message: fmt.Sprintf("%s is not the settings of a reverse proxy: %v", path, err),
			Hint: `"postern reverse-proxy get --output json" prints such settings`,
		}
	}
	// JSON is YAML too; by way of JSON the names are those of the API, and one that is not known is an error.
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return api.ReverseProxySettings{}, wrong(errors.New(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	if len(doc) == 0 {
		return api.ReverseProxySettings{}, wrong(errors.New("it is empty"))
	}
	text, err = json.Marshal(doc)
	if err != nil {
		return api.ReverseProxySettings{}, wrong(err)
	}
	var out api.ReverseProxy
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return api.ReverseProxySettings{}, wrong(errors.New(strings.TrimPrefix(err.Error(), "json: ")))
	}
	return out.ReverseProxySettings, nil
}

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
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // errors.Join's own, not one that wraps it
		return joined.Unwrap()
	}
	return []error{err}
}

// everyWrong makes one error of all that is wrong with settings: as it is when there is one thing, a line for each otherwise.
func everyWrong(err error) error {
	all := parts(err)
	var lines []string
	for _, one := range all {
		e, ok := errors.AsType[*link.Error](one)
		if !ok {
			return err
		}
		if len(all) == 1 {
			return e
		}
		line := fmt.Sprintf("%s: %s", e.Field, e.Message)
		if e.Hint != "" {
			line += " (" + e.Hint + ")"
		}
		lines = append(lines, line)
	}
	return &link.Error{
		Kind: link.Invalid, Reason: "REVERSE_PROXY", Message: "the settings of the reverse proxy are not right:\n  " + strings.Join(lines, "\n  "),
	}
}
