"""Embedded OCI registry, push and pull, over the node's own content store: pushed once, no second copy.

Speaks distribution-spec v1.1 (and Docker schema 2), so docker, podman and skopeo push into it and any client pulls.

Modules, in reading order: errors (refusals as the protocol words them), catalogue (repositories, tags and manifests in
SQLite), uploads (blobs on their way in), manifests (what may be stored as a manifest), app (routes), local_source
(pulls on the same store).
"""
