// Package prometheus has only tests: what neko gives to Prometheus and Grafana (configs/prometheus,
// configs/grafana, docs/metrics.md) is tried with Debian's Prometheus and promtool on a running nekoctl.
package prometheus
