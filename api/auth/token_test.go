package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

// What a token has, by RFC 9068.
func TestClaims(t *testing.T) {
	w := newWorld(t)
	g := w.login("ana")
	parts := strings.Split(g.AccessToken, ".")
	part := func(i int) (m map[string]any) {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	header, body := part(0), part(1)
	keys, err := w.accounts.SigningKeys(t.Context())
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if want := map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": keys[0].ID}; !maps.Equal(header, want) {
		t.Errorf("%v", header)
	}
	now := float64(w.clock.now().Unix())
	if id, _ := body["jti"].(string); len(id) != idLength {
		t.Errorf("jti: %v", body["jti"])
	}
	delete(body, "jti")
	if audience, _ := body["aud"].([]any); len(audience) != 1 || audience[0] != "neko-api" {
		t.Errorf("aud: %v", body["aud"])
	}
	delete(body, "aud")
	if want := map[string]any{"iss": "neko-api", "sub": "user:" + w.users["ana"].ID, "iat": now, "nbf": now - 30, "exp": now + 600, "role": "ANALYST", "epoch": float64(0)}; !maps.Equal(body, want) {
		t.Errorf("%v", body)
	}
}

// What is no token of ours, in the ways that have been tried on others.
func TestForgedTokens(t *testing.T) {
	w := newWorld(t)
	key, private, err := w.keyring.signing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := w.clock.now()
	header := map[string]any{"typ": "at+jwt", "kid": key.ID}
	good := map[string]any{"iss": "neko-api", "aud": "neko-api", "sub": "user:" + w.users["adam"].ID, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix(), "role": "ADMIN", "epoch": 0}
	sign := func(method jwt.SigningMethod, with any, change func(header, claims map[string]any)) string {
		h, c := maps.Clone(header), maps.Clone(good)
		if change != nil {
			change(h, c)
		}
		token := jwt.NewWithClaims(method, jwt.MapClaims(c))
		maps.Copy(token.Header, h)
		text, err := token.SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	set := func(name string, value any) string {
		return sign(jwt.SigningMethodEdDSA, private, func(_, claims map[string]any) {
			if value == nil {
				delete(claims, name)
			} else {
				claims[name] = value
			}
		})
	}
	head := func(name string, value any) string {
		return sign(jwt.SigningMethodEdDSA, private, func(header, _ map[string]any) { header[name] = value })
	}
	_, foreign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	valid := sign(jwt.SigningMethodEdDSA, private, nil)
	if id, err := who(t, w.Service, valid); err != nil || id.Role != RoleAdmin {
		t.Fatalf("the good one: %+v, %v", id, err)
	}
	parts := strings.Split(valid, ".")
	other := strings.Split(sign(jwt.SigningMethodEdDSA, private, func(_, c map[string]any) { c["role"] = "VIEWER" }), ".")
	for name, token := range map[string]string{
		"alg none":                            sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"alg none, a signature":               sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil) + parts[2],
		"HS256 with the public key":           sign(jwt.SigningMethodHS256, []byte(key.public), nil),
		"HS256 with it in base64":             sign(jwt.SigningMethodHS256, []byte(base64.RawURLEncoding.EncodeToString(key.public)), nil),
		"HS512 with nothing":                  sign(jwt.SigningMethodHS512, []byte{}, nil),
		"RS256":                               sign(jwt.SigningMethodRS256, rsaKey, nil),
		"signed by another":                   sign(jwt.SigningMethodEdDSA, foreign, nil),
		"alg in another case":                 head("alg", "eddsa"),
		"alg NonE":                            head("alg", "NonE"),
		"alg is a list":                       head("alg", []string{"EdDSA"}),
		"kid unknown":                         head("kid", "nothing"),
		"kid empty":                           head("kid", ""),
		"kid a path":                          head("kid", "../../../../dev/null"),
		"kid SQL":                             head("kid", "' UNION SELECT 'a'"),
		"kid a number":                        head("kid", 1),
		"kid another's, key in the header":    sign(jwt.SigningMethodEdDSA, foreign, func(h, _ map[string]any) { h["jwk"] = newJWK(foreign.Public().(ed25519.PublicKey)) }),
		"key at an address":                   sign(jwt.SigningMethodEdDSA, foreign, func(h, _ map[string]any) { h["jku"] = "http://127.0.0.1:1/jwks" }),
		"typ JWT":                             head("typ", "JWT"),
		"typ id token":                        head("typ", "id+jwt"),
		"crit":                                head("crit", []string{"exp"}),
		"another issuer":                      set("iss", "https://elsewhere.example"),
		"no issuer":                           set("iss", nil),
		"another audience":                    set("aud", "elsewhere"),
		"no audience":                         set("aud", nil),
		"no expiry":                           set("exp", nil),
		"expiry a text":                       set("exp", "never"),
		"not yet":                             set("nbf", now.Add(time.Minute).Unix()),
		"no subject":                          set("sub", nil),
		"a subject without a kind":            set("sub", w.users["adam"].ID),
		"the subject a key":                   set("sub", "key:"+w.users["adam"].ID),
		"a role that is none":                 set("role", "ROOT"),
		"the role of nobody":                  set("role", RoleAnyone),
		"two signatures":                      valid + "." + parts[2],
		"no signature":                        parts[0] + "." + parts[1] + ".",
		"half a signature":                    valid[:len(valid)-20],
		"only a header":                       parts[0],
		"dots":                                "..",
		"claims of one, signature of another": other[0] + "." + other[1] + "." + parts[2],
		"padded":                              valid + "==",
		"other bits that count for nothing":   valid[:len(valid)-1] + loose(valid[len(valid)-1]),
		"huge":                                parts[0] + "." + parts[1] + strings.Repeat("A", 1<<20) + "." + parts[2],
		"deep":                                base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 1000))) + "." + parts[1] + "." + parts[2],
		"not base64":                          "a b.c d.e f",
		"not JSON":                            "AAAA." + parts[1] + "." + parts[2],
		"an encrypted one":                    parts[0] + "." + parts[1] + "." + parts[2] + ".x.y",
	} {
		_, err := who(t, w.Service, token)
		wantRefused(t, err, name, "the token is not valid here")
	}
	for name, token := range map[string]string{
		"of another epoch": set("epoch", 1), "of nobody": set("sub", "user:nobody"), "of a hostile name": set("sub", `user:' OR 1=1 --`),
	} {
		_, err := who(t, w.Service, token)
		wantRefused(t, err, name, "no longer good")
	}
	_, err = who(t, w.Service, set("exp", now.Unix()))
	wantRefused(t, err, "expired", "expired")
	// A flood of unknown keys asks the store one question at a time.
	var flood sync.WaitGroup
	for range 100 {
		flood.Go(func() { _, _ = who(t, w.Service, head("kid", newID(now))) })
	}
	flood.Wait()
	if n := w.accounts.most.Load(); n > 1 {
		t.Errorf("the store was asked %d questions at once", n)
	}
	for sum := range w.tokens.by {
		if v := w.tokens.by[sum]; v.user != w.users["adam"].ID && v.user != "nobody" && !strings.Contains(v.user, "OR 1=1") {
			t.Errorf("remembered: %+v", v)
		}
	}
}

