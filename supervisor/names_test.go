package supervisor_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
)

// names says who is there, as the daemon lists them.
func names(list []control.Process) string {
	var all []string
	for _, p := range list {
		all = append(all, fmt.Sprintf("%d %s/%s", p.ID, p.Namespace, p.ShownName()))
	}
	return strings.Join(all, ", ")
}

func TestAppsOfOneTitleAreMeantTogether(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	first, second, third := app("api", 1), app("api-1", 1), app("other", 1)
	second.Title, second.Namespace = "api", "shop"
	third.Namespace = "shop"
	d.start(first, second, third)
	if got, want := names(d.list()), "0 default/api, 1 shop/api, 2 shop/other"; got != want {
		t.Errorf("there are %s, want %s", got, want)
	}
	for _, c := range []struct{ target, want string }{
		{"api", "api:0 stopped, api-1:0 stopped"},
		{"api-1", "api-1:0 stopped"},
		{"shop", "api-1:0 stopped, other:0 stopped"},
		{"/^a.i$/", "api:0 stopped, api-1:0 stopped"},
		{"1", "api-1:0 stopped"},
	} {
		if got := states(d.command("stop", c.target).Processes); got != c.want {
			t.Errorf("stop %s: %s, want %s", c.target, got, c.want)
		}
		d.command("restart", "all")
	}
	for _, c := range []struct{ target, message, hint string }{
		{"/a(/", "is no regular expression: missing closing )", "slashes"},
		{"shup", `there is no app or process "shup"`, "did you mean shop?"},
		{"othr", `there is no app or process "othr"`, "did you mean other?"},
		{"12", "there is no process with the id 12", "there is api, other;"},
	} {
		_, err := d.Command(t.Context(), "stop", control.TargetRequest{Targets: []string{c.target}}, nil)
		e, ok := errors.AsType[*control.Error](err)
		if !ok || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("stop %s: %v (%+v)", c.target, err, e)
		}
	}
	if _, err := d.App(t.Context(), "api"); err == nil || !strings.Contains(err.Error(), "not one app, but 2") {
		t.Errorf("both are described at once: %v", err)
	}
}
