package source

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Tool is the path of a program of another Go module of this repository, which has in dir what main would else depend on.
// It is built once for all test processes and runs, into the user's cache folder: its name has a hash of what it is made
// of, pkg ("." or a folder of dir) and the module's own files. The flags are go build's.
func Tool(dir, pkg string, flags ...string) (path string, err error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, flags)
	files, err := filepath.Glob(filepath.Join(dir, pkg, "*.go"))
	if err != nil {
		return "", err
	}
	for _, file := range append(files, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")) {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		h.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "neko-tests")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(cache, fmt.Sprintf("%s-%x", filepath.Base(filepath.Join(dir, pkg)), h.Sum(nil)[:8]))
	// One builds, the others wait for it.
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	out, err := Fetching(func() ([]byte, error) {
		cmd := exec.Command("go", append(append([]string{"build", "-o", temp}, flags...), "./"+pkg)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
		return cmd.CombinedOutput()
	})
	if err != nil {
		return "", fmt.Errorf("cannot build %s: %w\n%s", filepath.Join(dir, pkg), err, out)
	}
	return path, os.Rename(temp, path)
}
