package fabric

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// shell runs the real AWS command line in the name of an account.
type shell struct {
	t       *testing.T
	cloud   *cloud
	account Account
	path    string
}

func awsShell(t *testing.T, c *cloud, account Account) *shell {
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("needs aws (Debian package awscli): the AWS command line")
	}
	return &shell{t, c, account, path}
}

// try runs one command and returns what it prints and its error output.
func (s *shell) try(arguments ...string) (stdout, stderr string, err error) {
	// By flag: aws before 2.13 does not know AWS_ENDPOINT_URL.
	command := exec.CommandContext(s.t.Context(), s.path, append([]string{"--endpoint-url", s.cloud.URL()}, arguments...)...)
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.t.TempDir(), "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_ACCESS_KEY_ID=" + s.account.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + s.account.SecretAccessKey,
		"AWS_MAX_ATTEMPTS=1", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
	}
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	err = command.Run()
	return out.String(), problems.String(), err
}

// run runs a command that has to work and decodes its answer.
func (s *shell) run(into any, line string, more ...string) {
	s.t.Helper()
	stdout, stderr, err := s.try(append(append(strings.Fields(line), more...), "--region", testRegion, "--output", "json")...)
	if err != nil {
		s.t.Fatalf("aws %s %s: %v\n%s", line, strings.Join(more, " "), err, stderr)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		s.t.Fatalf("aws %s: %v in %q", line, err, stdout)
	}
}

// refused runs a command that must not work and looks for the error code.
func (s *shell) refused(code, line string) {
	s.t.Helper()
	if _, stderr, err := s.try(append(strings.Fields(line), "--region", testRegion)...); err == nil || !strings.Contains(stderr, "("+code+")") {
		s.t.Errorf("aws %s: %v, %q; want %s", line, err, stderr, code)
	}
}

