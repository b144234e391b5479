"""The local control socket: what the pullet command asks of a running node.

A Unix socket below the root directory, readable by its owner alone. Everything a Kubernetes client can ask goes to the
API server instead; this socket carries what Kubernetes has no word for: pulls with progress, image archives, `why`.

Modules, in reading order: protocol (the messages), tag_advice, images (pull with progress over CRI),
maintenance (disk use, collection, access, check), server, exchange (HTTP for the command), client.
"""
