package verify

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// expiresSoon is how long before its end a certificate is warned of.
const expiresSoon = 14 * 24 * time.Hour

// certificate judges the certificate of a handshake that succeeded.
func (j *judge) certificate(c Check, s TLSSeen) {
	c.Detail = map[string]string{
		"version": s.Version, "subject": link.Quote(s.Subject), "issuer": link.Quote(s.Issuer),
		"names": link.Quote(strings.Join(s.Names, " ")), "not_after": s.NotAfter.UTC().Format(time.RFC3339),
	}
	now := j.o.StartedAt
	fail := func(code, summary string, b blame) {
		c.Status, c.Code, c.Summary = Fail, code, summary
		j.add(c, b)
	}
	renew := blame{"the certificate is renewed too late, or this machine's clock is wrong", SideVendor, "the operator renews the backend's certificate"}
	switch {
	case now.After(s.NotAfter):
		fail("TLS_EXPIRED", "the certificate expired "+span(now.Sub(s.NotAfter))+" ago", renew)
	case now.Before(s.NotBefore):
		fail("TLS_NOT_YET_VALID", "the certificate is not valid before "+s.NotBefore.UTC().Format(time.RFC3339), renew)
	case s.NameErr != "":
		fail("TLS_WRONG_NAME", "the certificate is for "+link.Quote(strings.Join(s.Names, " ")), blame{
			"the stream ends at another service than the cluster's, or the backend's certificate lacks the private name", SideVendor,
			"the operator adds the private name to the backend's certificate",
		})
	case s.ChainErr != "":
		fail("TLS_UNKNOWN_AUTHORITY", "the certificate is signed by "+link.Quote(s.Issuer)+", which is not trusted here", blame{
			"the vendor's authority is missing from the trusted roots, or something on the way terminates TLS", SideEither,
			"give the vendor's CA file; if the issuer is your own network's inspection, exempt the private name from it",
		})
	case s.NotAfter.Sub(now) < expiresSoon:
		c.Status, c.Code, c.Summary = Warn, "TLS_EXPIRES_SOON", "the certificate expires in "+span(s.NotAfter.Sub(now))
		j.add(c, blame{"", SideVendor, renew.next})
	case s.Version == "TLS 1.0" || s.Version == "TLS 1.1":
		c.Status, c.Code, c.Summary = Warn, "TLS_OLD_VERSION", "speaks "+s.Version
		j.add(c, blame{"versions before TLS 1.2 are deprecated (RFC 8996)", SideVendor, "the operator raises the backend's TLS version"})
	default:
		c.Status, c.Code, c.Summary = OK, "TLS_TRUSTED", s.Version+", certificate trusted for the name"
		j.add(c, blame{})
	}
}

// span writes a duration in the unit a person would choose.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	default:
		return d.Round(time.Second).String()
	}
}

// answers judges the HTTP answer at each address.
func (j *judge) answers() {
	const id = "HTTP_ANSWER"
	if j.t.HTTPPath == "" {
		j.skip(id, GroupHTTP, "no HTTP path was given to ask for")
		return
	}
	tried := false
	for _, p := range j.o.Paths {
		if p.HTTP.Failure == NotTried {
			continue
		}
		tried = true
		c := Check{ID: id, Group: GroupHTTP, Subject: p.Host, Took: p.HTTP.Took, Detail: map[string]string{"path": j.t.HTTPPath}}
		if !p.HTTP.Done() {
			c.Status, c.Code, c.Summary = Fail, "HTTP_NO_ANSWER", "TLS works, HTTP gets no answer"
			c.Detail["error"] = p.HTTP.Error
			j.add(c, blame{"the service speaks another protocol on this port, or hangs", SideVendor, "the operator looks at the backend"})
			continue
		}
		j.answer(c, p.HTTP)
	}
	if !tried {
		j.skip(id, GroupHTTP, "no address completes TLS")
	}
}

func (j *judge) answer(c Check, h HTTPSeen) {
	c.Detail["status"] = fmt.Sprint(h.Status)
	meaning, b := statusMeans(h.Status)
	c.Summary = fmt.Sprintf("answers %d%s", h.Status, meaning)
	expected := slices.Contains(j.t.ExpectStatus, h.Status)
	switch {
	case len(j.t.ExpectStatus) > 0 && !expected, len(j.t.ExpectStatus) == 0 && h.Status >= 500:
		c.Status, c.Code = Fail, "HTTP_STATUS"
		if b.side == SideNone || b.side == "" {
			b = blame{"another status was expected: " + strings.Trim(fmt.Sprint(j.t.ExpectStatus), "[]"), SideEither, "check the path that is asked, and the expected status"}
		}
		j.add(c, b)
	case h.RedirectHost != "":
		c.Status, c.Code = Warn, "HTTP_REDIRECT_LEAVES"
		c.Summary = fmt.Sprintf("answers %d with a redirect to %s", h.Status, link.Quote(h.RedirectHost))
		j.add(c, blame{"a client that follows it leaves the private name", SideVendor, "the operator makes the service build its links from the Host header"})
	case !expected && h.Status == 421:
		c.Status, c.Code = Warn, "HTTP_MISDIRECTED"
		j.add(c, b)
	default:
		c.Status, c.Code = OK, "HTTP_ANSWERS"
		j.add(c, blame{})
	}
}

