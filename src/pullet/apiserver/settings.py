"""Settings of the API server."""

from __future__ import annotations

import msgspec


class ApiServerSettings(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Spelled in the configuration in camelCase; times in seconds, sizes in bytes."""

    bind_address: str = "127.0.0.1"
    port: int = 6443  # 0: any free port
    cluster_name: str = "pullet"
    git_version: str = "v1.36.2"
    admission_plugins: list[str] = []  # beyond those always on: AlwaysPullImages
    max_body_bytes: int = 3 * 1024 * 1024
    min_request_timeout_seconds: int = 1800  # a watch without timeoutSeconds lives this long to twice as long
    bookmark_interval_seconds: float = 60.0
    event_ttl_seconds: int = 3600
    list_snapshot_seconds: float = 300.0  # how long a continue token stays good
    service_account_token_max_seconds: int = 365 * 24 * 3600
