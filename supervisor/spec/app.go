// Package spec says what an app is before it runs: the keys of neko.yaml and
// the flags of `nekoctl start`, parsed, checked and completed with defaults.
//
// It knows nothing of processes. The command line builds an [App] and sends it
// to the master, which keeps it in its state and starts processes from it.
package spec

import (
	"encoding/json"
	"maps"
	"time"
)

// Max as [App.Instances] means one instance for each CPU that the cgroup
// grants, and a number below it so many fewer, but one at least; the master
// resolves it when the app starts.
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
	// Title is the name that people see and give, if it is not Name: any text, and
	// several apps may have the same. PM2's names are like that.
	Title string `json:"title,omitempty"`
	// Namespace is a name for several apps together; "": [DefaultNamespace].
	Namespace string `json:"namespace,omitempty"`
	// Type says whether the processes serve or do one piece of work.
	Type Type `json:"type"`
	// Command is the argument vector. Command[0] is a path (absolute) or a bare
	// name that is looked up on the PATH of Env, else of the master.
	Command []string `json:"command"`
	// Cwd is the absolute directory in which the processes start.
	Cwd string `json:"cwd"`
	// Env is the whole environment of the processes, without what the worker
	// contract adds (NEKO_*, LISTEN_*, NOTIFY_SOCKET).
	Env map[string]string `json:"env"`
	// Instances is the number of slots, [Max], or -N: N fewer than that.
	Instances int `json:"instances"`
	// InstanceVar is the variable that tells a process the number of its slot, beside
	// NEKO_SLOT. IncrementVar is one of Env, a number, that is larger by one in each
	// slot than in the one before; "": none.
	InstanceVar  string `json:"instance_var"`
	IncrementVar string `json:"increment_var,omitempty"`
	// Node is how a program of Node's is run; Command[0] is node then.
	Node NodeMode `json:"node,omitempty"`
	// ShutdownWithMessage says that the message 'shutdown', and no signal, tells a
	// program of Node's to finish.
	ShutdownWithMessage bool `json:"shutdown_with_message,omitempty"`
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
	// ListenTimeout is how long a process may take to become ready. With ReadyAnyway it
	// counts as ready then, as with PM2: many an app has wait_ready and says nothing.
	ListenTimeout Duration `json:"listen_timeout"`
	ReadyAnyway   bool     `json:"ready_anyway,omitempty"`
	// DrainTimeout is how long a process may take, after its SIGTERM, to finish
	// what it serves. It is told so by NEKO_DRAIN_TIMEOUT.
	DrainTimeout Duration `json:"drain_timeout"`
	// KillTimeout is the time between the end of DrainTimeout and SIGKILL.
	KillTimeout Duration `json:"kill_timeout"`
	// ShutdownDelay is how long a process goes on to serve after a stop was asked
	// for, before it is told: so long balancers may need to see that it will.
	ShutdownDelay Duration `json:"shutdown_delay"`
	// StopSignal tells a process to finish, "SIGTERM" say.
	StopSignal string `json:"stop_signal"`
	// DrainConnections says that a process which was told to finish, and has no
	// connection left that it has accepted, has nothing to finish any more: KillTimeout
	// counts from then on. Else it has DrainTimeout in any case, for whatever it does.
	DrainConnections bool `json:"drain_connections,omitempty"`
	// Treekill says that with a process all that it has started is ended, that has
	// not left its process group.
	Treekill bool `json:"treekill"`

	// Autostart says that the slots are to run as soon as the app is known. Else they
	// are stopped until a command starts them.
	Autostart bool `json:"autostart"`
	// Autorestart says that a process which ends by itself gets a successor. Else
	// its slot is stopped; so it is after an exit with one of StopExitCodes.
	Autorestart   bool  `json:"autorestart"`
	StopExitCodes []int `json:"stop_exit_codes,omitempty"`
	// MinUptime is how long a process must have run for its exit not to count
	// as unstable.
	MinUptime Duration `json:"min_uptime"`
	// MaxRestarts unstable exits within RestartWindow make a slot errored.
	MaxRestarts   int      `json:"max_restarts"`
	RestartWindow Duration `json:"restart_window"`
	// RestartDelay is the least time between an exit and the start after it.
	RestartDelay Duration `json:"restart_delay"`
	// Backoff is how that time grows with unstable exits in a row.
	Backoff Backoff `json:"exp_backoff_restart_delay"`
	// CronRestart is when the app is reloaded, or started again if it has ended by
	// itself: a cron expression of five fields, or six with seconds before them;
	// "": never. It means the master's local time.
	CronRestart string `json:"cron_restart,omitempty"`
	// MaxMemory is how many resident bytes of a process have it replaced by a
	// reload; 0: any number is fine.
	MaxMemory Size `json:"max_memory_restart,omitempty"`
	// Watch are absolute paths whose changes reload the app; IgnoreWatch are globs
	// of what is not looked at there (see [App.Ignores]); WatchDelay is for how long
	// nothing must have changed any more.
	Watch       []string `json:"watch,omitempty"`
	IgnoreWatch []string `json:"ignore_watch"`
	WatchDelay  Duration `json:"watch_delay"`

	// Parallel is how many processes a reload replaces at a time, once the first
	// successor has proved itself.
	Parallel int `json:"parallel"`
	// Spare is how many more processes of each slot have started and wait to take
	// over when the one that serves crashes: 0 or 1.
	Spare int `json:"spare,omitempty"`
	// Watchdog is how often a process that is ready must say WATCHDOG=1 not to be
	// taken for hung; 0: it need not.
	Watchdog Duration `json:"watchdog"`
	// Startup is what a process that has started is asked until it passes for the
	// first time, Readiness what it must pass to get connections, Liveness what it
	// must pass not to be taken for hung; nil: nothing. The first two make it ready
	// in the place of being seen to accept.
	Startup   *Probe `json:"startup,omitempty"`
	Readiness *Probe `json:"readiness,omitempty"`
	Liveness  *Probe `json:"liveness,omitempty"`

	// DependsOn are the apps that must have come to something before this one
	// starts, and that stop after it.
	DependsOn []Dependency `json:"depends_on,omitempty"`

	// OutFile and ErrorFile are absolute paths, "/dev/null" among them; "": the
	// home's. Unless MergeLogs has all processes print to one file, there is one for
	// each slot: see [App.LogFile].
	OutFile   string `json:"out_file,omitempty"`
	ErrorFile string `json:"error_file,omitempty"`
	MergeLogs bool   `json:"merge_logs"`
	// AllFile is an absolute path of a file that gets both, beside the two; "": none.
	AllFile string `json:"log_file,omitempty"`
	// PIDFile is the absolute path of the files in which the pid of a slot's process
	// is, as [App.PIDFileOf] has them; "": none.
	PIDFile string `json:"pid_file,omitempty"`
	// NumberByID says that the files of a slot have the id of the process in their
	// names, as PM2's have, and not the index of the slot.
	NumberByID bool `json:"number_by_id,omitempty"`
	// LogType is "raw", lines as they were printed, or "json", an object for each.
	LogType string `json:"log_type"`
	// LogDateFormat is what is put before each line, in the tokens of PM2 (day.js):
	// "YYYY-MM-DD HH:mm:ss.SSS Z"; "": nothing.
	LogDateFormat string `json:"log_date_format,omitempty"`
	LogRotate     Rotate `json:"log_rotate"`

	// UID and GID are names or numbers of whom the processes run as, "": the
	// master's own. A UID alone brings its group and its supplementary groups.
	UID string `json:"uid,omitempty"`
	GID string `json:"gid,omitempty"`
	// Umask is in octal, "022"; "": the master's.
	Umask string `json:"umask,omitempty"`
	// Rlimits are by their names in lower case: nofile, core, nproc (prlimit(1)).
	Rlimits map[string]Rlimit `json:"rlimits,omitempty"`
	// Nice is -20 (goes first) to 19; 0: the master's own.
	Nice int `json:"nice,omitempty"`
	// Pin ties each slot to one of the CPUs that the master may use.
	Pin bool `json:"pin"`

	// URLPath, as "/graphql", is where to look at the app behind its first
	// listener; start prints the URL.
	URLPath string `json:"url_path,omitempty"`
	// Source is the file that the app came from, "" for the command line.
	Source string `json:"source,omitempty"`

	// PM2 is what PM2 would list of the app (pm2_env) that does not change while it
	// runs, without its environment: a JSON object whose keys are in PM2's order. The
	// master gives it to the processes as variables, and else only keeps it; nil: the
	// app was not started by PM2's commands.
	PM2 json.RawMessage `json:"pm2,omitempty"`
}

