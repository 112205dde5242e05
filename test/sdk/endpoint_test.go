package sdk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// createEndpoint creates an interface endpoint for a service in an account's network and returns its id. One signed
// request of EC2's query API is all it takes; the EC2 SDK would cost this module minutes of compilation.
func createEndpoint(t *testing.T, r ready, a account, serviceName, region string) string {
	t.Helper()
	var out struct {
		ID string `xml:"vpcEndpoint>vpcEndpointId"`
	}
	ec2(t, r, a, region, url.Values{
		"Action": {"CreateVpcEndpoint"}, "VpcEndpointType": {"Interface"}, "ServiceName": {serviceName}, "VpcId": {a.VPCID},
		"SubnetId.1": {a.SubnetIDs[0]}, "SecurityGroupId.1": {a.SecurityGroupID},
	}, &out)
	if !strings.HasPrefix(out.ID, "vpce-") {
		t.Fatalf("CreateVpcEndpoint named the endpoint %q", out.ID)
	}
	t.Cleanup(func() {
		ec2(t, r, a, region, url.Values{"Action": {"DeleteVpcEndpoints"}, "VpcEndpointId.1": {out.ID}}, nil)
	})
	return out.ID
}

func ec2(t *testing.T, r ready, a account, region string, form url.Values, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // also used after the test's own context
	defer cancel()
	form.Set("Version", "2016-11-15")
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.AWSEndpointURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	sum := sha256.Sum256([]byte(body))
	key := aws.Credentials{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(ctx, key, req, hex.EncodeToString(sum[:]), "ec2", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s\n%s", form.Get("Action"), resp.Status, answer)
	}
	if out != nil {
		if err := xml.Unmarshal(answer, out); err != nil {
			t.Fatalf("%s: %v\n%s", form.Get("Action"), err, answer)
		}
	}
}
