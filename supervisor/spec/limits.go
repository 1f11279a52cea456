package spec

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"
)

// rlimitNumbers are the limits of setrlimit(2) by their names.
var rlimitNumbers = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
	"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// RlimitNumber is the resource of setrlimit(2) that name means, as checked.
func RlimitNumber(name string) int { return rlimitNumbers[name] }

func (p *parser) rlimits(d *draft, v *yaml.Node) {
	d.Rlimits = map[string]Rlimit{}
	var known []field
	for _, name := range slices.Sorted(maps.Keys(rlimitNumbers)) {
		known = append(known, field{name: name, read: func(p *parser, v *yaml.Node) {
			var text string
			if !p.text(v, "a number, SOFT:HARD or unlimited", &text) {
				return
			}
			limit, err := parseRlimit(text)
			if err != nil {
				p.fail(v, "rlimits", p.key+": "+err.Error(), "")
				return
			}
			d.Rlimits[name] = limit
		}})
	}
	p.fields(v, known)
}

func parseRlimit(text string) (l Rlimit, err error) {
	one := func(s string) uint64 {
		if s == "unlimited" || s == "infinity" || s == "-1" {
			return Unlimited
		}
		n, numberErr := strconv.ParseUint(s, 10, 64)
		if numberErr != nil {
			err = errors.New(expected("a number, SOFT:HARD or unlimited", text))
		}
		return n
	}
	soft, hard, both := strings.Cut(text, ":")
	l.Soft = one(soft)
	if l.Hard = l.Soft; both {
		l.Hard = one(hard)
	}
	return l, err
}

// String is l as neko.yaml has it.
func (l Rlimit) String() string {
	one := func(n uint64) string {
		if n == Unlimited {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	if l.Soft == l.Hard {
		return one(l.Soft)
	}
	return one(l.Soft) + ":" + one(l.Hard)
}

func (p *parser) nice(d *draft, v *yaml.Node) {
	n, err := strconv.Atoi(v.Value)
	if v.Kind != yaml.ScalarNode || err != nil {
		p.fail(v, "nice", "nice: "+expected("a number from -20 to 19", v.Value), "")
		return
	}
	d.Nice = n
}

// UmaskBits is Umask as umask(2) has it, false if there is none.
func (a *App) UmaskBits() (int, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(a.Umask, "0o"), 8, 9)
	return int(n), a.Umask != "" && err == nil
}

func (a *App) checkLimits(add func(key string, err *Error)) {
	if _, ok := a.UmaskBits(); a.Umask != "" && !ok {
		add("umask", &Error{Message: expected(`an octal number such as "022"`, a.Umask)})
	}
	for _, name := range slices.Sorted(maps.Keys(a.Rlimits)) {
		l := a.Rlimits[name]
		if _, ok := rlimitNumbers[name]; !ok {
			add("rlimits", &Error{Message: fmt.Sprintf("there is no limit %q", clip(name))})
		} else if l.Soft > l.Hard {
			add("rlimits", &Error{Message: fmt.Sprintf("%s: the soft limit, %d, is above the hard one, %d", name, l.Soft, l.Hard)})
		}
	}
	if a.Nice < -20 || a.Nice > 19 {
		add("nice", &Error{Message: expected("a number from -20 to 19", strconv.Itoa(a.Nice))})
	}
}

// Identity is whom an app's processes run as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string   // of the user, "" if it is not known
	Name     string
}

// Identity looks UID and GID up, nil if the app has neither. A number need not be
// known to the system.
func (a *App) Identity() (*Identity, error) {
	if a.UID == "" && a.GID == "" {
		return nil, nil
	}
	id := &Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if a.UID != "" {
		u, err := user.Lookup(a.UID)
		if err != nil {
			u, err = user.LookupId(a.UID)
		}
		if err != nil {
			n, numberErr := strconv.ParseUint(a.UID, 10, 31)
			if numberErr != nil {
				return nil, &Error{Key: "uid", Message: fmt.Sprintf("there is no user %q", clip(a.UID))}
			}
			id.UID, id.GID = uint32(n), uint32(n)
		} else {
			id.UID, id.GID, id.Home, id.Name = number32(u.Uid), number32(u.Gid), u.HomeDir, u.Username
			groups, _ := u.GroupIds() // of what the system does not say there is none
			for _, g := range groups {
				id.Groups = append(id.Groups, number32(g))
			}
		}
	}
	if a.GID != "" {
		g, err := user.LookupGroup(a.GID)
		if err == nil {
			id.GID = number32(g.Gid)
		} else if n, err := strconv.ParseUint(a.GID, 10, 31); err == nil {
			id.GID = uint32(n)
		} else {
			return nil, &Error{Key: "gid", Message: fmt.Sprintf("there is no group %q", clip(a.GID))}
		}
	}
	return id, nil
}

func number32(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32) // it is the system's own
	return uint32(n)
}

// checkIdentity says why the processes could not become whom they are to be.
func (a *App) checkIdentity() *Error {
	id, err := a.Identity()
	if err != nil {
		e, _ := errors.AsType[*Error](err)
		return e
	}
	if id == nil || os.Geteuid() == 0 || id.UID == uint32(os.Geteuid()) && id.GID == uint32(os.Getegid()) {
		return nil
	}
	key := "uid"
	if a.UID == "" {
		key = "gid"
	}
	return &Error{Key: key, Message: "only a daemon that runs as root can start processes as somebody else",
		Hint: fmt.Sprintf("run the daemon as root, or as the user %s", a.UID)}
}
