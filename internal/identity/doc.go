// Package identity finds out who somebody is: passwords, tokens with their checksums, and sign-in at an OpenID provider.
// It knows no database and no caller: it says whom the evidence names, and control says what that is worth here.
package identity
