package container

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

func start(args ...string) []string { return append([]string{"start", "--no-daemon"}, args...) }

func TestTheImageOfTwoBinariesServesTheAPI(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("-i", "2"), Env: []string{"NEKO_API_LISTEN=127.0.0.1:0"}}, "/dev/shm/neko-65532")
	list := c.untilOnline(2)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + list[0].Listeners[0] + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
		t.Errorf("it answers %s: %s", r.Status, body)
	}
	if out, err := c.inside("/nekoctl", "ping"); err != nil || !strings.Contains(out, "keeper 1, master ") {
		t.Errorf("the health check says %q, %v", out, err)
	}
	c.term()
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := c.inside("/nekoctl", "ping"); err == nil {
		t.Error("the health check passes without a daemon")
	}
}

func TestTheHomeIsAVolumeIfNEKO_HOMESaysSo(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("/program", "--", "run"), Env: []string{"NEKO_HOME=/data/neko"}, NoShm: true, Volume: "/data"}, "/data/neko")
	c.untilOnline(1)
	if out, err := c.inside("/nekoctl", "ping"); err != nil {
		t.Errorf("the health check says %q, %v", out, err)
	}
	c.term()
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := c.stdout.String(); !strings.Contains(out, "program:0 | it runs\n") || !strings.Contains(out, "program:0 | it ends\n") {
		t.Errorf("standard output is %q", out)
	}
}

func TestNoPlaceForTheHomeIsSaidClearly(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("/program", "--", "run"), Env: []string{"HOME=/"}, NoShm: true}, "/")
	if code := c.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	const want = "error: cannot use the home: NEKO_HOME is not set, and nothing can be made in HOME (/), nor in /dev/shm or /tmp\n" +
		"hint: set NEKO_HOME to a folder of your own\n"
	if got := c.stderr.String(); got != want {
		t.Errorf("it says %q", got)
	}
}

func TestThatThereIsNoProcIsSaidClearly(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("/program", "--", "run"), NoProc: true}, "/dev/shm/neko-65532")
	if code := c.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got := c.stderr.String(); got != "error: /proc is not mounted; neko cannot do without it (mount -t proc proc /proc)\n" {
		t.Errorf("it says %q", got)
	}
}

func TestThousandOrphansLeaveNoZombie(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("/program", "--", "orphans", "1000")}, "/dev/shm/neko-65532")
	list := c.untilOnline(1)
	c.until("all were left behind", func() bool {
		return strings.Contains(c.read("/dev/shm/neko-65532/logs/program-out-0.log"), "all orphans were left behind")
	})
	c.until("all have ended and are reaped", func() bool { return len(c.proc("[0-9]*")) == 3 }) // keeper, master, worker
	if again := c.untilOnline(1); again[0].PID != list[0].PID || again[0].Restarts != 0 {
		t.Errorf("%+v became %+v", list[0], again[0])
	}
}

func TestTERMDrainsWhatIsServedAndEndsWell(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("-i", "2"), Env: []string{"NEKO_API_LISTEN=127.0.0.1:0"}}, "/dev/shm/neko-65532")
	address := c.untilOnline(2)[0].Listeners[0]
	run, err := load.Start(t.Context(), load.Config{
		URL: "http://" + address + "/graphql", Mode: load.Slow, Clients: 8, Requests: 8, SlowFor: 3 * time.Second,
		Header: []string{"Content-Type: application/json"}, Body: []byte(`{"query":"{__typename}"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.until("all requests are under way", func() bool { return c.accepted(address) == 8 })
	c.term()
	report := run.Wait()
	if report.Failed() {
		t.Error(report)
	}
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestThatAllHasFailedForGoodIsTheExitCode(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("/failing.yaml")}, "/dev/shm/neko-65532")
	if code := c.wait(); code != 3 {
		t.Errorf("exit code %d", code)
	}
	if text := c.stderr.String(); !strings.Contains(text, "every app has failed for good") {
		t.Errorf("it says %q", text)
	}
}

func TestTheExitCodeOfAnAppIsPassedOn(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("--exit-with", "job", "--name", "job", "/program", "--", "exit", "3")}, "/dev/shm/neko-65532")
	if code := c.wait(); code != 3 {
		t.Errorf("exit code %d", code)
	}
}

func TestTheSignalThatHasKilledAnAppIsPassedOn(t *testing.T) {
	t.Parallel()
	c := launch(t, options{Args: start("--exit-with", "job", "--name", "job", "/program", "--", "run")}, "/dev/shm/neko-65532")
	job := c.untilOnline(1)[0]
	if out, err := c.outside("kill", "-KILL", strconv.Itoa(job.PID)); err != nil {
		t.Fatal(out, err)
	}
	if code := c.wait(); code != 128+9 {
		t.Errorf("exit code %d", code)
	}
}
