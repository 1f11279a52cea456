// Package control is the language between nekoctl and the master: HTTP and JSON
// on a unix socket in $NEKO_HOME, open to the owner of the home and to root.
//
//	GET  /v1/ping                       Ping
//	GET  /v1/processes                  []Process, ordered by id
//	GET  /v1/apps/{name}                AppDetail
//	GET  /v1/apps                       []AppDetail, in the order of their start, nothing of Env hidden
//	GET  /v1/specs                      []Saved, in the order of their start
//	GET  /v1/daemon                     spec.Daemon, nothing hidden
//	GET  /v1/events                     a stream of Event, as server-sent events
//	GET  /v1/metrics                    no JSON: Prometheus's text format 0.0.4; ?app=TARGET&by=worker
//	POST /v1/start    StartRequest      a stream of Answer
//	POST /v1/resurrect ResurrectRequest "
//	POST /v1/stop     TargetRequest     "
//	POST /v1/restart  TargetRequest     "
//	POST /v1/reload   TargetRequest     "
//	POST /v1/delete   TargetRequest     "
//	POST /v1/reset    TargetRequest     ": counts restarts from 0
//	POST /v1/signal   SignalRequest     "
//	POST /v1/flush    TargetRequest     ": empties logs
//	POST /v1/reopen   TargetRequest     ": opens all logs anew; targets are not looked at
//	POST /v1/scale    ScaleRequest      "
//	POST /v1/send     SendRequest       "
//	POST /v1/trigger  TriggerRequest    "
//	POST /v1/upgrade  UpgradeRequest    ": then another master answers
//	POST /v1/kill     (no body)         ": stops every app and the daemon
//
// A POST answers 200 and a stream of JSON lines, each an [Answer]: progress as it
// happens, and as the last line the outcome. A GET that fails answers a status
// of 400 and above with an [Error] as body.
package control

import (
	"encoding/json"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

// Ping says who answers.
type Ping struct {
	Version       string `json:"version"` // of the master
	Keeper        int    `json:"keeper"`  // pid
	KeeperVersion string `json:"keeper_version"`
	Master        int    `json:"master"` // pid
	Home          string `json:"home"`
	// Metrics is the address at which GET /metrics is answered; "": there is none.
	Metrics string `json:"metrics,omitempty"`
	// Upgrading: the master is of a new program, and the keeper not yet.
	Upgrading bool `json:"upgrading,omitempty"`
	// UpgradeFailed is why the last upgrade did not come to its end.
	UpgradeFailed string `json:"upgrade_failed,omitempty"`
	// Warnings are what the daemon cannot do at present: a state file that
	// cannot be written, say.
	Warnings []string `json:"warnings,omitempty"`
}

// State is one of PM2's words for the state of a process.
type State string

// The states; the table of transitions is in package supervisor.
const (
	Launching      State = "launching"
	Online         State = "online"
	Stopping       State = "stopping"
	Stopped        State = "stopped"
	Errored        State = "errored"
	WaitingRestart State = "waiting restart"
)

// Process is one slot of an app and the process that serves in it.
type Process struct {
	ID          int      `json:"id"`
	Name        string   `json:"name"`            // of the app
	Title       string   `json:"title,omitempty"` // of the app, if it is not its name
	Namespace   string   `json:"namespace"`
	Slot        int      `json:"slot"`
	PID         int      `json:"pid"` // 0: none
	State       State    `json:"state"`
	Restarts    int      `json:"restarts"`     // by crashes and by commands
	UptimeMS    int64    `json:"uptime_ms"`    // of the process; 0: none
	MemoryBytes int64    `json:"memory_bytes"` // resident set
	CPUPercent  float64  `json:"cpu_percent"`  // of one CPU, since the last look
	Listeners   []string `json:"listeners"`    // "http://…" is not known; "127.0.0.1:4000", "unix:/path"
	// Reason says why the slot is not online, in a sentence; "" if it is.
	Reason string `json:"reason,omitempty"`
	// Unready is what the readiness probe of a slot that is online has against its
	// process: it gets no new connections where others are ready.
	Unready string `json:"unready,omitempty"`
	// Metrics and Actions are what a program of Node's offers by @pm2/io; a metric has
	// value, type, unit and historic.
	Metrics map[string]json.RawMessage `json:"metrics,omitempty"`
	Actions []string                   `json:"actions,omitempty"`
}

// AppDetail is what describe shows.
type AppDetail struct {
	Name      string         `json:"name"`
	Spec      spec.App       `json:"spec"`          // values of Env that look secret are hidden
	URL       string         `json:"url,omitempty"` // of Spec.URLPath
	UniqueID  string         `json:"unique_id"`     // of all its processes, as PM2 has one for those that were started together
	Processes []ProcessExtra `json:"processes"`
}

// ProcessExtra is a Process with what list has no room for.
type ProcessExtra struct {
	Process
	Status    string    `json:"status,omitempty"`    // the last STATUS= it sent
	CreatedAt time.Time `json:"created_at,omitzero"` // the slot, or when a command last started it anew
	Unstable  int       `json:"unstable_restarts"`   // in a row, up to now
	ExitCode  int       `json:"exit_code"`           // of the last process that has ended without a successor; 0 after a signal
	PIDFile   string    `json:"pid_file,omitempty"`
	AllLog    string    `json:"all_log,omitempty"`   // of both outputs
	StartedAt time.Time `json:"started_at,omitzero"` // its process, or the last one
	OutLog    string    `json:"out_log"`
	ErrLog    string    `json:"err_log"`
	Lost      []Lost    `json:"lost,omitempty"` // from the logs, as they cannot be written
	// MetricsProblem is why what its process counts could not be had the last time.
	MetricsProblem string    `json:"metrics_problem,omitempty"`
	LastExit       string    `json:"last_exit,omitempty"` // "exit code 1", "signal: killed"
	LastExitAt     time.Time `json:"last_exit_at,omitzero"`
	// Ends are the last ones of the slot's processes, at most five, the last one first.
	Ends []End `json:"ends,omitempty"`
	// Starting, Spare, StandIn and Draining are the pids of a successor that is
	// not ready yet or on trial, of a process that is ready to take over, of one
	// that serves what has queued on a slot whose own do not run, and of
	// predecessors that finish what they serve.
	Starting int   `json:"starting,omitempty"`
	Spare    int   `json:"spare,omitempty"`
	StandIn  int   `json:"stand_in,omitempty"`
	Draining []int `json:"draining,omitempty"`
}

// Cause is why a process has ended, or was told to.
type Cause string

// The causes. Those of a restart are all but exit, and of a command's some.
const (
	CauseCrash   Cause = "crash"   // by itself, or it never became ready
	CauseExit    Cause = "exit"    // by itself, as it may: its work is done, it renews itself, or its app has no restarts
	CauseCommand Cause = "command" // stop, restart, delete, scale, kill
	CauseReload  Cause = "reload"  // by a command
	CauseCron    Cause = "cron"    // cron_restart
	CauseWatch   Cause = "watch"   // a file has changed
	CauseMemory  Cause = "memory"  // max_memory_restart
	CauseHung    Cause = "hung"    // watchdog, liveness
)

// End is how one process of a slot has ended.
type End struct {
	At        time.Time `json:"at"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at,omitzero"`
	Served    bool      `json:"served"` // or it never got there
	Cause     Cause     `json:"cause"`
	Detail    string    `json:"detail,omitempty"` // of the cause, for people: "restart", "/srv/app.js has changed"
	How       string    `json:"how"`              // "exit code 1", "signal: killed", "unknown"
	// ExitCode is nil after a signal, and where nobody knows; Signal is "SIGKILL", say.
	ExitCode   *int   `json:"exit_code,omitempty"`
	Signal     string `json:"signal,omitempty"`
	CoreDumped bool   `json:"core_dumped,omitempty"`
	// Output are the last lines that it printed, if it has ended by itself.
	Output []string `json:"output,omitempty"`
}

// Lost is output that a log does not have, and does not tell of yet.
type Lost struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Lines  int64  `json:"lines"`
	Reason string `json:"reason"`
}

