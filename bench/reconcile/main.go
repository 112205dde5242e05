// Command reconcile measures what a hundred thousand connections cost the cloud. The store, the control plane and the
// reconciler are the real ones; the cloud is a stand-in with AWS's request limits, pages and faults, see fakeAWS. Every
// endpoint is created and every connection asked for at once. When all are available it watches for a while, makes some
// changes, and prints how many requests each took.
//
//	go run ./bench/reconcile [--connections 1000,100000] [--services 50] [--changes 100] [--watch 3m] [--faults 0.01]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/reconcile"
	"github.com/postern/postern/internal/store"
)

// setting is what is simulated.
type setting struct {
	Connections int
	Services    int
	PerCluster  int // connections of a cluster; a fifth as many accounts own them
	Changes     int
	Watch       time.Duration
	Faults      float64
	Latency     time.Duration
	Settle      time.Duration
	Cadence     plan.Cadence
	Workers     int
	Dir         string // of the database
	Postgres    string // URL; empty: SQLite
}

// result is what it cost.
type result struct {
	Setting  setting
	Asked    time.Duration // until every connection was asked for
	Took     time.Duration // from the first to the last available
	P50, P99 time.Duration // from asked for to available, as the books have it
	Requests map[string]map[cloud.Outcome]int
	Steady   map[string]float64 // requests per minute while nothing changes
	Changes  map[string]int     // requests beyond that while the changes were made
	Changed  time.Duration
}

var operator = policy.Caller{Name: "bench", Role: policy.Operator}

func main() {
	s := setting{PerCluster: 20, Latency: 20 * time.Millisecond, Settle: 5 * time.Second}
	sizes := flag.String("connections", "1000,100000", "how many connections, one run after the other")
	flag.IntVar(&s.Services, "services", 50, "over how many services, each in a region of its own")
	flag.IntVar(&s.Changes, "changes", 100, "connections that are ended after the watch")
	flag.DurationVar(&s.Watch, "watch", 3*time.Minute, "how long to watch while nothing changes")
	flag.Float64Var(&s.Faults, "faults", 0.01, "the part of all requests that fail")
	flag.IntVar(&s.Workers, "workers", 256, "looks at once")
	flag.StringVar(&s.Postgres, "postgres", "", "URL of an empty PostgreSQL database to use in place of SQLite; for one size")
	dir := flag.String("dir", "", "where the databases are made (default a temporary folder)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := runs(ctx, s, strings.Split(*sizes, ","), *dir)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reconcile:", err)
		os.Exit(1)
	}
}

