//go:build !race

package clientcert

const raced = false
