package show

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestTwoSamplesSayHowBusyTheMachineIs(t *testing.T) {
	at := time.UnixMilli(0)
	before := Sample{At: at, Busy: 100, Idle: 100, Interfaces: map[string]Counters{
		"eth0": {1 << 20, 0, 1, 0}, "gone": {}}, Read: 1 << 20, Written: 9 << 20}
	now := Sample{At: at.Add(2 * time.Second), Busy: 130, Idle: 170, Total: 1000, Available: 250, Interfaces: map[string]Counters{
		"eth0": {5 << 20, 1 << 20, 3, 0}, "new": {Received: 1 << 30}}, Read: 2 << 20, Written: 1 << 20,
		Mounts: []Filesystem{{"/", 50}}}
	want := Host{CPU: 30, Memory: 75, Read: 0.5, Written: 0,
		Interfaces: []Interface{{"eth0", 2, 0.5, 60, 0}}, Filesystems: []Filesystem{{"/", 50}}}
	if got := now.Since(before); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want = Host{CPU: 100 * 130.0 / 300, Memory: 75, Filesystems: want.Filesystems}
	if got := now.Since(Sample{}); !reflect.DeepEqual(got, want) {
		t.Errorf("since it was booted: got %+v, want %+v", got, want)
	}
}

func TestASampleOfThisMachineHasSomethingOfEverything(t *testing.T) {
	s := ReadSample()
	h := s.Since(Sample{})
	if s.Idle == 0 || s.Busy == 0 || s.Total == 0 || s.Available > s.Total || len(s.Interfaces) == 0 {
		t.Errorf("got %+v", s)
	}
	if math.IsNaN(h.CPU) || h.CPU <= 0 || h.CPU > 100 || h.Memory <= 0 || h.Memory >= 100 {
		t.Errorf("got %+v", h)
	}
}
