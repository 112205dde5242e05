// Package servertest runs real servers for tests: other people's programs, which the product has to get on with. Whether
// a program is installed is for the test to ask, which says what it is skipped for.
package servertest
