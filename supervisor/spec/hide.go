package spec

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Hidden is what is shown in the place of a secret.
const Hidden = "[hidden]"

var secretWords = []string{"SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "KEY", "CREDENTIAL", "AUTH", "COOKIE", "PRIVATE", "DSN", "HEADERS"}

// IsSecret says of the name of a variable, a flag or a header that what it has is most
// likely a secret: it has one of some words in it.
func IsSecret(name string) bool {
	upper := strings.ToUpper(name)
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(upper, word) })
}

// HideEnv hides the values of variables whose names say that they are secret, and URLs
// with somebody's name in them.
func HideEnv(env map[string]string) map[string]string {
	shown := make(map[string]string, len(env))
	for name, value := range env {
		if value != "" && (IsSecret(name) || HideText(value) != value) {
			value = Hidden
		}
		shown[name] = value
	}
	return shown
}

var (
	// inURL finds the user of a URL, with or without a password.
	inURL = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)([^/?#\s'"]*)@`)
	// named finds NAME=value, --name=value, name: value and --name value, and in URLs
	// ?name=value.
	named = regexp.MustCompile(`([A-Za-z0-9_.-]+)("?\s*[=:]\s*(?:(?i:bearer|basic|token)\s+)?|\s+)("[^"]*"?|'[^']*'?|[^\s&;'"]+)`)
)

// HideText hides in a text, a line for a shell say, what follows a name that is secret, and
// the users of URLs.
func HideText(s string) string {
	s = inURL.ReplaceAllString(s, "${1}"+Hidden+"@")
	for from := 0; from < len(s); {
		at := named.FindStringSubmatchIndex(s[from:])
		if at == nil {
			break
		}
		name, between := s[from+at[2]:from+at[3]], s[from+at[4]:from+at[5]]
		value := s[from+at[6] : from+at[7]]
		assigned := strings.ContainsAny(between, "=:")
		if !IsSecret(name) || strings.HasPrefix(value, "//") || !assigned && (!strings.HasPrefix(name, "-") || strings.HasPrefix(value, "-")) {
			from += at[3] // the value may be a name itself
			continue
		}
		if !strings.HasPrefix(value, Hidden) { // or what is behind it would go, too
			s = s[:from+at[6]] + Hidden + s[from+at[7]:]
		}
		from += at[6] + len(Hidden)
	}
	return s
}

// HideWords hides in the words of a command what [HideText] does in a line.
func HideWords(words []string) []string {
	shown := slices.Clone(words)
	for i, word := range words {
		flag := i > 0 && strings.HasPrefix(words[i-1], "-") && !strings.Contains(words[i-1], "=") && IsSecret(words[i-1])
		name, _, assigned := strings.Cut(word, "=")
		switch {
		case flag && !strings.HasPrefix(word, "-") && word != "":
			shown[i] = Hidden
		case assigned && IsSecret(name) && !strings.ContainsAny(name, " \t\n/?&") && !(i > 0 && words[i-1] == "-c"): // a line for a shell goes on
			shown[i] = name + "=" + Hidden
		default:
			shown[i] = HideText(word)
		}
	}
	return shown
}

// HideURL leaves of a URL that may be a secret as a whole, as a webhook's is, only where it
// leads to.
func HideURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return Hidden
	}
	shown := u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		shown += "/" + Hidden
	}
	return shown
}

// WithoutSecrets is the app as it may be shown.
func (a App) WithoutSecrets() App {
	a.Env, a.PM2 = HideEnv(a.Env), nil // in which other environments are, too
	a.Command = HideWords(a.Command)
	for _, p := range []**Probe{&a.Startup, &a.Readiness, &a.Liveness} {
		if *p != nil {
			shown := **p
			shown.Exec, shown.HTTP = HideWords(shown.Exec), HideText(shown.HTTP)
			*p = &shown
		}
	}
	return a
}

// HasHidden says whether a secret of it is hidden.
func (a App) HasHidden() bool {
	hidden := func(s string) bool { return strings.Contains(s, Hidden) }
	some := slices.ContainsFunc(a.Command, hidden)
	for _, p := range []*Probe{a.Startup, a.Readiness, a.Liveness} {
		some = some || p != nil && (slices.ContainsFunc(p.Exec, hidden) || hidden(p.HTTP))
	}
	for value := range maps.Values(a.Env) {
		some = some || hidden(value)
	}
	return some
}
