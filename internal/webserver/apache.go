package webserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// apacheModules are those that a text may use, in an order in which they can be loaded.
var apacheModules = []string{
	"mpm_event", "authz_core", "authz_host", "env", "setenvif", "filter", "alias", "headers", "rewrite", "remoteip", "socache_shmcb", "ssl",
	"http2", "proxy", "slotmem_shm", "lbmethod_byrequests", "proxy_balancer", "proxy_hcheck", "proxy_http", "proxy_wstunnel", "substitute", "reqtimeout",
}

// apacheAvailable is where Debian keeps what loads a module.
const apacheAvailable = "/etc/apache2/mods-available"

// tryApache has Apache test the text, and then starts it on loopback until it serves: its test does not look at what only
// the TLS library can refuse, such as a curve that it does not have.
func tryApache(ctx context.Context, tr *trial) error {
	if !folder(apacheAvailable) {
		tr.report.Outcome, tr.report.Why = NotChecked, "Apache's modules are not where Debian has them, in "+apacheAvailable
		return nil
	}
	if err := tr.writeApache(); err != nil {
		return err
	}
	tr.test(ctx, tr.program.Path, "-f", tr.path("apache.conf"), "-t")
	tr.report.Messages = slices.DeleteFunc(tr.report.Messages, func(line string) bool { return line == "Syntax OK" })
	if tr.report.Outcome != Accepted {
		return nil
	}
	return tr.startApache(ctx)
}

func folder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

var (
	listen     = regexp.MustCompile(`(?m)^(\s*Listen\s+)(\d+)\b`)
	listenPort = regexp.MustCompile(`(?m)^\s*Listen\s+(?:\S*:)?(\d+)\b`)
)

// writeApache writes the server's own configuration, and has the text listen on loopback alone.
func (tr *trial) writeApache() error {
	text, err := os.ReadFile(tr.path(textName))
	if err != nil {
		return err
	}
	var main strings.Builder
	fmt.Fprintf(&main, "ServerRoot %[1]q\nDefaultRuntimeDir %[1]q\nPidFile \"%[1]s/pid\"\nErrorLog \"%[1]s/error.log\"\nLogLevel warn\nServerName localhost\n"+
		"Define APACHE_LOG_DIR %[1]q\nDefine APACHE_RUN_DIR %[1]q\n", tr.dir)
	if os.Geteuid() == 0 {
		fmt.Fprintf(&main, "User %s\nGroup #65534\n", serverUser())
	}
	for _, name := range apacheModules {
		load := filepath.Join(apacheAvailable, name+".load")
		if _, err := os.Stat(load); err != nil {
			tr.report.Missing = append(tr.report.Missing, name)
			continue
		}
		fmt.Fprintf(&main, "Include %q\n", load)
	}
	fmt.Fprintf(&main, "<IfModule ssl_module>\nSSLSessionCache \"shmcb:%s/sessions(512000)\"\n</IfModule>\n", tr.dir)
	var listens []string
	for _, m := range listenPort.FindAllStringSubmatch(string(text), -1) {
		listens = append(listens, m[1])
	}
	// Debian's ports.conf listens on the two common ones, so that a text need not.
	for _, port := range tr.apachePorts() {
		if !slices.Contains(listens, port) {
			fmt.Fprintf(&main, "Listen 127.0.0.1:%s\n", port)
		}
	}
	fmt.Fprintf(&main, "Include \"%s/%s\"\n", tr.dir, textName)
	if err := tr.write(textName, listen.ReplaceAllString(string(text), "${1}127.0.0.1:$2")); err != nil {
		return err
	}
	return tr.write("apache.conf", main.String())
}

// apachePorts are the ports on which the server itself listens, apart from those of repositories.
func (tr *trial) apachePorts() []string {
	var ports []string
	if tr.proxy.HTTP {
		ports = append(ports, fmt.Sprint(tr.proxy.HTTPPort))
	}
	if tr.proxy.HTTPS {
		ports = append(ports, fmt.Sprint(tr.proxy.HTTPSPort))
	}
	return ports
}

// startApache starts the server in one process, waits until it serves, which it says by a file with its process id, and
// ends it.
func (tr *trial) startApache(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	var said tail
	cmd := exec.CommandContext(ctx, tr.program.Path, "-f", tr.path("apache.conf"), "-X")
	cmd.Stdout, cmd.Stderr, cmd.Env = &said, &said, append(append(os.Environ(), "LC_ALL=C"), tr.env()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	beat := time.NewTicker(10 * time.Millisecond)
	defer beat.Stop()
	var err error
	for serves := false; ; {
		select {
		case err = <-ended:
			if serves {
				tr.report.Started, err = true, nil
			} else if err == nil {
				err = errors.New("it ends at once")
			}
			log, readErr := os.ReadFile(tr.path("error.log"))
			if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
				return readErr
			}
			tr.portTaken = bytes.Contains(log, []byte("AH00072")) || strings.Contains(said.text(), "AH00072")
			tr.take(said.text()+"\n"+withoutNotices(string(log)), err)
			return nil
		case <-beat.C:
			_, err := os.Stat(tr.path("pid"))
			if serves = serves || err == nil; !serves {
				continue
			}
			// Again and again: one that comes while it sets up its signals is lost.
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		}
	}
}

// withoutNotices leaves out the lines that only tell what the server does, and that the trial's certificate does not fit.
func withoutNotices(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, ":notice] ") && !strings.Contains(line, "AH01909:") {
			b.WriteString(line)
		}
	}
	return b.String()
}
