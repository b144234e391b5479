"""The Kubernetes API server: a generic registry of resources over SQLite, as stock kubectl expects it.

Modules, in reading order:
the whole: server (start, stop, certificates, kubeconfigs), settings, app (dispatch, errors), http_protocol, bootstrap,
kubernetes_service;
a request: routing, request_context, authentication, impersonation, authorization, node_authorizer, node_restriction,
service_account_tokens, certificates;
bodies: decoding (JSON, YAML, schema), protobuf, schemas (the built data file), patching, server_side_apply,
managed_fields;
custom resources: served_resources (the rows of definitions beside the table's), definition_keeper, custom_objects,
custom_printer, custom_schemas;
objects: records, storage, watch_cache, strategies (what each kind does of its own), writing, delete_options,
list_options, reading, watching, rest (the verbs over HTTP), list_encoding, views (a kind under a second group);
admission: admission_request, admission_chain, webhooks (who is called, what answers do), webhook_client;
answers: representation, json_answers, tables, printing, pod_printer, resource_printers, inert_printers, discovery,
openapi, openapi_paths, gnostic, version, metrics, warning_headers;
beside the verbs: subresources, scaling, evictions, reviews, node_proxy, node_client, stream_proxy (logs, exec, attach
of a node).
streams: upgrade (a connection taken over from HTTP), spdy (framing), spdy_session, spdy_streams, spdy_proxy (what old
kubectl speaks, and every kubectl's port-forward), port_channels (port-forward of the Python clients).
"""
