package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

const (
	operatorToken = "the-operator-of-the-simulation"
	gatewayToken  = "a-gateway-of-the-simulation"
	regionName    = "us-east-1"
)

// plane is a control plane that serves its API, and knows when each revision of the rules was committed.
type plane struct {
	st   *store.Store
	srv  *http.Server
	url  string
	done chan struct{} // closed when streams have to end

	serving sync.WaitGroup
	end     context.CancelFunc

	mu      sync.Mutex
	commits map[int64]time.Time
}

func newPlane(ctx context.Context, dir string) (_ *plane, err error) {
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(ctx, dir, store.Options{Log: log})
	if err != nil {
		return nil, err
	}
	p := &plane{st: st, done: make(chan struct{}), commits: make(map[int64]time.Time)}
	ctx, p.end = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	cp := control.New(st, control.Options{Domain: "postern.example", Log: log})
	if err := errors.Join(cp.PutToken(ctx, "operator", policy.Operator, operatorToken), cp.PutToken(ctx, "gateway", policy.Gateway, gatewayToken)); err != nil {
		return p, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return p, err
	}
	p.url = "http://" + ln.Addr().String()
	p.srv = &http.Server{Handler: httpapi.New(cp, httpapi.Options{Log: log, Done: p.done}), ReadHeaderTimeout: 10 * time.Second}
	p.serving.Go(func() { _ = p.srv.Serve(ln) }) // until close
	p.serving.Go(func() { p.watch(ctx) })
	return p, nil
}

// watch notes when revisions are committed. Of several that it missed the newest alone is noted.
func (p *plane) watch(ctx context.Context) {
	for after := int64(0); ; {
		revision, err := p.st.WaitRules(ctx, after)
		if err != nil {
			return
		}
		now := time.Now()
		p.mu.Lock()
		p.commits[revision] = now
		p.mu.Unlock()
		after = revision
	}
}

func (p *plane) committed(revision int64) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.commits[revision]
	return t, ok
}

func (p *plane) close() error {
	close(p.done)
	p.end()
	if p.srv != nil {
		_ = p.srv.Close()
	}
	p.serving.Wait()
	return p.st.Close()
}

func clusterName(i int) string { return fmt.Sprintf("c%06d", i) }

func endpointName(i int) link.EndpointID { return link.EndpointID(fmt.Sprintf("vpce-%017x", i)) }

// fill stores clusters, each with a backend, an allow list of two and its share of the endpoints, approved and seen
// available.
func (p *plane) fill(ctx context.Context, clusters, endpoints int) (ids []link.ID, err error) {
	ids = make([]link.ID, clusters)
	var project link.ID
	err = p.st.Write(ctx, func(tx *store.Tx) error {
		pr, _, err := tx.AddProject("", "simulation")
		project = pr.ID
		return err
	})
	everyone := netip.MustParsePrefix("0.0.0.0/0")
	office := netip.MustParsePrefix("192.0.2.0/24")
	const together = 500 // clusters in a transaction
	for from := 0; from < clusters && err == nil; from += together {
		err = p.st.Write(ctx, func(tx *store.Tx) error {
			for i := from; i < min(from+together, clusters); i++ {
				name := clusterName(i)
				c, err := tx.AddCluster(link.Cluster{
					ID: link.NewID(), ProjectID: project, Name: name, Provider: link.AWS, Backends: []string{fmt.Sprintf("10.%d.%d.%d:26257", i>>16, i>>8&255, i&255)},
					PublicAccess: link.PublicEnabled, Regions: []link.ClusterRegion{{
						Name: regionName, PublicName: link.PublicName(name, regionName, "postern.example"), PrivateName: link.PrivateName(name, regionName, "postern.example"),
					}},
				})
				if err != nil {
					return err
				}
				ids[i] = c.ID
				err = errors.Join(tx.RulesChanged(store.RulesOfCluster, c.ID),
					tx.PutAllowEntry(c.ID, link.AllowEntry{Prefix: everyone, UI: true}), tx.PutAllowEntry(c.ID, link.AllowEntry{Prefix: office, UI: true, SQL: true}))
				if err != nil {
					return err
				}
				for e := i; e < endpoints; e += clusters {
					if err := addEndpoint(tx, c.ID, endpointName(e)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return ids, err
}

func addEndpoint(tx *store.Tx, cluster link.ID, id link.EndpointID) error {
	_, err := tx.AddConnection(link.Connection{
		ClusterID: cluster, EndpointID: id, Provider: link.AWS, Region: regionName, State: link.Available, Want: link.WantConnected, Approved: true,
	})
	if err != nil {
		return err
	}
	_, err = tx.PutEndpoint(link.Endpoint{
		Provider: link.AWS, Region: regionName, ServiceID: "vpce-svc-1", ID: id, OwnerID: "123456789012", State: link.Available, SeenAt: tx.Now(),
	})
	return err
}
