package ecosystem

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// without is a JSON object without some keys.
func without(text json.RawMessage, keys []string) (json.RawMessage, error) {
	o := &object.Object{}
	if err := json.Unmarshal(text, o); err != nil {
		return nil, err
	}
	for _, key := range keys {
		o.Delete(key)
	}
	return o.MarshalJSON()
}

// Update is an app with other values for some keys, as `pm2 restart NAME --OPTION`
// has it. processes are the pm2_env of those that it has. A value of nil takes a key away. What the
// keys do not decide stays as it is; with environ the environment of the caller goes over the app's.
func Update(app spec.App, processes []*object.Object, changes *Config, o Options, environ bool) (spec.App, error) {
	o.PM2 = true
	next := app
	next.Env = maps.Clone(app.Env)
	if changes.Len() > 0 {
		c := savedConfig(processes)
		before, err := c.App(o)
		if err != nil {
			return app, err
		}
		var gone []string
		for key, value := range changes.All() {
			if value == nil {
				c.Delete(key)
				gone = append(gone, key)
			} else if err := c.Set(key, value); err != nil {
				return app, err
			}
		}
		after, err := c.App(o)
		if err != nil {
			return app, err
		}
		if after.PM2, err = without(after.PM2, gone); err != nil {
			return app, err
		}
		// A change of one key may be one of several fields, or of none.
		was, is, to := reflect.ValueOf(before), reflect.ValueOf(after), reflect.ValueOf(&next).Elem()
		for i := range was.NumField() {
			if !reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()) {
				to.Field(i).Set(is.Field(i))
			}
		}
		next.Name = app.Name
	}
	if environ {
		for _, setting := range o.Environ {
			key, value, _ := strings.Cut(setting, "=")
			next.Env[key] = value
		}
	}
	return next, nil
}
