package control_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// gatewayCopy is what a gateway holds that began with nothing and applied what it was told.
type gatewayCopy struct {
	at       link.RulesVersion
	clusters map[link.ID]link.ClusterRules
	ports    []link.PortRule
	claims   map[link.ID]link.ClaimRule
}

// follow brings the copy up to date as the rules stream does, and tells by how many clusters.
func (g *gatewayCopy) follow(d *desk) (told int, byDelta bool) {
	d.t.Helper()
	delta, to, known, err := d.RulesSince(d.ctx, gateway, g.at)
	if err != nil {
		d.t.Fatal(err)
	}
	if !known {
		g.clusters, g.claims = map[link.ID]link.ClusterRules{}, map[link.ID]link.ClaimRule{}
		var set link.RuleSet
		to, set = d.rules()
		delta.Clusters, delta.Ports, delta.Claims = set.Clusters, &set.Ports, set.Claims
	}
	for _, c := range delta.Clusters {
		g.clusters[c.ClusterID] = c
	}
	for _, id := range delta.RemovedClusters {
		delete(g.clusters, id)
	}
	if delta.Ports != nil {
		g.ports = *delta.Ports
	}
	for _, c := range delta.Claims {
		g.claims[c.ID] = c
	}
	for _, id := range delta.RemovedClaims {
		delete(g.claims, id)
	}
	g.at = to
	return len(delta.Clusters) + len(delta.RemovedClusters), known
}

