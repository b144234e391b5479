"""CRI values of the image service. Source: cri-api pkg/apis/runtime/v1/api.proto; only the fields that pullet acts on.

Apart from the others so that a command that only pulls need not build those: it costs as much as the pull's requests.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pullet.base.redact import Secret
from pullet.base.values import Value

NO_SECRET = Secret("")


class ImageSpec(Value):
    """What to pull or look up: `image` is a reference with tag or digest, or an image id."""

    image: str
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    runtime_handler: str = ""
    user_specified_image: str = ""


class AuthConfig(Value):
    """One credential, for one pull. All empty is anonymous and better said as None."""

    username: str = ""
    password: Secret = NO_SECRET
    auth: Secret = NO_SECRET
    server_address: str = ""
    identity_token: Secret = NO_SECRET
    registry_token: Secret = NO_SECRET


class Image(Value):
    """An image in the runtime. `id` is the config digest; `size_bytes` sums compressed config and layers."""

    id: str
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size_bytes: int = 0
    uid: int | None = None
    username: str = ""
    is_pinned: bool = False


class FilesystemUsage(Value):
    """Space used by images below `mountpoint`."""

    mountpoint: str
    used_bytes: int
    inodes_used: int
    timestamp: int
