package connect

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/dnsplan"
	"github.com/postern/postern/internal/link"
)

// Step is one thing that Run does, told to somebody who wants to know first, or to do it alone.
type Step struct {
	ID      StepID `json:"step"`
	What    string `json:"what"`
	Why     string `json:"why"`
	Already bool   `json:"already"` // nothing has to be done
	AWS     string `json:"aws"`     // lines for a POSIX shell with aws and curl; may use variables that earlier steps set
	HCL     string `json:"hcl"`     // Terraform for the AWS provider; may refer to what earlier steps declare
}

// endpointResource is the address of the endpoint in the Terraform that a plan prints.
const endpointResource = "aws_vpc_endpoint.postern"

// Steps returns the steps of a run in order, those of them too that are done already.
func (p *Plan) Steps() []Step {
	return append([]Step{p.trustStep(), p.endpointStep(), p.registrationStep(), p.acceptanceStep()}, p.dnsSteps()...)
}

// AWS returns the missing steps as a shell script that runs as it is, given aws, curl and POSTERN_TOKEN.
func (p *Plan) AWS() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Connects " + oneLine(p.Request.VPCID) + " to the cluster " + oneLine(p.ClusterName) + ".\n")
	b.WriteString("# POSTERN_TOKEN has to hold a token for " + oneLine(p.apiURL) + ", and aws the credentials of account " + p.AccountID + ".\n")
	b.WriteString("set -eu\n: \"${POSTERN_TOKEN:?}\"\n")
	if p.endpointURL != "" {
		b.WriteString(dnsplan.AWSAt(p.endpointURL))
	}
	b.WriteString("export AWS_REGION=" + dnsplan.ShellQuote(p.Request.Region) + " AWS_DEFAULT_REGION=" + dnsplan.ShellQuote(p.Request.Region) + "\n")
	p.problemComments(&b)
	for _, s := range p.Steps() {
		if s.AWS == "" {
			continue
		}
		fmt.Fprintf(&b, "\n# %s: %s.\n", oneLine(s.What), oneLine(s.Why))
		if s.Already {
			fmt.Fprintf(&b, "# It is there already.\n")
		}
		b.WriteString(s.AWS)
	}
	return b.String()
}

// Terraform returns the whole connection as HCL, whatever exists already: Terraform keeps its own account of that.
func (p *Plan) Terraform() string {
	var b strings.Builder
	b.WriteString("# Connects " + oneLine(p.Request.VPCID) + " to the cluster " + oneLine(p.ClusterName) + ".\n")
	b.WriteString("# The registration calls Postern's API with curl; POSTERN_TOKEN has to hold a token for it.\n")
	p.problemComments(&b)
	fmt.Fprintf(&b, "\nprovider \"aws\" {\n  region = %s\n}\n", hcl(p.Request.Region))
	for _, s := range p.Steps() {
		if s.HCL != "" {
			fmt.Fprintf(&b, "\n# %s: %s.\n%s", oneLine(s.What), oneLine(s.Why), s.HCL)
		}
	}
	return b.String()
}

func (p *Plan) problemComments(b *strings.Builder) {
	for _, x := range p.Problems {
		word := "PROBLEM"
		if x.Warning {
			word = "note"
		}
		fmt.Fprintf(b, "# %s: %s\n#   %s\n", word, oneLine(x.Message), oneLine(x.Hint))
	}
}

func (p *Plan) trustStep() Step {
	body := body(api.AddTrustedOwnerRequest{Type: string(link.AWSAccountID), ExternalOwnerID: p.AccountID})
	s := Step{
		ID: StepTrust, Already: p.trusted,
		What: "Make account " + p.AccountID + " a trusted owner",
		Why:  "the vendor accepts endpoints of trusted accounts only",
		HCL: fmt.Sprintf("resource \"terraform_data\" \"postern_trust\" {\n  provisioner \"local-exec\" {\n    command = %s\n  }\n}\n",
			hcl(p.curl("private-endpoint-trusted-owners", dnsplan.ShellQuote(body)))),
	}
	if !s.Already {
		s.AWS = p.curl("private-endpoint-trusted-owners", dnsplan.ShellQuote(body)) + "\n"
	}
	return s
}

