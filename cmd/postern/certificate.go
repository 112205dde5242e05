package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
)

func (a *app) clientCertificateCommand() *cobra.Command {
	get := a.clusterVerb("get", "Show whether a cluster's clients show certificates", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		s, err := c.ClientCertificates(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.showClientCertificates(s)
	})
	return noun("client-certificate", "client-certificates", "Whether clients show certificates, and what these say of them", get, a.clientCertificateSet())
}

func (a *app) clientCertificateSet() *cobra.Command {
	var set api.ClientCertificates
	var file string
	var samples, users, disabled []string
	var cmd *cobra.Command
	cmd = a.clusterVerb("set", "Change what is asked of clients", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		named := namedFlags(cmd, "cluster")
		if len(named) == 0 {
			return usagef("give --mode required, for example; see --help", "nothing is to be set")
		}
		var s api.ClientCertificates
		var err error
		if file != "" {
			err = readDocument(cmd, file, &s)
		} else {
			s, err = c.ClientCertificates(ctx, cl.ID)
		}
		if err != nil {
			return err
		}
		for _, name := range named {
			switch name {
			case "mode":
				s.Mode = strings.ToUpper(set.Mode)
			case "identity":
				s.Identity = set.Identity
			case "expression":
				s.Expression = set.Expression
			case "sample":
				s.Samples = nil
				for _, sample := range samples {
					text, want, _ := cutLast(sample, "=")
					s.Samples = append(s.Samples, api.IdentitySample{Text: text, Want: want})
				}
			case "users":
				s.Users.Listed, s.Users.Names = true, users
				if len(users) == 1 && users[0] == "everybody" {
					s.Users.Listed, s.Users.Names = false, nil
				}
			case "disabled":
				s.Users.Disabled = disabled
			case "ocsp":
				s.OCSP = set.OCSP
			case "responder":
				s.Responders = set.Responders
			}
		}
		if s, err = c.PutClientCertificates(ctx, cl.ID, s); err != nil {
			return err
		}
		return a.showClientCertificates(s)
	})
	cmd.Long = `Change what is asked of clients: what the flags name, and the rest stays as it is, or with --file as the file says, a JSON
document as "client-certificate get --output json" prints it.`
	fs := cmd.Flags()
	fs.StringVar(&file, "file", "", "JSON document of all settings, - for standard input")
	fs.StringVar(&set.Mode, "mode", "", "off, optional or required")
	fs.StringSliceVar(&set.Identity, "identity", nil, "parts of a certificate that may name its user, the first that there is counts: subject.cn, san.email, san.uri, san.dns; replaces all")
	fs.StringVar(&set.Expression, "expression", "", "regular expression that takes the user's name out of that part")
	fs.StringArrayVar(&samples, "sample", nil, "TEXT=NAME that the expression is tried with; replaces all")
	fs.StringSliceVar(&users, "users", nil, "names of the only users that are known, or everybody; replaces all")
	fs.StringSliceVar(&disabled, "disabled", nil, "names of users that are not let in; replaces all")
	fs.BoolVar(&set.OCSP, "ocsp", false, "ask the responders that certificates name")
	fs.StringSliceVar(&set.Responders, "responder", nil, "hosts of the only responders that are asked; replaces all")
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"off", "optional", "required"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) showClientCertificates(s api.ClientCertificates) error {
	return a.show(s, &table{head: []string{"SETTING", "VALUE"}}, func(t *table) {
		t.add("mode", s.Mode)
		t.add("identity", orWord(strings.Join(s.Identity, " "), "none"))
		t.add("expression", s.Expression)
		for _, sample := range s.Samples {
			t.add("sample "+sample.Text, orWord(sample.Want, "nothing"))
		}
		users := "everybody"
		if s.Users.Listed {
			users = orWord(strings.Join(s.Users.Names, " "), "nobody")
		}
		if len(s.Users.Disabled) > 0 {
			users += ", without " + strings.Join(s.Users.Disabled, " ")
		}
		t.add("users", users)
		ocsp := "no"
		if s.OCSP {
			ocsp = "of " + orWord(strings.Join(s.Responders, " "), "nobody")
		}
		t.add("OCSP", ocsp)
	})
}

