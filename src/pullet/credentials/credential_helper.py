"""Docker credential helpers: programs that keep logins (`docker-credential-<name> get`).

The kubelet does not read them; Docker and Podman do, so a node's own config file that uses them works here too.
Source: docker-credential-helpers, the protocol of `get`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from pullet.base.decodable import decodable
from pullet.base.redact import Secret
from pullet.credentials.docker_config import DockerConfigEntry
from pullet.kit.process import CommandMissingError, CommandTimeoutError, run_command

log = logging.getLogger(__name__)

TOKEN_USERNAME = "<token>"  # noqa: S105 - the marker that the secret is an identity token
_TIMEOUT_SECONDS = 60.0


class _HelperAnswer(msgspec.Struct, frozen=True):
    username: str = msgspec.field(default="", name="Username")
    secret: str = msgspec.field(default="", name="Secret")


async def fetch_from_helper(
    helper: str, server: str, *, environment: Mapping[str, str] | None = None
) -> DockerConfigEntry | None:
    """The login that helper `helper` keeps for `server`, or None. Failures are logged and give None."""
    command = f"docker-credential-{helper}"
    if "/" in helper or not helper:
        log.warning("credential helper has no usable name", extra={"helper": helper})
        return None
    try:
        result = await run_command(
            [command, "get"], stdin=server.encode(), environment=environment, timeout_seconds=_TIMEOUT_SECONDS
        )
    except (CommandMissingError, CommandTimeoutError) as error:
        log.warning("credential helper failed", extra={"helper": command, "server": server, "error": str(error)})
        return None
    if result.exit_code != 0:
        # "credentials not found in native keychain" is the ordinary no; output is not logged: it may hold secrets
        log.debug("credential helper has no login", extra={"helper": command, "server": server})
        return None
    try:
        answer = msgspec.json.decode(result.stdout, type=decodable(_HelperAnswer))
    except (msgspec.DecodeError, UnicodeDecodeError):
        log.warning("credential helper answered with something else than JSON", extra={"helper": command})
        return None
    if answer.username == TOKEN_USERNAME:
        return DockerConfigEntry(identity_token=Secret(answer.secret))
    return DockerConfigEntry(answer.username, Secret(answer.secret))
