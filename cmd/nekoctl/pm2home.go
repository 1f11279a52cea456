package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nekoctl/neko/supervisor/home"
)

// pm2Places are the files of PM2's home, each of which a variable can move.
type pm2Places struct {
	Home       string
	Log        string
	PID        string
	Dump       string
	DumpBackup string
	Conf       string // what `pm2 set` has set
	Logs       string // of apps
	PIDs       string // of apps
	Modules    string
}

// serviceHome is the home of neko.service, whose user is neko.
var serviceHome = "/var/lib/neko"

// elsewhere is the hint for a home without a daemon: what begins one, or, for who looks
// with nekoctl for what was started by the name of pm2 or by systemd, where that is. A
// second daemon is not what they want. What others have there nobody need be able to see.
func (c *cli) elsewhere() string {
	if p, err := pm2PlacesOf(os.Getenv); err == nil && p.Home != string(c.home) {
		if conn, err := net.DialTimeout("unix", home.Dir(p.Home).Control(), time.Second); err == nil {
			conn.Close()
			return fmt.Sprintf("what pm2 has started is in a home of its own: pm2 list, or NEKO_HOME=%s nekoctl list", p.Home)
		}
	}
	if info, err := os.Stat(serviceHome); err == nil && serviceHome != string(c.home) {
		if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Getuid() {
			return fmt.Sprintf("nekoctl start begins one of your own; that of neko.service: sudo -u neko NEKO_HOME=%s nekoctl list", serviceHome)
		}
	}
	return "nekoctl start begins one"
}

func pm2PlacesOf(getenv func(string) string) (p pm2Places, err error) {
	dir := getenv("PM2_HOME")
	if dir == "" {
		user := getenv("HOME")
		if user == "" {
			user = "/etc"
		}
		dir = filepath.Join(user, ".pm2")
	}
	if p.Home, err = filepath.Abs(dir); err != nil {
		return p, err
	}
	for _, place := range []struct {
		path           *string
		name, variable string
	}{
		{&p.Log, "pm2.log", "PM2_LOG_FILE_PATH"},
		{&p.PID, "pm2.pid", "PM2_PID_FILE_PATH"},
		{&p.Dump, "dump.pm2", "PM2_DUMP_FILE_PATH"},
		{&p.DumpBackup, "dump.pm2.bak", "PM2_DUMP_BACKUP_FILE_PATH"},
		{&p.Conf, "module_conf.json", "PM2_MODULE_CONF_FILE"},
		{&p.Logs, "logs", "PM2_DEFAULT_LOG_PATH"},
		{&p.PIDs, "pids", "PM2_DEFAULT_PID_PATH"},
		{&p.Modules, "modules", "PM2_DEFAULT_MODULE_PATH"},
	} {
		*place.path = filepath.Join(p.Home, place.name)
		if moved := getenv(place.variable); moved != "" {
			if *place.path, err = filepath.Abs(moved); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// make makes the home as PM2 has it. The daemon's log and pid have PM2's names; its
// own names for them are links to those.
func (p pm2Places) make() error {
	h := home.Dir(p.Home)
	if err := p.close(); err != nil {
		return err
	}
	if err := h.Create(); err != nil {
		return err
	}
	for _, dir := range []string{p.Logs, p.PIDs, p.Modules} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{p.Conf: "{}", filepath.Join(p.Home, "touch"): strconv.FormatInt(time.Now().UnixMilli(), 10)} {
		if err := appear(name, text); err != nil {
			return err
		}
	}
	return p.link(false)
}

// appear makes a file, if there is none, that has its text from the beginning: another
// command may read it already.
func appear(name, text string) error {
	if _, err := os.Lstat(name); err == nil {
		return nil
	}
	aside, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".new-")
	if err != nil {
		return err
	}
	defer os.Remove(aside.Name())
	_, err = aside.WriteString(text)
	if err = errors.Join(err, aside.Close()); err != nil {
		return err
	}
	if err := os.Link(aside.Name(), name); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// link makes the links from the daemon's own names to PM2's. A daemon that is to begin
// gets those of where its files are now; one that runs keeps those that it has.
func (p pm2Places) link(anew bool) error {
	h := home.Dir(p.Home)
	for link, to := range map[string]string{h.Log(): p.Log, h.PID(): p.PID} {
		if rel, err := filepath.Rel(p.Home, to); err == nil && !strings.HasPrefix(rel, "..") {
			to = rel
		}
		if was, err := os.Readlink(link); err == nil && was != to && anew {
			if err := os.Remove(link); err != nil {
				return err
			}
		} else if _, err := os.Lstat(link); err == nil {
			continue // also a file, of who was nekoctl here
		}
		if err := os.Symlink(to, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// close takes a home from the group: where a user's umask is 002, as in many
// distributions, PM2 has made it for the group to write. One that all can write is not
// used, for who knows what is in it.
func (p pm2Places) close() error {
	info, err := os.Stat(p.Home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0o020 {
		return nil
	}
	return os.Chmod(p.Home, info.Mode()&^0o020)
}

// runningPM2 is the pid of PM2's own daemon if one has this home, 0 if there is
// none.
func (p pm2Places) runningPM2() int {
	text, err := os.ReadFile(p.PID)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0
	}
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.HasPrefix(string(title), "PM2 v") {
		return 0
	}
	return pid
}
