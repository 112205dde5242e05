//go:build race

package clientcert

// raced tells that the race detector is on, with which computing takes some ten times longer.
const raced = true