func (a *app) trustedCertificateCommand() *cobra.Command {
	list := a.clusterVerb("list", "List the certificates that vouch for those of a cluster's clients", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		ts, err := c.TrustedCertificates(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.show(api.TrustedCertificateList{TrustedCertificates: ts}, &table{head: []string{"NAME", "ID", "KIND", "SUBJECT", "UNTIL", "REVOCATION LIST"}, none: "no certificate is trusted"}, func(t *table) {
			for _, tc := range ts {
				until, crl := tc.NotAfter.Format(time.DateTime), ""
				if tc.Expired {
					until += " (over)"
				}
				if tc.CRLNumber != "" {
					crl = fmt.Sprintf("%s, until %s", tc.CRLNumber, tc.CRLNextUpdate.Format(time.DateTime))
				}
				t.add(tc.Name, tc.ID, tc.Kind, tc.Subject, until, crl)
			}
		})
	})
	var kind string
	var add *cobra.Command
	add = a.clusterVerb("add NAME FILE", "Trust a CA, or a single certificate", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		cert, err := readCertificate(add, args[1])
		if err != nil {
			return err
		}
		tc, err := c.AddTrustedCertificate(ctx, cl.ID, api.AddTrustedCertificateRequest{
			Name: args[0], Kind: strings.ToUpper(kind), Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		})
		if err != nil {
			return err
		}
		return a.done(tc, "%s %s is trusted: %s, SHA-256 %s, until %s", tc.Kind, tc.Name, tc.Subject, tc.Fingerprint, tc.NotAfter.Format(time.DateTime))
	})
	add.Flags().StringVar(&kind, "kind", "", "ca or leaf (default what the certificate says that it is)")
	remove := a.clusterVerb("remove CERTIFICATE", "End the trust in a certificate, by id or name, and in every one that it vouches for", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		tc, err := pickTrusted(ctx, c, cl, args[0])
		if err != nil {
			return err
		}
		if tc, err = c.RemoveTrustedCertificate(ctx, cl.ID, tc.ID); err != nil {
			return err
		}
		return a.done(tc, "%s %s is no longer trusted, nor is anything that it vouches for", tc.Kind, tc.Name)
	})
	var crl *cobra.Command
	crl = a.clusterVerb("crl CERTIFICATE FILE", "Give the revocation list of a trusted CA, which id or name tells", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		tc, err := pickTrusted(ctx, c, cl, args[0])
		if err != nil {
			return err
		}
		b, err := readInput(crl, args[1])
		if err != nil {
			return err
		}
		text := string(b)
		if !bytes.Contains(b, []byte("-----BEGIN ")) {
			text = base64.StdEncoding.EncodeToString(b)
		}
		if tc, err = c.PutCRL(ctx, cl.ID, tc.ID, api.PutCRLRequest{CRL: text}); err != nil {
			return err
		}
		return a.done(tc, "CA %s has revocation list %s, until %s", tc.Name, tc.CRLNumber, tc.CRLNextUpdate.Format(time.DateTime))
	})
	return noun("trusted-certificate", "trusted-certificates", "Certificates that vouch for those of clients", list, add, remove, crl)
}

// readCertificate reads the one certificate in a file, PEM or DER. What holds a private key is sent nowhere.
func readCertificate(cmd *cobra.Command, file string) (*x509.Certificate, error) {
	b, err := readInput(cmd, file)
	if err != nil {
		return nil, err
	}
	return clientcert.ReadCertificate(b)
}

// pickTrusted finds the trusted certificate that a person named by id or name.
func pickTrusted(ctx context.Context, c *api.Client, cl api.Cluster, name string) (api.TrustedCertificate, error) {
	all, err := c.TrustedCertificates(ctx, cl.ID)
	if err != nil {
		return api.TrustedCertificate{}, err
	}
	var names []string
	for _, tc := range all {
		if tc.ID == name || tc.Name == name {
			return tc, nil
		}
		names = append(names, tc.Name)
	}
	return api.TrustedCertificate{}, &link.Error{
		Kind: link.NotFound, Reason: "UNKNOWN_CERTIFICATE", Field: "CERTIFICATE", Message: "no trusted certificate has this name or id: " + link.Quote(name),
		Hint: "these exist: " + orWord(strings.Join(names, ", "), "none"),
	}
}