func (p *Plan) endpointStep() Step {
	s := Step{
		ID: StepEndpoint, Already: p.endpoint != nil,
		What: "Create the endpoint in " + p.Request.VPCID,
		Why:  "it gives the vendor's service an address in each of its subnets",
	}
	if p.endpoint != nil {
		s.AWS = "ENDPOINT_ID=" + dnsplan.ShellQuote(string(p.endpoint.id)) + "\n"
	} else {
		q := dnsplan.ShellQuote
		lines := []string{
			"ENDPOINT_ID=$(aws ec2 create-vpc-endpoint --vpc-endpoint-type Interface",
			"--vpc-id " + q(p.Request.VPCID),
			"--service-name " + q(p.ServiceName),
			"--subnet-ids " + quoteAll(p.Request.SubnetIDs),
		}
		if len(p.Request.SecurityGroupIDs) > 0 {
			lines = append(lines, "--security-group-ids "+quoteAll(p.Request.SecurityGroupIDs))
		}
		lines = append(lines,
			"--no-private-dns-enabled",
			"--client-token "+clientToken(p.Request.ClusterID, p.Request.VPCID, 0),
			"--tag-specifications "+q(fmt.Sprintf("ResourceType=vpc-endpoint,Tags=[{Key=Name,Value=postern %s},{Key=%s,Value=%s},{Key=%s%s,Value=%s}]",
				p.ClusterName, tagMadeBy, madeByConnect, tagClusterPrefix, p.Request.ClusterID, p.ClusterName)),
			"--query VpcEndpoint.VpcEndpointId --output text)",
		)
		s.AWS = strings.Join(lines, " \\\n  ") + "\n"
	}
	var b strings.Builder
	b.WriteString("resource \"aws_vpc_endpoint\" \"postern\" {\n  vpc_endpoint_type   = \"Interface\"\n")
	fmt.Fprintf(&b, "  vpc_id              = %s\n  service_name        = %s\n", hcl(p.Request.VPCID), hcl(p.ServiceName))
	fmt.Fprintf(&b, "  subnet_ids          = [%s]\n", hclAll(p.Request.SubnetIDs))
	if len(p.Request.SecurityGroupIDs) > 0 {
		fmt.Fprintf(&b, "  security_group_ids  = [%s]\n", hclAll(p.Request.SecurityGroupIDs))
	}
	b.WriteString("  private_dns_enabled = false\n\n  tags = {\n")
	fmt.Fprintf(&b, "    Name              = %s\n    %s = %s\n  }\n", hcl("postern "+p.ClusterName), hcl(tagMadeBy), hcl(madeByTerraform))
	if p.Request.DNS == DNSPrivate {
		b.WriteString("\n  # Private DNS is enabled below, after the vendor has accepted.\n  lifecycle {\n    ignore_changes = [private_dns_enabled]\n  }\n")
	}
	b.WriteString("}\n")
	s.HCL = b.String()
	return s
}

func (p *Plan) registrationStep() Step {
	s := Step{
		ID: StepRegistration, Already: p.registered(),
		What: "Register the endpoint with the cluster",
		Why:  "the gateway lets flows through to this cluster only from endpoints that it knows",
	}
	if !s.Already {
		s.AWS = p.curl("private-endpoint-connections", `"{\"endpoint_id\":\"$ENDPOINT_ID\"}"`) + "\n"
	}
	add := p.curl("private-endpoint-connections", `"{\"endpoint_id\":\"$ENDPOINT_ID\"}"`)
	remove := `curl --fail-with-body -sS -X DELETE -H "Authorization: Bearer $POSTERN_TOKEN" ` +
		dnsplan.ShellQuote(p.networking()+"/private-endpoint-connections/") + `"$ENDPOINT_ID"`
	s.HCL = fmt.Sprintf(`resource "terraform_data" "postern_connection" {
  input      = %s.id
  depends_on = [terraform_data.postern_trust]

  provisioner "local-exec" {
    environment = { ENDPOINT_ID = self.output }
    command     = %s
  }

  provisioner "local-exec" {
    when        = destroy
    environment = { ENDPOINT_ID = self.output }
    command     = %s
  }
}
`, endpointResource, hcl(add), hcl(remove))
	return s
}

