"""The kubelet: brings the pods of one node to what their specs ask for, and says so to the API.

Modules, in reading order:
the whole: node, settings, events, alarm
pods: pod_source, static_pods, pod_workers, sync_pod, active_deadlines, housekeeping
what is there: pod_cache, pleg, termination_message, pod_paths
images: ensure_image_pass, pod_credentials, image_manager, image_puller, pull_manager, pull_records, journal_entry,
image_gc_manager
pressure: eviction_signals, eviction_manager
containers: container_errors, runtime_manager, runtime_parts, container_starter, container_killer, lifecycle_hooks,
container_gc
their configs: sandbox_config, container_config, environment, downward, container_security, container_resources,
hosts_file
volumes: volumes, volume_payloads, payload_volume, subpath, object_reader, service_account_tokens, pod_account
probes: probe_workers, probers, http_get, grpc_health
the API's view: status_manager, node_status, node_health, machine
endpoints: server, server_streams, container_logs, log_selection, metrics
"""
