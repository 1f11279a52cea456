package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
)

func TestMain(m *testing.M) {
	// The daemon starts itself again from /proc/self/exe, which is this test.
	if len(os.Args) > 1 && modes[os.Args[1]] != nil {
		main()
	}
	testscript.Main(m, map[string]func(){
		"nekoctl": main, "pm2": main, "pm2-runtime": main,
		"server": server, "broken-monit": brokenMonit,
	})
}

// The scripts are sessions of a user at a terminal, each with a home and a
// daemon of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			h := home.Dir(filepath.Join(env.WorkDir, "home"))
			env.Setenv("NEKO_HOME", string(h))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // or each command takes a second with -race
			env.Defer(func() { endDaemon(t, h) })
			env.Defer(func() { endDaemon(t, home.Dir(filepath.Join(env.WorkDir, ".pm2"))) })
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"freeport":   freePort,
			"occupy":     occupy,
			"get":        get,
			"waitfor":    waitFor,
			"interrupt":  interrupt,
			"killdaemon": killDaemon,
			"until":      until,
		},
	})
}

// endDaemon leaves nothing of a script running.
func endDaemon(t *testing.T, h home.Dir) {
	pid, err := os.ReadFile(h.PID())
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := control.NewClient(h.Control()).Kill(ctx, nil); err != nil {
		t.Logf("kill the daemon: %v", err)
		if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
			syscall.Kill(n, syscall.SIGTERM)
		}
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(h.PID()); err != nil {
			return // the keeper removes it last
		}
	}
	log, _ := os.ReadFile(h.Log())
	t.Errorf("the daemon did not end; its log:\n%s", log)
}

// freePort NAME... sets each $NAME to a port that nobody uses.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		port, err := freeport.Take()
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(port))
	}
}

// occupy NAME listens on a port until the script ends, and sets $NAME to it.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	ts.Setenv("TESTPID", strconv.Itoa(os.Getpid()))
}

// get URL prints what is there.
func get(ts *testscript.TestScript, neg bool, args []string) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(args[0])
	if neg {
		if err == nil {
			ts.Fatalf("%s answers", args[0])
		}
		return
	}
	ts.Check(err)
	defer r.Body.Close()
	_, err = io.Copy(ts.Stdout(), r.Body)
	ts.Check(err)
}

// waitfor FILE TEXT waits until a file has a text in it.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s has no %q: %v\n%s", args[0], args[1], err, data)
		}
	}
}

// until NAME STATE RESTARTS waits until an app's first process is in a state, after
// so many restarts at least.
func until(ts *testscript.TestScript, _ bool, args []string) {
	client := control.NewClient(home.Dir(ts.Getenv("NEKO_HOME")).Control())
	least, err := strconv.Atoi(args[2])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		app, err := client.App(context.Background(), args[0])
		ts.Check(err)
		p := app.Processes[0]
		if string(p.State) == args[1] && p.Restarts >= least {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s is %s after %d restarts", args[0], p.State, p.Restarts)
		}
	}
}

// interrupt presses Ctrl-C on the programs in the background.
func interrupt(ts *testscript.TestScript, _ bool, _ []string) {
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(os.Interrupt))
	}
}

// killdaemon kills keeper and master as if they were one.
func killDaemon(ts *testscript.TestScript, _ bool, _ []string) {
	ping, err := control.NewClient(home.Dir(ts.Getenv("NEKO_HOME")).Control()).Ping(context.Background())
	ts.Check(err)
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range []int{ping.Master, ping.Keeper} { // neither may replace the other
			ts.Check(syscall.Kill(pid, signal))
			for end := time.Now().Add(time.Minute); running(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					ts.Fatalf("pid %d still runs after %v", pid, signal)
				}
			}
		}
	}
}

// running says whether a thread of a process is neither stopped nor dead.
func running(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err == nil && !strings.Contains(string(text), ") T ") && !strings.Contains(string(text), ") Z ") {
			return true
		}
	}
	return false
}

// server is a program that keeps the worker contract: it serves on fd 3 and
// says who it is and what it was given.
func server() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("up", os.Getenv("NEKO_APP"), os.Getenv("NEKO_SLOT"), strings.Join(os.Args[1:], " "))
	if os.Getenv("FAIL") != "" {
		fmt.Fprintln(os.Stderr, "cannot open the database")
		os.Exit(3)
	}
	cwd, _ := os.Getwd()
	tell := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "app %s args %q cwd %s WHO=%s\n", os.Getenv("NEKO_APP"), os.Args[1:], filepath.Base(cwd), os.Getenv("WHO"))
	})
	if port := os.Getenv("OWN_PORT"); port != "" {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go http.Serve(l, tell)
	}
	if os.Getenv("LISTEN_FDS") != "" {
		l, err := net.FileListener(os.NewFile(3, "listener"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go http.Serve(l, tell)
	}
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		if conn, err := net.Dial("unixgram", socket); err == nil {
			fmt.Fprint(conn, "READY=1")
			conn.Close()
		}
	}
	<-signals
	if drain, err := time.ParseDuration(os.Getenv("DRAIN")); err == nil {
		time.Sleep(drain)
	} else if file := os.Getenv("DRAIN"); file != "" { // until it is there
		for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
			time.Sleep(10 * time.Millisecond)
		}
	}
	fmt.Println("down")
	os.Exit(0)
}
