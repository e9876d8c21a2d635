"""What operators look at: the dashboard, and when they are told.

panels        the dashboard: what it asks Prometheus, and how that is shown
grafana       the same as Grafana reads it; `make deploy-generate` writes it into the chart
picture       the same drawn from a Prometheus, without Grafana
RUNBOOK.md    what to do about each alert

The dashboard and the alert rules are files of the chart, deploy/helm/inferwire/monitoring, and of use without it too.
"""