// DefaultNamespace is where apps are that name none.
const DefaultNamespace = "default"

// ShownName is the name that people see and give.
func (a *App) ShownName() string {
	if a.Title != "" {
		return a.Title
	}
	return a.Name
}

// NamespaceName is Namespace, or the default.
func (a *App) NamespaceName() string {
	if a.Namespace != "" {
		return a.Namespace
	}
	return DefaultNamespace
}

// NodeMode is how a program of Node's is run.
type NodeMode string

const (
	// NodeNone is a program of another make, or one of Node's that takes what
	// the worker contract gives.
	NodeNone NodeMode = ""
	// NodeFork gives it an IPC channel (process.send), and lets it listen by itself.
	NodeFork NodeMode = "fork"
	// NodeCluster makes it a worker of Node's cluster module: it gets its sockets
	// from the master, over its channel.
	NodeCluster NodeMode = "cluster"
)

// Type says what an app's processes are for.
type Type string

const (
	// Service is a program that serves until it is told to stop.
	Service Type = "service"
	// Task is one that does its work and ends: its app has come up when it has
	// ended with 0.
	Task Type = "task"
)

// Backoff is how long a slot waits after the second, third … unstable exit in a
// row: Initial, twice that and so on up to Max, less up to Jitter (0 to 1) of it
// at random. With an Initial of 0 it does not wait.
type Backoff struct {
	Initial Duration `json:"initial"`
	Max     Duration `json:"max"`
	Jitter  float64  `json:"jitter"`
}

