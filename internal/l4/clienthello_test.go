package l4

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// sink records what a TLS client sends first, and answers nothing.
type sink struct{ sent bytes.Buffer }

func (s *sink) Write(b []byte) (int, error)      { return s.sent.Write(b) }
func (s *sink) Read([]byte) (int, error)         { return 0, io.EOF }
func (s *sink) Close() error                     { return nil }
func (s *sink) LocalAddr() net.Addr              { return nil }
func (s *sink) RemoteAddr() net.Addr             { return nil }
func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// clientHello returns the ClientHello that crypto/tls sends for a configuration.
func clientHello(t testing.TB, conf *tls.Config) []byte {
	t.Helper()
	s := &sink{}
	if err := tls.Client(s, conf).HandshakeContext(t.Context()); err == nil {
		t.Fatal("a handshake with nobody succeeded")
	}
	hello := s.sent.Bytes()
	return hello[:recordHead+int(binary.BigEndian.Uint16(hello[3:]))] // without the alert that may follow
}

// serverSees returns what a crypto/tls server makes of a ClientHello.
func serverSees(t testing.TB, hello []byte) (info *tls.ClientHelloInfo) {
	conn := &replay{Reader: bytes.NewReader(hello)}
	_ = tls.Server(conn, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, errors.New("seen")
	}}).HandshakeContext(t.Context())
	return info
}

type replay struct {
	sink
	io.Reader
}

func (r *replay) Read(b []byte) (int, error)  { return r.Reader.Read(b) }
func (r *replay) Write(b []byte) (int, error) { return len(b), nil }

// recut puts the handshake bytes of a hello into records of the given size.
func recut(hello []byte, size int) []byte {
	var out []byte
	for c := range slices.Chunk(hello[recordHead:], size) {
		out = append(out, recordHandshake, 3, 1)
		out = binary.BigEndian.AppendUint16(out, uint16(len(c)))
		out = append(out, c...)
	}
	return out
}

func configurations() map[string]*tls.Config {
	long := make([]string, 9)
	for i := range long {
		long[i] = strings.Repeat(string(rune('a'+i)), 200)
	}
	return map[string]*tls.Config{
		"default, with a post-quantum key share": {ServerName: "acme.pe.test"},
		"post-quantum alone":                     {ServerName: "acme.pe.test", CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}},
		"all key exchanges":                      {ServerName: "acme.pe.test", CurvePreferences: []tls.CurveID{tls.SecP384r1MLKEM1024, tls.SecP256r1MLKEM768, tls.X25519MLKEM768, tls.X25519, tls.CurveP256}},
		"classical":                              {ServerName: "acme.pe.test", CurvePreferences: []tls.CurveID{tls.X25519}},
		"TLS 1.2":                                {ServerName: "acme.pe.test", MaxVersion: tls.VersionTLS12},
		"TLS 1.0":                                {ServerName: "acme.pe.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
		"ALPN":                                   {ServerName: "acme.pe.test", NextProtos: []string{"h2", "http/1.1", "postgresql"}},
		"a long ALPN list":                       {ServerName: "acme.pe.test", NextProtos: long},
		"capitals and a final dot":               {ServerName: "ACME.Pe.Test."},
		"no name":                                {InsecureSkipVerify: true},
		"an address, which is not sent":          {ServerName: "10.0.0.1"},
	}
}

func TestClientHelloAsCryptoTLSSendsIt(t *testing.T) {
	for name, conf := range configurations() {
		t.Run(name, func(t *testing.T) {
			whole := clientHello(t, conf)
			for _, size := range []int{maxRecord, 1000, 100, 4, 3, 1} {
				hello := recut(whole, size)
				want := serverSees(t, whole)
				if want == nil {
					t.Fatal("crypto/tls does not understand its own hello")
				}
				got, n, err := ParseClientHello(append(bytes.Clone(hello), "early data"...))
				if err != nil || n != len(hello) {
					t.Fatalf("records of %d: length %d of %d, %v", size, n, len(hello), err)
				}
				if got.ServerName != "" && got.ServerName != strings.ToLower(got.ServerName) || !strings.EqualFold(got.ServerName, want.ServerName) {
					t.Errorf("records of %d: server name %q, crypto/tls sees %q", size, got.ServerName, want.ServerName)
				}
				if !slices.Equal(got.Protocols(), want.SupportedProtos) {
					t.Errorf("records of %d: protocols %q, crypto/tls sees %q", size, got.Protocols(), want.SupportedProtos)
				}
				for _, p := range conf.NextProtos {
					if !got.OffersProtocol(p) {
						t.Errorf("does not offer %q", p)
					}
				}
				if got.OffersProtocol("gopher") || got.OffersProtocol("") {
					t.Error("offers what it does not")
				}
				// Read as it asks for it, as a gateway does: it never asks for more than there is.
				at := 0
				for rounds := 0; ; rounds++ {
					_, need, err := ParseClientHello(hello[:at])
					if err == nil {
						break
					}
					if !errors.Is(err, ErrIncomplete) || need <= at || need > len(hello) {
						t.Fatalf("records of %d: with %d bytes of %d it needs %d, %v", size, at, len(hello), need, err)
					}
					at = need
				}
			}
		})
	}
}

