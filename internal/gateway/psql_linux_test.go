package gateway

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/servertest"
)

const postgresPort = 5432

// database is a PostgreSQL server behind a gateway, and psql in front of it.
type database struct {
	*world
	t      *testing.T
	client string // the program psql
	door   netip.AddrPort
	direct netip.AddrPort // past the gateway
	roots  string
}

// newDatabase starts a gateway whose cluster acme is a real PostgreSQL server that endpoint A leads to.
func newDatabase(t *testing.T, change func(*Config)) *database {
	t.Helper()
	client, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("needs psql (Debian package postgresql-client-15)")
	}
	if _, err := os.Stat(servertest.PostgresPrograms + "postgres"); err != nil {
		t.Skip("needs postgres (Debian package postgresql-15)")
	}
	w := newWorld(t, change)
	d := &database{world: w, t: t, client: client, direct: servertest.Addr(t), roots: w.trust()}
	servertest.NewPostgres(t, w.cert).Start(t, d.direct, "ssl=on")
	rules := w.rules(1)
	rules.Ports = &[]api.GatewayPort{{Port: postgresPort, Protocol: "POSTGRES"}}
	rules.Clusters[0].Backends = targets(d.direct.String())
	w.apply(rules)
	d.door = w.endpointDoor(endpointA, postgresPort)
	return d
}

// env is what libpq is told by its environment: to verify the server in full, unless settings say otherwise.
func (d *database) env(door netip.AddrPort, settings ...string) []string {
	return append([]string{
		"PGHOST=" + acmePrivate, "PGHOSTADDR=" + door.Addr().String(), fmt.Sprint("PGPORT=", door.Port()), "PGUSER=u",
		"PGDATABASE=postgres", "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + d.roots, "PGCONNECT_TIMEOUT=30", "KRB5CCNAME=FILE:/nonexistent",
	}, settings...)
}

// psql runs one command through the gateway.
func (d *database) psql(command string, settings ...string) said {
	d.t.Helper()
	return call(d.t, nil, d.env(d.door, settings...), d.client, "-X", "-A", "-t", "-c", command)
}

func TestPsqlReachesPostgres(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		d := newDatabase(t, change)
		for _, mode := range []string{"require", "verify-full", "prefer"} {
			t.Run("sslmode "+mode, func(t *testing.T) {
				s := d.psql("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "PGSSLMODE="+mode)
				if s.out != "t|TLSv1.3\n" || s.code != 0 {
					t.Errorf("%+v", s)
				}
			})
		}
		t.Run("bulk", d.testCopy)
		t.Run("cancel", d.testCancel)
	})
}

// testCopy moves 50 MB out of the database and into it, and compares.
func (d *database) testCopy(t *testing.T) {
	const rows = 50_000
	out := sha256.New()
	s := callInto(t, out, nil, d.env(d.door), d.client, "-X", "-c",
		fmt.Sprintf("COPY (SELECT i, repeat(md5(i::text), 32) FROM generate_series(1, %d) i) TO STDOUT", rows))
	if s.code != 0 {
		t.Fatalf("%+v", s)
	}
	want := sha256.New()
	n, _ := io.Copy(want, newTable(rows))
	if !slices.Equal(out.Sum(nil), want.Sum(nil)) {
		t.Errorf("the %d bytes that were copied out are not those of the table", n)
	}
	if s := d.psql("CREATE TABLE copied (i int, text text)"); s.code != 0 {
		t.Fatalf("%+v", s)
	}
	in := call(t, newTable(rows), d.env(d.door), d.client, "-X", "-c", "COPY copied FROM STDIN")
	if in.out != fmt.Sprintf("COPY %d\n", rows) || in.code != 0 {
		t.Fatalf("%+v", in)
	}
	s = d.psql("SELECT count(*), count(DISTINCT i), sum(i), bool_and(text = repeat(md5(i::text), 32)) FROM copied")
	if want := fmt.Sprintf("%d|%d|%d|t\n", rows, rows, rows*(rows+1)/2); s.out != want {
		t.Errorf("the table that was copied in: %+v; want %q", s, want)
	}
	d.control.await("the records of both", func() bool {
		return slices.ContainsFunc(d.control.ended(), func(f api.GatewayFlow) bool { return f.BytesIn > n }) &&
			slices.ContainsFunc(d.control.ended(), func(f api.GatewayFlow) bool { return f.BytesOut > n })
	})
}

// ended returns the flows whose end was reported. The caller holds c.
func (c *fakeControl) ended() (all []api.GatewayFlow) {
	for _, f := range c.flows {
		if f.EndedAt != nil {
			all = append(all, f)
		}
	}
	return all
}

// table is the text of a table of so many rows, made while it is read.
type table struct {
	rows, next int
	rest       []byte
}

func newTable(rows int) *table { return &table{rows: rows, next: 1} }

