package main

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nekoctl/neko/pm2/object"
)

func TestLevelsOfAKey(t *testing.T) {
	for key, want := range map[string]string{
		"key": "key", "module:key": "module|key", "module.key": "module|key", "a.b.c": "a|b|c",
		`"my.app".key`: "my.app|key", "a.b:c": "a|b:c", "": "",
	} {
		if got := strings.Join(levels(key), "|"); got != want {
			t.Errorf("%q has %s, want %s", key, got, want)
		}
	}
}

func TestWhatIsNotThereIsTakenOutWithoutATrace(t *testing.T) {
	conf := &object.Object{}
	conf.Set("a", (&object.Object{}).Set("b", "1"))
	for _, key := range []string{"x.y.z", "a.c", "a.b.c", "q"} {
		remove(conf, levels(key))
	}
	text, err := conf.MarshalJSON()
	if err != nil || string(text) != `{"a":{"b":"1"}}` {
		t.Errorf("it is %s (%v)", text, err)
	}
}

// Each command reads the file, changes it and writes it.
func TestNoKeyIsLostWhereManyAreSetAtOnce(t *testing.T) {
	t.Setenv("PM2_HOME", t.TempDir())
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			f, err := newFace([]string{"set"}, io.Discard, io.Discard)
			if err == nil {
				err = f.settle()
			}
			if err == nil {
				_, err = f.changeConf(func(conf *object.Object) { conf.Set("key"+strconv.Itoa(i), i) })
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f, err := newFace([]string{"get"}, io.Discard, io.Discard)
	if err == nil {
		err = f.settle()
	}
	if err != nil {
		t.Fatal(err)
	}
	if conf, err := f.readConf(); err != nil || conf.Len() != 20 {
		t.Errorf("%d keys are left (%v)", conf.Len(), err)
	}
}
