package control

import (
	"context"
	"net/netip"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func soon() error {
	return &link.Error{Kind: link.Unavailable, Reason: "NOT_READY", Message: "not ready yet"}
}

func (p *Plane) Authenticate(ctx context.Context, token string) (policy.Caller, error) {
	return policy.Caller{}, soon()
}
func (p *Plane) Projects(ctx context.Context, c policy.Caller) ([]link.Project, error) {
	return nil, soon()
}
func (p *Plane) Project(ctx context.Context, c policy.Caller, id link.ID) (link.Project, error) {
	return link.Project{}, soon()
}
func (p *Plane) CreateProject(ctx context.Context, c policy.Caller, name string) (link.Project, error) {
	return link.Project{}, soon()
}
func (p *Plane) Regions(ctx context.Context, c policy.Caller) ([]RegionView, error) {
	return nil, soon()
}
func (p *Plane) PutRegion(ctx context.Context, c policy.Caller, r link.Region) (link.Region, error) {
	return link.Region{}, soon()
}
func (p *Plane) Clusters(ctx context.Context, c policy.Caller, page Page) ([]link.Cluster, string, error) {
	return nil, "", soon()
}
func (p *Plane) Cluster(ctx context.Context, c policy.Caller, id link.ID) (link.Cluster, error) {
	return link.Cluster{}, soon()
}
func (p *Plane) CreateCluster(ctx context.Context, c policy.Caller, r ClusterRequest) (link.Cluster, error) {
	return link.Cluster{}, soon()
}
func (p *Plane) UpdateCluster(ctx context.Context, c policy.Caller, id link.ID, u ClusterUpdate) (link.Cluster, error) {
	return link.Cluster{}, soon()
}
func (p *Plane) DeleteCluster(ctx context.Context, c policy.Caller, id link.ID) error { return soon() }
func (p *Plane) SetPublicAccess(ctx context.Context, c policy.Caller, id link.ID, a link.PublicAccess) (link.Cluster, error) {
	return link.Cluster{}, soon()
}
func (p *Plane) Services(ctx context.Context, c policy.Caller, clusterID link.ID) ([]link.Service, error) {
	return nil, soon()
}
func (p *Plane) CreateServices(ctx context.Context, c policy.Caller, clusterID link.ID) ([]link.Service, error) {
	return nil, soon()
}
func (p *Plane) Connections(ctx context.Context, c policy.Caller, clusterID link.ID) ([]link.Connection, error) {
	return nil, soon()
}
func (p *Plane) Connection(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string) (link.Connection, error) {
	return link.Connection{}, soon()
}
func (p *Plane) Connect(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string) (link.Connection, error) {
	return link.Connection{}, soon()
}
func (p *Plane) Disconnect(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string) (link.Connection, error) {
	return link.Connection{}, soon()
}
func (p *Plane) CloudEndpoints(ctx context.Context, c policy.Caller, clusterID link.ID) ([]link.Endpoint, error) {
	return nil, soon()
}
func (p *Plane) SetEndpointState(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string, want link.State) (link.Endpoint, error) {
	return link.Endpoint{}, soon()
}
func (p *Plane) TrustedOwners(ctx context.Context, c policy.Caller, clusterID link.ID) ([]link.TrustedOwner, error) {
	return nil, soon()
}
func (p *Plane) TrustedOwner(ctx context.Context, c policy.Caller, clusterID, ownerID link.ID) (link.TrustedOwner, error) {
	return link.TrustedOwner{}, soon()
}
func (p *Plane) AddTrustedOwner(ctx context.Context, c policy.Caller, clusterID link.ID, typ link.OwnerType, externalID string) (link.TrustedOwner, error) {
	return link.TrustedOwner{}, soon()
}
func (p *Plane) RemoveTrustedOwner(ctx context.Context, c policy.Caller, clusterID, ownerID link.ID) (link.TrustedOwner, error) {
	return link.TrustedOwner{}, soon()
}
func (p *Plane) AllowList(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) (AllowListPage, error) {
	return AllowListPage{}, soon()
}
func (p *Plane) AddAllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, e link.AllowEntry) (link.AllowEntry, error) {
	return link.AllowEntry{}, soon()
}
func (p *Plane) PutAllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, e link.AllowEntry) (link.AllowEntry, error) {
	return link.AllowEntry{}, soon()
}
func (p *Plane) RemoveAllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, prefix netip.Prefix) (link.AllowEntry, error) {
	return link.AllowEntry{}, soon()
}
func (p *Plane) RefusedAttempts(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) ([]link.RefusedAttempt, string, error) {
	return nil, "", soon()
}
func (p *Plane) UnroutedAttempts(ctx context.Context, c policy.Caller, page Page) ([]link.RefusedAttempt, string, error) {
	return nil, "", soon()
}
func (p *Plane) Flows(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) ([]link.Flow, string, error) {
	return nil, "", soon()
}
func (p *Plane) Events(ctx context.Context, c policy.Caller, ref link.ObjectRef, page Page) ([]link.Event, string, error) {
	return nil, "", soon()
}
func (p *Plane) Gateways(ctx context.Context, c policy.Caller) ([]link.Gateway, error) {
	return nil, soon()
}
func (p *Plane) ProofKeys(ctx context.Context, c policy.Caller, clusterID link.ID) ([]link.Gateway, error) {
	return nil, soon()
}
func (p *Plane) Rules(ctx context.Context, c policy.Caller, after int64) (link.RuleSet, error) {
	return link.RuleSet{}, soon()
}
func (p *Plane) GatewayHello(ctx context.Context, c policy.Caller, gatewayID string, proofKey []byte) error {
	return soon()
}
func (p *Plane) Acknowledge(ctx context.Context, c policy.Caller, gatewayID string, revision int64) error {
	return soon()
}
func (p *Plane) Report(ctx context.Context, c policy.Caller, r link.GatewayReport) error {
	return soon()
}
