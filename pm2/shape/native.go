package shape

import (
	"cmp"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// native is the static part of an app that was not started by PM2's commands: what
// PM2 would have if it had been started there.
func native(app *control.AppDetail, c Context) *object.Object {
	s := &app.Spec
	d := spec.Defaults()
	run := commandOf(s)
	mode := "fork_mode"
	if s.Node == spec.NodeCluster {
		mode = "cluster_mode"
	}
	o := &object.Object{}
	// Some keys are there only if the app says something.
	set := func(key string, value any, said bool) {
		if said {
			o.Set(key, value)
		}
	}
	o.Set("name", cmp.Or(s.Title, s.Name))
	o.Set("filter_env", []any{})
	o.Set("namespace", cmp.Or(s.Namespace, spec.DefaultNamespace))
	set("args", list(run.args), len(run.args) > 0)
	set("merge_logs", true, s.MergeLogs)
	o.Set("instances", max(len(app.Processes), 1))
	o.Set("vizion", false)
	o.Set("autostart", s.Autostart)
	o.Set("autorestart", s.Autorestart)
	if len(s.Watch) > 0 {
		o.Set("watch", list(s.Watch))
		o.Set("ignore_watch", list(s.IgnoreWatch))
	} else {
		o.Set("watch", false)
	}
	o.Set("instance_var", cmp.Or(s.InstanceVar, d.InstanceVar))
	set("increment_var", s.IncrementVar, s.IncrementVar != "")
	o.Set("pmx", false)
	o.Set("automation", false)
	o.Set("treekill", s.Treekill)
	o.Set("username", c.User)
	o.Set("windowsHide", true)
	o.Set("kill_retry_time", 100)
	set("uid", s.UID, s.UID != "")
	set("gid", s.GID, s.GID != "")
	set("cron_restart", s.CronRestart, s.CronRestart != "")
	set("max_memory_restart", int64(s.MaxMemory), s.MaxMemory > 0)
	set("wait_ready", true, s.WaitReady)
	o.Set("listen_timeout", s.ListenTimeout.D().Milliseconds())
	o.Set("kill_timeout", s.KillTimeout.D().Milliseconds())
	o.Set("min_uptime", s.MinUptime.D().Milliseconds())
	o.Set("max_restarts", s.MaxRestarts)
	set("restart_delay", s.RestartDelay.D().Milliseconds(), s.RestartDelay > 0)
	set("exp_backoff_restart_delay", s.Backoff.Initial.D().Milliseconds(), s.Backoff.Initial > 0)
	set("stop_exit_codes", list(s.StopExitCodes), len(s.StopExitCodes) > 0)
	set("shutdown_with_message", true, s.ShutdownWithMessage)
	set("log_date_format", s.LogDateFormat, s.LogDateFormat != "")
	set("log_type", s.LogType, s.LogType != "" && s.LogType != d.LogType)
	o.Set("node_args", list(run.flags))
	o.Set("pm_exec_path", run.script)
	o.Set("pm_cwd", s.Cwd)
	o.Set("exec_interpreter", run.interpreter)
	o.Set("exec_mode", mode)
	for _, key := range []string{"pm_out_log_path", "pm_err_log_path", "pm_pid_path"} {
		o.Set(key, "") // what is in use takes its place
	}
	return o.Set("km_link", false)
}

// command is an argument vector as PM2 sees it.
type command struct {
	interpreter string
	flags       []string // of the interpreter
	script      string
	args        []string
}

var interpreters = regexp.MustCompile(`^(node|bun|python|ruby|perl|php|bash|sh)[\d.]*$`)

// commandOf splits an app's command. One without a script is a program by itself.
func commandOf(s *spec.App) command {
	if len(s.Command) == 0 {
		return command{interpreter: "none"}
	}
	if base := filepath.Base(s.Command[0]); interpreters.MatchString(base) {
		for i, arg := range s.Command[1:] {
			if strings.HasPrefix(arg, "-") {
				continue
			}
			script := arg
			if !filepath.IsAbs(script) {
				script = filepath.Join(s.Cwd, script)
			}
			return command{interpreter: base, flags: s.Command[1 : i+1], script: script, args: s.Command[i+2:]}
		}
	}
	return command{interpreter: "none", script: s.Command[0], args: s.Command[1:]}
}

func list[T any](values []T) []any {
	l := make([]any, 0, len(values))
	for _, value := range values {
		l = append(l, value)
	}
	return l
}
