package dnsplan

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	name   = "acme.us-east-1.pe.postern.test"
	vpce   = "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"
	zoneID = "Z7HUB22UULQXV"
)

func inside(c Case) Input {
	return Input{
		Case: c, Names: []string{name}, Target: Target{Name: vpce, HostedZoneID: zoneID},
		VPCID: "vpc-0a1b2c3d4e5f60718", Region: "us-east-1",
	}
}

func onPremises(resolvers ...string) Input {
	in := Input{Case: OnPremises, Names: []string{"art.acme.example"}, Target: Target{Name: vpce}}
	for _, r := range resolvers {
		in.Resolvers = append(in.Resolvers, netip.MustParseAddr(r))
	}
	return in
}

func TestForms(t *testing.T) {
	unknown := inside(ClusterZone)
	unknown.Target = Target{}
	dual := inside(ClusterZone)
	dual.DualStack = true
	custom := inside(CustomDomain)
	custom.Names = []string{"art.acme.example", "www.art.example"}
	repositories := func(in Input, names ...string) Input {
		in.Repositories = names
		return in
	}
	hosts := onPremises()
	hosts.Case, hosts.Addrs = HostsFile, []netip.Addr{netip.MustParseAddr("10.0.1.17"), netip.MustParseAddr("2001:db8::17")}
	for dir, in := range map[string]Input{
		"cluster-zone":          inside(ClusterZone),
		"cluster-zone-unknown":  unknown,
		"cluster-zone-dual":     dual,
		"custom-domain":         custom,
		"private-dns":           inside(PrivateDNS),
		"on-premises":           onPremises(),
		"on-premises-resolvers": onPremises("10.0.1.10", "10.0.2.10"),

		"repositories":             repositories(inside(ClusterZone), "docker-local."+name, "maven_1.docker."+name),
		"repositories-on-premises": repositories(onPremises(), "docker-local.art.acme.example"),
		"hosts-file":               repositories(hosts, "docker-local.art.acme.example", "npm.art.acme.example"),
	} {
		t.Run(dir, func(t *testing.T) {
			p, err := Make(in)
			if err != nil {
				t.Fatal(err)
			}
			forms := map[string]string{
				"aws.sh":       p.AWSLines("postern-reference"),
				"terraform.tf": p.Terraform("aws_vpc_endpoint.postern"),
			}
			if in.Case == HostsFile {
				forms = map[string]string{"hosts": p.HostsFile()}
			} else if p.HostsFile() != "" {
				t.Error("there are lines of a hosts file")
			}
			if len(p.Zones) > 0 {
				text, err := p.ChangeBatch(p.Zones[0])
				forms["batch.json"] = orError(text, err)
			}
			if in.Case != HostsFile {
				text, err := p.ZoneFile()
				forms["zone"] = orError(text, err)
				for _, r := range Resolvers() {
					text, err := p.Snippet(r)
					forms[string(r)+".conf"] = orError(text, err)
				}
			}
			plan, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			forms["plan.json"] = string(plan) + "\n"
			for file, text := range forms {
				if text != "" {
					golden(t, filepath.Join("testdata", dir, file), text)
				}
			}
		})
	}
}

