package connect_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/connect"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/fabric"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/reconcile"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

const (
	region     = "us-east-1"
	vendorID   = "111111111111"
	customerID = "222222222222"
	token      = "operator-token-of-the-test"
	poll       = 10 * time.Millisecond
)

// world is the whole of both sides: a fabric with a vendor's and a customer's account, and the vendor's control plane
// with its reconciler at work. Nothing in it is a stand-in.
type world struct {
	fabric    *fabric.Fabric
	network   fabric.Network // the customer's
	api       *api.Client
	apiURL    string
	reconcile *reconcile.Reconciler
	cluster   api.Cluster
	ec2       *ec2.Client // the customer's
	route53   *route53.Client
}

func newWorld(t *testing.T) *world { return newWorldWith(t, "") }

// named is a driver whose services carry a private DNS name.
type named struct {
	cloud.Driver
	name string
}

func (d named) EnsureService(ctx context.Context, spec cloud.ServiceSpec) (cloud.Service, error) {
	spec.PrivateDNSName = d.name
	return d.Driver.EnsureService(ctx, spec)
}

// newWorldWith makes a world whose service has a private DNS name, verified in a public zone of the vendor's.
func newWorldWith(t *testing.T, privateDNS string) *world {
	t.Helper()
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	f, err := fabric.Start(ctx, fabric.Config{
		Accounts: []fabric.Account{
			{ID: vendorID, AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret", Name: "vendor"},
			{ID: customerID, AccessKeyID: "AKIACUSTOMER", SecretAccessKey: "customer-secret", Name: "customer"},
		},
		Settle: 5 * time.Millisecond, Seed: 1, Log: log,
	})
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	st := storetest.Open(t, store.Options{Log: log})
	must(t, st.Write(ctx, func(tx *store.Tx) error { return tx.PutToken("operator", string(policy.Operator), token) }))
	done := make(chan struct{})
	srv := httptest.NewServer(httpapi.New(control.New(st, control.Options{Domain: "postern.test", Log: log}), httpapi.Options{Log: log, Done: done}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(done) })

	_, err = route53.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: aws.String(f.URL()), Credentials: credentials.NewStaticCredentialsProvider("AKIAVENDOR", "vendor-secret", ""),
	}).CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String("pe.postern.test"), CallerReference: aws.String("public")})
	must(t, err)
	driver, err := awsprivatelink.New(ctx, awsprivatelink.Config{
		Region: region, EndpointURL: f.URL(), AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret",
	})
	must(t, err)
	rec, err := reconcile.Start(ctx, reconcile.Config{
		Store: st, Log: log, Drivers: func(link.Provider, string) (cloud.Driver, error) { return named{driver, privateDNS}, nil },
		Cadence: plan.Cadence{Fast: 20 * time.Millisecond, Slow: 5 * time.Second},
		Poll:    10 * time.Millisecond, Backoff: 20 * time.Millisecond, Workers: 2,
	})
	must(t, err)
	t.Cleanup(func() { _ = rec.Close() })

	w := &world{fabric: f, api: api.New(srv.URL, token), apiURL: srv.URL, reconcile: rec}
	w.network, err = f.DefaultNetwork(customerID, region)
	must(t, err)
	vendor, err := f.DefaultNetwork(vendorID, region)
	must(t, err)
	_, err = w.api.PutRegion(ctx, "AWS", region, api.PutRegionRequest{
		VPCID: vendor.VPCID, SubnetIDs: vendor.SubnetIDs[:2], GatewayTargets: []string{"127.0.0.1:9443"},
	})
	must(t, err)
	w.cluster = w.newCluster(t, "acme")
	sdk := aws.Config{
		Region: region, BaseEndpoint: aws.String(f.URL()),
		Credentials: credentials.NewStaticCredentialsProvider("AKIACUSTOMER", "customer-secret", ""),
	}
	w.ec2, w.route53 = ec2.NewFromConfig(sdk), route53.NewFromConfig(sdk)
	return w
}

func (w *world) newCluster(t *testing.T, name string) api.Cluster {
	t.Helper()
	project, err := w.api.CreateProject(t.Context(), api.CreateProjectRequest{Name: "project"})
	must(t, err)
	cluster, err := w.api.CreateCluster(t.Context(), api.CreateClusterRequest{
		ProjectID: project.ID, Name: name, CloudProvider: "AWS", Regions: []string{region}, Backends: []string{"127.0.0.1:9444"},
	})
	must(t, err)
	return cluster
}

func (w *world) config() connect.Config {
	return connect.Config{
		API: w.api, Poll: poll,
		AWS: connect.AWS{EndpointURL: w.fabric.URL(), AccessKeyID: "AKIACUSTOMER", SecretAccessKey: "customer-secret", MaxBackoff: time.Millisecond},
	}
}