// statusMeans words the statuses that people ask about. The blame counts only when the status is a failure.
func statusMeans(status int) (string, blame) {
	switch status {
	case 401:
		return ": the service wants credentials", blame{}
	case 403:
		return ": the service refuses this caller", blame{}
	case 404:
		return ": the service has nothing at this path", blame{}
	case 421:
		return ": the service does not serve this name", blame{
			"the backend is not configured for the private name", SideVendor, "the operator adds the private name to the backend's host names",
		}
	case 502, 503, 504:
		return ": a proxy in front of the service cannot reach it", blame{
			"the private path works and ends at a proxy whose upstream does not answer", SideVendor, "the operator looks at the service behind the proxy",
		}
	}
	if status >= 500 {
		return ": the service fails", blame{"the private path works; the service does not", SideVendor, "the operator looks at the service's logs"}
	}
	return "", blame{}
}

// acceptedProof returns the first proof of path that holds, nil when none does.
func (j *judge) acceptedProof() *link.PathProof {
	for _, p := range j.o.Paths {
		if p.PathProof.Done() && j.proofProblem(p.PathProof) == nil {
			return p.PathProof.Proof
		}
	}
	return nil
}

// proofError is what keeps a proof from holding.
type proofError struct {
	code, summary string
	blame
}

// proofProblem holds an answer against everything that a proof of path has to show; nil when it does.
func (j *judge) proofProblem(s ProofSeen) *proofError {
	bad := func(code, summary, cause string, side Side, next string) *proofError {
		return &proofError{code, summary, blame{cause, side, next}}
	}
	// The key is pinned as well as the signature checked: whoever terminates TLS on the way can pass a genuine proof on,
	// but cannot show the gateway's key in its own handshake.
	pinned := slices.ContainsFunc(j.t.ProofKeys, func(k ed25519.PublicKey) bool { return k.Equal(s.PeerKey) })
	switch {
	case !pinned && s.Proof != nil:
		return bad("PROOF_INTERCEPTED", "the proof came over a TLS session that is not the gateway's",
			"something on the way terminates TLS, or the gateway has a new key", SideEither,
			"look for TLS inspection between here and the endpoint; fetch the gateways' keys again")
	case !pinned:
		return bad("PROOF_NOT_A_GATEWAY", "what answers is not a gateway of this vendor",
			"the stream ends at another host than the vendor's gateway", SideEither,
			"compare the address with the endpoint's interfaces; fetch the gateways' keys again")
	case s.Proof == nil:
		return bad("PROOF_REFUSED", fmt.Sprintf("the gateway answers %d and no proof", s.Status),
			"the gateway answers and gives no proof", SideVendor, "the operator looks at the gateway's log")
	}
	proof := *s.Proof
	if err := proof.Check(s.Nonce, j.t.ProofKeys); err != nil {
		return bad("PROOF_INVALID", "the proof does not hold", err.Error(), SideEither, "verify again; then ask the vendor")
	}
	if !strings.EqualFold(proof.Name, j.t.proofName()) || (j.t.ClusterID != "" && proof.ClusterID != j.t.ClusterID) {
		return bad("PROOF_OTHER_CLUSTER", "the proof is of "+link.Quote(proof.Name), "the flow reached another cluster", SideVendor,
			"the operator compares the cluster's names with the gateway's rules")
	}
	if proof.Listener != link.PrivateListener || proof.EndpointID == "" {
		return bad("PROOF_NOT_PRIVATE", "the flow reached the gateway, but through no private endpoint",
			"it came in by the "+link.Quote(string(proof.Listener))+" listener", SideCustomer,
			"make the private name lead to the endpoint's addresses")
	}
	if j.t.EndpointID != "" && proof.EndpointID != j.t.EndpointID {
		return bad("PROOF_OTHER_ENDPOINT", "the flow came through endpoint "+link.Quote(string(proof.EndpointID)),
			"the name leads to another endpoint than "+string(j.t.EndpointID), SideCustomer,
			"point the records at "+string(j.t.EndpointID)+", or verify against the other endpoint")
	}
	return nil
}

