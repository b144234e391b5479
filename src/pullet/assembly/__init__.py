"""Builds the object graph from settings: the only place that knows every class.

Modules, in reading order: root_lock (one process per root), serving (ASGI applications on sockets), pod_network (bridge
and addresses), local_addresses (for certificates), image_settings (mirrors, store), credential_sources (the node's own
logins), node_parts (one node with its runtime), tear_down (what `down` removes), cluster (API server, controllers,
nodes, registry), images_only (a store without a node), foreground (the process: signals, logging, the ready line).
"""
