package redis

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/redisconn"
)

// least is what the user of a source must be allowed to do, besides its keys.
var least = []string{"+eval", "+evalsha", "+time", "+get", "+set", "+del",
	"+zadd", "+zremrangebyscore", "+zremrangebyrank", "+zcard", "+pexpire"}

const aclAdvice = "docs/limits.md says what its user must be allowed to do"

func advice(err error) string { return (&redisconn.Options{Page: "docs/limits.md"}).Advice(err) }

// all does everything that a source can do.
func all(t *testing.T, s *Source) error {
	ctx := within(t, patience)
	p := policy(t, "p", 10, time.Hour, 0)
	for i := range 2 { // once by the text of a script, and once by its hash
		if _, err := s.Beat(ctx, "host"); err != nil {
			return err
		}
		for _, back := range []int64{1, 5} {
			g, err := s.Grant(ctx, p, id(int(back)*10+i), 5, 5)
			if err != nil {
				return err
			}
			if err := s.Return(ctx, []limiter.Unspent{{Policy: p, ID: id(int(back)*10 + i), Tokens: back, At: g.At}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestTheLeastThatAUserMustBeAllowedToDo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "requirepass admin")
	allow := func(keys string, commands []string) {
		t.Helper()
		server.Do(t, "FLUSHALL")
		server.Do(t, "SCRIPT", "FLUSH")
		server.Do(t, append([]string{"ACL", "SETUSER", "limiter", "reset", "on", ">p%ss", keys, "-@all"}, commands...)...)
	}
	try := func(keys string, commands []string) error {
		t.Helper()
		allow(keys, commands)
		s := open(t, "redis://limiter:p%25ss@"+server.Addr(), Options{})
		defer s.Close()
		eventually(t, s.conn.Away)
		return all(t, s)
	}
	doc, err := os.ReadFile("doc.go")
	if line := "~neko:* -@all " + strings.Join(least, " "); err != nil || !strings.Contains(string(doc), line+"\n") {
		t.Errorf("doc.go does not say: %s (%v)", line, err)
	}
	if err := try("~neko:*", least); err != nil {
		t.Fatal(err)
	}
	for i, command := range least {
		without := slices.Delete(slices.Clone(least), i, i+1)
		if err := try("~neko:*", without); err == nil || advice(err) != aclAdvice {
			t.Errorf("without %s: %v", command, err)
		}
	}
	if err := try("~other:*", least); err == nil || advice(err) != aclAdvice {
		t.Errorf("with the keys of others: %v", err)
	}
}

func TestTheLeastInAClusterAndWithSentinels(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	guarded := redistest.StartGuarded(t)
	for _, s := range append(cluster, guarded.Master, guarded.Replica) {
		s.Do(t, append([]string{"ACL", "SETUSER", "limiter", "on", ">secret", "~neko:*", "-@all", "+cluster|slots", "+role"}, least...)...)
	}
	for _, s := range guarded.Sentinels {
		s.Do(t, "ACL", "SETUSER", "watcher", "on", ">secret", "-@all", "+sentinel|sentinels", "+sentinel|get-master-addr-by-name",
			"+subscribe", "+unsubscribe", "+ping", "allchannels")
	}
	for name, url := range map[string]string{
		"Cluster":   strings.Replace(cluster.URL(), "://", "://limiter:secret@", 1),
		"Sentinels": strings.Replace(guarded.URL(), "://", "://limiter:secret@", 1) + "&sentinel_user=watcher&sentinel_password=secret",
	} {
		s := calm(t, url)
		if err := all(t, s); err != nil {
			t.Error(name, err)
		}
		s.Close()
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	_, url := redistest.StartTLS(t)
	s := calm(t, url)
	if err := all(t, s); err != nil {
		t.Error(err)
	}
	trusting, _, _ := strings.Cut(url, "?")
	for name, want := range map[string]string{
		trusting:                   "certificate signed by unknown authority",
		url + "&server_name=other": "other",
	} {
		s := open(t, name, Options{})
		eventually(t, func() error {
			_, err := s.Beat(within(t, patience), "x")
			if err == nil {
				t.Fatal("it is trusted")
			}
			if !strings.Contains(err.Error(), want) {
				return fmt.Errorf("%w, and not: %s", err, want)
			}
			return nil
		})
	}
}
