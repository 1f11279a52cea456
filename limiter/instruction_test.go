//go:build amd64

package limiter

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process decides one instruction after the other, under ptrace(2): it is killed
// before each, or stopped there while others decide, and goes on itself.
//
// First all instructions are run one by one. Those of this package are numbered; whatever
// it calls is run at once. What a kill leaves is what is in the memory then: wherever it has
// changed, a copy is inspected. Then the process is really killed at some instructions, and
// stopped at some and at all that change something. NEKO_TEST_INSTRUCTIONS is how many of each deed, a number or "all".

// instruction is one of a deed: the nth time that pc is reached.
type instruction struct {
	pc  uintptr
	nth int
}

// runDeeds does the deeds that it reads the names of, between two signals for who traces it.
func runDeeds(h, more *Host) {
	runtime.LockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	mark := func() {
		if err := unix.Tgkill(pid, tid, unix.SIGSTOP); err != nil {
			panic(err)
		}
	}
	fmt.Println(tid)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		i, err := strconv.Atoi(in.Text())
		if err != nil {
			panic(err)
		}
		mark()
		did := deeds[i].do(h, more)
		mark()
		printTaken(did)
	}
}

// tracee is the other process, and its thread that does the deeds.
type tracee struct {
	t    *testing.T
	cmd  *exec.Cmd
	tid  int
	in   *os.File
	out  *bufio.Scanner
	dead bool
}

func trace(t *testing.T, dir string) *tracee {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &tracee{t: t, cmd: exec.Command(self, "-test.run", "^TestChild$")}
	// A collection or a preemption would only take time: each is many instructions.
	p.cmd.Env = append(os.Environ(), childEnv+"="+dir, "GODEBUG=asyncpreemptoff=1", "GOGC=off")
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, os.Stderr
	err = p.cmd.Start()
	stdin.Close()
	stdout.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		in.Close()
		out.Close()
	})
	if _, err := fmt.Sscan(p.line(), &p.tid); err != nil {
		t.Fatal(err)
	}
	if err := p.ptrace(unix.PTRACE_SEIZE, unix.PTRACE_O_EXITKILL); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("skipped: ptrace(2) is not allowed here: %v", err)
	}
	return p
}

func (p *tracee) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatal("the other process has ended")
	}
	return p.out.Text()
}

func (p *tracee) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *tracee) ptrace(request int, data uintptr) error {
	if _, _, e := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(p.tid), 0, data, 0, 0); e != 0 {
		return os.NewSyscallError("ptrace", e)
	}
	return nil
}

// wait returns what has stopped it.
func (p *tracee) wait() unix.Signal {
	p.t.Helper()
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(p.tid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		p.must(err)
		if !status.Stopped() {
			p.t.Fatalf("it has ended: %#x", status)
		}
		return status.StopSignal()
	}
}

// begin has it begin a deed.
func (p *tracee) begin(deed int) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.in, deed)
	p.must(err)
	if sig := p.wait(); sig != unix.SIGSTOP {
		p.t.Fatalf("%v before the deed", sig)
	}
}

// end has it end a deed, and says what it has taken.
func (p *tracee) end() taken {
	p.t.Helper()
	for p.ptraceAndWait(unix.PTRACE_CONT) != unix.SIGSTOP {
	}
	return p.result()
}

func (p *tracee) ptraceAndWait(request int) unix.Signal {
	p.t.Helper()
	p.must(p.ptrace(request, 0))
	return p.wait()
}

func (p *tracee) result() (did taken) {
	p.t.Helper()
	p.must(p.ptrace(unix.PTRACE_CONT, 0))
	p.must(json.Unmarshal([]byte(p.line()), &did))
	return did
}

func (p *tracee) kill() {
	if p.dead {
		return
	}
	p.dead = true
	_ = p.cmd.Process.Kill()
	var status unix.WaitStatus
	for p.tid != 0 { // its threads end when who traces them knows
		if _, err := unix.Wait4(p.tid, &status, unix.WALL, nil); err != nil && err != unix.EINTR || err == nil && !status.Stopped() {
			break
		}
	}
	_ = p.cmd.Wait()
}

