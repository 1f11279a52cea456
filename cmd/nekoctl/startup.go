package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
)

const startupHelp = `Have systemd start, at each boot, what "nekoctl save" has saved. As root it is a
unit of the system; else it is one of the user's own service manager, for which
root is not needed.

Usage:
    nekoctl startup [OPTIONS]

Options:
    -u, --user NAME          as root: whose daemon it is; root's if not given
        --hp FOLDER          the home folder of that user, with .neko in it
        --service-name NAME  the unit's name; neko-USER if not given, and neko
                             for a user's own
        --dry-run            print the unit and the steps, and touch nothing
        --json               print JSON: unit, file, text, steps

Nothing is started now. The unit has the home of which the daemon is meant
(NEKO_HOME) and this nekoctl in it: after one of them has moved, run it again.

Examples:
    $ nekoctl save && sudo nekoctl startup -u $USER
    $ nekoctl startup && loginctl enable-linger    # without root
    $ nekoctl startup --dry-run
`

const unstartupHelp = `Undo "nekoctl startup": systemd starts nothing any more. What runs goes on, and
what was saved stays saved.

Usage:
    nekoctl unstartup [OPTIONS]

Options:
    -u, --user NAME          as root: whose daemon it was; root's if not given
        --service-name NAME  the unit's name, if startup was given one
        --dry-run            print the steps, and touch nothing
        --json               print JSON: unit, file, steps

Examples:
    $ sudo nekoctl unstartup -u $USER
`

// machine is where units are installed; a test has one of its own.
type machine struct {
	root string // before all its paths
	uid  int
	// systemctl runs it, and returns what it printed.
	systemctl func(ctx context.Context, args ...string) (string, error)
	// runs says why a user cannot run a program.
	runs func(ctx context.Context, who *account, program string) error
}

func thisMachine() machine {
	return machine{uid: os.Geteuid(), systemctl: systemctl, runs: runsAs}
}

func systemctl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// runsAs tries it: that finds a folder that the user must not enter as well.
func runsAs(ctx context.Context, who *account, program string) error {
	cmd := exec.CommandContext(ctx, program, "version")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}}
	err := cmd.Run()
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// startupFlags are what startup and unstartup were told.
type startupFlags struct {
	as                naming
	user, hp, service string
	dryRun, json      bool
}

// installation is what startup and unstartup do, and their answer as JSON.
type installation struct {
	Unit  string   `json:"unit"`
	File  string   `json:"file"`
	Text  string   `json:"text,omitempty"`
	Steps []string `json:"steps"` // commands of systemd's
}

func (c *cli) startupCommand() *cobra.Command {
	return c.unitCommand("startup", startupHelp, c.startup)
}

func (c *cli) unstartupCommand() *cobra.Command {
	return c.unitCommand("unstartup", unstartupHelp, c.unstartup)
}

