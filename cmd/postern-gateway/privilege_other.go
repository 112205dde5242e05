//go:build !linux

package main

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// giveUp drops what the process does not need once its sockets are open: it becomes who, when given. Elsewhere than on
// Linux that is all.
func giveUp(log *slog.Logger, who *account, _ string) error {
	unix.Umask(0o077)
	if who != nil {
		if err := who.become(); err != nil {
			return fmt.Errorf("become user %s: %w", who.name, err)
		}
	}
	log.Info("privileges dropped", "user", unix.Getuid(), "group", unix.Getgid())
	return nil
}
