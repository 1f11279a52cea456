package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

// redisServer is a Redis of the bench's own, which keeps nothing on a disk.
type redisServer struct {
	cmd    *exec.Cmd
	url    string
	client rueidis.Client
}

func startRedis(b *bench) (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install redis-server", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.tmp, "r")
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	s := &redisServer{url: "redis://" + address}
	s.cmd = exec.CommandContext(b.ctx, program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port),
		"--dir", dir, "--save", "", "--appendonly", "no")
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s.client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
		if err == nil {
			return s, nil
		}
		if time.Now().After(until) || !runs(s.cmd.Process.Pid) {
			s.end()
			return nil, fmt.Errorf("redis-server: %w", err)
		}
	}
}

func (s *redisServer) end() {
	if s.client != nil {
		s.client.Close()
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
}

func (s *redisServer) empty(ctx context.Context) error {
	return s.client.Do(ctx, s.client.B().Flushall().Build()).Error()
}

// spent is what it has done since its start.
type spent struct {
	calls float64 // of scripts, by clients
	cpu   float64 // µs
}

func (s *redisServer) spent(ctx context.Context) (spent, error) {
	text, err := s.client.Do(ctx, s.client.B().Info().Section("cpu", "commandstats").Build()).ToString()
	if err != nil {
		return spent{}, err
	}
	return readSpent(text)
}

// readSpent reads the answer to INFO. What a script calls is counted there as well, but no
// script calls a script.
func readSpent(text string) (sum spent, err error) {
	cpus := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "used_cpu_sys", "used_cpu_user":
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return sum, fmt.Errorf("INFO of Redis: %q: %w", line, err)
			}
			sum.cpu += v * 1e6
			cpus++
		case "cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall":
			var n int64
			if _, err := fmt.Sscanf(value, "calls=%d,", &n); err != nil {
				return sum, fmt.Errorf("INFO of Redis: %q: %w", line, err)
			}
			sum.calls += float64(n)
		}
	}
	if cpus != 2 {
		err = errors.New("INFO of Redis does not tell its CPU time")
	}
	return sum, err
}

// redisInfo is what it has done since its start, and what it has now.
type redisInfo struct {
	cpu      float64 // µs
	commands float64
	memory   float64 // bytes
	keys     float64
}

func (s *redisServer) info(ctx context.Context) (u redisInfo, err error) {
	text, err := s.client.Do(ctx, s.client.B().Info().Section("cpu", "stats", "memory", "keyspace").Build()).ToString()
	if err != nil {
		return u, err
	}
	return readInfo(text)
}

// readInfo reads the answer to INFO. A server without keys tells nothing of them.
func readInfo(text string) (u redisInfo, err error) {
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		of, times := (*float64)(nil), 1.0
		switch name {
		case "used_cpu_sys", "used_cpu_user":
			of, times = &u.cpu, 1e6
		case "total_commands_processed":
			of = &u.commands
		case "used_memory":
			of = &u.memory
		case "db0":
			if _, err := fmt.Sscanf(value, "keys=%g,", &u.keys); err != nil {
				return u, fmt.Errorf("INFO of Redis: %q: %w", line, err)
			}
		}
		if of == nil {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return u, fmt.Errorf("INFO of Redis: %q: %w", line, err)
		}
		*of += v * times
		found++
	}
	if found != 4 {
		err = errors.New("INFO of Redis does not tell its CPU time, commands and memory")
	}
	return u, err
}

// reads is how often a value was read that was there, and that was not.
type reads struct{ hits, misses float64 }

func (s *redisServer) reads(ctx context.Context) (r reads, err error) {
	text, err := s.client.Do(ctx, s.client.B().Info().Section("stats").Build()).ToString()
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		of := map[string]*float64{"keyspace_hits": &r.hits, "keyspace_misses": &r.misses}[name]
		if of == nil {
			continue
		}
		if *of, err = strconv.ParseFloat(value, 64); err != nil {
			return r, fmt.Errorf("INFO of Redis: %q: %w", line, err)
		}
	}
	return r, nil
}