func (p *tracee) regs() (regs unix.PtraceRegs) {
	p.t.Helper()
	p.must(unix.PtraceGetRegs(p.tid, &regs))
	return regs
}

// runTo lets it run until it reaches pc, with everything above in its stack; false if the
// deed ends before.
func (p *tracee) runTo(pc uintptr) bool {
	p.t.Helper()
	var was [1]byte
	_, err := unix.PtracePeekText(p.tid, pc, was[:])
	p.must(err)
	_, err = unix.PtracePokeText(p.tid, pc, []byte{0xcc})
	p.must(err)
	sig := p.ptraceAndWait(unix.PTRACE_CONT)
	_, err = unix.PtracePokeText(p.tid, pc, was[:])
	p.must(err)
	if sig == unix.SIGSTOP {
		return false
	}
	regs := p.regs()
	if sig != unix.SIGTRAP || uintptr(regs.Rip) != pc+1 {
		p.t.Fatalf("stopped by %v at %#x", sig, regs.Rip)
	}
	regs.Rip = uint64(pc)
	p.must(unix.PtraceSetRegs(p.tid, &regs))
	return true
}

// reach lets it run until an instruction.
func (p *tracee) reach(i instruction) bool {
	p.t.Helper()
	for n := 0; ; n++ {
		if !p.runTo(i.pc) {
			return false
		}
		if n == i.nth {
			return true
		}
		if p.ptraceAndWait(unix.PTRACE_SINGLESTEP) == unix.SIGSTOP {
			return false
		}
	}
}

// outermost is the function that an instruction belongs to, and where that begins.
func outermost(pc uintptr) (name string, entry uintptr) {
	f := runtime.FuncForPC(pc)
	if f == nil {
		return "", 0
	}
	entry = f.Entry() // of the function that others may be inlined in
	return runtime.FuncForPC(entry).Name(), entry
}

func ours(name string) bool { return strings.HasPrefix(name, "github.com/nekoctl/neko/limiter.") }

// every runs a deed by single instructions, and calls f before each.
func (p *tracee) every(f func(instruction)) {
	p.t.Helper()
	seen := map[uintptr]int{}
	inside := false
	for {
		pc := uintptr(p.regs().Rip)
		name, entry := outermost(pc)
		switch {
		case ours(name):
			inside = true
			f(instruction{pc, seen[pc]})
			seen[pc]++
		case inside && pc == entry:
			// What is called returns to where its caller has put the address.
			regs := p.regs()
			var address [8]byte
			_, err := unix.PtracePeekData(p.tid, uintptr(regs.Rsp), address[:])
			p.must(err)
			back := uintptr(0)
			for i, b := range address {
				back |= uintptr(b) << (8 * i)
			}
			if caller, _ := outermost(back); ours(caller) {
				if !p.runTo(back) {
					return
				}
				continue
			}
		}
		if p.ptraceAndWait(unix.PTRACE_SINGLESTEP) == unix.SIGSTOP {
			return
		}
	}
}

// some are indices of a few of n instructions, or of as many as were asked for.
func some(n, few int) []int {
	if s := os.Getenv("NEKO_TEST_INSTRUCTIONS"); s == "all" {
		few = n
	} else if many, err := strconv.Atoi(s); err == nil {
		few = many
	}
	all := rand.Perm(n)[:min(few, n)]
	slices.Sort(all)
	return all
}

