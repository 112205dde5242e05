package fabric

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 4, as the AWS reference for signing requests describes it. Header signatures and presigned URLs.
const (
	signAlgorithm = "AWS4-HMAC-SHA256"
	signTime      = "20060102T150405Z"
	signSkew      = 5 * time.Minute
	signLongest   = 7 * 24 * time.Hour // of a presigned URL
)

// signature is what a request says about its own signing.
type signature struct {
	accessKeyID string
	date        string // of the credential scope, yyyymmdd
	region      string
	service     string
	headers     []string // signed, lower case
	value       string   // hexadecimal
	at          string   // X-Amz-Date
	presigned   bool
	expires     time.Duration // of a presigned URL, from at
}

// signatureOf reads the signature of a request. It returns nil when there is none, and an error text when what is
// there cannot be read.
func signatureOf(r *http.Request) (*signature, string) {
	header := r.Header.Get("Authorization")
	query := r.URL.Query()
	switch {
	case header != "":
		algorithm, rest, _ := strings.Cut(header, " ")
		if algorithm != signAlgorithm {
			return nil, "Unsupported AWS 'algorithm': '" + algorithm + "'."
		}
		fields := map[string]string{}
		for field := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			fields[name] = value
		}
		at := r.Header.Get("X-Amz-Date")
		if at == "" {
			if date, err := http.ParseTime(r.Header.Get("Date")); err == nil {
				at = date.UTC().Format(signTime)
			}
		}
		return newSignature(fields["Credential"], fields["SignedHeaders"], fields["Signature"], at)
	case query.Has("X-Amz-Algorithm"):
		if algorithm := query.Get("X-Amz-Algorithm"); algorithm != signAlgorithm {
			return nil, "Unsupported AWS 'algorithm': '" + algorithm + "'."
		}
		s, problem := newSignature(query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature"), query.Get("X-Amz-Date"))
		if s == nil {
			return nil, problem
		}
		s.presigned = true
		s.expires = 15 * time.Minute
		if text := query.Get("X-Amz-Expires"); text != "" {
			seconds, err := strconv.Atoi(text)
			if err != nil || seconds < 1 || time.Duration(seconds)*time.Second > signLongest {
				return nil, "X-Amz-Expires must be between 1 and 604800 seconds."
			}
			s.expires = time.Duration(seconds) * time.Second
		}
		return s, ""
	}
	return nil, ""
}

func newSignature(credential, headers, value, at string) (*signature, string) {
	switch {
	case credential == "":
		return nil, "Authorization header requires 'Credential' parameter."
	case value == "":
		return nil, "Authorization header requires 'Signature' parameter."
	case headers == "":
		return nil, "Authorization header requires 'SignedHeaders' parameter."
	case at == "":
		return nil, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
	}
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return nil, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
	}
	signed := strings.Split(strings.ToLower(headers), ";")
	if !slices.Contains(signed, "host") {
		return nil, "'Host' must be a 'SignedHeader' in the AWS Authorization."
	}
	return &signature{accessKeyID: scope[0], date: scope[1], region: scope[2], service: scope[3], headers: signed, value: value, at: at}, ""
}

// fresh says whether the signature may be used at now, and why not.
func (s *signature) fresh(now time.Time) (string, bool) {
	at, err := time.Parse(signTime, s.at)
	if err != nil {
		return "Date must be in ISO-8601 'basic format'. Got '" + s.at + "'.", false
	}
	if s.date != at.Format("20060102") {
		return "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" + s.date + "' != '" + at.Format("20060102") + "'.", false
	}
	clock := now.UTC().Format(signTime)
	latest := at.Add(signSkew)
	if s.presigned {
		latest = at.Add(s.expires)
	}
	if now.After(latest) {
		return "Signature expired: " + s.at + " is now earlier than " + clock + " (less the time a signature may be used).", false
	}
	if now.Before(at.Add(-signSkew)) {
		return "Signature not yet current: " + s.at + " is still later than " + clock + " (with 5 min. of clock difference).", false
	}
	return "", true
}

// verifies says whether the request, with that body, was signed with the secret.
func (s *signature) verifies(r *http.Request, body []byte, secret string) bool {
	digest := sha256.Sum256(body)
	payload := hex.EncodeToString(digest[:])
	if declared := r.Header.Get("X-Amz-Content-Sha256"); declared != "" {
		if declared != payload && declared != "UNSIGNED-PAYLOAD" {
			return false
		}
		payload = declared
	}
	canonical := strings.Join([]string{
		r.Method, signedPath(r.URL), signedQuery(r.URL.RawQuery), s.signedHeaders(r), strings.Join(s.headers, ";"), payload,
	}, "\n")
	hashed := sha256.Sum256([]byte(canonical))
	scope := strings.Join([]string{s.date, s.region, s.service, "aws4_request"}, "/")
	text := strings.Join([]string{signAlgorithm, s.at, scope, hex.EncodeToString(hashed[:])}, "\n")

	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(key)), []byte(s.value)) == 1
}

// signedPath is the path as every service but S3 signs it: the escaped path, escaped once more.
func signedPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = signEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// signedQuery is the query with every name and value escaped alike, sorted, without a signature.
func signedQuery(raw string) string {
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if part == "" || errName != nil || errValue != nil || name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{signEscape(name), signEscape(value)})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	parts := make([]string, len(pairs))
	for i, p := range pairs {
		parts[i] = p.name + "=" + p.value
	}
	return strings.Join(parts, "&")
}

// signedHeaders is the block of signed headers. Go's server takes Host and Content-Length out of the header map.
func (s *signature) signedHeaders(r *http.Request) string {
	var block strings.Builder
	for _, name := range s.headers {
		values := r.Header.Values(name)
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		block.WriteString(name + ":")
		for i, value := range values {
			if i > 0 {
				block.WriteString(",")
			}
			block.WriteString(strings.Join(strings.Fields(value), " "))
		}
		block.WriteString("\n")
	}
	return block.String()
}

// signEscape escapes everything but RFC 3986's unreserved characters.
func signEscape(text string) string {
	const digits = "0123456789ABCDEF"
	var escaped strings.Builder
	for _, b := range []byte(text) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_', b == '.', b == '~':
			escaped.WriteByte(b)
		default:
			escaped.Write([]byte{'%', digits[b>>4], digits[b&15]})
		}
	}
	return escaped.String()
}