// StartRequest starts apps, all or (if one of them cannot be checked) none. An
// app that runs under the same name with the same spec is left alone; one with
// another spec is reloaded into the new one; one that is stopped is started.
type StartRequest struct {
	Apps []spec.App `json:"apps"`
	// Daemon is what is to be set of the daemon itself; what it does not say stays.
	Daemon spec.Daemon `json:"daemon,omitzero"`
	// Reload replaces the processes of an app that runs with the same spec, too:
	// what `nekoctl reload neko.yaml` means.
	Reload bool `json:"reload,omitempty"`
	// Restart stops the processes of an app that runs and starts them with the spec
	// that it has here, whether that is another or not: `pm2 restart app.config.js`.
	Restart bool `json:"restart,omitempty"`
	// Targets are apps that are known, to be started as they are, beside Apps or in
	// their place.
	Targets []string `json:"targets,omitempty"`
	// Parallel is the one of [TargetRequest].
	Parallel int `json:"parallel,omitempty"`
}

// Saved is an app as `nekoctl save` keeps it: all that it is to be started with,
// its secrets and the number that it was scaled to among that.
type Saved struct {
	App     spec.App `json:"app"`
	Stopped bool     `json:"stopped,omitempty"` // by a command, as a whole
}

// ResurrectRequest brings up what was saved. What was stopped is there again as
// stopped; an app that is known stays as it is, and is started if it is not to be
// stopped; one that cannot be started keeps none of the others from it.
type ResurrectRequest struct {
	Apps []Saved `json:"apps"`
	// Daemon is what is to be set of the daemon itself, where nothing is yet.
	Daemon spec.Daemon `json:"daemon,omitzero"`
}

