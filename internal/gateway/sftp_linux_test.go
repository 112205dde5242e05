package gateway

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/servertest"
)

// sshd is an OpenSSH server for file transfer alone, into files, for one user with one key.
type sshd struct {
	addr, user, files string
	clientKey, known  string // files
}

const sshdConfig = `
ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d %s
`

// newSSHD starts a server of cluster acme, which clients know by acme's name.
func newSSHD(t *testing.T) sshd {
	t.Helper()
	const program = "/usr/sbin/sshd"
	if _, err := os.Stat(program); err != nil {
		t.Skip("needs sshd (Debian package openssh-server)")
	}
	// As root it would want a folder of the system's. "nobody" is a locked account where systemd answers for it.
	dir, account := filepath.Join(t.TempDir(), "sshd"), "daemon"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	as := servertest.NotRoot(t, account, dir)
	if os.Getuid() != 0 {
		me, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		account = me.Username
	}
	key := func(name string) (path, public string) {
		path = filepath.Join(dir, name)
		if s := call(t, nil, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path); s.code != 0 {
			t.Fatalf("%+v", s)
		}
		text, err := os.ReadFile(path + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		return path, string(text)
	}
	host, hostPublic := key("host")
	s := sshd{user: account, files: filepath.Join(dir, "files"), known: filepath.Join(dir, "known")}
	var clientPublic string
	s.clientKey, clientPublic = key("client")
	authorised, config := filepath.Join(dir, "authorised"), filepath.Join(dir, "config")
	addr := servertest.Addr(t)
	listen := fmt.Sprintf("%s:%d", addr.Addr(), addr.Port())
	for path, text := range map[string]string{
		authorised: clientPublic, s.known: acmePrivate + " " + hostPublic, config: fmt.Sprintf(sshdConfig, listen, host, authorised, s.files),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(s.files, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{host, authorised, config, s.files} {
		as.Own(t, path)
	}
	servertest.Run(t, as, addr, program, "-D", "-e", "-f", config)
	s.addr = addr.String()
	return s
}

// TestSFTP: OpenSSH's client puts a file and gets it back, on a port where the endpoint alone leads to the cluster.
func TestSFTP(t *testing.T) {
	if _, err := exec.LookPath("sftp"); err != nil {
		t.Skipf("needs sftp (Debian package openssh-client): %v", err)
	}
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w, s := newWorld(t, change), newSSHD(t)
		rules := w.rules(1)
		rules.Ports = &[]api.GatewayPort{{Port: sftpPort, Protocol: "TCP"}}
		rules.Clusters[0].Backends = targets(s.addr)
		w.apply(rules)
		content := make([]byte, 20<<20)
		_, _ = rand.Read(content)
		local, back := w.file("sent", string(content)), filepath.Join(t.TempDir(), "back")
		sftp := func(endpoint string, commands ...string) said {
			door := w.endpointDoor(endpoint, sftpPort)
			return call(t, strings.NewReader(strings.Join(commands, "\n")+"\n"), nil, "sftp", "-b", "-", "-F", "none", "-i", s.clientKey,
				"-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+s.known, "-o", "GlobalKnownHostsFile=none",
				"-o", "HostKeyAlias="+acmePrivate, "-P", fmt.Sprint(door.Port()), s.user+"@"+door.Addr().String())
		}
		if got := sftp(endpointA, "put "+local+" sent", "get sent "+back); got.code != 0 {
			t.Fatalf("%+v", got)
		}
		for what, path := range map[string]string{"put": filepath.Join(s.files, "sent"), "got": back} {
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the file that was %s has %d bytes of %d, or others: %v", what, len(got), len(content), err)
			}
		}
		var ended api.GatewayFlow
		w.control.await("the flow's record", func() bool {
			for _, ended = range w.control.ended() {
			}
			return ended.ID != ""
		})
		if n := int64(len(content)); ended.Name != "" || ended.Port != sftpPort || ended.Backend != s.addr || ended.BytesIn < n || ended.BytesOut < n {
			t.Errorf("recorded %+v", ended)
		}
		if got := sftp(endpointC, "ls"); got.code == 0 {
			t.Errorf("an endpoint of nobody: %+v", got)
		}
		w.control.awaitRefusal(policy.EndpointNotAuthorised)
	})
}
