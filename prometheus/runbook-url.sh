#!/bin/sh
# Sets the address of the runbook (a page made from docs/runbook.md), and of Grafana, in alerts and dashboards:
#   prometheus/runbook-url.sh https://wiki.example/smtpstatus https://grafana.example
set -eu
cd "$(dirname "$0")/.."
runbook=${1:?usage: runbook-url.sh RUNBOOK-URL [GRAFANA-URL]}
current=$(sed -n 's/.*runbook_url: \(https*:[^#]*\)#.*/\1/p' prometheus/rules/alerts.yml | head -n 1)
grafana=$(sed -n 's/.*dashboard_url: \(https*:[^ ]*\)\/d\/.*/\1/p' prometheus/rules/alerts.yml | head -n 1)
sed -i "s|$current#|$runbook#|; s|$grafana/d/|${2:-$grafana}/d/|" prometheus/rules/alerts.yml prometheus/prometheusrule.yml
sed -i "s|$current#|$runbook#|" grafana/dashboards/*.json
sed -i "s|\"$current\"|\"$runbook\"|" grafana/source/words.py