// TargetRequest names what a command is about: names or titles of apps, ids of
// processes, namespaces, /regular expressions/ of titles, or "all".
type TargetRequest struct {
	Targets []string `json:"targets"`
	// Parallel is how many processes of an app are replaced at a time by a reload or a
	// restart; 0: as many as the spec says, and all by a restart.
	Parallel int `json:"parallel,omitempty"`
	// Unwatch has a stop end the watching of files for good, as PM2's does.
	Unwatch bool `json:"unwatch,omitempty"`
}

// SignalRequest sends a signal ("SIGUSR2", or a number) to the processes that serve.
type SignalRequest struct {
	Targets []string `json:"targets"`
	Signal  string   `json:"signal"`
}

// ScaleRequest sets the number of an app's instances: "4", "+1", "-1", "max".
type ScaleRequest struct {
	Name      string `json:"name"`
	Instances string `json:"instances"`
}

// SendRequest tells processes something: Text, as it is, on standard input; or Message,
// any JSON value, on the channel of a program of Node's.
type SendRequest struct {
	Targets []string        `json:"targets"`
	Text    string          `json:"text,omitempty"`
	Message json.RawMessage `json:"message,omitempty"`
}

// TriggerRequest runs an action that programs of Node's offer by @pm2/io, in all
// processes of the targets that have it.
type TriggerRequest struct {
	Targets   []string        `json:"targets"`
	Action    string          `json:"action"`
	Parameter json.RawMessage `json:"parameter,omitempty"` // any JSON value
	TimeoutMS int64           `json:"timeout_ms"`          // for the answers
}

// Reply is what an action has returned in one process.
type Reply struct {
	Name  string          `json:"name"`
	ID    int             `json:"id"`
	Value json.RawMessage `json:"value"`
}

// UpgradeRequest names the program that the daemon is to become: the absolute
// path of a nekoctl, or "" for what is where its present one was.
type UpgradeRequest struct {
	Program string `json:"program"`
}

// Answer is one line of an answer to a POST. Exactly one field is set.
type Answer struct {
	// Progress: slot Slot of app Name is at State; Message says what is waited
	// for or what went wrong, in one line.
	Progress *Progress `json:"progress,omitempty"`
	// Reply is one to a trigger, as it comes.
	Reply *Reply `json:"reply,omitempty"`
	// Done ends the stream of a command that succeeded.
	Done *Done `json:"done,omitempty"`
	// Error ends the stream of a command that failed.
	Error *Error `json:"error,omitempty"`
}

// Progress is a step of a command on its way.
type Progress struct {
	Name    string `json:"name"`
	Slot    int    `json:"slot"`
	State   State  `json:"state"`
	Message string `json:"message,omitempty"`
	// Whole says that it is about all of the app, or of the daemon if Name is "": Slot and
	// State mean nothing. Without a Message what was said so before is over.
	Whole bool `json:"whole,omitempty"`
	// SinceMS is for how long what Message says has been so, LimitMS how long it may be; 0:
	// that does not matter. Connections are those that are served still.
	SinceMS     int64 `json:"since_ms,omitempty"`
	LimitMS     int64 `json:"limit_ms,omitempty"`
	Connections int   `json:"connections,omitempty"`
}

// Done is the outcome of a command: the processes that it was about, as they
// are now.
type Done struct {
	Processes []Process `json:"processes"`
	// Notes are lines worth telling: "api is already online".
	Notes []string `json:"notes,omitempty"`
}

// Event is something that has happened, whoever asked for it: what `nekoctl events`
// shows, and hooks are told.
type Event struct {
	// ID grows from event to event, over masters too.
	ID   int64     `json:"id"`
	Time time.Time `json:"time"`
	Kind Kind      `json:"event"`
	// Name is the app's, "" for what concerns the daemon; Title is its title, if it has one.
	Name  string `json:"name,omitempty"`
	Title string `json:"title,omitempty"`
	// Slot and ProcessID are of the process that it is about, and PID is its pid; nil and
	// 0: it is about all of the app.
	Slot      *int `json:"slot,omitempty"`
	ProcessID *int `json:"process,omitempty"`
	PID       int  `json:"pid,omitempty"`
	// Message says it in one line, for people.
	Message string `json:"message"`
	// Details are what programs may want to know of it, by kind: docs/events.md.
	Details map[string]string `json:"details,omitempty"`
	// Output are the last lines that a process printed which has crashed.
	Output []string `json:"output,omitempty"`
	// TraceID and SpanID are the trace of the command that it has come of, if that belongs to one.
	TraceID string `json:"trace_id,omitempty"`
	SpanID  string `json:"span_id,omitempty"`
}

// Kind is what kind of event it is.
type Kind string

// Error is an error with what to do about it.
type Error struct {
	Message string `json:"message"`        // what happened, lower case, one line
	Hint    string `json:"hint,omitempty"` // what to do, lower case
	// Output are the last lines that the failed process printed.
	Output []string `json:"output,omitempty"`
	// Launched: all that was to be started was, and some process of it has failed since,
	// which is tried again as its app has it. PM2 calls that a success.
	Launched bool `json:"launched,omitempty"`
	// Again: nothing was done, and another master is about to answer.
	Again bool `json:"again,omitempty"`
}

func (e *Error) Error() string { return e.Message }
