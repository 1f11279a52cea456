package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/spec"
)

// ExecMode is the first argument that makes the binary the exec shim.
const ExecMode = "__exec"

// shimName is its name in lists of processes.
const shimName = "neko-exec"

// orders are what the exec shim does between the fork and the program. They are an
// argument, so that nothing in an app's environment can give any, and as all can
// read arguments there is nothing secret in them.
type orders struct {
	ListenPID bool                   `json:"listen_pid,omitempty"`
	Umask     *int                   `json:"umask,omitempty"`
	Rlimits   map[string]spec.Rlimit `json:"rlimits,omitempty"`
	Nice      int                    `json:"nice,omitempty"`
	CPU       *int                   `json:"cpu,omitempty"`
	Identity  *spec.Identity         `json:"identity,omitempty"`
}

// ordersFor a process; it is looked up anew for each whom its user is.
func ordersFor(p *process) (o orders, err error) {
	app := p.spec
	o = orders{ListenPID: app.ListenPID && len(p.slot.app.groups) > 0 && !p.clustered(), Rlimits: app.Rlimits, Nice: app.Nice}
	if bits, ok := app.UmaskBits(); ok {
		o.Umask = &bits
	}
	if app.Pin {
		cpu, err := cpuFor(p.slot.index)
		if err != nil {
			return o, fmt.Errorf("pin: %w", err)
		}
		o.CPU = &cpu
	}
	// Without root's rights there is nobody else to become: the spec was checked.
	if o.Identity, err = app.Identity(); err != nil || os.Geteuid() != 0 {
		o.Identity = nil
	}
	return o, err
}

func (o orders) none() bool {
	return !o.ListenPID && o.Umask == nil && len(o.Rlimits) == 0 && o.Nice == 0 && o.CPU == nil && o.Identity == nil
}

func (o orders) String() string {
	text, _ := json.Marshal(o) // numbers and names
	return string(text)
}

// cpuFor is the CPU that a slot is tied to: those that the master may use, in the
// order of their numbers, one for each slot, and from the first on again.
func cpuFor(slot int) (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, err
	}
	nth := slot % max(1, set.Count())
	for cpu := range len(set) * strconv.IntSize {
		if set.IsSet(cpu) {
			if nth--; nth < 0 {
				return cpu, nil
			}
		}
	}
	return 0, errors.New("there is no CPU")
}

// shimSays begins what the exec shim has to say, on its standard error.
const shimSays = "neko: cannot start: "

// shimFailed is the exit code of a shim that has not become its program.
const shimFailed = 127

// ExecMain is the exec shim: it sets what can only be set after the fork and
// becomes the program. Its arguments are its orders, the program's path and its
// argument vector. It returns, with an exit code, only if the program cannot be run.
func ExecMain(args []string) int {
	var o orders
	if len(args) < 3 || json.Unmarshal([]byte(args[0]), &o) != nil {
		fmt.Fprintln(os.Stderr, "error: this mode is for the master only")
		return 2
	}
	// Nice and affinity are a thread's; the one that calls execve is the program's.
	runtime.LockOSThread()
	env := os.Environ()
	if o.ListenPID {
		env = append(env, "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	}
	err := o.carryOut()
	if err == nil {
		if err = unix.Exec(args[1], args[2:], env); err != nil {
			err = fmt.Errorf("run %s%s: %w", args[1], o.asWhom(), err)
		}
	}
	fmt.Fprintf(os.Stderr, "%s%v\n", shimSays, err)
	return shimFailed
}

// carryOut sets everything, the rights last, for the rest may take them. There is
// no way back: the saved ids are set as well.
func (o orders) carryOut() error {
	if o.Umask != nil {
		unix.Umask(*o.Umask)
	}
	if o.CPU != nil {
		var set unix.CPUSet
		set.Set(*o.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("pin to CPU %d: %w", *o.CPU, err)
		}
	}
	if o.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, o.Nice); err != nil {
			return fmt.Errorf("nice %d: %w", o.Nice, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Rlimits)) {
		l := o.Rlimits[name]
		// By package syscall, which else would set nofile back before the execve.
		if err := syscall.Setrlimit(spec.RlimitNumber(name), &syscall.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return fmt.Errorf("rlimit %s: %w%s", name, err, hardLimit(name, err))
		}
	}
	id := o.Identity
	if id == nil {
		return nil
	}
	groups := make([]int, len(id.Groups))
	for i, g := range id.Groups {
		groups[i] = int(g)
	}
	// By package syscall, which does it for all threads.
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set the groups%s: %w", o.asWhom(), err)
	}
	if err := syscall.Setresgid(int(id.GID), int(id.GID), int(id.GID)); err != nil {
		return fmt.Errorf("set the group%s: %w", o.asWhom(), err)
	}
	if err := syscall.Setresuid(int(id.UID), int(id.UID), int(id.UID)); err != nil {
		return fmt.Errorf("set the user%s: %w", o.asWhom(), err)
	}
	return nil
}

func (o orders) asWhom() string {
	if o.Identity == nil {
		return ""
	}
	return fmt.Sprintf(" as uid %d, gid %d", o.Identity.UID, o.Identity.GID)
}

// hardLimit explains why a limit cannot be raised.
func hardLimit(name string, err error) string {
	var now unix.Rlimit
	if err != unix.EPERM || unix.Getrlimit(spec.RlimitNumber(name), &now) != nil {
		return ""
	}
	return fmt.Sprintf(" (the daemon's hard limit is %d)", now.Max)
}

// shimReason is what the shim of a process has said, "" if it has become the
// program.
func (p *process) shimReason() string {
	for _, line := range slices.Backward(p.tails[1].Lines()) {
		if reason, ok := strings.CutPrefix(line, shimSays); ok {
			return "cannot be run: " + reason
		}
	}
	return ""
}
