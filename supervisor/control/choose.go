package control

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ShownName is the name of the process's app that people see and give.
func (p Process) ShownName() string {
	if p.Title != "" {
		return p.Title
	}
	return p.Name
}

// Choose finds what a target means among all processes. It is the first of these
// that there is: all of them, the apps that people know by this name, the app of
// this name, the process of this id, the apps of this namespace; or, between
// slashes, the apps whose names a regular expression matches. ByID says that one
// process is meant and not its app. Nothing found is no error, and a bad expression
// is one.
func Choose(list []Process, target string) (found []Process, byID bool, err error) {
	of := func(is func(Process) bool) bool {
		found = slices.DeleteFunc(slices.Clone(list), func(p Process) bool { return !is(p) })
		return len(found) > 0
	}
	id, notNumber := strconv.Atoi(target)
	switch {
	case target == "all":
		return list, false, nil
	case of(func(p Process) bool { return p.ShownName() == target }),
		of(func(p Process) bool { return p.Name == target }):
		return found, false, nil
	case notNumber == nil && strconv.Itoa(id) == target:
		of(func(p Process) bool { return p.ID == id })
		return found, true, nil
	case of(func(p Process) bool { return p.Namespace == target }):
		return found, false, nil
	case len(target) > 2 && strings.HasPrefix(target, "/") && strings.HasSuffix(target, "/"):
		expression, err := regexp.Compile(target[1 : len(target)-1])
		if err != nil {
			return nil, false, &Error{
				Message: target + " is no regular expression: " + strings.TrimPrefix(err.Error(), "error parsing regexp: "),
				Hint:    "a regular expression goes between slashes: '/^api-/'; those of Go are meant, without what looks ahead or back",
			}
		}
		of(func(p Process) bool { return expression.MatchString(p.ShownName()) })
	}
	return found, false, nil
}
