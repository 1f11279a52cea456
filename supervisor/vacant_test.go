package supervisor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
)

// ids tells the ids and slots of processes, as "1/1 online".
func ids(list []control.Process) string {
	var all []string
	for _, p := range list {
		all = append(all, fmt.Sprintf("%d/%d %s", p.ID, p.Slot, p.State))
	}
	return strings.Join(all, ", ")
}

func TestOneProcessOfAnAppCanBeDeleted(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 4))
	before := d.list()
	d.command("delete", "1", "0")
	look := func(what, want string) {
		t.Helper()
		if got := ids(d.list()); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	look("two deleted", "2/2 online, 3/3 online")
	if after := d.list(); after[0].PID != before[2].PID || after[1].PID != before[3].PID {
		t.Errorf("its siblings are others now")
	}
	if saved := d.specs(); saved[0].App.Instances != 2 {
		t.Errorf("%d are saved", saved[0].App.Instances)
	}
	d.killMaster()
	look("after the death of the master", "2/2 online, 3/3 online")
	for _, command := range []string{"restart", "reload", "stop", "restart"} {
		d.command(command, "api")
	}
	look("after commands on the app", "2/2 online, 3/3 online")
	d.start(app("other", 1)) // takes the id that is free
	if got, want := ids(d.scale("api", "4").Processes), "1/0 online, 4/1 online, 2/2 online, 3/3 online"; got != want {
		t.Errorf("scaled up again: %s, want %s", got, want)
	}
	d.command("delete", "3")
	look("the last one deleted", "0/0 online, 1/0 online, 2/2 online, 4/1 online")
	d.command("delete", "1", "2", "4")
	look("all of them deleted", "0/0 online")
	if saved := d.specs(); len(saved) != 1 {
		t.Errorf("the app is still there: %v", saved)
	}
}

func TestAnAppIsScaledWhileSomeOfItsSlotsAreVacant(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 4))
	d.command("delete", "1")
	for _, step := range []struct{ to, want string }{
		{"2", "0/0 online, 2/2 online"},
		{"+1", "0/0 online, 1/1 online, 2/2 online"},
		{"5", "0/0 online, 1/1 online, 2/2 online, 3/3 online, 4/4 online"},
		{"1", "0/0 online"},
	} {
		if got := ids(d.scale("api", step.to).Processes); got != step.want {
			t.Errorf("scaled to %s: %s, want %s", step.to, got, step.want)
		}
	}
}

// Whoever names all processes of an app means the app, so that a reload has a trial
// and nothing is left of what is deleted.
func TestAllProcessesOfAnAppAreTheApp(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 2))
	d.command("reload", "0", "1")
	d.command("delete", "1", "0")
	if got := len(d.specs()); got != 0 {
		t.Errorf("%d apps are left", got)
	}
}