func (c *table) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.next > c.rows {
			return 0, io.EOF
		}
		sum := md5.Sum(fmt.Append(nil, c.next))
		c.rest = fmt.Appendf(c.rest, "%d\t%s\n", c.next, strings.Repeat(hex.EncodeToString(sum[:]), 32))
		c.next++
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// testCancel interrupts a query as Ctrl-C does: psql sends a cancel request without TLS and so without a name, on a flow
// of its own.
func (d *database) testCancel(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), d.client, "-X", "-c", "SELECT pg_sleep(600)")
	cmd.Env = append(os.Environ(), d.env(d.door, "PGAPPNAME=sleeper", "LC_ALL=C")...)
	var errs strings.Builder
	cmd.Stderr, cmd.WaitDelay = &errs, programPatient
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // fails, as the query does
		close(ended)
	}()
	asked := time.Now()
	for {
		s := call(t, nil, d.env(d.direct), d.client, "-X", "-A", "-t", "-c",
			"SELECT state FROM pg_stat_activity WHERE application_name = 'sleeper' AND query LIKE '%pg_sleep%'")
		if s.out == "active\n" {
			break
		}
		if time.Since(asked) > programPatient {
			_ = cmd.Process.Kill()
			<-ended
			t.Fatalf("the query does not start: %+v; psql said %q", s, errs.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(programPatient):
		_ = cmd.Process.Kill()
		<-ended
		t.Error("the query was not cancelled")
	}
	if !strings.Contains(errs.String(), "canceling statement due to user request") {
		t.Errorf("psql said %q", errs.String())
	}
	d.control.await("the record of the cancel request", func() bool {
		return slices.ContainsFunc(d.control.ended(), func(f api.GatewayFlow) bool {
			return f.Name == "" && f.ClusterID == acmeID && f.EndpointID == endpointA && f.BytesIn == int64(len(cancel)) && f.BytesOut == 0
		})
	})
}

// TestPsqlWithKerberos: a client that has a ticket asks for encryption by GSSAPI first, which the gateway declines, and
// goes on with TLS on the same flow.
func TestPsqlWithKerberos(t *testing.T) {
	d := newDatabase(t, nil)
	ticket := "KRB5CCNAME=FILE:" + d.file("ticket", string(kerberosTicket(time.Now())))
	s := d.psql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", ticket)
	if s.out != "t\n" || s.code != 0 {
		t.Errorf("gssencmode=prefer: %+v", s)
	}
	s = d.psql("SELECT 1", ticket, "PGGSSENCMODE=require")
	if s.code == 0 || !strings.Contains(s.errors, "server doesn't support GSSAPI encryption, but it was required") {
		t.Errorf("gssencmode=require: %+v", s)
	}
	d.control.await("the record of the one flow that passed", func() bool { return len(d.control.ended()) == 1 })
}

// kerberosTicket is a credential cache of MIT Kerberos with one ticket for getting tickets, which no server has to take:
// libpq looks whether there is one. Format 4 of
// https://web.mit.edu/kerberos/krb5-latest/doc/formats/ccache_file_format.html.
func kerberosTicket(now time.Time) []byte {
	be := binary.BigEndian
	data := func(b []byte, s string) []byte { return append(be.AppendUint32(b, uint32(len(s))), s...) }
	principal := func(b []byte, names ...string) []byte {
		b = be.AppendUint32(b, 1) // a principal
		b = be.AppendUint32(b, uint32(len(names)))
		b = data(b, "POSTERN.TEST")
		for _, n := range names {
			b = data(b, n)
		}
		return b
	}
	b := []byte{5, 4, 0, 0}
	b = principal(b, "u")
	b = principal(b, "u")
	b = principal(b, "krbtgt", "POSTERN.TEST")
	b = be.AppendUint16(b, 18) // AES-256
	b = data(b, strings.Repeat("k", 32))
	from := uint32(now.Add(-time.Hour).Unix())
	for _, at := range []uint32{from, from, from + 86_400, from + 86_400} {
		b = be.AppendUint32(b, at)
	}
	b = append(b, 0)          // not for another server's key
	b = be.AppendUint32(b, 0) // flags
	b = be.AppendUint32(b, 0) // addresses
	b = be.AppendUint32(b, 0) // authorisation data
	b = data(b, "ticket")
	return data(b, "")
}

// TestPsqlIsRefused shows what a person sees, and what the operator sees.
func TestPsqlIsRefused(t *testing.T) {
	d := newDatabase(t, nil)
	if s := d.psql("SELECT 1", "PGSSLMODE=disable"); s.code != 2 || !strings.Contains(s.errors, "server closed the connection unexpectedly") {
		t.Errorf("without TLS: %+v", s)
	}
	if r := d.control.awaitRefusal(reasonNoTLS); r.EndpointID != endpointA || r.Source != customer.Addr().String() {
		t.Errorf("without TLS: recorded %+v", r)
	}
	if s := d.psql("SELECT 1", "PGSSLSNI=0"); s.code != 2 {
		t.Errorf("without a name: %+v", s)
	}
	d.control.awaitRefusal(policy.NoServerName)
	d.door = d.endpointDoor(endpointB, postgresPort)
	for _, mode := range []string{"verify-full", "prefer"} { // prefer tries again without TLS
		s := d.psql("SELECT 1", "PGSSLMODE="+mode)
		if s.code != 2 || !strings.Contains(s.errors, "failed: SSL") || s.out != "" {
			t.Errorf("through another's endpoint, sslmode %s: %+v", mode, s)
		}
	}
	if r := d.control.awaitRefusal(policy.EndpointNotAuthorised); r.EndpointID != endpointB || r.ClusterID != acmeID || r.Name != acmePrivate {
		t.Errorf("through another's endpoint: recorded %+v", r)
	}
	d.control.change(func() {
		if len(d.control.flows) > 0 {
			t.Errorf("flows passed: %+v", d.control.flows)
		}
	})
}
