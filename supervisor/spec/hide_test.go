package spec

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSecretsInCommandsAreHidden(t *testing.T) {
	for _, test := range []struct{ in, want []string }{
		{[]string{"server", "--token=abc"}, []string{"server", "--token=[hidden]"}},
		{[]string{"server", "--token", "abc", "--port", "80"}, []string{"server", "--token", "[hidden]", "--port", "80"}},
		{[]string{"server", "--password", "--verbose"}, []string{"server", "--password", "--verbose"}},
		{[]string{"server", "-api-key", "abc"}, []string{"server", "-api-key", "[hidden]"}},
		{[]string{"server", "--db-password=a=b c&d"}, []string{"server", "--db-password=[hidden]"}},
		{[]string{"env", "API_TOKEN=abc", "PORT=80", "server"}, []string{"env", "API_TOKEN=[hidden]", "PORT=80", "server"}},
		{[]string{"server", "postgres://me:abc@db:5432/x"}, []string{"server", "postgres://[hidden]@db:5432/x"}},
		{[]string{"server", "--db", "mongodb://me:a%40bc@db/x?authSource=admin"}, []string{"server", "--db", "mongodb://[hidden]@db/x?authSource=[hidden]"}},
		{[]string{"curl", "https://h/x?page=2&access_token=abc&n=1"}, []string{"curl", "https://h/x?page=2&access_token=[hidden]&n=1"}},
		{[]string{"curl", "-H", "Authorization: Bearer abc"}, []string{"curl", "-H", "Authorization: Bearer [hidden]"}},
		{[]string{"sh", "-c", "TOKEN=abc ./run --password 'a b' --port 80"}, []string{"sh", "-c", "TOKEN=[hidden] ./run --password [hidden] --port 80"}},
		{[]string{"node", "/srv/token-service/keys.js", "monkey"}, []string{"node", "/srv/token-service/keys.js", "monkey"}},
		{[]string{"server", "--port=80", "redis://h:6379/0"}, []string{"server", "--port=80", "redis://h:6379/0"}},
		{[]string{"server", `{"password": "abc", "port": 80}`}, []string{"server", `{"password": [hidden], "port": 80}`}},
		{nil, nil},
	} {
		if got := HideWords(test.in); !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.in, got, test.want)
		}
	}
	for in, want := range map[string]string{
		"https://hooks.example.com/services/T0/B0/abc": "https://hooks.example.com/[hidden]", "https://me:abc@h/": "https://h", "https://h:81": "https://h:81",
		"http://h/?token=abc": "http://h/[hidden]", "no url": "[hidden]",
	} {
		if got := HideURL(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Wherever a secret stands, it is not to be seen, and hiding it twice is as good as once.
func TestASecretIsNowhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := "S3" + rapid.StringMatching(`[A-Za-z0-9]{8,20}`).Draw(t, "secret") + "zZ"
		name := rapid.SampledFrom([]string{"token", "PASSWORD", "api-key", "client_secret", "db.password", "Authorization", "cookie", "X-Auth"}).Draw(t, "name")
		other := rapid.SliceOfN(rapid.SampledFrom([]string{"--port", "80", "-v", "server.js", "a=b", "", "x y", "'", "&", "--", "https://h/x"}), 0, 3)
		before, after := other.Draw(t, "before"), other.Draw(t, "after")
		if len(before) > 0 && strings.ContainsAny(before[len(before)-1], "'") {
			before = before[:len(before)-1]
		}
		said := rapid.SampledFrom([][]string{
			{"--" + name + "=" + secret}, {"--" + name, secret}, {name + "=" + secret}, {name + ": " + secret}, {"--" + name + "='" + secret + "'"},
			{"sh", "-c", "run --" + name + " " + secret + " x"}, {"sh", "-c", name + `="` + secret + `" run`},
			{"https://me:" + secret + "@h/x"}, {"amqp://" + secret + "@h"}, {"https://h/?a=1&" + name + "=" + secret},
			{name + ": Bearer " + secret}, {`{"` + name + `":"` + secret + `"}`},
		}).Draw(t, "said")
		words := slices.Concat([]string{"run"}, before, said, after)
		shown := HideWords(words)
		if strings.Contains(strings.Join(shown, " "), secret) {
			t.Errorf("%q shows %q", words, shown)
		}
		if again := HideWords(shown); !slices.Equal(again, shown) {
			t.Errorf("%q becomes %q, and then %q", words, shown, again)
		}
		if len(shown) != len(words) {
			t.Errorf("%q has other words than %q", shown, words)
		}
	})
}

func FuzzHideText(f *testing.F) {
	f.Add("TOKEN=abc ./run --password 'a b'")
	f.Add("https://me@h?key=\"x")
	f.Fuzz(func(t *testing.T, s string) {
		if shown := HideText(s); HideText(shown) != shown {
			t.Errorf("%q becomes %q, and then %q", s, shown, HideText(shown))
		}
	})
}
