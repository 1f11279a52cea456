package supervisor_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// receiver is what a webhook leads to.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []received
	fail func(n int, w http.ResponseWriter) bool // whether the n-th request, from 0, is answered by it
}

type received struct {
	control.Event
	Host, Text string
	header     http.Header
	body       string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var e received
		if err != nil || json.Unmarshal(body, &e) != nil || q.Method != http.MethodPost {
			t.Errorf("%s: %q, %v", q.Method, body, err)
		}
		e.header, e.body = q.Header, string(body)
		r.mu.Lock()
		n := len(r.got)
		r.got = append(r.got, e)
		fail := r.fail
		r.mu.Unlock()
		if fail != nil && fail(n, w) {
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) count() int { return len(r.all()) }

// hooks sets those of the daemon, and starts apps.
func (d *daemon) hooks(list []spec.Hook, apps ...spec.App) control.Done {
	d.t.Helper()
	done, err := d.Start(d.t.Context(), control.StartRequest{Apps: apps, Daemon: spec.Daemon{OnEvent: list}}, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return done
}

func webhookTo(url string, kinds ...string) spec.Hook {
	h := spec.DefaultHook()
	h.Webhook, h.Events = url, kinds
	return h
}

func command(line string, kinds ...string) spec.Hook {
	h := spec.DefaultHook()
	h.Run, h.Events, h.Cwd = []string{"/bin/sh", "-c", line}, kinds, "/"
	return h
}

func TestAWebhookIsTriedUntilItIsHeard(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	r := newReceiver(t)
	r.fail = func(n int, w http.ResponseWriter) bool {
		if n == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n == 0
	}
	h := webhookTo(r.URL+"/secret-path", "crash")
	h.Secret, h.Headers = "key", map[string]string{"Authorization": "Bearer x"}
	p := d.hooks([]spec.Hook{h}, web("api", 1)).Processes[0]
	kill(t, p.PID, syscall.SIGKILL)
	d.eventually("heard twice", func() bool { return r.count() == 2 })
	got := r.all()
	for _, e := range got {
		mac := hmac.New(sha256.New, []byte("key"))
		mac.Write([]byte(e.body))
		want := map[string]string{
			"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)), "Authorization": "Bearer x", "Content-Type": "application/json",
			"X-Neko-Event": "crash", "X-Neko-Event-Id": strconv.FormatInt(got[0].ID, 10),
		}
		for name, value := range want {
			if e.header.Get(name) != value {
				t.Errorf("%s is %q and not %q", name, e.header.Get(name), value)
			}
		}
		if e.Kind != control.EventCrash || e.PID != p.PID || e.Details["signal"] != "killed" || e.Host == "" || !strings.Contains(e.Text, "api:0 crash: pid") {
			t.Errorf("%s", e.body)
		}
	}
}

func TestAWebhookThatRefusesIsNotTriedAgainAndThatIsTold(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	r := newReceiver(t)
	r.fail = func(n int, w http.ResponseWriter) bool {
		switch n {
		case 0:
			w.WriteHeader(http.StatusForbidden)
		case 1:
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
		return n < 2
	}
	d.hooks([]spec.Hook{webhookTo(strings.Replace(r.URL, "http://", "http://me:pass@", 1)+"/secret-path", "reload")}, web("api", 1))
	warned := func(text string) {
		t.Helper()
		d.eventually("warned of "+text, func() bool {
			p, err := d.Ping(t.Context())
			all := strings.Join(p.Warnings, "\n")
			if strings.Contains(all, "secret") || strings.Contains(all, "pass") {
				t.Errorf("the URL is shown: %s", all)
			}
			return err == nil && (text == "" && all == "" || text != "" && strings.Contains(all, text))
		})
	}
	d.command("reload", "api")
	warned("it answered 403 Forbidden")
	d.command("reload", "api")
	warned("it answered 307 Temporary Redirect: redirects are not followed")
	d.command("reload", "api")
	warned("")
	if r.count() != 3 {
		t.Errorf("%d requests", r.count())
	}
}

func TestWhatAHookHasNotHeardTheNextMasterTellsIt(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	r := newReceiver(t)
	blocked := make(chan struct{})
	r.fail = func(n int, w http.ResponseWriter) bool {
		if n == 0 {
			<-blocked // its master is killed meanwhile
		}
		return false
	}
	p := d.hooks([]spec.Hook{webhookTo(r.URL, "crash", "reload", "scale")}, web("api", 1)).Processes[0]
	kill(t, p.PID, syscall.SIGKILL)
	d.eventually("under way", func() bool { return r.count() == 1 })
	d.command("reload", "api")
	d.killMaster()
	close(blocked)
	d.eventually("told again, and the next", func() bool { return r.count() == 3 })
	d.upgrade(program(t, "next"))
	if _, err := d.Scale(t.Context(), control.ScaleRequest{Name: "api", Instances: "2"}, nil); err != nil {
		t.Fatal(err)
	}
	d.eventually("told by the third", func() bool { return r.count() == 4 })
	var kinds []string
	ids := map[int64]int{}
	for _, e := range r.all() {
		kinds = append(kinds, string(e.Kind))
		ids[e.ID]++
	}
	if want := []string{"crash", "crash", "reload", "scale"}; !slices.Equal(kinds, want) || len(ids) != 3 {
		t.Errorf("%v, ids %v", kinds, ids)
	}
}

func TestACommandGetsTheEvent(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := t.TempDir()
	h := command("cat >"+dir+"/event; env >"+dir+"/env; ls -l /proc/self/fd >"+dir+"/fds; echo said so; mv "+dir+"/env "+dir+"/done", "cra*")
	h.Apps = []string{"api"}
	list := d.hooks([]spec.Hook{h}, web("api", 1), app("other", 1)).Processes
	kill(t, list[1].PID, syscall.SIGKILL)
	kill(t, list[0].PID, syscall.SIGKILL)
	d.eventually("it has run", func() bool { return there(dir + "/done") })
	text, err := os.ReadFile(dir + "/event")
	var e received
	if err != nil || json.Unmarshal(text, &e) != nil || e.PID != list[0].PID || e.Kind != control.EventCrash {
		t.Errorf("%s, %v", text, err)
	}
	env, _ := os.ReadFile(dir + "/done")
	for _, want := range []string{"NEKO_EVENT=crash", "NEKO_EVENT_APP=api", "NEKO_EVENT_SLOT=0", "NEKO_EVENT_DETAIL_SIGNAL=killed", "NEKO_EVENT_ID=" + strconv.FormatInt(e.ID, 10), "NEKO_HOME=" + string(d.home)} {
		if !strings.Contains("\n"+string(env), "\n"+want+"\n") {
			t.Errorf("the environment has no %s:\n%s", want, env)
		}
	}
	for _, not := range []string{"NOTIFY_SOCKET", "NEKO_KEEPER_FD", "LISTEN_FDS"} {
		if strings.Contains("\n"+string(env), "\n"+not+"=") {
			t.Errorf("the environment has %s", not)
		}
	}
	if fds, _ := os.ReadFile(dir + "/fds"); strings.Contains(string(fds), "socket:") || strings.Count(string(fds), " -> ") > 4 {
		t.Errorf("it has inherited descriptors:\n%s", fds)
	}
	d.eventually("what it printed is in the log", func() bool {
		log, _ := os.ReadFile(d.home.Log())
		return strings.Contains(string(log), "run sh: said so")
	})
}

func TestACommandThatHangsIsEndedWithAllThatItHasStarted(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	pids := filepath.Join(t.TempDir(), "pids")
	h := command("sleep 1000 & echo $$ $! >"+pids+".new; mv "+pids+".new "+pids+"; wait", "crash")
	h.Timeout = spec.Duration(3 * time.Second) // a busy machine has to get it started
	p := d.hooks([]spec.Hook{h}, web("api", 1)).Processes[0]
	kill(t, p.PID, syscall.SIGKILL)
	d.eventually("warned", func() bool {
		ping, err := d.Ping(t.Context())
		return err == nil && strings.Contains(strings.Join(ping.Warnings, "\n"), "no end within 3s")
	})
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(text)) {
		n, _ := strconv.Atoi(pid)
		d.eventually(pid+" has ended", func() bool { return unix.Kill(n, 0) == unix.ESRCH })
	}
}

func TestHooksAreTakenBackAndMistakesChangeNothing(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	r := newReceiver(t)
	a := web("api", 1)
	d.hooks([]spec.Hook{webhookTo(r.URL, "reload")}, a)
	bad := command("true", "reload")
	bad.Run[0] = "/no/such/program"
	_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}, Daemon: spec.Daemon{OnEvent: []spec.Hook{bad}}}, nil)
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("got %v", err)
	}
	d.command("reload", "api")
	d.eventually("told", func() bool { return r.count() == 1 })
	d.hooks(nil, a) // which says nothing
	d.command("reload", "api")
	d.eventually("told again", func() bool { return r.count() == 2 })
	d.hooks([]spec.Hook{}, a)
	d.command("reload", "api")
	d.hooks([]spec.Hook{webhookTo(r.URL, "scale")}, a)
	if _, err := d.Scale(t.Context(), control.ScaleRequest{Name: "api", Instances: "2"}, nil); err != nil {
		t.Fatal(err)
	}
	d.eventually("told of the scale", func() bool { return r.count() == 3 })
	if e := r.all()[2]; e.Kind != control.EventScale {
		t.Errorf("%s", e.body)
	}
}

