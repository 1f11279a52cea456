// Package spec says what an app is before it runs: the keys of neko.yaml and
// the flags of `nekoctl start`, parsed, checked and completed with defaults.
//
// It knows nothing of processes. The command line builds an [App] and sends it
// to the master, which keeps it in its state and starts processes from it.
package spec

import "time"

// Max as [App.Instances] means one instance for each CPU that the cgroup
// grants; the master resolves it when the app starts.
const Max = 0

// Balance says how new connections find a worker.
type Balance string

const (
	// BalanceSlots gives each slot an SO_REUSEPORT socket of its own and lets a
	// cBPF program choose one at random for each new connection.
	BalanceSlots Balance = "slots"
	// BalanceShared gives all workers the same socket: whoever accepts first.
	BalanceShared Balance = "shared"
)

// App is one app, complete: every default is filled in, every path absolute.
// It is also the wire form (control API) and the stored form (state file), so
// fields are only ever added.
type App struct {
	// Name is unique in a daemon: letters, digits, dot, dash, underscore; not
	// "all", not a number.
	Name string `json:"name"`
	// Command is the argument vector. Command[0] is a path (absolute) or a bare
	// name that is looked up on the PATH of Env, else of the master.
	Command []string `json:"command"`
	// Cwd is the absolute directory in which the processes start.
	Cwd string `json:"cwd"`
	// Env is the whole environment of the processes, without what the worker
	// contract adds (NEKO_*, LISTEN_*, NOTIFY_SOCKET).
	Env map[string]string `json:"env"`
	// Instances is the number of slots, or [Max].
	Instances int `json:"instances"`
	// Listen are the sockets that the master opens and the processes inherit,
	// in the order of their descriptors from 3 on.
	Listen []Listener `json:"listen,omitempty"`
	// Balance is how connections are shared among slots.
	Balance Balance `json:"balance,omitempty"`
	// ListenPID says that the program checks LISTEN_PID, as sd_listen_fds(3)
	// does, and is therefore started through the exec shim (about 2 ms). Programs
	// on package worker do not.
	ListenPID bool `json:"listen_pid"`
	// WaitReady says that only READY=1 makes a process ready. Otherwise READY=1
	// or the sight of it accepting does, and one without listeners is ready when
	// it has run for a quarter of a second.
	WaitReady bool `json:"wait_ready"`
	// ListenTimeout is how long a process may take to become ready.
	ListenTimeout Duration `json:"listen_timeout"`
	// DrainTimeout is how long a process may take, after its SIGTERM, to finish
	// what it serves. It is told so by NEKO_DRAIN_TIMEOUT.
	DrainTimeout Duration `json:"drain_timeout"`
	// KillTimeout is the time between the end of DrainTimeout and SIGKILL.
	KillTimeout Duration `json:"kill_timeout"`
	// MinUptime is how long a process must have run for its exit not to count
	// as unstable.
	MinUptime Duration `json:"min_uptime"`
	// MaxRestarts unstable exits within RestartWindow make a slot errored.
	MaxRestarts   int      `json:"max_restarts"`
	RestartWindow Duration `json:"restart_window"`
	// Spare is how many more processes of each slot have started and wait to take
	// over when the one that serves crashes: 0 or 1.
	Spare int `json:"spare,omitempty"`
	// Watchdog is how often a process that is ready must say WATCHDOG=1 not to be
	// taken for hung; 0: it need not.
	Watchdog Duration `json:"watchdog"`
	// Liveness is what a process that serves is asked now and then, nil: nothing.
	Liveness *Probe `json:"liveness,omitempty"`
	// URLPath, as "/graphql", is where to look at the app behind its first
	// listener; start prints the URL.
	URLPath string `json:"url_path,omitempty"`
	// Source is the file that the app came from, "" for the command line.
	Source string `json:"source,omitempty"`
}

// Probe is a question to one process by way of its first listener. Too many
// failures in a row, and it is taken for hung.
type Probe struct {
	// HTTP is the path of a GET that is to be answered with 200 to 399.
	HTTP     string   `json:"http"`
	Interval Duration `json:"interval"` // from one question to the next
	Timeout  Duration `json:"timeout"`  // of one
	Failures int      `json:"failures"` // in a row
}

// DefaultProbe asks every five seconds, and believes it at the third time.
func DefaultProbe() Probe {
	return Probe{Interval: Duration(5 * time.Second), Timeout: Duration(time.Second), Failures: 3}
}

// Listener is one address that an app listens on.
type Listener struct {
	// Name goes to LISTEN_FDNAMES; unique in the app.
	Name string `json:"name"`
	// Network is "tcp" or "unix".
	Network string `json:"network"`
	// Address is "127.0.0.1:4000", "[::]:80", ":80" (all addresses, dual stack),
	// "127.0.0.1:0" (a port that the kernel chooses), or an absolute path.
	Address string `json:"address"`
}

// Duration is a time.Duration whose text form is Go's ("1.5s").
type Duration time.Duration

// Defaults is an App with nothing but the defaults.
func Defaults() App {
	return App{
		Instances:     1,
		Balance:       BalanceSlots,
		ListenPID:     true,
		ListenTimeout: Duration(10 * time.Second),
		DrainTimeout:  Duration(10 * time.Second),
		KillTimeout:   Duration(2 * time.Second),
		MinUptime:     Duration(time.Second),
		MaxRestarts:   10,
		RestartWindow: Duration(time.Minute),
	}
}

// D is d as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}
