package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheGuideNamesEveryPermission holds the two lists of docs/aws.md against the calls in the sources: whoever adds a
// call would otherwise send people into an access error.
func TestTheGuideNamesEveryPermission(t *testing.T) {
	b, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	vendor, customer, ok := strings.Cut(string(b), "## 4. The customer")
	if !ok {
		t.Fatal("docs/aws.md has no part for the customer")
	}
	for _, tc := range []struct {
		side, text, folder string
		implied            []string // what AWS asks for beside the calls themselves
	}{
		{"vendor", vendor, "../../internal/cloud/awsprivatelink", []string{"ec2:CreateTags", "elasticloadbalancing:AddTags", "iam:CreateServiceLinkedRole", "route53:AssociateVPCWithHostedZone"}},
		{"customer", customer, "../../internal/connect", []string{"route53:AssociateVPCWithHostedZone"}},
	} {
		named := permission.FindAllString(tc.text, -1)
		called := append(calls(t, tc.folder), tc.implied...)
		for _, c := range called {
			if !slices.Contains(named, c) {
				t.Errorf("the %s's side needs %s, which docs/aws.md does not name", tc.side, c)
			}
		}
		for _, n := range named {
			if !slices.Contains(called, n) {
				t.Errorf("docs/aws.md asks for %s, which the %s's side does not need", n, tc.side)
			}
		}
	}
}

var (
	permission = regexp.MustCompile(`\b(?:ec2|elasticloadbalancing|route53|sts|iam):[A-Z][A-Za-z]+`)
	input      = regexp.MustCompile(`\b(ec2|elb|route53|sts)\.([A-Z][A-Za-z]+)Input\b`)
)

// calls returns the AWS actions that a package's sources make, by the inputs that they fill.
func calls(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range input.FindAllStringSubmatch(string(b), -1) {
			prefix := m[1]
			if prefix == "elb" {
				prefix = "elasticloadbalancing"
			}
			out = append(out, prefix+":"+m[2])
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s makes no call: the pattern is wrong", folder)
	}
	return out
}

// TestTheReadmeNamesEveryVerb keeps the first page complete.
func TestTheReadmeNamesEveryVerb(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range (&app{}).root().Commands() {
		if !strings.Contains(string(b), "`postern "+c.Name()) && !strings.Contains(string(b), "`"+c.Name()+"`") {
			t.Errorf("README.md does not name the verb %q", c.Name())
		}
	}
}
