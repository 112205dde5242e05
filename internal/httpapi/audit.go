package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// OrganisationQuery says whose part of the audit log is asked for.
type OrganisationQuery struct {
	OrganisationID string `query:"organisation_id" doc:"Whose entries; all when absent, which is for operators"`
}

func (q OrganisationQuery) organisation() (link.ID, error) {
	if q.OrganisationID == "" {
		return "", nil
	}
	return link.ParseID("organisation_id", q.OrganisationID)
}

// exportQuery says what is exported.
type exportQuery struct {
	OrganisationQuery
	Position int64     `query:"position" minimum:"0" doc:"The first position; 0 for the first of from, or of all"`
	From     time.Time `query:"from" doc:"Leaves out entries of before"`
}

func (s *server) audit() {
	const tag, base = "Audit", "/api/v1/audit"

	type page struct {
		OrganisationQuery
		ClusterID string    `query:"cluster_id" doc:"Entries of one cluster"`
		From      time.Time `query:"from" doc:"Inclusive"`
		To        time.Time `query:"to" doc:"Not inclusive"`
		PageQuery
	}
	register(s, route{method: http.MethodGet, path: base, id: "ListAudit", tag: tag, summary: "List the audit log, oldest first"},
		func(ctx context.Context, c policy.Caller, in *page) (api.AuditList, error) {
			p := control.AuditPage{Page: in.page(), From: in.From, To: in.To}
			var err error
			if p.OrganisationID, err = in.organisation(); err != nil {
				return api.AuditList{}, err
			}
			if in.ClusterID != "" {
				if p.ClusterID, err = link.ParseID("cluster_id", in.ClusterID); err != nil {
					return api.AuditList{}, err
				}
			}
			list, next, err := s.plane.Audit(ctx, c, p)
			return api.AuditList{Entries: each(list, wireAudit), Pagination: api.Pagination{NextPage: next}}, err
		})

	register(s, route{method: http.MethodGet, path: base + "/keys", id: "ListAuditKeys", tag: tag, summary: "List the public keys that sign the audit log"},
		func(ctx context.Context, c policy.Caller, in *OrganisationQuery) (api.AuditKeyList, error) {
			id, err := in.organisation()
			if err != nil {
				return api.AuditKeyList{}, err
			}
			out := api.AuditKeyList{Keys: []api.AuditKey{}}
			installation, keys, err := s.plane.AuditKeys(ctx, c, id)
			out.InstallationID = installation
			for _, k := range keys {
				out.Keys = append(out.Keys, api.AuditKey{PublicKey: k.Plain, VerifierKey: k.Verifier})
			}
			return out, err
		})

	register(s, route{
		method: http.MethodGet, path: base + "/checkpoint", id: "GetAuditCheckpoint", tag: tag,
		summary: "Have the end of the audit log signed: whoever keeps the note notices when the log loses what it signs",
	},
		func(ctx context.Context, c policy.Caller, in *OrganisationQuery) (api.AuditCheckpoint, error) {
			id, err := in.organisation()
			if err != nil {
				return api.AuditCheckpoint{}, err
			}
			note, err := s.plane.AuditCheckpoint(ctx, c, id)
			return api.AuditCheckpoint{Note: string(note)}, err
		})

	type report struct {
		ClusterPath
		From time.Time `query:"from" required:"true" doc:"Inclusive"`
		To   time.Time `query:"to" doc:"Not inclusive; now when absent"`
	}
	register(s, route{
		method: http.MethodGet, path: clusterBase + "/audit-report", id: "GetAuditReport", tag: tag,
		summary: "Tell which endpoints could pass traffic to the cluster in a time, and which did",
	},
		func(ctx context.Context, c policy.Caller, in *report) (api.AuditReport, error) {
			id, err := in.cluster()
			if err != nil {
				return api.AuditReport{}, err
			}
			r, err := s.plane.AuditReport(ctx, c, id, in.From, in.To)
			return wireAuditReport(r), err
		})

	op := route{
		method: http.MethodGet, path: base + "/export", id: "ExportAudit", tag: tag,
		summary: `Export the audit log with its checkpoints, for "postern audit verify"`,
	}.operation()
	op.Responses = map[string]*huma.Response{"200": {
		Description: "One JSON document per line; docs/audit.md describes them",
		Content:     map[string]*huma.MediaType{ndjson: {Schema: &huma.Schema{Type: huma.TypeString, Description: "Lines of JSON"}}},
	}}
	huma.Register(s.api, op, s.exportAudit)
}

