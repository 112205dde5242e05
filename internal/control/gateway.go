package control

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

var allGateways = link.ObjectRef{Kind: link.ObjectGateway}

// Gateways lists the gateways that ever said hello.
func (p *Plane) Gateways(ctx context.Context, c policy.Caller) (out []link.Gateway, revision int64, err error) {
	err = p.read(ctx, c, allGateways, func(tx *store.Tx) (err error) {
		if revision, err = tx.RulesRevision(); err != nil {
			return err
		}
		out, err = tx.Gateways()
		return err
	})
	return out, revision, err
}

// ProofKeys lists the gateways whose proofs of path count for a cluster: all of them, since each serves every cluster.
func (p *Plane) ProofKeys(ctx context.Context, c policy.Caller, clusterID link.ID) (out []link.Gateway, err error) {
	err = p.read(ctx, c, clusterRef(clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		out, err = tx.Gateways()
		return err
	})
	return out, err
}

// WaitRules returns once there is a revision of the rules beyond after, and which it is; or when ctx ends.
func (p *Plane) WaitRules(ctx context.Context, c policy.Caller, after int64) (revision int64, err error) {
	if err := p.maySpeak(ctx, c, policy.ReceiveRules); err != nil {
		return 0, err
	}
	return p.st.WaitRules(ctx, after)
}

// Rules gives the rules as they are, with their version, to take in parts of at most most clusters. take must not be
// slow: it holds up one of the database's readers.
func (p *Plane) Rules(ctx context.Context, c policy.Caller, most int, take func(link.RulesVersion, link.RuleSet) error) error {
	if err := p.maySpeak(ctx, c, policy.ReceiveRules); err != nil {
		return err
	}
	return p.st.Read(ctx, func(tx *store.Tx) error { return tx.Rules(most, take) })
}

// RulesSince returns what leads from a version of the rules to the current one. It is false when that is not known any
// more, or never was: then only Rules helps.
func (p *Plane) RulesSince(ctx context.Context, c policy.Caller, from link.RulesVersion) (delta link.RuleDelta, to link.RulesVersion, known bool, err error) {
	if err := p.maySpeak(ctx, c, policy.ReceiveRules); err != nil {
		return delta, to, false, err
	}
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		delta, to, known, err = tx.RulesSince(from)
		return err
	})
	return delta, to, known, err
}

// mostGatewayID is the longest gateway id that is taken, in bytes.
const mostGatewayID = 100

func checkGatewayID(id string) error {
	if id == "" || len(id) > mostGatewayID {
		return invalid("gateway_id", "MALFORMED_GATEWAY_ID", "not a gateway id: "+link.Quote(id), "give 1 to 100 characters")
	}
	return checkTitle("gateway_id", id)
}

// maySpeak refuses what only gateways may do to who is none.
func (p *Plane) maySpeak(ctx context.Context, c policy.Caller, a policy.Action) error {
	d := policy.May(c, a, allGateways, link.Place{})
	return p.told(ctx, c, verdict{Permission: d, action: a, of: allGateways}, refusal(c, d))
}

// mayAct refuses what the caller may not do in the name of a gateway.
func (p *Plane) mayAct(ctx context.Context, c policy.Caller, a policy.Action, id string) error {
	if err := p.maySpeak(ctx, c, a); err != nil {
		return err
	}
	return checkGatewayID(id)
}

// gatewayChange runs f in one transaction on behalf of a gateway.
func (p *Plane) gatewayChange(ctx context.Context, c policy.Caller, a policy.Action, id string, f func(*store.Tx) error) error {
	if err := p.mayAct(ctx, c, a, id); err != nil {
		return err
	}
	return p.write(ctx, f)
}

// GatewayHello makes a gateway and the public key of its proofs known.
func (p *Plane) GatewayHello(ctx context.Context, c policy.Caller, gatewayID string, proofKey []byte) error {
	if len(proofKey) != ed25519.PublicKeySize {
		return invalid("proof_key", "MALFORMED_PROOF_KEY", "the proof key is not an Ed25519 public key", "give its 32 bytes in base64url without padding")
	}
	return p.gatewayChange(ctx, c, policy.ReceiveRules, gatewayID, func(tx *store.Tx) error { return tx.PutGateway(gatewayID, proofKey) })
}

// Acknowledge notes the revision of the rules that a gateway decides by.
func (p *Plane) Acknowledge(ctx context.Context, c policy.Caller, gatewayID string, revision int64) error {
	if err := p.mayAct(ctx, c, policy.ReceiveRules, gatewayID); err != nil {
		return err
	}
	err := p.st.Acknowledge(ctx, gatewayID, revision)
	return missing(err, "GATEWAY_NOT_FOUND", "gateway "+link.Quote(gatewayID), "open the rules stream first")
}

