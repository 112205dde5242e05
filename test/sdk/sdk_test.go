package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/cockroach-cloud-sdk-go/pkg/client"
)

// session is the SDK pointed at a Postern, and the cluster that it works on.
type session struct {
	client.Service
	ready   ready
	cluster string
}

func open(t *testing.T) session {
	t.Helper()
	r := postern(t)
	cfg := client.NewConfiguration(r.Token)
	cfg.ServerURL = r.APIURL
	return session{client.NewService(client.NewClient(cfg)), r, r.ClusterID}
}

// refused checks that err is the API's error of this status and reason, in the shape that the SDK reads.
func refused(t *testing.T, err error, resp *http.Response, status int, reason string) {
	t.Helper()
	if err == nil || resp == nil || resp.StatusCode != status {
		t.Errorf("not refused with %d: %v, %v", status, resp, err)
		return
	}
	sdkErr, ok := errors.AsType[client.Error](err)
	if !ok {
		t.Errorf("the SDK made no client.Error of it: %T %v", err, err)
		return
	}
	var body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []struct {
			Reason string `json:"reason"`
		} `json:"details"`
	}
	if err := json.Unmarshal(sdkErr.Body(), &body); err != nil {
		t.Errorf("the error's body: %v\n%s", err, sdkErr.Body())
		return
	}
	if body.Code == 0 || body.Message == "" || len(body.Details) == 0 || body.Details[0].Reason != reason {
		t.Errorf("error %s, want reason %s", sdkErr.Body(), reason)
	}
}

// TestSDK drives every networking call of the SDK against one Postern, in the order in which a customer would. Each step
// stands on the ones before it.
func TestSDK(t *testing.T) {
	s := open(t)
	s.clusters(t)
	service := s.services(t)
	if t.Failed() {
		t.FailNow()
	}
	owner := s.trustedOwners(t)
	if t.Failed() {
		t.FailNow()
	}
	endpoint := createEndpoint(t, s.ready, s.ready.customer(t), service.Name, service.RegionName)
	s.connections(t, service, endpoint)
	s.awsEndpointConnections(t, service, endpoint)
	s.disconnect(t, endpoint)
	s.removeTrustedOwner(t, owner)
	s.allowList(t)
	s.strangers(t)
}