func (c *cli) unitCommand(name, help string, do func(context.Context, *unit, startupFlags) error) *cobra.Command {
	f := startupFlags{as: asNeko}
	cmd := &cobra.Command{
		Use:       name,
		Long:      help,
		ValidArgs: []string{"systemd"},
		Args: func(_ *cobra.Command, args []string) error {
			// PM2 takes the name of the init system.
			if len(args) > 0 && (len(args) > 1 || args[0] != "systemd") {
				return misuse(name, "systemd is all that %s knows, and here is %s", name, quote(strings.Join(args, " ")))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"user", "hp", "service-name"} {
				if given := cmd.Flags().Lookup(flag); given != nil && given.Changed && given.Value.String() == "" {
					return misuse(name, "--%s: there is no value", flag)
				}
			}
			u, err := c.unit(cmd.Context(), name, f)
			if err != nil {
				return err
			}
			return do(cmd.Context(), u, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.user, "user", "u", "", "")
	if name == "startup" {
		flags.StringVar(&f.hp, "hp", "", "")
	}
	flags.StringVar(&f.service, "service-name", "", "")
	flags.BoolVar(&f.dryRun, "dry-run", false, "")
	flags.BoolVar(&f.json, "json", false, "")
	return cmd
}

// unit is the one that the flags mean, here and for this user.
func (c *cli) unit(ctx context.Context, command string, f startupFlags) (*unit, error) {
	who, err := accountOf(cmp.Or(f.user, strconv.Itoa(c.machine.uid)))
	if err != nil {
		return nil, failed("give the name of a user of this machine", "%v", err)
	}
	u := &unit{user: who.name, system: c.machine.uid == 0, as: f.as}
	if !u.system && who.uid != c.machine.uid {
		return nil, failed("sudo "+f.as.command+" "+command+" -u "+f.user, "the daemon of %s is root's to install", f.user)
	}
	name := f.as.unit
	if u.system {
		name += "-" + strings.Map(func(r rune) rune {
			if _, err := serviceName(string(r)); err != nil {
				return '-'
			}
			return r
		}, who.name)
	}
	if u.name, err = serviceName(cmp.Or(f.service, name)); err != nil {
		return nil, misuse(command, "--service-name: %v", err)
	}
	folder := "/etc/systemd/system"
	if !u.system {
		folder = cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(who.home, ".config")) + "/systemd/user"
	}
	u.file = filepath.Join(c.machine.root, folder, u.name)
	if command == "unstartup" {
		return u, nil
	}
	if u.home, err = homeOf(f.as, who, f.hp); err != nil {
		return nil, err
	}
	if u.program, err = program(); err != nil {
		return nil, err
	}
	if strings.ContainsAny(u.program, unrunnable) {
		return nil, failed("install it in /usr/local/bin, say", "systemd runs no program with one of %s in its path: %s", unrunnable, u.program)
	}
	if u.system && who.uid != 0 {
		if err := c.machine.runs(ctx, who, u.program); err != nil {
			return nil, failed("install it where all may run it: /usr/local/bin", "%s cannot run %s: %v", who.name, u.program, err)
		}
	}
	return u, nil
}

// homeOf is the folder of a user's daemon.
func homeOf(as naming, who *account, hp string) (home.Dir, error) {
	folder := filepath.Join(cmp.Or(hp, who.home), as.folder)
	if given := os.Getenv(as.variable); given != "" && hp == "" {
		folder = given
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(folder)
	if err != nil {
		return home.Dir(folder), nil // the daemon makes it
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != who.uid {
		return "", failed("-u names the user of the daemon, "+as.variable+" its home", "%s belongs to uid %d, and %s is uid %d", folder, stat.Uid, who.name, who.uid)
	}
	return home.Dir(folder), nil
}

// program is this nekoctl by the name by which it was found, where that is
// another: a link in /usr/local/bin may point to the next version some day.
func program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	found, err := exec.LookPath(os.Args[0])
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		return self, nil
	}
	a, errA := os.Stat(found)
	b, errB := os.Stat(self)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return found, nil
	}
	return self, nil
}

func (c *cli) startup(ctx context.Context, u *unit, f startupFlags) error {
	i := installation{Unit: u.name, File: u.file, Text: u.text(), Steps: []string{u.systemctl("daemon-reload"), u.systemctl("enable", u.name)}}
	there, err := u.there()
	if err != nil {
		return err
	}
	if f.dryRun {
		return c.dryRun(i, f.json)
	}
	if err := c.needSystemd(u); err != nil {
		return err
	}
	if err := u.write(i.Text); err != nil {
		return failed("nothing was changed", "cannot write the unit: %v", err)
	}
	if !f.json {
		c.say("wrote %s", i.File)
	}
	if err := c.carryOutSteps(ctx, u, i, f.json); err != nil {
		if !there && os.Remove(u.file) == nil && !f.json { // nothing stays half done
			c.note("removed %s again", u.file)
		}
		return err
	}
	if f.json {
		return c.json(i)
	}
	c.whatNext(ctx, u)
	return nil
}

// whatNext tells what is still missing until what runs now runs after a boot.
func (c *cli) whatNext(ctx context.Context, u *unit) {
	if c.quiet {
		return
	}
	if sudoer := os.Getenv("SUDO_USER"); u.user == "root" && sudoer != "" && sudoer != "root" {
		c.hint("this is root's daemon; for that of %s: %s startup -u %s", sudoer, u.as.command, sudoer)
	}
	if !exists(u.dump()) {
		c.hint("nothing is saved on %s: %s save saves what is to run", u.home, u.as.command)
	}
	if !u.system && !exists(filepath.Join(c.machine.root, "/var/lib/systemd/linger", u.user)) {
		c.hint("it starts when %s logs in, and ends when %s has logged out; at boot with: loginctl enable-linger", u.user, u.user)
	}
	start := u.systemctl("start", u.name)
	if _, err := control.NewClient(u.home.Control()).Ping(ctx); err == nil {
		c.note("what runs now becomes systemd's at the next boot; or now, as %s: %s save && %[2]s kill, and then: %[3]s", u.user, u.as.command, start)
	} else {
		c.note("start it now with: %s", start)
	}
}

