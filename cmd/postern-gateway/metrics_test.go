package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// scrape returns what Prometheus gets.
func scrape(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

// Whoever scrapes meets the process that takes the flows.
func TestMetricsGoWithTheSockets(t *testing.T) {
	p := startProgram(t, install(t), "--metrics", ":0", "--control-url", controlPlane(t))
	url := p.await(t, `msg="metrics are served" url=(http://127\.0\.0\.1:\d+/metrics)`)[1]
	old := openInTime(t, p.private)
	const line = "postern_gateway_"
	if body := scrape(t, url); !strings.Contains(body, line) {
		t.Errorf("no %s in\n%s", line, body)
	}
	p.signal(t, syscall.SIGHUP)
	successor, err := strconv.Atoi(p.await(t, `msg="a successor serves: gateway drains" successor=(\d+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	old.ask(t, "/old")
	if body := scrape(t, url); !strings.Contains(body, line) {
		t.Errorf("no %s in\n%s", line, body)
	}
	_ = syscall.Kill(successor, syscall.SIGTERM)
	_ = old.Close()
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

func TestMetricsAreForTheMachineUnlessSaidOtherwise(t *testing.T) {
	for in, want := range map[string]string{
		":9100": "127.0.0.1:9100", "127.0.0.1:9100": "127.0.0.1:9100", "[::1]:9100": "[::1]:9100",
		"0.0.0.0:9100": "0.0.0.0:9100", "9100": "", "": "",
	} {
		name, err := metricsName(in)
		if name.addr != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", in, name.addr, err)
		}
	}
}
