package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/supervisor/control"
)

// strangers are clients that open a connection for each request, until their
// stdin is closed. Then they print what they have seen.
func strangers(url string) {
	run, err := load.Start(context.Background(), load.Config{
		URL: url, Mode: load.NewConnection, Clients: 128,
		ThinkMax: time.Second, // or all would knock at the same moment
		Who: func(r *load.Response) string {
			slot, _, _ := bytes.Cut(r.Body, []byte(" "))
			return string(slot)
		},
	})
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := json.NewEncoder(os.Stdout).Encode(run.Stop()); err != nil {
		panic(err)
	}
}

// On a long way most of a handshake is spent on the road. The server's answer to
// a SYN has been sent, the client's has not come: the connection is in no queue,
// and yet it belongs to a socket, which must not be closed.
func TestHandshakesThatASlotHasBegunOutliveItsRetirement(t *testing.T) {
	t.Parallel()
	const delay = 400 * time.Millisecond
	link := newSlowLink(t, delay)
	link.server.enter(t)
	d := newDaemon(t)
	a := web("api", 3)
	a.Listen[0].Address = netip.AddrPortFrom(netip.AddrFrom4(serverAddress), 0).String()
	url := "http://" + d.start(a).Processes[0].Listeners[0] + "/"

	link.client.enter(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	clients := exec.Command(exe, "strangers", url)
	clients.Stdout, clients.Stderr = &output, os.Stderr
	hold, err := clients.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })

	begun := link.awaitHandshakes(t, 200, 30)
	if _, err := d.Scale(t.Context(), control.ScaleRequest{Name: "api", Instances: "1"}, nil); err != nil {
		t.Error(err)
	}
	hold.Close()
	if err := clients.Wait(); err != nil {
		t.Fatal(err)
	}
	var report load.Report
	if err := json.Unmarshal(output.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d handshakes were under way; %d requests, %d errors", begun, report.Requests, report.Failures())
	if report.Failed() || len(report.By) != 3 {
		t.Error(fmt.Sprint(report))
	}
	if report.Latency.P50 < 3*delay.Seconds()*1000 {
		t.Errorf("the way was not long: half of the requests took less than %.0f ms", report.Latency.P50)
	}
}
