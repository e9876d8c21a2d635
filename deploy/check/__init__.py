"""Is what Kubernetes gets right? `make deploy-check` renders it all, and looks at it without a cluster.

programs      helm, kubectl (for kustomize), hadolint and Envoy, as packages carry them
manifests     what is rendered, and finding one's way in it
schemas       Kubernetes' and others' schemas
image         the Dockerfile: who runs, and where it writes
pods          probes, time to end, rights, volumes, settings
links         what objects say of each other: ports, selectors, targets
proxy         Envoy's configuration
values        the chart's values and their schema
queries       what is asked of Prometheus: by the dashboard, the alert rules, and autoscaling
monitoring    the dashboard's file, and what is said about each alert

Each check takes manifests and yields problems, as sentences.
"""
