package dump

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

func saved(names ...string) []control.Saved {
	list := []control.Saved{}
	for _, name := range names {
		a := spec.Defaults()
		a.Name, a.Command, a.Cwd = name, []string{"/bin/" + name}, "/"
		a.Env = map[string]string{"TOKEN": "geheim <&>"}
		list = append(list, control.Saved{App: a, Stopped: len(list) == 1})
	}
	return list
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// names are those of the apps of a dump that must be there, and why it is the backup.
func names(t *testing.T, h home.Dir) (names, instead string) {
	t.Helper()
	apps, _, why, err := Read(h)
	if err != nil {
		t.Fatal(err)
	}
	if why != nil {
		instead = why.Error()
	}
	var list []string
	for _, a := range apps {
		list = append(list, a.App.Name)
	}
	return strings.Join(list, " "), instead
}

func TestWhatIsSavedIsThereAgain(t *testing.T) {
	h := home.Dir(t.TempDir())
	if _, _, _, err := Read(h); !errors.Is(err, ErrNone) {
		t.Errorf("of a new home: %v", err)
	}
	want := saved("web", "job")
	write(t, h.Dump()+".new", "of a save that was cut off, for all to read")
	if err := Write(h, want, spec.Daemon{}); err != nil {
		t.Fatal(err)
	}
	got, _, instead, err := Read(h)
	if err != nil || instead != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, %v", got, instead, err)
	}
	if info, err := os.Stat(h.Dump()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, _ := os.ReadDir(string(h)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheDumpBeforeTakesThePlaceOfOneThatIsDamaged(t *testing.T) {
	h := home.Dir(t.TempDir())
	for _, name := range []string{"first", "second"} {
		if err := Write(h, saved(name), spec.Daemon{}); err != nil {
			t.Fatal(err)
		}
	}
	write(t, h.Dump(), `{"version":1,"apps":[{"app":{"na`)
	if apps, instead := names(t, h); apps != "first" || !strings.Contains(instead, h.Dump()+" is damaged: ") {
		t.Errorf("%s, %s", apps, instead)
	}
	if err := os.Remove(h.Dump()); err != nil { // a save was cut off between its two renames
		t.Fatal(err)
	}
	if apps, instead := names(t, h); apps != "first" || instead == "" {
		t.Errorf("%s, %s", apps, instead)
	}

	// A damaged one does not take the place of the backup.
	write(t, h.Dump(), "")
	if err := Write(h, saved("third"), spec.Daemon{}); err != nil {
		t.Fatal(err)
	}
	write(t, h.Dump(), "null")
	if apps, _ := names(t, h); apps != "first" {
		t.Errorf("the backup is %s", apps)
	}
	write(t, Backup(h), "")
	if _, _, _, err := Read(h); err == nil || !strings.HasPrefix(err.Error(), h.Dump()+" is damaged") {
		t.Errorf("with both damaged: %v", err)
	}
}

func TestADumpOfANewerNekoctlIsRefusedAndKept(t *testing.T) {
	h := home.Dir(t.TempDir())
	if err := Write(h, saved("old"), spec.Daemon{}); err != nil {
		t.Fatal(err)
	}
	if err := Write(h, saved("older"), spec.Daemon{}); err != nil {
		t.Fatal(err)
	}
	write(t, h.Dump(), `{"version":2,"apps":{"in":"another form"}}`)
	if _, _, _, err := Read(h); err == nil || !strings.Contains(err.Error(), "is of a newer nekoctl: its version is 2, and 1 the latest") {
		t.Errorf("%v", err)
	}
	if err := Write(h, saved("new"), spec.Daemon{}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(Backup(h)); !strings.Contains(string(text), `"version":2`) {
		t.Errorf("the backup is %s", text)
	}
}

func TestWhatNoSaveWouldHaveWrittenIsDamaged(t *testing.T) {
	for text, want := range map[string]string{
		``:   "unexpected end",
		`[]`: "cannot unmarshal array",
		`{}`: "no version",
		`{"version":1,"apps":[],"daemon":{"metrics":"soon"}}`:                                          "the daemon: ",
		`{"version":1,"apps":[3]}`:                                                                     "cannot unmarshal number",
		`{"version":1,"apps":[{}]}`:                                                                    "app 1: ",
		`{"version":1,"apps":[{"app":{"name":"../up","command":["/bin/x"],"cwd":"/"}}]}`:               "app 1: ",
		`{"version":1,"apps":[{"app":{"name":"x","command":["/bin/x"],"cwd":"here"}}]}`:                `app 1: its folder is "here"`,
		`{"version":1,"apps":[{"app":{"name":"x","command":["/bin/x"],"cwd":"/","instances":-2000}}]}`: "app 1: ",
		`{"version":1,"apps":[{"app":{"name":"x","command":["/bin/x"],"cwd":"/"}},{"app":{"name":"x","command":["/bin/x"],"cwd":"/"},"stopped":true}]}`: "two apps x",
	} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What is read is what would be written again: nothing is made up, and nothing
// that a master could not live with comes through.
func FuzzDump(f *testing.F) {
	for _, apps := range [][]control.Saved{{}, saved("web"), saved("web", "job")} {
		text, err := json.Marshal(file{Version: version, Apps: apps})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"version":1,"apps":[{"app":{"name":"x","command":["/bin/x"],"cwd":"/","listen":[{"name":"a","network":"tcp","address":":80"}],"liveness":{"http":"/"},"rlimits":{"nofile":{"soft":1,"hard":2}}}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := parse(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(read)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := parse(again)
		if err != nil {
			t.Fatalf("%v in\n%s", err, again)
		}
		third, err := json.Marshal(twice)
		if err != nil || string(third) != string(again) {
			t.Fatalf("%v: it was\n%s\nand is\n%s", err, again, third)
		}
	})
}
