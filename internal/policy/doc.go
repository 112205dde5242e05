// Package policy decides: may this caller do this, may this flow pass. It is pure: decisions are values made of facts,
// with what decided and why, and nothing here knows a clock, a network or a log.
package policy
