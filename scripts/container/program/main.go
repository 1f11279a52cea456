// Program is what the tests of containers run: the second of two static binaries.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	switch os.Args[1] {
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "orphans": // each is the child of a process that has ended, and ends soon
		n, _ := strconv.Atoi(os.Args[2])
		for range n {
			parent, err := os.StartProcess("/proc/self/exe", []string{"program", "parent"}, &os.ProcAttr{})
			if err != nil {
				fmt.Println("error:", err)
				os.Exit(1)
			}
			_, _ = parent.Wait()
		}
		fmt.Println("all orphans were left behind")
	case "parent":
		_, err := os.StartProcess("/proc/self/exe", []string{"program", "orphan"},
			// It leaves the group of its worker, whose end would end it.
			&os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	case "orphan":
		time.Sleep(time.Millisecond)
		os.Exit(3)
	}
	fmt.Println("it runs")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	fmt.Println("it ends")
}
