package control

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Bounds of claims.
const (
	defaultClaim = time.Hour
	shortClaim   = time.Minute // less would be over before somebody has typed it
	longClaim    = 24 * time.Hour
	mostOpen     = 100  // open claims of one cluster: every gateway holds them all
	keptClaims   = 1000 // of one cluster, beside the open ones
)

// ClaimView is a claim with how it stands now.
type ClaimView struct {
	link.Claim
	State link.ClaimState
}

// NewClaim is a claim as only its creation shows it.
type NewClaim struct {
	ClaimView
	Code    string // random, a DNS label; kept nowhere
	Name    string // the server name to speak
	Command string // a line for a shell in the endpoint's network, whose ENDPOINT_DNS is the endpoint's own DNS name
}

// CreateClaim makes a claim that is good for ttl, an hour when 0. Whoever knows its code and speaks through an endpoint
// in the meantime has that endpoint approved for the cluster, once. region says whose service the endpoint belongs to;
// it may be empty where the cluster has one region.
func (p *Plane) CreateClaim(ctx context.Context, c policy.Caller, clusterID link.ID, region string, ttl time.Duration) (out NewClaim, err error) {
	if ttl == 0 {
		ttl = defaultClaim
	}
	if ttl < shortClaim || ttl > longClaim {
		return NewClaim{}, invalid("ttl_seconds", "MALFORMED_TTL", "a claim cannot be good for "+ttl.String(),
			fmt.Sprintf("give %.0f to %.0f seconds, or nothing for %.0f", shortClaim.Seconds(), longClaim.Seconds(), defaultClaim.Seconds()))
	}
	err = p.change(ctx, c, part(link.ObjectClaim, clusterID), func(ch *change) error {
		cl, err := cluster(ch.Tx, clusterID)
		if err != nil {
			return err
		}
		if region, err = claimRegion(cl, region); err != nil {
			return err
		}
		// The rules lose what expired when they change anyway.
		if err := ch.UnlistExpiredClaims(); err != nil {
			return err
		}
		open, err := ch.OpenClaims(clusterID)
		if err != nil {
			return err
		}
		if open >= mostOpen {
			return &link.Error{
				Kind: link.Precondition, Reason: "TOO_MANY_CLAIMS", Message: fmt.Sprintf("cluster %s has %d open claims", cl.Name, open),
				Hint: "revoke those that nobody needs, or wait until they expire",
			}
		}
		out.Code = newCode()
		made, err := ch.AddClaim(link.Claim{
			ID: link.NewID(), ClusterID: clusterID, Region: region, Domain: link.PrivateDomain(region, p.domain), ExpiresAt: ch.Now().Add(ttl),
		}, sha256.Sum256([]byte(out.Code)))
		if err != nil {
			return err
		}
		out.ClaimView = viewClaim(made, ch.Now())
		out.Name = link.ClaimName(out.Code, out.Domain)
		if out.Command, err = claimCommand(ch.Tx, cl.Provider, region, out.Name); err != nil {
			return err
		}
		return errors.Join(ch.TrimClaims(clusterID, keptClaims), ch.RulesChanged(store.RulesOfClaim, made.ID), ch.note(clusterRef(clusterID), eventChanged, "CLAIM_CREATED",
			"claim %s was made: until %s its code approves one endpoint in %s", out.ID, out.ExpiresAt.Format(time.RFC3339), region),
			ch.audit(claimRef(made), eventCreated, "", nil, made, "a claim was made: its code approves one endpoint in "+region))
	})
	return out, err
}

// claimRegion returns the region of a claim, which need not be named where there is only one.
func claimRegion(cl link.Cluster, region string) (string, error) {
	names := make([]string, len(cl.Regions))
	for i, r := range cl.Regions {
		names[i] = r.Name
	}
	switch {
	case region == "" && len(names) == 1:
		return names[0], nil
	case region == "":
		return "", invalid("region_name", "REGION_REQUIRED", "cluster "+cl.Name+" has several regions", "give one of "+strings.Join(names, ", "))
	case !slices.Contains(names, region):
		return "", invalid("region_name", "REGION_NOT_FOUND", "cluster "+cl.Name+" is not in region "+link.Quote(region), "give one of "+strings.Join(names, ", "))
	}
	return region, nil
}

