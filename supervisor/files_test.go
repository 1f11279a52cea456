package supervisor_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// pidsIn are the files of a folder, with what is in them.
func pidsIn(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, e.Name()+"="+string(text))
	}
	return strings.Join(all, " ")
}

func TestPIDFilesHaveThePIDsOfWhoServes(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	a := web("api", 2)
	a.PIDFile = filepath.Join(dir, "api.pid")
	right := func(when string) {
		t.Helper()
		d.eventually("the pid files are right "+when, func() bool {
			var want []string
			for _, p := range d.list() {
				if p.State != control.Online {
					return false
				}
				name := a.PIDFileOf(p.Slot, p.ID)
				want = append(want, fmt.Sprintf("%s=%d", filepath.Base(name), p.PID))
			}
			slices.Sort(want)
			return pidsIn(t, dir) == strings.Join(want, " ")
		})
	}
	serving := d.start(a).Processes
	right("after a start")
	kill(t, serving[0].PID, syscall.SIGKILL)
	d.until("it is back", func(l []control.Process) bool { return l[0].PID != serving[0].PID && l[0].State == control.Online })
	right("after a crash")
	d.command("reload", "api")
	right("after a reload")
	d.killMaster()
	right("after another master")
	if err := os.WriteFile(filepath.Join(dir, "api.pid"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.killMaster()
	right("as another master has put them right")
	d.scale("api", "1")
	if got := pidsIn(t, dir); strings.Contains(got, "api-1.pid") {
		t.Errorf("scaled down, and there is %s", got)
	}
	d.command("stop", "api")
	if got := pidsIn(t, dir); got != "" {
		t.Errorf("stopped, and there is %s", got)
	}
	left := filepath.Join(dir, "api.pid")
	if err := os.WriteFile(left, []byte("4194305"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.killMaster()
	d.eventually("what a killed daemon has left is removed", func() bool { return !there(left) })
}

func TestAPIDFileThatCannotBeWrittenKeepsNobodyFromServing(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := t.TempDir()
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	a := web("api", 1)
	a.PIDFile = filepath.Join(blocked, "api.pid")
	warned := func(done control.Done) bool {
		return strings.Contains(strings.Join(done.Notes, "\n"), "the pid file of api:0 cannot be written")
	}
	if done := d.start(a); !warned(done) || states(done.Processes) != "api:0 online" {
		t.Errorf("%+v", done)
	}
	d.command("reload", "api")
	if n := d.log("the pid file of api:0"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	if done := d.command("stop", "api"); warned(done) {
		t.Errorf("it is stopped, and %q", done.Notes)
	}
}

// The folder of the files is there, as the daemon has made it.
func TestFilesAreNumberedByIDIfAnAppHasItSo(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := filepath.Join(t.TempDir(), "new")
	a := script("talker", `echo "out $NODE_APP_INSTANCE"; echo "err $NODE_APP_INSTANCE" >&2; exec sleep 1000`)
	a.Instances, a.NumberByID = 2, true
	a.OutFile, a.ErrorFile = filepath.Join(dir, "out.log"), "/dev/null"
	a.AllFile, a.PIDFile = filepath.Join(dir, "all-0.log"), filepath.Join(dir, "pids", "talker.pid")
	d.start(app("first", 1), a)
	for id, slot := range map[int]string{1: "0", 2: "1"} {
		d.eventually("all is there", func() bool {
			return logText(t, filepath.Join(dir, fmt.Sprintf("out-%d.log", id))) == "out "+slot+"\n" &&
				sortedLines(logText(t, filepath.Join(dir, fmt.Sprintf("all-%d.log", id)))) == "err "+slot+",out "+slot
		})
	}
	for _, p := range d.list()[1:] {
		if text := logText(t, filepath.Join(dir, "pids", fmt.Sprintf("talker-%d.pid", p.ID))); text != strconv.Itoa(p.PID) {
			t.Errorf("the pid file of %d has %q, and the pid is %d", p.ID, text, p.PID)
		}
	}
	detail, err := d.App(t.Context(), "talker")
	if err != nil {
		t.Fatal(err)
	}
	p := detail.Processes[1]
	if want := filepath.Join(dir, "all-2.log"); p.AllLog != want || p.ErrLog != "/dev/null" || p.PIDFile != filepath.Join(dir, "pids", "talker-2.pid") {
		t.Errorf("%+v", p)
	}
	d.command("flush", "talker")
	if text := logText(t, p.AllLog) + logText(t, p.OutLog); text != "" {
		t.Errorf("flushed, and there is %q", text)
	}
}

func sortedLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return strings.Join(lines, ",")
}

func environmentIn(t *testing.T, file string) map[string]string {
	t.Helper()
	env := map[string]string{}
	for entry := range strings.SplitSeq(logText(t, file), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}

func TestVariablesHaveNumbers(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 2)
	a.Env["PORT"] = "3000"
	a.InstanceVar, a.IncrementVar = "NUMBER", "PORT"
	for i, p := range d.start(a).Processes {
		env := environmentIn(t, fmt.Sprintf("/proc/%d/environ", p.PID))
		if slot := strconv.Itoa(i); env["NUMBER"] != slot || env["NEKO_SLOT"] != slot || env["INSTANCE_ID"] != slot || env["PORT"] != strconv.Itoa(3000+i) {
			t.Errorf("slot %d has %v", i, env)
		}
		if value, there := env["NODE_APP_INSTANCE"]; there {
			t.Errorf("slot %d has NODE_APP_INSTANCE=%s", i, value)
		}
	}
}

func TestAnAppOfPM2GetsWhatPM2GivesIt(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	fork := app("api-1", 1)
	fork.Title, fork.OutFile, fork.PIDFile, fork.NumberByID = "api", "/dev/null", filepath.Join(t.TempDir(), "api.pid"), true
	fork.Env["name"], fork.Env["PM2_HOME"] = "of the environment", "/home"
	fork.PM2 = json.RawMessage(`{"name":"api","exec_mode":"fork_mode","kill_timeout":1600,"autorestart":true,"args":["a","b"],"none":null,"NEKO_SLOT":7,"pm_id":99}`)
	first := d.start(fork).Processes[0]
	env := environmentIn(t, fmt.Sprintf("/proc/%d/environ", first.PID))
	for name, want := range map[string]string{
		"name": "of the environment", "exec_mode": "fork_mode", "kill_timeout": "1600", "autorestart": "true", "PM2_HOME": "/home",
		"pm_id": "0", "status": "launching", "restart_time": "0", "unstable_restarts": "0", "NODE_APP_INSTANCE": "0", "NEKO_SLOT": "0",
		"pm_out_log_path": "/dev/null", "pm_err_log_path": d.home.ErrLog("api-1", 0), "pm_pid_path": strings.Replace(fork.PIDFile, ".pid", "-0.pid", 1),
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	for _, name := range []string{"args", "none", "pm_log_path", "axm_actions", "env"} {
		if value, there := env[name]; there {
			t.Errorf("there is %s=%s", name, value)
		}
	}
	apps, err := d.Apps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id := env["unique_id"]; len(id) != 36 || id != apps[0].UniqueID || env["created_at"] != strconv.FormatInt(apps[0].Processes[0].CreatedAt.UnixMilli(), 10) {
		t.Errorf("unique_id is %q, created_at %s: %+v", id, env["created_at"], apps[0])
	}
	d.killMaster()
	second := d.command("reload", "api").Processes[0]
	env = environmentIn(t, fmt.Sprintf("/proc/%d/environ", second.PID))
	if env["restart_time"] != "1" || env["unique_id"] != apps[0].UniqueID {
		t.Errorf("after a reload: %v", env)
	}
}

func TestTheLogsOfAnAppOfPM2AreThereBeforeItPrints(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := t.TempDir()
	a := app("api", 1)
	a.PM2, a.NumberByID = json.RawMessage(`{"name":"api"}`), true
	a.OutFile, a.ErrorFile, a.AllFile = filepath.Join(dir, "out.log"), filepath.Join(dir, "err.log"), filepath.Join(dir, "all.log")
	d.start(a)
	d.eventually("its logs are there", func() bool {
		return there(filepath.Join(dir, "out-0.log")) && there(filepath.Join(dir, "err-0.log")) && there(filepath.Join(dir, "all-0.log"))
	})
	if name := d.home.OutLog("api", 0); there(name) {
		t.Errorf("there is %s too, and PM2 has no such file", name)
	}
}

func TestAnAppOfPM2IsTakenForReadyWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("slow", 1, "silent")
	a.PM2, a.ListenTimeout = json.RawMessage(`{"name":"slow"}`), spec.Duration(300*time.Millisecond)
	first := d.start(a).Processes[0]
	if first.State != control.Online {
		t.Fatalf("it is %s after a start", first.State)
	}
	if _, err := d.Command(t.Context(), "reload", control.TargetRequest{Targets: []string{"slow"}}, nil); err == nil {
		t.Error("a reload took a successor for ready that was not, and its predecessor from it")
	}
	if now := d.list()[0]; now.PID != first.PID {
		t.Errorf("the predecessor %d has not stayed: %d", first.PID, now.PID)
	}
}
