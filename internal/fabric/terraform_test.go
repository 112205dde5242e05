package fabric

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The real Terraform with the real AWS provider: apply works, a second plan is empty, destroy leaves nothing.
func TestTerraform(t *testing.T) {
	path, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("needs terraform (from hashicorp.com, not in Debian) and its AWS provider")
	}
	if testing.Short() {
		t.Skip("takes two minutes: the provider waits in long steps")
	}
	t.Parallel()
	c := startCloud(t, func(cfg *Config) { cfg.Settle = 100 * time.Millisecond })
	empty := c.snapshot()
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join("testdata", "terraform", "main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) (string, error) {
		command := exec.CommandContext(t.Context(), path, append([]string{"-chdir=" + dir}, arguments...)...)
		command.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "AWS_ENDPOINT_URL="+c.URL(), "AWS_CONFIG_FILE=/dev/null",
			"AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
			"TF_VAR_vendor_key="+vendor.AccessKeyID, "TF_VAR_vendor_secret="+vendor.SecretAccessKey, "TF_VAR_customer_account="+customer.ID,
			"TF_VAR_customer_key="+customer.AccessKeyID, "TF_VAR_customer_secret="+customer.SecretAccessKey)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	if out, err := run("init", "-no-color", "-input=false"); err != nil {
		t.Skipf("needs terraform's AWS provider 5.100.0 (from registry.terraform.io or a local mirror): %s", out)
	}
	if out, err := run("apply", "-no-color", "-input=false", "-auto-approve"); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	if out, err := run("plan", "-no-color", "-input=false", "-detailed-exitcode"); err != nil {
		t.Errorf("a second plan is not empty: %v\n%s", err, out)
	}
	if out, err := run("destroy", "-no-color", "-input=false", "-auto-approve"); err != nil {
		t.Fatalf("destroy: %v\n%s", err, out)
	}
	left := c.snapshot()
	for name, counts := range map[string][2]int{
		"VPCs": {len(empty.VPCs), len(left.VPCs)}, "subnets": {len(empty.Subnets), len(left.Subnets)}, "groups": {len(empty.SecurityGroups), len(left.SecurityGroups)},
		"load balancers": {0, len(left.LoadBalancers)}, "target groups": {0, len(left.TargetGroups)}, "services": {0, len(left.Services)}, "zones": {0, len(left.HostedZones)},
		"interfaces": {0, len(left.NetworkInterfaces)}, "tags": {0, len(left.Tags)},
	} {
		if counts[0] != counts[1] {
			t.Errorf("destroy left %s: %d before, %d after", name, counts[0], counts[1])
		}
	}
}