// What a vendor and a customer type, with the real command line, unchanged.
func TestCommandLine(t *testing.T) {
	c := startCloud(t, func(cfg *Config) { cfg.Settle = 50 * time.Millisecond })
	provider, consumer := awsShell(t, c, vendor), awsShell(t, c, customer)

	var identity struct{ Account string }
	provider.run(&identity, "sts get-caller-identity")
	if identity.Account != vendor.ID {
		t.Fatalf("the vendor is %q", identity.Account)
	}

	// The vendor's side.
	var balancers struct {
		LoadBalancers []struct{ LoadBalancerArn string }
	}
	provider.run(&balancers, "elbv2 create-load-balancer --name gate --type network --scheme internal --subnets", c.subnetsIn(vendor, "use1-az1", "use1-az2")...)
	var groups struct {
		TargetGroups []struct{ TargetGroupArn string }
	}
	provider.run(&groups, "elbv2 create-target-group --name gate --protocol TCP --port 443 --target-type ip --vpc-id "+c.home(vendor).VPCID)
	provider.run(nil, "elbv2 modify-target-group-attributes --attributes Key=proxy_protocol_v2.enabled,Value=true --target-group-arn "+groups.TargetGroups[0].TargetGroupArn)
	provider.run(nil, "elbv2 create-listener --protocol TCP --port 443 --load-balancer-arn "+balancers.LoadBalancers[0].LoadBalancerArn,
		"--default-actions", "Type=forward,TargetGroupArn="+groups.TargetGroups[0].TargetGroupArn)
	var created struct {
		ServiceConfiguration struct{ ServiceId, ServiceName, ServiceState string }
	}
	provider.run(&created, "ec2 create-vpc-endpoint-service-configuration --acceptance-required --network-load-balancer-arns "+balancers.LoadBalancers[0].LoadBalancerArn)
	service := created.ServiceConfiguration
	provider.run(nil, "ec2 modify-vpc-endpoint-service-permissions --service-id "+service.ServiceId+" --add-allowed-principals arn:aws:iam::"+customer.ID+":root")

	// The customer's side.
	home := c.home(customer)
	var made struct {
		VpcEndpoint struct{ VpcEndpointId, State string }
	}
	consumer.run(&made, "ec2 create-vpc-endpoint --vpc-id "+home.VPCID+" --vpc-endpoint-type Interface --security-group-ids "+home.SecurityGroupID+
		" --service-name "+service.ServiceName+" --subnet-ids", c.subnetsIn(customer, "use1-az1", "use1-az2")...)
	id := made.VpcEndpoint.VpcEndpointId
	if made.VpcEndpoint.State != "pendingAcceptance" {
		t.Errorf("a new endpoint is %q", made.VpcEndpoint.State)
	}
	consumer.refused("InvalidParameter", "ec2 modify-vpc-endpoint --private-dns-enabled --vpc-endpoint-id "+id)

	// Acceptance, seen from both sides.
	var connections struct {
		VpcEndpointConnections []struct{ VpcEndpointId, VpcEndpointOwner, VpcEndpointState string }
	}
	provider.run(&connections, "ec2 describe-vpc-endpoint-connections --filters Name=service-id,Values="+service.ServiceId)
	if got := connections.VpcEndpointConnections; len(got) != 1 || got[0].VpcEndpointId != id || got[0].VpcEndpointOwner != customer.ID {
		t.Fatalf("connections: %+v", got)
	}
	provider.run(nil, "ec2 accept-vpc-endpoint-connections --service-id "+service.ServiceId+" --vpc-endpoint-ids "+id)
	c.awaitState(id, "available")
	var described struct {
		VpcEndpoints []struct {
			State      string
			DnsEntries []struct{ DnsName, HostedZoneId string }
		}
	}
	consumer.run(&described, "ec2 describe-vpc-endpoints --vpc-endpoint-ids "+id)
	endpoint := described.VpcEndpoints[0]
	if endpoint.State != "available" || len(endpoint.DnsEntries) != 3 {
		t.Fatalf("the endpoint: %+v", endpoint)
	}

	// A private zone with an alias, in the customer's account.
	var zone struct{ HostedZone struct{ Id string } }
	consumer.run(&zone, "route53 create-hosted-zone --name acme.pe.vendor.example --caller-reference one --vpc VPCRegion=us-east-1,VPCId="+home.VPCID)
	batch, err := json.Marshal(map[string]any{"Changes": []any{map[string]any{"Action": "UPSERT", "ResourceRecordSet": map[string]any{
		"Name": "acme.pe.vendor.example", "Type": "A",
		"AliasTarget": map[string]any{"DNSName": endpoint.DnsEntries[0].DnsName, "HostedZoneId": endpoint.DnsEntries[0].HostedZoneId, "EvaluateTargetHealth": false},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	var change struct{ ChangeInfo struct{ Id string } }
	consumer.run(&change, "route53 change-resource-record-sets --hosted-zone-id "+zone.HostedZone.Id, "--change-batch", string(batch))
	consumer.run(nil, "route53 wait resource-record-sets-changed --id "+change.ChangeInfo.Id)
	if addresses, err := c.LookupHost(t.Context(), home.VPCID, "acme.pe.vendor.example"); err != nil || len(addresses) != 2 {
		t.Errorf("the alias inside the VPC: %v, %v", addresses, err)
	}

	consumer.run(nil, "ec2 delete-vpc-endpoints --vpc-endpoint-ids "+id)
	c.awaitState(id, "")
	var left struct{ VpcEndpoints []struct{ State string } }
	consumer.run(&left, "ec2 describe-vpc-endpoints")
	if left.VpcEndpoints == nil || len(left.VpcEndpoints) != 0 {
		t.Errorf("after the deletion an empty list, not %v", left.VpcEndpoints)
	}
	awsShell(t, c, Account{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}).refused("AuthFailure", "ec2 describe-vpcs")
	awsShell(t, c, Account{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}).refused("InvalidClientTokenId", "sts get-caller-identity")
}