// hello builds a ClientHello by hand.
func hello(extensions ...[]byte) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)
	ext := bytes.Join(extensions, nil)
	body = binary.BigEndian.AppendUint16(body, uint16(len(ext)))
	return wrap(append(body, ext...))
}

// wrap makes a handshake message and one record of a ClientHello's body.
func wrap(body []byte) []byte {
	message := append([]byte{handshakeHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	return append(binary.BigEndian.AppendUint16([]byte{recordHandshake, 3, 1}, uint16(len(message))), message...)
}

func extension(typ uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, typ)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

func sni(name string) []byte {
	entry := append(binary.BigEndian.AppendUint16([]byte{nameTypeHostName}, uint16(len(name))), name...)
	return extension(extServerName, append(binary.BigEndian.AppendUint16(nil, uint16(len(entry))), entry...))
}

func TestServerNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, strings.Repeat("b", 61)}, ".")
	for in, want := range map[string]any{
		"acme.pe.test":       "acme.pe.test",
		"ACME.Pe.TEST":       "acme.pe.test",
		"acme.pe.test.":      "acme.pe.test",
		"a_b.x-1.test":       "a_b.x-1.test",
		"xn--bcher-kva.test": "xn--bcher-kva.test",
		"localhost":          "localhost",
		longest:              longest,
		longest + ".":        longest,
		longest + "c":        ErrServerName,
		label + "a.test":     ErrServerName,
		"":                   ErrServerName,
		".":                  ErrServerName,
		"..":                 ErrServerName,
		".test":              ErrServerName,
		"a..test":            ErrServerName,
		"acme.test..":        ErrServerName,
		"acme test":          ErrServerName,
		"acme\x00.test":      ErrServerName,
		"acme/../test":       ErrServerName,
		"bücher.test":        ErrServerName,
		"*.test":             ErrServerName,
		"acme.test:443":      ErrServerName,
		"10.0.0.1":           ErrServerNameIP,
		"10.0.0.1.":          ErrServerNameIP,
		"2130706433":         ErrServerNameIP,
		"acme.1":             ErrServerNameIP,
		"::1":                ErrServerNameIP,
		"fe80::1%eth0":       ErrServerNameIP,
		"[::1]":              ErrServerName,
	} {
		got, _, err := ParseClientHello(hello(sni(in)))
		if wantErr, fails := want.(error); fails {
			if !errors.Is(err, wantErr) {
				t.Errorf("%q: %q, %v, want %v", in, got.ServerName, err, wantErr)
			}
		} else if err != nil || got.ServerName != want {
			t.Errorf("%q: %q, %v, want %q", in, got.ServerName, err, want)
		}
	}
}

