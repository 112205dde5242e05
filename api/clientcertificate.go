package api

import (
	"context"
	"net/http"
	"time"
)

// ClientCertificates is whether a cluster's clients show certificates at the gateway, and what these say of who they are.
// What is absent is off or empty.
type ClientCertificates struct {
	Mode       string           `json:"mode" enum:"OFF,OPTIONAL,REQUIRED" doc:"OFF asks for none. OPTIONAL lets in who shows none, by other credentials. REQUIRED does not"`
	Identity   []string         `json:"identity,omitempty" enum:"subject.cn,san.email,san.uri,san.dns" doc:"Parts of a certificate that may name its user; the first that there is counts"`
	Expression string           `json:"expression,omitempty" doc:"Regular expression that takes the user's name out of that part; the whole part when absent" example:"[^@]+(?=\\d{0,}@)"`
	Samples    []IdentitySample `json:"samples,omitempty" doc:"Tried whenever the settings are saved"`
	Users      CertificateUsers `json:"users,omitzero"`
	OCSP       bool             `json:"ocsp,omitempty" doc:"Whether to ask the responders that certificates name; what they do not say counts as not known"`
	Responders []string         `json:"responders,omitempty" doc:"Exact names of the hosts of the only responders that are asked" example:"[\"ocsp.example.com\"]"`
}

// IdentitySample is a text and what the expression takes out of it.
type IdentitySample struct {
	Text string `json:"text"`
	Want string `json:"want,omitempty" doc:"Nothing when absent"`
}

// CertificateUsers says which users the cluster's application has.
type CertificateUsers struct {
	Listed   bool     `json:"listed,omitempty" doc:"Whether only names are known; otherwise everybody is who is not disabled"`
	Names    []string `json:"names,omitempty"`
	Disabled []string `json:"disabled,omitempty"`
}

// TrustedCertificate is a certificate that vouches for those of clients.
type TrustedCertificate struct {
	ID          string    `json:"id" format:"uuid"`
	ClusterID   string    `json:"cluster_id" format:"uuid"`
	Name        string    `json:"name"`
	Kind        string    `json:"kind" enum:"CA,LEAF" doc:"CA: every certificate that leads to it. LEAF: itself alone"`
	Fingerprint string    `json:"fingerprint" doc:"SHA-256 of the certificate, hexadecimal"`
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial" doc:"Hexadecimal"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Expired     bool      `json:"expired" doc:"Whether it is over, so that it vouches for nobody"`
	Certificate string    `json:"certificate" doc:"PEM"`

	CRLNumber     string    `json:"crl_number,omitempty" doc:"Of the newest revocation list that it has signed; absent when none was given"`
	CRLNextUpdate time.Time `json:"crl_next_update,omitzero" doc:"When the list is over: then nothing is known of any certificate's revocation"`

	CreatedAt time.Time `json:"created_at"`
}

// TrustedCertificateList holds a cluster's trusted certificates, oldest first.
type TrustedCertificateList struct {
	TrustedCertificates []TrustedCertificate `json:"trusted_certificates"`
}

// AddTrustedCertificateRequest trusts a certificate.
type AddTrustedCertificateRequest struct {
	Name        string `json:"name" doc:"By which people know it, unique in the cluster: 1 to 100 characters"`
	Certificate string `json:"certificate" doc:"PEM: one certificate, and no key"`
	Kind        string `json:"kind,omitempty" enum:"CA,LEAF" doc:"When absent, what the certificate says that it is"`
}

// PutCRLRequest gives the revocation list of a trusted CA.
type PutCRLRequest struct {
	CRL string `json:"crl" doc:"PEM, or base64 of DER; signed by the CA, and with a higher number than the list before it"`
}

// RevokedCertificate is one certificate that is not trusted though a trusted CA issued it.
type RevokedCertificate struct {
	ID        string    `json:"id" format:"uuid"`
	ClusterID string    `json:"cluster_id" format:"uuid"`
	TrustedID string    `json:"trusted_id" format:"uuid" doc:"The CA that issued it"`
	Serial    string    `json:"serial" doc:"Hexadecimal, in lower case, without leading zeros"`
	Reason    string    `json:"reason,omitempty"`
	RevokedAt time.Time `json:"revoked_at"`
}

