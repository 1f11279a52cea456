package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody owns nothing and may look at nothing.
const nobody = 65534

// unprivileged makes nobody the daemon's user, and so that of the workers.
func unprivileged(t *testing.T, d *daemon) {
	mustBeRoot(t)
	d.user, d.workers = nobody, nobody
	d.give(d.dir, d.home, d.program())
	openBin(t)
}

// unseen is unprivileged with workers that the daemon may neither trace nor look
// at in /proc: the kernel keeps them from all who cannot read their program, as
// it does where ptrace is restricted.
func unseen(t *testing.T, d *daemon) {
	unprivileged(t, d)
	d.programs = filepath.Join(d.dir, "programs") + "/"
	err := os.Mkdir(d.programs, 0o755)
	for _, program := range []string{foreign, nekoAPI} {
		own := filepath.Join(d.programs, filepath.Base(program))
		if err == nil {
			err = copyProgram(program, own)
		}
		if err == nil {
			err = os.Chmod(own, 0o711)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// otherUser gives the workers of a daemon of root another user.
func otherUser(t *testing.T, d *daemon) {
	mustBeRoot(t)
	d.workers = nobody
	d.give(d.dir)
	openBin(t)
}

// asNobody is the key of neko.yaml for it.
const asNobody = "uid: nobody\n"

func mustBeRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("only root can be another user")
	}
	t.Skip("only root can be another user")
}

// openBin lets all users run the programs of the workers, and read them.
func openBin(t *testing.T) {
	t.Helper()
	for _, path := range []string{bin, foreign, nekoAPI} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// give makes files those of the workers' user.
func (d *daemon) give(files ...string) {
	d.t.Helper()
	if d.workers == 0 {
		return
	}
	for _, file := range files {
		if err := os.Chown(file, d.workers, d.workers); err != nil {
			d.t.Fatal(err)
		}
	}
}

// replaceDaemon kills the master and upgrades the daemon by turns.
func replaceDaemon(s *stage, i int) {
	if i%2 == 0 {
		killMaster(s, i)
	} else {
		upgrade(s, i/2)
	}
}

// workersAreOfTheirUser sees to it that the row shows what it says.
func workersAreOfTheirUser(s *stage) {
	for _, p := range s.list() {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", p.PID))
		if err != nil {
			s.Fatal(err)
		}
		status := info.Sys().(*syscall.Stat_t)
		if program, _ := os.Stat(s.programs + "foreign"); program.Mode().Perm() == 0o711 {
			if status.Uid != 0 { // the kernel's way to say that nobody may look
				s.Errorf("pid %d of %s can be looked at", p.PID, p.Name)
			}
		} else if int(status.Uid) != s.workers {
			s.Errorf("pid %d of %s is of uid %d", p.PID, p.Name, status.Uid)
		}
	}
}
