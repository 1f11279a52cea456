package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// happening is a failure in a cluster: commands, and those that mend it. They were never run against a cluster by
// whoever wrote them.
type happening struct {
	name, expect  string
	rto           time.Duration
	happens, mend []string
}

func happenings(namespace string) []happening {
	k := "kubectl -n " + namespace + " "
	const pods = "-l app.kubernetes.io/name=neko-api"
	// Nodes that others have cordoned stay so: ours have a label.
	const ours = "gameday.neko/cordoned=true"
	uncordon := []string{"kubectl uncordon -l " + ours, "kubectl label node -l " + ours + " gameday.neko/cordoned-"}
	first := "$(" + k + "get pod " + pods + " -o name | head -1)"
	return []happening{
		{"a pod is killed", "another is started in its place; the other pods serve", 30 * time.Second,
			[]string{k + "delete --force --grace-period=0 " + first}, nil},
		{"a pod is deleted", "it drains; nothing is lost", 0,
			[]string{k + "delete " + first}, nil},
		{"all pods die", "all requests fail until the first new pod is ready", 2 * time.Minute,
			[]string{k + "delete pod --force --grace-period=0 " + pods}, nil},
		{"a node is drained", "the budget keeps two pods; nothing is lost", 0,
			[]string{"NODE=$(" + k + "get " + first + " -o jsonpath='{.spec.nodeName}'); kubectl label node $NODE " + ours + "; kubectl drain --ignore-daemonsets --delete-emptydir-data $NODE"},
			uncordon},
		{"a zone is lost", "pods of the other zones serve", time.Minute,
			[]string{"ZONE=$(kubectl get node $(" + k + "get " + first + " -o jsonpath='{.spec.nodeName}') -o jsonpath='{.metadata.labels.topology\\.kubernetes\\.io/zone}'); kubectl label node -l topology.kubernetes.io/zone=$ZONE " + ours + "; kubectl cordon -l " + ours + "; " +
				"for n in $(kubectl get node -l topology.kubernetes.io/zone=$ZONE -o jsonpath='{.items[*].metadata.name}'); do " + k + "delete pod --force --grace-period=0 " + pods + " --field-selector spec.nodeName=$n; done"},
			uncordon},
		{"Redis dies", "nothing: answers are made anew, limits count for each pod", 0,
			[]string{k + "delete pod --force --grace-period=0 -l app.kubernetes.io/name=neko-redis"}, nil},
		{"Redis is away", "nothing", 0,
			[]string{k + "scale statefulset neko-redis --replicas=0"}, []string{k + "scale statefulset neko-redis --replicas=1"}},
		{"a bad deploy", "the rollout stands still; the old pods serve", 0,
			[]string{k + "set image deployment/neko-api neko-api=ghcr.io/nekoctl/neko:does-not-exist", "sleep 30"}, []string{k + "rollout undo deployment/neko-api", k + "rollout status deployment/neko-api --timeout=5m"}},
	}
}

// cluster prints what would be done, or does it.
func (c *config) cluster(ctx context.Context) (results []result, err error) {
	if !c.run {
		fmt.Fprintln(c.out, "# Not tried: there was no cluster where this was written. Read each line before you run it.")
	}
	for _, h := range happenings(c.namespace) {
		if !c.only.MatchString(h.name) {
			continue
		}
		if !c.run || c.list || c.dryRun {
			fmt.Fprintf(c.out, "\n# %s: %s; within %v\n", h.name, h.expect, h.rto)
			for _, line := range append(append([]string{}, h.happens...), h.mend...) {
				fmt.Fprintln(c.out, line)
			}
			continue
		}
		if !c.agrees(h.name, strings.Join(h.happens, "; ")) {
			continue
		}
		r := c.inCluster(ctx, h)
		results = append(results, r)
		c.tell(r)
		if r.Verdict == untried {
			return results, errors.New("no further failures are tried")
		}
	}
	return results, nil
}

func (c *config) inCluster(ctx context.Context, h happening) (r result) {
	f := failure{name: h.name, rto: h.rto, clients: h.rto > 0}
	if h.rto > 0 {
		f.fails = everything
	}
	r = result{Failure: h.name, Page: fmt.Sprintf("%v, %s", h.rto, h.expect)}
	p := newProber(c.url, "", "")
	p.slowly = true
	p.start(ctx)
	wait := func(patience time.Duration) bool {
		for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			if p.well(time.Now().Add(-steady)) {
				return true
			}
		}
		return false
	}
	if !wait(30 * time.Second) {
		p.end()
		r.Verdict, r.Why = untried, "not all requests are answered before it"
		return r
	}
	at := time.Now()
	err := c.shell(ctx, h.happens)
	// Whatever has become of that, and also if somebody interrupts it, it is mended.
	if err = errors.Join(err, c.shell(context.WithoutCancel(ctx), h.mend)); err != nil {
		p.end()
		r.Verdict, r.Why = untried, err.Error()
		return r
	}
	time.Sleep(steady)
	wait(h.rto + time.Minute)
	marks, _ := p.end()
	r.judge(f, marks, at, at, nil)
	return r
}

// shell runs lines, up to one that fails.
func (c *config) shell(ctx context.Context, lines []string) error {
	for _, line := range lines {
		c.say("  %s", line)
		if out, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
