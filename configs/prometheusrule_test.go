package configs

import (
	"bytes"
	"os"
	"regexp"
	"testing"
)

const prometheusRule = "../k8s/components/monitoring/prometheusrule.yaml"

const ruleHead = `# Made of configs/prometheus/rules.yml: change that, then go test ./configs -update.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: neko
  namespace: production
  labels:
    app.kubernetes.io/part-of: neko
spec:
`

// What the Prometheus Operator loads in Kubernetes is rules.yml, with its comments, two
// columns further to the right. kustomize could not take it from here.
func TestThePrometheusRuleIsMadeOfTheRules(t *testing.T) {
	rules, err := os.ReadFile("prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte(ruleHead), regexp.MustCompile(`(?m)^.`).ReplaceAll(rules, []byte("  $0"))...)
	if *update {
		if err := os.WriteFile(prometheusRule, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile(prometheusRule)
	if err != nil || !bytes.Equal(there, want) {
		t.Errorf("%s is not what prometheus/rules.yml says; go test ./configs -update writes it (%v)", prometheusRule, err)
	}
}
