package ecosystem

import (
	"encoding/json"
	"os"
	"os/user"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
)

// verified are the values of an app after PM2's look at them: in the order of its
// schema, with what it derives, and with the defaults that it lists. Checked they are.
func (c *Config) verified(o Options) *object.Object {
	given := c.Object.Clone()
	given.Set("name", c.Title(o))
	if !given.Has("env") {
		given.Set("env", &object.Object{})
	}
	if given.Get("execute_command") == true {
		given.Set("exec_mode", "fork")
		given.Delete("execute_command")
	}
	if mode, ok := given.Get("exec_mode").(string); ok {
		given.Set("exec_mode", strings.TrimSuffix(mode, "_mode")+"_mode")
	}
	given.Set("username", username(o.Environ))
	if given.Get("time") == true {
		given.Set("log_date_format", "YYYY-MM-DDTHH:mm:ss")
	}
	if given.Get("automation") == false {
		given.Set("pmx", false)
	}
	if given.Get("disable_trace") == true {
		given.Set("trace", false)
		given.Delete("disable_trace")
	}
	if cron, ok := given.Get("cron_restart").(json.Number); ok && cron == "0" || given.Get("cron_restart") == "0" {
		given.Delete("cron_restart")
	}
	if instances, _ := keyOf("instances").check(given.Get("instances")); !truthy(instances) && given.Get("exec_mode") != "cluster_mode" && !given.Has("merge_logs") && o.PM2 {
		given.Set("merge_logs", true)
	}
	v := &object.Object{}
	for i := range Keys {
		k := &Keys[i]
		value := given.Get(k.Name)
		// PM2 looks for another name of a key whose value is false, 0 or "", and finds none.
		if o.PM2 && c.saved == nil && !truthy(value) && camelCase(k.Name) != k.Name {
			value = nil
		}
		if value == nil {
			value = plain(k.preset)
		} else if checked, err := k.check(value); err == nil {
			value = checked
		}
		if value != nil {
			v.Set(k.Name, value)
		}
	}
	for key, value := range c.environments() {
		v.Set(key, value)
	}
	if v.Get("namespace") == nil || v.Get("namespace") == "" {
		v.Delete("namespace")
		v.Set("namespace", "default")
	}
	return v
}

// Title is the name with what --env puts after it.
func (c *Config) Title(o Options) string {
	name := c.Name()
	if o.Env != "" && c.Get("append_env_to_name") == true {
		name += "-" + o.Env
	}
	return name
}

// username is who starts the app.
func username(environ []string) string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	for _, name := range []string{"USER", "LOGNAME"} {
		for _, entry := range environ {
			if value, ok := strings.CutPrefix(entry, name+"="); ok {
				return value
			}
		}
	}
	return os.Getenv("USER")
}
