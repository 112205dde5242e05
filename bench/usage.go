//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// family returns a process and all that descend from it.
func family(pid int) ([]int, error) {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			for field := range strings.FieldsSeq(string(text)) {
				child, err := strconv.Atoi(field)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
				all = append(all, child)
			}
		}
	}
	return all, nil
}

// cpuTimes is the processor time of every thread, by its id.
type cpuTimes map[int]time.Duration

// readCPU reads what the threads of the processes have used so far, to the nanosecond; utime and stime in
// /proc/PID/stat count in hundredths of a second.
func readCPU(pids []int) (cpuTimes, error) {
	out := cpuTimes{}
	for _, pid := range pids {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("process %d is gone", pid)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // the thread has ended meanwhile; since says so
			}
			if err != nil {
				return nil, err
			}
			tid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				return nil, err
			}
			if out[tid], err = parseSchedstat(text); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return out, nil
}

// parseSchedstat reads the time on the processor from a thread's schedstat: nanoseconds on the processor, nanoseconds
// waited for one, time slices (Documentation/scheduler/sched-stats.rst).
func parseSchedstat(text []byte) (time.Duration, error) {
	fields := bytes.Fields(text)
	if len(fields) != 3 {
		return 0, fmt.Errorf("%d fields, want 3", len(fields))
	}
	ns, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return time.Duration(ns), err
}

// since returns what was used between two readings. A thread that ended between them took its time with it, and the
// sum would be too small: that is an error.
func (c cpuTimes) since(before cpuTimes) (time.Duration, error) {
	var sum time.Duration
	for tid, was := range before {
		if _, lives := c[tid]; !lives {
			return 0, fmt.Errorf("thread %d ended, after %v on the processor", tid, was)
		}
	}
	for tid, is := range c {
		sum += is - before[tid]
	}
	return sum, nil
}

// machineTime is what the processors of the machine have done so far, all together.
type machineTime struct {
	busy, all time.Duration
}

// tick is the unit of /proc/stat, USER_HZ, the same on all architectures that Go runs on.
const tick = 10 * time.Millisecond

// readMachine reads the first line of /proc/stat.
func readMachine() (machineTime, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}, err
	}
	return parseStat(string(text))
}

// parseStat reads the line cpu of /proc/stat (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal. Time that
// the hypervisor gave to somebody else counts as busy.
func parseStat(text string) (machineTime, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return machineTime{}, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var t machineTime
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return machineTime{}, fmt.Errorf("/proc/stat: %w", err)
		}
		t.all += time.Duration(n) * tick
		if i != 3 && i != 4 {
			t.busy += time.Duration(n) * tick
		}
	}
	return t, nil
}

// ownCPU returns what this process has used so far.
func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// residentMemory returns the memory of the processes in bytes: what is shared by several counts in parts.
func residentMemory(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		pss, err := parsePss(string(text))
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		sum += pss
	}
	return sum, nil
}

// parsePss reads the proportional set size from smaps_rollup (proc(5)), in bytes.
func parsePss(text string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Pss:")
		if !ok {
			continue
		}
		kB, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if !ok {
			return 0, fmt.Errorf("%q is not in kB", strings.TrimSpace(line))
		}
		n, err := strconv.ParseInt(strings.TrimSpace(kB), 10, 64)
		return n << 10, err
	}
	return 0, errors.New("no line Pss")
}

// descriptorLimit is how many descriptors a process may open; it is raised to the hard limit, which children inherit.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	if limit.Cur < limit.Max {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	}
	return int(min(limit.Cur, 1<<20))
}
