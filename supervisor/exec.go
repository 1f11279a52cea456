package supervisor

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ExecMode is the first argument that makes the binary the exec shim.
const ExecMode = "__exec"

// ExecMain is the exec shim: it sets what can only be set after the fork and
// becomes the program. Its arguments are the program's path and its argument
// vector. It returns, with an exit code, only if the program cannot be run.
func ExecMain(args []string) int {
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "error: this mode is for the master only")
		return 2
	}
	env := os.Environ()
	for i, entry := range env {
		if entry == "LISTEN_PID=" {
			env[i] += strconv.Itoa(os.Getpid())
		}
	}
	err := unix.Exec(args[0], args[1:], env)
	fmt.Fprintf(os.Stderr, "error: run %s: %v\n", args[0], err)
	return 127
}