func (p *Plan) acceptanceStep() Step {
	describe := describeEndpoint(p.Request.Region)
	s := Step{
		ID: StepAcceptance, Already: p.accepted(),
		What: "Wait until the vendor has accepted",
		Why:  "before that the endpoint carries nothing, and its DNS names cannot be relied on",
	}
	var b strings.Builder
	if !s.Already {
		b.WriteString(waitAvailable(p.Request.Region) + "\n")
	}
	if p.Request.DNS == DNSZone && !p.recordsThere() {
		fmt.Fprintf(&b, "%s=$(%s --query 'VpcEndpoints[0].DnsEntries[0].DnsName')\n", dnsplan.ShellTargetName, describe)
		fmt.Fprintf(&b, "%s=$(%s --query 'VpcEndpoints[0].DnsEntries[0].HostedZoneId')\n", dnsplan.ShellTargetZone, describe)
	}
	s.AWS = b.String()
	return s
}

func (p *Plan) dnsSteps() []Step {
	switch p.Request.DNS {
	case DNSPrivate:
		s := Step{
			ID: StepZone, Already: p.endpoint != nil && p.endpoint.privateDNS,
			What: "Enable private DNS on the endpoint",
			Why:  "the service's own name then leads to the endpoint inside the VPC; AWS refuses it before acceptance",
			HCL: fmt.Sprintf(`resource "terraform_data" "postern_private_dns" {
  input      = %s.id
  depends_on = [terraform_data.postern_connection]

  provisioner "local-exec" {
    environment = { ENDPOINT_ID = self.output }
    command     = %s
  }
}
`, endpointResource, hcl(waitAvailable(p.Request.Region)+"; "+enablePrivateDNS(p.Request.Region))),
		}
		if !s.Already {
			s.AWS = enablePrivateDNS(p.Request.Region) + "\n"
		}
		return []Step{s}
	case DNSZone:
		open := p.DNS
		open.Target = dnsplan.Target{} // refer to the endpoint, so that the lines hold before it exists too
		s := Step{
			ID: StepZone, Already: p.recordsThere(),
			What: "Lead " + p.PrivateName + " and *." + p.PrivateName + " to the endpoint",
			Why:  "a private zone of exactly this name hides nothing else from the VPC",
			HCL:  open.Terraform(endpointResource),
		}
		switch {
		case s.Already:
		case p.zone != nil:
			s.AWS = open.RecordLines(p.zone.id)
		default:
			s.AWS = open.AWSLines(callerReference(p.Request.ClusterID, p.Request.VPCID, p.PrivateName, 0))
		}
		return []Step{s}
	}
	return nil
}

// describeEndpoint is the beginning of a line that reads one thing of the endpoint; a --query follows.
func describeEndpoint(region string) string {
	return `aws ec2 describe-vpc-endpoints --region ` + dnsplan.ShellQuote(region) + ` --vpc-endpoint-ids "$ENDPOINT_ID" --output text`
}

// waitAvailable is a line that ends when the endpoint is available, and fails when it can no longer become so.
func waitAvailable(region string) string {
	return `while :; do STATE=$(` + describeEndpoint(region) + ` --query 'VpcEndpoints[0].State'); ` +
		`case "$STATE" in [aA]vailable) break ;; ` +
		`[rR]ejected | [fF]ailed | [eE]xpired | [dD]elet*) echo "the endpoint $ENDPOINT_ID is $STATE" >&2; exit 1 ;; esac; sleep 2; done`
}

func enablePrivateDNS(region string) string {
	return `aws ec2 modify-vpc-endpoint --region ` + dnsplan.ShellQuote(region) + ` --vpc-endpoint-id "$ENDPOINT_ID" --private-dns-enabled`
}

func (p *Plan) networking() string {
	return p.apiURL + "/api/v1/clusters/" + p.Request.ClusterID + "/networking"
}

// curl returns a POST to the cluster's networking API. body is a word of the shell, quoted already.
func (p *Plan) curl(path, body string) string {
	return fmt.Sprintf(`curl --fail-with-body -sS -H "Authorization: Bearer $POSTERN_TOKEN" -H 'Content-Type: application/json' -d %s %s`,
		body, dnsplan.ShellQuote(p.networking()+"/"+path))
}

func body(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

func quoteAll(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = dnsplan.ShellQuote(w)
	}
	return strings.Join(out, " ")
}

func hcl(s string) string { return dnsplan.QuoteHCL(s) }

func hclAll(items []string) string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = hcl(s)
	}
	return strings.Join(out, ", ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
