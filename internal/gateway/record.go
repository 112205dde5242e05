package gateway

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// Bounds of what waits in memory to be reported: beyond them the oldest goes first. A batch stays well below the bytes
// that the control plane reads.
const (
	mostFlowRecords = 1 << 16 // of all loops together
	mostIdleRecords = 1 << 10 // room for so many of a loop is kept when none waits
	mostKinds       = 1 << 13 // kinds of refusal, of all loops together
	mostClaims      = 1 << 12
	mostInBatch     = 500 // of flows, of refusals, of backends and of claims each
)

// flowRecord is what is recorded of one admitted flow. Whoever carries the flow keeps it, hands it in when the flow
// starts and once more when it ends. Wire documents are made of it only when a batch is.
type flowRecord struct {
	id       [16]byte // given by started
	cluster  link.ID
	listener link.Listener
	endpoint link.EndpointID // empty: not through a private endpoint
	source   netip.AddrPort
	name     string
	port     uint16 // as the client dialled it; 0 when not known
	backend  string // host:port that took it; empty when none did
	started  time.Time
	ended    time.Time // zero while it lives
	in, out  int64     // bytes from the client, and to it
	reason   string    // why it ended
}

// ticket says where the record of a flow's start waits, so that its end can take its place. The zero ticket is of a flow
// whose start was not recorded.
type ticket uint64

// refusal is a kind of refused flow.
type refusal struct {
	cluster  link.ID // empty when the name led to none
	listener link.Listener
	endpoint link.EndpointID
	name     string
	source   netip.Addr
	reason   string
	would    bool // report-only: the flow passed, and would not have were public access disabled
}

// kindCount is how often a kind was seen since the last batch.
type kindCount struct {
	refusal
	n           int64
	first, last time.Time
}

// recorder collects what the gateway saw until it is reported. Its methods may be called from event loops: each loop has
// a shard of its own, so that they do not wait for each other, and a call costs no more than a look-up and a copy.
type recorder struct {
	gatewayID string
	now       func() time.Time
	log       *refusalLog

	wake   chan struct{} // holds a token when something waits
	urgent chan struct{} // holds a token when a claim waits
	full   chan struct{} // holds a token when so much waits that it should not stay in memory

	off     atomic.Bool // nobody to report to
	dropped atomic.Uint64
	shards  []recordShard

	mu     sync.Mutex
	turn   int // the shard from which the next batch is filled first
	health map[healthKey]link.BackendHealth
	order  []healthKey // keys of health, oldest news first
	claims []api.GatewayClaim
}

// recordShard is one loop's part.
type recordShard struct {
	mu    sync.Mutex
	flows recordRing
	kinds map[refusal]*kindCount
	order []*kindCount // the values of kinds, oldest first
	_     [64]byte     // the next shard's mutex is another processor's
}

type healthKey struct {
	cluster link.ID
	backend string
}

// newRecorder makes a recorder for so many event loops. Refusals also go to log.
func newRecorder(loops int, gatewayID string, now func() time.Time, log *refusalLog) *recorder {
	r := &recorder{
		gatewayID: gatewayID, now: now, log: log,
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), full: make(chan struct{}, 1),
		shards: make([]recordShard, loops), health: make(map[healthKey]link.BackendHealth),
	}
	for i := range r.shards {
		r.shards[i].flows.most = max(mostFlowRecords/loops, mostInBatch)
		r.shards[i].kinds = make(map[refusal]*kindCount)
	}
	return r
}

// started takes the record of a flow that was admitted, and gives it its id.
func (r *recorder) started(loop int, rec *flowRecord) ticket {
	rec.id = newFlowID()
	return r.put(loop, rec)
}

