package gateway

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/api"
)

const (
	spoolRestEvery = time.Minute      // how often refusals and news of backends go to disk, which add up in little memory
	adoptEvery     = 30 * time.Second // how often segments of processes that have ended are looked for
	tellLostEvery  = 10 * time.Second // how often the log says that records are lost
	spoolAtOnce    = 16               // batches that are written before the disk is told to keep them
)

// deliveryConfig is what a delivery is made with.
type deliveryConfig struct {
	Send      func(context.Context, api.GatewayReport) error // to the control plane
	Every     time.Duration                                  // how long records may gather before they are sent
	SpoolDir  string                                         // empty: what waits, waits in memory alone
	SpoolSize int64                                          // bytes; 0 means defaultSpoolSize
	Log       *slog.Logger
}

// delivery brings to the control plane what a recorder collects: in batches, each lane in its order. A batch that failed
// is sent again under its own id before any other of its lane, so that the control plane stores it once. While it is away
// or slow, batches go to the spool, so that memory stays bounded and a crash loses little.
type delivery struct {
	deliveryConfig
	out *recorder

	nudge   chan struct{} // wakes keepSpool
	refused atomic.Uint64 // records that the control plane will never take
	trouble atomic.Bool   // the last report was not taken

	mu    sync.Mutex                 // guards what follows; held while the disk is written to, never while a report is sent
	held  [lanes][]api.GatewayReport // batches that are not on disk, oldest first; younger than those that are
	spool *spool                     // nil: none
	full  bool                       // the last write to the spool failed, and the log says so
	rest  time.Time                  // when refusals were written to the spool last

	told     time.Time // when the log said last that records were lost; deliver's own
	toldLost uint64
}

func newDelivery(out *recorder, cfg deliveryConfig) *delivery {
	d := &delivery{deliveryConfig: cfg, out: out, nudge: make(chan struct{}, 1)}
	if cfg.SpoolDir != "" {
		if cfg.SpoolSize == 0 {
			cfg.SpoolSize = defaultSpoolSize
		}
		d.spool = &spool{dir: cfg.SpoolDir, most: cfg.SpoolSize, log: cfg.Log}
	}
	return d
}

// lost returns how many records never reached the control plane and never will.
func (d *delivery) lost() uint64 {
	n := d.out.dropped.Load() + d.refused.Load()
	if d.spool != nil {
		n += d.spool.lost()
	}
	return n
}

// spooled returns the bytes that wait on disk.
func (d *delivery) spooled() int64 {
	if d.spool == nil {
		return 0
	}
	return d.spool.size()
}

// run delivers until ctx ends. Then it tries once more to send what is left, within flushTimeout, leaves the rest to the
// spool, and stops the recorder.
func (d *delivery) run(ctx context.Context) {
	defer d.out.stop()
	var spooling sync.WaitGroup
	if d.spool != nil {
		d.adopt()
		spooling.Go(func() { d.keepSpool(ctx) })
	}
	d.deliver(ctx)
	spooling.Wait()
	d.flush()
	if d.spool != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.spool.close()
	}
}

// deliver sends batches until ctx ends.
func (d *delivery) deliver(ctx context.Context) {
	pause := backoff{}
	for ctx.Err() == nil {
		l, rep, some := d.next()
		if !some {
			select {
			case <-ctx.Done():
				return
			case <-d.out.wake:
			}
			d.gather(ctx, d.Every)
			continue
		}
		err := d.Send(ctx, rep)
		switch {
		case err == nil:
			pause = backoff{}
			d.trouble.Store(false)
			if d.done(l, rep) {
				d.gather(ctx, d.Every)
			}
		case ctx.Err() != nil: // when it did arrive after all, its id says so
			return
		case hopeless(err):
			d.Log.Error("a report was refused and is dropped", "error", err, "flows", len(rep.Flows), "refused", len(rep.Refused),
				"claims", len(rep.Claims))
			d.refused.Add(uint64(recordsIn(rep)))
			d.trouble.Store(false)
			d.done(l, rep)
		default:
			d.Log.Warn("a report could not be sent: will go on trying", "error", err)
			d.trouble.Store(true)
			signal(d.nudge)
			d.gather(ctx, pause.next())
		}
		d.tellLost()
	}
}

// gather waits for a time, unless a claim comes, which does not wait.
func (d *delivery) gather(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-d.out.urgent:
	case <-timer.C:
	}
}

// next returns the batch that has to be sent before any other; false when nothing waits. It stays where it is until done
// is called.
func (d *delivery) next() (lane, api.GatewayReport, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range lanes {
		if rep, some := d.oldest(l); some {
			return l, rep, true
		}
		d.take(l, true)
		if l == claimLane && len(d.held[l]) > 0 {
			d.write(l) // a claim has to outlive a crash: on disk before it is sent
		}
		if rep, some := d.oldest(l); some {
			return l, rep, true
		}
	}
	return 0, api.GatewayReport{}, false
}

