package ecosystem

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// shape is what PM2 lists of the app (pm2_env) that does not change while it runs: its
// keys in their order, without env, which comes where the schema has it.
func (b *builder) shape() *object.Object {
	line := b.run.Line != ""
	if line {
		b.v.Set("args", []any{"-c", b.run.Line})
	}
	if id, err := b.app.Identity(); err == nil && id != nil {
		b.v.Set("uid", plain(id.UID)).Set("gid", plain(id.GID))
	}
	s := &object.Object{}
	for i := range Keys {
		key := Keys[i].Name
		late := key == "namespace" && b.file != "" && !b.Has(key) // a file's default comes later
		if value := b.v.Get(key); value != nil && !late {
			s.Set(key, withoutPatterns(value))
		}
	}
	for key, value := range b.v.All() { // what the schema does not have
		s.Set(key, withoutPatterns(value))
	}
	for _, key := range []string{"script", "env", "log_file", "out_file", "error_file", "pid_file"} {
		s.Delete(key)
	}
	if b.saved != nil && !b.saved.Has("cwd") {
		s.Delete("cwd")
	}
	if !s.Has("node_args") {
		s.Set("node_args", []any{})
	}
	script := b.scriptPath(line)
	s.Set("pm_exec_path", script)
	s.Set("pm_cwd", b.app.Cwd)
	if !truthy(s.Get("exec_interpreter")) {
		s.Set("exec_interpreter", b.interpreter(script))
	}
	mode := "fork_mode"
	if b.app.Node == spec.NodeCluster {
		mode = "cluster_mode"
	}
	s.Set("exec_mode", mode)
	if !s.Has("instances") {
		s.Set("instances", plain(1))
	}
	if b.all != "" {
		s.Set("pm_log_path", b.all)
	}
	s.Set("pm_out_log_path", b.out)
	s.Set("pm_err_log_path", b.err)
	s.Set("pm_pid_path", b.app.PIDFile)
	s.Set("km_link", false)
	s.Set("vizion_running", false)
	s.Set("version", packageVersion(script))
	if b.saved != nil && !b.saved.Has("instances") {
		s.Delete("instances")
	}
	if b.app.Node != spec.NodeNone && b.o.Node != nil && !line {
		if program, err := b.app.Program(); err == nil {
			if version := strings.TrimPrefix(strings.TrimSpace(b.o.Node(program)), "v"); version != "" {
				s.Set("node_version", version)
			}
		}
	}
	return s
}

// withoutPatterns has an empty object where a regular expression was, as PM2 lists it.
func withoutPatterns(value any) any {
	switch v := value.(type) {
	case *object.Object:
		if v.Has(regexpMark) {
			return &object.Object{}
		}
	case []any:
		values := make([]any, len(v))
		for i := range v {
			values[i] = withoutPatterns(v[i])
		}
		return values
	}
	return value
}

// scriptPath is the file that PM2 would run: for a command line that is a shell.
func (b *builder) scriptPath(line bool) string {
	name := "bash"
	if !line {
		name = b.run.Words[0]
		file := name
		if !filepath.IsAbs(file) {
			file = filepath.Join(b.app.Cwd, file)
		}
		if _, err := os.Stat(file); err == nil || b.o.NamesOnly {
			return file
		}
	}
	found := func(name string) string {
		file, err := b.app.ProgramOf([]string{name})
		if err != nil {
			return ""
		}
		return file
	}
	if file := found(name); file != "" {
		return file
	}
	if line {
		return found("sh")
	}
	return name
}

// interpreters are PM2's, by the endings of scripts.
var interpreters = map[string]string{".sh": "bash", ".py": "python", ".rb": "ruby", ".php": "php", ".pl": "perl", ".js": "node",
	".coffee": "coffee", ".ls": "lsc", ".ts": "bun", ".tsx": "bun"}

// interpreter is what PM2 would say runs a script.
func (b *builder) interpreter(script string) string {
	program := filepath.Base(b.app.Command[0])
	with := interpreters[filepath.Ext(script)]
	switch {
	case with == "python" || with == "bun": // if they are not there others are taken
		return program
	case with != "":
		return with
	case b.app.Node != spec.NodeNone && !isBinary(script):
		if file, err := b.app.Program(); err == nil {
			return file
		}
		return "node"
	}
	return "none"
}

// isBinary is a guess, as PM2's is: a NUL byte, or much that is no text.
func isBinary(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 512)
	n, _ := f.Read(head)
	return slices.Contains(head[:n], 0)
}

// packageVersion is the version in the nearest package.json above a file.
func packageVersion(file string) string {
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		var p struct{ Version any }
		if data, err := os.ReadFile(filepath.Join(dir, "package.json")); err == nil && json.Unmarshal(data, &p) == nil {
			if version, ok := p.Version.(string); ok {
				return version
			}
			return "N/A"
		}
		if dir == filepath.Dir(dir) {
			return "N/A"
		}
	}
}
