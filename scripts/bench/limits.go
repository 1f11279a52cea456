package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nekoctl/neko/scripts/npm"
)

// Limits are measured beside npm's rate-limiter-flexible on ioredis, both pinned as PM2 is.
const (
	peerLimiter = "rate-limiter-flexible"
	peerVersion = "11.4.0"
	peerClient  = "ioredis@6.0.0"
)

// deciding is what one process decides about, over and over: whether one more request of each of
// some clients may pass, in turn. Both sides read it as JSON.
type deciding struct {
	Redis    string  `json:"redis"` // URL; "" for no Redis
	Keys     int     `json:"keys"`
	Limit    int64   `json:"limit"`   // in Seconds
	Seconds  int     `json:"seconds"` //
	Full     bool    `json:"full"`    // every client is at its limit before it is measured
	Warm     float64 `json:"warm"`    // seconds
	Measured float64 `json:"measured"`
	InFlight int     `json:"inFlight"` // so many wait for a decision at once

	// Run is where the workers of neko meet.
	Run string `json:"run,omitempty"`

	Modules   string `json:"modules,omitempty"` // where the peer is installed
	Pipelined bool   `json:"pipelined,omitempty"`
	Blocks    bool   `json:"blocks,omitempty"` // the peer remembers in memory whom it has refused
}

// Limits that nobody gets to, and limits that everybody is at. The latter leave 1.7
// decisions a second for each client, of thousands.
func nobodyRefused(redis string) deciding {
	return deciding{Redis: redis, Keys: 1000, Limit: 60_000_000, Seconds: 60, Warm: 0.7, Measured: 1.5}
}

func allAtTheirLimit(redis string) deciding {
	d := nobodyRefused(redis)
	d.Limit, d.Full = 100, true
	return d
}

// decided is what has come of it, in both processes.
type decided struct {
	Decisions int64   `json:"decisions"`
	Refused   int64   `json:"refused"`
	Seconds   float64 `json:"seconds"`
	Alone     uint64  `json:"alone"` // of ours: without Redis, as that was too slow

	perSecond float64
	calls     float64 // to Redis for 1,000 decisions
	cpu       float64 // of Redis for 1,000 decisions, in µs
	own       float64 // of the two processes
}

// limits is how fast two processes decide, and what that costs Redis.
func limits() measurement {
	row := func(name, unit string, times *float64) *figure {
		return &figure{Name: "limits " + name, Unit: unit, Times: times, Beside: peerLimiter}
	}
	four := func(what string, times *float64) []*figure {
		return []*figure{
			row("by Redis, "+what+": decisions", "/s", times),
			row("by Redis, "+what+": calls of Redis for 1,000", "calls", nil),
			row("by Redis, "+what+": CPU of Redis for 1,000", "µs", nil),
			row("by Redis, "+what+": CPU of the processes for 1,000", "µs", nil),
		}
	}
	var rows []*figure
	rows = append(rows, four("none refused", atLeast(10))...)
	rows = append(rows, four("all at their limit", nil)...)
	rows = append(rows, four("all at their limit, remembered", nil)...)
	rows = append(rows,
		row("without Redis, none refused: decisions", "/s", nil),
		row("without Redis, all at their limit: decisions", "/s", nil))
	return measurement{"limits", rows, func(b *bench) { b.measureLimits(rows) }}
}

func (b *bench) measureLimits(rows []*figure) {
	redis, err := startRedis(b)
	if err != nil {
		failAll(rows, err)
		return
	}
	defer redis.end()
	peer := deciding{}
	if b.pm2 != "" {
		if peer, err = b.limitsPeer(redis); err != nil {
			fmt.Fprintln(os.Stderr, "no comparison with "+peerLimiter+":", err)
		}
	}
	remembers := peer
	remembers.Blocks = true
	for _, of := range []struct {
		rows []*figure
		what deciding
		peer deciding
		note string
	}{
		{rows[0:4], nobodyRefused(redis.url), peer, fmt.Sprintf("RateLimiterRedis, %d in flight", peer.InFlight)},
		{rows[4:8], allAtTheirLimit(redis.url), peer, "the same"},
		{rows[8:12], allAtTheirLimit(redis.url), remembers, "the same, with inMemoryBlockOnConsumed"},
		{rows[12:13], nobodyRefused(""), peer, "RateLimiterMemory, each process for itself"},
		{rows[13:14], allAtTheirLimit(""), peer, "the same"},
	} {
		if !wanted(of.rows) {
			continue
		}
		for _, f := range of.rows {
			f.Note = of.note
		}
		add := func(side func(*figure) *rounds, command func(deciding) *exec.Cmd, d deciding) {
			if side(of.rows[0]).Error != "" || b.ctx.Err() != nil {
				return
			}
			got, err := b.decideTwice(redis, command, d)
			for tries := 1; errors.Is(err, errDisturbed) && tries < 5 && b.ctx.Err() == nil; tries++ {
				fmt.Fprintln(os.Stderr, "once more:", err)
				got, err = b.decideTwice(redis, command, d)
			}
			for i, v := range []float64{got.perSecond, got.calls, got.cpu, got.own}[:len(of.rows)] {
				side(of.rows[i]).add(v, err)
			}
		}
		for range min(b.rounds, 5) {
			add(func(f *figure) *rounds { return &f.Neko }, b.ourDecider, of.what)
			if peer.Modules != "" {
				d := of.what
				d.Modules, d.Pipelined, d.Blocks, d.InFlight = of.peer.Modules, of.peer.Pipelined, of.peer.Blocks, of.peer.InFlight
				add(func(f *figure) *rounds { return &f.Peer }, b.peerDecider, d)
			}
		}
	}
}

