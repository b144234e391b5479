"""Image references: grammar, Docker normalisation, and the kubelet's readings of them.

Grammar: [domain "/"] path [":" tag] ["@" digest]; the whole text must match.
Source: distribution/reference reference.go, regexp.go, normalize.go; kubernetes pkg/util/parsers/parsers.go,
pkg/kubelet/images/image_manager.go (applyDefaultImageTag), pkg/kubelet/images/pullmanager/image_pull_policies.go.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from pullet.base.errors import PulletError
from pullet.base.quote import go_quote
from pullet.base.values import Value
from pullet.oci.digest import Digest, DigestInvalidError

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
MAX_PATH_LENGTH: Final = 255

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL: Final = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_PATH: Final = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST: Final = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}"
_NAME: Final = re.compile(rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH})")
_REFERENCE: Final = re.compile(rf"(?P<name>(?:{_DOMAIN}/)?{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_IDENTIFIER: Final = re.compile(r"[a-f0-9]{64}")


class ReferenceInvalidError(PulletError):
    """The text is no image reference; the message is exactly that of distribution/reference."""

    reason: ClassVar[str] = "InvalidImageName"

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class Reference(Value):
    """A parsed reference. `domain` is empty only after a strict parse of a name without one."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.repository}{tag}{digest}"

    @property
    def repository(self) -> str:
        """Domain and path, without tag and digest: `docker.io/library/nginx`."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def identifier(self) -> str:
        """What to ask a registry for: the digest if there is one, else the tag, else `latest`."""
        return self.digest or self.tag or DEFAULT_TAG

    def familiar(self) -> str:
        """The short form people write: `nginx:1.17.1` for docker.io/library/nginx:1.17.1."""
        name = self.repository
        if self.domain == DEFAULT_DOMAIN:
            rest = self.path.removeprefix("library/")
            name = self.path if "/" in rest else rest
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{name}{tag}{digest}"

    def with_default_tag(self) -> Reference:
        """The same with tag `latest` if it has neither tag nor digest."""
        if self.tag is None and self.digest is None:
            return Reference(self.domain, self.path, DEFAULT_TAG)
        return self


def parse_strict(text: str) -> Reference:
    """Parse by the grammar alone: no default domain, no `library/`.

    Raises:
        ReferenceInvalidError: with the texts of distribution/reference and go-digest.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        if not text:
            raise ReferenceInvalidError("repository name must have at least one component", text=text)
        if _REFERENCE.fullmatch(text.lower()):
            raise ReferenceInvalidError("repository name must be lowercase", text=text)
        raise ReferenceInvalidError("invalid reference format", text=text)
    name = _NAME.fullmatch(match["name"])
    assert name is not None  # the same grammar matched it above
    if len(name["path"]) > MAX_PATH_LENGTH:
        raise ReferenceInvalidError(f"repository name must not be more than {MAX_PATH_LENGTH} characters", text=text)
    digest: Digest | None = None
    if match["digest"] is not None:
        try:
            digest = Digest(match["digest"])
        except DigestInvalidError as error:
            raise ReferenceInvalidError(str(error), text=text) from error
    return Reference(name["domain"] or "", name["path"], match["tag"], digest)


def parse_normalized(text: str) -> Reference:
    """Parse as Docker and the kubelet read it: `nginx` is docker.io/library/nginx.

    Raises:
        ReferenceInvalidError: with the texts of distribution/reference.
    """
    if _IDENTIFIER.fullmatch(text):
        raise ReferenceInvalidError(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings", text=text
        )
    domain, rest = _split_domain(text)
    name = rest.partition(":")[0]
    if name.lower() != name:
        raise ReferenceInvalidError(f"invalid reference format: repository name ({name}) must be lowercase", text=text)
    return parse_strict(f"{domain}/{rest}")


def is_short_name(text: str) -> bool:
    """Whether an image is written without its registry: `nginx`, `team/app:1`."""
    first, slash, _ = text.partition("/")
    return not slash or not (first == "localhost" or "." in first or ":" in first or first.lower() != first)


def _split_domain(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("/")
    domain, rest = (DEFAULT_DOMAIN, text) if is_short_name(text) else (first, rest)
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = f"library/{rest}"
    return domain, rest


def parse_image_name(image: str) -> tuple[str, str, str]:
    """(repository, tag, digest) as the kubelet reads an image; tag `latest` if neither is given, "" where absent.

    Raises:
        ReferenceInvalidError: `couldn't parse image name "...": ...`.
    """
    try:
        reference = parse_normalized(image)
    except ReferenceInvalidError as error:
        raise ReferenceInvalidError(f"couldn't parse image name {go_quote(image)}: {error}", text=image) from error
    reference = reference.with_default_tag()
    return reference.repository, reference.tag or "", reference.digest or ""


def apply_default_tag(image: str) -> str:
    """The string that goes to the runtime: `busybox` → `busybox:latest`; the short name is not expanded.

    Raises:
        ReferenceInvalidError: as parse_image_name.
    """
    _, tag, digest = parse_image_name(image)
    if not digest and tag and not image.endswith(f":{tag}"):
        return f"{image}:{tag}"
    return image


def trim_tag_and_digest(image: str) -> str:
    """The repository in the user's own spelling: `ubuntu:22.04` → `ubuntu`. Key of the kubelet's pull records.

    Raises:
        ReferenceInvalidError: with the text of the strict parse.
    """
    return parse_strict(image).repository
