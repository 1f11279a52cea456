package redisconn

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestURLs(t *testing.T) {
	for url, want := range map[string]struct {
		addresses             []string
		user, password        string
		db                    int
		set                   string
		sentinelUser, sentPwd string
		secure                bool
	}{
		"redis://localhost":                    {addresses: []string{"localhost:6379"}},
		"redis://localhost/":                   {addresses: []string{"localhost:6379"}},
		"redis://[::1]:7000/3":                 {addresses: []string{"[::1]:7000"}, db: 3},
		"redis://[::1]":                        {addresses: []string{"[::1]:6379"}},
		"redis://:p%40ss%2F@h:1":               {addresses: []string{"h:1"}, password: "p@ss/"},
		"rediss://u:p@h":                       {addresses: []string{"h:6379"}, user: "u", password: "p", secure: true},
		"redis://a:1?addr=b:2&addr=c&addr=a:1": {addresses: []string{"a:1", "b:2", "c:6379"}},
		"redis://u:p@a?addr=b&master_set=m":    {addresses: []string{"a:26379", "b:26379"}, user: "u", password: "p", set: "m"},
		"redis://a?master_set=m&sentinel_user=x&sentinel_password=y%26": {addresses: []string{"a:26379"}, set: "m", sentinelUser: "x", sentPwd: "y&"},
	} {
		opt, err := parse(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if !slices.Equal(opt.InitAddress, want.addresses) || opt.Username != want.user || opt.Password != want.password ||
			opt.SelectDB != want.db || opt.Sentinel.MasterSet != want.set || opt.Sentinel.Username != want.sentinelUser ||
			opt.Sentinel.Password != want.sentPwd || (opt.TLSConfig != nil) != want.secure || (opt.Sentinel.TLSConfig != nil) != want.secure {
			t.Errorf("%s: %+v", url, opt)
		}
	}
}

func TestWrongURLsAreExplainedWithoutTheirPasswords(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"":                                     "neither redis://",
		"localhost:6379":                       "neither redis://",
		"http://u:secret@h":                    "neither redis://",
		"redis:secret":                         "no host",
		"redis://":                             "no host",
		"redis://:secret@":                     "no host",
		"redis://u:secret@h:port":              "cannot be read",
		"redis://u:sec%ret@h":                  "cannot be read",
		"redis://u:secret/@h":                  "cannot be read",
		"redis://h:":                           "no address",
		"redis://h:0":                          "no address",
		"redis://h:65536":                      "no address",
		"redis://u:secret@h/first":             `"first" is no database`,
		"redis://u:secret@h/-1":                "no database",
		"redis://h?timeout=1s":                 `no parameter is called "timeout"`,
		"redis://h?protocol=2":                 `no parameter is called "protocol"`,
		"redis://h?addr=":                      "addr is empty",
		"redis://h?addr=::1":                   "no address",
		"redis://h?addr=redis://x":             "no address",
		"redis://h?addr=u:secret@x:1":          "no address",
		"redis://h?master_set=a&master_set=b":  "master_set is there 2 times",
		"redis://h?sentinel_password=secret":   "no master_set",
		"redis://h?ca=x":                       "ca is for TLS",
		"rediss://u:secret@h?ca=/is/not/there": "no such file",
		"rediss://h?ca=" + empty:               "has no certificate",
		"rediss://h?cert=x":                    "only one of cert and key",
		"rediss://h?cert=/not/there&key=x":     "no such file",
		"redis://h?a=%zz":                      "cannot be read",
		"redis://u:1/secret@h":                 "no database",
		"redis://u:1?secret@h":                 "no parameter",
		"redis://h#x":                          "cannot have",
	} {
		_, err := New(t.Context(), url, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, and not: %s", url, err, want)
			continue
		}
		var advised interface{ Hint() string }
		if !errors.As(err, &advised) || advised.Hint() == "" {
			t.Errorf("%s: %v has no hint", url, err)
		} else if text := err.Error() + advised.Hint(); strings.Contains(text, "cret") {
			t.Errorf("%s: %s", url, text)
		}
	}
	for _, prefix := range []string{"{a}", strings.Repeat("a", 65)} {
		if _, err := Prefix(prefix); err == nil {
			t.Errorf("the prefix %q is taken", prefix)
		}
	}
}