func TestAProcessIsKilledOrStoppedAtAnyInstruction(t *testing.T) {
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	dir := t.TempDir()
	h := openHost(t, dir)
	p := trace(t, dir)
	for i := range deeds { // what is only done the first time is done
		deeds[i].prepare(h)
		p.begin(i)
		p.end()
	}
	for i, d := range deeds {
		instructions, changes := everyInstruction(t, p, h, i)
		stopped, killed := 0, 0
		stops := append(some(len(instructions), 3), changes...)
		slices.Sort(stops)
		for _, at := range slices.Compact(stops) {
			for _, others := range meanwhile {
				before := d.prepare(h)
				p.begin(i)
				if !p.reach(instructions[at]) {
					p.result()
					continue // it has lost its CPU in the first run, and not in this
				}
				stopped++
				if d.later != nil {
					d.later(h)
				}
				sum, then := others.do(h)
				before = before.add(sum)
				did := p.end()
				if then != nil {
					before = before.add(then())
				}
				perhaps := taken{}
				for key, n := range d.most { // what it has given back, and so not taken
					if did[key] < n {
						perhaps[key] = 0
					}
				}
				if err := inspect(h, before.add(did), perhaps, d.forgets); err != nil {
					t.Errorf("%s: stopped at %s, while others: %s; then it has taken %v: %v", d.name, where(instructions[at]), others.name, did, err)
				}
			}
		}
		for _, at := range some(len(instructions), 3) {
			dying := trace(t, dir)
			before, reached := taken(nil), false
			for range 3 { // the first time it has other instructions
				before = d.prepare(h)
				dying.begin(i)
				if reached = dying.reach(instructions[at]); reached {
					break
				}
				dying.result()
			}
			if !reached {
				dying.kill()
				continue
			}
			dying.kill()
			killed++
			if err := inspect(h, before, d.most, d.forgets); err != nil {
				t.Errorf("%s: killed at %s: %v", d.name, where(instructions[at]), err)
			}
		}
		t.Logf("%s: %d instructions, %d states of the table; stopped %d times, killed %d times", d.name, len(instructions), len(changes)+1, stopped, killed)
	}
}

func where(i instruction) string {
	name, _ := outermost(i.pc)
	_, line := runtime.FuncForPC(i.pc).FileLine(i.pc)
	return fmt.Sprintf("%s:%d (%#x, time %d)", strings.TrimPrefix(name, "github.com/nekoctl/neko/limiter."), line, i.pc, i.nth)
}

// everyInstruction inspects what a kill at any instruction of a deed leaves. It returns them
// all, and which of them change the table: those were decided on before.
func everyInstruction(t *testing.T, p *tracee, h *Host, deed int) (all []instruction, changes []int) {
	d := deeds[deed]
	before := d.prepare(h)
	snapshot := newSnapshot(t, h)
	snapshot.take(h)
	p.begin(deed)
	p.every(func(i instruction) {
		all = append(all, i)
		if !snapshot.take(h) {
			return
		}
		changes = append(changes, len(all)-2)
		if err := inspect(snapshot.host, before, d.most, d.forgets); err != nil {
			t.Errorf("%s: killed at %s: %v", d.name, where(i), err)
		}
	})
	p.result()
	return all, changes
}

// snapshot is a copy of a table.
type snapshot struct {
	words []uint64
	host  *Host
}

func newSnapshot(t *testing.T, h *Host) *snapshot {
	s := &snapshot{host: host(t, anonymous(t, len(h.table.entries)))}
	s.host.table.seed = h.table.seed
	return s
}

func words(e *entry) []uint64 {
	return []uint64{
		e.tag.Load(), uint64(e.tat.Load()), e.leases[0].Load(), e.leases[1].Load(),
		uint64(e.seen.Load()), e.demand.Load(), uint64(e.asked.Load()), uint64(e.pace.Load()),
	}
}

// take copies the table, if it is not as it was the last time.
func (s *snapshot) take(h *Host) bool {
	var now []uint64
	for i := range h.table.entries {
		now = append(now, words(&h.table.entries[i])...)
	}
	if slices.Equal(now, s.words) {
		return false
	}
	s.words = now
	for i := range h.table.entries {
		e, w := &s.host.table.entries[i], now[8*i:]
		e.tag.Store(w[0])
		e.tat.Store(int64(w[1]))
		e.leases[0].Store(w[2])
		e.leases[1].Store(w[3])
		e.seen.Store(int64(w[4]))
		e.demand.Store(w[5])
		e.asked.Store(int64(w[6]))
		e.pace.Store(int64(w[7]))
	}
	return true
}
