"""kube-scheduler and kube-controller-manager: loops that read, decide (pure) and write through the API.

Modules, in reading order: reconciler, informers, controller_manager; scheduler, service_accounts, namespaces,
node_lifecycle, taint_eviction, pod_garbage; pods, conditions, templates, pod_control; replicaset; rollout, revisions,
deployment_status, deployment; history, daemon_plan, daemonset, statefulset; job_indexes, job_policies, job_counts,
job_plan, job; disruption; ownership, garbage_collector.
"""
