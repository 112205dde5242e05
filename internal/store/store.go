// Package store keeps Postern's intent and what was observed, in SQL.
package store

// Store is one installation's database. Open makes one.
type Store struct{}
