// Package h2spec holds no code, only the version of h2spec, a program that tries what HTTP/2 asks of a server. A test of
// internal/httpproxy builds it and runs it. It is a module of its own, so that the product does not depend on it.
package h2spec
