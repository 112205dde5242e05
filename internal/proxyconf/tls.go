package proxyconf

import "github.com/postern/postern/internal/link"

// The profiles are those of Mozilla's guideline for TLS at servers, version 6.0. Suites of TLS 1.3 are every library's own
// choice, and good.
const (
	// ciphers of TLS 1.2, by OpenSSL's names.
	ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" +
		"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

	// goCiphers are the same by the names of RFC 5289 and RFC 7905, which Caddy takes.
	goCiphers = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 " +
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"

	curves   = "X25519:prime256v1:secp384r1"
	goCurves = "x25519 secp256r1 secp384r1"

	// hsts has browsers use HTTPS alone for two years.
	hsts = "max-age=63072000"
)

func (s *site) modern() bool { return s.p.Profile == link.TLSModern }

// curves returns the groups for the key exchange, by OpenSSL's names. The hybrid one, which withstands quantum computers, is
// in front where the library has it: one that has not refuses the whole list.
func (s *site) curves() string {
	if s.t.OpenSSL.before(3, 5, 0) {
		s.note(NoteCurve, "the key exchange X25519MLKEM768 is left out, since OpenSSL %s does not have it; 3.5 does: --target %s=%s,openssl=3.5",
			s.t.OpenSSL, s.t.Server, s.t.Version)
		return curves
	}
	return "X25519MLKEM768:" + curves
}

// goCurves is curves by Caddy's names.
func (s *site) goCurves() string {
	if s.t.Version.before(2, 10, 0) {
		s.note(NoteCurve, "the key exchange X25519MLKEM768 is left out, since Caddy %s does not have it; 2.10 does: --target caddy=2.10", s.t.Version)
		return goCurves
	}
	return "x25519mlkem768 " + goCurves
}
