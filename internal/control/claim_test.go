package control_test

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

const vpce2 = "vpce-0a1b2c3d4e5f60719"

func (d *desk) claim(c link.ID) control.NewClaim {
	d.t.Helper()
	return ok[control.NewClaim](d.t)(d.CreateClaim(d.ctx, operator, c, "", 0))
}

// claimRules are the claims that gateways know.
func (d *desk) claimRules() []link.ClaimRule {
	d.t.Helper()
	_, set := d.rules()
	return set.Claims
}

// speaks reports that somebody spoke a claim's code through an endpoint.
func (d *desk) speaks(claim link.ID, endpoint link.EndpointID) {
	d.t.Helper()
	err := d.Report(d.ctx, gateway, link.GatewayReport{
		GatewayID: "g", BatchID: string(link.NewID()), Claims: []link.Claimed{{ClaimID: claim, EndpointID: endpoint, Source: "10.1.2.3", At: d.now}},
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// seen makes the cloud show the endpoint, let in.
func (d *desk) seen() {
	d.t.Helper()
	err := d.st.Write(d.ctx, func(tx *store.Tx) error {
		_, err := tx.PutEndpoint(link.Endpoint{Provider: link.AWS, Region: "us-east-1", ServiceID: "s", ID: vpce, OwnerID: "123456789012", State: link.Available, SeenAt: d.now})
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) states(c link.ID) string {
	d.t.Helper()
	list, _, err := d.Claims(d.ctx, operator, c, control.Page{})
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for _, claim := range list {
		out = append(out, strings.TrimSpace(string(claim.State)+" "+string(claim.EndpointID)))
	}
	return strings.Join(out, ", ")
}

func TestClaim(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	var made control.NewClaim
	d.bumps("making a claim", true, func() error { made = d.claim(c.ID); return nil })
	if !regexp.MustCompile(`^[a-z2-7]{32}$`).MatchString(made.Code) {
		t.Errorf("code %q is not 160 bits as a DNS label", made.Code)
	}
	if want := made.Code + ".claim.us-east-1.pe.postern.test"; made.Name != want || made.Command != `curl --insecure --connect-to "::$ENDPOINT_DNS:" https://`+want+"/" {
		t.Errorf("name %q, command %q", made.Name, made.Command)
	}
	if !made.ExpiresAt.Equal(d.now.Add(time.Hour)) || made.State != link.ClaimOpen || made.Region != "us-east-1" {
		t.Errorf("%+v", made)
	}
	want := []link.ClaimRule{{
		ID: made.ID, ClusterID: c.ID, Domain: "us-east-1.pe.postern.test", Hash: sha256.Sum256([]byte(made.Code)), ExpiresAt: made.ExpiresAt,
	}}
	if diff := cmp.Diff(want, d.claimRules()); diff != "" {
		t.Errorf("rules: %s", diff)
	}
	if again := d.claim(c.ID); again.Code == made.Code || again.ID == made.ID {
		t.Error("two claims have one code")
	}

	// Whoever speaks the code has the endpoint approved, whoever owns it, at once and once.
	d.seen()
	d.bumps("using it", true, func() error { d.speaks(made.ID, vpce); return nil })
	conn := ok[link.Connection](t)(d.Connection(d.ctx, operator, c.ID, vpce))
	if conn.Want != link.WantConnected || !conn.Approved || conn.State != link.Pending {
		t.Errorf("connection %+v", conn)
	}
	if r := d.ofCluster(c.ID); !slices.Equal(r.Endpoints, []link.EndpointID{vpce}) {
		t.Errorf("the rules list %v", r.Endpoints)
	}
	if claims := d.claimRules(); len(claims) != 1 || claims[0].ID == made.ID {
		t.Errorf("the rules still take the code: %+v", claims)
	}
	d.bumps("the same report by another gateway", false, func() error { d.speaks(made.ID, vpce); return nil })
	d.bumps("another endpoint", false, func() error { d.speaks(made.ID, vpce2); return nil })
	_, err := d.Connection(d.ctx, operator, c.ID, vpce2)
	d.refuses(err, link.NotFound, "CONNECTION_NOT_FOUND", "")
	if got, want := d.states(c.ID), "USED "+vpce+", OPEN"; got != want {
		t.Errorf("claims: %s, want %s", got, want)
	}
	if got, want := d.history(link.ObjectCluster, string(c.ID)), "CREATED, CHANGED CLAIM_CREATED, CHANGED CLAIM_CREATED, CLAIMED CLAIM_USED, CLAIM_REFUSED CLAIM_USED"; got != want {
		t.Errorf("history of the cluster %q, want %q", got, want)
	}
	if got, want := d.history(link.ObjectConnection, string(c.ID)+"/"+vpce), "CLAIMED APPROVED_BY_ADMIN"; got != want {
		t.Errorf("history of the connection %q, want %q", got, want)
	}
	refused, _, err := d.RefusedAttempts(d.ctx, operator, c.ID, control.Page{})
	if err != nil || len(refused) != 1 || refused[0].Reason != "CLAIM_USED" || refused[0].EndpointID != vpce2 || refused[0].Source != "10.1.2.3" {
		t.Errorf("refused %+v, %v", refused, err)
	}
	_, err = d.RevokeClaim(d.ctx, operator, c.ID, made.ID)
	d.refuses(err, link.Precondition, "CLAIM_USED", "")
}

// The code is nowhere in the database, so that who reads it cannot claim.
func TestClaimsCodeIsKeptNowhere(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	made := d.claim(c.ID)
	events, _, err := d.Events(d.ctx, operator, link.ObjectRef{Kind: link.ObjectCluster, ID: string(c.ID)}, control.Page{})
	if err != nil {
		t.Fatal(err)
	}
	claims, _, err := d.Claims(d.ctx, operator, c.ID, control.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if kept := fmt.Sprintf("%+v %+v %+v", events, claims, d.claimRules()); strings.Contains(kept, made.Code) {
		t.Errorf("the code is kept: %s", kept)
	}
}

// What a claim's code does to an endpoint that the cluster knows already is what an admin's approval does.
func TestClaimOfAKnownEndpoint(t *testing.T) {
	d := newDesk(t)
	d.seen()
	for i, row := range []struct {
		name    string
		before  func(d *desk, c link.ID)
		history string
	}{
		{"waits for its owner to be trusted", func(d *desk, c link.ID) { ok[link.Connection](d.t)(d.Connect(d.ctx, operator, c, vpce)) }, "CONNECTED, CLAIMED APPROVED_BY_ADMIN"},
		{"was approved", func(d *desk, c link.ID) {
			ok[link.Endpoint](d.t)(d.SetEndpointState(d.ctx, operator, c, vpce, link.Available))
		}, "APPROVED APPROVED_BY_ADMIN"},
		{"was rejected", func(d *desk, c link.ID) {
			ok[link.Endpoint](d.t)(d.SetEndpointState(d.ctx, operator, c, vpce, link.Rejected))
		}, "REJECTED REJECTED_BY_ADMIN, CLAIMED APPROVED_BY_ADMIN"},
		{"was disconnected", func(d *desk, c link.ID) {
			ok[link.Connection](d.t)(d.Connect(d.ctx, operator, c, vpce))
			ok[link.Connection](d.t)(d.Disconnect(d.ctx, operator, c, vpce))
		}, "CONNECTED, DISCONNECTED, CLAIMED APPROVED_BY_ADMIN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := d.cluster(fmt.Sprintf("c%d", i))
			row.before(d, c.ID)
			d.speaks(d.claim(c.ID).ID, vpce)
			conn := ok[link.Connection](t)(d.Connection(d.ctx, operator, c.ID, vpce))
			if conn.Want != link.WantConnected || !conn.Approved {
				t.Errorf("connection %+v", conn)
			}
			if got, want := d.states(c.ID), "USED "+vpce; got != want {
				t.Errorf("claims: %s, want %s", got, want)
			}
			if got := d.history(link.ObjectConnection, string(c.ID)+"/"+vpce); got != row.history {
				t.Errorf("history %q, want %q", got, row.history)
			}
		})
	}
}

func TestClaimsThatAreOverBindNothing(t *testing.T) {
	d := newDesk(t)
	for i, row := range []struct {
		name   string
		over   func(d *desk, c link.ID, claim link.ID)
		as     link.EndpointID
		reason string
		state  string
	}{
		{"a moment before it expires", func(d *desk, _, _ link.ID) { d.now = d.now.Add(time.Hour - time.Microsecond) }, vpce, "", "USED " + vpce},
		{"expired between its use and the report", func(d *desk, _, _ link.ID) { d.now = d.now.Add(time.Hour) }, vpce, "CLAIM_EXPIRED", "EXPIRED"},
		{"revoked", func(d *desk, c, claim link.ID) {
			ok[control.ClaimView](d.t)(d.RevokeClaim(d.ctx, operator, c, claim))
		}, vpce, "CLAIM_REVOKED", "REVOKED"},
		{"not an endpoint of the cluster's cloud", func(*desk, link.ID, link.ID) {}, "pe-17", "MALFORMED_ENDPOINT_ID", "OPEN"},
		{"no endpoint", func(*desk, link.ID, link.ID) {}, "", "MALFORMED_ENDPOINT_ID", "OPEN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := d.cluster(fmt.Sprintf("c%d", i))
			claim := d.claim(c.ID)
			row.over(d, c.ID, claim.ID)
			before := d.revision()
			d.speaks(claim.ID, row.as)
			refused, _, err := d.RefusedAttempts(d.ctx, operator, c.ID, control.Page{})
			if err != nil {
				t.Fatal(err)
			}
			conns := ok[[]link.Connection](t)(d.Connections(d.ctx, operator, c.ID))
			if got := d.states(c.ID); got != row.state {
				t.Errorf("claim %s, want %s", got, row.state)
			}
			if row.reason == "" {
				if len(refused) != 0 || len(conns) != 1 {
					t.Errorf("refused %+v, connections %+v", refused, conns)
				}
				return
			}
			if len(refused) != 1 || refused[0].Reason != row.reason || len(conns) != 0 || d.revision() != before {
				t.Errorf("refused %+v, connections %+v, revision %d after %d", refused, conns, d.revision(), before)
			}
		})
	}
	// One whose cluster is gone is nobody's any more, and the rest of the batch is stored.
	c := d.cluster("gone")
	claim := d.claim(c.ID)
	if err := d.DeleteCluster(d.ctx, operator, c.ID); err != nil {
		t.Fatal(err)
	}
	d.speaks(claim.ID, vpce)
	if left := d.claimRules(); slices.ContainsFunc(left, func(r link.ClaimRule) bool { return r.ID == claim.ID }) {
		t.Errorf("a claim of a cluster that is gone: %+v", left)
	}
}

func TestRevokeIsIdempotent(t *testing.T) {
	d := newDesk(t)
	c, other := d.cluster("acme"), d.cluster("other")
	claim, old := d.claim(c.ID), d.claim(c.ID)
	_, err := d.RevokeClaim(d.ctx, operator, other.ID, claim.ID)
	d.refuses(err, link.NotFound, "CLAIM_NOT_FOUND", "")
	for _, first := range []bool{true, false} {
		d.bumps("revoking", first, func() error {
			got, err := d.RevokeClaim(d.ctx, operator, c.ID, claim.ID)
			if got.State != link.ClaimRevoked || !got.RevokedAt.Equal(d.now) {
				t.Errorf("%+v", got)
			}
			return err
		})
	}
	d.now = d.now.Add(24 * time.Hour)
	d.bumps("revoking one that expired", false, func() error {
		got, err := d.RevokeClaim(d.ctx, operator, c.ID, old.ID)
		if got.State != link.ClaimExpired {
			t.Errorf("%+v", got)
		}
		return err
	})
	if got, want := d.states(c.ID), "REVOKED, EXPIRED"; got != want {
		t.Errorf("claims: %s, want %s", got, want)
	}
}

// What expired leaves the rules with the next claim that is made, and a cluster has so many open ones at most.
func TestClaimsAreBounded(t *testing.T) {
	d := newDesk(t)
	c, other := d.cluster("acme"), d.cluster("other")
	for range 100 {
		d.claim(c.ID)
	}
	_, err := d.CreateClaim(d.ctx, operator, c.ID, "", 0)
	d.refuses(err, link.Precondition, "TOO_MANY_CLAIMS", "")
	d.claim(other.ID)
	if n := len(d.claimRules()); n != 101 {
		t.Errorf("the rules have %d claims", n)
	}
	d.now = d.now.Add(time.Hour)
	d.claim(c.ID)
	if n := len(d.claimRules()); n != 1 {
		t.Errorf("the rules have %d claims, want the new one alone", n)
	}
	var all []control.ClaimView
	for page := (control.Page{Limit: 40, Descending: true}); ; {
		part, next, err := d.Claims(d.ctx, operator, c.ID, page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, part...)
		if page.Token = next; next == "" {
			break
		}
	}
	if len(all) != 101 || all[0].State != link.ClaimOpen || all[100].State != link.ClaimExpired {
		t.Errorf("%d claims in all", len(all))
	}
}

func TestBadClaims(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	second := d.region()
	second.Name, second.Ports = "eu-west-1", []uint16{26257, 8443}
	ok[link.Region](t)(d.PutRegion(d.ctx, operator, second))
	r := d.request("wide")
	r.Regions = append(r.Regions, second.Name)
	wide := ok[link.Cluster](t)(d.CreateCluster(d.ctx, operator, r))
	before := d.revision()
	for _, row := range []struct {
		name    string
		cluster link.ID
		region  string
		ttl     time.Duration
		kind    link.Kind
		reason  string
		field   string
	}{
		{"good for less than a minute", c.ID, "", time.Minute - 1, link.Invalid, "MALFORMED_TTL", "ttl_seconds"},
		{"good for more than a day", c.ID, "", 24*time.Hour + 1, link.Invalid, "MALFORMED_TTL", "ttl_seconds"},
		{"good until yesterday", c.ID, "", -time.Hour, link.Invalid, "MALFORMED_TTL", "ttl_seconds"},
		{"in a region of others", c.ID, "eu-west-1", 0, link.Invalid, "REGION_NOT_FOUND", "region_name"},
		{"in which of two regions", wide.ID, "", 0, link.Invalid, "REGION_REQUIRED", "region_name"},
		{"of no cluster", link.NewID(), "", 0, link.NotFound, "CLUSTER_NOT_FOUND", ""},
	} {
		_, err := d.CreateClaim(d.ctx, operator, row.cluster, row.region, row.ttl)
		t.Run(row.name, func(t *testing.T) { (&desk{t: t}).refuses(err, row.kind, row.reason, row.field) })
	}
	if after := d.revision(); after != before {
		t.Errorf("refused claims changed the rules: revision %d, before %d", after, before)
	}
	claim := ok[control.NewClaim](t)(d.CreateClaim(d.ctx, operator, wide.ID, "eu-west-1", 24*time.Hour))
	if !strings.HasSuffix(claim.Name, ".claim.eu-west-1.pe.postern.test") || !strings.HasSuffix(claim.Command, "https://"+claim.Name+":26257/") {
		t.Errorf("name %q, command %q", claim.Name, claim.Command)
	}
	for role, want := range map[policy.Role]link.Kind{policy.Anonymous: link.Unauthenticated, policy.Gateway: link.Denied} {
		who := policy.Caller{Role: role}
		_, _, list := d.Claims(d.ctx, who, c.ID, control.Page{})
		_, create := d.CreateClaim(d.ctx, who, c.ID, "", 0)
		_, revoke := d.RevokeClaim(d.ctx, who, wide.ID, claim.ID)
		for _, err := range []error{list, create, revoke} {
			if link.KindOf(err) != want {
				t.Errorf("by %q: %v", who.Role, err)
			}
		}
	}
}
