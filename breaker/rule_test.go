package breaker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var (
	errAway     = errors.New("it is away")
	errNotFound = errors.New("it is not there")
)

func isAway(err error) bool { return errors.Is(err, errAway) }

// ends makes a call that ends so.
func ends(t testing.TB, p *Policy, err error) error {
	t.Helper()
	_, got := Do(t.Context(), p, Once, func(context.Context) (int, error) { return 0, err })
	if err != nil && got != nil && !errors.Is(got, err) && !errors.Is(got, ErrOpen) {
		t.Fatalf("a call that ends with %v has returned %v", err, got)
	}
	return got
}

// fail opens a breaker with the default rule.
func fail(t testing.TB, p *Policy) {
	t.Helper()
	for range p.o.MinCalls {
		_ = ends(t, p, errAway)
	}
	if s := p.State(); s != Open {
		t.Fatalf("after %d failures it is %v", p.o.MinCalls, s)
	}
}

func wantState(t testing.TB, p *Policy, want State) {
	t.Helper()
	if got := p.State(); got != want {
		t.Fatalf("it is %v and not %v", got, want)
	}
}

func TestWhenItOpens(t *testing.T) {
	type calls struct {
		n   int
		err error
		in  time.Duration // they are spread over it
	}
	for _, c := range []struct {
		name string
		o    Options
		does []calls
		want State
	}{
		{"nineteen failures are too few", Options{}, []calls{{19, errAway, 0}}, Closed},
		{"twenty are enough", Options{}, []calls{{20, errAway, 0}}, Open},
		{"half of them", Options{}, []calls{{10, nil, 0}, {10, errAway, 0}}, Open},
		{"less than half", Options{}, []calls{{11, nil, 0}, {9, errAway, 0}, {1, nil, 0}, {1, errAway, 0}}, Closed},
		{"what is longer ago than the window does not count", Options{}, []calls{{19, errAway, 0}, {1, nil, 11 * time.Second}, {1, errAway, 0}}, Closed},
		{"nor do they who succeeded then", Options{}, []calls{{100, nil, 0}, {1, nil, 11 * time.Second}, {20, errAway, 0}}, Open},
		{"slowly", Options{}, []calls{{40, errAway, 40 * time.Second}}, Closed},
		{"fast enough", Options{}, []calls{{40, errAway, 18 * time.Second}}, Open},
		{"that something is not there is an answer", Options{}, []calls{{100, errNotFound, 0}}, Closed},
		{"and a good one", Options{}, []calls{{21, errNotFound, 0}, {19, errAway, 0}}, Closed},
		{"its own rule", Options{FailureRate: 1, MinCalls: 3, Window: time.Second}, []calls{{2, errAway, 0}}, Closed},
		{"its own rule, met", Options{FailureRate: 1, MinCalls: 3, Window: time.Second}, []calls{{3, errAway, 0}}, Open},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.o.Name, c.o.IsFailure, c.o.OpenFor = "p", isAway, time.Hour
				p := mustNew(t, c.o)
				for _, some := range c.does {
					for range some.n {
						time.Sleep(some.in / time.Duration(some.n))
						_ = ends(t, p, some.err)
					}
				}
				wantState(t, p, c.want)
			})
		})
	}
}

func TestItIsOpenForAWhileAndThenOneCallDecides(t *testing.T) {
	for range 20 { // the jitter is drawn
		synctest.Test(t, func(t *testing.T) {
			p := mustNew(t, Options{Name: "p"})
			began := time.Now()
			fail(t, p)
			err := ends(t, p, nil)
			var open *OpenError
			if !errors.As(err, &open) || !errors.Is(err, ErrOpen) || open.Name != "p" {
				t.Fatal(err)
			}
			after := open.Until.Sub(began)
			if after < 24*time.Second || after > 36*time.Second+time.Millisecond || open.RetryAfter() != time.Until(open.Until) {
				t.Fatalf("it is open for %v", after)
			}
			time.Sleep(time.Until(open.Until) - 2*time.Millisecond)
			wantState(t, p, Open)
			if err := ends(t, p, nil); !errors.Is(err, ErrOpen) {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Millisecond)
			wantState(t, p, HalfOpen)

			// While one is tried the others are refused.
			tried := make(chan error)
			trying, end := make(chan bool), make(chan error)
			go func() {
				_, err := Do(t.Context(), p, Once, func(context.Context) (int, error) {
					close(trying)
					return 0, <-end
				})
				tried <- err
			}()
			<-trying
			wantState(t, p, HalfOpen)
			for range 3 {
				if err := ends(t, p, nil); !errors.Is(err, ErrOpen) {
					t.Fatal(err)
				}
			}
			end <- errAway
			if err := <-tried; !errors.Is(err, errAway) {
				t.Fatal(err)
			}
			wantState(t, p, Open)
			time.Sleep(37 * time.Second)
			if err := ends(t, p, nil); err != nil {
				t.Fatal(err)
			}
			wantState(t, p, Closed)
			// What was before it closed is forgotten.
			for range 19 {
				_ = ends(t, p, errAway)
			}
			wantState(t, p, Closed)
			_ = ends(t, p, errAway)
			wantState(t, p, Open)
		})
	}
}

