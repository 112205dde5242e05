// Package proxytest is what tests of reverse proxies need: an application with Docker registries behind it, certificates,
// Docker's clients, and the suite that a web server in front of the application has to pass. The programs are real ones;
// whether they are installed is for the test to ask, which says what it is skipped for.
package proxytest
