package webserver

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
)

// tryCaddy has Caddy translate the text, which is a whole Caddyfile, and set up everything but its listeners.
func tryCaddy(ctx context.Context, tr *trial) error {
	tr.test(ctx, tr.program.Path, "validate", "--adapter", "caddyfile", "--config", tr.path(textName))
	tr.report.Messages = slices.DeleteFunc(tr.report.Messages, func(line string) bool { return line == "Valid configuration" })
	kept := tr.report.Messages[:0]
	for _, line := range tr.report.Messages {
		if line = caddyMessage(line); line != "" {
			kept = append(kept, line)
		}
	}
	tr.report.Messages = kept
	return nil
}

// caddyMessage is what a line of Caddy's log says; empty when it is only about what it does.
func caddyMessage(line string) string {
	if !strings.HasPrefix(line, "{") {
		return line
	}
	var entry struct{ Level, Msg, Error, File, Line string }
	dec := json.NewDecoder(strings.NewReader(line))
	if err := dec.Decode(&entry); err != nil && entry.Msg == "" {
		return line
	}
	if entry.Level == "info" || entry.Level == "debug" {
		return ""
	}
	return strings.TrimSuffix(entry.Level+": "+entry.Msg+": "+entry.Error, ": ")
}