func TestAHookHearsThatTheDaemonStops(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	r := newReceiver(t)
	d.hooks([]spec.Hook{webhookTo(r.URL, "daemon")}, web("api", 1))
	d.end()
	d.eventually("told", func() bool { return r.count() == 2 })
	for i, want := range []string{"stopping", "stopped"} {
		if got := r.all()[i].Details["state"]; got != want {
			t.Errorf("got %s, not %s", got, want)
		}
	}
}

func TestAProcessTellsOfItsOwnEvents(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	r := newReceiver(t)
	a := app("api", 2)
	a.Env["SAYS"] = `X_NEKO_EVENT={"event":"breaker","message":"mongo \u001b[31mis away","details":{"name":"mongo","to":"OPEN","n":3,"BAD KEY":1}}` + "\n" +
		`X_NEKO_EVENT={"event":"crash","message":"I lie"}` + "\n" +
		`X_NEKO_EVENT={"event":"app.ready","message":"all is well"}`
	d.hooks([]spec.Hook{webhookTo(r.URL, "breaker", "app.*")}, a)
	l.until(2, "app.ready")
	e := l.until(1, control.EventBreaker)
	if e.Message != "mongo \uFFFD[31mis away" || e.Details["name"] != "mongo" || e.Details["n"] != "3" || e.Details["workers"] != "1" || len(e.Details) != 4 || e.PID == 0 {
		t.Errorf("%+v", e)
	}
	if e := l.until(2, control.EventBreaker); e.Details["workers"] != "2" {
		t.Errorf("%+v", e)
	}
	d.eventually("the hook is told of the breaker once", func() bool { return r.count() == 3 })
	breakers := 0
	for _, e := range r.all() {
		if e.Kind == control.EventBreaker {
			breakers++
		}
	}
	if breakers != 1 || slices.Contains(l.kinds(), "api:0 crash") {
		t.Errorf("%d breakers; %v", breakers, l.kinds())
	}
}

func TestAProcessThatTellsTooMuchIsBounded(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	a := app("api", 1)
	a.Env["SAYS"] = strings.Repeat(`X_NEKO_EVENT={"event":"app.spam","message":"m"}`+"\n", 60)
	d.start(a)
	d.command("reload", "api")
	d.eventually("both have told", func() bool { return strings.Count(l.String(), "app.spam") >= 20 })
	if n := strings.Count(l.String(), "app.spam"); n > 24 {
		t.Errorf("%d events", n)
	}
}
