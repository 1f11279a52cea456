package show

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
)

// pm2 is PM2's own code, which is asked to print.
type pm2 struct {
	in  *bufio.Writer
	out *bufio.Reader
}

// request is what it is to print; see testdata/pm2.cjs.
type request map[string]any

// failer is a test, or one value of a property.
type failer interface {
	Helper()
	Fatal(...any)
	Errorf(string, ...any)
}

// startPM2 has it print in a style: as for a pipe, a pipe with colours, or a terminal.
func startPM2(t *testing.T, s Style) *pm2 {
	t.Helper()
	node := npm.Node(t, "node")
	folder := npm.Need(t, "pm2@7.0.4")
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".pm2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".pm2", "module_conf.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "testdata/pm2.cjs", filepath.Join(folder, "node_modules", "pm2"))
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	switch {
	case s.Frame:
		cmd.Env = append(cmd.Env, "FORCE_COLOR=1")
	case s.Color:
		cmd.Env = append(cmd.Env, "COLORTERM=ansi")
	default:
		cmd.Env = append(cmd.Env, "NO_COLOR=1")
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &pm2{bufio.NewWriter(in), bufio.NewReader(out)}
}

func (p *pm2) prints(t failer, s Style, r request) (out, errors string) {
	t.Helper()
	r["columns"], r["now"] = s.Width, s.Now.UnixMilli()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	p.in.Write(append(text, '\n'))
	if err := p.in.Flush(); err != nil {
		t.Fatal(err)
	}
	answer, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var printed [2]string
	if err := json.Unmarshal(answer, &printed); err != nil {
		t.Fatal(err)
	}
	return printed[0], printed[1]
}