func (s session) clusters(t *testing.T) {
	ctx := t.Context()
	c, _, err := s.GetCluster(ctx, s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	if c.Id != s.cluster || c.State != client.CLUSTERSTATETYPE_CREATED || c.Plan != client.PLANTYPE_DEDICATED ||
		c.CloudProvider != client.CLOUDPROVIDERTYPE_AWS || c.Config.Dedicated == nil || c.Config.Serverless != nil {
		t.Errorf("cluster %+v", c)
	}
	if len(c.Regions) == 0 || c.Regions[0].Name == "" || c.Regions[0].InternalDns == "" || c.Regions[0].SqlDns == "" {
		t.Errorf("regions %+v", c.Regions)
	}
	if c.NetworkVisibility == nil || c.CreatedAt == nil || c.UpdatedAt == nil {
		t.Errorf("visibility %v, created %v, updated %v", c.NetworkVisibility, c.CreatedAt, c.UpdatedAt)
	}
	list, _, err := s.ListClusters(ctx, &client.ListClustersOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list.Clusters, func(c client.Cluster) bool { return c.Id == s.cluster }) {
		t.Errorf("the cluster is not in the list: %+v", list)
	}
	_, resp, err := s.GetCluster(ctx, "00000000-0000-4000-8000-000000000000")
	refused(t, err, resp, http.StatusNotFound, "CLUSTER_NOT_FOUND")
}

func (s session) services(t *testing.T) client.PrivateEndpointService {
	for range 2 { // it is idempotent
		if _, _, err := s.CreatePrivateEndpointServices(t.Context(), s.cluster); err != nil {
			t.Fatal(err)
		}
	}
	list := eventually(t, "the services are available", func(ctx context.Context) ([]client.PrivateEndpointService, bool) {
		l, _, err := s.ListPrivateEndpointServices(ctx, s.cluster)
		if err != nil {
			return nil, false
		}
		return l.Services, len(l.Services) > 0 && !slices.ContainsFunc(l.Services, func(v client.PrivateEndpointService) bool {
			return v.Status != client.PRIVATEENDPOINTSERVICESTATUSTYPE_AVAILABLE
		})
	})
	v := list[0]
	if v.CloudProvider != client.CLOUDPROVIDERTYPE_AWS || v.RegionName == "" || v.EndpointServiceId == "" ||
		!strings.HasPrefix(v.Name, "com.amazonaws.vpce.") || len(v.AvailabilityZoneIds) == 0 {
		t.Errorf("service %+v", v)
	}
	if v.Aws == nil || v.Aws.ServiceName != v.Name || v.Aws.ServiceId != v.EndpointServiceId ||
		!slices.Equal(v.Aws.AvailabilityZoneIds, v.AvailabilityZoneIds) {
		t.Errorf("the mirror differs: %+v", v.Aws)
	}
	return v
}

func (s session) trustedOwners(t *testing.T) client.PrivateEndpointTrustedOwner {
	ctx := t.Context()
	account := s.ready.customer(t).AccountID
	req := client.NewAddPrivateEndpointTrustedOwnerRequest(account, client.PRIVATEENDPOINTTRUSTEDOWNERTYPETYPE_AWS_ACCOUNT_ID)
	added, _, err := s.AddPrivateEndpointTrustedOwner(ctx, s.cluster, req)
	if err != nil {
		t.Fatal(err)
	}
	o := added.TrustedOwner
	if o.ExternalOwnerId != account || o.ClusterId != s.cluster || o.Type != req.Type || o.Id != strings.ToLower(o.Id) || o.CreatedAt.IsZero() {
		t.Errorf("trusted owner %+v", o)
	}
	again, _, err := s.AddPrivateEndpointTrustedOwner(ctx, s.cluster, req)
	if err != nil || again.TrustedOwner.Id != o.Id {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	list, _, err := s.ListPrivateEndpointTrustedOwners(ctx, s.cluster)
	if err != nil || list.TrustedOwners == nil || !slices.ContainsFunc(*list.TrustedOwners, func(x client.PrivateEndpointTrustedOwner) bool { return x.Id == o.Id }) {
		t.Errorf("list %+v, %v", list, err)
	}
	got, _, err := s.GetPrivateEndpointTrustedOwner(ctx, s.cluster, o.Id)
	if err != nil || got.TrustedOwner.ExternalOwnerId != account {
		t.Errorf("get %+v, %v", got, err)
	}
	req.ExternalOwnerId = "12345"
	_, resp, err := s.AddPrivateEndpointTrustedOwner(ctx, s.cluster, req)
	refused(t, err, resp, http.StatusBadRequest, "MALFORMED_OWNER_ID")
	return o
}

func (s session) connections(t *testing.T, service client.PrivateEndpointService, endpoint string) {
	ctx := t.Context()
	added, _, err := s.AddPrivateEndpointConnection(ctx, s.cluster, client.NewAddPrivateEndpointConnectionRequest(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	if added.EndpointId != endpoint {
		t.Errorf("connection %+v", added)
	}
	if _, ok := s.connection(ctx, t, endpoint); !ok {
		t.Error("the connection is not in the very next list")
	}
	if _, _, err := s.AddPrivateEndpointConnection(ctx, s.cluster, client.NewAddPrivateEndpointConnectionRequest(endpoint)); err != nil {
		t.Errorf("the same again: %v", err)
	}
	c := s.awaitConnection(t, endpoint, client.PRIVATEENDPOINTCONNECTIONSTATUS_AVAILABLE)
	account := s.ready.customer(t).AccountID
	if c.EndpointServiceId != service.EndpointServiceId || c.ServiceName != service.Name || c.RegionName == nil ||
		*c.RegionName != service.RegionName || c.ExternalOwnerId == nil || *c.ExternalOwnerId != account {
		t.Errorf("connection %+v", c)
	}
	for _, bad := range []string{"vpce-nope", strings.ToUpper(endpoint), "vpce-" + strings.Repeat("a", 300)} {
		_, resp, err := s.AddPrivateEndpointConnection(ctx, s.cluster, client.NewAddPrivateEndpointConnectionRequest(bad))
		refused(t, err, resp, http.StatusBadRequest, "MALFORMED_ENDPOINT_ID")
	}
}

func (s session) connection(ctx context.Context, t *testing.T, endpoint string) (client.PrivateEndpointConnection, bool) {
	t.Helper()
	list, _, err := s.ListPrivateEndpointConnections(ctx, s.cluster)
	if err != nil {
		t.Errorf("list the connections: %v", err)
		return client.PrivateEndpointConnection{}, false
	}
	i := slices.IndexFunc(list.Connections, func(c client.PrivateEndpointConnection) bool { return c.EndpointId == endpoint })
	if i < 0 {
		return client.PrivateEndpointConnection{}, false
	}
	return list.Connections[i], true
}

func (s session) awaitConnection(t *testing.T, endpoint string, want client.PrivateEndpointConnectionStatus) client.PrivateEndpointConnection {
	t.Helper()
	return eventually(t, "the connection is "+string(want), func(ctx context.Context) (client.PrivateEndpointConnection, bool) {
		c, ok := s.connection(ctx, t, endpoint)
		return c, ok && c.Status == want
	})
}

func (s session) awaitEndpoint(t *testing.T, endpoint string, want client.AWSEndpointConnectionStatusType) client.AwsEndpointConnection {
	t.Helper()
	return eventually(t, "the endpoint is "+string(want), func(ctx context.Context) (client.AwsEndpointConnection, bool) {
		list, _, err := s.ListAwsEndpointConnections(ctx, s.cluster)
		if err != nil {
			t.Errorf("list the endpoints: %v", err)
			return client.AwsEndpointConnection{}, false
		}
		for _, c := range list.Connections {
			if c.EndpointId == endpoint {
				return c, c.Status == want
			}
		}
		return client.AwsEndpointConnection{}, false
	})
}

func (s session) awsEndpointConnections(t *testing.T, service client.PrivateEndpointService, endpoint string) {
	ctx := t.Context()
	e := s.awaitEndpoint(t, endpoint, client.AWSENDPOINTCONNECTIONSTATUSTYPE_AVAILABLE)
	if e.ServiceId != service.EndpointServiceId || e.RegionName != service.RegionName || e.CloudProvider != client.CLOUDPROVIDERTYPE_AWS ||
		e.ExternalOwnerId == nil || *e.ExternalOwnerId != s.ready.customer(t).AccountID {
		t.Errorf("endpoint %+v", e)
	}
	set := func(to client.SetAWSEndpointConnectionStatusType) client.AwsEndpointConnection {
		t.Helper()
		before, _, err := s.SetAwsEndpointConnectionState(ctx, s.cluster, endpoint, client.NewSetAwsEndpointConnectionStateRequest(to))
		if err != nil {
			t.Fatal(err)
		}
		return *before
	}
	if before := set(client.SETAWSENDPOINTCONNECTIONSTATUSTYPE_REJECTED); before.Status != client.AWSENDPOINTCONNECTIONSTATUSTYPE_AVAILABLE {
		t.Errorf("before it was rejected: %+v", before)
	}
	s.awaitEndpoint(t, endpoint, client.AWSENDPOINTCONNECTIONSTATUSTYPE_REJECTED)
	s.awaitConnection(t, endpoint, client.PRIVATEENDPOINTCONNECTIONSTATUS_REJECTED)
	if before := set(client.SETAWSENDPOINTCONNECTIONSTATUSTYPE_AVAILABLE); before.Status != client.AWSENDPOINTCONNECTIONSTATUSTYPE_REJECTED {
		t.Errorf("before it was let in: %+v", before)
	}
	s.awaitEndpoint(t, endpoint, client.AWSENDPOINTCONNECTIONSTATUSTYPE_AVAILABLE)
	s.awaitConnection(t, endpoint, client.PRIVATEENDPOINTCONNECTIONSTATUS_AVAILABLE)

	set(client.SETAWSENDPOINTCONNECTIONSTATUSTYPE_REJECTED)
	s.awaitConnection(t, endpoint, client.PRIVATEENDPOINTCONNECTIONSTATUS_REJECTED)
	if _, _, err := s.AddPrivateEndpointConnection(ctx, s.cluster, client.NewAddPrivateEndpointConnectionRequest(endpoint)); err != nil {
		t.Errorf("attach it again: %v", err)
	}
	s.awaitConnection(t, endpoint, client.PRIVATEENDPOINTCONNECTIONSTATUS_AVAILABLE)
}

func (s session) disconnect(t *testing.T, endpoint string) {
	ctx := t.Context()
	for range 2 { // it is idempotent
		if _, err := s.DeletePrivateEndpointConnection(ctx, s.cluster, endpoint); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the connection is gone", func(ctx context.Context) (client.PrivateEndpointConnection, bool) {
		c, ok := s.connection(ctx, t, endpoint)
		return c, !ok || c.Status == client.PRIVATEENDPOINTCONNECTIONSTATUS_DELETED
	})
	resp, err := s.DeletePrivateEndpointConnection(ctx, s.cluster, "vpce-00000000000000000")
	refused(t, err, resp, http.StatusNotFound, "CONNECTION_NOT_FOUND")
}

func (s session) removeTrustedOwner(t *testing.T, o client.PrivateEndpointTrustedOwner) {
	ctx := t.Context()
	removed, _, err := s.RemovePrivateEndpointTrustedOwner(ctx, s.cluster, o.Id)
	if err != nil || removed.TrustedOwner.Id != o.Id {
		t.Errorf("remove: %+v, %v", removed, err)
	}
	_, resp, err := s.GetPrivateEndpointTrustedOwner(ctx, s.cluster, o.Id)
	refused(t, err, resp, http.StatusNotFound, "TRUSTED_OWNER_NOT_FOUND")
}

func (s session) allowList(t *testing.T) {
	ctx := t.Context()
	find := func(ip string) *client.AllowlistEntry {
		t.Helper()
		limit, page := int32(1), ""
		for { // one a page, so that the pages are walked
			list, _, err := s.ListAllowlistEntries(ctx, s.cluster, &client.ListAllowlistEntriesOptions{PaginationPage: &page, PaginationLimit: &limit})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list.Allowlist {
				if e.CidrIp == ip {
					return &e
				}
			}
			if list.Pagination == nil || list.Pagination.NextPage == nil || *list.Pagination.NextPage == "" {
				return nil
			}
			page = *list.Pagination.NextPage
		}
	}
	const ip, mask = "203.0.113.0", 24
	name, other := "office", "branch"
	entry := &client.AllowlistEntry{CidrIp: ip, CidrMask: mask, Sql: true, Name: &name}
	if got, _, err := s.AddAllowlistEntry(ctx, s.cluster, entry); err != nil || got.CidrIp != ip || got.CidrMask != mask || !got.Sql || got.Ui {
		t.Fatalf("add: %+v, %v", got, err)
	}
	if e := find(ip); e == nil || e.Name == nil || *e.Name != name {
		t.Errorf("after add: %+v", e)
	}
	if got, _, err := s.AddAllowlistEntry2(ctx, s.cluster, ip, mask, &client.AllowlistEntry1{Ui: true, Name: &other}); err != nil || !got.Ui || got.Sql {
		t.Errorf("put: %+v, %v", got, err)
	}
	if got, _, err := s.UpdateAllowlistEntry(ctx, s.cluster, ip, mask, &client.AllowlistEntry1{Ui: true, Sql: true}); err != nil || !got.Ui || !got.Sql || got.Name == nil || *got.Name != other {
		t.Errorf("patch keeps the name: %+v, %v", got, err)
	}
	if got, _, err := s.DeleteAllowlistEntry(ctx, s.cluster, ip, mask); err != nil || got.CidrIp != ip {
		t.Errorf("delete: %+v, %v", got, err)
	}
	if e := find(ip); e != nil {
		t.Errorf("after delete: %+v", e)
	}
	if got, _, err := s.AddAllowlistEntry2(ctx, s.cluster, "2001:db8::", 32, &client.AllowlistEntry1{Ui: true}); err != nil || got.CidrIp != "2001:db8::" {
		t.Errorf("put of an IPv6 range: %+v, %v", got, err)
	}
	if _, _, err := s.DeleteAllowlistEntry(ctx, s.cluster, "2001:db8::", 32); err != nil {
		t.Errorf("delete of an IPv6 range: %v", err)
	}
	_, resp, err := s.AddAllowlistEntry(ctx, s.cluster, &client.AllowlistEntry{CidrIp: "203.0.113.7", CidrMask: mask})
	refused(t, err, resp, http.StatusBadRequest, "HOST_BITS_SET")
}

// strangers checks what the SDK makes of a wrong token.
func (s session) strangers(t *testing.T) {
	cfg := client.NewConfiguration("wrong")
	cfg.ServerURL = s.ready.APIURL
	_, resp, err := client.NewService(client.NewClient(cfg)).ListPrivateEndpointServices(t.Context(), s.cluster)
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong token: %v, %v", resp, err)
	}
}
