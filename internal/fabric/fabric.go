package fabric

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a fabric is made of. The zero Config is a fabric in memory, in one region, without accounts.
type Config struct {
	// Dir is where the state is kept across restarts, in fabric.json, written atomically after every transition and
	// before its answer. One process at a time may use it. Empty keeps the state in memory.
	Dir string

	// APIAddr, SOCKSAddr and HTTPProxyAddr are where the AWS endpoint and the two kinds of vantage points listen.
	// Empty is a free port of 127.0.0.1. DNSAddr is a host without a port: each VPC has a DNS server on a free port of
	// it; see [Fabric.DNSAddr].
	APIAddr, SOCKSAddr, HTTPProxyAddr, DNSAddr string

	Accounts []Account      // every account that may call, with its key; more may be added at a later start, never removed
	Regions  []string       // served by EC2 and Elastic Load Balancing; empty is us-east-1
	Domains  []Domain       // domains that accounts have registered
	Internet []InternetHost // names that exist outside every account

	Settle time.Duration // how long pending to available and the like take; 0 is 300 ms
	Seed   uint64        // of the ids; only the first start of a state looks at it
	Now    func() time.Time
	Log    *slog.Logger

	// Limit says how often an account may call an action in a region; nil sets no limits. It is called from many goroutines.
	Limit func(action string) Limit

	// Fault is asked before each call is carried out, after its signature was checked. Its answer, unless nil, is given
	// to the client instead. It is called from many goroutines.
	Fault func(accountID, action string) *Fault
}

// Account is an account and the access key that calls in its name.
type Account struct {
	ID              string // 12 digits
	AccessKeyID     string
	SecretAccessKey string
	Name            string // for people
}

// Domain is a domain name with the account that owns it. As a registrar's customer gets it, the account gets a public
// hosted zone for it at the first start.
type Domain struct {
	Name      string
	AccountID string
}

// InternetHost is a host outside every account. Where a VPC's DNS view does not know the name, it leads there.
type InternetHost struct {
	Name  string            // "api.vendor.example", or "*.vendor.example" for every name below
	Ports map[uint16]string // where each of its ports is served on this machine, as "127.0.0.1:1234"
}

// Fault is an error answer.
type Fault struct {
	Status  int // HTTP
	Code    string
	Message string
}

// Network is where an account's instances are unless it says otherwise.
type Network struct {
	VPCID           string
	SubnetIDs       []string // one per zone, by address: the first is where vantage points stand
	SecurityGroupID string   // the VPC's own: lets everything in from its members and everything out
}

// Fabric is a running cloud.
type Fabric struct {
	cfg   Config
	keys  map[string]Account // by access key id
	disk  *disk
	state atomic.Pointer[State] // published, never written to again

	mu      sync.Mutex // one transition at a time; guards what follows
	raw     []byte     // state as it is on disk
	changed chan struct{}
	timer   *time.Timer // nil once closed

	listener net.Listener
	server   *http.Server
	stop     context.CancelFunc // ends what Shutdown leaves of server
	serving  sync.WaitGroup     // the server and each of its connections
	network  *network
	quota    quota
	closed   sync.Once
}

// errClosed is what a transition ends with that comes after the end.
var errClosed = errors.New("fabric: closed")

var accountPattern = regexp.MustCompile(`^[0-9]{12}$`)