// A late answer to a call of before is not that of the trial, and does not count later.
func TestCallsOfBeforeTellNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p", OpenFor: time.Second, Timeout: time.Minute, Places: 100})
		end := make(chan error)
		const late = 30
		for range late {
			go func() { _, _ = Do(t.Context(), p, Once, func(context.Context) (int, error) { return 0, <-end }) }()
		}
		synctest.Wait()
		fail(t, p)
		time.Sleep(2 * time.Second)
		wantState(t, p, HalfOpen)
		end <- nil
		end <- errAway
		synctest.Wait()
		wantState(t, p, HalfOpen)
		if err := ends(t, p, nil); err != nil {
			t.Fatal(err)
		}
		for range late - 2 {
			end <- errAway
		}
		synctest.Wait()
		wantState(t, p, Closed)
	})
}

func TestATrialComesToSomethingThoughItsCallerHasGone(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want State
	}{{"well", nil, Closed}, {"away", errAway, Open}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := mustNew(t, Options{Name: "p"})
				fail(t, p)
				time.Sleep(37 * time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				began := time.Now()
				_, err := Do(ctx, p, Once, func(ctx context.Context) (int, error) {
					select {
					case <-time.After(time.Second):
						return 0, c.err
					case <-ctx.Done():
						return 0, ctx.Err()
					}
				})
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Millisecond {
					t.Fatalf("%v after %v", err, time.Since(began))
				}
				wantState(t, p, HalfOpen)
				time.Sleep(2 * time.Second)
				wantState(t, p, c.want)
			})
		})
	}
}

func TestWhoseFaultItIsThatACallWasGivenUp(t *testing.T) {
	for _, c := range []struct {
		name    string
		context func(context.Context) (context.Context, context.CancelFunc)
		heeds   bool
		after   time.Duration
		want    error
		counts  bool
	}{
		{"the timeout", context.WithCancel, true, 3 * time.Second, ErrTimeout, true},
		{"the timeout, and it does not heed that", context.WithCancel, false, 3 * time.Second, ErrTimeout, true},
		{"a deadline far off", within(10 * time.Second), true, 3 * time.Second, ErrTimeout, true},
		{"a deadline that an answer should keep", within(time.Second), true, time.Second, context.DeadlineExceeded, true},
		{"and it does not heed it", within(time.Second), false, time.Second, context.DeadlineExceeded, true},
		{"a deadline that tells nothing", within(10 * time.Millisecond), true, 10 * time.Millisecond, context.DeadlineExceeded, false},
		{"the caller goes", goes(2 * time.Second), true, 2 * time.Second, context.Canceled, false},
		{"and it does not heed that", goes(2 * time.Second), false, 2 * time.Second, context.Canceled, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := mustNew(t, Options{Name: "p", MinCalls: 1})
				ctx, cancel := c.context(t.Context())
				defer cancel()
				end := make(chan bool)
				began := time.Now()
				_, err := Do(ctx, p, Idempotent, func(ctx context.Context) (int, error) {
					if !c.heeds {
						<-end
						return 1, nil
					}
					<-ctx.Done()
					return 0, fmt.Errorf("given up: %w", ctx.Err())
				})
				if !errors.Is(err, c.want) || time.Since(began) != c.after {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				synctest.Wait()
				if s := p.Stats(); (s.Failures == 1) != c.counts || (p.State() == Open) != c.counts || s.Retries != 0 || (s.InFlight == 1) == c.heeds {
					t.Errorf("%v %+v", p.State(), s)
				}
				close(end)
			})
		})
	}
}

