package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/engine"
)

const (
	// reasonChallenge is why a flow ended in which an authority saw that the gateway holds a name. The word is stable.
	reasonChallenge = "ACME_CHALLENGE"

	challengeTimeout = 5 * time.Second
)

// provesName reports whether an authority may come to see that the gateway holds a name.
func (w *webServer) provesName(name string) bool {
	prover, ok := w.g.cfg.Certificates.(interface{ Answers(name string) bool })
	return ok && prover.Answers(name)
}

// answerChallenge answers an ACME authority's challenge (RFC 8737), which is a handshake and nothing else. No rules say
// where the authority comes from, and all that it gets is a certificate for that purpose: policy is not asked.
func (f *flow) answerChallenge() engine.Action {
	f.phase = inRelay
	return engine.Action{Do: engine.Detach, Take: func(stream net.Conn, done <-chan struct{}) {
		ctx, cancel := context.WithTimeout(context.Background(), challengeTimeout)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { _ = stream.Close() })
		defer stop()
		go func() {
			select {
			case <-done:
				cancel()
			case <-ctx.Done():
			}
		}()
		server := tls.Server(stream, &tls.Config{
			GetCertificate: f.g.cfg.Certificates.Certificate, NextProtos: []string{certificate.ChallengeProtocol}, MinVersion: tls.VersionTLS12,
		})
		_ = server.HandshakeContext(ctx) // the authority finds out by itself
		_ = server.Close()
		f.finish(engine.End{Reason: f.cutOr(done, reasonChallenge)})
	}}
}
