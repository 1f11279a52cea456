package hostmem

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const name = "host-v2.shm"

// The test binary is also another process that opens the file.
func TestMain(m *testing.M) {
	if dir := os.Getenv("HOSTMEM_TEST_MAKE"); dir != "" {
		makeForEver(dir)
	}
	dir := os.Getenv("HOSTMEM_TEST_OPEN")
	if dir == "" {
		os.Exit(m.Run())
	}
	mapping, err := Open(dir, MinBuckets)
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(mapping.Host() + "\n")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is told to end, or killed
}

func mustOpen(t *testing.T, dir string, buckets int) *Mapping {
	t.Helper()
	m, err := Open(dir, buckets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.memory != nil {
			mustClose(t, m)
		}
	})
	return m
}

func mustClose(t *testing.T, m *Mapping) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestAllWhoOpenAFolderHaveTheSameMemory(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, dir, 100)
	b := mustOpen(t, dir, 0)
	if a.file == nil || a.Host() != b.Host() || a.Seed() != b.Seed() || a.Seed() == [2]uint64{} {
		t.Fatalf("%v %v, %v %v", a.Host(), a.Seed(), b.Host(), b.Seed())
	}
	if len(a.Buckets()) != 128*BucketSize || len(b.Buckets()) != len(a.Buckets()) {
		t.Fatalf("its maker wanted 100 buckets, so there are 128: %d, %d", len(a.Buckets())/BucketSize, len(b.Buckets())/BucketSize)
	}
	a.Buckets()[100] = 7
	if b.Buckets()[100] != 7 {
		t.Error("what one writes the other does not read")
	}
	if a.Hosts() != 1 {
		t.Errorf("%d hosts before anybody has counted them", a.Hosts())
	}
	if a.SetHosts(3); b.Hosts() != 3 {
		t.Errorf("%d hosts", b.Hosts())
	}
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); info.Mode() != 0o600 || st.Blocks*512 < info.Size() {
		t.Errorf("mode %v, %d bytes of %d allocated", info.Mode(), st.Blocks*512, info.Size())
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("beside the file there is something else: %v", left)
	}
}

func TestAnonymousMemoryIsOfOneProcess(t *testing.T) {
	a, err := Anonymous(0)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, a)
	b, err := Anonymous(8)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, b)
	if a.file != nil || len(a.Buckets()) != DefaultBuckets*BucketSize || a.Host() == b.Host() || a.Seed() == b.Seed() {
		t.Errorf("shared: %v, %d bytes", a.file != nil, len(a.Buckets()))
	}
}

// Both versions of a program run during a reload.
func TestTwoVersionsOfTheLayoutAreTwoFiles(t *testing.T) {
	dir := t.TempDir()
	old := mustOpen(t, dir, 8)
	next, err := open(dir, version+1, 16)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, next)
	for i := range old.Buckets() {
		old.Buckets()[i] = 1
	}
	again := mustOpen(t, dir, 8)
	for _, b := range next.Buckets() {
		if b != 0 {
			t.Fatal("the next version sees what the old one has written")
		}
	}
	if old.Host() == next.Host() || again.Host() != old.Host() {
		t.Errorf("hosts %s, %s, and again %s", old.Host(), next.Host(), again.Host())
	}
	// Under a name that is not its own it is damaged.
	if err := os.Rename(filepath.Join(dir, "host-v3.shm"), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	if m, err := Open(dir, 8); err == nil {
		mustClose(t, m)
		t.Error("the next layout was taken for this one")
	}
}

func TestWhoOpensAtOnceGetsOneFile(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var all sync.WaitGroup
		hosts := make([]string, 8)
		for i := range hosts {
			all.Go(func() {
				m, err := Open(dir, 8)
				for end := time.Now().Add(time.Minute); errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(end); {
					m, err = Open(dir, 8) // on a slow machine who makes it is waited for in vain
				}
				if err != nil {
					t.Error(err)
					return
				}
				hosts[i] = m.Host()
				mustClose(t, m)
			})
		}
		all.Wait()
		for _, h := range hosts {
			if h != hosts[0] {
				t.Fatalf("several files: %v", hosts)
			}
		}
	}
}

