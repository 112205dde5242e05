package l4

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// postgres builds a message of a code and what follows it.
func postgres(code uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(postgresHead+len(rest)))
	return append(binary.BigEndian.AppendUint32(b, code), rest...)
}

const (
	startup30 = 3 << 16
	startup32 = 3<<16 | 2
	session   = "user\x00ada\x00database\x00engines\x00\x00"
)

func TestParsePostgres(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want PostgresStart // 0: ErrNotPostgres
	}{
		{"SSLRequest", []byte(PostgresSSLRequest), PostgresSSL},
		{"SSLRequest, built", postgres(codeSSL, ""), PostgresSSL},
		{"GSSENCRequest", []byte{0, 0, 0, 8, 4, 210, 22, 48}, PostgresGSS},
		{"CancelRequest", postgres(codeCancel, "\x00\x00\x30\x39key!"), PostgresCancel},
		{"CancelRequest of protocol 3.2", postgres(codeCancel, "\x00\x00\x30\x39"+strings.Repeat("k", 256)), PostgresCancel},
		{"StartupMessage", postgres(startup30, session), PostgresStartup},
		{"StartupMessage of protocol 3.2", postgres(startup32, session), PostgresStartup},
		{"StartupMessage of a protocol to come", postgres(3<<16|9999, session), PostgresStartup},
		{"StartupMessage without parameters", postgres(startup30, "\x00"), PostgresStartup},
		{"the longest StartupMessage", postgres(startup30, strings.Repeat("x", MaxPostgresStart-postgresHead)), PostgresStartup},

		{"SSLRequest with something in it", postgres(codeSSL, "x"), 0},
		{"GSSENCRequest with something in it", postgres(codeGSS, "x"), 0},
		{"SSLRequest of length 4", []byte{0, 0, 0, 4, 4, 210, 22, 47}, 0},
		{"a request nobody knows", postgres(80877105, ""), 0},
		{"CancelRequest without a key", postgres(codeCancel, "\x00\x00\x30\x39"), 0},
		{"CancelRequest with too long a key", postgres(codeCancel, "\x00\x00\x30\x39"+strings.Repeat("k", 257)), 0},
		{"StartupMessage without its end", postgres(startup30, ""), 0},
		{"a StartupMessage too long", postgres(startup30, strings.Repeat("x", MaxPostgresStart-postgresHead+1)), 0},
		{"protocol 2", postgres(2<<16, session), 0},
		{"protocol 4", postgres(4<<16, session), 0},
		{"a length beyond everything", []byte{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0}, 0},
		{"a length of 16 MiB", []byte{1, 0, 0, 0, 0, 3, 0, 0}, 0},
		{"zeros", make([]byte, 16), 0},
		{"TLS", []byte{22, 3, 1, 0, 200, 1, 0, 0, 196}, 0},
		{"HTTP", []byte("GET / HTTP/1.1"), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, n, err := ParsePostgres(append(bytes.Clone(tt.in), "what follows"...))
			if tt.want == 0 {
				if !errors.Is(err, ErrNotPostgres) {
					t.Fatalf("kind %d, error %v", got, err)
				}
				return
			}
			if err != nil || got != tt.want || n != len(tt.in) {
				t.Fatalf("kind %d of length %d, %v; want kind %d of length %d", got, n, err, tt.want, len(tt.in))
			}
			for i := range tt.in {
				_, need, err := ParsePostgres(tt.in[:i])
				if !errors.Is(err, ErrIncomplete) || need <= i || need > len(tt.in) {
					t.Fatalf("with %d of %d bytes: needs %d, %v", i, len(tt.in), need, err)
				}
			}
		})
	}
}

// What somebody on the way puts behind a request for encryption must not pass unseen: the length says that it is there.
func TestBytesBehindSSLRequestShow(t *testing.T) {
	in := append([]byte(PostgresSSLRequest), postgres(startup30, session)...)
	if kind, n, err := ParsePostgres(in); kind != PostgresSSL || n >= len(in) || err != nil {
		t.Errorf("kind %d, length %d of %d, %v", kind, n, len(in), err)
	}
}

func TestDirectTLSOffersPostgres(t *testing.T) {
	for name, want := range map[string]bool{PostgresALPN: true, "h2": false} {
		h, _, err := ParseClientHello(clientHello(t, &tls.Config{ServerName: "acme.test", NextProtos: []string{name}}))
		if err != nil || h.OffersProtocol(PostgresALPN) != want {
			t.Errorf("%s: %v, %v", name, h.OffersProtocol(PostgresALPN), err)
		}
	}
}

func TestSniff(t *testing.T) {
	for name, tt := range map[string]struct {
		in   []byte
		want Opening
	}{
		"TLS":                  {clientHello(t, &tls.Config{ServerName: "acme.test"}), OpeningTLS},
		"SSLRequest":           {[]byte(PostgresSSLRequest), OpeningPostgres},
		"StartupMessage":       {postgres(startup30, session), OpeningPostgres},
		"HTTP":                 {[]byte("GET / HTTP/1.1"), OpeningUnknown},
		"SSH":                  {[]byte("SSH-2.0-OpenSSH"), OpeningUnknown},
		"a TLS alert":          {[]byte{21, 3, 3, 0, 2, 1, 0}, OpeningUnknown},
		"an SSL 2.0 hello":     {[]byte{0x80, 0x2e, 1, 3, 1}, OpeningUnknown},
		"PROXY, which is late": {[]byte(proxySignature), OpeningUnknown},
	} {
		if got := Sniff(tt.in[0]); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func FuzzPostgres(f *testing.F) {
	for _, s := range [][]byte{
		[]byte(PostgresSSLRequest),
		postgres(codeGSS, ""),
		postgres(codeCancel, "\x00\x00\x30\x39key!"),
		postgres(startup30, session),
		postgres(startup32, session),
		append([]byte(PostgresSSLRequest), postgres(startup30, session)...),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		kind, n, err := ParsePostgres(buf)
		switch {
		case errors.Is(err, ErrIncomplete):
			if n <= len(buf) || n > MaxPostgresStart {
				t.Errorf("needs %d with %d there", n, len(buf))
			}
		case err != nil:
			if !errors.Is(err, ErrNotPostgres) || kind != 0 {
				t.Errorf("kind %d, %v", kind, err)
			}
		default:
			if n > len(buf) || n > MaxPostgresStart || n != int(binary.BigEndian.Uint32(buf)) {
				t.Errorf("length %d of %d", n, len(buf))
			}
			if (kind == PostgresSSL) != (string(buf[:n]) == PostgresSSLRequest) {
				t.Errorf("kind %d: %x", kind, buf[:n])
			}
			if again, m, err := ParsePostgres(buf[:n]); again != kind || m != n || err != nil {
				t.Errorf("alone it reads otherwise: %d, %d, %v", again, m, err)
			}
			if Sniff(buf[0]) != OpeningPostgres {
				t.Error("does not sniff as it parses")
			}
		}
	})
}

func TestPostgresAllocatesNothing(t *testing.T) {
	in := postgres(startup30, session)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = ParsePostgres(in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