// proofs judges the proof of path at each address that connects.
func (j *judge) proofs() {
	const id = "PATH_PROOF"
	if len(j.t.ProofKeys) == 0 {
		j.skip(id, GroupPath, "no gateway key is known to hold a proof against")
		return
	}
	tried := false
	for _, p := range j.o.Paths {
		s := p.PathProof
		if s.Failure == NotTried {
			continue
		}
		tried = true
		c := Check{ID: id, Group: GroupPath, Subject: p.Host, Took: s.Took}
		if !s.Done() {
			c.Status, c.Code, c.Summary = Fail, "PROOF_NO_ANSWER", "no proof of path: "+failureWords(s.Failure)
			c.Detail = map[string]string{"error": s.Error}
			j.add(c, j.noProof(p))
			continue
		}
		if problem := j.proofProblem(s); problem != nil {
			c.Status, c.Code, c.Summary = Fail, problem.code, problem.summary
			j.add(c, problem.blame)
			continue
		}
		c.Status, c.Code = OK, "PATH_PROVEN"
		c.Summary = "the gateway signs that this came through " + string(s.Proof.EndpointID)
		c.Detail = map[string]string{
			"endpoint_id": string(s.Proof.EndpointID), "gateway_id": s.Proof.GatewayID,
			"source": s.Proof.Source, "nonce": s.Proof.Nonce,
		}
		j.add(c, blame{})
	}
	if !tried {
		j.skip(id, GroupPath, "no address connects")
	}
}

// noProof explains a proof of path that does not come. The gateway gives it by itself: no backend can be to blame.
func (j *judge) noProof(p PathSeen) blame {
	switch {
	case p.PathProof.Failure != TimedOut:
		return j.closed(p)
	case p.TLS.Done():
		return blame{"the gateway relays to the service and does not answer for itself", SideVendor, "the operator looks at the gateway's log"}
	}
	return blame{
		"the gateway hangs, or large packets are lost on the way (path MTU)", SideEither,
		"have the operator look at the gateways; allow ICMP fragmentation-needed between client and endpoint",
	}
}

func failureWords(f Failure) string {
	switch f {
	case EOF, Reset:
		return "the stream is closed before TLS"
	case TimedOut:
		return "no answer in time"
	case Refused:
		return "the connection is refused"
	default:
		return strings.ToLower(strings.ReplaceAll(string(f), "_", " "))
	}
}

// publicDoor judges whether the public name is closed, where it has to be.
func (j *judge) publicDoor() {
	const id = "PUBLIC_REFUSED"
	s := j.o.Public
	switch {
	case !j.t.ExpectPublicRefused:
		j.skip(id, GroupPublic, "public access is not expected to be closed")
		return
	case s.Stage == "":
		j.skip(id, GroupPublic, "no public name was given")
		return
	}
	c := Check{ID: id, Group: GroupPublic, Subject: j.t.PublicName, Took: s.Took, Status: OK, Code: "PUBLIC_CLOSED"}
	c.Detail = map[string]string{"from": s.Vantage, "stage": s.Stage}
	if s.Error != "" {
		c.Detail["error"] = s.Error
	}
	switch {
	case s.Stage == "open":
		c.Status, c.Code, c.Summary = Fail, "PUBLIC_OPEN", "answers the public"
		j.add(c, j.whyOpen())
		return
	case s.Stage == "dns" && s.Error != "NXDOMAIN" && s.Error != "NOERROR":
		c.Status, c.Code, c.Summary = Warn, "PUBLIC_UNKNOWN", "could not be looked up, so nothing is known about the public door"
		j.add(c, blame{"the resolver did not answer", SideCustomer, "verify again from a place with a working resolver"})
		return
	case s.Stage == "dns":
		c.Summary = "has no address"
	case s.Stage == "tcp":
		c.Summary = "does not accept connections"
	default:
		c.Summary = "is refused"
	}
	var b blame
	if s.Vantage == j.o.Vantage {
		b.cause = "tried from the same place; another place may see another door"
	}
	j.add(c, b)
}

func (j *judge) whyOpen() blame {
	b := blame{"the public door is open, or open to this address", SideEither, "set the cluster's public access to DISABLED"}
	if !j.v.Known {
		return b
	}
	switch j.v.PublicAccess {
	case link.PublicReportOnly:
		return blame{"public access is REPORT_ONLY, which records and lets everybody pass", SideCustomer, b.next}
	case link.PublicEnabled:
		return blame{"public access is ENABLED and the allow list admits this address", SideCustomer, b.next}
	case link.PublicDisabled:
		return blame{
			"public access is DISABLED and a gateway or another way in does not heed it", SideVendor,
			"the operator checks that every gateway has applied the rules, and where the public name leads",
		}
	}
	return b
}
