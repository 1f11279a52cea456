package auth

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/worker"
)

func (w *world) questions() int64 {
	return w.accounts.users.Load() + w.accounts.keys.Load() + w.accounts.apiKeys.Load()
}

// Whatever has happened: what IdentifyKnown says is what Identify says at that moment,
// and Identify asks the store for it no more than IdentifyKnown, which is not at all.
// And once Identify has found it out, it is known.
func TestIdentifyKnown(t *testing.T) {
	w := newWorld(t)
	names := []string{"vera", "ana"}
	var all []worker.Credentials
	var keys []string
	// anew is somebody who logs in, and makes an API key, their own or nobody's.
	anew := func(name string, own bool) {
		u, err := w.accounts.Accounts.User(t.Context(), w.users[name].ID)
		if err != nil {
			t.Fatal(err)
		}
		n := NewKey{Name: "k", Role: RoleAnalyst, Scopes: []string{"Query.*"}, Expires: w.clock.now().Add(time.Minute)}
		if own {
			n.Owner = u.ID
		}
		k, text, err := w.manager.CreateKey(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k.ID)
		all = append(all, worker.Credentials{APIKey: text}, worker.Credentials{Authorization: "Bearer " + text},
			worker.Credentials{Authorization: text}, // in the wrong place
			worker.Credentials{APIKey: "Bearer " + text})
		if token, _, err := w.issue(t.Context(), u); err == nil {
			all = append(all, worker.Credentials{Authorization: "Bearer " + token}, worker.Credentials{APIKey: "Bearer " + token},
				worker.Credentials{Authorization: "Bearer " + token, APIKey: text}, worker.Credentials{Authorization: "Bearer " + token + "x"})
		}
		all, keys = all[max(len(all)-32, 0):], keys[max(len(keys)-4, 0):]
	}
	for _, name := range names {
		anew(name, true)
		anew(name, false)
	}
	known, unknown, refused := 0, 0, 0
	check := func(rt *rapid.T, c worker.Credentials) {
		asked := w.questions()
		got, ok := w.IdentifyKnown([]byte(c.Authorization), []byte(c.APIKey))
		if w.questions() != asked {
			rt.Fatalf("the store was asked")
		}
		want, err := w.Identify(t.Context(), c)
		switch {
		case ok && err != nil:
			rt.Fatalf("known, and refused: %v", err)
		case ok && !reflect.DeepEqual(*got, want):
			rt.Fatalf("%+v, want %+v", *got, want)
		case ok && w.questions() != asked:
			rt.Fatalf("Identify has asked the store")
		case ok:
			known++
		case err != nil:
			refused++
		default:
			unknown++
		}
		if again, ok := w.IdentifyKnown([]byte(c.Authorization), []byte(c.APIKey)); ok && (err != nil || !reflect.DeepEqual(*again, want)) {
			rt.Fatalf("just found out: %+v, %v; known: %+v", want, err, again)
		} else if !ok && err == nil && want.Name != "" { // else the store does not say who it is
			rt.Fatalf("just found out, and not known: %+v", want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(5, 30).Draw(rt, "steps") {
			var err error
			switch rapid.IntRange(0, 16).Draw(rt, "what") {
			case 0, 1:
				w.clock.add(time.Duration(rapid.IntRange(1, 40).Draw(rt, "tenths")) * 100 * time.Millisecond)
			case 2:
				w.clock.add(time.Duration(rapid.IntRange(1, 300).Draw(rt, "seconds")) * time.Second)
			case 3:
				w.accounts.down.Store(rapid.Bool().Draw(rt, "down"))
			case 4:
				_, err = w.manager.SetDisabled(t.Context(), w.users["ana"].ID, rapid.Bool().Draw(rt, "disabled"))
			case 5:
				_, err = w.manager.SetRole(t.Context(), w.users["vera"].ID, rapid.SampledFrom(Roles).Draw(rt, "role"))
			case 6:
				_, err = w.manager.RevokeKey(t.Context(), rapid.SampledFrom(keys).Draw(rt, "key"))
			case 7:
				if !w.accounts.down.Load() {
					_, err = w.keyring.next(t.Context(), rapid.Bool().Draw(rt, "at once"))
				}
			case 8:
				if w.accounts.down.Load() {
					continue
				}
				anew(rapid.SampledFrom(names).Draw(rt, "who"), rapid.Bool().Draw(rt, "own"))
			default:
				from := rapid.IntRange(0, len(all)-1).Draw(rt, "from")
				for i := range all {
					check(rt, all[(from+i)%len(all)])
				}
			}
			if err != nil && !w.accounts.down.Load() {
				rt.Fatal(err)
			}
		}
	})
	if known == 0 || unknown == 0 || refused == 0 {
		t.Errorf("%d known, %d unknown, %d refused: not all has happened", known, unknown, refused)
	}
}

// What is known costs no allocation.
func TestIdentifyKnownAllocates(t *testing.T) {
	w := newWorld(t)
	token := "Bearer " + w.login("ana").AccessToken
	if _, err := w.Identify(t.Context(), worker.Credentials{Authorization: token}); err != nil {
		t.Fatal(err)
	}
	text := []byte(token)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := w.IdentifyKnown(text, nil); !ok {
			t.Fatal("not known")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	w.clock.add(freshFor)
	if id, ok := w.IdentifyKnown(text, nil); ok {
		t.Errorf("known for ever: %+v", id)
	}
}
