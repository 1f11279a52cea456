package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/nekoctl/neko/api/store"
)

// costs are those of production: other tests have no time for them.
var costs = current

func TestMain(m *testing.M) {
	current = params{memory: 64, time: 1, threads: 1}
	os.Exit(m.Run())
}

// atFullCost has a test work at the costs of production.
func atFullCost(t testing.TB) {
	cheap := current
	current = costs
	t.Cleanup(func() { current = cheap })
}

// What a login costs, and what it answers, tells nothing about the user: one hash
// in each case, and the same error. That is counted, not timed.
func TestLoginTellsNothing(t *testing.T) {
	w := newWorld(t)
	if _, err := w.manager.SetDisabled(t.Context(), w.users["vera"].ID, true); err != nil {
		t.Fatal(err)
	}
	hashes := 0
	w.passwords.ran = func() { hashes++ }
	for _, c := range []struct{ what, name, password string }{
		{"a wrong password", "ana", "wrong horse battery"},
		{"no password", "ana", ""},
		{"an unknown name", "nobody", password},
		{"an unknown name with no password", "nobody", ""},
		{"no name", "", password},
		{"a disabled user", "vera", password},
		{"a disabled user's wrong password", "vera", "wrong horse battery"},
		{"a password that is too long", "ana", strings.Repeat(password, 100)},
		{"the same of nobody", "nobody", strings.Repeat(password, 100)},
		{"a name that is too long", strings.Repeat("ana", 1000), password},
		{"what is no text", "ana\x00\xff", password},
		{"a password that is no text", "ana", "\xff\xfe" + password},
		{"SQL", `' OR '1'='1' --`, password},
		{"MongoDB", `{"$ne": null}`, `{"$gt": ""}`},
		{"the hash itself", "ana", w.users["ana"].Password},
	} {
		hashes = 0
		g, err := w.Login(t.Context(), c.name, c.password)
		if g != nil || err != ErrCredentials || hashes != 1 {
			t.Errorf("%s: %v, %v, %d hashes", c.what, g, err, hashes)
		}
	}
	hashes = 0
	if _, err := w.Login(t.Context(), "ana", password); err != nil || hashes != 1 {
		t.Errorf("the right one: %v, %d hashes", err, hashes)
	}
	// The dummy costs what a real one does.
	real, _, _, err := parse(w.users["ana"].Password)
	if dummy, _, _, err2 := parse(w.passwords.dummy); err != nil || err2 != nil || dummy != real || real != current {
		t.Errorf("%+v, %+v", dummy, real)
	}
}

// A hash of other costs, or of another program, is good and is replaced, without
// ending anything. What is none lets nobody in.
func TestRehash(t *testing.T) { onEachStore(t, testRehash) }

func testRehash(w *world) {
	t := w.T
	g := w.login("ana")
	old := params{memory: 64, time: 1, threads: 2}
	phc := format(old, []byte("12345678"), argon2.IDKey([]byte(password), []byte("12345678"), old.time, old.memory, old.threads, 16))
	ana := w.users["ana"]
	if err := w.accounts.RehashPassword(t.Context(), ana.ID, ana.Password, phc); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Login(t.Context(), "ana", "wrong horse battery"); err != ErrCredentials {
		t.Error(err)
	}
	if u, _ := w.accounts.User(t.Context(), ana.ID); u.Password != phc {
		t.Error("a wrong password has changed the hash")
	}
	w.login("ana")
	u, err := w.accounts.User(t.Context(), ana.ID)
	if err != nil {
		t.Fatal(err)
	}
	if cost, _, key, err := parse(u.Password); err != nil || cost != current || len(key) != 32 || u.Epoch != 0 {
		t.Errorf("%+v, %v", cost, err)
	}
	w.login("ana")
	if _, err := w.Refresh(t.Context(), g.RefreshToken); err != nil {
		t.Error("the session has ended:", err)
	}

	for _, bad := range []string{
		"", password, "$2b$12$abcdefghijklmnopqrstuv", strings.Replace(u.Password, "argon2id", "argon2i", 1), strings.Replace(u.Password, "v=19", "v=16", 1),
		strings.Replace(u.Password, "m=64", "m=4194304", 1), strings.Replace(u.Password, "t=1", "t=1000000", 1), strings.Replace(u.Password, "p=1", "p=0", 1), u.Password + "$", u.Password[:40],
	} {
		hashes := 0
		w.passwords.ran = func() { hashes++ }
		w.log.Reset()
		if ok, _, err := w.passwords.verify(t.Context(), bad, password); ok || err == nil || hashes != 1 {
			t.Errorf("%q: %t, %v, %d hashes", bad, ok, err, hashes)
		}
		if err := w.accounts.RehashPassword(t.Context(), ana.ID, u.Password, bad); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Login(t.Context(), "ana", password); err != ErrCredentials || !strings.Contains(w.log.String(), "cannot be read") || bad != "" && strings.Contains(w.log.String(), bad) {
			t.Errorf("%q: %v, %s", bad, err, w.log)
		}
		if err := w.accounts.RehashPassword(t.Context(), ana.ID, bad, u.Password); err != nil {
			t.Fatal(err)
		}
	}
}

