package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// CertificatePath is a trusted or a revoked certificate of a cluster in a path.
type CertificatePath struct {
	ClusterPath
	CertificateID string `path:"certificate_id" doc:"The entry's id"`
}

func (p CertificatePath) certificate() (cluster, certificate link.ID, err error) {
	if cluster, err = p.cluster(); err != nil {
		return "", "", err
	}
	certificate, err = link.ParseID("certificate_id", p.CertificateID)
	return cluster, certificate, err
}

func (s *server) clientCertificates() {
	const tag, path = "Client certificates", clusterBase + "/client-certificates"

	register(s, route{
		method: http.MethodGet, path: path, id: "GetClientCertificates", tag: tag, single: true,
		summary: "Tell whether a cluster's clients show certificates, and what these say of them",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ClientCertificates, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ClientCertificates{}, err
			}
			v, err := s.plane.ClientCertificates(ctx, c, id)
			return wireCertificateSettings(v), err
		})

	type put struct {
		ClusterPath
		Body api.ClientCertificates
	}
	register(s, route{
		method: http.MethodPut, path: path, id: "PutClientCertificates", tag: tag,
		summary: "Make that be as given; what is absent is off or empty. Every mistake is told at once, and the samples are tried",
	},
		func(ctx context.Context, c policy.Caller, in *put) (api.ClientCertificates, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ClientCertificates{}, err
			}
			v, err := s.plane.PutClientCertificates(ctx, c, id, readClientCertificates(in.Body))
			return wireCertificateSettings(v), err
		})

	s.trustedCertificates()
	s.revokedCertificates()
}

func (s *server) trustedCertificates() {
	const tag, path = "Client certificates", clusterBase + "/trusted-certificates"

	register(s, route{method: http.MethodGet, path: path, id: "ListTrustedCertificates", tag: tag, summary: "List the certificates that vouch for those of a cluster's clients"},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.TrustedCertificateList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.TrustedCertificateList{}, err
			}
			list, err := s.plane.TrustedCertificates(ctx, c, id)
			return api.TrustedCertificateList{TrustedCertificates: each(list, wireTrustedCertificate)}, err
		})

	type add struct {
		ClusterPath
		Body api.AddTrustedCertificateRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "AddTrustedCertificate", tag: tag,
		summary: "Trust a CA, or a single certificate; asked again it answers with what there is",
	},
		func(ctx context.Context, c policy.Caller, in *add) (api.TrustedCertificate, error) {
			id, err := in.cluster()
			if err != nil {
				return api.TrustedCertificate{}, err
			}
			v, err := s.plane.AddTrustedCertificate(ctx, c, id, in.Body.Name, []byte(in.Body.Certificate), link.TrustKind(in.Body.Kind))
			if err != nil {
				return api.TrustedCertificate{}, err
			}
			return wireTrustedCertificate(v), nil
		})

	one := func(do func(context.Context, policy.Caller, link.ID, link.ID) (control.TrustedCertificateView, error)) func(context.Context, policy.Caller, *CertificatePath) (api.TrustedCertificate, error) {
		return func(ctx context.Context, c policy.Caller, in *CertificatePath) (api.TrustedCertificate, error) {
			cluster, id, err := in.certificate()
			if err != nil {
				return api.TrustedCertificate{}, err
			}
			v, err := do(ctx, c, cluster, id)
			if err != nil {
				return api.TrustedCertificate{}, err
			}
			return wireTrustedCertificate(v), nil
		}
	}
	register(s, route{method: http.MethodGet, path: path + "/{certificate_id}", id: "GetTrustedCertificate", tag: tag, summary: "Get a trusted certificate"},
		one(s.plane.TrustedCertificate))
	register(s, route{
		method: http.MethodDelete, path: path + "/{certificate_id}", id: "RemoveTrustedCertificate", tag: tag,
		summary: "End the trust in a certificate, and at once in every one that it vouches for; what was revoked under it is forgotten",
	}, one(s.plane.RemoveTrustedCertificate))

	type crl struct {
		CertificatePath
		Body api.PutCRLRequest
	}
	register(s, route{
		method: http.MethodPut, path: path + "/{certificate_id}/crl", id: "PutCRL", tag: tag,
		summary: "Give the revocation list of a trusted CA, in the place of an older one",
	},
		func(ctx context.Context, c policy.Caller, in *crl) (api.TrustedCertificate, error) {
			cluster, id, err := in.certificate()
			if err != nil {
				return api.TrustedCertificate{}, err
			}
			data, err := readCRL(in.Body.CRL)
			if err != nil {
				return api.TrustedCertificate{}, err
			}
			v, err := s.plane.PutCRL(ctx, c, cluster, id, data)
			if err != nil {
				return api.TrustedCertificate{}, err
			}
			return wireTrustedCertificate(v), nil
		})
}