func TestClientHellosThatAreRefused(t *testing.T) {
	good := hello(sni("acme.test"))
	change := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	noExtensions := wrap(append(append([]byte{3, 3}, make([]byte, 32)...), 0, 0, 2, 0, 47, 1, 0))
	if h, _, err := ParseClientHello(noExtensions); err != nil || h.ServerName != "" {
		t.Errorf("a hello without extensions: %+v, %v", h, err)
	}
	crumbs := recut(append(make([]byte, recordHead), append([]byte{1, 0, 0xff, 0}, make([]byte, 2*maxHelloRecords)...)...), 1)
	tests := []struct {
		name string
		in   []byte
		err  error
	}{
		{"HTTP", []byte("GET / HTTP/1.1"), ErrNotTLS},
		{"SSH", []byte("SSH-2.0-OpenSSH"), ErrNotTLS},
		{"PostgreSQL's SSLRequest", []byte{0, 0, 0, 8, 4, 210, 22, 47}, ErrNotTLS},
		{"a TLS alert", []byte{21, 3, 3, 0, 2, 1, 0}, ErrNotTLS},
		{"another major version", change(1, 4), ErrNotTLS},
		{"an SSL 2.0 hello", []byte{0x80, 0x2e, 1, 3, 1}, ErrNotTLS},
		{"an empty record", []byte{22, 3, 1, 0, 0}, ErrNotTLS},
		{"a record beyond 16 KiB", []byte{22, 3, 1, 0x40, 1}, ErrNotTLS},
		{"another record after the first", append([]byte{22, 3, 1, 0, 4, 1, 0, 0, 50}, 23, 3, 3, 0, 1, 0), ErrNotTLS},
		{"a ServerHello", change(5, 2), ErrNotClientHello},
		{"a hello of more than 64 KiB", []byte{22, 3, 1, 0x40, 0, 1, 1, 0, 0}, ErrHelloTooLong},
		{"a hello in more crumbs than anybody makes", crumbs, ErrHelloTooLong},
		{"a body that ends early", wrap([]byte{3, 3, 0}), ErrHelloMalformed},
		{"a session id of 33 bytes", change(recordHead+handshakeHead+34, 33), ErrHelloMalformed},
		{"bytes behind the extensions", wrap(append(bytes.Clone(good[recordHead+handshakeHead:]), 0)), ErrHelloMalformed},
		{"two server names", hello(sni("a.test"), sni("b.test")), ErrHelloMalformed},
		{"a name of another type", hello(extension(extServerName, []byte{0, 4, 1, 0, 1, 'a'})), ErrHelloMalformed},
		{"two names in one list", hello(extension(extServerName, []byte{0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'})), ErrHelloMalformed},
		{"an empty list of names", hello(extension(extServerName, []byte{0, 0})), ErrHelloMalformed},
		{"a server name cut short", hello(extension(extServerName, []byte{0, 9, 0, 0, 6, 'a'})), ErrHelloMalformed},
		{"an empty protocol", hello(extension(extALPN, []byte{0, 1, 0})), ErrHelloMalformed},
		{"an empty list of protocols", hello(extension(extALPN, []byte{0, 0})), ErrHelloMalformed},
		{"two lists of protocols", hello(extension(extALPN, []byte{0, 2, 1, 'x'}), extension(extALPN, []byte{0, 2, 1, 'x'})), ErrHelloMalformed},
	}
	for _, tt := range tests {
		if _, _, err := ParseClientHello(tt.in); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
	}
}

// bigHello builds a hello of the given size on the wire, in as few records as may be, whose server name comes last.
func bigHello(t testing.TB, size int) []byte {
	t.Helper()
	records := (size + recordHead + maxRecord - 1) / (recordHead + maxRecord)
	name := sni("late.test")
	body := append(append([]byte{3, 3}, make([]byte, 32)...), 0, 0, 2, 0x13, 0x01, 1, 0)
	pad := size - records*recordHead - handshakeHead - len(body) - 2 - len(name)
	var extensions []byte
	for typ := uint16(0x1a1a); pad > 0; typ++ {
		n := min(pad, 10_000)
		if pad-n < 4 && pad > n {
			n -= 4 // room for another extension's head
		}
		extensions = append(extensions, extension(typ, make([]byte, n-4))...)
		pad -= n
	}
	extensions = append(extensions, name...)
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(extensions))), extensions...)
	message := append([]byte{handshakeHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	out := recut(append(make([]byte, recordHead), message...), maxRecord)
	if len(out) != size {
		t.Fatalf("built a hello of %d bytes, not %d", len(out), size)
	}
	return out
}

func TestAHelloMayBe64KiB(t *testing.T) {
	for _, size := range []int{2 << 10, maxRecord + recordHead, 20_000, 40_000, MaxClientHello - 1, MaxClientHello} {
		in := bigHello(t, size)
		h, n, err := ParseClientHello(append(bytes.Clone(in), "early data"...))
		if err != nil || h.ServerName != "late.test" || n != len(in) {
			t.Errorf("of %d bytes: %+v, %d, %v", size, h, n, err)
		}
		// In segments as the network cuts them, it never asks for more than there is to come.
		for end := 0; end < len(in); end = min(end+1448, len(in)) {
			if _, need, err := ParseClientHello(in[:end]); !errors.Is(err, ErrIncomplete) || need <= end || need > len(in) {
				t.Fatalf("of %d bytes, with %d there: needs %d, %v", size, end, need, err)
			}
		}
	}
	in := bigHello(t, MaxClientHello+1)
	if _, _, err := ParseClientHello(in); !errors.Is(err, ErrHelloTooLong) {
		t.Errorf("one byte more: %v", err)
	}
}

// Once its record's header is there, a hello of one record is asked for whole: it is parsed once more, in however many
// segments it comes.
func TestAHelloOfOneRecordIsAskedForAtOnce(t *testing.T) {
	for name, conf := range configurations() {
		whole := clientHello(t, conf)
		if _, need, err := ParseClientHello(whole[:recordHead]); !errors.Is(err, ErrIncomplete) || need != len(whole) {
			t.Errorf("%s: needs %d of %d, %v", name, need, len(whole), err)
		}
	}
}

// FuzzClientHello: run it with -fuzzminimizetime=20x. What crypto/tls covers differs from run to run, which keeps the
// fuzzer minimising for ever.
func FuzzClientHello(f *testing.F) {
	for _, conf := range configurations() {
		whole := clientHello(f, conf)
		f.Add(whole)
		f.Add(recut(whole, 100))
	}
	f.Add(hello(sni("10.0.0.1")))
	f.Add(hello(sni("a.test"), extension(extALPN, []byte{0, 3, 2, 'h', '2'})))
	f.Fuzz(func(t *testing.T, buf []byte) {
		h, n, err := ParseClientHello(buf)
		switch {
		case errors.Is(err, ErrIncomplete):
			if n <= len(buf) || n > MaxClientHello {
				t.Errorf("needs %d with %d there", n, len(buf))
			}
			return
		case err != nil:
			return
		}
		if n > len(buf) || n > MaxClientHello {
			t.Errorf("length %d of %d", n, len(buf))
		}
		if again, m, err := ParseClientHello(buf[:n]); err != nil || m != n || again.ServerName != h.ServerName {
			t.Errorf("alone it reads otherwise: %+v, %d, %v", again, m, err)
		}
		if h.ServerName != strings.ToLower(h.ServerName) || strings.HasSuffix(h.ServerName, ".") || len(h.ServerName) > maxHostName {
			t.Errorf("server name %q", h.ServerName)
		}
		if net.ParseIP(h.ServerName) != nil {
			t.Errorf("an address as server name: %q", h.ServerName)
		}
		// Where crypto/tls understands the hello it has to see the same name: a proxy and a backend that read one hello
		// in two ways is how checks are got round.
		if info := serverSees(t, buf[:n]); info != nil {
			if !strings.EqualFold(strings.TrimSuffix(info.ServerName, "."), h.ServerName) {
				t.Errorf("server name %q, crypto/tls sees %q", h.ServerName, info.ServerName)
			}
			if !slices.Equal(info.SupportedProtos, h.Protocols()) {
				t.Errorf("protocols %q, crypto/tls sees %q", h.Protocols(), info.SupportedProtos)
			}
		}
	})
}

func TestWhatAClientHelloAllocates(t *testing.T) {
	name := &tls.Config{ServerName: "acme.us-east-1.pe.postern.test", NextProtos: []string{"h2", PostgresALPN}}
	for _, tt := range []struct {
		name string
		in   []byte
		want float64
	}{
		{"one record: the server name", clientHello(t, name), 1},
		{"no server name: nothing", clientHello(t, &tls.Config{InsecureSkipVerify: true}), 0},
		{"several records: one copy and the server name", recut(clientHello(t, name), 100), 2},
		{"64 KiB: the same", bigHello(t, MaxClientHello), 2},
		{"not all there yet: nothing", clientHello(t, name)[:100], 0},
	} {
		n := testing.AllocsPerRun(100, func() {
			h, _, _ := ParseClientHello(tt.in)
			_ = h.OffersProtocol(PostgresALPN)
		})
		if n > tt.want {
			t.Errorf("%s: %v allocations, want %v", tt.name, n, tt.want)
		}
	}
}

func BenchmarkClientHello(b *testing.B) {
	for name, size := range map[string]int{"one record": maxRecord, "records of 100": 100} {
		in := recut(clientHello(b, &tls.Config{ServerName: "acme.us-east-1.pe.postern.test"}), size)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = ParseClientHello(in)
			}
		})
	}
}