// exportAudit streams an export. What can be refused is refused before the head of the answer is sent; one that fails later
// ends in the middle, which its header gives away.
func (s *server) exportAudit(ctx context.Context, in *exportQuery) (*huma.StreamResponse, error) {
	id, err := in.organisation()
	if err != nil {
		return nil, err
	}
	export, err := s.plane.ExportAudit(ctx, callerOf(ctx), control.ExportRequest{OrganisationID: id, From: in.Position, Since: in.From})
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		w.Header().Set("Content-Type", ndjson)
		w.WriteHeader(http.StatusOK)
		out := &lines{w: w, rc: http.NewResponseController(w), patience: s.o.BodyTimeout}
		err := export(ctx, func(part []byte) error {
			select {
			case <-s.o.Done:
				return context.Canceled
			default:
				return out.write(part)
			}
		})
		if err != nil && ctx.Err() == nil {
			requestOf(ctx).fail(ctx, err)
			panic(http.ErrAbortHandler) // half an export must not look like a whole one
		}
	}}, nil
}

func wireAudit(e control.AuditEntry) api.AuditEntry {
	return api.AuditEntry{
		Position: e.Position, At: e.At.UTC(), Actor: api.AuditActor{ID: string(e.Actor.ID), Name: e.Actor.Name, Role: e.Actor.Role},
		Action: e.Action, ObjectKind: e.Object.Kind, ObjectID: e.Object.ID, OrganisationID: string(e.Place.OrganisationID),
		ProjectID: string(e.Place.ProjectID), ClusterID: string(e.Place.ClusterID), Decision: string(e.Decision), Rule: e.Rule,
		Reason: e.Reason, Message: e.Why, Before: e.Before, After: e.After, RequestID: e.RequestID, Source: e.Source, Count: max(e.Count, 1),
		Previous: e.Previous.String(), Hash: e.Hash.String(),
	}
}

func wireAuditReport(r control.AuditReport) api.AuditReport {
	return api.AuditReport{
		ClusterID: string(r.ClusterID), ClusterName: r.Name, From: r.From.UTC(), To: r.To.UTC(), MadeAt: r.MadeAt.UTC(),
		Endpoints: each(r.Endpoints, func(e control.EndpointEvidence) api.AuditEndpoint {
			return api.AuditEndpoint{
				EndpointID: string(e.EndpointID), ExternalOwnerID: e.OwnerID, Could: each(e.Could, wireInterval), Did: wireFlowSum(e.Flows), Outside: e.Outside,
			}
		}),
		Egress: each(r.Egress, func(e control.EgressEvidence) api.AuditEgress {
			return api.AuditEgress{ID: string(e.ID), Region: e.Region, Target: e.Target, Could: each(e.Could, wireInterval)}
		}),
		Public: each(r.Public, wireInterval),
		AllowList: each(r.AllowList, func(a control.AllowedRange) api.AuditAllowed {
			return api.AuditAllowed{Prefix: a.Prefix, UI: a.UI, SQL: a.SQL, Name: a.Name}
		}),
		PublicFlows: wireFlowSum(r.Flows), Refused: each(r.Refused, wireRefusedAttempt), Changes: each(r.Changes, wireAudit),
		Limits: text(r.Limits),
	}
}

func wireInterval(i control.Interval) api.AuditInterval {
	return api.AuditInterval{From: i.From.UTC(), To: i.To.UTC(), What: i.What, By: i.By}
}

func wireFlowSum(f control.FlowSum) api.AuditFlows {
	out := api.AuditFlows{Count: f.Count, BytesIn: f.BytesIn, BytesOut: f.BytesOut}
	if f.Count > 0 {
		out.FirstAt, out.LastAt = f.FirstAt.UTC(), f.LastAt.UTC()
	}
	return out
}
