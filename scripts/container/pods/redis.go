package main

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

type redis struct {
	port, url string
	cmd       *exec.Cmd
}

func startRedis(ctx context.Context, program, folder string) (*redis, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	r := &redis{port: port, url: "redis://127.0.0.1:" + port, cmd: exec.CommandContext(ctx, program, "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no")}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return r, nil
		}
		if time.Now().After(deadline) {
			r.stop()
			return nil, errors.New("redis-server does not start")
		}
	}
}

// connections are those of neko, whatever they do.
func (r *redis) connections(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, "redis-cli", "-p", r.port, "CLIENT", "LIST").Output()
	return strings.Count(string(out), "name=neko"), err
}

func (r *redis) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
}
