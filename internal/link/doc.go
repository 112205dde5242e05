// Package link is the vocabulary of private connectivity: the clusters, regions, services, endpoints, connections and
// rules that every other package of Postern talks about, with their states, identifiers and errors. It holds values and
// the rules by which a string becomes one of them; it does no I/O and knows no clock.
package link