func orError(text string, err error) string {
	if err == nil {
		return text
	}
	if e, ok := errors.AsType[*link.Error](err); ok {
		return "error " + e.Reason + " " + e.Field + "\n" + e.Message + "\n" + e.Hint + "\n"
	}
	return "error without a kind: " + err.Error()
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestTheRecordsOfTheVendorsDomain says what must be in the zone, whatever the golden files say.
func TestTheRecordsOfTheVendorsDomain(t *testing.T) {
	p, err := Make(inside(ClusterZone))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Zones) != 1 || p.Zones[0].Name != name {
		t.Fatalf("zones %+v, want the one zone %s: a wider one hides other names", p.Zones, name)
	}
	want := []Record{{Name: name, Type: "A", Alias: true}, {Name: "*." + name, Type: "A", Alias: true}}
	if diff := cmp.Diff(want, p.Zones[0].Records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	text, err := p.ChangeBatch(p.Zones[0])
	if err != nil {
		t.Fatal(err)
	}
	var batch struct {
		Changes []struct {
			Action            string
			ResourceRecordSet struct {
				Name, Type  string
				TTL         *int
				AliasTarget struct{ HostedZoneId, DNSName string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &batch); err != nil {
		t.Fatalf("not JSON: %v", err)
	}
	for i, owner := range []string{name + ".", `\052.` + name + "."} {
		c := batch.Changes[i]
		if c.Action != "UPSERT" || c.ResourceRecordSet.Name != owner || c.ResourceRecordSet.TTL != nil ||
			c.ResourceRecordSet.AliasTarget.DNSName != vpce+"." || c.ResourceRecordSet.AliasTarget.HostedZoneId != zoneID {
			t.Errorf("change %d is %+v", i, c)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		what   string
		change func(*Input)
		field  string
	}{
		{"unknown case", func(in *Input) { in.Case = "other" }, "case"},
		{"no name", func(in *Input) { in.Names = nil }, "names"},
		{"one label", func(in *Input) { in.Names = []string{"localhost"} }, "names"},
		{"final dot", func(in *Input) { in.Names = []string{"a.example."} }, "names"},
		{"upper case", func(in *Input) { in.Names = []string{"A.example"} }, "names"},
		{"wildcard", func(in *Input) { in.Names = []string{"*.a.example"} }, "names"},
		{"empty label", func(in *Input) { in.Names = []string{"a..example"} }, "names"},
		{"hyphen first", func(in *Input) { in.Names = []string{"-a.example"} }, "names"},
		{"shell in a name", func(in *Input) { in.Names = []string{"a.example;reboot"} }, "names"},
		{"HCL in a name", func(in *Input) { in.Names = []string{"${x}.example"} }, "names"},
		{"line break", func(in *Input) { in.Names = []string{"a.example\nb"} }, "names"},
		{"long label", func(in *Input) { in.Names = []string{strings.Repeat("a", 64) + ".example"} }, "names"},
		{"long name", func(in *Input) { in.Names = []string{strings.Repeat("a.", 127) + "example"} }, "names"},
		{"same twice", func(in *Input) { in.Names = []string{name, name} }, "names"},
		{"target is no name", func(in *Input) { in.Target.Name = "$(reboot)" }, "target"},
		{"no hosted zone", func(in *Input) { in.Target.HostedZoneID = "" }, "target"},
		{"hosted zone with a path", func(in *Input) { in.Target.HostedZoneID = "/hostedzone/Z1" }, "target"},
		{"no VPC", func(in *Input) { in.VPCID = "" }, "vpc_id"},
		{"VPC with a quote", func(in *Input) { in.VPCID = "vpc-'0" }, "vpc_id"},
		{"no region", func(in *Input) { in.Region = "" }, "region"},
		{"a repository elsewhere", func(in *Input) { in.Repositories = []string{"docker.other.example"} }, "repositories"},
		{"a repository that is a name itself", func(in *Input) { in.Repositories = []string{name} }, "repositories"},
		{"shell in a repository", func(in *Input) { in.Repositories = []string{"$(reboot)." + name} }, "repositories"},
		{"a repository twice", func(in *Input) { in.Repositories = []string{"docker." + name, "docker." + name} }, "repositories"},
		{"a hosts file without addresses", func(in *Input) { in.Case = HostsFile }, "addrs"},
		{"a hosts file with an address of a link", func(in *Input) { in.Case, in.Addrs = HostsFile, []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} }, "addrs"},
		{"no such address", func(in *Input) { in.Resolvers = []netip.Addr{{}} }, "resolvers"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			in := inside(ClusterZone)
			tt.change(&in)
			_, err := Make(in)
			e, ok := errors.AsType[*link.Error](err)
			if !ok || e.Kind != link.Invalid || e.Field != tt.field || e.Hint == "" {
				t.Errorf("got %v, want an invalid %s with a hint", err, tt.field)
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain-1.2/3:4": "plain-1.2/3:4", "": "''", "two words": "'two words'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "é": "'é'",
	} {
		if got := ShellQuote(in); got != want {
			t.Errorf("ShellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestShellLines has a shell read the lines, with an aws that prints its arguments, and looks at the batch it gets.
func TestShellLines(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skipf("needs sh (Debian package dash): %v", err)
	}
	in := inside(ClusterZone)
	in.Target = Target{}
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	script := `set -eu
DNS_NAME=` + vpce + `
DNS_ZONE_ID=` + zoneID + `
aws() {
  case "$2" in
    create-hosted-zone) echo Z0NEW ;;
    change-resource-record-sets)
      [ "$4" = Z0NEW ] || { echo "hosted zone id $4" >&2; exit 1; }
      while [ "$1" != --change-batch ]; do shift; done
      printf '%s\n' "$2" >&2; echo C1 ;;
    wait) [ "$5" = C1 ] ;;
  esac
}
` + p.AWSLines("postern-reference")
	cmd := exec.CommandContext(t.Context(), sh, "-c", script)
	var batch strings.Builder
	cmd.Stderr = &batch
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, batch.String())
	}
	known, err := Make(inside(ClusterZone))
	if err != nil {
		t.Fatal(err)
	}
	want, err := known.ChangeBatch(known.Zones[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want+"\n", batch.String()); diff != "" {
		t.Errorf("the batch that aws gets (-want +got):\n%s", diff)
	}
}

func TestTerraformIsFormatted(t *testing.T) {
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		t.Skipf("needs terraform (not in Debian; releases.hashicorp.com): %v", err)
	}
	in := inside(ClusterZone)
	in.Target = Target{}
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), terraform, "fmt", "-check", "-diff", "-")
	cmd.Stdin = strings.NewReader(p.Terraform("aws_vpc_endpoint.postern"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
