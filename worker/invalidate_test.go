package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/cache"
)

// What a mutation says that it has changed is seen when it is answered, whatever the answer is.
func TestInvalidate(t *testing.T) {
	w, n := newNotes(t, Config{ExecutionTimeout: time.Second}, cache.Options{})
	const query = `{note(id: "b") {text}}`
	made := func() (times int) {
		t.Helper()
		before := n.times("note")
		if ctx := w.query("", query); ctx.Response.StatusCode() != 200 {
			t.Fatalf("%s", ctx.Response.Body())
		}
		return n.times("note") - before
	}
	made()
	if made() != 0 {
		t.Fatal("it is not kept")
	}
	for _, c := range []struct {
		what, code string
		written    func(ctx context.Context) error
		made       int
	}{
		{"nothing of this", "", nil, 0},
		{"a tag", "", func(ctx context.Context) error { Invalidate(ctx, "Note:b"); return nil }, 1},
		{"in another case", "", func(ctx context.Context) error { Invalidate(ctx, "nOTE:B"); return nil }, 1},
		{"its type", "", func(ctx context.Context) error { Invalidate(ctx, "", "Note"); return nil }, 1},
		{"and an error", "INTERNAL", func(ctx context.Context) error { Invalidate(ctx, "Note:b"); return errors.New("no") }, 1},
		{"and a panic", "INTERNAL", func(ctx context.Context) error { Invalidate(ctx, "Note:b"); panic("no") }, 1},
		{"and no end", "TIMEOUT", func(ctx context.Context) error { Invalidate(ctx, "Note:b"); <-ctx.Done(); return ctx.Err() }, 1},
		{"more tags than are gathered", "", func(ctx context.Context) error {
			Invalidate(ctx, "Note:b")
			for i := range 3 * maxChanges {
				Invalidate(ctx, fmt.Sprint("Note:n", i))
			}
			return nil
		}, 1},
		{"the last of them", "", func(ctx context.Context) error {
			for i := range maxChanges + 1 {
				Invalidate(ctx, fmt.Sprint("Note:n", i))
			}
			Invalidate(ctx, "Note:b")
			return nil
		}, 1},
	} {
		n.written = c.written
		body := string(w.query("", `mutation {write(id: "c", text: "x") {text}}`).Response.Body())
		if c.code == "" && strings.Contains(body, "errors") || !strings.Contains(body, c.code) {
			t.Fatalf("%s: %s", c.what, body)
		}
		if got := made(); got != c.made {
			t.Errorf("%s: made %d times, want %d", c.what, got, c.made)
		}
	}
}

// A resolver that goes on after its mutation was given up, and makes its change then, is heard.
func TestInvalidateLate(t *testing.T) {
	w, n := newNotes(t, Config{ExecutionTimeout: 500 * time.Millisecond}, cache.Options{})
	release, done := make(chan struct{}), make(chan struct{})
	n.written = func(ctx context.Context) error {
		defer close(done)
		<-release
		n.mu.Lock()
		n.texts["b"] = "late"
		n.mu.Unlock()
		Invalidate(ctx, "Note:b")
		return nil
	}
	if body := string(w.query("", `mutation {write(id: "c", text: "x") {text}}`).Response.Body()); !strings.Contains(body, "TIMEOUT") {
		t.Fatal(body)
	}
	const query = `{note(id: "b") {text}}`
	if body := string(w.query("", query).Response.Body()); !strings.Contains(body, "two") {
		t.Fatal(body)
	}
	close(release)
	<-done
	if body := string(w.query("", query).Response.Body()); !strings.Contains(body, "late") {
		t.Errorf("after the change: %s", body)
	}
}

