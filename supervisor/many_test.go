package supervisor_test

import (
	"slices"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
)

func TestAThousandProcessesOutliveTheirMasterAndAreStoppedByTheNext(t *testing.T) {
	d := newDaemon(t)
	a := app("many", 1000)
	a.Command, a.WaitReady = []string{"/bin/sleep", "infinity"}, false
	pids := func(list []control.Process) (pids []int) {
		for _, p := range list {
			if p.State != control.Online {
				t.Fatalf("%+v", p)
			}
			pids = append(pids, p.PID)
		}
		return pids
	}
	before := pids(d.start(a).Processes)
	if len(before) != 1000 {
		t.Fatalf("%d processes", len(before))
	}
	d.killMaster()
	if after := pids(d.list()); !slices.Equal(before, after) {
		t.Error("they are other processes after the kill")
	}
	d.command("stop", "many")
	d.nobodyRuns()
}
