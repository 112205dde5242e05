//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// The endpoint through which all flows come, and one that nobody authorised.
const (
	endpointID      = "vpce-0a1b2c3d4e5f60718"
	strangeEndpoint = "vpce-0ffffffffffffffff"
)

// buildGateway compiles the gateway into dir, from the sources that this program is of.
func buildGateway(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "postern-gateway")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/postern/postern/cmd/postern-gateway")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the gateway: %w\n%s", err, out)
	}
	return path, nil
}

// gateway is Postern's own, as its program runs in production: the rules come over the stream from a control plane,
// which this process plays, and what it saw it reports.
func gateway(program string) proxy {
	return proxy{name: "postern", command: func(s *start) (*exec.Cmd, error) {
		return gatewayCommand(s, program, gatewayRules(s.routes))
	}}
}

func gatewayCommand(s *start, program string, rules api.GatewayRules, more ...string) (*exec.Cmd, error) {
	plane, err := startControl(rules)
	if err != nil {
		return nil, err
	}
	s.release, s.ready = plane.close, plane.awaitAck
	cmd := exec.CommandContext(s.ctx, program, append([]string{
		"--id", "bench", "--data", s.dir, "--log-level", "ERROR",
		"--private", s.listen.String() + "=443", "--trusted-peer", "127.0.0.0/8", "--control-url", plane.url,
	}, more...)...)
	cmd.Env = append(os.Environ(), "POSTERN_GATEWAY_TOKEN=bench")
	return cmd, nil
}

// control is as much of a control plane as a gateway needs: it tells the rules once, and listens.
type control struct {
	url    string
	server *http.Server
	acked  chan struct{} // holds one token when a gateway decides by the rules
}

// revision is that of the rules.
const revision = 1

func startControl(of api.GatewayRules) (*control, error) {
	rules, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &control{url: "http://" + l.Addr().String(), acked: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/gateway/rules", func(w http.ResponseWriter, r *http.Request) { c.tell(w, r, rules) })
	mux.HandleFunc("POST /api/v1/gateway/ack", func(w http.ResponseWriter, r *http.Request) {
		var ack api.GatewayAck
		if err := json.NewDecoder(r.Body).Decode(&ack); err == nil && ack.Revision == revision {
			select {
			case c.acked <- struct{}{}:
			default:
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /api/v1/gateway/reports", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	})
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go c.server.Serve(l) //nolint:errcheck // it ends with close
	return c, nil
}

func (c *control) close() { _ = c.server.Close() }

// awaitAck returns once a gateway has put the rules into force.
func (c *control) awaitAck() error {
	select {
	case <-c.acked:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("the gateway does not acknowledge its rules")
	}
}

// tell sends the rules and keeps the stream alive until the gateway leaves.
func (c *control) tell(w http.ResponseWriter, r *http.Request, rules []byte) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for ; ; rules = nil { // an empty line keeps the stream alive
		if _, err := fmt.Fprintf(w, "%s\n", rules); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// gatewayRules makes a cluster of every route, which the one endpoint may reach.
func gatewayRules(routes []route) api.GatewayRules {
	rules := api.GatewayRules{Revision: revision}
	for i, r := range routes {
		rules.Clusters = append(rules.Clusters, api.GatewayClusterRules{
			ClusterID:    fmt.Sprintf("00000000-0000-4000-8000-%012d", i+1),
			PrivateNames: []string{strings.ToLower(r.ServerName)}, PublicNames: []string{},
			Backends:     []api.GatewayTarget{{Address: r.Backend.String()}},
			EndpointIDs:  []string{endpointID},
			PublicAccess: string(link.PublicDisabled),
			AllowList:    []api.AllowRule{},
		})
	}
	return rules
}