// Start opens the state of cfg.Dir, or makes one, and serves it: everything listens when it returns. The fabric ends
// when ctx does or with [Fabric.Close], which the caller must call in either case.
func Start(ctx context.Context, cfg Config) (_ *Fabric, err error) {
	if cfg.Settle == 0 {
		cfg.Settle = 300 * time.Millisecond
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Regions) == 0 {
		cfg.Regions = []string{"us-east-1"}
	}
	f := &Fabric{cfg: cfg, keys: map[string]Account{}, changed: make(chan struct{})}
	for _, account := range cfg.Accounts {
		if !accountPattern.MatchString(account.ID) || account.AccessKeyID == "" || account.SecretAccessKey == "" {
			return nil, fmt.Errorf("fabric: account %q needs an id of 12 digits, an access key id and a secret", account.ID)
		}
		if _, taken := f.keys[account.AccessKeyID]; taken {
			return nil, fmt.Errorf("fabric: access key %s is given twice", account.AccessKeyID)
		}
		f.keys[account.AccessKeyID] = account
	}
	if f.disk, err = openDisk(cfg.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := f.restore(); err != nil {
		return nil, err
	}
	if f.network, err = startNetwork(ctx, f); err != nil {
		return nil, err
	}
	if err := f.serve(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// restore loads or makes the state and gives every configured account what accounts come with.
func (f *Fabric) restore() error {
	raw, err := f.disk.load()
	if err != nil {
		return err
	}
	state := &State{Version: stateVersion, Seed: f.cfg.Seed}
	if raw != nil {
		state = new(State)
		if err := json.Unmarshal(raw, state); err != nil {
			return damaged(f.disk.path, err)
		}
	}
	state.makeTables()
	state.settle = f.cfg.Settle
	f.mu.Lock()
	defer f.mu.Unlock()
	f.raw = raw
	f.timer = time.AfterFunc(time.Hour, f.tick)
	state.advance(f.now())
	for _, account := range f.cfg.Accounts {
		if err := state.openAccount(account, f.cfg.Regions); err != nil {
			return err
		}
	}
	for _, domain := range f.cfg.Domains {
		if err := state.registerDomain(domain, f.now()); err != nil {
			return err
		}
	}
	return f.publish(state)
}

func (f *Fabric) serve(ctx context.Context) error {
	address := f.cfg.APIAddr
	if address == "" {
		address = "127.0.0.1:0"
	}
	var err error
	if f.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address); err != nil {
		return fmt.Errorf("fabric: %w", err)
	}
	f.server = &http.Server{
		Handler:           f.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(f.cfg.Log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew: // while Serve runs, so that Wait is not over yet
				f.serving.Add(1)
			case http.StateClosed:
				f.serving.Done()
			}
		},
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.serving.Go(func() { _ = f.server.Serve(f.listener) })
	f.serving.Go(func() {
		<-ctx.Done()
		_ = f.server.Close()
	})
	return nil
}

// Close stops listening, cuts every flow and joins every goroutine. It may be called more than once; only the first
// call reports an error. What was answered before stays on disk.
func (f *Fabric) Close() (err error) {
	f.closed.Do(func() {
		if f.server != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = f.server.Shutdown(ctx) // calls under way get that long
			cancel()
			f.stop()
			f.serving.Wait()
		}
		f.mu.Lock()
		if f.timer != nil {
			f.timer.Stop()
			f.timer = nil
		}
		f.mu.Unlock()
		if f.network != nil {
			f.network.close()
		}
		err = errors.Join(err, f.disk.close())
	})
	return err
}

// URL is the AWS endpoint for all services, such as http://127.0.0.1:4566: the credential scope of a call says which
// service it is for.
func (f *Fabric) URL() string { return "http://" + f.listener.Addr().String() }

// DefaultNetwork is the network that the account found in the region when it was opened.
func (f *Fabric) DefaultNetwork(accountID, region string) (Network, error) {
	var network Network
	f.view(func(s *State) {
		for vpc := range inOrder(s.VPCs) {
			if !vpc.Default || vpc.AccountID != accountID || vpc.Region != region {
				continue
			}
			network.VPCID = vpc.ID
			for _, subnet := range s.subnetsOf(vpc.ID) {
				network.SubnetIDs = append(network.SubnetIDs, subnet.ID)
			}
			network.SecurityGroupID = s.defaultGroup(vpc.ID).ID
		}
	})
	if network.VPCID == "" {
		return Network{}, fmt.Errorf("fabric: account %s has no default network in %s", accountID, region)
	}
	return network, nil
}

// now is the time of transitions: UTC in whole microseconds, so that it survives the disk unchanged.
func (f *Fabric) now() time.Time { return f.cfg.Now().UTC().Truncate(time.Microsecond) }

// snapshot is the state as of now. It will not change any more and must not be written to.
func (f *Fabric) snapshot() *State {
	if state := f.state.Load(); !reached(state.due, f.now()) {
		return state
	}
	f.tick()
	return f.state.Load()
}

// view calls read with the state as of now, which read must not change.
func (f *Fabric) view(read func(*State)) { read(f.snapshot()) }

// update runs one transition: change gets a copy of the state, and what it leaves there is stored and published unless
// it returns an error, which update returns. Updates run one after another.
func (f *Fabric) update(change func(s *State, now time.Time) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer == nil {
		return errClosed // the directory may be another process' by now
	}
	now := f.now()
	if err := f.catchUp(now); err != nil {
		return err
	}
	next := f.state.Load().clone()
	if err := change(next, now); err != nil {
		return err
	}
	return f.publish(next)
}

// changes returns a channel that is closed at the next change of the state. To miss none, take the channel first and
// the snapshot after it.
func (f *Fabric) changes() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// tick makes the transitions that are due. Where they cannot be stored it tries again later.
func (f *Fabric) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer == nil {
		return // closed
	}
	if err := f.catchUp(f.now()); err != nil {
		f.cfg.Log.Error("the fabric's state could not be kept", "err", err)
		f.timer.Reset(time.Second)
	}
}

// catchUp makes the transitions that are due. f.mu is held.
func (f *Fabric) catchUp(now time.Time) error {
	if !reached(f.state.Load().due, now) {
		f.arm(now)
		return nil
	}
	next := f.state.Load().clone()
	next.advance(now)
	return f.publish(next)
}

// publish stores the state and shows it to readers. f.mu is held.
func (f *Fabric) publish(next *State) error {
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	next.due = next.nextDue()
	if !bytes.Equal(raw, f.raw) || f.state.Load() == nil {
		if err := f.disk.store(raw); err != nil {
			return fmt.Errorf("fabric: the state could not be stored: %w", err)
		}
		f.raw = raw
		f.state.Store(next)
		close(f.changed)
		f.changed = make(chan struct{})
	}
	f.arm(f.now())
	return nil
}

// arm sets the timer for the next transition that is due. f.mu is held.
func (f *Fabric) arm(now time.Time) {
	due := f.state.Load().due
	if f.timer == nil || due.IsZero() {
		return
	}
	f.timer.Reset(max(due.Sub(now), time.Millisecond))
}

// openAccount makes the account and its default network in each region unless they exist.
func (s *State) openAccount(given Account, regions []string) error {
	account := s.Accounts[given.ID]
	if account == nil {
		account = &accountRecord{ID: given.ID, Zones: map[string][]string{}}
		s.Accounts[given.ID] = account
	}
	account.Name = given.Name
	for _, region := range regions {
		if account.Zones[region] != nil {
			continue
		}
		s.permuteZones(account, region)
		cidr := s.unusedNetwork()
		vpc := s.newVPC(account.ID, region, cidr)
		vpc.Default, vpc.DNSHostnames = true, true
		for i, zone := range account.Zones[region] {
			subnet := s.newSubnet(vpc, zone, prefix(nth(cidr.Addr(), uint32(i)<<12), 20))
			subnet.Default = true
		}
	}
	return nil
}

// regionServed says whether EC2 and Elastic Load Balancing answer in the region.
func (f *Fabric) regionServed(region string) bool { return slices.Contains(f.cfg.Regions, region) }