// newCode draws a code of 160 bits: in base32 (RFC 4648, section 6) without padding it is a DNS label of 32 characters.
func newCode() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// claimCommand is the line that speaks a claim's name through an endpoint, at a port on which the region's load balancer
// listens. The name has no record in anybody's DNS, so the endpoint's own name leads there. The gateway answers with a
// certificate of its own, which no root vouches for; whoever is at the other end learns the code either way.
func claimCommand(tx *store.Tx, p link.Provider, region, name string) (string, error) {
	r, err := tx.Region(p, region)
	if err != nil {
		return "", err
	}
	at := name
	if !slices.Contains(r.Ports, 443) {
		at = fmt.Sprintf("%s:%d", name, r.Ports[0])
	}
	return fmt.Sprintf(`curl --insecure --connect-to "::$ENDPOINT_DNS:" https://%s/`, at), nil
}

// Claims lists a part of a cluster's claims, and the token of the next part.
func (p *Plane) Claims(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) (out []ClaimView, next string, err error) {
	of := "claims " + string(clusterID)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, part(link.ObjectClaim, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		claims, seq, err := tx.Claims(clusterID, cut)
		for _, claim := range claims {
			out = append(out, viewClaim(claim, tx.Now()))
		}
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

func viewClaim(c link.Claim, now time.Time) ClaimView {
	return ClaimView{Claim: c, State: c.StateAt(now)}
}

// Claim returns one claim.
func (p *Plane) Claim(ctx context.Context, c policy.Caller, clusterID, id link.ID) (out ClaimView, err error) {
	err = p.read(ctx, c, part(link.ObjectClaim, clusterID, string(id)), func(tx *store.Tx) error {
		claim, err := claimOf(tx, clusterID, id)
		out = viewClaim(claim, tx.Now())
		return err
	})
	return out, err
}

func claimOf(tx *store.Tx, clusterID, id link.ID) (link.Claim, error) {
	claim, err := tx.Claim(id)
	if err == nil && claim.ClusterID != clusterID {
		err = store.ErrNotFound
	}
	return claim, missing(err, "CLAIM_NOT_FOUND", "claim "+link.Quote(string(id))+" of this cluster", "list the cluster's claims to see their ids")
}

// RevokeClaim ends an open claim and returns it. One that is over already is returned as it is, except that a used one
// cannot be revoked: what it brought about is the connection.
func (p *Plane) RevokeClaim(ctx context.Context, c policy.Caller, clusterID, id link.ID) (out ClaimView, err error) {
	err = p.change(ctx, c, part(link.ObjectClaim, clusterID), func(ch *change) error {
		if _, err := cluster(ch.Tx, clusterID); err != nil {
			return err
		}
		claim, err := claimOf(ch.Tx, clusterID, id)
		if err != nil {
			return err
		}
		switch claim.StateAt(ch.Now()) {
		case link.ClaimUsed:
			return &link.Error{
				Kind: link.Precondition, Reason: "CLAIM_USED", Message: fmt.Sprintf("the claim was used by %s", claim.EndpointID),
				Hint: "delete the connection of " + string(claim.EndpointID) + " to take away what it brought about",
			}
		case link.ClaimOpen:
			was := claim
			claim.RevokedAt = ch.Now()
			err = errors.Join(ch.EndClaim(claim), ch.RulesChanged(store.RulesOfClaim, id), ch.note(clusterRef(clusterID), eventChanged, "CLAIM_REVOKED", "claim %s was revoked", id),
				ch.audit(claimRef(claim), "REVOKED", "", was, claim, "the claim was revoked"))
		}
		out = viewClaim(claim, ch.Now())
		return err
	})
	return out, err
}

// bindClaims approves the endpoints through which somebody spoke an open claim's code, and records the others as refused.
func (ch *change) bindClaims(claims []link.Claimed) error {
	for _, by := range claims {
		claim, err := ch.Claim(by.ClaimID)
		if errors.Is(err, store.ErrNotFound) {
			continue // its cluster is gone, and with it all that there was to reach
		}
		if err != nil {
			return err
		}
		if err := ch.LockOwner(clusterRef(claim.ClusterID)); err != nil {
			return err
		}
		cl, err := ch.Cluster(claim.ClusterID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		switch why := unbindable(cl, claim, by.EndpointID, ch.Now()); {
		case why != "":
			err = ch.refuseClaim(cl, claim, by, why)
		case claim.UsedAt.IsZero():
			err = ch.bindClaim(cl, claim, by)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unbindable says why a claim does not bind an endpoint; empty when it does, or has done so before: gateways report again
// what they do not know to be stored, and several may report the same.
func unbindable(cl link.Cluster, claim link.Claim, id link.EndpointID, now time.Time) (reason string) {
	if _, err := link.ParseEndpointID(cl.Provider, string(id)); err != nil {
		return "MALFORMED_ENDPOINT_ID"
	}
	switch state := claim.StateAt(now); {
	case state == link.ClaimOpen, state == link.ClaimUsed && claim.EndpointID == id:
		return ""
	default:
		return "CLAIM_" + string(state)
	}
}

func (ch *change) bindClaim(cl link.Cluster, claim link.Claim, by link.Claimed) error {
	was := claim
	claim.UsedAt, claim.EndpointID = ch.Now(), by.EndpointID
	err := errors.Join(ch.EndClaim(claim), ch.RulesChanged(store.RulesOfClaim, claim.ID), ch.note(clusterRef(cl.ID), eventClaimed, "CLAIM_USED",
		"%s was claimed with claim %s by %s", by.EndpointID, claim.ID, orUnknown(by.Source)),
		ch.audit(claimRef(claim), "USED", "", was, claim, fmt.Sprintf("%s was claimed by %s", by.EndpointID, orUnknown(by.Source))))
	if err != nil {
		return err
	}
	return ch.want(cl, by.EndpointID, func(ch *change, conn link.Connection, known bool) (link.Connection, bool, error) {
		if known && conn.Approved && !lost(conn) {
			return conn, false, nil
		}
		before := valueOf(conn, known)
		if !known || lost(conn) {
			conn = anew(conn, ch.Now())
		}
		conn.Approved = true
		return conn, true, ch.changed(connectionRef(cl.ID, by.EndpointID), eventClaimed, link.ReasonApproved, before, audit.ConnectionOf(conn),
			"somebody who knows the code of claim %s spoke through %s from %s", claim.ID, by.EndpointID, orUnknown(by.Source))
	})
}

func claimRef(c link.Claim) link.ObjectRef {
	return part(link.ObjectClaim, c.ClusterID, string(c.ID))
}

// refuseClaim records that a claim was spoken and binds nothing.
func (ch *change) refuseClaim(cl link.Cluster, claim link.Claim, by link.Claimed, why string) error {
	at, err := ch.PlaceOf(clusterRef(cl.ID))
	ch.late = append(ch.late, audit.Entry{
		Actor: anonymous, Action: link.ObjectClaim + ".use", Object: claimRef(claim), Place: at, Decision: audit.Refused, Rule: why,
		Why: "the claim was spoken through " + link.Quote(string(by.EndpointID)) + " and binds nothing", RequestID: ch.caller.RequestID, Source: by.Source,
	})
	return errors.Join(err,
		ch.CountRefused(link.RefusedAttempt{
			ClusterID: claim.ClusterID, Listener: link.PrivateListener, EndpointID: by.EndpointID, Source: by.Source, Reason: why,
			Count: 1, FirstAt: by.At, LastAt: by.At,
		}),
		ch.note(clusterRef(claim.ClusterID), eventClaimRefused, why, "claim %s, which is %s, was spoken through %s from %s and binds nothing",
			claim.ID, claim.StateAt(ch.Now()), link.Quote(string(by.EndpointID)), orUnknown(by.Source)),
	)
}

func orUnknown(source string) string {
	if source == "" {
		return "an unknown address"
	}
	return link.Quote(source)
}
