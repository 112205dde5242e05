package awsprivatelink_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/cloud/cloudtest"
)

const privateName = "*.us-east-1.pe.postern.test"

func TestPrivateDNSNameIsVerifiedWhereTheAccountHoldsTheDomain(t *testing.T) {
	w := newWorld(t)
	zones := route53.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: aws.String(w.fabric.URL()),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAVENDOR", "vendor-secret", ""),
	})
	_, err := zones.CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{
		Name: aws.String("pe.postern.test"), CallerReference: aws.String("public"),
	})
	must(t, err)
	spec := w.Spec
	spec.PrivateDNSName = privateName
	wire := cloudtest.NewWire(nil, mutates)
	d := newDriver(t, w.fabric, wire)
	svc := until(t, d, spec, func(s cloud.Service) bool { return s.PrivateDNSVerified })
	if svc.PrivateDNSName != privateName || svc.PrivateDNSMissing != "" {
		t.Errorf("verified, yet %+v", svc)
	}

	wire.Heal()
	_, err = d.EnsureService(t.Context(), spec)
	must(t, err)
	if n := wire.Changes(); n != 0 {
		t.Errorf("ensuring again sent %d changes", n)
	}

	spec.PrivateDNSName = ""
	if svc := until(t, d, spec, func(s cloud.Service) bool { return s.PrivateDNSName == "" }); svc.PrivateDNSVerified {
		t.Errorf("no name, yet verified: %+v", svc)
	}
}

func TestPrivateDNSNameOfAForeignDomainNamesTheRecordToPublish(t *testing.T) {
	w := newWorld(t)
	spec := w.Spec
	spec.PrivateDNSName = privateName
	svc := until(t, newDriver(t, w.fabric, http.DefaultTransport), spec, func(s cloud.Service) bool { return s.PrivateDNSMissing != "" })
	if svc.PrivateDNSVerified || !strings.Contains(svc.PrivateDNSMissing, ".us-east-1.pe.postern.test") {
		t.Errorf("verified %t, missing %q", svc.PrivateDNSVerified, svc.PrivateDNSMissing)
	}
}

// until ensures spec until the service is as wanted.
func until(t *testing.T, d *awsprivatelink.Driver, spec cloud.ServiceSpec, wanted func(cloud.Service) bool) cloud.Service {
	t.Helper()
	var svc cloud.Service
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		var err error
		if svc, err = d.EnsureService(t.Context(), spec); err == nil && wanted(svc) {
			return svc
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("it stays %+v", svc)
	return svc
}
