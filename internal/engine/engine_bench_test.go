//go:build unix

package engine

import (
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

func benchmarkEach(b *testing.B, run func(b *testing.B, start starter)) {
	for name, start := range starters {
		b.Run(name, func(b *testing.B) { run(b, start) })
	}
}

// echo answers every flow until its end.
func (r *rig) echo(working *sync.WaitGroup) {
	working.Go(func() {
		for {
			c, err := r.backend.AcceptTCP()
			if err != nil {
				return
			}
			working.Go(func() {
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
				_ = c.Close()
			})
		}
	})
}

// BenchmarkShortFlow is a flow with one small exchange; client and backend are in the time too.
func BenchmarkShortFlow(b *testing.B) {
	benchmarkEach(b, func(b *testing.B, start starter) {
		r := newRig(b, start, Config{}, &script{})
		var working sync.WaitGroup
		r.echo(&working)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			got := make([]byte, 5)
			for pb.Next() {
				c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.addr))
				if err != nil {
					b.Error(err)
					return
				}
				_, err = c.Write([]byte("hello"))
				if err == nil {
					_, err = io.ReadFull(c, got)
				}
				if err != nil {
					b.Error(err)
				}
				_ = c.SetLinger(0) // no port is to wait
				_ = c.Close()
			}
		})
		_ = r.engine.Close()
		_ = r.backend.Close()
		working.Wait()
	})
}

// BenchmarkRelay is one flow that moves as much as it can one way.
func BenchmarkRelay(b *testing.B) {
	benchmarkEach(b, func(b *testing.B, start starter) {
		r := newRig(b, start, Config{}, &script{})
		client, server := r.pair()
		var working sync.WaitGroup
		working.Go(func() { _, _ = io.Copy(io.Discard, server) })
		chunk := make([]byte, 256<<10)
		b.SetBytes(int64(len(chunk)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
		_ = client.Close()
		working.Wait()
	})
}

// BenchmarkIdleFlow tells the memory that a flow takes which has said nothing yet.
func BenchmarkIdleFlow(b *testing.B) {
	const flows = 1000
	benchmarkEach(b, func(b *testing.B, start starter) {
		for b.Loop() {
			r := newRig(b, start, Config{}, &script{})
			var before, with runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range flows {
				to := &syscall.SockaddrInet4{Addr: r.addr.Addr().As4(), Port: int(r.addr.Port())}
				if err := syscall.Connect(socket4(b), to); err != nil {
					b.Fatal(err)
				}
			}
			eventually(b, "all are accepted", func() bool { return r.engine.Stats().Open == flows })
			runtime.GC()
			runtime.ReadMemStats(&with)
			used := int64(with.HeapInuse+with.StackInuse) - int64(before.HeapInuse+before.StackInuse)
			b.ReportMetric(float64(used)/flows, "B/flow")
			_ = r.engine.Close()
		}
	})
}
