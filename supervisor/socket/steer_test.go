package socket

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/spec"
)

// packet is what a program of the steering looks at.
type packet struct {
	version byte
	source  uint32 // bytes 12 to 15: of IPv6 they are in the middle of the source
	random  uint32
}

// interpret runs a program as the kernel does.
func interpret(program []unix.SockFilter, p packet) (slot uint32, err error) {
	var a uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		jump := func(holds bool) {
			if holds {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch {
		case in.Code == unix.BPF_LD|unix.BPF_B|unix.BPF_ABS && in.K == 0xfff00000:
			a = uint32(p.version)<<4 | 5
		case in.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS && in.K == 0xfff0000c:
			a = p.source
		case in.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS && in.K == 0xfffff038:
			a = p.random
		case in.Code == unix.BPF_ALU|unix.BPF_RSH|unix.BPF_K:
			a >>= in.K
		case in.Code == unix.BPF_ALU|unix.BPF_SUB|unix.BPF_K:
			a -= in.K
		case in.Code == unix.BPF_ALU|unix.BPF_ADD|unix.BPF_K:
			a += in.K
		case in.Code == unix.BPF_ALU|unix.BPF_MOD|unix.BPF_K:
			a %= in.K
		case in.Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K:
			jump(a == in.K)
		case in.Code == unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K:
			jump(a >= in.K)
		case in.Code == unix.BPF_RET|unix.BPF_A:
			return a, nil
		default:
			return 0, fmt.Errorf("instruction %d is %+v", pc, in)
		}
	}
	return 0, fmt.Errorf("the program has no end")
}

func TestAnyLiveSlotsAreEquallyLikely(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alternate := func(slot int) bool { return slot%2 == 0 }
	for i := range 300 {
		slots := 1 + random.IntN(spec.MaxInstances)
		density := random.Float64()
		lives := func(int) bool { return random.Float64() < density }
		if i == 0 { // the longest program
			slots, lives = spec.MaxInstances, alternate
		}
		var live []int
		for slot := range slots {
			if lives(slot) {
				live = append(live, slot)
			}
		}
		if len(live) == 0 {
			live = []int{random.IntN(slots)}
		}
		program := steering(live, slots)
		if len(program) > unix.BPF_MAXINSNS {
			t.Fatalf("%d of %d slots: %d instructions", len(live), slots, len(program))
		}
		run := func(p packet) int {
			slot, err := interpret(program, p)
			if err != nil {
				t.Fatalf("%+v, live %v: %v", p, live, err)
			}
			return int(slot)
		}
		counts := map[int]int{}
		for value := range uint32(len(live) * 2) {
			counts[run(packet{4, 0x7f000001, value})]++
			counts[run(packet{6, 0x7f410000, ^value})]++ // no IPv4 source
		}
		if got := slices.Sorted(maps.Keys(counts)); !slices.Equal(got, live) {
			t.Fatalf("live are %v, and connections go to %v", live, got)
		}
		for slot, n := range counts {
			if n != 4 {
				t.Fatalf("slot %d of %v gets %d connections, not 4", slot, live, n)
			}
		}
		for slot := range slots {
			if got := run(packet{4, 0x7f410000 + uint32(slot), random.Uint32()}); got != slot {
				t.Fatalf("a probe of slot %d comes to %d", slot, got)
			}
		}
		for _, source := range []uint32{0, 0x7f40ffff, 0x7f410000 + uint32(slots), 0x7f420000, 1<<32 - 1} {
			if got := run(packet{4, source, random.Uint32()}); !slices.Contains(live, got) {
				t.Fatalf("a connection from %#x comes to slot %d, live are %v", source, got, live)
			}
		}
	}
}

func TestSteerHoldsForHundredsOfSlots(t *testing.T) {
	const slots, connections = 300, 2000
	g, err := Open("tcp", "127.0.0.1:0", slots, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var live []int
	for slot := range slots { // alone, in pairs, and a long run
		if slot%7 == 0 || slot%21 == 1 || slot > 280 {
			live = append(live, slot)
		}
	}
	if err := g.Steer(live); err != nil {
		t.Fatal(err)
	}
	dial(t, g.Address, connections)
	for slot, n := range queues(t, g, connections) {
		if lives := slices.Contains(live, slot); lives != (n > 0) {
			t.Errorf("slot %d got %d connections, live is %v", slot, n, lives)
		}
	}
	probed(t, g)
}

func TestTheLongestProgramIsTaken(t *testing.T) {
	g, err := Open("tcp", "127.0.0.1:0", spec.MaxInstances, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var live []int
	for slot := 1; slot < spec.MaxInstances; slot += 2 {
		live = append(live, slot)
	}
	if err := g.Steer(live); err != nil {
		t.Fatal(err)
	}
	dial(t, g.Address, 200)
	for slot, n := range queues(t, g, 200) {
		if slot%2 == 0 && n > 0 {
			t.Errorf("slot %d, which is dead, got %d connections", slot, n)
		}
	}
}

func TestSharesAreFair(t *testing.T) {
	const connections, clients = 10_000, 8
	g, err := Open("tcp", "127.0.0.1:0", 4, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Steer([]int{0, 2, 3}); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan int, connections)
	for slot := range 4 {
		accepting(t, g, slot, accepted)
	}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range connections / clients {
				conn, err := net.Dial("tcp", g.Address)
				if err != nil {
					t.Error(err)
					return
				}
				conn.(*net.TCPConn).SetLinger(0) // no port waits for a minute
				conn.Close()
			}
		})
	}
	counts := make([]int, 4)
	for range connections {
		select {
		case slot := <-accepted:
			counts[slot]++
		case <-time.After(10 * time.Second):
			t.Fatalf("connections are missing: %v", counts)
		}
	}
	all.Wait()
	live := []int{counts[0], counts[2], counts[3]}
	if most, least := slices.Max(live), slices.Min(live); float64(most) > 1.3*float64(least) || counts[1] > 0 {
		t.Errorf("slots 0, 2 and 3 live, and the shares are %v", counts)
	}
}