func (a *app) revokedCertificateCommand() *cobra.Command {
	list := a.clusterVerb("list", "List the certificates that are revoked one by one", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		var all api.RevokedCertificateList
		for p := (api.Page{Limit: 500}); ; {
			l, err := c.RevokedCertificates(ctx, cl.ID, p)
			if err != nil {
				return err
			}
			all.RevokedCertificates = append(all.RevokedCertificates, l.RevokedCertificates...)
			if p.Token = l.Pagination.NextPage; p.Token == "" {
				break
			}
		}
		trusted, err := c.TrustedCertificates(ctx, cl.ID)
		if err != nil {
			return err
		}
		names := map[string]string{}
		for _, tc := range trusted {
			names[tc.ID] = tc.Name
		}
		return a.show(all, &table{head: []string{"ID", "SERIAL", "ISSUER", "REVOKED", "REASON"}, none: "no certificate is revoked here"}, func(t *table) {
			for _, r := range all.RevokedCertificates {
				t.add(r.ID, r.Serial, cmp.Or(names[r.TrustedID], r.TrustedID), when(r.RevokedAt, time.Now()), r.Reason)
			}
		})
	})
	remove := a.clusterVerb("remove ID", "Trust a certificate again", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		id, err := link.ParseID("ID", args[0])
		if err != nil {
			return err
		}
		r, err := c.RemoveRevokedCertificate(ctx, cl.ID, string(id))
		if err != nil {
			return err
		}
		return a.done(r, "certificate %s is no longer revoked here", r.Serial)
	})
	return noun("revoked-certificate", "revoked-certificates", "Certificates that are not trusted though a trusted CA issued them", list, a.revokedCertificateAdd(), remove)
}

func (a *app) revokedCertificateAdd() *cobra.Command {
	var file, serial, trusted, reason string
	var cmd *cobra.Command
	cmd = a.clusterVerb("add", "Revoke one certificate", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		req := api.AddRevokedCertificateRequest{Serial: serial, Reason: reason}
		switch {
		case file != "":
			cert, err := readCertificate(cmd, file)
			if err != nil {
				return err
			}
			req.Serial = clientcert.Serial(cert.SerialNumber)
			if trusted == "" {
				if trusted, err = issuerOf(ctx, c, cl, cert); err != nil {
					return err
				}
			}
		case trusted == "":
			return usagef("give --trusted, or the certificate with --certificate", "whose serial number %s is, is not said", link.Quote(serial))
		}
		tc, err := pickTrusted(ctx, c, cl, trusted)
		if err != nil {
			return err
		}
		req.TrustedID = tc.ID
		r, err := c.AddRevokedCertificate(ctx, cl.ID, req)
		if err != nil {
			return err
		}
		return a.done(r, "certificate %s of %s is revoked", r.Serial, tc.Name)
	})
	fs := cmd.Flags()
	fs.StringVar(&file, "certificate", "", "file of the certificate")
	fs.StringVar(&serial, "serial", "", "its serial number in hexadecimal, in the place of the file")
	fs.StringVar(&trusted, "trusted", "", "the trusted CA that issued it, by id or name (default the one that signed the file)")
	fs.StringVar(&reason, "reason", "", "for people")
	cmd.MarkFlagsOneRequired("certificate", "serial")
	cmd.MarkFlagsMutuallyExclusive("certificate", "serial")
	return cmd
}

// issuerOf is the id of the trusted CA that signed a certificate.
func issuerOf(ctx context.Context, c *api.Client, cl api.Cluster, cert *x509.Certificate) (string, error) {
	all, err := c.TrustedCertificates(ctx, cl.ID)
	if err != nil {
		return "", err
	}
	for _, tc := range all {
		if block, _ := pem.Decode([]byte(tc.Certificate)); block != nil {
			if ca, err := x509.ParseCertificate(block.Bytes); err == nil && (cert.CheckSignatureFrom(ca) == nil || bytes.Equal(cert.Raw, ca.Raw)) {
				return tc.ID, nil
			}
		}
	}
	return "", &link.Error{
		Kind: link.NotFound, Reason: "ISSUER_NOT_TRUSTED", Field: "--certificate", Message: "no trusted CA has signed this certificate",
		Hint: "where a CA between them did, name the trusted one with --trusted",
	}
}
