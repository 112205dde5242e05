package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The sample speaks HTTP/2 with who offers it, HTTP/1.1 with others and, to a gateway that ends TLS, without TLS: at every start,
// whichever of its two servers is up first.
func TestTheSampleSpeaksWhatItOffers(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	cert := certificate.TLS.Certificates[0]
	certificate.Close()
	for range 50 {
		s, err := startSampleBackend(cert, "acme")
		if err != nil {
			t.Fatal(err)
		}
		for _, ask := range []struct {
			url   string
			two   bool
			proto string
		}{{"https://", true, "HTTP/2.0"}, {"https://", false, "HTTP/1.1"}, {"http://", false, "HTTP/1.1"}} {
			transport := &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: ask.two, // whose certificate it is does not matter here
			}
			resp, err := (&http.Client{Transport: transport}).Get(ask.url + s.addr + "/api/system/ping")
			if err != nil {
				t.Errorf("%s: %v", ask.url, err)
			} else {
				_ = resp.Body.Close()
				if resp.Proto != ask.proto || resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s %d, want %s", ask.url, resp.Proto, resp.StatusCode, ask.proto)
				}
			}
			transport.CloseIdleConnections()
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
}
