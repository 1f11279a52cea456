package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/pm2/object"
)

// What `pm2 set` sets is in module_conf.json. PM2's modules are configured there, of
// which there are none here; scripts keep values of their own in it.

func (f *face) readConf() (*object.Object, error) {
	text, err := os.ReadFile(f.place.Conf)
	if err != nil {
		return nil, failed("nothing was changed", "%v", err)
	}
	conf := &object.Object{}
	if err := json.Unmarshal(text, conf); err != nil {
		return nil, failed("nothing was changed; mend it, or move it away", "%s is damaged: %v", f.place.Conf, err)
	}
	return conf, nil
}

// changeConf changes what is set, one command after the other: two at once would each
// write what it has read.
func (f *face) changeConf(change func(conf *object.Object)) (*object.Object, error) {
	folder, err := os.Open(filepath.Dir(f.place.Conf))
	if err != nil {
		return nil, failed("nothing was changed", "%v", err)
	}
	defer folder.Close()
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return nil, failed("nothing was changed", "lock %s: %v", folder.Name(), err)
	}
	conf, err := f.readConf()
	if err != nil {
		return nil, err
	}
	change(conf)
	return conf, f.writeConf(conf)
}

func (f *face) writeConf(conf *object.Object) error {
	text, err := json.MarshalIndent(conf, "", "    ")
	if err != nil {
		return err
	}
	if err := writeDump(f.place.Conf, text); err != nil {
		return failed("nothing was changed", "%v", err)
	}
	return nil
}

// levels are the parts of a key: module.key, or module:key.
func levels(key string) []string {
	separator := "."
	if !strings.Contains(key, ".") {
		separator = ":"
	}
	var parts []string
	quoted := false
	part := ""
	for _, r := range key {
		switch {
		case r == '"':
			quoted = !quoted
		case string(r) == separator && !quoted:
			parts, part = append(parts, part), ""
		default:
			part += string(r)
		}
	}
	return append(parts, part)
}

// place finds the object in which the last of the levels is; it is made if it is not
// there.
func place(conf *object.Object, parts []string) (*object.Object, string) {
	for _, part := range parts[:len(parts)-1] {
		inner, ok := conf.Get(part).(*object.Object)
		if !ok {
			inner = &object.Object{}
			conf.Set(part, inner)
		}
		conf = inner
	}
	return conf, parts[len(parts)-1]
}

// remove takes out the last of the levels, if the way to it is there.
func remove(conf *object.Object, parts []string) {
	for _, part := range parts[:len(parts)-1] {
		conf, _ = conf.Get(part).(*object.Object)
	}
	conf.Delete(parts[len(parts)-1])
}

func (f *face) setConf(ctx context.Context) error {
	if len(f.line.words) == 0 {
		return usageText("missing required argument `key'")
	}
	value := ""
	if len(f.line.words) > 1 {
		value = f.line.words[1]
	}
	return f.setKeys(ctx, []string{f.line.words[0], value}, true)
}

func (f *face) multiset(ctx context.Context) error {
	words := quotedWords(f.line.words[0])
	if len(words) == 0 {
		return usageText("missing required argument `value'")
	}
	return f.setKeys(ctx, words, false)
}

// setKeys sets keys and values, and restarts the app that a key is of, if there is
// one. A last key without a value loses what it had. That the setting has changed is
// told of one, as PM2 does.
func (f *face) setKeys(ctx context.Context, words []string, one bool) error {
	conf, err := f.changeConf(func(conf *object.Object) {
		for pair := range slices.Chunk(words, 2) {
			if len(pair) == 1 {
				remove(conf, levels(pair[0]))
				continue
			}
			at, key := place(conf, levels(pair[0]))
			at.Set(key, pair[1])
		}
	})
	if err != nil {
		return err
	}
	parts := levels(words[0])
	if len(parts) == 1 {
		f.showModules(conf)
		return nil
	}
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.name() == parts[0] {
			apart := *f
			apart.silent = true
			if err := apart.operate(ctx, "restartProcessId", parts[0], &changes{config: &ecosystem.Config{}, updateEnv: true}); err != nil {
				return err
			}
			f.ok("Module %s restarted", parts[0])
			break
		}
	}
	if one {
		f.ok("Setting changed")
	}
	f.showKeys(conf, parts[0])
	return nil
}

