package ecosystem

import (
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/nekoctl/neko/supervisor/spec"
)

// notInFileNames is what PM2 replaces in an app's name for its files.
var notInFileNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[^a-zA-Z0-9\\.\-]`)
})

// logs are the files that the processes print to, and those of their pids.
func (b *builder) logs() {
	app := &b.app
	app.LogType = "raw"
	switch logType := b.text("log_type"); logType {
	case "json":
		app.LogType = "json"
	case "", "raw":
	default:
		b.warn("log_type: there is json, and not %s: lines are as they are printed", shown(logType))
	}
	app.LogDateFormat = b.text("log_date_format")
	app.MergeLogs = b.bool("merge_logs")
	name := notInFileNames().ReplaceAllString(b.text("name"), "-")
	byDefault := func(folder, file string) string {
		if !b.o.PM2 {
			return ""
		}
		return filepath.Join(folder, file)
	}
	logs, pids := b.o.Logs, b.o.PIDs
	if logs == "" {
		logs = filepath.Join(b.o.Home, "logs")
	}
	if pids == "" {
		pids = filepath.Join(b.o.Home, "pids")
	}
	if b.v.Get("log_file") == true {
		app.AllFile = filepath.Join(logs, name+".log")
	} else if file, ok := b.v.Get("log_file").(string); ok {
		app.AllFile = b.logFile("log_file", file, "")
	}
	app.OutFile = b.logFile("out_file", b.text("out_file"), byDefault(logs, name+"-out.log"))
	app.ErrorFile = b.logFile("error_file", b.text("error_file"), byDefault(logs, name+"-error.log"))
	app.PIDFile = b.logFile("pid_file", b.text("pid_file"), byDefault(pids, name+".pid"))
	b.all, b.out, b.err = app.AllFile, app.OutFile, app.ErrorFile
	if b.bool("disable_logs") {
		app.OutFile, app.ErrorFile, app.AllFile = os.DevNull, os.DevNull, ""
	}
}

// logFile is a file by its key. Nowhere is /dev/null.
func (b *builder) logFile(key, file, byDefault string) string {
	switch file {
	case "":
		return byDefault
	case "NULL", os.DevNull:
		return os.DevNull
	}
	path := b.absolute(b.app.Cwd, file)
	b.folders = append(b.folders, folderOf{key, filepath.Dir(path)})
	return path
}

// folderOf is the folder of a file of logs or pids.
type folderOf struct{ key, path string }

// makeFolders makes the folders that are missing, as PM2 does.
func (b *builder) makeFolders() {
	for _, f := range b.folders {
		if _, err := os.Stat(f.path); err == nil {
			continue
		}
		if b.saved == nil { // else nobody has just written the name
			b.o.warn("Folder does not exist: " + f.path)
			b.o.note("Creating folder: " + f.path)
		}
		if err := os.MkdirAll(f.path, 0o777); err != nil {
			b.fail(f.key, &spec.Error{Message: "its folder cannot be made: " + err.Error()})
		}
	}
}
