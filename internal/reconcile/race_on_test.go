//go:build race

package reconcile_test

// raced tells that the race detector is on. The database engine is some twenty times slower then, so that tests which
// repeat one story in many variants run a few of them.
const raced = true
