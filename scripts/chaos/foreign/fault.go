package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// misbehave does what the file that CHAOS_FAULT names says, at the start of each
// process; no file, no fault:
//
//	never-ready     run, and never say READY=1
//	die             end at once
//	die N           end at once in slot N
//	ready-then-die  say READY=1, and end without having accepted
//	leak DIR        start a sleep that has the listening socket and outlives all
//	                of the app's processes, and make a file of its pid's name
func misbehave(stop <-chan os.Signal) {
	text, _ := os.ReadFile(os.Getenv("CHAOS_FAULT"))
	fault, arg, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	switch fault {
	case "never-ready":
		fmt.Fprintln(os.Stderr, "waiting for a database that is not there")
		<-stop
		os.Exit(0)
	case "die":
		if arg == "" || arg == os.Getenv("NEKO_SLOT") {
			fail("the settings make no sense")
		}
	case "ready-then-die":
		fmt.Fprintln(os.Stderr, "serving, or so I think")
		sayAndBeHeard("READY=1")
		fail("the first look at the data was the last")
	case "leak":
		leak(arg)
	}
}

// sayAndBeHeard waits until the supervisor has heard it, as sd_notify_barrier(3)
// does: it does not listen to a process that has ended.
func sayAndBeHeard(text string) {
	say(text)
	read, write, err := os.Pipe()
	if err != nil {
		fail("pipe: %v", err)
	}
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		fail("socket: %v", err)
	}
	to := &syscall.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}
	if err := syscall.Sendmsg(socket, []byte("BARRIER=1"), syscall.UnixRights(int(write.Fd())), to, 0); err != nil {
		fail("barrier: %v", err)
	}
	write.Close()
	_, _ = read.Read(make([]byte, 1)) // until the supervisor has closed its copy
}

// leak leaves a process behind that holds the socket: what a program does that
// forgets CLOEXEC. It is in a session of its own, as daemons are.
func leak(dir string) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		fail("%v", err)
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "3600"}, &syscall.ProcAttr{
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), 3},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		fail("sleep: %v", err)
	}
	null.Close()
	if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, pid), nil, 0o600); err != nil {
		fail("%v", err)
	}
}
