package spec

import (
	"strings"
	"unicode/utf8"
)

// ofTheShell are variables that belong to the shell, the terminal or the job that
// somebody starts an app from. An app does not inherit them: they say nothing
// true about its process, and a start from another window would look like a
// new spec.
var ofTheShell = []string{"_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES", "WINDOWID", "TMUX", "TMUX_PANE", "STY",
	"SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "XDG_SESSION_ID", "INVOCATION_ID", "JOURNAL_STREAM",
	"TRACEPARENT", "TRACESTATE"} // of the command, see control.TraceVariable

// ForgetUser takes from an inherited environment what is about whoever starts an
// app: one that runs as another user gets that user's own (docs/configuration.md).
func ForgetUser(env map[string]string) {
	for _, name := range []string{"HOME", "USER", "LOGNAME", "MAIL", "XDG_RUNTIME_DIR"} {
		delete(env, name)
	}
}

// Contract are the variables that the master sets for each process
// (docs/worker-contract.md); a value from elsewhere would be a lie.
var Contract = []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
	"NEKO_APP", "NEKO_SLOT", "NEKO_SPARE_FD", "NEKO_INSTANCES", "NEKO_RUN_DIR", "NEKO_METRICS_SOCKET", "NEKO_DRAIN_TIMEOUT",
	"NEKO_PROBE", "NEKO_PID", DefaultInstanceVar, "INSTANCE_ID",
	"NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE", "NODE_UNIQUE_ID"}

// DefaultInstanceVar is the variable with the number of a slot that PM2's programs
// know.
const DefaultInstanceVar = "NODE_APP_INSTANCE"

// checkNumberVar says what is wrong with a variable that is to tell a process a number.
func checkNumberVar(name string) *Error {
	if name == DefaultInstanceVar || name == "INSTANCE_ID" { // the number of the slot both, and the second leaves the first to others, as to node-config
		return nil
	}
	err := checkSetting(name, "0")
	if err != nil {
		err.Message = strings.ReplaceAll(err.Message, "is set by neko itself, for each process", "is set by neko itself, and cannot be another variable")
	}
	return err
}

// Inherit is the environment that an app gets from the one nekoctl runs in.
func Inherit(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		key, value, ok := strings.Cut(entry, "=")
		// JSON cannot carry what is not UTF-8, and half a value is none.
		if ok && utf8.ValidString(entry) && checkSetting(key, value) == nil {
			env[key] = value
		}
	}
	for _, key := range ofTheShell {
		delete(env, key)
	}
	return env
}

// ParseSetting reads K=V, as --env has it.
func ParseSetting(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", &Error{Key: "env", Message: expected("KEY=VALUE", s)}
	}
	if err := checkSetting(key, value); err != nil {
		return "", "", err
	}
	return key, value, nil
}

// checkSetting says what is wrong with a variable of an app.
func checkSetting(key, value string) *Error {
	for _, k := range Contract {
		if key == k {
			return &Error{Key: "env", Message: key + " is set by neko itself, for each process"}
		}
	}
	switch {
	case key == "" || strings.ContainsAny(key, "=\x00 \t\n"):
		return &Error{Key: "env", Message: expected("the name of a variable", key)}
	case value == Hidden: // a program would take it for the secret
		return &Error{Key: "env", Message: key + ": " + Hidden + " stands for a secret that is not shown; put it in again"}
	case strings.ContainsRune(value, 0):
		return &Error{Key: "env", Message: key + ": there is a NUL byte in the value"}
	case len(key)+len(value) > 128<<10-2: // MAX_ARG_STRLEN: execve would fail
		return &Error{Key: "env", Message: key + ": the value is longer than 128 KiB"}
	}
	return nil
}
