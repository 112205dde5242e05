// Package config reads what an operator writes down about a control plane: a YAML file, environment variables in its
// place, and flags in the place of both. It is strict, since a setting that is silently not understood is found out when
// it is too late: an unknown key, a key given twice, a number without its unit and a secret in the file itself are errors,
// and all of them are told at once, each with its line.
package config
