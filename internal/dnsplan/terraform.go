package dnsplan

import (
	"fmt"
	"strings"
)

// Terraform returns the plan's zones and records as HCL for the AWS provider, formatted as `terraform fmt` does. While
// the target is not known the records refer to the resource at endpoint, for example "aws_vpc_endpoint.postern". On
// premises the result is empty.
func (p Plan) Terraform(endpoint string) string {
	name, zone := QuoteHCL(p.Target.Name), QuoteHCL(p.Target.HostedZoneID)
	if !p.Target.Known() {
		name, zone = endpoint+".dns_entry[0].dns_name", endpoint+".dns_entry[0].hosted_zone_id"
	}
	var b strings.Builder
	for _, z := range p.Zones {
		if z.VPCID == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		id := identifier(z.Name)
		fmt.Fprintf(&b, "resource \"aws_route53_zone\" %q {\n", id)
		fmt.Fprintf(&b, "  name    = %s\n", QuoteHCL(z.Name))
		fmt.Fprintf(&b, "  comment = \"made by postern\"\n\n")
		fmt.Fprintf(&b, "  vpc {\n    vpc_id     = %s\n    vpc_region = %s\n  }\n}\n", QuoteHCL(z.VPCID), QuoteHCL(z.Region))
		for _, r := range sortRecords(z.Records) {
			fmt.Fprintf(&b, "\nresource \"aws_route53_record\" \"%s_%s\" {\n", identifier(r.Name), strings.ToLower(r.Type))
			fmt.Fprintf(&b, "  zone_id = aws_route53_zone.%s.zone_id\n", id)
			fmt.Fprintf(&b, "  name    = %s\n", QuoteHCL(r.Name))
			fmt.Fprintf(&b, "  type    = %s\n\n", QuoteHCL(r.Type))
			fmt.Fprintf(&b, "  alias {\n    name                   = %s\n    zone_id                = %s\n", name, zone)
			fmt.Fprintf(&b, "    evaluate_target_health = false\n  }\n}\n")
		}
	}
	return b.String()
}

// QuoteHCL quotes s as an HCL string in which nothing is a template.
func QuoteHCL(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${", "%{", "%%{", "\n", `\n`).Replace(s) + `"`
}