// TestDeltasLeadToTheFullSet does at random what changes the rules, people's doing and the clouds', and holds gateways
// that follow by deltas, each at its own pace, against the full set.
func TestDeltasLeadToTheFullSet(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := newDesk(t)
			d.request("") // the project and the region
			project := ok[link.Project](t)(d.CreateProject(d.ctx, operator, "", "p")).ID
			dice := rand.New(rand.NewPCG(seed, 7))
			var ids []link.ID
			var log []string
			endpoints := []string{"vpce-0a1b2c3d4e5f60718", "vpce-0a1b2c3d4e5f60719", "vpce-0a1b2c3d4e5f6071a"}
			owners := []string{"123456789012", "210987654321"}
			prefixes := []string{"10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"}
			pick := func(list []string) string { return list[dice.IntN(len(list))] }
			copies := []*gatewayCopy{{}, {}, {}}
			deltas := 0
			var claims []link.ID
			for range 200 {
				var err error
				what := dice.IntN(21)
				if len(ids) == 0 {
					what = 0
				}
				var id link.ID
				if what > 0 {
					id = ids[dice.IntN(len(ids))]
				}
				endpoint := pick(endpoints)
				switch what {
				case 0:
					r := d.request(fmt.Sprintf("c%d", dice.IntN(5)))
					r.ProjectID = project
					var c link.Cluster
					if c, err = d.CreateCluster(d.ctx, operator, r); err == nil && !slices.Contains(ids, c.ID) {
						ids = append(ids, c.ID)
					}
				case 1:
					if err = d.DeleteCluster(d.ctx, operator, id); err == nil {
						ids = slices.DeleteFunc(ids, func(have link.ID) bool { return have == id })
					}
				case 2:
					_, err = d.SetPublicAccess(d.ctx, operator, id, []link.PublicAccess{link.PublicEnabled, link.PublicDisabled}[dice.IntN(2)])
				case 3:
					_, err = d.PutAllowEntry(d.ctx, operator, id, link.AllowEntry{Prefix: netip.MustParsePrefix(pick(prefixes)), UI: dice.IntN(2) == 0})
				case 4:
					_, err = d.RemoveAllowEntry(d.ctx, operator, id, netip.MustParsePrefix(pick(prefixes)))
				case 5:
					_, err = d.AddTrustedOwner(d.ctx, operator, id, policy.OwnerTypeOf(link.AWS), pick(owners))
				case 6:
					if trusted := ok[[]link.TrustedOwner](t)(d.TrustedOwners(d.ctx, operator, id)); len(trusted) > 0 {
						_, err = d.RemoveTrustedOwner(d.ctx, operator, id, trusted[0].ID)
					}
				case 7, 8:
					_, err = d.Connect(d.ctx, operator, id, endpoint)
				case 9:
					if dice.IntN(3) == 0 {
						_, err = d.Disconnect(d.ctx, operator, id, endpoint)
					} else {
						_, err = d.SetEndpointState(d.ctx, operator, id, endpoint, link.Available)
					}
				case 10, 12, 13, 14: // the cloud shows an endpoint, as reconcile stores it
					err = d.st.Write(d.ctx, func(tx *store.Tx) error {
						d.now = d.now.Add(1e9)
						_, err := tx.PutEndpoint(link.Endpoint{
							Provider: link.AWS, Region: "us-east-1", ServiceID: "svc", ID: link.EndpointID(endpoint), OwnerID: pick(owners),
							State: []link.State{link.PendingAcceptance, link.Pending, link.Available}[dice.IntN(3)], SeenAt: d.now,
						})
						return errors.Join(err, tx.EndpointRulesChanged(link.AWS, link.EndpointID(endpoint)))
					})
				case 11: // or shows it no more, or none of its service
					err = d.st.Write(d.ctx, func(tx *store.Tx) error {
						if dice.IntN(2) == 0 {
							return errors.Join(tx.RemoveEndpoint(link.AWS, link.EndpointID(endpoint)), tx.EndpointRulesChanged(link.AWS, link.EndpointID(endpoint)))
						}
						return errors.Join(tx.ServiceRulesChanged(link.AWS, "svc"), tx.RemoveServiceEndpoints(link.AWS, "svc"))
					})
				case 15:
					_, err = d.PutServiceProfile(d.ctx, operator, []link.PortRule{{Port: uint16(1 + dice.IntN(3)), Denied: true}}[dice.IntN(2):])
				case 16:
					flows, drain := dice.IntN(3), dice.IntN(2) == 0
					_, err = d.UpdateClusterTraffic(d.ctx, operator, id, control.TrafficUpdate{
						Limits: control.LimitsUpdate{Flows: &flows}, Backends: []control.BackendUpdate{{Address: "db.internal:26257", Draining: &drain}},
					})
				case 17, 18:
					d.now = d.now.Add(time.Duration(dice.IntN(5)) * time.Minute)
					var c control.NewClaim
					if c, err = d.CreateClaim(d.ctx, operator, id, "", 10*time.Minute); err == nil {
						claims = append(claims, c.ID)
					}
				case 19:
					if len(claims) > 0 {
						_, err = d.RevokeClaim(d.ctx, operator, id, claims[dice.IntN(len(claims))])
					}
				case 20:
					if len(claims) > 0 {
						d.speaks(claims[dice.IntN(len(claims))], link.EndpointID(endpoint))
					}
				}
				log = append(log, fmt.Sprintf("%d of %s: %v", what, id, err))
				if err != nil && link.KindOf(err) == link.Internal {
					t.Fatal(err)
				}
				g := copies[dice.IntN(len(copies))]
				if _, byDelta := g.follow(d); byDelta {
					deltas++
				}
				_, all := d.rules()
				want := gatewayCopy{clusters: map[link.ID]link.ClusterRules{}, ports: all.Ports, claims: map[link.ID]link.ClaimRule{}}
				for _, c := range all.Clusters {
					want.clusters[c.ClusterID] = c
				}
				for _, c := range all.Claims {
					want.claims[c.ID] = c
				}
				if diff := cmp.Diff(&want, g, cmp.AllowUnexported(gatewayCopy{}), cmpopts.IgnoreFields(gatewayCopy{}, "at"), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("after\n%q\na gateway that follows differs from the full set (-want +got):\n%s", log, diff)
				}
			}
			authorised := 0
			for c := range maps.Values(copies[0].clusters) {
				authorised += len(c.Endpoints)
			}
			t.Logf("%d deltas, %d clusters, %d authorised endpoints and %d claims at the end, of %d", deltas, len(copies[0].clusters), authorised, len(copies[0].claims), len(claims))
		})
	}
}
