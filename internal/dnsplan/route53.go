package dnsplan

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The shell variables that command lines refer to while the target is not known, and those that they set.
const (
	ShellTargetName = "DNS_NAME"    // the endpoint's regional DNS name
	ShellTargetZone = "DNS_ZONE_ID" // the hosted zone id of that name
	ShellZone       = "ZONE_ID"     // the private zone that the lines create
)

type changeBatch struct {
	Comment string   `json:"Comment,omitempty"`
	Changes []change `json:"Changes"`
}

type change struct {
	Action string    `json:"Action"`
	Set    recordSet `json:"ResourceRecordSet"`
}

type recordSet struct {
	Name    string        `json:"Name"`
	Type    string        `json:"Type"`
	TTL     uint32        `json:"TTL,omitempty"`
	Records []recordValue `json:"ResourceRecords,omitempty"`
	Alias   *aliasTarget  `json:"AliasTarget,omitempty"`
}

type recordValue struct {
	Value string `json:"Value"`
}

type aliasTarget struct {
	HostedZoneID   string `json:"HostedZoneId"`
	DNSName        string `json:"DNSName"`
	EvaluateHealth bool   `json:"EvaluateTargetHealth"`
}

// ChangeBatch returns what `aws route53 change-resource-record-sets --change-batch` takes for the zone. Records are
// upserted, so that sending it again changes nothing. The wildcard is written as Route 53 writes it, \052.
func (p Plan) ChangeBatch(z Zone) (string, error) {
	if !p.Target.Known() {
		return "", p.needTarget("change batch")
	}
	return batch(z, p.Target), nil
}

func batch(z Zone, t Target) string {
	b := changeBatch{Comment: "private endpoint names, made by postern"}
	for _, r := range sortRecords(z.Records) {
		set := recordSet{Name: strings.Replace(r.Name, "*", `\052`, 1) + ".", Type: r.Type, TTL: r.TTL}
		if r.Alias {
			set.Alias = &aliasTarget{HostedZoneID: t.HostedZoneID, DNSName: t.Name + "."}
		} else {
			set.Records = []recordValue{{Value: t.Name + "."}}
		}
		b.Changes = append(b.Changes, change{Action: "UPSERT", Set: set})
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return string(text)
}

// AWSLines returns the aws command lines, for a POSIX shell, that make the plan's private zones and records and wait
// until Route 53 answers them everywhere. reference makes the zones' caller references: with the same one a second run
// is refused by Route 53 instead of making a second zone. Without private zones in the plan the result is empty.
func (p Plan) AWSLines(reference string) string {
	var b strings.Builder
	for i, z := range p.Zones {
		if z.VPCID == "" {
			continue
		}
		ref := reference
		if i > 0 {
			ref = fmt.Sprintf("%s-%d", reference, i)
		}
		fmt.Fprintf(&b, "%s=$(aws route53 create-hosted-zone --name %s \\\n", ShellZone, ShellQuote(z.Name))
		fmt.Fprintf(&b, "  --vpc %s \\\n", ShellQuote("VPCRegion="+z.Region+",VPCId="+z.VPCID))
		fmt.Fprintf(&b, "  --caller-reference %s \\\n", ShellQuote(ref))
		fmt.Fprintf(&b, "  --hosted-zone-config 'Comment=made by postern,PrivateZone=true' \\\n")
		fmt.Fprintf(&b, "  --query HostedZone.Id --output text)\n")
		p.recordLines(&b, z, `"$`+ShellZone+`"`)
	}
	return b.String()
}

// RecordLines returns the part of AWSLines that fills a zone which exists already, for a plan with one private zone.
func (p Plan) RecordLines(zoneID string) string {
	var b strings.Builder
	for _, z := range p.Zones {
		if z.VPCID != "" {
			p.recordLines(&b, z, ShellQuote(zoneID))
		}
	}
	return b.String()
}

func (p Plan) recordLines(b *strings.Builder, z Zone, zoneID string) {
	t := p.Target
	if !t.Known() {
		t = Target{Name: "${" + ShellTargetName + "}", HostedZoneID: "${" + ShellTargetZone + "}"}
	}
	fmt.Fprintf(b, "CHANGE_ID=$(aws route53 change-resource-record-sets --hosted-zone-id %s \\\n", zoneID)
	fmt.Fprintf(b, "  --query ChangeInfo.Id --output text --change-batch \"$(cat <<BATCH\n")
	// The here-document is open to the shell for the sake of the variables, so the backslashes of the wildcard have to
	// survive it.
	b.WriteString(strings.ReplaceAll(batch(z, t), `\`, `\\`))
	b.WriteString("\nBATCH\n)\")\n")
	b.WriteString("aws route53 wait resource-record-sets-changed --id \"$CHANGE_ID\"\n")
}

// AWSAt is a line of sh by which the aws of a script asks the endpoint at a URL instead of Amazon's. AWS_ENDPOINT_URL would not do:
// aws before 2.13 ignores it, and calls Amazon.
func AWSAt(url string) string {
	return "aws() { command aws --endpoint-url " + ShellQuote(url) + " \"$@\"; }\n"
}

// ShellQuote quotes s for a POSIX shell, and leaves alone what needs no quotes.
func ShellQuote(s string) string {
	if made(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_./:=,@") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
