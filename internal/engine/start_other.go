//go:build !linux

package engine

// Start starts an engine: on this system that of StartNet.
func Start(cfg Config) (Engine, error) { return StartNet(cfg) }