// runs simulates one size after the other, each with databases of its own.
func runs(ctx context.Context, s setting, sizes []string, parent string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	for _, size := range sizes {
		n, err := strconv.Atoi(size)
		if err != nil {
			return fmt.Errorf("--connections: %w", err)
		}
		s.Connections = n
		err = inDir(parent, func(dir string) error {
			s.Dir = dir
			r, err := simulate(ctx, s, log, os.Stderr)
			if err == nil {
				err = r.print(os.Stdout)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func inDir(parent string, f func(string) error) error {
	dir, err := os.MkdirTemp(parent, "postern-reconcile-")
	if err != nil {
		return err
	}
	return errors.Join(f(dir), os.RemoveAll(dir))
}

// world is a simulation under way.
type world struct {
	setting
	aws      *fakeAWS
	plane    *control.Plane
	progress io.Writer
	clusters []link.ID
	all      []pair
}

// pair is one connection.
type pair struct {
	n        int
	cluster  link.ID
	endpoint link.EndpointID
}

// simulate runs one size.
func simulate(ctx context.Context, s setting, log *slog.Logger, progress io.Writer) (out result, err error) {
	var st *store.Store
	if s.Postgres != "" {
		st, err = store.OpenPostgres(ctx, s.Postgres, store.Options{Log: log})
	} else {
		st, err = store.Open(ctx, s.Dir, store.Options{Log: log})
	}
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	w := &world{setting: s, aws: newFakeAWS(s.Faults, s.Latency, s.Settle), plane: control.New(st, control.Options{Domain: "postern.test", Log: log}), progress: progress}
	w.aws.limiter = reconcile.NewLimiter(st, "vendor", reconcile.Observer{}, log)
	if err := w.build(ctx); err != nil {
		return out, err
	}
	r, err := reconcile.Start(ctx, reconcile.Config{
		Store: st, Cadence: s.Cadence, Workers: s.Workers, Log: log,
		Drivers: func(_ link.Provider, region string) (cloud.Driver, error) { return w.aws.region(region), nil },
	})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	out.Setting = s
	if err := w.servicesUp(ctx); err != nil {
		return out, err
	}
	before := w.aws.counts()
	began := time.Now()
	for some := range slices.Chunk(w.all, askedTogether) {
		if err := w.ask(ctx, some); err != nil {
			return out, err
		}
	}
	out.Asked = time.Since(began)
	fmt.Fprintf(progress, "%d connections asked for in %v\n", s.Connections, out.Asked.Round(time.Second))
	if out.P50, out.P99, err = w.converge(ctx); err != nil {
		return out, err
	}
	out.Took = time.Since(began)
	out.Requests = less(w.aws.counts(), before)
	fmt.Fprintf(progress, "all available after %v\n", out.Took.Round(time.Second))

	// What the burst left to be listed and looked at once more is none of the steady state.
	if err := sleep(ctx, s.Watch/2); err != nil {
		return out, err
	}
	before = w.aws.counts()
	if err := sleep(ctx, s.Watch); err != nil {
		return out, err
	}
	out.Steady = map[string]float64{}
	for api, n := range sums(less(w.aws.counts(), before)) {
		out.Steady[api] = float64(n) / s.Watch.Minutes()
	}
	before, began = w.aws.counts(), time.Now()
	if err := w.change(ctx); err != nil {
		return out, err
	}
	out.Changed = time.Since(began)
	out.Changes = sums(less(w.aws.counts(), before))
	for api, rate := range out.Steady {
		out.Changes[api] = max(0, out.Changes[api]-int(rate*out.Changed.Minutes()+0.5))
	}
	return out, nil
}

// askedTogether is how many connections are asked for in one transaction: the asking is not what is measured.
const askedTogether = 100

// ask creates the endpoints of some pairs and asks for their connections.
func (w *world) ask(ctx context.Context, some []pair) error {
	for _, p := range some {
		w.aws.region(regionName(p.n%w.Services)).create(p.endpoint, account(p.n, w.setting))
	}
	return w.plane.Together(ctx, func(ctx context.Context) error {
		for _, p := range some {
			if _, err := w.plane.Connect(ctx, operator, p.cluster, string(p.endpoint)); err != nil {
				return err
			}
		}
		return nil
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	pause(ctx, d)
	return ctx.Err()
}

func regionName(i int) string { return fmt.Sprintf("region-%d", i) }

// account owns the i-th endpoint: each cluster's are of several accounts.
func account(i int, s setting) string {
	cluster, nth := place(i, s)
	return fmt.Sprintf("%06d%06d", cluster, nth%max(1, s.PerCluster/5))
}

// place is the cluster of the i-th connection and its place there. Services take turns, and so do their clusters.
func place(i int, s setting) (cluster, nth int) {
	inService := i / s.Services
	return i%s.Services + inService/s.PerCluster*s.Services, inService % s.PerCluster
}

// build makes regions, clusters and whom they trust.
func (w *world) build(ctx context.Context) error {
	project, err := w.plane.CreateProject(ctx, operator, "", "bench")
	if err != nil {
		return err
	}
	for i := range w.Services {
		if _, err := w.plane.PutRegion(ctx, operator, link.Region{
			Provider: link.AWS, Name: regionName(i), VPCID: "vpc-1", SubnetIDs: []string{"subnet-1"},
			Targets: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:7443")},
		}); err != nil {
			return err
		}
	}
	for i := range w.Connections {
		cluster, _ := place(i, w.setting)
		for cluster >= len(w.clusters) {
			c, err := w.plane.CreateCluster(ctx, operator, control.ClusterRequest{
				ProjectID: project.ID, Name: fmt.Sprintf("c%d", len(w.clusters)), Provider: link.AWS,
				Regions: []string{regionName(len(w.clusters) % w.Services)}, Backends: []string{"10.0.1.1:443"},
			})
			if err != nil {
				return err
			}
			for n := range max(1, w.PerCluster/5) {
				if _, err := w.plane.AddTrustedOwner(ctx, operator, c.ID, link.AWSAccountID, fmt.Sprintf("%06d%06d", len(w.clusters), n)); err != nil {
					return err
				}
			}
			w.clusters = append(w.clusters, c.ID)
		}
		w.all = append(w.all, pair{i, w.clusters[cluster], link.EndpointID(fmt.Sprintf("vpce-%017x", i))})
	}
	fmt.Fprintf(w.progress, "%d clusters in %d regions\n", len(w.clusters), w.Services)
	return nil
}

// servicesUp asks for the services and waits for them.
func (w *world) servicesUp(ctx context.Context) error {
	for i := range min(w.Services, len(w.clusters)) {
		if _, err := w.plane.CreateServices(ctx, operator, w.clusters[i]); err != nil {
			return err
		}
	}
	for i := 0; i < min(w.Services, len(w.clusters)); {
		ss, err := w.plane.Services(ctx, operator, w.clusters[i])
		if err != nil {
			return err
		}
		if ss[0].State == link.ServiceAvailable {
			i++
			continue
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// converge waits until every connection is available, and returns how long they took by the books.
func (w *world) converge(ctx context.Context) (p50, p99 time.Duration, err error) {
	var times []time.Duration
	told := time.Now()
	for i := 0; i < len(w.clusters); {
		conns, err := w.plane.Connections(ctx, operator, w.clusters[i])
		if err != nil {
			return 0, 0, err
		}
		if !slices.ContainsFunc(conns, func(c link.Connection) bool { return c.State != link.Available }) {
			for _, c := range conns {
				times = append(times, c.UpdatedAt.Sub(c.AskedAt))
			}
			i++
			continue
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Fprintf(w.progress, "  at least %d are available; %d requests so far\n", len(times), total(w.aws.counts()))
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100], nil
}

// change ends some connections and waits until they are gone.
func (w *world) change(ctx context.Context) error {
	step := max(1, len(w.all)/max(1, w.Changes))
	var ended []pair
	for i := 0; i < len(w.all) && len(ended) < w.Changes; i += step {
		ended = append(ended, w.all[i])
		if _, err := w.plane.Disconnect(ctx, operator, w.all[i].cluster, string(w.all[i].endpoint)); err != nil {
			return err
		}
	}
	for i := 0; i < len(ended); {
		c, err := w.plane.Connection(ctx, operator, ended[i].cluster, string(ended[i].endpoint))
		if err != nil && link.KindOf(err) != link.NotFound {
			return err
		}
		if err != nil || c.State == link.Deleted {
			i++
			continue
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func less(a, b map[string]map[cloud.Outcome]int) map[string]map[cloud.Outcome]int {
	for api, by := range b {
		for o, n := range by {
			a[api][o] -= n
		}
	}
	return a
}

func sums(counts map[string]map[cloud.Outcome]int) map[string]int {
	out := map[string]int{}
	for api, by := range counts {
		for _, n := range by {
			out[api] += n
		}
	}
	return out
}

func total(counts map[string]map[cloud.Outcome]int) (n int) {
	for _, by := range sums(counts) {
		n += by
	}
	return n
}

func (r result) print(out io.Writer) error {
	s := r.Setting
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
	fmt.Fprintf(t, "%d connections over %d services\n", s.Connections, s.Services)
	fmt.Fprintf(t, "asked for in %v, all available after %v; from asked for to available p50 %v, p99 %v\n", round(r.Asked), round(r.Took), round(r.P50), round(r.P99))
	fmt.Fprintf(t, "requests per connection %.3f\n", float64(total(r.Requests))/float64(s.Connections))
	fmt.Fprintln(t, "API\tdone\tthrottled\tlost\tsteady per minute\tfor", s.Changes, "changes\t")
	for _, api := range slices.Sorted(maps.Keys(r.Requests)) {
		by := r.Requests[api]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.1f\t%d\t\n", api, by[cloud.Done], by[cloud.Throttled], by[cloud.Lost], r.Steady[api], r.Changes[api])
	}
	var steady float64
	for _, n := range r.Steady {
		steady += n
	}
	changes := 0
	for _, n := range r.Changes {
		changes += n
	}
	fmt.Fprintf(t, "all\t%d\t\t\t%.1f\t%d in %v\t\n\n", total(r.Requests), steady, changes, round(r.Changed))
	return t.Flush()
}