func (s *server) revokedCertificates() {
	const tag, path = "Client certificates", clusterBase + "/revoked-certificates"

	register(s, route{method: http.MethodGet, path: path, id: "ListRevokedCertificates", tag: tag, summary: "List the certificates that are revoked one by one"},
		func(ctx context.Context, c policy.Caller, in *ClusterPage) (api.RevokedCertificateList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.RevokedCertificateList{}, err
			}
			list, next, err := s.plane.RevokedCertificates(ctx, c, id, in.page())
			return api.RevokedCertificateList{RevokedCertificates: each(list, wireRevokedCertificate), Pagination: api.Pagination{NextPage: next}}, err
		})

	type add struct {
		ClusterPath
		Body api.AddRevokedCertificateRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "AddRevokedCertificate", tag: tag,
		summary: "Revoke one certificate that a trusted CA issued, by its serial number; asked again it answers with what there is",
	},
		func(ctx context.Context, c policy.Caller, in *add) (api.RevokedCertificate, error) {
			id, err := in.cluster()
			if err != nil {
				return api.RevokedCertificate{}, err
			}
			trusted, err := link.ParseID("trusted_id", in.Body.TrustedID)
			if err != nil {
				return api.RevokedCertificate{}, err
			}
			r, err := s.plane.AddRevokedCertificate(ctx, c, id, trusted, in.Body.Serial, in.Body.Reason)
			return wireRevokedCertificate(r), err
		})

	one := func(do func(context.Context, policy.Caller, link.ID, link.ID) (link.RevokedCertificate, error)) func(context.Context, policy.Caller, *CertificatePath) (api.RevokedCertificate, error) {
		return func(ctx context.Context, c policy.Caller, in *CertificatePath) (api.RevokedCertificate, error) {
			cluster, id, err := in.certificate()
			if err != nil {
				return api.RevokedCertificate{}, err
			}
			r, err := do(ctx, c, cluster, id)
			return wireRevokedCertificate(r), err
		}
	}
	register(s, route{method: http.MethodGet, path: path + "/{certificate_id}", id: "GetRevokedCertificate", tag: tag, summary: "Get a revoked certificate"},
		one(s.plane.RevokedCertificate))
	register(s, route{
		method: http.MethodDelete, path: path + "/{certificate_id}", id: "RemoveRevokedCertificate", tag: tag,
		summary: "Trust a certificate again that was revoked here",
	}, one(s.plane.RemoveRevokedCertificate))
}

// readCRL reads a revocation list as JSON holds it: PEM, or DER in base64, in lines or without.
func readCRL(s string) ([]byte, error) {
	if strings.Contains(s, "-----BEGIN ") {
		return []byte(s), nil
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil || len(der) == 0 {
		return nil, &link.Error{
			Kind: link.Invalid, Reason: "MALFORMED_CRL", Field: "crl", Message: "neither PEM nor base64", Hint: "give the list in PEM, or its DER in base64",
		}
	}
	return der, nil
}

func readClientCertificates(in api.ClientCertificates) link.ClientCertificates {
	out := link.ClientCertificates{
		Mode: link.CertificateMode(in.Mode), Expression: in.Expression, OCSP: in.OCSP, Responders: append([]string(nil), in.Responders...),
		Users: link.Users{
			Listed: in.Users.Listed, Names: append([]string(nil), in.Users.Names...), Disabled: append([]string(nil), in.Users.Disabled...),
		},
	}
	for _, i := range in.Identity {
		out.Identity = append(out.Identity, link.IdentitySource(i))
	}
	for _, s := range in.Samples {
		out.Samples = append(out.Samples, link.IdentitySample(s))
	}
	return out
}

func wireCertificateSettings(c link.ClientCertificates) api.ClientCertificates {
	return api.ClientCertificates{
		Mode: string(c.Mode), Identity: text(c.Identity), Expression: c.Expression,
		Samples: each(c.Samples, func(s link.IdentitySample) api.IdentitySample { return api.IdentitySample(s) }),
		Users:   api.CertificateUsers{Listed: c.Users.Listed, Names: c.Users.Names, Disabled: c.Users.Disabled},
		OCSP:    c.OCSP, Responders: c.Responders,
	}
}

func wireTrustedCertificate(v control.TrustedCertificateView) api.TrustedCertificate {
	cert := v.Certificate
	out := api.TrustedCertificate{
		ID: string(v.ID), ClusterID: string(v.ClusterID), Name: v.Name, Kind: string(v.Kind), Fingerprint: clientcert.Fingerprint(cert),
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Serial: clientcert.Serial(cert.SerialNumber),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), Expired: v.Expired,
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.DER})),
		CRLNumber:   v.CRLNumber, CreatedAt: v.CreatedAt.UTC(),
	}
	if !v.CRLNext.IsZero() {
		out.CRLNextUpdate = v.CRLNext.UTC()
	}
	return out
}

func wireRevokedCertificate(r link.RevokedCertificate) api.RevokedCertificate {
	return api.RevokedCertificate{
		ID: string(r.ID), ClusterID: string(r.ClusterID), TrustedID: string(r.TrustedID), Serial: r.Serial, Reason: r.Reason, RevokedAt: r.RevokedAt.UTC(),
	}
}