func within(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
	return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
}

func goes(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
	return func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(d, cancel)
		return ctx, cancel
	}
}

func TestACallerThatHasGoneMakesNoCall(t *testing.T) {
	p := mustNew(t, Options{Name: "p"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Do(ctx, p, Once, func(context.Context) (int, error) { panic("called") })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What hangs keeps its place until it has really ended, so there is never more of it.
func TestWhatHangsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p", Places: 4, MinCalls: 1000})
		end := make(chan bool)
		hangs := func(context.Context) (int, error) {
			<-end
			return 1, nil
		}
		const callers = 100
		errs := make(chan error, callers)
		began := time.Now()
		for range callers {
			go func() {
				_, err := Do(t.Context(), p, Once, hangs)
				errs <- err
			}()
		}
		busy, timeouts := 0, 0
		for range callers {
			switch err := <-errs; {
			case errors.Is(err, ErrBusy):
				busy++
			case errors.Is(err, ErrTimeout):
				timeouts++
			default:
				t.Error(err)
			}
		}
		if busy != callers-4 || timeouts != 4 || time.Since(began) != 3*time.Second {
			t.Errorf("%d busy, %d timeouts after %v", busy, timeouts, time.Since(began))
		}
		// Nobody got anything: that they found no place is the dependency's fault.
		if s := p.Stats(); s.InFlight != 4 || s.Failures != callers || s.Busy != uint64(busy) || s.Timeouts != 4 {
			t.Errorf("%+v", s)
		}
		close(end)
		synctest.Wait()
		if s := p.Stats(); s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		if err := ends(t, p, nil); err != nil {
			t.Error(err)
		}
	})
}

// Who finds no place although others are answered has come at a busy time: nothing is wrong.
func TestBeingBusyIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p", Places: 1, MinCalls: 1})
		errs := make(chan error, 100)
		for range cap(errs) {
			go func() {
				_, err := Do(t.Context(), p, Once, func(context.Context) (int, error) {
					time.Sleep(100 * time.Millisecond)
					return 1, nil
				})
				errs <- err
			}()
		}
		served := 0
		for range cap(errs) {
			if err := <-errs; err == nil {
				served++
			} else if !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
		if s := p.Stats(); served < 14 || s.Failures != 0 || p.State() != Closed || s.Busy == 0 {
			t.Errorf("%d served, %v %+v", served, p.State(), s)
		}
	})
}

// Should no place be free for a trial, it has failed.
func TestATrialThatFindsNoPlaceHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p", Places: 1, MinCalls: 1, OpenFor: time.Minute})
		end := make(chan bool)
		_, err := Do(t.Context(), p, Once, func(context.Context) (int, error) { <-end; return 0, nil })
		if !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		wantState(t, p, Open)
		time.Sleep(73 * time.Second)
		if err := ends(t, p, nil); !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		wantState(t, p, Open)
		close(end)
		time.Sleep(73 * time.Second)
		if err := ends(t, p, nil); err != nil {
			t.Fatal(err)
		}
		wantState(t, p, Closed)
	})
}

func TestWhatIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    Kind
		o       Options
		errs    []error
		within  time.Duration // of the caller; 0: any time
		want    error
		retries uint64
	}{
		{"what may be made again", Idempotent, Options{}, []error{errAway, nil}, 0, nil, 1},
		{"twice", Idempotent, Options{}, []error{errAway, errAway, nil}, 0, nil, 2},
		{"and no more", Idempotent, Options{}, []error{errAway, errAway, errAway, nil}, 0, errAway, 2},
		{"not what may have had its effect", Once, Options{}, []error{errAway, nil}, 0, errAway, 0},
		{"not an answer", Idempotent, Options{}, []error{errNotFound, nil}, 0, errNotFound, 0},
		{"an answer ends it", Idempotent, Options{}, []error{errAway, errNotFound, nil}, 0, errNotFound, 1},
		{"never, if so it is wanted", Idempotent, Options{Retries: -1}, []error{errAway, nil}, 0, errAway, 0},
		{"not when the caller has no time left", Idempotent, Options{}, []error{errAway, nil}, 500 * time.Millisecond, errAway, 0},
		{"not when it has opened the breaker", Idempotent, Options{MinCalls: 1}, []error{errAway, nil}, 0, errAway, 0},
		{"as long as there is a budget", Idempotent, Options{RetryBurst: 1}, []error{errAway, errAway, nil}, 0, errAway, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.o.Name, c.o.IsFailure = "p", isAway
				p := mustNew(t, c.o)
				ctx, cancel := t.Context(), func() {}
				if c.within > 0 {
					ctx, cancel = context.WithTimeout(ctx, c.within)
				}
				defer cancel()
				n := 0
				began := time.Now()
				v, err := Do(ctx, p, c.kind, func(context.Context) (int, error) {
					n++
					return n, c.errs[n-1]
				})
				if !errors.Is(err, c.want) || v != n || uint64(n) != c.retries+1 || p.Stats().Retries != c.retries {
					t.Errorf("%v after %d calls: %+v", err, n, p.Stats())
				}
				least, most := []time.Duration{0, 25, 75}[c.retries], []time.Duration{0, 50, 150}[c.retries]
				if took := time.Since(began); took < least*time.Millisecond || took > most*time.Millisecond {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// However often a call is tried, Do returns within the timeout.
func TestRetriesDoNotTakeLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p"})
		var n atomic.Int32
		began := time.Now()
		_, err := Do(t.Context(), p, Idempotent, func(ctx context.Context) (int, error) {
			if n.Add(1) == 1 {
				time.Sleep(time.Second)
				return 0, errAway
			}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if !errors.Is(err, ErrTimeout) || n.Load() != 2 || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %d calls and %v", err, n.Load(), time.Since(began))
		}
	})
}

// In any time there are no more retries than the budget says.
func TestTheBudgetOfRetries(t *testing.T) {
	type moment struct {
		at             time.Time
		calls, retries uint64
	}
	type call struct {
		pause time.Duration
		err   error
	}
	rapid.Check(t, func(r *rapid.T) {
		o := Options{Name: "p", MinCalls: math.MaxInt32, Retries: 2, Backoff: time.Nanosecond}
		o.RetryRate = rapid.SampledFrom([]float64{0.01, 0.1, 0.5}).Draw(r, "rate")
		o.RetryBurst = rapid.IntRange(1, 20).Draw(r, "burst")
		calls := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) call {
			pause := time.Duration(rapid.IntRange(0, 3000).Draw(r, "pause")) * time.Millisecond
			return call{pause, rapid.SampledFrom([]error{nil, errAway}).Draw(r, "error")}
		}), 1, 200).Draw(r, "calls")
		var moments []moment
		synctest.Test(t, func(t *testing.T) {
			p := mustNew(t, o)
			moments = append(moments, moment{time.Now(), 0, 0})
			for _, c := range calls {
				time.Sleep(c.pause)
				_, _ = Do(t.Context(), p, Idempotent, func(context.Context) (int, error) { return 0, c.err })
				s := p.Stats()
				moments = append(moments, moment{time.Now(), s.Calls, s.Retries})
			}
		})
		for i, from := range moments {
			for _, to := range moments[i+1:] {
				most := float64(o.RetryBurst) + o.RetryRate*float64(to.calls-from.calls) +
					float64(o.RetryBurst)*to.at.Sub(from.at).Seconds()/10
				if got := to.retries - from.retries; float64(got) > most+1e-6 {
					r.Fatalf("%d retries of %d calls in %v are more than %v", got, to.calls-from.calls, to.at.Sub(from.at), most)
				}
			}
		}
	})
}

func TestAPanicIsTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p", MinCalls: 1, Places: 1})
		panics := func() (v any) {
			defer func() { v = recover() }()
			_, _ = Do(t.Context(), p, Idempotent, func(context.Context) (int, error) { panic(errNotFound) })
			return nil
		}
		for range 3 { // the place is given back
			e, ok := panics().(*PanicError)
			if !ok || e.Value != errNotFound || !errors.Is(e, errNotFound) || !strings.Contains(string(e.Stack), "TestAPanicIsTheCallers") {
				t.Fatal(e)
			}
		}
		wantState(t, p, Closed) // it is a fault of the program
		fail(t, p)
		time.Sleep(37 * time.Second)
		if panics() == nil {
			t.Error("the trial's was lost")
		}
		wantState(t, p, Open)
		time.Sleep(37 * time.Second)
		if err := ends(t, p, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p"})
		var told []Change
		p.Watch(func(c Change) { told = append(told, c) })
		began := time.Now()
		fail(t, p)
		time.Sleep(37 * time.Second) // it is half open without a call
		_ = ends(t, p, errAway)
		time.Sleep(37 * time.Second)
		_ = ends(t, p, nil)
		synctest.Wait()
		var got []string
		for _, c := range told {
			got = append(got, fmt.Sprintf("%s %v %v", c.Name, c.From, c.To))
			if c.To == Open && (c.Until.Sub(c.At) < 23*time.Second || c.Reason == "") || c.To == Closed && c.Reason != "" {
				t.Errorf("%+v", c)
			}
		}
		want := "p CLOSED OPEN, p OPEN HALF_OPEN, p HALF_OPEN OPEN, p OPEN HALF_OPEN, p HALF_OPEN CLOSED"
		if all := strings.Join(got, ", "); all != want {
			t.Errorf("%s", all)
		}
		if r := told[0].Reason; r != "20 of 20 calls failed, the last: it is away" || !told[0].At.Equal(began) {
			t.Errorf("%q", r)
		}
		if r := told[2].Reason; r != "a trial has failed: it is away" {
			t.Errorf("%q", r)
		}
		if s := p.Stats(); s.Opened != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// failsafe-go counts by the time of day. Somebody sets it.
func TestTheTimeOfDayIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, Options{Name: "p", MinCalls: 20})
		m := p.meter.Load()
		for range 19 {
			_ = ends(t, p, errAway)
		}
		m.day = m.day.Add(time.Hour) // it was later then
		_ = ends(t, p, errAway)
		if p.meter.Load() == m {
			t.Error("it goes on counting in a window that does not move")
		}
	})
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for i, o := range []Options{
		{}, {Name: "p", FailureRate: 1.1}, {Name: "p", FailureRate: -1}, {Name: "p", Timeout: -1}, {Name: "p", MaxWait: 2 * time.Second},
		{Name: "p", Places: -1}, {Name: "p", Jitter: 1}, {Name: "p", Window: 1}, {Name: "p", OpenFor: -1}, {Name: "p", MinCalls: -1},
	} {
		if p, err := New(o); err == nil {
			p.Close()
			t.Errorf("%d: %+v", i, o)
		}
	}
}

// A thousand outages leave nothing behind.
func TestNothingIsLeftOfManyOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		p, err := New(Options{Name: "p", Host: newTestHost(t)})
		if err != nil {
			t.Fatal(err)
		}
		changes := 0
		p.Watch(func(Change) { changes++ })
		for range 1000 {
			for range 20 {
				go func() {
					_, _ = Do(t.Context(), p, Idempotent, func(ctx context.Context) (int, error) {
						<-ctx.Done()
						return 0, ctx.Err()
					})
				}()
			}
			time.Sleep(3*time.Second + time.Millisecond)
			wantState(t, p, Open)
			time.Sleep(37 * time.Second)
			if err := ends(t, p, nil); err != nil {
				t.Fatal(err)
			}
			wantState(t, p, Closed)
		}
		synctest.Wait()
		if s := p.Stats(); s.Opened != 1000 || s.InFlight != 0 || changes != 3000 {
			t.Errorf("%+v, %d changes", s, changes)
		}
		p.Close()
	})
}

// What fails just when the breaker opens is told of with the others.
func TestManyFailAtOnce(t *testing.T) {
	for range 50 {
		p := mustNew(t, Options{Name: "dependency", MinCalls: 5, Retries: -1})
		start := make(chan struct{})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				<-start
				_, _ = Do(t.Context(), p, Once, func(context.Context) (struct{}, error) { return struct{}{}, errors.New("down") })
			})
		}
		close(start)
		all.Wait()
		if s := p.Status(); s.State != Open || !strings.Contains(s.Reason, "calls failed, the last: down") {
			t.Errorf("%v: %s", s.State, s.Reason)
		}
	}
}
