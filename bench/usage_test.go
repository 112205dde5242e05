//go:build linux

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSchedstat(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration
		bad  bool
	}{
		{text: "1234567890 55 7\n", want: 1234567890},
		{text: "0 0 1\n"},
		{text: "", bad: true},
		{text: "1 2\n", bad: true},
		{text: "1 2 3 4\n", bad: true},
		{text: "x 2 3\n", bad: true},
	} {
		got, err := parseSchedstat([]byte(tt.text))
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
	}
}

func TestMachineTime(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       machineTime
		bad        bool
	}{
		{
			name: "idle and iowait are not busy, guests stand in user already", //
			text: "cpu  10 20 30 4000 500 1 2 3 7 0\ncpu0 10 20 30 4000 500 1 2 3 7 0\n",
			want: machineTime{busy: 66 * tick, all: 4566 * tick},
		},
		{name: "another line first", text: "cpu0 1 2 3 4 5 6 7 8 9 10\n", bad: true},
		{name: "cut short", text: "cpu 1 2 3\n", bad: true},
		{name: "no number", text: "cpu 1 2 3 4 5 6 7 many 9 10\n", bad: true},
		{name: "empty", bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.text)
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestProportionalSetSize(t *testing.T) {
	const rollup = "55e0c0a00000-7ffd3a9f1000 ---p 00000000 00:00 0    [rollup]\n" +
		"Rss:               18468 kB\nPss:                9876 kB\nPss_Anon:           4000 kB\nShared_Clean:          0 kB\n"
	for _, tt := range []struct {
		text string
		want int64
		bad  bool
	}{
		{text: rollup, want: 9876 << 10},
		{text: strings.ReplaceAll(rollup, "9876 kB", "9 MB"), bad: true},
		{text: strings.ReplaceAll(rollup, "Pss:", "Pfs:"), bad: true},
	} {
		got, err := parsePss(tt.text)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: %d, %v", tt.text, got, err)
		}
	}
}

func TestTimeUsedBetweenReadings(t *testing.T) {
	before := cpuTimes{1: time.Second, 2: 2 * time.Second}
	after := cpuTimes{1: 3 * time.Second, 2: 2 * time.Second, 9: time.Second}
	if used, err := after.since(before); err != nil || used != 3*time.Second {
		t.Errorf("two threads and one that began: %v, %v", used, err)
	}
	delete(after, 1)
	if used, err := after.since(before); err == nil {
		t.Errorf("a thread ended and took its time along: %v and no error", used)
	}
}

// What the kernel of this machine says is what the parsers read.
func TestReadingThisProcess(t *testing.T) {
	pids, err := family(os.Getpid())
	if err != nil || !slices.Contains(pids, os.Getpid()) {
		t.Fatalf("the family of this process: %v, %v", pids, err)
	}
	before, err := readCPU(pids)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; {
		after, err := readCPU(pids)
		if err != nil {
			t.Fatal(err)
		}
		if used, err := after.since(before); err == nil && used > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("to look at the clock took no time for 10 s")
		}
	}
	if memory, err := residentMemory(pids); err != nil || memory < 1<<20 {
		t.Errorf("memory: %d, %v", memory, err)
	}
	if m, err := readMachine(); err != nil || m.busy <= 0 || m.busy > m.all {
		t.Errorf("machine: %+v, %v", m, err)
	}
	if _, err := readCPU([]int{1 << 30}); err == nil {
		t.Error("a process that does not exist has used no time, and no error says so")
	}
}
