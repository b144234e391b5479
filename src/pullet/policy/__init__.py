"""Decisions: facts in, answer out. No I/O, no clock, no event loop.

Modules, in reading order:
the pull: image_pull (use, pull, wait or refuse, with its reasons), backoff, pull_backoff, credential_match (keyring
rules), pull_record, pull_verification (who may use a present image), wording (every text, by release);
the node in need: image_gc, eviction (when it is short), pod_eviction (which pods it ends);
pods a node does not take: sysctls, app_armor;
the pod's life: runtime_status (what the runtime says), container_actions, restart_backoff, probe_state,
container_state, pod_phase, pod_status, terminated_status, qos;
events: event_correlation;
objects at the API: admission, object_defaulting, pod_defaulting, object_validation, pod_validation,
container_validation, ephemeral_validation, placement_validation, pod_settings_validation, workload_validation,
service_validation,
inert_defaulting, inert_validation (kinds that nothing acts on), pod_references, deletion, namespace_conditions,
disruption (budgets and evictions);
custom resources: definition_defaulting, definition_validation, definition_schema (rules on their schemas),
definition_naming (names and conditions), schema_validation (an object against its schema),
schema_formats, go_pattern;
webhooks: webhook_validation, webhook_matching, admission_review;
placing pods: scheduling, scheduling_facts, scheduling_filters.
"""
