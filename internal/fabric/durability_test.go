package fabric

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/google/go-cmp/cmp"
)

// What was answered is there after a restart, ids keep being new, and what was under way comes to its end.
func TestStateAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	kept := func(cfg *Config) { cfg.Dir = dir }
	c := startCloud(t, kept, func(cfg *Config) { cfg.Settle = time.Hour })
	service := c.service()
	endpoint := c.endpoint(service)
	token := aws.String("deterministic")
	ask := c.ask(service)
	ask.ClientToken = token
	second := ok(c.ec2(customer).CreateVpcEndpoint(t.Context(), ask))(t).VpcEndpoint
	zone := ok(c.route53(customer).CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{Name: aws.String("vendor.example"), CallerReference: aws.String("1")}))(t)
	if out := ok(c.ec2(vendor).AcceptVpcEndpointConnections(t.Context(), &ec2.AcceptVpcEndpointConnectionsInput{ServiceId: service.ServiceId, VpcEndpointIds: []string{*endpoint.VpcEndpointId}}))(t); len(out.Unsuccessful) > 0 {
		t.Fatal(out.Unsuccessful)
	}
	before := c.snapshot()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	// The pending endpoint is due in an hour: let that hour pass.
	later := time.Now().Add(2 * time.Hour)
	again := startCloud(t, kept, func(cfg *Config) { cfg.Now = func() time.Time { return later.Add(-90 * time.Minute) } })
	if diff := cmp.Diff(before, again.snapshot(), stateOptions...); diff != "" {
		t.Errorf("the state after a restart (-before +after):\n%s", diff)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	last := startCloud(t, kept, func(cfg *Config) { cfg.Now = func() time.Time { return later } })
	state := last.snapshot()
	if got := state.Endpoints[*endpoint.VpcEndpointId].State; got != EndpointAvailable {
		t.Errorf("the endpoint that was pending is %s", got)
	}
	if got := state.Endpoints[*second.VpcEndpointId].State; got != EndpointPendingAcceptance {
		t.Errorf("the endpoint that nobody accepted is %s", got)
	}
	if state.HostedZones[strings.TrimPrefix(*zone.HostedZone.Id, "/hostedzone/")] == nil {
		t.Error("the zone is gone")
	}
	if err := last.update(func(s *State, now time.Time) error {
		if id := s.newID("vpce"); before.Endpoints[id] != nil || before.Drawn >= s.Drawn {
			t.Errorf("ids repeat: %s", id)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// At whatever point a process is killed, its file is a whole state that the next one goes on with: the one from before
// the transition or the one from after it.
func TestKilledAnywhere(t *testing.T) {
	dir, copies := t.TempDir(), t.TempDir()
	c := startCloud(t, func(cfg *Config) { cfg.Dir = dir })
	var taken []string
	take := func() {
		raw, err := os.ReadFile(filepath.Join(dir, "fabric.json"))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(copies, string(rune('a'+len(taken))))
		if err := os.MkdirAll(copied, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, "fabric.json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		// What a kill between writing and renaming leaves behind.
		if err := os.WriteFile(filepath.Join(copied, "fabric.json.new"), raw[:len(raw)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		taken = append(taken, copied)
	}
	take()
	service := c.service()
	take()
	endpoint := c.endpoint(service)
	take()
	c.accept(*service.ServiceId, *endpoint.VpcEndpointId)
	take()
	ok(c.ec2(customer).DeleteVpcEndpoints(t.Context(), &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{*endpoint.VpcEndpointId}}))(t)
	take()
	for i, copied := range taken {
		f, err := Start(t.Context(), Config{Dir: copied, Accounts: []Account{vendor, customer, stranger}, Settle: time.Millisecond})
		if err != nil {
			t.Fatalf("point %d: %v", i, err)
		}
		state := f.snapshot()
		if got, want := len(state.Services), min(i, 1); got != want {
			t.Errorf("point %d: %d services, want %d", i, got, want)
		}
		if got, want := len(state.Endpoints), min(max(i-1, 0), 1); got != want {
			t.Errorf("point %d: %d endpoints, want %d", i, got, want)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A state that cannot be read stops the start and stays as it is; so does a second process on the same directory.
func TestUnreadableState(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"cut off", `{"version":1,"vpcs":{"vpc-1":{`, "damaged"},
		{"of another kind", `[]`, "damaged"},
		{"wrong inside", `{"version":1,"vpcs":7}`, "damaged"},
		{"from the future", `{"version":99}`, "layout 99"},
		{"empty", ``, "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "fabric.json")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Start(t.Context(), Config{Dir: dir, Accounts: []Account{vendor}})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v; want the path and %q", err, test.want)
			}
			if left, err := os.ReadFile(path); err != nil || string(left) != test.content {
				t.Errorf("the file was touched: %q, %v", left, err)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		dir := t.TempDir()
		startCloud(t, func(cfg *Config) { cfg.Dir = dir })
		if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a second fabric on the directory: %v", err)
		}
	})
}

// A transition that fails, or cannot be stored, changes nothing that anyone sees.
func TestFailedTransition(t *testing.T) {
	dir := t.TempDir()
	c := startCloud(t, func(cfg *Config) { cfg.Dir = dir })
	c.unchanged(func() {
		err := c.update(func(s *State, now time.Time) error {
			s.newVPC(vendor.ID, testRegion, everywhere)
			return fail("Oops", "on purpose")
		})
		if err == nil {
			t.Error("the error was lost")
		}
	})
	if err := os.Mkdir(filepath.Join(dir, "fabric.json.new"), 0o700); err != nil { // in the way of the next write
		t.Fatal(err)
	}
	c.unchanged(func() {
		if got := c.query(vendor, "CreateVpc", "CidrBlock", "10.90.0.0/16"); got.status != 500 || got.code() != "InternalError" || strings.Contains(got.body, dir) {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

// The same seed and the same calls make the same ids.
func TestSeed(t *testing.T) {
	var states []string
	for range 2 {
		c := startCloud(t, func(cfg *Config) { cfg.Now = func() time.Time { return time.Unix(1800000000, 0) } })
		if err := c.update(func(s *State, now time.Time) error {
			s.newVPC(vendor.ID, testRegion, everywhere)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(c.snapshot())
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, string(raw))
	}
	if states[0] != states[1] {
		t.Errorf("two runs differ:\n%s\n%s", states[0], states[1])
	}
}