func (c *cli) unstartup(ctx context.Context, u *unit, f startupFlags) error {
	i := installation{Unit: u.name, File: u.file, Steps: []string{u.systemctl("disable", u.name), "rm " + quoteWords([]string{u.file}), u.systemctl("daemon-reload")}}
	there, err := u.there()
	switch {
	case err != nil:
		return err
	case f.dryRun:
		return c.dryRun(i, f.json)
	case !there && f.json:
		i.Steps = []string{}
		return c.json(i)
	case !there:
		c.say("there is no %s", u.file)
		return nil
	}
	if err := c.needSystemd(u); err != nil {
		return err
	}
	if err := c.carryOutSteps(ctx, u, i, f.json); err != nil {
		return err
	}
	if f.json {
		return c.json(i)
	}
	c.note("what runs goes on; %s kill ends it", u.as.command)
	return nil
}

// systemctl is the command line for a unit's manager.
func (u *unit) systemctl(args ...string) string {
	words := "systemctl "
	if !u.system {
		words += "--user "
	}
	return words + strings.Join(args, " ")
}

// dump is where what is to run is saved.
func (u *unit) dump() string {
	if u.as == asPM2 {
		return filepath.Join(string(u.home), "dump.pm2")
	}
	return u.home.Dump()
}

// there says whether a unit is there that may be written over.
func (u *unit) there() (bool, error) {
	text, err := os.ReadFile(u.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case u.as == asPM2 && strings.Contains(string(text), "Description=PM2 process manager"): // PM2's own
	case !strings.HasPrefix(string(text), unitMark):
		return false, failed("--service-name gives another name", "%s was not written by nekoctl startup", u.file)
	}
	return true, nil
}

// write replaces the unit in one step.
func (u *unit) write(text string) error {
	if err := os.MkdirAll(filepath.Dir(u.file), 0o755); err != nil {
		return err
	}
	fresh := u.file + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, u.file)
}

func (c *cli) dryRun(i installation, asJSON bool) error {
	if asJSON {
		return c.json(i)
	}
	var b strings.Builder
	if i.Text != "" {
		b.WriteString(i.Text + "\n# write this to " + i.File + "\n")
	}
	for _, step := range i.Steps {
		b.WriteString("# " + step + "\n")
	}
	_, _ = io.WriteString(c.out, b.String()) // run tells
	return nil
}

// needSystemd is sd_booted(3).
func (c *cli) needSystemd(u *unit) error {
	if info, err := os.Lstat(filepath.Join(c.machine.root, "/run/systemd/system")); err == nil && info.IsDir() {
		return nil
	}
	return failed("where there is cron: crontab -e, and a line \"@reboot "+u.as.variable+"="+string(u.home)+" "+u.program+" resurrect\"; in a container: nekoctl start --no-daemon",
		"this machine was not booted by systemd")
}

// carryOutSteps runs commands, and says each.
func (c *cli) carryOutSteps(ctx context.Context, u *unit, i installation, silent bool) error {
	for _, step := range i.Steps {
		words := strings.Fields(step)
		var out string
		var err error
		if words[0] == "rm" {
			err = os.Remove(i.File)
		} else {
			out, err = c.machine.systemctl(ctx, words[1:]...)
		}
		if err != nil {
			e := &control.Error{Message: step + ": " + err.Error(), Hint: "systemctl status says more"}
			if words[1] == "--user" {
				e.Hint = "a user's service manager takes a login of its own (ssh, not su); or as root: " + u.as.command + " startup -u NAME"
			}
			if out != "" {
				e.Output = strings.Split(out, "\n")
			}
			return e
		}
		if !silent {
			c.say("ran %s", step)
		}
	}
	return nil
}
