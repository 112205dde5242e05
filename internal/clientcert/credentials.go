package clientcert

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// maxCredentials is how long a header with credentials may be that is looked into.
const maxCredentials = 16 << 10

// ReadCredentials says whose the credentials of a request are, from the lines of its Authorization headers and of those
// that carry an API key. They are not verified, which is the application's part; it is only asked whether they are
// another user's than the certificate. A name is told by
//
//   - Basic (RFC 7617): the user's name;
//   - Bearer with a JSON web token: its subject, of one of the form …/users/NAME the NAME.
//
// Whose anything else is cannot be told, as with two credentials at once.
func ReadCredentials(authorization, keys []string) Credentials {
	switch {
	case len(authorization) == 0 && len(keys) == 0:
		return Credentials{}
	case len(authorization) != 1 || len(keys) > 0 || len(authorization[0]) > maxCredentials:
		return Credentials{Kind: NamelessCredentials}
	}
	scheme, rest, _ := strings.Cut(strings.Trim(authorization[0], " \t"), " ")
	rest = strings.Trim(rest, " \t")
	user := ""
	switch strings.ToLower(scheme) {
	case "basic":
		user = basicUser(rest)
	case "bearer":
		user = subject(rest)
	}
	if !isUser(user) {
		return Credentials{Kind: NamelessCredentials}
	}
	return Credentials{Kind: NamedCredentials, User: user}
}

func basicUser(text string) string {
	pair, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	user, _, ok := strings.Cut(string(pair), ":")
	if !ok {
		return ""
	}
	return user
}

// subject returns the user in a JSON web token's sub (RFC 7519, section 4.1.2), empty when it is none.
func subject(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	before, name, pathed := cutLast(claims.Subject, "/")
	switch {
	case !pathed:
		return claims.Subject
	case before == "users" || strings.HasSuffix(before, "/users"):
		return name
	}
	return ""
}

// cutLast cuts s at the last sep; found reports whether there is one.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}
