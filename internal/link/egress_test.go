package link

import (
	"errors"
	"strings"
	"testing"
)

func TestParseEgressTarget(t *testing.T) {
	for _, c := range []struct {
		name, in, reason string
		provider         Provider
	}{
		{"a customer's service", "com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718", "", AWS},
		{"an old one", "com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d", "", AWS},
		{"in another region", "com.amazonaws.vpce.us-east-2.vpce-svc-0a1b2c3d4e5f60718", "SERVICE_IN_OTHER_REGION", AWS},
		{"a service of the cloud itself", "com.amazonaws.us-east-1.s3", "MALFORMED_SERVICE_NAME", AWS},
		{"the instances' metadata", "http://169.254.169.254/", "MALFORMED_SERVICE_NAME", AWS},
		{"an address inside a network", "10.0.0.1", "MALFORMED_SERVICE_NAME", AWS},
		{"an endpoint instead of a service", "com.amazonaws.vpce.us-east-1.vpce-0a1b2c3d4e5f60718", "MALFORMED_SERVICE_NAME", AWS},
		{"the id alone", "vpce-svc-0a1b2c3d4e5f60718", "MALFORMED_SERVICE_NAME", AWS},
		{"upper case", "com.amazonaws.vpce.us-east-1.vpce-svc-0A1B2C3D4E5F60718", "MALFORMED_SERVICE_NAME", AWS},
		{"something behind", "com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718.example", "MALFORMED_SERVICE_NAME", AWS},
		{"a line break behind", "com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718\n", "MALFORMED_SERVICE_NAME", AWS},
		{"a filter's star", "com.amazonaws.vpce.us-east-1.*", "MALFORMED_SERVICE_NAME", AWS},
		{"nothing", "", "MALFORMED_SERVICE_NAME", AWS},
		{"another cloud", "projects/p/regions/r/serviceAttachments/a", "PROVIDER_NOT_SUPPORTED", GCP},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseEgressTarget(c.provider, "us-east-1", c.in)
			if c.reason == "" {
				if err != nil || got != c.in {
					t.Fatalf("%q, %v", got, err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != Invalid || e.Reason != c.reason || e.Field != "target_service_identifier" || e.Hint == "" || got != "" {
				t.Errorf("%q, %#v", got, err)
			}
		})
	}
	if id := EgressServiceID("com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718"); id != "vpce-svc-0a1b2c3d4e5f60718" {
		t.Errorf("service id %q", id)
	}
}

func FuzzEgressTarget(f *testing.F) {
	for _, s := range []string{"com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718", "com.amazonaws.us-east-1.s3", "", "com.amazonaws.vpce.us-east-1.vpce-svc-"} {
		f.Add("us-east-1", s)
	}
	f.Fuzz(func(t *testing.T, region, s string) {
		got, err := ParseEgressTarget(AWS, region, s)
		if err != nil {
			if KindOf(err) != Invalid || got != "" {
				t.Fatalf("%q: %q, %v", s, got, err)
			}
			return
		}
		hex, ok := strings.CutPrefix(s, "com.amazonaws.vpce."+region+".vpce-svc-")
		if !ok || got != s || len(hex) != 17 && len(hex) != 8 || strings.Trim(hex, "0123456789abcdef") != "" {
			t.Fatalf("%q was taken for a service of %q", s, region)
		}
	})
}

func TestParseDomainName(t *testing.T) {
	for in, want := range map[string]string{
		"kafka.acme.example":  "kafka.acme.example",
		"Kafka.ACME.example.": "kafka.acme.example",
		"*.acme.example":      "*.acme.example",
		"_x.acme.example":     "_x.acme.example",
		"1.acme.example":      "1.acme.example",

		"":                                     "",
		".":                                    "",
		"*":                                    "",
		"*.":                                   "",
		"com":                                  "",
		"*.com":                                "",
		"a..b":                                 "",
		"a.*.b":                                "",
		"**.a.b":                               "",
		"-a.b":                                 "",
		"a-.b":                                 "",
		"a.b/c":                                "",
		"a b.c":                                "",
		"a.b\n":                                "",
		"10.0.0.1":                             "",
		"2001:db8::1":                          "",
		"müller.example":                       "",
		strings.Repeat("a", 64) + ".b":         "",
		strings.Repeat("a.", 126) + "bc":       "",
		strings.Repeat("abcdefg.", 31) + "com": "abcdefg." + strings.Repeat("abcdefg.", 30) + "com",
	} {
		got, err := ParseDomainName("domain_names[0]", in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q became %q, %v", in, got, err)
		}
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Reason != "MALFORMED_DOMAIN_NAME" || e.Field != "domain_names[0]" || e.Hint == "") {
			t.Errorf("%q: %#v", in, err)
		}
	}
}

func FuzzDomainName(f *testing.F) {
	for _, s := range []string{"kafka.acme.example", "*.acme.example", "A.b.", "10.0.0.1", "a..b", "*.*.a.b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseDomainName("f", s)
		if err != nil {
			return
		}
		if again, err := ParseDomainName("f", name); err != nil || again != name {
			t.Fatalf("%q became %q, which became %q, %v", s, name, again, err)
		}
		zone := NameZone(name)
		if strings.ContainsAny(zone, "*\n /") || !strings.Contains(zone, ".") || !Below(zone, zone) || !Below("x."+zone, zone) || Below("x"+zone, zone) {
			t.Fatalf("%q has the zone %q", name, zone)
		}
	})
}

func TestAccountPrincipal(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "arn:aws:iam::123456789012:root", "cn-north-1": "arn:aws-cn:iam::123456789012:root", "us-gov-west-1": "arn:aws-us-gov:iam::123456789012:root",
	} {
		if got := AccountPrincipal(region, "123456789012"); got != want {
			t.Errorf("%s: %s", region, got)
		}
	}
	if got := AccountPrincipal("us-east-1", ""); got != "" {
		t.Errorf("nobody is %q", got)
	}
}