// RevokedCertificateList is a page of a cluster's revoked certificates.
type RevokedCertificateList struct {
	RevokedCertificates []RevokedCertificate `json:"revoked_certificates"`
	Pagination          Pagination           `json:"pagination"`
}

// AddRevokedCertificateRequest revokes one certificate: that of a CA's serial number.
type AddRevokedCertificateRequest struct {
	TrustedID string `json:"trusted_id" doc:"The trusted CA that issued it"`
	Serial    string `json:"serial" doc:"Hexadecimal, with or without colons" example:"0a:1b:2c"`
	Reason    string `json:"reason,omitempty" doc:"For people, at most 200 characters"`
}

// ClientCertificates returns whether the cluster's clients show certificates.
func (c *Client) ClientCertificates(ctx context.Context, clusterID string) (ClientCertificates, error) {
	var out ClientCertificates
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "client-certificates"), nil, nil, &out)
	return out, err
}

// PutClientCertificates makes that be as given.
func (c *Client) PutClientCertificates(ctx context.Context, clusterID string, s ClientCertificates) (ClientCertificates, error) {
	var out ClientCertificates
	err := c.call(ctx, http.MethodPut, path("clusters", clusterID, "client-certificates"), nil, s, &out)
	return out, err
}

// TrustedCertificates returns the certificates that the cluster trusts.
func (c *Client) TrustedCertificates(ctx context.Context, clusterID string) ([]TrustedCertificate, error) {
	var out TrustedCertificateList
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "trusted-certificates"), nil, nil, &out)
	return out.TrustedCertificates, err
}

// TrustedCertificate returns one of them.
func (c *Client) TrustedCertificate(ctx context.Context, clusterID, id string) (TrustedCertificate, error) {
	var out TrustedCertificate
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "trusted-certificates", id), nil, nil, &out)
	return out, err
}

// AddTrustedCertificate trusts a certificate. Asked again for the same one by the same name it returns the one that there is.
func (c *Client) AddTrustedCertificate(ctx context.Context, clusterID string, req AddTrustedCertificateRequest) (TrustedCertificate, error) {
	var out TrustedCertificate
	err := c.call(ctx, http.MethodPost, path("clusters", clusterID, "trusted-certificates"), nil, req, &out)
	return out, err
}

// RemoveTrustedCertificate ends the trust in a certificate, and with it in every one that it vouches for, at once. It returns
// what the certificate was.
func (c *Client) RemoveTrustedCertificate(ctx context.Context, clusterID, id string) (TrustedCertificate, error) {
	var out TrustedCertificate
	err := c.call(ctx, http.MethodDelete, path("clusters", clusterID, "trusted-certificates", id), nil, nil, &out)
	return out, err
}

// PutCRL gives the revocation list of a trusted CA.
func (c *Client) PutCRL(ctx context.Context, clusterID, id string, req PutCRLRequest) (TrustedCertificate, error) {
	var out TrustedCertificate
	err := c.call(ctx, http.MethodPut, path("clusters", clusterID, "trusted-certificates", id, "crl"), nil, req, &out)
	return out, err
}

// RevokedCertificates returns a page of the certificates that are revoked one by one, oldest first.
func (c *Client) RevokedCertificates(ctx context.Context, clusterID string, p Page) (RevokedCertificateList, error) {
	var out RevokedCertificateList
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "revoked-certificates"), p.query(), nil, &out)
	return out, err
}

// RevokedCertificate returns one of them.
func (c *Client) RevokedCertificate(ctx context.Context, clusterID, id string) (RevokedCertificate, error) {
	var out RevokedCertificate
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "revoked-certificates", id), nil, nil, &out)
	return out, err
}

// AddRevokedCertificate revokes one certificate. Asked again it returns what there is.
func (c *Client) AddRevokedCertificate(ctx context.Context, clusterID string, req AddRevokedCertificateRequest) (RevokedCertificate, error) {
	var out RevokedCertificate
	err := c.call(ctx, http.MethodPost, path("clusters", clusterID, "revoked-certificates"), nil, req, &out)
	return out, err
}

// RemoveRevokedCertificate trusts a certificate again that was revoked, and returns what was there.
func (c *Client) RemoveRevokedCertificate(ctx context.Context, clusterID, id string) (RevokedCertificate, error) {
	var out RevokedCertificate
	err := c.call(ctx, http.MethodDelete, path("clusters", clusterID, "revoked-certificates", id), nil, nil, &out)
	return out, err
}