// ended takes the record of a flow's end. It takes the place of the start where that waits still.
func (r *recorder) ended(loop int, t ticket, rec *flowRecord) {
	s := &r.shards[loop]
	s.mu.Lock()
	if at := s.flows.at(t); at != nil {
		*at = *rec
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	r.put(loop, rec)
}

func (r *recorder) put(loop int, rec *flowRecord) ticket {
	s := &r.shards[loop]
	s.mu.Lock()
	if r.off.Load() {
		s.mu.Unlock()
		return 0
	}
	t, dropped := s.flows.push(rec)
	waiting := s.flows.len()
	most := s.flows.most
	s.mu.Unlock()
	if dropped {
		r.dropped.Add(1)
	}
	switch waiting {
	case 1:
		signal(r.wake)
	case most / 4:
		signal(r.full)
	}
	return t
}

// refused takes a refused flow, or with would one that passed and would have been refused.
func (r *recorder) refused(loop int, k refusal) {
	k.name = maskName(k.name)
	now := r.now()
	r.log.refused(loop, &k)
	s := &r.shards[loop]
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.off.Load() {
		return
	}
	if c, known := s.kinds[k]; known {
		c.n++
		c.last = now
		return
	}
	if len(s.order) >= max(mostKinds/len(r.shards), mostInBatch) {
		r.dropped.Add(uint64(s.order[0].n))
		delete(s.kinds, s.order[0].refusal)
		s.order = s.order[1:]
	}
	c := &kindCount{refusal: k, n: 1, first: now, last: now}
	s.kinds[k] = c
	s.order = append(s.order, c)
	if len(s.order) == 1 {
		signal(r.wake)
	}
}

// backend takes news of a backend; of one backend only the latest waits.
func (r *recorder) backend(h link.BackendHealth) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off.Load() {
		return
	}
	k := healthKey{h.ClusterID, h.Backend}
	if _, waits := r.health[k]; !waits {
		r.order = append(r.order, k)
	}
	r.health[k] = h
	signal(r.wake)
}

// claimed takes a claim. Claims are reported before anything else and at once; the same one waits only once.
func (r *recorder) claimed(c api.GatewayClaim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off.Load() {
		return
	}
	for i := range r.claims {
		if r.claims[i].ClaimID == c.ClaimID && r.claims[i].EndpointID == c.EndpointID {
			return
		}
	}
	if len(r.claims) >= mostClaims { // those that came first have the better right
		r.dropped.Add(1)
		return
	}
	r.claims = append(r.claims, c)
	signal(r.wake)
	signal(r.urgent)
}

// claimBatch takes the claims that wait as one report; false when none does.
func (r *recorder) claimBatch() (api.GatewayReport, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.claims) == 0 {
		return api.GatewayReport{}, false
	}
	rep := r.report()
	n := min(len(r.claims), mostInBatch)
	rep.Claims = r.claims[:n:n]
	if r.claims = r.claims[n:]; len(r.claims) == 0 {
		r.claims = nil
	}
	return rep, true
}

// batch takes the oldest of what waits, claims aside, as one report; false when nothing does. Without rest it takes flows
// alone: refusals and news of backends add up in little memory for as long as need be.
func (r *recorder) batch(rest bool) (api.GatewayReport, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := r.report()
	r.turn++
	for i := range r.shards {
		r.shards[(r.turn+i)%len(r.shards)].take(&rep, rest)
	}
	if rest {
		n := min(len(r.order), mostInBatch)
		for _, k := range r.order[:n] {
			h := r.health[k]
			delete(r.health, k)
			rep.Backends = append(rep.Backends, api.GatewayBackend{
				ClusterID: string(h.ClusterID), Backend: h.Backend, Healthy: h.Healthy, Reason: h.Reason, At: h.At.UTC(),
			})
		}
		if r.order = r.order[n:]; len(r.order) == 0 {
			r.order = nil
		}
	}
	return rep, len(rep.Flows)+len(rep.Refused)+len(rep.Backends) > 0
}

func (r *recorder) report() api.GatewayReport {
	return api.GatewayReport{GatewayID: r.gatewayID, BatchID: string(link.NewID()), SentAt: r.now().UTC()}
}

// isFull reports whether a batch left something of its sort behind, as far as one can tell from it.
func isFull(rep api.GatewayReport) bool {
	return len(rep.Flows) >= mostInBatch || len(rep.Refused) >= mostInBatch || len(rep.Backends) >= mostInBatch ||
		len(rep.Claims) >= mostInBatch
}

// waiting returns how many records wait in memory.
func (r *recorder) waiting() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		n += s.flows.len() + len(s.order)
		s.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return n + len(r.order) + len(r.claims)
}

// stop makes the recorder forget everything from now on.
func (r *recorder) stop() {
	r.off.Store(true)
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.flows.clear()
		clear(s.kinds)
		s.order = nil
		s.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.health)
	r.order, r.claims = nil, nil
}

