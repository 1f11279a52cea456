package supervisor

import (
	"fmt"
	"log"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Sequences that once left a slot stuck, or that are too rare to be drawn often
// (model_test.go). They are played as those are, and looked at in the same way.
func TestTheseSequencesLeaveNoSlotStuck(t *testing.T) {
	defer log.SetOutput(log.Writer())
	defer log.SetFlags(log.Flags())
	log.SetFlags(0)
	web := func(instances int) spec.App {
		a := plainApp("web")
		a.Instances = instances
		a.Listen = []spec.Listener{{Name: "http", Network: "tcp", Address: "127.0.0.1:0"}}
		return a
	}
	job := func(instances int) spec.App {
		a := plainApp("job")
		a.Instances = instances
		return a
	}
	dependent := job(3)
	dependent.DependsOn = []spec.Dependency{{App: "web", Condition: spec.Ready}}
	slow := good
	slow.readyIn = 4 * time.Second
	mute := good
	mute.readyIn = never
	start := func(app spec.App, o startOptions) step {
		what := fmt.Sprintf("start %s ×%d %+v", app.Name, app.Instances, o)
		return step{what, func(s *scene) { s.start(what, app, o) }}
	}
	command := func(kind, target string) step {
		return step{kind + " " + target, func(s *scene) { s.command(kind+" "+target, kind, target, 0) }}
	}
	scale := func(n string) step {
		return step{"scale web " + n, func(s *scene) { s.scale("scale web "+n, "web", n) }}
	}
	connect := func(i int) step {
		return step{fmt.Sprintf("connect %d", i), func(s *scene) { s.m.do(func() { s.fail(s.connect(i)) }) }}
	}
	kill := func(i int) step {
		return step{fmt.Sprintf("kill process %d", i), func(s *scene) { s.blow("kill", i) }}
	}
	pass := func(d time.Duration) step { return step{fmt.Sprintf("pass %v", d), func(*scene) { time.Sleep(d) }} }
	for _, c := range []struct {
		what    string
		tempers []temper
		steps   []step
	}{
		{"the last process is deleted while others are about to go", nil, []step{
			start(web(2), startOptions{}), start(web(1), startOptions{}), command("delete", "0"),
		}},
		{"one that is about to go is deleted", nil, []step{
			start(web(2), startOptions{}), start(web(1), startOptions{}), command("delete", "1"),
		}},
		{"the last process in use is deleted behind a vacant one", nil, []step{
			start(web(3), startOptions{}), pass(time.Second), command("delete", "0"), pass(10 * time.Second),
			scale("1"), command("delete", "1"),
		}},
		{"vacant slots that are about to go are taken again", nil, []step{
			start(web(3), startOptions{}), pass(time.Second), scale("4"), pass(time.Second),
			command("delete", "1"), pass(10 * time.Second), command("delete", "2"), pass(10 * time.Second),
			start(web(1), startOptions{}), pass(time.Second), scale("2"),
		}},
		{"a process that starts is stopped, and connections wait for it", nil, []step{
			start(web(3), startOptions{}), connect(0), connect(1), command("stop", "0"),
		}},
		{"a process that never gets ready is stopped, and connections wait for it", []temper{mute}, []step{
			start(web(3), startOptions{}), connect(0), connect(1), command("stop", "0"),
		}},
		{"a process that never gets ready is deleted, and connections wait for it", []temper{good, mute}, []step{
			start(web(3), startOptions{}), connect(0), connect(1), command("delete", "1"),
		}},
		{"a sibling crashes while a stand-in serves what is left to one that retires", nil, []step{
			start(web(2), startOptions{}), pass(time.Second), scale("1"), kill(1), kill(0), pass(10 * time.Second),
		}},
		{"an app is stopped whose processes never get ready, and connections wait for them", []temper{mute, mute}, []step{
			start(web(2), startOptions{}), connect(0), connect(1), command("stop", "web"), pass(time.Second), start(web(2), startOptions{}),
		}},
		{"what an app waits for has come to be by a delete", []temper{good, slow}, []step{
			start(web(2), startOptions{}), start(dependent, startOptions{}), command("delete", "1"),
		}},
		{"what an app waits for has come to be, as one that was stopped goes", nil, []step{
			start(web(2), startOptions{}), pass(time.Second), command("stop", "1"), pass(10 * time.Second),
			start(dependent, startOptions{named: true}), command("stop", "1"), pass(10 * time.Second),
			start(web(1), startOptions{}), pass(10 * time.Second),
		}},
		{"what an app waits for has come to be, as the size of the other shrinks", []temper{good, mute}, []step{
			start(web(2), startOptions{}), start(dependent, startOptions{}), command("stop", "1"), start(web(1), startOptions{}),
		}},
		{"a start, twice a restart of it, a larger one, and a delete, before one that depends on it", nil, []step{
			start(web(1), startOptions{restart: true}), start(web(1), startOptions{restart: true}), start(web(2), startOptions{}),
			command("delete", "1"), start(dependent, startOptions{}),
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := home.Dir(t.TempDir())
			var problem, told string
			synctest.Test(t, func(*testing.T) {
				s := newScene(dir, c.tempers)
				problem = s.play(c.steps, false)
				told = s.text.String()
			})
			if problem != "" {
				t.Errorf("%s\n%s", problem, told)
			}
		})
	}
}
