//go:build linux

package main

import (
	"errors"
	"time"
)

// meter reads what a proxy uses between the edges of a window, and how much of the machine went to others meanwhile.
type meter struct {
	pids   []int // empty for no proxy
	begun  reading
	cpu    time.Duration // what the proxy used
	spent  time.Duration // how long the window was
	others float64       // the part of the processors' time that was neither the proxy's nor the load's
}

// reading is what the meter shows at one moment.
type reading struct {
	at      time.Time
	proxy   cpuTimes
	own     time.Duration
	machine machineTime
}

func (m *meter) read() (reading, error) {
	r := reading{at: time.Now()}
	var err1, err2, err3 error
	r.proxy, err1 = readCPU(m.pids)
	r.own, err2 = ownCPU()
	r.machine, err3 = readMachine()
	return r, errors.Join(err1, err2, err3)
}

func (m *meter) open() (err error) {
	m.begun, err = m.read()
	return err
}

func (m *meter) shut() error {
	now, err := m.read()
	if err != nil {
		return err
	}
	m.spent = now.at.Sub(m.begun.at)
	if m.cpu, err = now.proxy.since(m.begun.proxy); err != nil {
		return err
	}
	if all := now.machine.all - m.begun.machine.all; all > 0 {
		others := now.machine.busy - m.begun.machine.busy - m.cpu - (now.own - m.begun.own)
		m.others = max(others.Seconds()/all.Seconds(), 0)
	}
	return nil
}

// window returns w with the meter at its edges.
func (m *meter) window(w window) window {
	w.opened, w.closed = m.open, m.shut
	return w
}
