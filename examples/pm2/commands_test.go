// Package pm2 runs programs of other people by the process files that they bring for
// PM2, as these are: by nekoctl called as pm2, by the real PM2, and by what nekoctl
// convert makes of them.
package pm2

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
	"github.com/nekoctl/neko/scripts/source"
)

// bin is a folder with nekoctl, and a link to it that is called pm2.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "neko-pm2"); err == nil {
			defer os.RemoveAll(bin)
			err = cmp.Or(
				source.Build(filepath.Join(bin, "nekoctl"), "../../cmd/nekoctl"),
				os.Symlink("nekoctl", filepath.Join(bin, "pm2")))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		return m.Run()
	}())
}

// commands gives commands to a daemon with a home of its own.
type commands struct {
	t       *testing.T
	program string
	dir     string // where they are given
	home    string
	env     []string
}

// oursAsPM2 is nekoctl called as pm2.
func oursAsPM2(t *testing.T, app *app) *commands {
	return command(t, app, filepath.Join(bin, "pm2"))
}

// native is nekoctl.
func native(t *testing.T, app *app) *commands {
	return command(t, app, filepath.Join(bin, "nekoctl"))
}

// theRealPM2 is that of npm.
func theRealPM2(t *testing.T, app *app) *commands {
	t.Helper()
	return command(t, app, filepath.Join(npm.Need(t, realPM2), "node_modules", ".bin", "pm2"))
}

func command(t *testing.T, app *app, program string) *commands {
	t.Helper()
	home, err := os.MkdirTemp("", "home") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	c := &commands{t: t, program: program, dir: app.dir, home: home}
	c.env = append(os.Environ(), "PM2_HOME="+home, "NEKO_HOME="+home, "PM2_DISABLE_VERSION_CHECK=true")
	if app.path != "" { // else it passes at each reload
		c.env = append(c.env, "PM2_GRACEFUL_LISTEN_TIMEOUT=30000") // the machine may be busy
	}
	c.env = append(c.env, app.env...)
	t.Cleanup(func() { os.RemoveAll(home) })
	t.Cleanup(c.end)
	return c
}

func (c *commands) try(args ...string) (string, error) {
	cmd := exec.Command(c.program, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(c.program), strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (c *commands) do(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// process is what scripts read of pm2 jlist.
type process struct {
	ID      int `json:"pm_id"`
	PID     int
	Name    string
	Details struct {
		Namespace   string
		Version     string
		Mode        string `json:"exec_mode"`
		Instances   int    // after a reload PM2 has the 0 of a file again
		Instance    *int   `json:"NODE_APP_INSTANCE"`
		Interpreter string `json:"exec_interpreter"`
		Status      string
		Restarts    int    `json:"restart_time"`
		Script      string `json:"pm_exec_path"`
		Dir         string `json:"pm_cwd"`
		Environment string `json:"NODE_ENV"`
		Port        text   `json:"PORT"`
	} `json:"pm2_env"`
}

// text is a string, or a number: PM2 has numbers of a file as such, and nekoctl what the program gets.
type text string

func (s *text) UnmarshalJSON(value []byte) error {
	*s = text(strings.Trim(string(value), `"`))
	return nil
}

// list is pm2 jlist by name and instance, for PM2 starts several apps of a file at once:
// which of them is the first is chance. Each process is what it says, without what no two
// daemons say alike.
func (c *commands) list() (list []process, alike []string) {
	c.t.Helper()
	cmd := exec.Command(c.program, "jlist")
	cmd.Dir, cmd.Env = c.dir, c.env
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil {
		c.t.Fatalf("jlist: %v\n%s", err, out)
	}
	slices.SortFunc(list, func(a, b process) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	ids := []int{}
	for _, p := range list {
		ids = append(ids, p.ID)
		p.ID, p.PID = 0, min(p.PID, 1)
		if p.Details.Restarts > 0 {
			p.Details.Instances = 0
		}
		p.Details.Interpreter = strings.TrimSuffix(p.Details.Interpreter, "3") // python3, where python is there too
		line, err := json.Marshal(p)
		if err != nil {
			c.t.Fatal(err)
		}
		alike = append(alike, string(line))
	}
	if slices.Sort(ids); len(ids) > 0 && (ids[0] != 0 || ids[len(ids)-1] != len(ids)-1) {
		c.t.Errorf("jlist has the pm_ids %v", ids)
	}
	return list, alike
}

func (c *commands) end() {
	if c.t.Failed() {
		names, _ := filepath.Glob(filepath.Join(c.home, "logs", "*.log"))
		for _, name := range append(names, filepath.Join(c.home, "pm2.log"), filepath.Join(c.home, "neko.log")) {
			if text, _ := os.ReadFile(name); len(text) > 0 {
				const most = 3000
				c.t.Logf("%s:\n%s", filepath.Base(name), text[max(len(text)-most, 0):])
			}
		}
	}
	if _, err := c.try("kill"); err != nil {
		c.t.Error(err)
	}
}
