package main

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// account is a user of this machine.
type account struct {
	name, home string
	uid, gid   int
}

// accountOf finds one by its name or number.
func accountOf(name string) (*account, error) {
	u, err := user.Lookup(name)
	if isNumber(name) {
		if byNumber, numberErr := user.LookupId(name); numberErr == nil || err != nil {
			u, err = byNumber, numberErr
		}
	}
	if err != nil {
		return nil, fmt.Errorf("there is no user %s", name)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, err
	}
	return &account{name: u.Username, home: u.HomeDir, uid: uid, gid: gid}, nil
}
