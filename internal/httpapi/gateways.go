package httpapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) gateways() {
	const tag = "Gateways"

	register(s, route{method: http.MethodGet, path: "/api/v1/gateways", id: "ListGateways", tag: tag, summary: "List the gateways"},
		func(ctx context.Context, c policy.Caller, _ *struct{}) (api.GatewayList, error) {
			list, revision, err := s.plane.Gateways(ctx, c)
			return api.GatewayList{Gateways: each(list, wireGateway), RulesRevision: revision}, err
		})

	register(s, route{
		method: http.MethodGet, path: networkingBase + "/proof-keys", id: "ListProofKeys", tag: tag,
		summary: "List the keys by which a proof of path of the cluster may be signed",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ProofKeyList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ProofKeyList{}, err
			}
			list, err := s.plane.ProofKeys(ctx, c, id)
			return api.ProofKeyList{ProofKeys: each(list, func(g link.Gateway) api.ProofKey {
				return api.ProofKey{GatewayID: g.ID, Key: g.ProofKey}
			})}, err
		})

	type ack struct{ Body api.GatewayAck }
	register(s, route{
		method: http.MethodPost, path: "/api/v1/gateway/ack", id: "AcknowledgeRules", tag: tag,
		summary: "Say which revision of the rules a gateway decides by",
	},
		func(ctx context.Context, c policy.Caller, in *ack) (empty, error) {
			return empty{}, s.plane.Acknowledge(ctx, c, in.Body.GatewayID, in.Body.Revision)
		})

	type report struct{ Body api.GatewayReport }
	register(s, route{
		method: http.MethodPost, path: "/api/v1/gateway/reports", id: "ReportTraffic", tag: tag,
		summary: "Hand over what a gateway saw; the same batch again changes nothing", maxBody: maxReport,
	},
		func(ctx context.Context, c policy.Caller, in *report) (empty, error) {
			r, err := readReport(in.Body)
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.Report(ctx, c, r)
		})

	s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.GatewayRules](), true, "") // no body names it as a whole
	rules := route{
		method: http.MethodGet, path: "/api/v1/gateway/rules", id: "StreamRules", tag: tag,
		summary: "Stream the rules: all of them, or what changed since a version, and then every change",
	}.operation()
	rules.Responses = map[string]*huma.Response{"200": {
		Description: "One GatewayRules document per line; empty lines keep the stream alive",
		Content: map[string]*huma.MediaType{ndjson: {
			Schema: &huma.Schema{Type: huma.TypeString, Description: "Lines of JSON, each a GatewayRules"},
		}},
	}}
	huma.Register(s.api, rules, s.streamRules)
}

func readHello(gatewayID, key string) ([]byte, error) {
	if gatewayID == "" || len(gatewayID) > 100 {
		return nil, &link.Error{
			Kind: link.Invalid, Reason: "MALFORMED_GATEWAY_ID", Field: "gateway_id", Message: "not a gateway's id: " + link.Quote(gatewayID),
			Hint: "give 1 to 100 characters, the same ones after a restart",
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil || len(raw) != 32 {
		return nil, &link.Error{
			Kind: link.Invalid, Reason: "MALFORMED_PROOF_KEY", Field: "proof_key", Message: "not an Ed25519 public key",
			Hint: "give its 32 bytes as base64url without padding",
		}
	}
	return raw, nil
}

// readReport translates a report and refuses one that names something which cannot be.
func readReport(in api.GatewayReport) (link.GatewayReport, error) {
	out := link.GatewayReport{GatewayID: in.GatewayID, BatchID: in.BatchID, SentAt: in.SentAt}
	for i, f := range in.Flows {
		at := fmt.Sprintf("flows[%d]", i)
		cluster, err := reported(at, f.ClusterID, f.Listener)
		if err != nil {
			return out, err
		}
		if f.Port < 0 || f.Port > math.MaxUint16 {
			return out, &link.Error{
				Kind: link.Invalid, Reason: "MALFORMED_PORT", Field: at + ".port", Message: fmt.Sprintf("not a port: %d", f.Port),
				Hint: "give the port that the client dialled, or leave it out",
			}
		}
		flow := link.Flow{
			ID: f.ID, GatewayID: in.GatewayID, ClusterID: cluster, Listener: link.Listener(f.Listener),
			EndpointID: link.EndpointID(f.EndpointID), Source: f.Source, Name: f.Name, Port: uint16(f.Port), Backend: f.Backend,
			StartedAt: f.StartedAt, BytesIn: f.BytesIn, BytesOut: f.BytesOut, CloseReason: f.CloseReason,
		}
		if f.EndedAt != nil {
			flow.EndedAt = *f.EndedAt
		}
		out.Flows = append(out.Flows, flow)
	}
	for i, r := range in.Refused {
		at := fmt.Sprintf("refused[%d]", i)
		cluster, err := reported(at, r.ClusterID, r.Listener)
		if err != nil {
			return out, err
		}
		if r.Count < 1 {
			return out, &link.Error{
				Kind: link.Invalid, Reason: "MALFORMED_COUNT", Field: at + ".count", Message: fmt.Sprintf("a count of %d", r.Count),
				Hint: "leave out what did not happen",
			}
		}
		out.Refused = append(out.Refused, link.RefusedAttempt{
			ClusterID: cluster, Listener: link.Listener(r.Listener), EndpointID: link.EndpointID(r.EndpointID), Name: r.Name,
			Source: r.Source, Reason: r.Reason, WouldRefuse: r.WouldRefuse, Count: r.Count, FirstAt: r.FirstAt, LastAt: r.LastAt,
		})
	}
	for i, b := range in.Backends {
		cluster, err := reported(fmt.Sprintf("backends[%d]", i), b.ClusterID, string(link.PrivateListener))
		if err != nil {
			return out, err
		}
		out.Backends = append(out.Backends, link.BackendHealth{
			ClusterID: cluster, Backend: b.Backend, Healthy: b.Healthy, Reason: b.Reason, At: b.At,
		})
	}
	for i, c := range in.Claims {
		id, err := link.ParseID(fmt.Sprintf("claims[%d].claim_id", i), c.ClaimID)
		if err != nil {
			return out, err
		}
		out.Claims = append(out.Claims, link.Claimed{ClaimID: id, EndpointID: link.EndpointID(c.EndpointID), Source: c.Source, At: c.At})
	}
	return out, nil
}

// reported checks what every line of a report names. An empty cluster means that the flow led to none.
func reported(at, cluster, listener string) (link.ID, error) {
	if l := link.Listener(listener); l != link.PrivateListener && l != link.PublicListener {
		return "", &link.Error{
			Kind: link.Invalid, Reason: "UNKNOWN_LISTENER", Field: at + ".listener", Message: "no such listener: " + link.Quote(listener),
			Hint: "give private or public",
		}
	}
	if cluster == "" {
		return "", nil
	}
	return link.ParseID(at+".cluster_id", cluster)
}
