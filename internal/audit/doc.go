// Package audit is the evidence: entries that say who changed or asked for what, each bound to the one before it by a hash,
// checkpoints that sign how far the log has come, and the file in which both are handed to somebody who trusts neither the
// database nor those who run it. Everything here is a function of its arguments; docs/audit.md describes the formats.
package audit
