package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"
)

// Hook is an entry of on_event: what is to be done when something happens. It runs a
// command or calls a webhook.
type Hook struct {
	Events []string `json:"event"`         // kinds, or their beginnings with a *
	Apps   []string `json:"app,omitempty"` // names or titles; none: all, and the daemon
	// Run is a command and its arguments, run in Cwd.
	Run []string `json:"run,omitempty"`
	Cwd string   `json:"cwd,omitempty"`
	// Webhook is a URL, which may be a secret by itself.
	Webhook    string            `json:"webhook,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Secret     string            `json:"secret,omitempty"` // signs what is sent
	SecretFile string            `json:"secret_file,omitempty"`
	Timeout    Duration          `json:"timeout"`
	Retries    int               `json:"retries"` // after the first failure
}

// DefaultHook has the times that people do not give.
func DefaultHook() Hook { return Hook{Timeout: Duration(10 * time.Second), Retries: 5} }

// The bounds of hooks.
const (
	maxHooks   = 32
	maxRetries = 20
)

// hookFields are the keys of a hook.
func hookFields(h *Hook) []field {
	return []field{
		{"event", "The kinds of events, such as crash; app.* is all that begin so.", "texts",
			func(p *parser, v *yaml.Node) { h.Events = p.oneOrMoreTexts(v, "an event such as crash") }},
		{"app", "Only those of these apps.", "texts",
			func(p *parser, v *yaml.Node) { h.Apps = p.oneOrMoreTexts(v, "the name of an app") }},
		{"run", "A command, which gets the event as JSON on standard input.", "command",
			func(p *parser, v *yaml.Node) { h.Run = p.lineOrWords(v, p.key) }},
		{"webhook", "A URL to which the event is posted as JSON.", "webhook",
			func(p *parser, v *yaml.Node) { p.text(v, "a URL", &h.Webhook) }},
		{"headers", "Headers of that request.", "settings",
			func(p *parser, v *yaml.Node) { h.Headers = p.headers(v) }},
		{"secret", "Signs the request, as X-Hub-Signature-256 says.", "text",
			func(p *parser, v *yaml.Node) { p.text(v, "a text", &h.Secret) }},
		{"secret_file", "A file with that secret; relative to the neko.yaml.", "text",
			func(p *parser, v *yaml.Node) {
				if p.text(v, "the path of a file", &h.SecretFile) && !filepath.IsAbs(h.SecretFile) {
					h.SecretFile = filepath.Join(p.base, h.SecretFile)
				}
			}},
		{"timeout", "How long one attempt may take.", "duration",
			func(p *parser, v *yaml.Node) { p.duration(v, &h.Timeout) }},
		{"retries", "How often a webhook that fails is tried again.", "retries",
			func(p *parser, v *yaml.Node) { p.number(v, &h.Retries) }},
	}
}

// lineOrWords is a command line, run by a shell if only that understands it, or a list.
func (p *parser) lineOrWords(v *yaml.Node, key string) []string {
	if v.Kind != yaml.ScalarNode {
		return p.texts(v, key, "a command line or a list of words")
	}
	words, shell, err := split(strings.TrimSpace(v.Value), ofShells)
	switch {
	case err != nil:
		p.failValue(v, key, err)
	case shell != 0:
		return []string{"/bin/sh", "-c", v.Value}
	case len(words) == 0:
		p.fail(v, key, key+": there is no command to run", "")
	}
	return words
}

func (p *parser) headers(v *yaml.Node) map[string]string {
	headers := map[string]string{}
	key := p.key
	p.each(v, key, func(k, v *yaml.Node) {
		if v = p.follow(v); v.Kind != yaml.ScalarNode {
			p.fail(v, key, fmt.Sprintf("%s: %s: expected a text, not %s", key, clip(k.Value), kindOf(v)), "")
			return
		}
		headers[k.Value] = v.Value
	})
	return headers
}

// hooks reads on_event: a list, or off. It is not nil.
func (p *parser) hooks(v *yaml.Node) []Hook {
	list := []Hook{}
	if v.Kind == yaml.ScalarNode && (v.Value == Off || v.Value == "false") {
		return list
	}
	if v.Kind != yaml.SequenceNode {
		p.fail(v, p.key, p.key+": expected a list, each of whose entries begins with a dash, or off, not "+kindOf(v),
			"for example:  on_event: [{event: crash, run: ./tell.sh}]")
		return list
	}
	for _, n := range v.Content {
		if n = p.follow(n); p.spent(n) {
			return list
		}
		h, before := DefaultHook(), len(p.errs)
		p.key = "on_event"
		p.fields(n, hookFields(&h))
		if len(h.Run) > 0 {
			h.Cwd = p.base
		}
		if len(p.errs) == before {
			if err := h.check(); err != nil {
				p.failValue(n, "on_event", err)
			}
		}
		list = append(list, h)
	}
	if len(list) > maxHooks {
		p.fail(v, "on_event", fmt.Sprintf("on_event: there are %d hooks, and can be %d", len(list), maxHooks), "one hook can have several events and apps")
	}
	return list
}

// KnownEvent says what is wrong with a kind of events, nil if nothing is. Package control,
// which knows them, sets it.
var KnownEvent = func(kind string) error { return nil }

func (h *Hook) check() *Error {
	switch {
	case len(h.Events) == 0:
		return &Error{Message: "event is missing", Hint: "say of what: event: [crash, errored]"}
	case (len(h.Run) > 0) == (h.Webhook != ""):
		return &Error{Message: "a hook has one of run and webhook"}
	case h.Retries < 0 || h.Retries > maxRetries:
		return &Error{Message: "retries: " + expected("a number from 0 to "+strconv.Itoa(maxRetries), strconv.Itoa(h.Retries))}
	case h.Timeout <= 0 || h.Timeout.D() > 10*time.Minute:
		return &Error{Message: "timeout: " + expected("a time up to 10m", h.Timeout.D().String())}
	case len(h.Run) > 0 && (len(h.Headers) > 0 || h.Secret != "" || h.SecretFile != ""):
		return &Error{Message: "headers and secret are a webhook's, and this hook runs a command"}
	case h.Secret != "" && h.SecretFile != "":
		return &Error{Message: "a hook has one of secret and secret_file"}
	case slices.Contains(h.Run, "") && h.Run[0] == "":
		return &Error{Message: "run: there is no command to run"}
	}
	for _, kind := range h.Events {
		if err := KnownEvent(kind); err != nil {
			return &Error{Message: "event: " + err.Error()}
		}
	}
	for name, value := range h.Headers {
		if !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return &Error{Message: "headers: " + expected("names and values of HTTP headers", name)}
		}
	}
	if h.Webhook != "" {
		u, err := url.Parse(h.Webhook) // whose errors have the URL, which may be a secret
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" {
			return &Error{Message: "webhook: expected a URL such as https://example.com/hook"}
		}
	}
	return nil
}

// isToken says whether s can be the name of a header.
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}) < 0
}

// String names the hook for people. Nothing of a URL but its host is shown.
func (h *Hook) String() string {
	if h.Webhook == "" {
		return "run " + clip(filepath.Base(strings.Join(h.Run[:1], "")))
	}
	u, err := url.Parse(h.Webhook)
	if err != nil {
		return "webhook"
	}
	return "webhook " + u.Scheme + "://" + u.Host
}

// Key is the same for as long as a hook is the same for those whom it tells: times, headers
// and secrets may change.
func (h *Hook) Key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", h.Events, h.Apps, h.Run, h.Webhook))
	return hex.EncodeToString(sum[:12]) // it is written down often
}

// Program is the file of its command, which can be run.
func (h *Hook) Program() (string, error) {
	in := App{Cwd: h.Cwd}
	path, err := in.ProgramOf(h.Run)
	if err == nil && !filepath.IsAbs(path) {
		path = filepath.Join(h.Cwd, path)
	}
	if err == nil {
		var info os.FileInfo
		if info, err = os.Stat(path); err == nil && info.IsDir() {
			err = errors.New("it is a folder")
		} else if err == nil {
			err = unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
		}
	}
	if err == nil {
		return path, nil
	}
	var e *Error
	var file *os.PathError
	switch {
	case errors.As(err, &e):
		return "", &Error{Message: "on_event: run: " + e.Message, Hint: e.Hint}
	case errors.As(err, &file):
		err = file.Err
	}
	return "", &Error{Message: fmt.Sprintf("on_event: run: %s: %v", clip(h.Run[0]), err), Hint: "a path is relative to the neko.yaml"}
}

func (d Daemon) checkHooks() error {
	if len(d.OnEvent) > maxHooks {
		return &Error{Message: fmt.Sprintf("on_event: there are %d hooks, and can be %d", len(d.OnEvent), maxHooks)}
	}
	for i := range d.OnEvent {
		if err := d.OnEvent[i].check(); err != nil {
			err.Message = "on_event: " + err.Message
			return err
		}
	}
	return nil
}
