package fabric

import (
	"io"
	"testing"
)

// BenchmarkDial opens and closes a flow through the endpoint, with its PROXY header.
func BenchmarkDial(b *testing.B) {
	w := newWorld(b, nil).build(startTarget(b, echo))
	address := w.name() + ":443"
	for b.Loop() {
		conn, err := w.f.Dial(b.Context(), w.customer.VPCID, "tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}

// BenchmarkSplice sends to a target and back through the SOCKS vantage point.
func BenchmarkSplice(b *testing.B) {
	w := newWorld(b, nil).build(startTarget(b, echo))
	conn := dialSOCKS(b, w.f.SOCKSAddr(), w.customer.VPCID, w.name())
	block, back := make([]byte, 256<<10), make([]byte, 256<<10)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		go func() { _, _ = conn.Write(block) }()
		if _, err := io.ReadFull(conn, back); err != nil {
			b.Fatal(err)
		}
	}
}
