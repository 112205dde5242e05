package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// TestErrorsSayWhatToDoNext is the table of exit codes in README.md.
func TestErrorsSayWhatToDoNext(t *testing.T) {
	answered := func(status int) error {
		return fmt.Errorf("listing: %w", &api.Error{
			Status: status, Message: "no", Details: []api.ErrorDetail{{Reason: "WHY", Field: "cidr_ip", Hint: "do this"}},
		})
	}
	of := func(k link.Kind) error {
		return fmt.Errorf("connecting: %w", &link.Error{Kind: k, Reason: "WHY", Field: "cidr_ip", Message: "no", Hint: "do this"})
	}
	for _, tc := range []struct {
		name string
		err  error
		code int
		says string
	}{
		{"wrong input, found here", of(link.Invalid), exitUsage, "do this"},
		{"wrong input, found there", answered(400), exitUsage, "do this"},
		{"too much input", answered(413), exitUsage, "cidr_ip"},
		{"not known", answered(401), exitRefused, "WHY"},
		{"not allowed", of(link.Denied), exitRefused, "WHY"},
		{"not there", answered(404), exitFailed, "do this"},
		{"in conflict", answered(409), exitFailed, "do this"},
		{"too many requests", answered(429), exitUnreachable, "do this"},
		{"the cloud is away", of(link.Unavailable), exitUnreachable, "do this"},
		{"the control plane is away", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, exitUnreachable, "postern up"},
		{"a verb that is none", errors.New(`unknown command "nope" for "postern"`), exitUsage, "postern --help"},
		{"something else", errors.New("the disk is full"), exitFailed, "the disk is full"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var text, doc bytes.Buffer
			a := &app{err: &text, output: "table"}
			if got := a.explain(a.root(), tc.err); got != tc.code || !strings.Contains(text.String(), tc.says) {
				t.Errorf("exit code %d, want %d; it says\n%s\nwhich lacks %q", got, tc.code, text.String(), tc.says)
			}
			a = &app{err: &doc, output: "json"}
			a.explain((&app{}).root(), tc.err)
			var got struct {
				Error telling `json:"error"`
			}
			if err := json.Unmarshal(doc.Bytes(), &got); err != nil || got.Error.Code != tc.code || got.Error.Message == "" {
				t.Errorf("as JSON it is %s, %v", doc.String(), err)
			}
		})
	}
}
