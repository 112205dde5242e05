//go:build unix

package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An engine that has no descriptors left is one in a process of its own, with a low limit: this program again.
const starvingEnv = "ENGINE_TEST_STARVES"

// starve is the main function of that process. It says what happens, and ends when its standard input does.
func starve() int {
	name, backend, _ := strings.Cut(os.Getenv(starvingEnv), "|")
	limit := syscall.Rlimit{Cur: 48, Max: 48}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		fmt.Println("setrlimit:", err)
		return 1
	}
	s := &script{to: netip.MustParseAddrPort(backend), ends: make(chan End, patienceEnds)}
	s.connected = func(_ *Flow, err error) Action {
		switch {
		case errors.Is(err, ErrLocal) && errors.Is(err, syscall.EMFILE):
			return Action{Reason: "LOCAL"}
		case err != nil:
			fmt.Println("dial:", err)
			return Action{Reason: "UNREACHABLE"}
		}
		return Action{Do: Relay}
	}
	e, err := starters[name](Config{Handler: s, MaxFlows: 1000, Trouble: func(err error) { fmt.Println("trouble:", err) }})
	if err != nil {
		fmt.Println("start:", err)
		return 1
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		fmt.Println("listen:", err)
		return 1
	}
	fmt.Println("listening:", l.Addr())
	if err := e.Listen(l, nil); err != nil {
		fmt.Println("listen:", err)
		return 1
	}
	go func() {
		for end := range s.ends {
			fmt.Println("end:", end.Reason)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := e.Close(); err != nil {
		fmt.Println("close:", err)
		return 1
	}
	return 0
}

func TestAnEngineWithoutDescriptorsGoesOn(t *testing.T) {
	for name := range starters {
		t.Run(name, func(t *testing.T) {
			r := &rig{t: t, backend: listen(t)}
			cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this very program
			cmd.Env = append(os.Environ(), starvingEnv+"="+name+"|"+r.backend.Addr().String())
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := make(chan string, patienceEnds)
			go func() {
				defer close(lines)
				for s := bufio.NewScanner(stdout); s.Scan(); {
					lines <- s.Text()
				}
			}()
			defer func() {
				_ = stdin.Close()
				for line := range lines {
					t.Log(line)
				}
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
			}()
			await := func(prefix string) string {
				t.Helper()
				for timeout := time.After(patience); ; {
					select {
					case line, more := <-lines:
						if rest, is := strings.CutPrefix(line, prefix); is {
							return rest
						}
						if !more {
							t.Fatalf("it never said %q", prefix)
						}
						t.Log(line)
					case <-timeout:
						t.Fatalf("it does not say %q", prefix)
					}
				}
			}
			r.addr = netip.MustParseAddrPort(await("listening: "))

			client, server := r.pair()
			var silent []*net.TCPConn
			for range 60 {
				silent = append(silent, r.dial())
			}
			await("trouble: cannot accept flows: ")
			say(t, client, "we were here before")
			hear(t, server, "we were here before")
			say(t, silent[0], "hello") // there is no descriptor to dial with
			await("end: LOCAL")
			for _, c := range silent {
				_ = c.Close()
			}
			again, server := r.pair()
			say(t, client, "still")
			_ = again.Close()
			_ = server.Close()
		})
	}
}
