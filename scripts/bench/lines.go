package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// lines is what it costs the supervisor to keep what a process prints, and whether
// it keeps all of it.
func lines() measurement {
	cpu := &figure{Name: "CPU of the supervisor for 200,000 lines", Unit: "ms", Note: "the same"}
	lost := &figure{Name: "lines lost of 20,000 that a process prints before it exits", Unit: "lines", Count: true, Goal: atMost(0), Note: "the same"}
	return measurement{"lines", []*figure{cpu, lost}, func(b *bench) {
		round := func(s *side, err error, cpu, lost *rounds) {
			if err == nil {
				defer s.end()
				spent, err := s.keepLines()
				cpu.add(spent, err)
				missing, err := s.keepLastWords()
				lost.add(missing, err)
				return
			}
			cpu.add(0, err)
			lost.add(0, err)
		}
		for range min(b.rounds, 3) {
			s, err := b.neko()
			round(s, err, &cpu.Neko, &lost.Neko)
			if b.pm2 != "" {
				s, err := b.pm2Side()
				round(s, err, &cpu.Peer, &lost.Peer)
			}
		}
	}}
}

// startShell starts a shell script that is not started again when it has ended.
func (s *side) startShell(name, script string) error {
	if s.name == "neko" {
		_, err := s.run("start", "--name", name, "--no-autorestart", "sh", "--", "-c", script)
		return err
	}
	text, err := json.Marshal(map[string]any{"apps": []map[string]any{{
		"name": name, "script": "sh", "args": []string{"-c", script}, "interpreter": "none", "exec_mode": "fork", "autorestart": false,
	}}})
	if err != nil {
		return err
	}
	file := filepath.Join(s.home, name+".json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	_, err = s.run("start", file)
	return err
}

// kept is how many lines the log of an app has.
func (s *side) kept(name string) int {
	files, _ := filepath.Glob(filepath.Join(s.home, "logs", name+"-out*.log"))
	n := 0
	for _, file := range files {
		text, _ := os.ReadFile(file) // it may be about to be made
		n += bytes.Count(text, []byte("\n"))
	}
	return n
}

// untilKept waits until a log has so many lines, or no more come.
func (s *side) untilKept(name string, n int) int {
	last, since := 0, time.Now()
	for last < n && time.Since(since) < 3*time.Second {
		if now := s.kept(name); now != last {
			last, since = now, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return last
}

func (s *side) keepLines() (spent float64, err error) {
	gate := filepath.Join(s.home, "gate")
	if err := s.startShell("talker", "while [ ! -e "+gate+" ]; do sleep 0.05; done; i=0; while [ $i -lt 200000 ]; do echo a line of some length, as programs print them: $i; i=$((i+1)); done; exec sleep 1000"); err != nil {
		return 0, err
	}
	pids, err := s.daemon(s)
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Second) // the start is over
	before, err := ticks(pids)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		return 0, err
	}
	if n := s.untilKept("talker", 200_000); n != 200_000 {
		return 0, fmt.Errorf("%d of 200,000 lines are in the log", n)
	}
	after, err := ticks(pids)
	return float64(after-before) * 10, err
}

func (s *side) keepLastWords() (lost float64, err error) {
	if err := s.startShell("brief", "seq 20000"); err != nil {
		return 0, err
	}
	return float64(20_000 - s.untilKept("brief", 20_000)), nil
}