// useless are files that Open does not use, with how it names the trouble.
var useless = []struct {
	name, says string
	make       func(t *testing.T, path string)
}{
	{"empty", "it has 0 bytes", func(t *testing.T, path string) { write(t, path, nil) }},
	{"truncated", "damaged", func(t *testing.T, path string) { truncate(t, path, atBuckets+100) }},
	{"longer", "damaged", func(t *testing.T, path string) { truncate(t, path, 1<<20) }},
	{"huge", "bytes", func(t *testing.T, path string) { truncate(t, path, 1<<40) }},
	{"not ours", "damaged", func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte("x"), 8192)) }},
	{"other seed", "damaged", func(t *testing.T, path string) { flip(t, path, 80) }},
	{"other number of buckets", "damaged", func(t *testing.T, path string) { flip(t, path, 25) }},
	{"other magic", "damaged", func(t *testing.T, path string) { flip(t, path, 0) }},
	{"of another boot", "another boot", func(t *testing.T, path string) {
		change(t, path, func(h *header) { h.epoch.boot[0]++ })
	}},
	{"of another time namespace", "another time namespace", func(t *testing.T, path string) {
		change(t, path, func(h *header) { h.epoch.namespace++ })
	}},
	{"mode", "others may use it", func(t *testing.T, path string) {
		if err := os.Chmod(path, 0o660); err != nil {
			t.Fatal(err)
		}
	}},
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[at] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
}

// change makes a file that is whole, and different.
func change(t *testing.T, path string, how func(*header)) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := mapFile(file, int(info.Size()))
	if err != nil {
		t.Fatal(err)
	}
	how(m.header())
	m.header().sum = m.header().checksum()
	mustClose(t, m)
}

func TestAFileThatIsNoUseIsReplacedIfNobodyUsesIt(t *testing.T) {
	for _, u := range useless {
		t.Run(u.name, func(t *testing.T) {
			dir := t.TempDir()
			m := mustOpen(t, dir, 32)
			host := m.Host()
			mustClose(t, m)
			u.make(t, filepath.Join(dir, name))
			m = mustOpen(t, dir, 64)
			if m.Host() == host || len(m.Buckets()) != 64*BucketSize {
				t.Error("it is not a new file")
			}
		})
	}
}

func TestAFileThatIsNoUseStaysWhileSomebodyUsesIt(t *testing.T) {
	for _, u := range useless {
		t.Run(u.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			_, stop := another(t, dir)
			u.make(t, path)
			m, err := Open(dir, 64)
			if err == nil {
				mustClose(t, m)
				t.Fatal("opened")
			}
			var hint interface{ Hint() string }
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), u.says) || !errors.As(err, &hint) || hint.Hint() == "" {
				t.Errorf("%v", err)
			}
			stop()
			mustOpen(t, dir, 64)
		})
	}
}

// another starts a process that has the file open, and says what host it is of.
func another(t *testing.T, dir string, command ...string) (host string, kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command = append(command, self)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "HOSTMEM_TEST_OPEN="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	line := make([]byte, 1000)
	n, err := stdout.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line[:n])), kill
}

func TestProcessesShareIt(t *testing.T) {
	dir := t.TempDir()
	host, kill := another(t, dir)
	if m := mustOpen(t, dir, 8); m.Host() != host {
		t.Errorf("the other process has %s, this one %s", host, m.Host())
	}
	kill()
	if again, _ := another(t, dir); again != host {
		t.Errorf("after it was killed there is another file, %s", again)
	}
}

// In it CLOCK_MONOTONIC is another: its times would mean nothing here.
func TestAProcessInAnotherTimeNamespaceDoesNotShareIt(t *testing.T) {
	enter := []string{"unshare", "--time", "--monotonic", "86400", "--fork"}
	if err := exec.Command(enter[0], append(enter[1:], "true")...).Run(); err != nil {
		t.Skipf("no time namespaces here: %v", err)
	}
	dir := t.TempDir()
	mustOpen(t, dir, 8)
	says, _ := another(t, dir, enter...)
	if !strings.Contains(says, "another time namespace") {
		t.Errorf("it says %q", says)
	}
}

func TestWhatAKilledMakerHasLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, name+".new"), []byte("half"))
	mustOpen(t, dir, 8)
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("there is %v", left)
	}
}

