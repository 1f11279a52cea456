package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nekoctl/neko/supervisor/spec"
)

// keyFlag is an option of `nekoctl start` that is a key of neko.yaml.
type keyFlag struct {
	name, key string
	list      bool // it can be repeated
	bare      bool // it is true without a value
}

var keyFlags = []keyFlag{
	{name: "stop-exit-codes", key: "stop_exit_codes", list: true},
	{name: "restart-delay", key: "restart_delay"},
	{name: "exp-backoff-restart-delay", key: "exp_backoff_restart_delay"},
	{name: "max-restarts", key: "max_restarts"},
	{name: "min-uptime", key: "min_uptime"},
	{name: "cron-restart", key: "cron_restart"},
	{name: "cron", key: "cron_restart"},
	{name: "max-memory-restart", key: "max_memory_restart"},
	{name: "watch", key: "watch", list: true, bare: true},
	{name: "ignore-watch", key: "ignore_watch", list: true},
	{name: "watch-delay", key: "watch_delay"},
	{name: "listen-timeout", key: "listen_timeout"},
	{name: "kill-timeout", key: "kill_timeout"},
	{name: "shutdown-delay", key: "shutdown_delay"},
	{name: "parallel", key: "parallel"},
	{name: "namespace", key: "namespace"},
	{name: "uid", key: "uid"},
	{name: "gid", key: "gid"},
	{name: "interpreter", key: "interpreter"},
	{name: "interpreter-args", key: "interpreter_args", list: true},
	{name: "node-args", key: "interpreter_args", list: true},
	{name: "exec-mode", key: "exec_mode"},
	{name: "shutdown-with-message", key: "shutdown_with_message", bare: true},
}

// keyValues are the values of these flags, by their names.
type keyValues map[string]*[]string

func addKeyFlags(flags *pflag.FlagSet) keyValues {
	values := keyValues{}
	for _, f := range keyFlags {
		values[f.name] = flags.StringArray(f.name, nil, "")
		if f.bare {
			flags.Lookup(f.name).NoOptDefVal = "true"
		}
	}
	return values
}

func (values keyValues) any() bool {
	return slices.ContainsFunc(keyFlags, func(f keyFlag) bool { return len(*values[f.name]) > 0 })
}

// apply sets the keys of app and run that flags were given for.
func (values keyValues) apply(app *spec.App, run *spec.Run) error {
	for _, f := range keyFlags {
		given := *values[f.name]
		switch {
		case len(given) == 0:
			continue
		case slices.Contains(given, ""): // an unset variable of a script
			return misuse("start", "--%s: there is no value", f.name)
		case f.key == "interpreter_args": // a line, or several of them
			given = []string{strings.Join(given, " ")}
		case f.key == "stop_exit_codes":
			given = strings.Split(strings.Join(given, ","), ",")
		case !f.list:
			given = given[len(given)-1:]
		case f.key == "watch" && len(given) > 1: // true is one of several paths
			for i, path := range given {
				if path == "true" {
					given[i] = "."
				}
			}
		}
		if err := spec.Set(app, run, f.key, given...); err != nil {
			return misusedFlag("--"+f.name, err)
		}
	}
	return nil
}

// flagOf is the option that sets a key, "" if there is none.
func (values keyValues) flagOf(key string) string {
	if key == "name" || key == "listen" {
		return key
	}
	for _, f := range keyFlags {
		if f.key == key && len(*values[f.name]) > 0 {
			return f.name
		}
	}
	return ""
}
