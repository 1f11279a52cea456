package spec

import (
	"encoding/json"
	"testing"
)

// What an older nekoctl has written has none of the newer fields.
func TestAnOlderAppHasTheDefaults(t *testing.T) {
	var a App
	if err := json.Unmarshal([]byte(`{"name":"api","command":["./api"],"cwd":"/","instances":2}`), &a); err != nil {
		t.Fatal(err)
	}
	if err := a.CheckValues(); err != nil || !a.Autostart || a.InstanceVar != "NODE_APP_INSTANCE" || a.Parallel != 1 || a.DrainConnections || a.NamespaceName() != "default" {
		t.Errorf("%+v: %v", a, err)
	}
}

func TestNamesOfVariablesAreChecked(t *testing.T) {
	for name, want := range map[string]bool{"NODE_APP_INSTANCE": true, "MY_SLOT": true, "": false, "NEKO_SLOT": false, "A=B": false, "LISTEN_FDS": false} {
		a := Defaults()
		a.Name, a.Command, a.InstanceVar = "a", []string{"/bin/true"}, name
		if err := a.CheckValues(); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	f.Add("usr2")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSignal(text); (err == nil) != (s > 0) {
			t.Errorf("%q is %d: %v", text, s, err)
		}
	})
}

func FuzzPM2Variables(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}],"c":1e3}`), true)
	f.Fuzz(func(t *testing.T, text []byte, cluster bool) {
		a := Defaults()
		if a.PM2 = text; cluster {
			a.Node = NodeCluster
		}
		if a.checkPM2() != nil {
			return
		}
		for name, value := range a.PM2Variables() {
			if err := checkSetting(name, value); err != nil {
				t.Errorf("%q=%q: %v", name, value, err)
			}
		}
	})
}