func (w *world) request() connect.Request {
	return connect.Request{ClusterID: w.cluster.ID, VPCID: w.network.VPCID}
}

func (w *world) privateName() string { return w.cluster.Regions[0].PrivateEndpointDNS }

// connected runs connect and expects it to succeed.
func (w *world) connected(t *testing.T, cfg connect.Config, req connect.Request) connect.Result {
	t.Helper()
	r, err := connect.Run(t.Context(), cfg, req, nil)
	if err != nil {
		t.Fatalf("connect: %v\n%s", err, steps(r))
	}
	return r
}

func (w *world) disconnected(t *testing.T, req connect.Request) connect.Result {
	t.Helper()
	r, err := connect.Disconnect(t.Context(), w.config(), req, nil)
	if err != nil {
		t.Fatalf("disconnect: %v\n%s", err, steps(r))
	}
	return r
}

// endpoints lists the customer's endpoints that are not on their way out.
func (w *world) endpoints(t *testing.T) []string {
	t.Helper()
	out, err := w.ec2.DescribeVpcEndpoints(t.Context(), &ec2.DescribeVpcEndpointsInput{})
	must(t, err)
	var ids []string
	for _, e := range out.VpcEndpoints {
		if s := strings.ToLower(string(e.State)); s != "deleting" && s != "deleted" {
			ids = append(ids, aws.ToString(e.VpcEndpointId))
		}
	}
	return ids
}

func (w *world) zones(t *testing.T) []string {
	t.Helper()
	out, err := w.route53.ListHostedZones(t.Context(), &route53.ListHostedZonesInput{})
	must(t, err)
	var ids []string
	for _, z := range out.HostedZones {
		ids = append(ids, aws.ToString(z.Name))
	}
	return ids
}

// group makes a security group in the customer's VPC that lets TCP in on port from cidr.
func (w *world) group(t *testing.T, name, cidr string, port int32) string {
	t.Helper()
	out, err := w.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: aws.String(name), Description: aws.String(name), VpcId: aws.String(w.network.VPCID),
	})
	must(t, err)
	_, err = w.ec2.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: out.GroupId, IpPermissions: []ec2types.IpPermission{{
			IpProtocol: aws.String("tcp"), FromPort: aws.Int32(port), ToPort: aws.Int32(port),
			IpRanges: []ec2types.IpRange{{CidrIp: aws.String(cidr)}},
		}},
	})
	must(t, err)
	return aws.ToString(out.GroupId)
}

// servedSubnets lists the customer's subnets in zones that the service has too.
func (w *world) servedSubnets(t *testing.T) []string {
	t.Helper()
	services, err := w.api.Services(t.Context(), w.cluster.ID)
	must(t, err)
	out, err := w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: w.network.SubnetIDs})
	must(t, err)
	var ids []string
	for _, s := range out.Subnets {
		if slices.Contains(services[0].AvailabilityZoneIDs, aws.ToString(s.AvailabilityZoneId)) {
			ids = append(ids, aws.ToString(s.SubnetId))
		}
	}
	return ids
}

// registered lists the endpoints that the cluster holds a connection to, as long as it is not deleted.
func (w *world) registered(t *testing.T, clusterID string) []string {
	t.Helper()
	conns, err := w.api.Connections(t.Context(), clusterID)
	must(t, err)
	var ids []string
	for _, c := range conns {
		if c.Status != api.StatusDeleted {
			ids = append(ids, c.EndpointID)
		}
	}
	return ids
}

// cutter is a transport that goes dead at the n-th request that is to change something: before it arrives, or, with
// lost, after it has taken effect.
type cutter struct {
	mu      sync.Mutex
	n       int
	lost    bool
	changes int
	dead    bool
	cancel  context.CancelFunc
}

var errCut = errors.New("the wire was cut")

func (c *cutter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return nil, errCut
	}
	if changes(req) {
		c.changes++
		if c.changes == c.n {
			c.dead = true
			defer c.cancel()
			if c.lost {
				if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
					_ = resp.Body.Close()
				}
			}
			return nil, errCut
		}
	}
	return http.DefaultTransport.RoundTrip(req)
}

// changes reports whether a request, to AWS or to Postern, is to change something.
func changes(req *http.Request) bool {
	if req.Method == http.MethodGet {
		return false
	}
	if req.Body == nil {
		return true
	}
	body, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	action := form.Get("Action")
	return err != nil || !strings.HasPrefix(action, "Describe") && !strings.HasPrefix(action, "Get")
}

func steps(r connect.Result) string {
	var b strings.Builder
	for _, s := range r.Steps {
		b.WriteString(string(s.Step) + " " + string(s.Status) + ": " + s.Message + "\n")
	}
	return b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
