// Package postern is the root of the repository and holds no code. Its tests keep the repository's shape: who may import
// whom, which dependency may stand where, and what every package, file and test owes its readers.
package postern