func quotedWords(text string) (words []string) {
	word, quoted := "", false
	for _, r := range text + " " {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			if word != "" {
				words = append(words, word)
			}
			word = ""
		default:
			word += string(r)
		}
	}
	return words
}

func (f *face) getConf(context.Context) error {
	conf, err := f.readConf()
	if err != nil {
		return err
	}
	if len(f.line.words) == 0 || f.line.words[0] == "all" {
		f.showKeys(conf, "")
		return nil
	}
	key := f.line.words[0]
	parts := levels(key)
	at, last := place(conf, parts)
	if !at.Has(last) {
		return pm2Exit(1)
	}
	if len(parts) == 1 {
		f.showKeys(conf, key)
		f.print("Modules configuration. Copy/Paste line to edit values.")
		return nil
	}
	f.print("Value for module %s key %s: %s", f.out.paint(cyan, parts[0]), f.out.paint(cyan, parts[1]), f.out.paint(green, fmt.Sprint(at.Get(last))))
	return nil
}

func (f *face) showConf(context.Context) error {
	conf, err := f.readConf()
	if err != nil {
		return err
	}
	f.showKeys(conf, "")
	return nil
}

func (f *face) confKey(ctx context.Context) error {
	if len(f.line.words) > 1 {
		return f.setConf(ctx)
	}
	return f.getConf(ctx)
}

func (f *face) unset(context.Context) error {
	conf, err := f.changeConf(func(conf *object.Object) {
		if f.line.words[0] == "all" {
			*conf = object.Object{}
		} else {
			remove(conf, levels(f.line.words[0]))
		}
	})
	if err != nil {
		return err
	}
	f.showModules(conf)
	return nil
}

// showModules prints the values that have a dot or a colon in their keys.
func (f *face) showModules(conf *object.Object) {
	modules := &object.Object{}
	for key, value := range conf.All() {
		if inner, ok := value.(*object.Object); ok {
			modules.Set(key, inner)
		}
	}
	f.showKeys(modules, "")
}

// showKeys prints the values as the commands that set them.
func (f *face) showKeys(conf *object.Object, only string) {
	for key, value := range conf.All() {
		if only != "" && key != only {
			continue
		}
		inner, ok := value.(*object.Object)
		if !ok {
			f.print("$ pm2 set %s %v", key, value)
			continue
		}
		f.print("%s%s", f.out.paint(bold, "Module: "), f.out.paint(cyan, key))
		for name, value := range inner.All() {
			f.print("$ pm2 set %s:%s %v", key, name, value)
		}
	}
}

// confEnv are the variables that an app gets of what is set for it.
func (f *face) confEnv(app string) map[string]string {
	conf, err := f.readConf()
	if err != nil {
		return nil
	}
	inner, _ := conf.Get(app).(*object.Object)
	env := map[string]string{}
	for key, value := range inner.All() {
		if _, nested := value.(*object.Object); !nested {
			env[key] = fmt.Sprint(value)
		}
	}
	return env
}

const sampleFile = "ecosystem.config.js"

// sample writes a file to begin with.
func (f *face) sample(context.Context) error {
	path, err := filepath.Abs(sampleFile)
	if err != nil {
		return err
	}
	text := pm2Sample
	if len(f.line.words) > 0 && f.line.words[0] == "simple" {
		text = pm2SimpleSample
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if os.IsExist(err) {
		return failed("move it away first", "%s is there already, and was not touched", path)
	}
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	f.print("File %s generated", path)
	return nil
}

const pm2SimpleSample = `module.exports = {
  apps : [{
    name   : "app1",
    script : "./app.js"
  }]
}
`

const pm2Sample = `module.exports = {
  apps : [{
    name: "web",
    script: "./server.js",
    instances: "max",             // one process for each CPU
    watch: false,                 // or true, or ["./src"]
    max_memory_restart: "500M",
    env: {
      NODE_ENV: "development"
    },
    env_production: {             // pm2 start ecosystem.config.js --env production
      NODE_ENV: "production"
    }
  }, {
    name: "worker",
    script: "./worker.js",
    cron_restart: "0 3 * * *"
  }]
};
`