// Report stores a gateway's batch. A batch that was stored before changes nothing.
func (p *Plane) Report(ctx context.Context, c policy.Caller, r link.GatewayReport) error {
	if r.BatchID == "" || len(r.BatchID) > mostGatewayID {
		return invalid("batch_id", "MALFORMED_BATCH_ID", "a report needs a batch id of 1 to 100 characters", "")
	}
	// Several gateways count the same attempts. In one order, or two of them could wait for each other.
	refused := slices.SortedFunc(slices.Values(r.Refused), func(a, b link.RefusedAttempt) int {
		return cmp.Or(cmp.Compare(a.ClusterID, b.ClusterID), cmp.Compare(a.Source, b.Source), cmp.Compare(a.EndpointID, b.EndpointID),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Listener, b.Listener))
	})
	var late []audit.Entry
	err := p.gatewayChange(ctx, c, policy.ReportTraffic, r.GatewayID, func(tx *store.Tx) error {
		late = nil
		if err := tx.SeeGateway(r.GatewayID); err != nil {
			return err
		}
		fresh, err := tx.AddBatch(r.GatewayID, r.BatchID)
		if err != nil || !fresh {
			return err
		}
		for _, f := range r.Flows {
			f.GatewayID = r.GatewayID
			if err := tx.PutFlow(f); err != nil {
				return err
			}
		}
		for _, a := range refused {
			if a.Count <= 0 {
				continue
			}
			if err := tx.CountRefused(a); err != nil {
				return err
			}
		}
		for _, h := range r.Backends {
			if err := tx.PutBackendHealth(r.GatewayID, h); err != nil {
				return err
			}
		}
		// Before what the flows prove: they may be those of an endpoint that was claimed.
		ch := &change{Tx: tx, caller: c}
		if err := ch.bindClaims(r.Claims); err != nil {
			return err
		}
		late = ch.late
		return proveConnections(tx, r.Flows)
	})
	if err != nil {
		return err
	}
	for _, e := range late {
		p.refuse(ctx, "", e)
	}
	return nil
}

// proveConnections sets the conditions that only a flow can prove: that a connection is reachable, and that the private
// name leads through it.
func proveConnections(tx *store.Tx, flows []link.Flow) error {
	type key struct {
		cluster  link.ID
		endpoint link.EndpointID
	}
	names := map[key][]string{}
	for _, f := range flows {
		if f.Listener == link.PrivateListener && f.EndpointID != "" && f.ClusterID != "" {
			k := key{f.ClusterID, f.EndpointID}
			names[k] = append(names[k], f.Name)
		}
	}
	for k, asked := range names {
		cl, err := tx.Cluster(k.cluster)
		if errors.Is(err, store.ErrNotFound) {
			continue // it was deleted just now
		}
		if err != nil {
			return err
		}
		conn, err := throughWhich(tx, cl, k.endpoint)
		if errors.Is(err, store.ErrNotFound) {
			continue // it ended, or was turned away, before the report of its last flow came
		}
		if err != nil {
			return err
		}
		before := conn.Conditions
		conn.Conditions = link.SetCondition(conn.Conditions, link.Condition{
			Type: link.ConditionReachable, Status: link.True, Reason: link.ReasonFlowSeen, Message: "a flow came through this endpoint",
		}, tx.Now())
		if slices.ContainsFunc(asked, func(name string) bool { return isPrivateName(cl, name) }) {
			conn.Conditions = link.SetCondition(conn.Conditions, link.Condition{
				Type: link.ConditionDNSReady, Status: link.True, Reason: link.ReasonFlowSeen, Message: "a flow for the private name came through this endpoint",
			}, tx.Now())
		}
		if slices.Equal(before, conn.Conditions) {
			continue
		}
		if _, err := tx.SwapConnection(conn); err != nil {
			return err
		}
	}
	return nil
}

// throughWhich returns the connection by which an endpoint reaches a cluster: the cluster's own, or else its project's.
// It is store.ErrNotFound when neither is up.
func throughWhich(tx *store.Tx, cl link.Cluster, id link.EndpointID) (link.Connection, error) {
	conn, err := tx.Connection(cl.ID, id)
	if err == nil && up(conn) || err != nil && !errors.Is(err, store.ErrNotFound) {
		return conn, err
	}
	if conn, err = tx.ProjectConnection(cl.ProjectID, id); err == nil && !up(conn) {
		err = store.ErrNotFound
	}
	return conn, err
}

// up tells whether a connection is in a state in which flows come through its endpoint.
func up(c link.Connection) bool {
	return c.Want == link.WantConnected && slices.Contains([]link.State{link.Pending, link.PendingAcceptance, link.Available}, c.State)
}

// isPrivateName tells whether name is one of the cluster's private or custom names or the proof's sub-name of one.
func isPrivateName(cl link.Cluster, name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	of := func(private string) bool { return name == private || name == link.ProofLabel+"."+private }
	return slices.ContainsFunc(cl.Regions, func(r link.ClusterRegion) bool { return of(r.PrivateName) }) || slices.ContainsFunc(cl.CustomNames, of)
}
