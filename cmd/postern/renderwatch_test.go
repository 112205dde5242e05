package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
)

// TestWatchThroughAnOutage: a control plane that is away is told of once, however its errors read, is asked less and less often,
// and is followed again when it is back.
func TestWatchThroughAnOutage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "art.conf")
	synctest.Test(t, func(t *testing.T) {
		const interval = 30 * time.Second
		start := time.Now()
		away := func() bool { at := time.Since(start); return at > 10*time.Minute && at < 130*time.Minute }
		var out bytes.Buffer
		var asked []time.Duration // while it is away, since the start
		load := settingsSource{read: func(context.Context) (api.ReverseProxySettings, error) {
			switch {
			case !away():
			case len(asked)%2 == 0:
				asked = append(asked, time.Since(start))
				return api.ReverseProxySettings{}, fmt.Errorf("read: connection reset by peer %d", len(asked))
			default:
				asked = append(asked, time.Since(start))
				return api.ReverseProxySettings{}, &api.Error{Status: 503, Message: "not now"}
			}
			name := "art.example.test"
			if time.Since(start) > 3*time.Hour {
				name = "other.example.test"
			}
			return api.ReverseProxySettings{
				Server: "nginx", ServerName: name, HTTP: true, Nodes: []api.ProxyNode{{Host: "127.0.0.1"}}, DockerMethod: "NOVALUE",
			}, nil
		}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- (&app{out: &out, output: "json"}).watchSettings(ctx, renderRequest{install: path, interval: interval}, load)
		}()
		time.Sleep(3*time.Hour + 2*interval)
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("who asked it to stop gets %v", err)
		}
		var whats []string
		for dec := json.NewDecoder(&out); ; {
			var l watchLine
			if dec.Decode(&l) != nil {
				break
			}
			whats = append(whats, l.What)
		}
		if diff := cmp.Diff([]string{"installed", "unreachable", "well", "installed"}, whats); diff != "" {
			t.Errorf("what it told (-want +got): %s", diff)
		}
		// Two hours are 240 intervals; pauses of at most five minutes, half of which may be missing, are 24 to 48.
		if n := len(asked); n < 24 || n > 60 {
			t.Errorf("in two hours it asked %d times", n)
		}
	})
}

func TestBackoff(t *testing.T) {
	b := backoff{first: time.Second, most: time.Minute}
	different := map[time.Duration]bool{}
	for round := range 50 {
		for i, most := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			d, most := b.pause(), time.Duration(most)*time.Second
			if d < most/2 || d > most {
				t.Fatalf("round %d: pause %d is %v, want between half of %v and all of it", round, i, d, most)
			}
			different[d] = true
		}
		b.reset()
	}
	if len(different) < 100 {
		t.Errorf("of 450 pauses only %d differ", len(different))
	}
}

// TestUnreachable: what may be over by itself is an outage; what a person has to mend is not.
func TestUnreachable(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{errors.New("connection refused"), true},
		{&api.Error{Status: 503}, true},
		{&api.Error{Status: 429}, true},
		{&api.Error{Status: 403}, false},
		{&api.Error{Status: 404}, false},
		{usagef("give another", "not a file"), false},
	} {
		if got := unreachable(tt.err); got != tt.want {
			t.Errorf("%v: %t", tt.err, got)
		}
	}
}
