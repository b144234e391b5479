"""How patient the client is. Times in seconds."""

from __future__ import annotations

import msgspec

from pullet.base.values import Value

KIB = 1024
MIB = 1024 * KIB


class RetryLimits(Value, kw_only=True):
    """How often and how long one request is tried again at one endpoint."""

    tries: int = 3
    first_pause_seconds: float = 0.2
    max_pause_seconds: float = 5.0
    max_retry_after_seconds: float = 10.0  # a registry that wants more is asked again at the next pull


class DownloadLimits(Value, kw_only=True):
    """When a download gives an endpoint up. A resume that brought `progress_bytes` counts as none."""

    max_resumes: int = 5
    progress_bytes: int = 256 * KIB
    stall_window_seconds: float = 30.0  # of waiting for data, not of the reader's own work
    stall_min_bytes: int = 32 * KIB  # within one window


class RegistrySettings(Value, kw_only=True):
    """All of them."""

    read_timeout_seconds: float = 30.0  # without a single byte
    retry: RetryLimits = msgspec.field(default_factory=RetryLimits)
    download: DownloadLimits = msgspec.field(default_factory=DownloadLimits)
    connections_per_host: int = 8  # in use at once
    connections_in_all: int = 32
    unhealthy_seconds: float = 15.0  # an endpoint that did not answer is asked last for that long
    max_unhealthy_seconds: float = 300.0  # however long its Retry-After is
    max_manifest_bytes: int = 8 * MIB
    document_timeout_seconds: float = 60.0  # for the whole body of a manifest or config
