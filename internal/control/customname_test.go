package control_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// TestCustomNames: a name of the customer's own is one cluster's, with everything below it, and leads there at both doors.
func TestCustomNames(t *testing.T) {
	d := newDesk(t)
	acme, other := d.cluster("acme"), d.cluster("globex")
	set := func(c link.Cluster, names ...string) (link.Cluster, error) {
		return d.UpdateCluster(d.ctx, operator, c.ID, control.ClusterUpdate{CustomNames: &names})
	}
	d.bumps("names", true, func() error {
		got, err := set(acme, "WWW.art.example", "art.acme.example.")
		if want := []string{"art.acme.example", "www.art.example"}; !slices.Equal(got.CustomNames, want) {
			t.Errorf("custom names %q, want %q", got.CustomNames, want)
		}
		return err
	})
	d.bumps("the same in another order", false, func() error { _, err := set(acme, "art.acme.example", "www.art.example"); return err })
	d.bumps("backends beside them", true, func() error {
		got, err := d.UpdateCluster(d.ctx, operator, acme.ID, control.ClusterUpdate{Backends: &[]string{"a:1"}})
		if len(got.CustomNames) != 2 {
			t.Errorf("a change of the backends left the names %q", got.CustomNames)
		}
		return err
	})
	rules := d.ofCluster(acme.ID)
	for door, names := range map[string][]string{"private": rules.PrivateNames, "public": rules.PublicNames} {
		if !slices.Contains(names, "art.acme.example") || !slices.Contains(names, "www.art.example") || len(names) != 3 {
			t.Errorf("at the %s door the rules name %q", door, names)
		}
	}
	if h := d.history(link.ObjectCluster, string(acme.ID)); !strings.Contains(h, "CUSTOM_NAMES") {
		t.Errorf("the history does not tell:\n%s", h)
	}

	long := strings.Repeat(strings.Repeat("n", 62)+".", 3) + "example"
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("n%d.acme.example", i)
	}
	for _, tt := range []struct {
		what   string
		names  []string
		kind   link.Kind
		reason string
		field  string
	}{
		{"another cluster's", []string{"fine.example", "art.acme.example"}, link.Conflict, "NAME_TAKEN", "custom_names[1]"},
		{"below another cluster's", []string{"docker.art.acme.example"}, link.Conflict, "NAME_TAKEN", "custom_names[0]"},
		{"above another cluster's", []string{"acme.example"}, link.Conflict, "NAME_TAKEN", "custom_names[0]"},
		{"in upper case", []string{"Art.ACME.example."}, link.Conflict, "NAME_TAKEN", "custom_names[0]"},
		{"the installation's domain", []string{"postern.test"}, link.Invalid, "VENDORS_DOMAIN", "custom_names[0]"},
		{"another cluster's given name", []string{"acme.us-east-1.pe.postern.test"}, link.Invalid, "VENDORS_DOMAIN", "custom_names[0]"},
		{"a name twice", []string{"a.example", "b.example", "A.example"}, link.Invalid, "DUPLICATE", "custom_names[2]"},
		{"one label", []string{"art"}, link.Invalid, "MALFORMED_NAME", "custom_names[0]"},
		{"many owners'", []string{"co.uk"}, link.Invalid, "DOMAIN_TOO_SHORT", "custom_names[0]"},
		{"a wildcard", []string{"*.art.example"}, link.Invalid, "MALFORMED_NAME", "custom_names[0]"},
		{"an address", []string{"10.0.0.1"}, link.Invalid, "MALFORMED_NAME", "custom_names[0]"},
		{"a pattern", []string{"%.example"}, link.Invalid, "MALFORMED_NAME", "custom_names[0]"},
		{"with a port", []string{"art.example:443"}, link.Invalid, "MALFORMED_NAME", "custom_names[0]"},
		{"too long for a repository in front", []string{long}, link.Invalid, "MALFORMED_NAME", "custom_names[0]"},
		{"the proof's", []string{"proof.art.example"}, link.Invalid, "NAME_RESERVED", "custom_names[0]"},
		{"a claim's", []string{"x.claim.art.example"}, link.Invalid, "NAME_RESERVED", "custom_names[0]"},
		{"too many", many, link.Invalid, "TOO_MANY", "custom_names"},
	} {
		d.bumps(tt.what, false, func() error {
			_, err := set(other, tt.names...)
			d.refuses(err, tt.kind, tt.reason, tt.field)
			return nil
		})
	}
	beside := ok[link.Cluster](t)(set(other, "notart.acme.example"))
	if !slices.Equal(beside.CustomNames, []string{"notart.acme.example"}) {
		t.Errorf("beside another's: %q", beside.CustomNames)
	}

	// What a cluster gives up, or leaves behind, is another's to have.
	d.bumps("none", true, func() error { _, err := set(acme); return err })
	ok[link.Cluster](t)(set(other, "art.acme.example"))
	if err := d.DeleteCluster(d.ctx, operator, other.ID); err != nil {
		t.Fatal(err)
	}
	ok[link.Cluster](t)(set(acme, "docker.art.acme.example"))
	_, err := d.UpdateCluster(d.ctx, policy.Caller{}, acme.ID, control.ClusterUpdate{CustomNames: &[]string{}})
	if err == nil {
		t.Error("nobody may give names away")
	}
}

// TestCustomNamesTogether: of two clusters that are given one name at once, one gets it.
func TestCustomNamesTogether(t *testing.T) {
	d := newDesk(t)
	clusters := []link.Cluster{d.cluster("acme"), d.cluster("globex")}
	errs := make(chan error, len(clusters))
	for _, c := range clusters {
		go func() {
			_, err := d.UpdateCluster(d.ctx, operator, c.ID, control.ClusterUpdate{CustomNames: &[]string{"art.acme.example"}})
			errs <- err
		}()
	}
	taken := 0
	for range clusters {
		if err := <-errs; err != nil {
			d.refuses(err, link.Conflict, "NAME_TAKEN", "custom_names[0]")
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("%d were refused, want one", taken)
	}
}