// A store may make a change after it was given up, and say nothing. It is seen about as late again.
func TestAChangeThatNobodyHearsOf(t *testing.T) {
	for _, late := range []time.Duration{500 * time.Millisecond, 5 * time.Second, 25 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w, n := newNotes(t, Config{CacheDefaultMaxAge: time.Hour, CacheMaxAge: time.Hour}, cache.Options{})
			n.written = func(context.Context) error { return NewError(CodeUnavailable, "no answer within 3s") }
			body := string(w.query("", `mutation {write(id: "b", text: "sent") {text}}`).Response.Body())
			if !strings.Contains(body, "UNAVAILABLE") {
				t.Fatal(body)
			}
			show := func() string { return string(w.query("", `{notes(first: 1) {text}}`).Response.Body()) }
			before := n.times("notes")
			for end := time.Now().Add(late); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				show()
			}
			show()
			if made := n.times("notes") - before; made > 12 {
				t.Errorf("it was made %d times: that is no cache", made)
			}
			n.mu.Lock()
			n.texts["a"] = "late"
			n.mu.Unlock()
			time.Sleep(late + 2*time.Second)
			synctest.Wait()
			if body := show(); !strings.Contains(body, "late") {
				t.Errorf("%v after the change, which was made %v after the answer: %s", late+2*time.Second, late, body)
			}
			time.Sleep(lastBelated)
			w.belated.mu.Lock()
			defer w.belated.mu.Unlock()
			if len(w.belated.tags) > 0 {
				t.Errorf("%v are remembered for ever", w.belated.tags)
			}
		})
	}
}

// Only mutations that have failed are heard of again, and of so many tags at most.
func TestBelatedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := newNotes(t, Config{}, cache.Options{})
		w.query("", `mutation {write(id: "b", text: "x") {text}}`)
		if len(w.belated.tags) > 0 {
			t.Errorf("%v", w.belated.tags)
		}
		n.written = func(ctx context.Context) error {
			for i := range 2 * maxBelated {
				Invalidate(ctx, CacheTag("Note", fmt.Sprint(i)))
			}
			return NewError(CodeUnavailable, "away")
		}
		w.query("", `mutation {write(id: "b", text: "x") {text}}`)
		w.belated.mu.Lock()
		if len(w.belated.tags) != 1 {
			t.Errorf("%d tags", len(w.belated.tags))
		}
		w.belated.mu.Unlock()
		w.Close()
	})
}

// Where nothing is kept, or no mutation runs, there is nothing to say.
func TestInvalidateNothing(t *testing.T) {
	Invalidate(t.Context(), "Note")
	w, _ := newNotes(t, Config{}, cache.Options{})
	w.query("", `{note {text}}`)
	w.config.Cache = nil
	if body := string(w.query("", `mutation {write(id: "c", text: "x") {text}}`).Response.Body()); body != `{"data":{"write":{"text":"x"}}}` {
		t.Error(body)
	}
}

// How old an answer gets: it is as good as new, then served while it is made anew, then made
// anew while who asks waits; and if it cannot be, the old one is served, and says so.
func TestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := newNotes(t, Config{}, cache.Options{})
		expect := func(what, text, age, control string, made int) {
			t.Helper()
			ctx := w.query("", `{note(id: "a") {text}}`)
			synctest.Wait()
			body := string(ctx.Response.Body())
			if !strings.Contains(body, `"`+text+`"`) || head(ctx, "Age") != age || !strings.HasPrefix(head(ctx, "Cache-Control"), control) || n.times("note") != made {
				t.Errorf("%s: made %d times, Age: %s, Cache-Control: %s, %s", what, n.times("note"), head(ctx, "Age"), head(ctx, "Cache-Control"), body)
			}
			if warned := strings.Contains(body, `"code":"STALE"`); warned != (head(ctx, "ETag") == "") || warned && !strings.Contains(body, `"ageSeconds":`+age) {
				t.Errorf("%s: %s", what, body)
			}
		}
		const control = "max-age=60, public, stale-while-revalidate=6, stale-if-error=86340"
		expect("made", "one", "0", control, 1)
		time.Sleep(59 * time.Second)
		n.texts["a"] = "changed" // and nobody says so
		expect("as good as new", "one", "59", control, 1)
		time.Sleep(2 * time.Second)
		expect("over, and made anew", "one", "61", control, 2)
		expect("which it then is", "changed", "0", control, 2)
		n.fail(NewError(CodeUnavailable, "away"))
		time.Sleep(70 * time.Second)
		expect("it cannot be made", "changed", "70", "max-age=60, public", 3)
		time.Sleep(time.Hour)
		expect("nor later", "changed", "3670", "max-age=60, public", 4)
		n.fail(nil)
		time.Sleep(2 * time.Second)
		expect("but then it can", "changed", "0", control, 5)
		n.fail(NewError(CodeUnavailable, "away"))
		time.Sleep(25 * time.Hour)
		if body := string(w.query("", `{note(id: "a") {text}}`).Response.Body()); !strings.Contains(body, "UNAVAILABLE") {
			t.Errorf("older than may be: %s", body)
		}
	})
}
