// Package verify finds out whether a private path works, and says so in words a person can act on.
//
// It is made of two halves. Probe does the I/O: from a Vantage it resolves, connects, shakes hands and asks the gateway
// for a proof of path, and returns nothing but what it saw. Judge is pure: from the target, the observations and what the
// vendor's control plane knows it makes a Report of checks, each with a stable code, its cause, whose side it is on and
// what to do next. Keeping them apart makes every diagnosis a row in a table test.
package verify