// loose is a letter that stands for the same byte, to a decoder that does not mind
// what the last letter has beyond it.
func loose(letter byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, letter)^1])
}

// A header is read as it is meant, and in no other way.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	token := w.login("ana").AccessToken
	key, text, err := w.manager.CreateKey(t.Context(), NewKey{Name: "gateway", Role: RoleAnalyst, Scopes: []string{"Query.*"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != len("neko_")+24+1+52 || !strings.HasPrefix(text, "neko_"+key.ID+"_") {
		t.Errorf("%d characters", len(text))
	}
	for _, c := range []struct {
		credentials worker.Credentials
		subject     string
	}{
		{worker.Credentials{Authorization: "Bearer " + token}, "user:" + w.users["ana"].ID},
		{worker.Credentials{Authorization: "bearer " + token}, "user:" + w.users["ana"].ID},
		{worker.Credentials{Authorization: "BEARER   " + token + "  "}, "user:" + w.users["ana"].ID},
		{worker.Credentials{Authorization: "Bearer " + text}, "key:" + key.ID},
		{worker.Credentials{APIKey: text}, "key:" + key.ID},
		{worker.Credentials{Authorization: token}, ""},
		{worker.Credentials{Authorization: "Bearer"}, ""},
		{worker.Credentials{Authorization: "Bearer "}, ""},
		{worker.Credentials{Authorization: "Basic YW5hOmE="}, ""},
		{worker.Credentials{Authorization: "Bearer\t" + token}, ""},
		{worker.Credentials{Authorization: "Bearer " + token + " " + token}, ""},
		{worker.Credentials{Authorization: "Bearer " + token + "," + token}, ""},
		{worker.Credentials{Authorization: "Bearer " + token, APIKey: text}, ""},
		{worker.Credentials{APIKey: token}, ""},
		{worker.Credentials{APIKey: "Bearer " + text}, ""},
	} {
		id, err := w.Identify(t.Context(), c.credentials)
		if id.Subject != c.subject || (err != nil) != (c.subject == "") {
			t.Errorf("%.20q %.20q: %+v, %v", c.credentials.Authorization, c.credentials.APIKey, id, err)
		}
		if err != nil {
			wantRefused(t, err, c.credentials.Authorization, "")
			if strings.Contains(err.Error(), token[:20]) || strings.Contains(err.Error(), text[:20]) {
				t.Errorf("the error has the credentials: %v", err)
			}
		}
	}
}

func TestAPIKeys(t *testing.T) { onEachStore(t, testAPIKeys) }

func testAPIKeys(w *world) {
	t := w.T
	make := func(n NewKey) (string, string) {
		t.Helper()
		k, text, err := w.manager.CreateKey(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return k.ID, text
	}
	id, text := make(NewKey{Name: "gateway", Role: RoleAnalyst, Scopes: []string{"Mutation.reportSighting"}, Owner: w.users["ana"].ID, Expires: w.clock.now().Add(time.Hour)})
	got, err := who(t, w.Service, text)
	if err != nil || got.Subject != "key:"+id || got.Name != "gateway" || got.Role != RoleAnalyst || len(got.Scopes) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	w.background.Wait()
	if k, err := w.accounts.APIKey(t.Context(), id); err != nil || !k.LastUsed.Equal(w.clock.now()) || strings.Contains(string(k.Digest[:]), text[30:]) {
		t.Errorf("%+v, %v", k, err)
	}
	// A key does not make its owner more, and none is used past its time.
	_, strong := make(NewKey{Name: "k", Role: RoleAdmin, Owner: w.users["vera"].ID})
	if got, err := who(t, w.Service, strong); err != nil || got.Role != RoleViewer {
		t.Errorf("%+v, %v", got, err)
	}
	_, orphan := make(NewKey{Name: "k", Role: RoleAdmin, Owner: "nobody"})
	last := strings.IndexByte("0123456789abcdefghijklmnopqrstuv", text[len(text)-1])
	spelled := func(bit int) string { // with another last letter
		return text[:len(text)-1] + string("0123456789abcdefghijklmnopqrstuv"[last^bit])
	}
	for name, bad := range map[string]string{
		"another secret": spelled(16), "the same, spelled otherwise": spelled(1), "shorter": text[:len(text)-1], "longer": text + "0", "no secret": text[:30], "upper case": text[:30] + strings.ToUpper(text[30:]),
		"unknown": "neko_" + newID(w.clock.now()) + text[29:], "an id that is none": "neko_" + strings.Repeat("'", 24) + text[29:], "of nobody": orphan, "prefix": "neko_", "huge": "neko_" + strings.Repeat("0", 1<<20),
		"no secret at all": "neko_" + newID(w.clock.now()) + "_" + strings.Repeat("0", 52),
	} {
		_, err := who(t, w.Service, bad)
		wantRefused(t, err, name, badKey)
	}
	w.clock.add(time.Hour)
	_, err = who(t, w.Service, text)
	wantRefused(t, err, "expired", badKey)

	id, text = make(NewKey{Name: "k", Role: RoleViewer})
	if _, err := who(t, w.Service, text); err != nil {
		t.Fatal(err)
	}
	if _, err := w.manager.RevokeKey(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.clock.add(TakesEffect)
	_, err = who(t, w.Service, text)
	wantRefused(t, err, "revoked", badKey)

	for _, n := range []NewKey{
		{Role: RoleViewer}, {Name: "k"}, {Name: "k", Role: RoleAnyone}, {Name: "k", Role: "viewer"}, {Name: "a\nb", Role: RoleViewer}, {Name: strings.Repeat("a", 65), Role: RoleViewer},
		{Name: "k", Role: RoleViewer, Scopes: []string{"*"}}, {Name: "k", Role: RoleViewer, Scopes: []string{"Query"}}, {Name: "k", Role: RoleViewer, Scopes: []string{"Query.a b"}},
		{Name: "k", Role: RoleViewer, Expires: w.clock.now()},
	} {
		if _, _, err := w.manager.CreateKey(t.Context(), n); !isInvalid(err) {
			t.Errorf("%+v: %v", n, err)
		}
	}
}

func TestUserNames(t *testing.T) { onEachStore(t, testUserNames) }

func testUserNames(w *world) {
	t := w.T
	for name, good := range map[string]bool{
		"mia": true, "Zoë Müller": false, "Zoë.Müller": true, "o'neil": false, "m@example.org": true, "日本": true, "": false, " mia": false, "-mia": false, "$ne": false, "a\nb": false,
		strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "<script>": false, "admin\u202enimda": false,
	} {
		if _, err := w.manager.CreateUser(t.Context(), name, RoleViewer, password); (err == nil) != good || err != nil && !isInvalid(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func isInvalid(err error) bool {
	_, ok := err.(*store.InvalidError)
	return ok
}
