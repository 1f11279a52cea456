package main

import (
	"os"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/home"
)

// Who has a service and asks as somebody else is not led to start a second daemon.
func TestTheServiceIsNamedToWhoAsksAsSomebodyElse(t *testing.T) {
	before := serviceHome
	t.Cleanup(func() { serviceHome = before })
	t.Setenv("PM2_HOME", t.TempDir())
	serviceHome = t.TempDir()
	c := &cli{home: home.Dir(t.TempDir())}
	const service = "that of neko.service: sudo -u neko NEKO_HOME="
	if got := c.elsewhere(); strings.Contains(got, service) {
		t.Errorf("the home is one's own, and the hint is %q", got)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder to somebody else")
	}
	if err := os.Chown(serviceHome, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	if got := c.elsewhere(); !strings.Contains(got, service+serviceHome) {
		t.Errorf("the hint is %q", got)
	}
	c.home = home.Dir(serviceHome)
	if got := c.elsewhere(); strings.Contains(got, service) {
		t.Errorf("this is the service's home, and the hint is %q", got)
	}
}
