package supervisor

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Foreground makes this process the keeper of a daemon that starts the given
// apps, shows on standard output what they print, and ends with them: the form
// for systemd and containers. It returns the exit code.
func Foreground(h home.Dir, apps []spec.App) int {
	if err := h.Create(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	boot, err := json.Marshal(apps)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return keeper.Run(h, keeper.Options{Boot: string(boot)})
}