// Probe is a question to one process, by one of HTTP, TCP and Exec.
type Probe struct {
	// HTTP is the path of a GET, by way of the first listener and the slot's own
	// socket there, or a URL; 200 to 399 is a pass.
	HTTP string `json:"http,omitempty"`
	// TCP is the name of a listener, or an address to connect to.
	TCP string `json:"tcp,omitempty"`
	// Exec is a command that passes when it ends with 0. It gets the process's
	// environment and folder, and NEKO_PID.
	Exec     []string `json:"exec,omitempty"`
	Interval Duration `json:"interval"` // from one question to the next
	Timeout  Duration `json:"timeout"`  // of one
	Failures int      `json:"failures"` // in a row are a fail
}

// Condition is what an app awaits of another.
type Condition string

// The conditions of [App.DependsOn].
const (
	Started   Condition = "started"   // its processes have been started
	Ready     Condition = "ready"     // they serve
	Completed Condition = "completed" // they have ended with 0
)

// Dependency is an app that another needs.
type Dependency struct {
	App       string    `json:"app"`
	Condition Condition `json:"condition"`
}

// Rotate says when a log file is put aside, and how many are kept of those.
type Rotate struct {
	Size  Size     `json:"size"`  // 0: however large
	Every Duration `json:"every"` // 0: however old
	Keep  int      `json:"keep"`
	Gzip  bool     `json:"gzip"`
}

// Rlimit is a resource limit; [Unlimited] is none.
type Rlimit struct {
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// Unlimited is RLIM_INFINITY.
const Unlimited = ^uint64(0)

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

// Size is a number of bytes.
type Size int64

// Defaults is an App with nothing but the defaults.
func Defaults() App {
	return App{
		Type:          Service,
		Instances:     1,
		Balance:       BalanceSlots,
		ListenPID:     true,
		ListenTimeout: Duration(10 * time.Second),
		DrainTimeout:  Duration(10 * time.Second),
		KillTimeout:   Duration(2 * time.Second),
		StopSignal:    "SIGTERM",
		Treekill:      true,
		InstanceVar:   DefaultInstanceVar,
		Autostart:     true,
		Autorestart:   true,
		Parallel:      1,
		MinUptime:     Duration(time.Second),
		MaxRestarts:   10,
		RestartWindow: Duration(time.Minute),
		Backoff:       Backoff{Initial: Duration(100 * time.Millisecond), Max: Duration(15 * time.Second), Jitter: 0.5},
		IgnoreWatch:   []string{".*", "node_modules", "*.log"},
		WatchDelay:    Duration(200 * time.Millisecond),
		LogType:       "raw",
		LogRotate:     Rotate{Size: 100 << 20, Keep: 10, Gzip: true},
	}
}

// UnmarshalJSON implements json.Unmarshaler. What is not there is the default: the
// other side may be older.
func (a *App) UnmarshalJSON(text []byte) error {
	type plain App
	v := plain(Defaults())
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	*a = App(v)
	return nil
}

// ShareEnv makes two apps have one environment if theirs are the same, for those
// of a file mostly are and take some KiB each. Nobody changes it afterwards.
func (a *App) ShareEnv(other *App) {
	if maps.Equal(a.Env, other.Env) {
		a.Env = other.Env
	}
}

// Slots is Instances where so many CPUs are granted.
func (a *App) Slots(cpus int) int {
	if a.Instances > 0 {
		return a.Instances
	}
	return max(cpus+a.Instances, 1)
}

// FollowsCPUs says that the number of CPUs decides on the number of slots.
func (a *App) FollowsCPUs() bool { return a.Instances <= Max }

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