// One password is hashed at a time, some wait, and the rest is told to come again:
// a flood of logins does not take the memory.
func TestOneAtATime(t *testing.T) {
	w := newWorld(t)
	w.passwords.patience = time.Hour
	entered, leave := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	running, most := 0, 0
	w.passwords.ran = func() {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		entered <- struct{}{}
		<-leave
		mu.Lock()
		running--
		mu.Unlock()
	}
	results := make(chan error)
	try := func(ctx context.Context) {
		_, err := w.Login(ctx, "ana", password)
		results <- err
	}
	go try(t.Context())
	<-entered
	patient, cancel := context.WithCancel(t.Context())
	const logins = 3 * maxWaiting
	for range logins {
		go try(patient)
	}
	for range logins - maxWaiting { // these find the queue full, and are told at once
		if err := <-results; !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
	}
	cancel() // whoever is not waited for any more leaves
	for range maxWaiting {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	w.passwords.patience = time.Millisecond
	if _, err := w.Login(t.Context(), "ana", password); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	leave <- struct{}{}
	if err := <-results; err != nil {
		t.Error(err)
	}
	if most != 1 {
		t.Errorf("%d at once", most)
	}
}

// Nor does it take the processor: after each hash comes a rest as long, and where Go
// has one processor there is another meanwhile.
func TestFloodLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords()
		const took, logins = 25 * time.Millisecond, 10
		p.ran = func() { time.Sleep(took) }
		began := time.Now()
		var wg sync.WaitGroup
		for range logins {
			wg.Go(func() {
				if _, err := p.hash(t.Context(), password); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(began); d != (2*logins-1)*took {
			t.Errorf("%d logins took %v", logins, d)
		}
		time.Sleep(took) // the last rest
	})

	t.Setenv("GOMAXPROCS", "1")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p, during := newPasswords(), 0
	p.ran = func() { during = runtime.GOMAXPROCS(0) }
	if _, err := p.hash(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	if after := runtime.GOMAXPROCS(0); during != 2 || after != 1 {
		t.Errorf("%d processors, then %d", during, after)
	}
}

// The median times of logins that fail in different ways differ by less than what
// one can see through a network. Generous, for machines that do other things too.
func TestLoginTakesAsLong(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	atFullCost(t)
	w := newWorld(t)
	cases := []struct{ name, password string }{{"ana", "wrong horse battery"}, {"nobody", "wrong horse battery"}}
	best := []time.Duration{time.Hour, time.Hour} // the minimum is what neighbours disturb least
	for range 15 {
		for i, c := range cases {
			began := time.Now()
			if _, err := w.Login(t.Context(), c.name, c.password); err != ErrCredentials {
				t.Fatal(err)
			}
			best[i] = min(best[i], time.Since(began))
		}
	}
	if a, b := best[0], best[1]; a > 2*b || b > 2*a {
		t.Errorf("a known name takes %v, an unknown one %v", a, b)
	}
}

// By NIST SP 800-63B-4: long ones, of whatever characters.
func TestPasswordRules(t *testing.T) {
	for _, c := range []struct{ password, wrong string }{
		{password, ""},
		{"пароль из слов", "at least 15"},
		{"пароль из многих слов", ""},
		{"short", "at least 15"},
		{"", "at least 15"},
		{strings.Repeat("a", 64), "too few different"},
		{strings.Repeat("abc ", 16), "too few different"},
		{"a name that is long", "must not be the name"},
		{"A NAME that is long", "must not be the name"},
		{strings.Repeat("abcdefgh", 128), ""},
		{strings.Repeat("abcdefgh", 128) + "i", "longer than 1024 bytes"},
		{"\xff" + password, "UTF-8"},
		{"\x00" + password, "UTF-8"},
		{NewPassword(), ""},
	} {
		err := checkPassword("a name that is long", c.password)
		var invalid *store.InvalidError
		if c.wrong == "" && err != nil || c.wrong != "" && (!errors.As(err, &invalid) || invalid.Field != "password" || !strings.Contains(invalid.Reason, c.wrong)) {
			t.Errorf("%q: %v", c.password, err)
		}
	}

	// However a keyboard composes it.
	atFullCost(t)
	p := newPasswords()
	phc, err := p.hash(t.Context(), "une clé très sûre")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"une clé très sûre": true, "une cle\u0301 tre\u0300s su\u0302re": true, "une cle tres sure": false} {
		if ok, _, err := p.verify(t.Context(), phc, text); ok != want || err != nil {
			t.Errorf("%q: %t, %v", text, ok, err)
		}
	}
	if bytes.Contains([]byte(phc), []byte("clé")) || !strings.HasPrefix(phc, fmt.Sprintf("$argon2id$v=19$m=%d,t=2,p=1$", 19<<10)) {
		t.Error(phc)
	}
}

func BenchmarkPassword(b *testing.B) {
	atFullCost(b)
	p := newPasswords()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.verify(b.Context(), p.dummy, password); err != nil {
			b.Fatal(err)
		}
	}
}
