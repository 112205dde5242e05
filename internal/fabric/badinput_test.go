package fabric

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
)

// response is what came back for a request that was made by hand.
type response struct {
	status int
	body   string
}

// code is the error code in the body.
func (a response) code() string {
	_, rest, _ := strings.Cut(a.body, "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

// message is the error message in the body.
func (a response) message() string {
	_, rest, _ := strings.Cut(a.body, "<Message>")
	message, _, _ := strings.Cut(rest, "</Message>")
	return strings.NewReplacer("&#39;", "'", "&#34;", `"`).Replace(message)
}

// send signs a request in the name of the account, at a time, and sends it.
func (c *cloud) send(account Account, service, method, path, body string, at time.Time, tweak func(*http.Request)) response {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.URL()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	keys := aws.Credentials{AccessKeyID: account.AccessKeyID, SecretAccessKey: account.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(c.t.Context(), keys, request, sha256Hex(body), service, testRegion, at); err != nil {
		c.t.Fatal(err)
	}
	if tweak != nil {
		tweak(request)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response{reply.StatusCode, string(text)}
}

// query sends an EC2 request with these parameters.
func (c *cloud) query(account Account, action string, parameters ...string) response {
	c.t.Helper()
	form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for i := 0; i+1 < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	return c.send(account, "ec2", http.MethodPost, "/", form.Encode(), time.Now(), nil)
}

// unchanged fails the test when what do does changes the state.
func (c *cloud) unchanged(do func()) {
	c.t.Helper()
	c.settled()
	before := c.snapshot()
	do()
	if diff := cmp.Diff(before, c.snapshot(), stateOptions...); diff != "" {
		c.t.Errorf("the state changed (-before +after):\n%s", diff)
	}
}

// Each mistake gets its code, says what is wrong, and changes nothing.
func TestBadEndpointRequests(t *testing.T) {
	c := startCloud(t)
	service := c.service()
	first := c.endpoint(service)
	zone1, zone3 := c.subnetsIn(customer, "use1-az1")[0], c.subnetsIn(customer, "use1-az3")[0]
	vpc := c.home(customer).VPCID
	second := ok(c.ec2(customer).CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &vpc, CidrBlock: aws.String("10.16.240.0/24"), AvailabilityZoneId: aws.String("use1-az1")}))(t)
	name, id := *service.ServiceName, *first.VpcEndpointId
	long := "vpce-" + strings.Repeat("a", 295)

	create := func(changes ...string) []string {
		base := map[string]string{"VpcEndpointType": "Interface", "VpcId": vpc, "ServiceName": name}
		for i := 0; i+1 < len(changes); i += 2 {
			base[changes[i]] = changes[i+1]
		}
		var parameters []string
		for key, value := range base {
			if value != "" {
				parameters = append(parameters, key, value)
			}
		}
		return parameters
	}
	for _, test := range []struct {
		name       string
		account    Account
		action     string
		parameters []string
		code       string
		message    string // part of it
	}{
		{"an unknown action", customer, "MakeCoffee", nil, "InvalidAction", "MakeCoffee"},
		{"an unknown parameter", customer, "DescribeVpcs", []string{"Color", "red"}, "UnknownParameter", "The parameter Color is not recognized"},
		{"an unknown parameter deep down", customer, "DescribeVpcs", []string{"Filter.1.Name", "vpc-id", "Filter.1.Valu.1", "x"}, "UnknownParameter", "Filter.1.Valu.1"},
		{"an unknown filter", customer, "DescribeVpcs", []string{"Filter.1.Name", "color", "Filter.1.Value.1", "red"}, "InvalidParameterValue", "The filter 'color' is invalid"},
		{"the filter that the real service refuses", vendor, "DescribeVpcEndpointConnections", []string{"Filter.1.Name", "vpc-endpoint-id", "Filter.1.Value.1", id}, "InvalidFilter", "vpc-endpoint-id"},
		{"a page that is too small", customer, "DescribeVpcs", []string{"MaxResults", "4"}, "InvalidParameterValue", "( 4 )"},
		{"a page that is too large", customer, "DescribeVpcs", []string{"MaxResults", "1001"}, "InvalidParameterValue", "1000"},
		{"a page that is no number", customer, "DescribeVpcs", []string{"MaxResults", "many"}, "InvalidParameterValue", "many"},
		{"a made-up page token", customer, "DescribeVpcs", []string{"NextToken", "x"}, "InvalidNextToken", "x"},
		{"a boolean that is none", customer, "ModifyVpcEndpoint", []string{"VpcEndpointId", id, "PrivateDnsEnabled", "maybe"}, "InvalidParameterValue", "PrivateDnsEnabled"},
		{"no VPC", customer, "CreateVpcEndpoint", create("VpcId", ""), "MissingParameter", "VpcId"},
		{"no service", customer, "CreateVpcEndpoint", create("ServiceName", ""), "MissingParameter", "ServiceName"},
		{"a VPC that does not exist", customer, "CreateVpcEndpoint", create("VpcId", "vpc-00000000000000000"), "InvalidVpcID.NotFound", "'vpc-00000000000000000' does not exist"},
		{"a malformed VPC id", customer, "CreateVpcEndpoint", create("VpcId", "my-vpc"), "InvalidVpcID.Malformed", "my-vpc"},
		{"another account's VPC", stranger, "CreateVpcEndpoint", create(), "InvalidVpcID.NotFound", vpc},
		{"a service that does not exist", customer, "CreateVpcEndpoint", create("ServiceName", name+"0"), "InvalidServiceName", "The Vpc Endpoint Service '" + name + "0' does not exist"},
		{"a service that the caller may not use", stranger, "CreateVpcEndpoint", create("VpcId", c.home(stranger).VPCID), "InvalidServiceName", "The Vpc Endpoint Service '" + name + "' does not exist"},
		{"looking at such a service", stranger, "DescribeVpcEndpointServices", []string{"ServiceName.1", name}, "InvalidServiceName", "The Vpc Endpoint Service '" + name + "' does not exist"},
		{"the default type with subnets", customer, "CreateVpcEndpoint", create("VpcEndpointType", "", "SubnetId.1", zone1), "InvalidParameter", "Subnet IDs are only supported for Interface"},
		{"the default type", customer, "CreateVpcEndpoint", create("VpcEndpointType", ""), "InvalidParameter", "does not match available service types"},
		{"a zone that the service lacks", customer, "CreateVpcEndpoint", create("SubnetId.1", zone3), "InvalidParameter", "The VPC endpoint service " + name + " does not support the availability zone of the subnet: " + zone3},
		{"two subnets in one zone", customer, "CreateVpcEndpoint", create("SubnetId.1", zone1, "SubnetId.2", *second.Subnet.SubnetId), "DuplicateSubnetsInSameZone", "Found another VPC endpoint subnet in the availability zone of " + *second.Subnet.SubnetId},
		{"a subnet that does not exist", customer, "CreateVpcEndpoint", create("SubnetId.1", "subnet-00000000"), "InvalidSubnetID.NotFound", "subnet-00000000"},
		{"a malformed subnet id", customer, "CreateVpcEndpoint", create("SubnetId.1", "subnet-nope"), "InvalidSubnetId.Malformed", "subnet-nope"},
		{"a security group that does not exist", customer, "CreateVpcEndpoint", create("SecurityGroupId.1", "sg-00000000"), "InvalidGroup.NotFound", "sg-00000000"},
		{"another account's security group", customer, "CreateVpcEndpoint", create("SecurityGroupId.1", c.home(vendor).SecurityGroupID), "InvalidGroup.NotFound", c.home(vendor).SecurityGroupID},
		{"private DNS from the start", customer, "CreateVpcEndpoint", create("PrivateDnsEnabled", "true"), "InvalidParameter", "does not provide a private DNS name"},
		{"a parameter that is not carried out", customer, "CreateVpcEndpoint", create("ResourceConfigurationArn", "arn:x"), "UnsupportedOperation", "ResourceConfigurationArn"},
		{"tags for something else", customer, "CreateVpcEndpoint", create("TagSpecification.1.ResourceType", "vpc", "TagSpecification.1.Tag.1.Key", "k"), "InvalidParameterValue", "'vpc' is not a valid taggable resource type"},
		{"a malformed endpoint id", customer, "DescribeVpcEndpoints", []string{"VpcEndpointId.1", "vpce-nope"}, "InvalidVpcEndpointId.Malformed", "vpce-nope"},
		{"an endpoint id in upper case", customer, "DescribeVpcEndpoints", []string{"VpcEndpointId.1", strings.ToUpper(id)}, "InvalidVpcEndpointId.Malformed", strings.ToUpper(id)},
		{"an endpoint id of 300 characters", customer, "DeleteVpcEndpoints", []string{"VpcEndpointId.1", long}, "InvalidVpcEndpointId.Malformed", long},
		{"an endpoint that does not exist", customer, "DescribeVpcEndpoints", []string{"VpcEndpointId.1", "vpce-00000000"}, "InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id 'vpce-00000000' does not exist"},
		{"another account's endpoint", stranger, "ModifyVpcEndpoint", []string{"VpcEndpointId", id}, "InvalidVpcEndpointId.NotFound", id},
		{"accepting at a service that does not exist", vendor, "AcceptVpcEndpointConnections", []string{"ServiceId", "vpce-svc-00000000000000000", "VpcEndpointId.1", id}, "InvalidVpcEndpointServiceId.NotFound", "The VpcEndpointService Id 'vpce-svc-00000000000000000' does not exist"},
		{"accepting one's own endpoint", customer, "AcceptVpcEndpointConnections", []string{"ServiceId", *service.ServiceId, "VpcEndpointId.1", id}, "InvalidVpcEndpointServiceId.NotFound", *service.ServiceId},
		{"a session as principal", vendor, "ModifyVpcEndpointServicePermissions", []string{"ServiceId", *service.ServiceId, "AddAllowedPrincipals.1", "arn:aws:sts::222222222222:assumed-role/x/y"}, "InvalidPrincipal", "assumed-role"},
		{"a service without load balancers", vendor, "CreateVpcEndpointServiceConfiguration", nil, "MissingParameter", "Load Balancer"},
		{"a service of another account's load balancer", customer, "CreateVpcEndpointServiceConfiguration", []string{"NetworkLoadBalancerArn.1", service.NetworkLoadBalancerArns[0]}, "InvalidLoadBalancerArn.NotFound", "gate"},
		{"a dry run", customer, "CreateVpcEndpoint", create("SubnetId.1", zone1, "DryRun", "true"), "DryRunOperation", "DryRun"},
		{"a VPC with host bits", customer, "CreateVpc", []string{"CidrBlock", "10.200.0.1/16"}, "InvalidParameterValue", "10.200.0.0/16"},
		{"a subnet outside its VPC", customer, "CreateSubnet", []string{"VpcId", vpc, "CidrBlock", "192.168.0.0/24"}, "InvalidSubnet.Range", "192.168.0.0/24"},
		{"a subnet over another", customer, "CreateSubnet", []string{"VpcId", vpc, "CidrBlock", "10.16.0.0/24"}, "InvalidSubnet.Conflict", "10.16.0.0/24"},
		{"a VPC in use", customer, "DeleteVpc", []string{"VpcId", vpc}, "DependencyViolation", vpc},
		{"a subnet in use", customer, "DeleteSubnet", []string{"SubnetId", zone1}, "DependencyViolation", zone1},
		{"the default security group", customer, "DeleteSecurityGroup", []string{"GroupId", c.home(customer).SecurityGroupID}, "CannotDelete", "default"},
		{"a rule without ports", customer, "AuthorizeSecurityGroupIngress", []string{"GroupId", c.home(customer).SecurityGroupID, "IpPermissions.1.IpProtocol", "tcp", "IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"}, "InvalidParameterValue", "ports"},
		{"a rule that is there", customer, "AuthorizeSecurityGroupEgress", []string{"GroupId", c.home(customer).SecurityGroupID, "IpPermissions.1.IpProtocol", "-1", "IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"}, "InvalidPermission.Duplicate", "already exists"},
		{"tagging what does not exist", customer, "CreateTags", []string{"ResourceId.1", "vpce-00000000", "Tag.1.Key", "k"}, "InvalidID.NotFound", "vpce-00000000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got response
			c.unchanged(func() { got = c.query(test.account, test.action, test.parameters...) })
			if got.code() != test.code || !strings.Contains(got.message(), test.message) {
				t.Errorf("got %d %s: %s\nwant %s: …%s…", got.status, got.code(), got.message(), test.code, test.message)
			}
			if want := http.StatusBadRequest; got.status != want && test.code != "DryRunOperation" {
				t.Errorf("status %d, want %d", got.status, want)
			}
		})
	}
}

// Who cannot prove who they are gets each service's own refusal.
func TestAuthentication(t *testing.T) {
	now := time.Now()
	c := startCloud(t, func(cfg *Config) { cfg.Now = func() time.Time { return now } }) // some cases are a second from their limit
	forms := map[string]string{
		"ec2":                  "Action=DescribeVpcs&Version=2016-11-15",
		"elasticloadbalancing": "Action=DescribeLoadBalancers&Version=2015-12-01",
		"sts":                  "Action=GetCallerIdentity&Version=2011-06-15",
	}
	nobody := Account{AccessKeyID: "AKIANOBODY", SecretAccessKey: "secret"}
	liar := Account{AccessKeyID: customer.AccessKeyID, SecretAccessKey: "wrong"}
	unsigned := func(r *http.Request) { r.Header.Del("Authorization") }
	replaced := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
		}
	}
	for _, test := range []struct {
		name    string
		service string
		account Account
		at      time.Time
		tweak   func(*http.Request)
		status  int
		code    string
	}{
		{"good", "ec2", customer, now, nil, 200, ""},
		{"good", "elasticloadbalancing", customer, now, nil, 200, ""},
		{"good", "sts", customer, now, nil, 200, ""},
		{"good", "route53", customer, now, nil, 200, ""},
		{"four minutes late", "ec2", customer, now.Add(-4 * time.Minute), nil, 200, ""},
		{"four minutes early", "ec2", customer, now.Add(4 * time.Minute), nil, 200, ""},
		{"six minutes late", "ec2", customer, now.Add(-6 * time.Minute), nil, 400, "RequestExpired"},
		{"six minutes early", "ec2", customer, now.Add(6 * time.Minute), nil, 400, "RequestExpired"},
		{"six minutes late", "sts", customer, now.Add(-6 * time.Minute), nil, 403, "SignatureDoesNotMatch"},
		{"six minutes late", "route53", customer, now.Add(-6 * time.Minute), nil, 403, "SignatureDoesNotMatch"},
		{"unknown key", "ec2", nobody, now, nil, 401, "AuthFailure"},
		{"unknown key", "elasticloadbalancing", nobody, now, nil, 403, "InvalidClientTokenId"},
		{"unknown key", "sts", nobody, now, nil, 403, "InvalidClientTokenId"},
		{"unknown key", "route53", nobody, now, nil, 403, "InvalidClientTokenId"},
		{"wrong secret", "ec2", liar, now, nil, 401, "AuthFailure"},
		{"wrong secret", "elasticloadbalancing", liar, now, nil, 403, "SignatureDoesNotMatch"},
		{"wrong secret", "sts", liar, now, nil, 403, "SignatureDoesNotMatch"},
		{"wrong secret", "route53", liar, now, nil, 403, "SignatureDoesNotMatch"},
		{"no signature", "ec2", customer, now, unsigned, 403, "MissingAuthenticationToken"},
		{"no signature", "route53", customer, now, unsigned, 403, "MissingAuthenticationToken"},
		{"a session token", "sts", customer, now, func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }, 403, "InvalidClientTokenId"},
		{"a changed header", "ec2", customer, now, func(r *http.Request) { r.Host = "elsewhere" }, 401, "AuthFailure"},
		{"another query", "ec2", customer, now, func(r *http.Request) { r.URL.RawQuery = "x=1" }, 401, "AuthFailure"},
		{"another body", "ec2", customer, now, func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("Action=DescribeVpcz&Version=2016-11-15"))
		}, 401, "AuthFailure"},
		{"host not signed", "ec2", customer, now, replaced(";host;", ";x;"), 401, "AuthFailure"},
		{"half a scope", "ec2", customer, now, replaced("/us-east-1/", "/"), 401, "AuthFailure"},
		{"another algorithm", "ec2", customer, now, replaced("AWS4-HMAC-SHA256", "AWS3"), 401, "AuthFailure"},
		{"a service that is not there", "s3", customer, now, nil, 401, "AuthFailure"},
	} {
		t.Run(test.service+" "+test.name, func(t *testing.T) {
			method, path := http.MethodPost, "/"
			if test.service == "route53" {
				method, path = http.MethodGet, "/2013-04-01/hostedzone"
			}
			got := c.send(test.account, test.service, method, path, forms[test.service], test.at, test.tweak)
			if got.status != test.status || got.code() != test.code {
				t.Errorf("got %d %s: %s; want %d %s", got.status, got.code(), got.message(), test.status, test.code)
			}
		})
	}
	t.Run("a region that is not served", func(t *testing.T) {
		cfg := c.as(customer)
		cfg.Region = "eu-west-1"
		if _, err := ec2.NewFromConfig(cfg).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); code(err) != "AuthFailure" {
			t.Error(err)
		}
	})
	t.Run("a body that is too large", func(t *testing.T) {
		got := c.query(customer, "DescribeVpcs", "Filter.1.Name", strings.Repeat("x", largestBody))
		if got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", got.status)
		}
	})
	t.Run("a query by GET", func(t *testing.T) {
		got := c.send(customer, "ec2", http.MethodGet, "/?Action=DescribeRegions&Version=2016-11-15&Filter.1.Name=region-name&Filter.1.Value.1=us-*", "", now, nil)
		if got.status != http.StatusOK || !strings.Contains(got.body, "<regionName>us-east-1</regionName>") {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("a presigned URL", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
		if err != nil {
			t.Fatal(err)
		}
		keys := ok(credentials.NewStaticCredentialsProvider(customer.AccessKeyID, customer.SecretAccessKey, "").Retrieve(t.Context()))(t)
		for _, test := range []struct {
			at   time.Time
			want int
		}{{now, 200}, {now.Add(-59 * time.Second), 200}, {now.Add(-2 * time.Minute), 403}} {
			signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), keys, request, sha256Hex(""), "sts", testRegion, test.at)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.Get(signed)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != test.want {
				t.Errorf("signed at %v: %d, want %d", test.at, response.StatusCode, test.want)
			}
		}
	})
}

// Config.Fault answers in place of an action, in the manner of its service.
func TestFault(t *testing.T) {
	var asked []string
	c := startCloud(t, func(cfg *Config) {
		cfg.Fault = func(accountID, action string) *Fault {
			asked = append(asked, accountID+" "+action)
			return &Fault{Status: http.StatusServiceUnavailable, Code: "Unavailable", Message: "try again"}
		}
	})
	_, err := c.ec2(customer).CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.99.0.0/16")})
	if code(err) != "Unavailable" || len(asked) != 1 || asked[0] != customer.ID+" CreateVpc" {
		t.Errorf("%v, asked %v", err, asked)
	}
}
