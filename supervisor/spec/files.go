package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LogFile is where what the processes of a slot with an id print to standard output
// goes, or to standard error; "": where the home has it.
func (a *App) LogFile(errors bool, slot, id int) string {
	file := a.OutFile
	if errors {
		file = a.ErrorFile
	}
	return a.logFile(file, slot, id)
}

// AllFileOf is the file that gets both outputs of a slot; "": none.
func (a *App) AllFileOf(slot, id int) string {
	if a.AllFile == os.DevNull {
		return ""
	}
	return a.logFile(a.AllFile, slot, id)
}

func (a *App) logFile(file string, slot, id int) string {
	if a.MergeLogs {
		return file
	}
	return a.numbered(file, ".log", slot, id)
}

// PIDFileOf is the file in which the pid of a slot's process is; "": none.
func (a *App) PIDFileOf(slot, id int) string {
	if a.PIDFile == os.DevNull {
		return ""
	}
	return a.numbered(a.PIDFile, ".pid", slot, id)
}

// numbered is the name of a slot's own file: from the second on it has the slot in it,
// app.log and app-1.log. With NumberByID each has the id there, in the place of a
// number that the name ends with; where it has another ending than is usual it stays,
// and all slots have one file.
func (a *App) numbered(file, usual string, slot, id int) string {
	if file == "" || file == os.DevNull {
		return file
	}
	if a.NumberByID {
		if !strings.HasSuffix(file, usual) {
			return file
		}
		return fmt.Sprintf("%s-%d%s", unnumbered(strings.TrimSuffix(file, usual)), id, usual)
	}
	if slot == 0 {
		return file
	}
	ext := filepath.Ext(file)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(file, ext), slot, ext)
}

// unnumbered is a name without the -N at its end.
func unnumbered(name string) string {
	if short := strings.TrimRight(name, "0123456789"); short != name && strings.HasSuffix(short, "-") {
		return short[:len(short)-1]
	}
	return name
}

// IsOwnFile says whether a file is one that the daemon writes for the app: a log, also
// one that was put aside, or a file with a pid.
func (a *App) IsOwnFile(path string) bool {
	for _, file := range []string{a.OutFile, a.ErrorFile, a.AllFile, a.PIDFile} {
		ext := filepath.Ext(file)
		rest, found := strings.CutPrefix(path, unnumbered(strings.TrimSuffix(file, ext)))
		if file == "" || !found || strings.Contains(rest, "/") {
			continue
		}
		if rest = strings.TrimLeft(strings.TrimPrefix(rest, "-"), "0123456789"); rest == ext || strings.HasPrefix(rest, ext+".") {
			return true
		}
	}
	return false
}
