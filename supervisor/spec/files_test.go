package spec

import "testing"

func TestFilesAreNumberedBySlotOrAsPM2Does(t *testing.T) {
	for _, x := range []struct{ file, bySlot, byID string }{ // of slot 1, which has the id 7
		{"/srv/web.pid", "/srv/web-1.pid", "/srv/web-7.pid"},
		{"/srv/web-2.pid", "/srv/web-2-1.pid", "/srv/web-7.pid"},
		{"/srv/web-2a.pid", "/srv/web-2a-1.pid", "/srv/web-2a-7.pid"},
		{"/srv/web2.pid", "/srv/web2-1.pid", "/srv/web2-7.pid"},
		{"/srv/-2.pid", "/srv/-2-1.pid", "/srv/-7.pid"},
		{"/srv/web.txt", "/srv/web-1.txt", "/srv/web.txt"},
		{"/srv/web", "/srv/web-1", "/srv/web"},
		{"/dev/null", "", ""},
		{"", "", ""},
	} {
		bySlot, byID := App{PIDFile: x.file, MergeLogs: true}, App{PIDFile: x.file, NumberByID: true}
		if got := bySlot.PIDFileOf(1, 7); got != x.bySlot {
			t.Errorf("%s by slot: %s, want %s", x.file, got, x.bySlot)
		}
		if got := byID.PIDFileOf(1, 7); got != x.byID {
			t.Errorf("%s by id: %s, want %s", x.file, got, x.byID)
		}
	}
	a := App{OutFile: "/srv/out.log", AllFile: "/srv/all.log", ErrorFile: "/dev/null", NumberByID: true}
	merged := a
	merged.MergeLogs = true
	for _, x := range []struct{ got, want string }{
		{a.LogFile(false, 0, 7), "/srv/out-7.log"}, {a.LogFile(true, 0, 7), "/dev/null"}, {a.AllFileOf(0, 7), "/srv/all-7.log"},
		{merged.LogFile(false, 0, 7), "/srv/out.log"}, {merged.AllFileOf(0, 7), "/srv/all.log"},
	} {
		if x.got != x.want {
			t.Errorf("got %q, want %q", x.got, x.want)
		}
	}
}

func TestTheDaemonKnowsItsOwnFiles(t *testing.T) {
	a := App{OutFile: "/srv/out.log", ErrorFile: "/srv/errors-1.log", AllFile: "/srv/all.log", PIDFile: "/srv/run/web.pid"}
	for path, want := range map[string]bool{
		"/srv/out.log": true, "/srv/out-3.log": true, "/srv/out.log.1.gz": true, "/srv/errors-5.log": true, "/srv/all-0.log": true,
		"/srv/run/web-12.pid": true, "/srv/run/web.pid": true,
		"/srv/outer.log": false, "/srv/out/x.log": false, "/srv/out.js": false, "/srv/run/web.js": false, "/srv/errors-x.log": false,
	} {
		if got := a.IsOwnFile(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