// take moves the oldest of the shard into a report, as far as there is room.
func (s *recordShard) take(rep *api.GatewayReport, rest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := min(s.flows.len(), mostInBatch-len(rep.Flows)); n > 0 {
		if rep.Flows == nil {
			rep.Flows = make([]api.GatewayFlow, 0, n)
		}
		for range n {
			rep.Flows = append(rep.Flows, s.flows.pop().wire())
		}
		s.flows.shrink()
	}
	if !rest {
		return
	}
	n := min(len(s.order), mostInBatch-len(rep.Refused))
	for _, c := range s.order[:n] {
		delete(s.kinds, c.refusal)
		rep.Refused = append(rep.Refused, c.wire())
	}
	if s.order = s.order[n:]; len(s.order) == 0 {
		s.order = nil
	}
}

// wire makes the document of a record. A flow lasts as long as the monotonic clock says: were the wall clock set back
// meanwhile, it would end before it started.
func (rec *flowRecord) wire() api.GatewayFlow {
	w := api.GatewayFlow{
		ID: uuidText(rec.id), ClusterID: string(rec.cluster), Listener: string(rec.listener), EndpointID: string(rec.endpoint),
		Name: maskName(rec.name), Port: int(rec.port), Backend: rec.backend, StartedAt: rec.started.UTC(),
		BytesIn: rec.in, BytesOut: rec.out, CloseReason: rec.reason,
	}
	if rec.source.IsValid() {
		w.Source = rec.source.String()
	}
	if !rec.ended.IsZero() {
		end := w.StartedAt.Add(max(rec.ended.Sub(rec.started), 0))
		w.EndedAt = &end
	}
	return w
}

func (c *kindCount) wire() api.GatewayRefusal {
	w := api.GatewayRefusal{
		ClusterID: string(c.cluster), Listener: string(c.listener), EndpointID: string(c.endpoint), Name: c.name,
		Reason: c.reason, WouldRefuse: c.would, Count: c.n, FirstAt: c.first.UTC(), LastAt: c.last.UTC(),
	}
	if c.source.IsValid() {
		w.Source = c.source.String()
	}
	return w
}

// recordRing is a queue of flow records in memory that is used again and again. The zero value with most set is empty.
type recordRing struct {
	most       int          // how many may wait; the oldest goes for one more
	buf        []flowRecord // as long as a power of two
	head, tail uint64       // the number of the oldest record and of the next one; that of a record never changes
}

func (q *recordRing) len() int { return int(q.tail - q.head) }

func (q *recordRing) slot(n uint64) *flowRecord { return &q.buf[n&uint64(len(q.buf)-1)] }

// push adds a record, and says when the oldest had to go for it.
func (q *recordRing) push(rec *flowRecord) (t ticket, dropped bool) {
	if q.len() == q.most {
		q.pop()
		dropped = true
	}
	if q.len() == len(q.buf) {
		q.grow()
	}
	*q.slot(q.tail) = *rec
	q.tail++
	return ticket(q.tail), dropped
}

func (q *recordRing) grow() {
	grown := make([]flowRecord, max(2*len(q.buf), 64))
	for n := q.head; n != q.tail; n++ {
		grown[n&uint64(len(grown)-1)] = *q.slot(n)
	}
	q.buf = grown
}

// at returns the record of a ticket, nil when it does not wait any more.
func (q *recordRing) at(t ticket) *flowRecord {
	if n := uint64(t) - 1; t != 0 && n >= q.head && n < q.tail {
		return q.slot(n)
	}
	return nil
}

// pop takes the oldest record. There must be one, and it is good until the next call of push.
func (q *recordRing) pop() *flowRecord {
	rec := q.slot(q.head)
	q.head++
	return rec
}

// shrink gives the memory of an empty queue back that was needed for a while.
func (q *recordRing) shrink() {
	if q.len() == 0 && len(q.buf) > mostIdleRecords {
		q.buf = nil
	}
}

// clear empties the queue and gives its memory back.
func (q *recordRing) clear() { q.head, q.buf = q.tail, nil }

// newFlowID returns a random id. It need not be a secret, and is drawn for every flow: so not from crypto/rand.
func newFlowID() (id [16]byte) {
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		id[i], id[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	id[6] = id[6]&0x0f | 0x40 // RFC 9562, section 5.4
	id[8] = id[8]&0x3f | 0x80
	return id
}

func uuidText(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// signal puts a token into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