// limitsPeer installs the peer, and finds out how it is fastest: with how many decisions under way, and
// whether ioredis is to gather them.
func (b *bench) limitsPeer(redis *redisServer) (best deciding, err error) {
	packages := []string{peerLimiter + "@" + peerVersion, peerClient}
	if _, installed, err := npm.Find(packages...); err == nil && !installed {
		fmt.Fprintln(os.Stderr, "installing", strings.Join(packages, ", "), "…")
	}
	dir, err := npm.Install(b.ctx, packages...)
	if err != nil {
		return deciding{}, err
	}
	most := 0.0
	for _, inFlight := range []int{64, 256, 1024, 2048} {
		for _, pipelined := range []bool{false, true} {
			d := nobodyRefused(redis.url)
			d.Modules, d.InFlight, d.Pipelined, d.Warm, d.Measured = dir, inFlight, pipelined, 0.5, 0.5
			got, err := b.decideTwice(redis, b.peerDecider, d)
			if err != nil {
				return deciding{}, err
			}
			if got.perSecond > most {
				most, best = got.perSecond, d
			}
		}
	}
	return best, nil
}

func (b *bench) peerDecider(d deciding) *exec.Cmd {
	return exec.CommandContext(b.ctx, "node", b.peer, jsonOf(d))
}

// ourDecider is this program: see limits_decide.go.
func (b *bench) ourDecider(d deciding) *exec.Cmd {
	return exec.CommandContext(b.ctx, "/proc/self/exe", decideCommand, jsonOf(d))
}

func jsonOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // of our own types
	}
	return string(text)
}

// errDisturbed is a round in which Redis was not asked, as it took too long to answer. On an idle
// machine that does not happen.
var errDisturbed = errors.New("the machine was too busy for Redis to answer in time")

// decideTwice has two processes decide at once, on an empty Redis.
func (b *bench) decideTwice(redis *redisServer, command func(deciding) *exec.Cmd, d deciding) (sum decided, err error) {
	if err := redis.empty(b.ctx); err != nil {
		return sum, err
	}
	if d.Run, err = os.MkdirTemp(b.tmp, "l"); err != nil {
		return sum, err
	}
	defer os.RemoveAll(d.Run)
	var both [2]*decider
	for i := range both {
		if both[i], err = startDecider(command(d)); err != nil {
			return sum, err
		}
		defer both[i].end()
	}
	for _, p := range both {
		if err := p.warm(); err != nil {
			return sum, err
		}
	}
	pids := []int{both[0].cmd.Process.Pid, both[1].cmd.Process.Pid}
	ticksBefore, err := ticks(pids)
	if err != nil {
		return sum, err
	}
	before, err := redis.spent(b.ctx)
	if err != nil {
		return sum, err
	}
	for _, p := range both {
		if _, err := io.WriteString(p.in, "go\n"); err != nil {
			return sum, err
		}
	}
	for _, p := range both {
		var one decided
		line, err := p.line()
		if err == nil {
			err = json.Unmarshal([]byte(line), &one)
		}
		if err != nil {
			return sum, err
		}
		sum.Decisions += one.Decisions
		sum.Refused += one.Refused
		sum.Alone += one.Alone
		sum.perSecond += float64(one.Decisions) / one.Seconds
	}
	after, err := redis.spent(b.ctx)
	if err != nil {
		return sum, err
	}
	ticksAfter, err := ticks(pids)
	if err != nil {
		return sum, err
	}
	sum.calls = (after.calls - before.calls) * 1000 / float64(sum.Decisions)
	sum.own = float64(ticksAfter-ticksBefore) * 10_000 * 1000 / float64(sum.Decisions) // a tick is a hundredth of a second
	sum.cpu = (after.cpu - before.cpu) * 1000 / float64(sum.Decisions)
	switch {
	case sum.Alone > uint64(sum.Decisions)/1000: // less does not change a figure
		return sum, fmt.Errorf("%w: %d decisions of %d", errDisturbed, sum.Alone, sum.Decisions)
	case d.Full && sum.Refused < sum.Decisions*8/10:
		return sum, fmt.Errorf("%d of %d decisions were refusals: not all are at their limit", sum.Refused, sum.Decisions)
	case !d.Full && sum.Refused > int64(sum.Alone):
		return sum, fmt.Errorf("%d of %d decisions were refusals: none should have been", sum.Refused, sum.Decisions)
	}
	return sum, nil
}

// decider is a process that decides.
type decider struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	diag strings.Builder
}

func startDecider(cmd *exec.Cmd) (*decider, error) {
	p := &decider{cmd: cmd}
	cmd.Stderr = &p.diag
	cmd.WaitDelay = time.Second
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	return p, cmd.Start()
}

func (p *decider) line() (string, error) {
	if p.out.Scan() {
		return p.out.Text(), nil
	}
	err := p.out.Err()
	if err == nil {
		err = errors.New("it ended")
		p.cmd.Wait()
	}
	return "", fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), err, &p.diag)
}

func (p *decider) warm() error {
	line, err := p.line()
	if err == nil && line != "warm" {
		err = fmt.Errorf("%s says %q", p.cmd.Path, line)
	}
	return err
}

func (p *decider) end() {
	p.in.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
