package supervisor

import (
	"encoding/json"
	"log"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// What a disk makes of a state file is refused, or a master can live with it: it
// breaks no rule of slots (invariants_test.go), and ends in order.
func FuzzState(f *testing.F) {
	job := spec.Defaults()
	job.Name, job.Command, job.Cwd, job.Instances = "job", []string{"/bin/job"}, "/", 2
	app, err := json.Marshal(appRecord{Spec: &job, Size: 2})
	if err != nil {
		f.Fatal(err)
	}
	for _, slot := range []string{
		`{"id":0,"want":"run","restarts":3,"processes":[{"launch":1,"pid":4000000,"start":7,"role":"serving"}]}`,
		`{"id":0,"want":"run","cycle":true,"processes":[{"launch":1,"pid":1,"role":"leaving"},{"launch":1,"pid":1,"role":"leaving"}]}`,
		`{"id":0,"want":"retire","finished":true,"processes":[{"launch":-1,"pid":0,"role":"spare"},{"launch":2,"role":"stand-in"},{"launch":3,"role":"starting","ready":true},{"launch":4,"pid":9,"role":"leaving"}]}`,
		`{"id":-1,"want":"stop","errored":true,"exited_at":"2026-01-02T03:04:05Z"}`,
	} {
		text, err := json.Marshal(state{Version: stateVersion, Records: map[string]string{"app/job": string(app), "slot/job/0": slot, "slot/job/1": `{"id":1,"want":"run"}`},
			Inodes: map[string][]uint64{"pipes/job/0/1": {1, 2}, "socket/job/0/0": {3}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	defer log.SetOutput(log.Writer())
	f.Fuzz(func(t *testing.T, text string) {
		dir := home.Dir(t.TempDir())
		look := func(text string) *state {
			if err := os.WriteFile(dir.State(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := readState(dir)
			if err != nil && !strings.Contains(err.Error(), dir.State()) {
				t.Errorf("it does not say which file: %v", err)
			}
			return s
		}
		look(text)
		// Of this boot, which no fuzzer would find.
		var s state
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		s.Version, s.Where = stateVersion, where()
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		known := look(string(again))
		if known == nil || len(known.Records) > 20 {
			return
		}
		for name, text := range known.Records {
			var r appRecord
			if !strings.HasPrefix(name, "app/") || json.Unmarshal([]byte(text), &r) != nil {
				continue
			}
			if r.Size > 10 {
				return // it takes its time, and shows nothing else
			}
			r.Spec.Listen = nil // no port of this machine is to be opened
			record, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			known.Records[name] = string(record)
		}
		known.forgetStrangers()
		var problem string
		synctest.Test(t, func(*testing.T) {
			scene := newScene(dir, nil)
			clear(scene.model) // no command has asked for anything
			scene.m.do(func() { scene.m.adopt(&keeper.Inheritance{Records: known.Records}) })
			time.Sleep(time.Minute)
			problem = scene.play(nil, true)
		})
		if problem != "" {
			t.Fatal(problem)
		}
	})
}

// Whatever a worker says, and whoever says it, no slot is harmed beyond what the
// words mean.
func FuzzNotify(f *testing.F) {
	for _, text := range []string{"READY=1\nSTATUS=serves", "STOPPING=1", "WATCHDOG=1", "WATCHDOG=trigger", "READY=1\nSTOPPING=1\nREADY=1", "STATUS=\xff\x00\n=\n", "BARRIER=1"} {
		f.Add(text, text, true)
	}
	dir := home.Dir(f.TempDir())
	defer log.SetOutput(log.Writer())
	f.Fuzz(func(t *testing.T, first, second string, waitReady bool) {
		job := spec.Defaults()
		job.Name, job.Command, job.Cwd, job.Instances, job.WaitReady = "job", []string{"/bin/job"}, "/", 2, waitReady
		job.Watchdog = spec.Duration(time.Second)
		var problem string
		synctest.Test(t, func(*testing.T) {
			scene := newScene(dir, nil)
			clear(scene.model)
			go func() { _, _ = scene.m.start(quiet{}, []spec.App{job}, startOptions{}) }()
			for _, text := range []string{first, second, first} {
				time.Sleep(5 * time.Millisecond)
				scene.m.do(func() {
					for _, b := range scene.living() {
						scene.m.heard(b.PID, b.PID, text)
					}
					scene.m.heard(1, 1, text) // which is none of ours
				})
			}
			time.Sleep(time.Minute)
			problem = scene.play(nil, true)
		})
		if problem != "" {
			t.Fatal(problem)
		}
	})
}

// What comes along with a message may be anything that the kernel lets through.
func FuzzSender(f *testing.F) {
	f.Add(unix.UnixCredentials(&unix.Ucred{Pid: 7}))
	f.Add(append(unix.UnixCredentials(&unix.Ucred{Pid: 7}), unix.UnixRights(1<<30)...))
	f.Fuzz(func(t *testing.T, oob []byte) {
		for i := range oob { // no descriptor that is open here
			if i%4 == 3 {
				oob[i] |= 0x40
			}
		}
		sender(oob)
	})
}
