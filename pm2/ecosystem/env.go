package ecosystem

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// ofPM2 are, beside its keys, the variables that PM2 gives to processes. An app that is
// started from within one does not inherit them.
const ofPM2 = `pm_cwd pm_exec_path pm_out_log_path pm_err_log_path pm_log_path pm_pid_path pm_id status pm_uptime created_at
	prev_restart_delay unstable_restarts restart_time axm_actions axm_dynamic axm_monitor axm_options pmx_module command versioning
	vizion_running MODULE_DEBUG exit_code km_link unique_id`

// environment is all that the processes get: what is inherited, env over it, and env_NAME
// over both. What the file has for deploy fills what is still missing.
func (b *builder) environment() map[string]string {
	env := b.inherited()
	if b.text("uid") != "" {
		spec.ForgetUser(env)
		user := spec.App{UID: b.text("uid")}
		if id, err := user.Identity(); err == nil && id != nil && id.Home != "" && b.o.PM2 {
			env["HOME"] = id.Home
		}
	}
	if b.v.Has("cwd") && b.o.PM2 && b.saved == nil {
		env["PWD"] = b.app.Cwd
	}
	if b.o.Env != "" {
		if stage, ok := b.deploy.Get(b.o.Env).(*object.Object); ok {
			more, _ := stage.Get("env").(*object.Object)
			for key, value := range more.All() {
				if _, known := env[key]; !known {
					b.setEnv(env, "env", key, asText(value))
				}
			}
		}
	}
	b.overlay(env, "env", func(value any) (string, bool) {
		// An empty object that PM2 has saved is what was set for the app by pm2 set: nothing.
		nothing, empty := value.(*object.Object)
		return asText(value), b.saved == nil || value != nil && !(empty && nothing.Len() == 0)
	})
	if io := b.v.Get("io"); io != nil {
		env["io"] = asText(io)
	}
	if port := b.text("port"); port != "" {
		env["PORT"] = port
	}
	if b.o.PM2 && b.saved == nil {
		env["PM2_HOME"] = b.o.Home
		if title := b.text("name"); b.file != "" && env[title] == "" && !strings.ContainsAny(title, "= \t\n") { // where PM2 has what was set for the app by pm2 set
			env[title] = "{}"
		}
	}
	if b.o.Env == "" {
		return env
	}
	if key := "env_" + b.o.Env; b.v.Has(key) {
		b.overlay(env, key, func(value any) (string, bool) { return asText(value), value != nil })
	} else if b.file != "" {
		b.o.warn("Environment [" + b.o.Env + "] is not defined in process file")
	}
	return env
}

// overlay puts what a key has over an environment; what text does not take is removed
// from it.
func (b *builder) overlay(env map[string]string, key string, text func(any) (string, bool)) {
	values, ok := b.v.Get(key).(*object.Object)
	if !ok && truthy(b.v.Get(key)) {
		b.warn("%s: a text has no variables, and is not used", key)
	}
	for name, value := range values.All() {
		if s, set := text(value); set {
			b.setEnv(env, key, name, s)
		} else {
			delete(env, name)
		}
	}
}

func (b *builder) setEnv(env map[string]string, key, name, value string) {
	if slices.Contains(spec.Contract, name) {
		b.warn("%s: %s is set by neko itself, for each process", key, name)
		return
	}
	if name == "" || strings.ContainsAny(name, "= \t\n") {
		if b.saved == nil { // there it is one of PM2's: the app's name
			b.warn("%s: %s cannot be the name of a variable, and is left out", key, shown(name))
		}
		return
	}
	env[name] = value
}

// inherited is the environment of the caller, without what filter_env takes from it.
// PM2 inherits all of it, the shell's own variables too.
func (b *builder) inherited() map[string]string {
	if b.saved != nil {
		return map[string]string{}
	}
	env := spec.Inherit(b.o.Environ)
	if b.o.PM2 {
		within := slices.ContainsFunc(b.o.Environ, func(entry string) bool { return strings.HasPrefix(entry, "pm_id=") })
		for _, entry := range b.o.Environ {
			name, value, _ := strings.Cut(entry, "=")
			usable := name != "" && utf8.ValidString(entry) && !strings.ContainsAny(name, " \t\n") && len(entry) < 128<<10 && !slices.Contains(spec.Contract, name)
			if usable {
				env[name] = value
			}
		}
		if within {
			maps.DeleteFunc(env, func(name, _ string) bool { return slices.Contains(strings.Fields(ofPM2), name) || keyOf(name) != nil })
		}
		env["PM2_USAGE"] = "CLI"
		if b.file != "" {
			env["PM2_JSON_PROCESSING"] = "true"
		}
	}
	switch filter := b.v.Get("filter_env").(type) {
	case bool:
		if filter && !b.o.PM2 { // with PM2 it has no effect, whatever its documentation says
			maps.DeleteFunc(env, func(name, _ string) bool { return name != "PATH" })
		}
	case string:
		delete(env, filter)
	case []any:
		for _, part := range texts(filter) {
			maps.DeleteFunc(env, func(name, _ string) bool { return strings.Contains(name, part) })
		}
	}
	return env
}