func TestOthersThingsAreNotTouched(t *testing.T) {
	t.Run("link", func(t *testing.T) {
		dir, elsewhere := t.TempDir(), t.TempDir()
		mustClose(t, mustOpen(t, elsewhere, 8))
		if err := os.Symlink(filepath.Join(elsewhere, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		refuses(t, dir)
	})
	t.Run("folder", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		refuses(t, dir)
	})
	t.Run("pipe", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, dir)
	})
	t.Run("another user's file in another user's folder", func(t *testing.T) {
		needRoot(t)
		dir := t.TempDir()
		mustClose(t, mustOpen(t, dir, 8))
		for _, path := range []string{dir, filepath.Join(dir, name)} {
			if err := os.Chown(path, 12345, 12345); err != nil {
				t.Fatal(err)
			}
		}
		refuses(t, dir)
	})
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("for root only")
	}
}

func refuses(t *testing.T, dir string) {
	t.Helper()
	before, err := os.Lstat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir, 8)
	if err == nil {
		mustClose(t, m)
		t.Error("opened")
	}
	if after, err := os.Lstat(filepath.Join(dir, name)); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was replaced: %v", err)
	}
}

// An app may run as another user since a reload.
func TestAFileOfTheUserBeforeIsReplaced(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	m := mustOpen(t, dir, 8)
	if err := os.Chown(filepath.Join(dir, name), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if again := mustOpen(t, dir, 8); again.Host() == m.Host() {
		t.Error("another user's file is in use")
	}
}

func TestNoRunFolder(t *testing.T) {
	for _, dir := range []string{"", "here", filepath.Join(t.TempDir(), "none")} {
		m, err := Open(dir, 0)
		if err == nil {
			mustClose(t, m)
		}
		var hint *Error
		if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "NEKO_RUN_DIR") {
			t.Errorf("%q: %v", dir, err)
		}
	}
	for _, n := range []int{-1, MinBuckets - 1, MaxBuckets + 1} {
		if m, err := Open(t.TempDir(), n); err == nil {
			mustClose(t, m)
			t.Errorf("%d buckets", n)
		}
		if m, err := Anonymous(n); err == nil {
			mustClose(t, m)
			t.Errorf("%d buckets", n)
		}
	}
}

// Whoever is stopped while he makes the file does not stop others for ever.
func TestAMakerIsNotWaitedForForEver(t *testing.T) {
	dir := t.TempDir()
	folder, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir, 8)
	if err == nil {
		mustClose(t, m)
		t.Fatal("two make it")
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		t.Error(err)
	}
	folder.Close()
	mustOpen(t, dir, 8)
}

func TestAFullFileSystemIsAnErrorAndNoCrash(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=192k"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	m, err := Open(dir, 1<<12)
	if err == nil {
		mustClose(t, m)
		t.Fatal("opened")
	}
	var hint *Error
	if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "392 KiB") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("there is %v", left)
	}
	// What fits is all there: reading and writing it needs nothing more.
	m, err = Open(dir, 1<<9)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, m)
	_ = os.WriteFile(filepath.Join(dir, "rest"), make([]byte, 1<<16), 0o600) // until it is full
	for i := range m.Buckets() {
		m.Buckets()[i]++
	}
}

// makeForEver makes the file again and again, until its parent ends or it is killed.
func makeForEver(dir string) {
	for parent := os.Getppid(); os.Getppid() == parent; {
		m, err := Open(dir, MinBuckets)
		if err == nil {
			err = m.Close()
		}
		if err == nil {
			err = os.Remove(filepath.Join(dir, name))
		}
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString(".")
	}
	os.Exit(0)
}

// Makers are killed wherever they are; who comes after them opens it all the same.
func TestMakersAreKilled(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	halfMade := 0
	for range 30 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "HOSTMEM_TEST_MAKE="+dir)
		made, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		dots := make([]byte, 1+rand.IntN(20))
		if _, err := io.ReadFull(made, dots); err != nil || strings.Trim(string(dots), ".") != "" {
			t.Fatalf("%v: %s", err, dots)
		}
		for range rand.IntN(200) { // not always just after it has written
			runtime.Gosched()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, err := os.Lstat(filepath.Join(dir, name+".new")); err == nil {
			halfMade++
		}
		m, err := Open(dir, 8)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, m)
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Fatalf("there is %v", left)
		}
	}
	t.Logf("%d were killed with a file half made", halfMade)
}
