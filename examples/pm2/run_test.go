package pm2

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/scripts/source"
	"github.com/nekoctl/neko/supervisor/control"
)

const (
	patience = 30 * time.Second
	clients  = 4
)

func TestProgramsRunByTheirOwnProcessFilesAsUnderPM2(t *testing.T) {
	source.LookAt(t, "../../cmd/nekoctl", "../../pm2", "../../supervisor")
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			a := deploy(t, p)
			var want, got [][]string
			t.Run("PM2", func(t *testing.T) { want = live(t, a, theRealPM2(t, a), nothing) })
			if t.Failed() || want == nil {
				return // PM2 itself cannot
			}
			t.Run("neko", func(t *testing.T) { got = live(t, a, oursAsPM2(t, a), underLoad) })
			for i, after := range steps[:len(got)] {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("after %s jlist has\n%s\nand PM2's\n%s", after, strings.Join(got[i], "\n"), strings.Join(want[i], "\n"))
				}
			}
			t.Run("converted", func(t *testing.T) { converted(t, a) })
		})
	}
}

var steps = []string{"start", "reload", "stop", "delete"}

// live starts an app by its file, reloads, stops and deletes it. Lists are what jlist says
// after each of these.
func live(t *testing.T, a *app, pm2 *commands, while func(t *testing.T, a *app, act func())) (lists [][]string) {
	t.Helper()
	with := func(command string) []string { return append([]string{command, a.file}, a.options...) }
	look := func() (list []process) {
		t.Helper()
		list, alike := pm2.list()
		lists = append(lists, alike)
		return list
	}
	pm2.do(with("start")...)
	a.works(t, pm2.home)
	before := look()
	while(t, a, func() { pm2.do(with("reload")...) })
	for i, p := range look() {
		if i >= len(before) || p.PID == before[i].PID || p.Details.Status != "online" {
			t.Errorf("not reloaded: %+v, and before %+v", p, before)
		}
	}
	a.works(t, pm2.home)
	pm2.do("stop", "all")
	look()
	if a.path != "" {
		if answer, err := a.asks(); err == nil {
			t.Errorf("it is stopped, and answers %q", answer)
		}
	}
	pm2.do("delete", a.file)
	if rest := look(); len(rest) > 0 {
		t.Errorf("deleted, and there is %+v", rest)
	}
	return lists
}

// converted starts what nekoctl convert makes of the file.
func converted(t *testing.T, a *app) {
	neko := native(t, a)
	neko.do(append([]string{"convert", a.file, "-o", "neko.yaml"}, a.options...)...)
	neko.do("start", "neko.yaml")
	a.works(t, neko.home)
	for _, p := range processes(t, neko) {
		if p.State != control.Online {
			t.Errorf("%s:%d is %s", p.Name, p.Slot, p.State)
		}
	}
	neko.do("stop", "all")
	for _, p := range processes(t, neko) {
		if p.State != control.Stopped {
			t.Errorf("%s:%d is %s", p.Name, p.Slot, p.State)
		}
	}
}

func processes(t *testing.T, neko *commands) (list []control.Process) {
	t.Helper()
	out := neko.do("list", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) == 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	return list
}

// works waits until the program answers, or has printed what it is to print.
func (a *app) works(t *testing.T, home string) {
	t.Helper()
	var last string
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !strings.Contains(last, a.says); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %q, and there is %q", patience, a.says, last)
		}
		if a.path != "" {
			last, _ = a.asks()
			continue
		}
		last = ""
		names, _ := filepath.Glob(filepath.Join(home, "logs", "*"))
		for _, name := range names {
			text, _ := os.ReadFile(name)
			last += string(text)
		}
	}
}

// asks is a request on a connection of its own.
func (a *app) asks() (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Get(a.url())
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.Status + "\n" + string(body), err
}

func (a *app) url() string { return "http://" + a.address + a.path }

func nothing(_ *testing.T, _ *app, act func()) { act() }

// underLoad acts while clients of a clustered program count what they lose.
func underLoad(t *testing.T, a *app, act func()) {
	t.Helper()
	if !a.clustered {
		act()
		return
	}
	var runs []*load.Run
	for _, cfg := range []load.Config{
		{Mode: load.NewConnection, ThinkMax: 100 * time.Millisecond},
		{Mode: load.KeepAlive, ThinkMax: 50 * time.Millisecond},
		{Mode: load.Slow, SlowFor: 100 * time.Millisecond, ThinkMax: 100 * time.Millisecond},
	} {
		cfg.URL, cfg.Clients = a.url(), clients
		cfg.Check = func(r *load.Response) error {
			if !strings.Contains(string(r.Body), a.says) {
				return fmt.Errorf("the answer is %q", r.Body)
			}
			return nil
		}
		run, err := load.Start(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Stop()
		runs = append(runs, run)
	}
	pass := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, run := range runs {
			if err := run.WaitRequests(ctx, 4*clients); err != nil {
				t.Fatalf("%v\n%s", err, run.Stats())
			}
		}
	}
	pass()
	act()
	pass()
	for _, run := range runs {
		report := run.Stop()
		t.Log(report)
		if report.Failed() {
			t.Error("requests are lost")
		}
	}
}
