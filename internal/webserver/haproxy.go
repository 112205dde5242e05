package webserver

import (
	"context"
	"slices"
	"strings"
)

// tryHAProxy has HAProxy test the text, which is a whole configuration.
func tryHAProxy(ctx context.Context, tr *trial) error {
	tr.test(ctx, tr.program.Path, "-c", "-f", tr.path(textName))
	tr.report.Messages = slices.DeleteFunc(tr.report.Messages, func(line string) bool {
		return line == "Configuration file is valid" || strings.HasPrefix(line, "[NOTICE]")
	})
	return nil
}