// oldest returns the oldest of a lane's batches that were made already.
func (d *delivery) oldest(l lane) (api.GatewayReport, bool) {
	if d.spool != nil {
		if rep, some := d.spool.first(l); some {
			return rep, true
		}
	}
	if len(d.held[l]) > 0 {
		return d.held[l][0], true
	}
	return api.GatewayReport{}, false
}

// take makes a batch of what waits in memory and holds it. It reports whether more waits.
func (d *delivery) take(l lane, rest bool) (more bool) {
	var rep api.GatewayReport
	var some bool
	if l == claimLane {
		rep, some = d.out.claimBatch()
	} else {
		rep, some = d.out.batch(rest)
	}
	if some {
		d.held[l] = append(d.held[l], rep)
	}
	return isFull(rep)
}

// done forgets a batch that the control plane has taken. It reports whether what waits now may gather for a while.
func (d *delivery) done(l lane, rep api.GatewayReport) (caughtUp bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spool != nil && d.spool.done(l, rep.BatchID) {
		return false
	}
	if held := d.held[l]; len(held) > 0 && held[0].BatchID == rep.BatchID {
		d.held[l] = held[1:]
	}
	return !isFull(rep)
}

// keepSpool moves to disk what should not wait in memory, until ctx ends.
func (d *delivery) keepSpool(ctx context.Context) {
	adopt := time.NewTicker(adoptEvery)
	defer adopt.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-adopt.C:
			d.adopt()
			continue
		case <-d.nudge:
		case <-d.out.full:
		}
		for goOn := true; goOn; {
			goOn = d.spoolSome(false) && sleep(ctx, d.Every)
		}
	}
}

// spoolSome moves to disk what waits in memory, and reports whether to go on with it: while the control plane does not
// take reports, and until what is on disk was sent.
func (d *delivery) spoolSome(all bool) (goOn bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := all || time.Since(d.rest) >= spoolRestEvery
	if rest {
		d.rest = time.Now()
	}
	for l := range lanes {
		for more := true; more; {
			for more = true; more && len(d.held[l]) < spoolAtOnce; {
				more = d.take(l, rest)
			}
			if len(d.held[l]) > 0 && !d.write(l) {
				return true // what waits in memory waits on: its own bounds hold
			}
		}
	}
	return d.trouble.Load() || d.spool.waits(claimLane) || d.spool.waits(recordLane)
}

// write moves a lane's held batches to disk, as far as that can be written to.
func (d *delivery) write(l lane) bool {
	if d.spool == nil {
		return false
	}
	n, err := d.spool.append(l, d.held[l])
	if d.held[l] = d.held[l][n:]; len(d.held[l]) == 0 {
		d.held[l] = nil
	}
	if (err != nil) != d.full {
		d.full = err != nil
		if d.full {
			d.Log.Error("reports cannot be spooled: they wait in memory, of which there is less", "directory", d.SpoolDir, "error", err)
		} else {
			d.Log.Info("reports can be spooled again", "directory", d.SpoolDir)
		}
	}
	return err == nil
}

// adopt takes over what processes that have ended left in the spool.
func (d *delivery) adopt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	records, err := d.spool.adopt()
	if records > 0 {
		d.Log.Info("sends what an earlier process left in the spool", "directory", d.SpoolDir, "records", records)
		signal(d.out.wake)
		signal(d.nudge)
	}
	if err != nil {
		d.Log.Error("what an earlier process left in the spool cannot be sent", "directory", d.SpoolDir, "error", err)
	}
}

// flush sends everything that waits, gives up at the first failure, and leaves the rest to the spool.
func (d *delivery) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	for {
		l, rep, some := d.next()
		if !some {
			return
		}
		err := d.Send(ctx, rep)
		switch {
		case err == nil:
			d.done(l, rep)
			continue
		case hopeless(err):
			d.refused.Add(uint64(recordsIn(rep)))
			d.done(l, rep)
			continue
		}
		if d.spool == nil {
			d.Log.Warn("the last reports could not be sent", "error", err)
			return
		}
		d.spoolSome(true)
		d.Log.Warn("the last reports could not be sent: the next start will", "error", err, "directory", d.SpoolDir,
			"bytes", d.spooled())
		return
	}
}

// tellLost says now and then how many records were lost.
func (d *delivery) tellLost() {
	if lost := d.lost(); lost > d.toldLost && time.Since(d.told) >= tellLostEvery {
		d.Log.Error("records were lost: the control plane did not take them in time", "lost", lost-d.toldLost)
		d.told, d.toldLost = time.Now(), lost
	}
}
