package connect_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/connect"
	"github.com/postern/postern/internal/link"
)

// TestProblemsAreFoundBeforeAnythingIsCreated breaks one thing at a time in one world, with a service in it.
func TestProblemsAreFoundBeforeAnythingIsCreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connected(t, w.config(), w.request())
	w.disconnected(t, w.request())
	served := w.servedSubnets(t)
	unserved := slices.DeleteFunc(slices.Clone(w.network.SubnetIDs), func(id string) bool { return slices.Contains(served, id) })
	elsewhere, err := w.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.99.0.0/16")})
	must(t, err)

	for _, tt := range []struct {
		name    string
		request func(*connect.Request)
		reason  string
		field   string
		says    string // part of message or hint
		warning bool
	}{
		{"unknown VPC", func(r *connect.Request) { r.VPCID = "vpc-00000000000000000" }, "VPC_NOT_FOUND", "vpc_id", customerID, false},
		{"VPC without subnets", func(r *connect.Request) { r.VPCID = aws.ToString(elsewhere.Vpc.VpcId) }, "NO_COMMON_ZONE", "subnet_ids", "use1-az", false},
		{"subnet in a zone that the service lacks", func(r *connect.Request) { r.SubnetIDs = unserved[:1] }, "ZONE_NOT_SUPPORTED", "subnet_ids", unserved[0], false},
		{"subnet of nobody", func(r *connect.Request) { r.SubnetIDs = []string{"subnet-00000000000000000"} }, "SUBNET_NOT_IN_VPC", "subnet_ids", "describe-subnets", false},
		{"same zone twice", func(r *connect.Request) { r.SubnetIDs = []string{served[0], served[0]} }, "TWO_SUBNETS_IN_ONE_ZONE", "subnet_ids", served[0], false},
		{"one zone of two", func(r *connect.Request) { r.SubnetIDs = served[:1] }, "ONE_ZONE_ONLY", "subnet_ids", "second subnet", true},
		{"group of nobody", func(r *connect.Request) { r.SecurityGroupIDs = []string{"sg-00000000000000000"} }, "GROUP_NOT_IN_VPC", "security_group_ids", "describe-security-groups", false},
		{"group with another port", func(r *connect.Request) { r.SecurityGroupIDs = []string{w.group(t, "p80", "0.0.0.0/0", 80)} }, "NO_INBOUND_443", "security_group_ids", "authorize-security-group-ingress", false},
		{"group for another network", func(r *connect.Request) { r.SecurityGroupIDs = []string{w.group(t, "far", "203.0.113.0/24", 443)} }, "NO_INBOUND_443", "security_group_ids", "time out", false},
		{"default group", func(*connect.Request) {}, "INBOUND_FROM_MEMBERS_ONLY", "security_group_ids", "members", true},
		{"private DNS of a service without", func(r *connect.Request) { r.DNS = connect.DNSPrivate }, "NO_PRIVATE_DNS_NAME", "dns", "zone", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := w.request()
			tt.request(&req)
			p, err := connect.Prepare(t.Context(), w.config(), req)
			must(t, err)
			i := slices.IndexFunc(p.Problems, func(x connect.Problem) bool { return x.Reason == tt.reason })
			if i < 0 {
				t.Fatalf("problems %+v, want %s", p.Problems, tt.reason)
			}
			x := p.Problems[i]
			if x.Field != tt.field || x.Hint == "" || x.Warning != tt.warning || !strings.Contains(x.Message+x.Hint, tt.says) {
				t.Errorf("got %+v, want field %q, warning %t, and %q said", x, tt.field, tt.warning, tt.says)
			}
			if !strings.Contains(p.AWS(), x.Message) || !strings.Contains(p.Terraform(), x.Message) {
				t.Error("the printed plans do not tell the problem")
			}
			if tt.warning {
				return
			}
			_, err = connect.Run(t.Context(), w.config(), req, nil)
			e, ok := errors.AsType[*link.Error](err)
			if !ok || e.Reason != tt.reason {
				t.Errorf("Run: got %v, want %s", err, tt.reason)
			}
			if e, z, c := w.endpoints(t), w.zones(t), w.registered(t, w.cluster.ID); len(e)+len(z)+len(c) > 0 {
				t.Errorf("created: %q %q %q", e, z, c)
			}
		})
	}

	t.Run("a group that admits the VPC is no problem", func(t *testing.T) {
		req := w.request()
		req.SecurityGroupIDs = []string{w.group(t, "good", "10.0.0.0/8", 443)}
		p, err := connect.Prepare(t.Context(), w.config(), req)
		must(t, err)
		if len(p.Problems) != 0 {
			t.Errorf("problems %+v", p.Problems)
		}
	})

	t.Run("Docker repositories", func(t *testing.T) {
		_, err := w.api.PutReverseProxy(t.Context(), w.cluster.ID, api.ReverseProxySettings{
			Server: "direct", Repositories: []api.ProxyRepository{{Key: "docker-local"}},
		}, false)
		must(t, err)
		p, err := connect.Prepare(t.Context(), w.config(), w.request())
		must(t, err)
		if want := "docker-local." + w.privateName(); !slices.ContainsFunc(p.DNS.Notes, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("notes %q, want one that names %s", p.DNS.Notes, want)
		}
	})

	t.Run("a record of somebody else's", func(t *testing.T) {
		zone, err := w.route53.CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{
			Name: aws.String(w.privateName()), CallerReference: aws.String("by hand"),
			VPC: &r53types.VPC{VPCId: aws.String(w.network.VPCID), VPCRegion: r53types.VPCRegionUsEast1},
		})
		must(t, err)
		_, err = w.route53.ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{
			HostedZoneId: zone.HostedZone.Id, ChangeBatch: &r53types.ChangeBatch{Changes: []r53types.Change{{
				Action: r53types.ChangeActionCreate, ResourceRecordSet: &r53types.ResourceRecordSet{
					Name: aws.String(w.privateName()), Type: r53types.RRTypeA, TTL: aws.Int64(60),
					ResourceRecords: []r53types.ResourceRecord{{Value: aws.String("10.1.2.3")}},
				},
			}}},
		})
		must(t, err)
		_, err = connect.Run(t.Context(), w.config(), w.request(), nil)
		if e, ok := errors.AsType[*link.Error](err); !ok || e.Reason != "RECORD_CONFLICT" {
			t.Errorf("got %v, want RECORD_CONFLICT", err)
		}
		if e := w.endpoints(t); len(e) != 0 {
			t.Errorf("created %q", e)
		}
	})

	t.Run("DNS host names off", func(t *testing.T) {
		_, err := w.ec2.ModifyVpcAttribute(t.Context(), &ec2.ModifyVpcAttributeInput{
			VpcId: aws.String(w.network.VPCID), EnableDnsHostnames: &ec2types.AttributeBooleanValue{Value: aws.Bool(false)},
		})
		must(t, err)
		p, err := connect.Prepare(t.Context(), w.config(), w.request())
		must(t, err)
		if !slices.ContainsFunc(p.Blocking(), func(x connect.Problem) bool {
			return x.Reason == "VPC_DNS_OFF" && strings.Contains(x.Hint, "--enable-dns-hostnames")
		}) {
			t.Errorf("problems %+v, want VPC_DNS_OFF", p.Problems)
		}
	})
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct {
		name    string
		request func(*connect.Request)
		kind    link.Kind
		field   string
	}{
		{"cluster id", func(r *connect.Request) { r.ClusterID = "acme" }, link.Invalid, "cluster_id"},
		{"unknown cluster", func(r *connect.Request) { r.ClusterID = string(link.NewID()) }, link.NotFound, ""},
		{"no VPC", func(r *connect.Request) { r.VPCID = "" }, link.Invalid, "vpc_id"},
		{"another region", func(r *connect.Request) { r.Region = "eu-west-1" }, link.Invalid, "region"},
		{"DNS mode", func(r *connect.Request) { r.DNS = "magic" }, link.Invalid, "dns"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := w.request()
			tt.request(&req)
			_, err := connect.Prepare(t.Context(), w.config(), req)
			e, ok := errors.AsType[*link.Error](err)
			if !ok || e.Kind != tt.kind || tt.field != "" && e.Field != tt.field {
				t.Errorf("got %v (%+v), want kind %d and field %q", err, e, tt.kind, tt.field)
			}
		})
	}
	t.Run("credentials", func(t *testing.T) {
		cfg := w.config()
		cfg.AWS.SecretAccessKey = "wrong-secret"
		_, err := connect.Prepare(t.Context(), cfg, w.request())
		e, ok := errors.AsType[*link.Error](err)
		if !ok || e.Kind != link.Unauthenticated || strings.Contains(err.Error(), "wrong-secret") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("token", func(t *testing.T) {
		cfg := w.config()
		cfg.API = api.New(w.apiURL, "not-a-token")
		if _, err := connect.Prepare(t.Context(), cfg, w.request()); link.KindOf(err) != link.Unauthenticated {
			t.Errorf("got %v", err)
		}
	})
}

func TestPlanTouchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connected(t, w.config(), w.request())
	w.disconnected(t, w.request())
	p, err := connect.Prepare(t.Context(), w.config(), w.request())
	must(t, err)
	for _, s := range p.Steps() {
		if s.What == "" || s.Why == "" || s.Already != (s.ID == connect.StepTrust) {
			t.Errorf("step %+v", s)
		}
	}
	_, _ = p.AWS(), p.Terraform()
	if e, z, c := w.endpoints(t), w.zones(t), w.registered(t, w.cluster.ID); len(e)+len(z)+len(c) > 0 {
		t.Errorf("created: %q %q %q", e, z, c)
	}

	t.Run("terraform fmt", func(t *testing.T) {
		terraform, err := exec.LookPath("terraform")
		if err != nil {
			t.Skipf("needs terraform (not in Debian; releases.hashicorp.com): %v", err)
		}
		cmd := exec.CommandContext(t.Context(), terraform, "fmt", "-check", "-diff", "-")
		cmd.Stdin = strings.NewReader(p.Terraform())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestTheScriptConnects runs the printed script as it is, with the real aws, and then looks at what connect finds left
// to do.
func TestTheScriptConnects(t *testing.T) {
	t.Parallel()
	for name, pkg := range map[string]string{"sh": "dash", "curl": "curl", "aws": "awscli"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s (Debian package %s): %v", name, pkg, err)
		}
	}
	w := newWorld(t)
	must(t, w.waitForService(t))
	p, err := connect.Prepare(t.Context(), w.config(), w.request())
	must(t, err)
	w.runScript(t, p.AWS())
	if e, z := w.endpoints(t), w.zones(t); len(e) != 1 || len(z) != 1 {
		t.Fatalf("endpoints %q and zones %q, want one of each", e, z)
	}
	r := w.connected(t, w.config(), w.request())
	if r.Changed {
		t.Errorf("the script left something to do:\n%s", steps(r))
	}
	// What it prints now has to hold too: it waits for nothing and changes nothing.
	p, err = connect.Prepare(t.Context(), w.config(), w.request())
	must(t, err)
	w.runScript(t, p.AWS())
	w.disconnected(t, w.request())
	if e, z := w.endpoints(t), w.zones(t); len(e)+len(z) > 0 {
		t.Errorf("endpoints %q and zones %q stay: disconnect does not know them for its own", e, z)
	}
}

func (w *world) runScript(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-s")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(cmd.Environ(), "POSTERN_TOKEN="+token, "AWS_ACCESS_KEY_ID=AKIACUSTOMER", "AWS_SECRET_ACCESS_KEY=customer-secret",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n--- of\n%s", err, out, script)
	}
}

// waitForService has the vendor's service made, as an operator would.
func (w *world) waitForService(t *testing.T) error {
	t.Helper()
	if _, err := w.api.CreateServices(t.Context(), w.cluster.ID); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		services, err := w.api.Services(t.Context(), w.cluster.ID)
		if err != nil {
			return err
		}
		if len(services) == 1 && services[0].Status == "AVAILABLE" {
			return nil
		}
		select {
		case <-t.Context().Done():
			return t.Context().Err()
		case <-time.After(poll):
		}
	}
	return errors.New("the service never became available")
}
