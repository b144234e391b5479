"""From a kubeconfig to an HTTP client: TLS, credentials and connection limits, by way of lightkube.

Only lightkube's configuration and transport are used: its typed resources would decode every object into classes,
while this project keeps API objects as raw JSON so that unknown fields survive.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import yaml
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from pullet.base.errors import UsageError

MAX_CONNECTIONS = 512  # a watch holds its connection: one per reflector, and the calls beside them
_TIMEOUT_SECONDS = 30.0


@dataclass
class _ConnectionParams(ConnectionParams):
    """lightkube's parameters plus the pool limits that it leaves at 100 connections."""

    limits: httpx2.Limits = field(
        default_factory=lambda: httpx2.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=16, keepalive_expiry=60.0
        )
    )


def load_kubeconfig(path: Path, context: str | None = None) -> SingleConfig:
    """Read a kubeconfig file and select `context`, or its current one. Blocking.

    Raises:
        UsageError: the file is absent or not a usable kubeconfig; the text names it.
    """
    try:
        config = KubeConfig.from_file(path).get(context)
    except (ConfigError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is not a usable kubeconfig: {error}") from error
    if config is None:
        raise UsageError(f"{path} has no current context")
    return config


def open_http(config: SingleConfig, *, user_agent: str) -> httpx2.AsyncClient:
    """An HTTP client for the cluster of `config`. Blocking: reads certificates; no request is made yet."""
    # One line per request at level info is this library's idea of logging; ours is debug for requests.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    params = _ConnectionParams(timeout=httpx2.Timeout(_TIMEOUT_SECONDS), trust_env=False)
    http: httpx2.AsyncClient = AsyncClient(config, params)
    http.headers["User-Agent"] = user_agent
    http.headers["Accept"] = "application/json"
    http.headers["Accept-Encoding"] = "identity"  # same machine or same rack: compressing costs more than it saves
    return http
