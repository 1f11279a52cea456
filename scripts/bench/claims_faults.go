package main

import (
	"fmt"
	"strings"
	"syscall"
)

// What a month is reckoned to have. They are assumptions, of a service with 100 million
// requests a day on nine pods in three zones; the errors of the first are measured, those
// of the others are arithmetic, and docs/deployment/capacity.md says what is not in it.
const (
	monthRequests = 100e6 / 24 * 730
	deploys       = 100.0
	upgrades      = 4.0
	daemonDeaths  = 4.0
	crashes       = 30.0
	connections   = 1000.0 // open at a worker when it dies: each costs a request at the most
	hostLosses    = 2.0
	hostNoticed   = 30.0 // s until nobody sends to a lost pod any more
	pods          = 9.0
	storeAway     = 600.0 // s
	notKept       = 0.1   // of requests, that need the store
)

// fourNines adds up what faults of a month cost: what is done on purpose must cost nothing,
// and a killed worker no more than the connections that it had.
func (c *claims) fourNines() (finding, error) {
	perSecond := monthRequests / 730 / 3600
	sum := 0.0
	var told []string
	for _, fault := range []struct {
		name  string
		times float64
		most  float64 // errors that one of them may cost
		what  situation
	}{
		{"reload", deploys, 0, situation{app: apiApp, instances: "2", happen: reload}},
		{"upgrade of the supervisor", upgrades, 0, situation{app: apiApp, instances: "2", happen: command("upgrade")}},
		{"kill -9 of the master", daemonDeaths, 0, situation{app: apiApp, instances: "2", happen: killDaemon(1)}},
		{"kill -9 of the keeper", daemonDeaths, 0, situation{app: apiApp, instances: "2", happen: killDaemon(0)}},
		// 64 clients, of which the killed one of two workers may have all.
		{"kill -9 of a worker", crashes, 64, situation{app: apiApp, instances: "2", happen: killOneOfTwo}},
	} {
		errors := int64(0)
		for range min(c.b.rounds, 2) {
			l, err := c.b.suffer(c.b.neko, fault.what)
			if err != nil {
				return finding{}, fmt.Errorf("%s: %w", fault.name, err)
			}
			errors = max(errors, l.errors)
		}
		told = append(told, fmt.Sprintf("%s %d", fault.name, errors))
		if float64(errors) > fault.most {
			return finding{fmt.Sprintf("%s cost 64 clients %d errors, and %g were promised at the most", fault.name, errors, fault.most), notMet}, nil
		}
		if fault.most > 0 { // as many as it has connections, and no more
			sum += fault.times * connections
		}
	}
	sum += hostLosses * (2*connections + perSecond/pods*hostNoticed)
	sum += storeAway * perSecond * notKept
	share := 1 - sum/monthRequests
	return found(share >= 0.9999, "arithmetic: errors of 64 clients: %s; with the faults of a month that are assumed below, %.0f of %.2g billion requests fail: %.4f %%; the budget is %.0f, or 4.38 minutes",
		strings.Join(told, ", "), sum, monthRequests/1e9, 100*share, monthRequests/1e4), nil
}

// killOneOfTwo ends one of two workers, and waits for another in its place.
func killOneOfTwo(s *side, w *watch) error {
	pids, err := s.online("app", 2)
	if err != nil {
		return err
	}
	w.begin(pids[0])
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return err
	}
	for {
		now, err := s.online("app", 2)
		if err != nil {
			return err
		}
		if now[0] != pids[0] && now[1] != pids[0] {
			return nil
		}
	}
}
