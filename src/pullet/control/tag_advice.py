"""What to say beside a missing tag: the nearest ones there are.

Asked only when somebody reads about the failure, never by the pull itself, so that a node's pulls make no request that
another node's would not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from pullet.cri.errors import CriError
from pullet.cri.extensions import TagSuggestions
from pullet.cri.image_types import AuthConfig, ImageSpec
from pullet.cri.services import ImageService
from pullet.oci.reference import ReferenceInvalidError, parse_normalized

MAX_CREDENTIALS: Final = 3  # that are shown to the registry for the sake of advice

PodCredentials: TypeAlias = Callable[[str, str], Awaitable[Sequence[AuthConfig]]]  # of (pod uid, repository)


async def nearest_tags_sentence(
    images: ImageService, image: str, failure: str, credentials: Sequence[AuthConfig]
) -> str:
    """A sentence for the advice; "" when `failure` is not about a missing tag or nothing near is there.

    The first of `credentials` that is shown any tags decides; none: the registry is asked anonymously, as a pull would.
    """
    if not isinstance(images, TagSuggestions) or not _is_missing_tag(image, failure):
        return ""
    for auth in credentials[:MAX_CREDENTIALS] or (None,):
        if tags := await images.nearest_tags(ImageSpec(image), auth):
            return f"the nearest tags there are {', '.join(tags)}"
    return ""


async def with_nearest_tags(
    error: CriError, images: ImageService, image: str, credentials: Sequence[AuthConfig]
) -> CriError:
    """The same error, its next step naming the nearest tags where it is about a missing one."""
    sentence = await nearest_tags_sentence(images, image, error.message, credentials)
    if not sentence:
        return error
    return type(error)(error.message, cause=error.cause, next_step=f"{error.next_step}; {sentence}")


async def add_nearest_tags(passes: list[dict[str, Any]], images: ImageService, credentials_of: PodCredentials) -> None:
    """Name the nearest tags in the next step of each container's newest pass; `passes` is newest first.

    The registry is asked with what the pass's pod would pull with now, so that a private repository is no riddle.
    """
    sentences: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str]] = set()
    for one in passes:
        key = one["container"], one["image"]
        if key in seen:
            continue
        seen.add(key)
        about = one["pod_uid"], one["image"]
        if about not in sentences and _is_missing_tag(one["image"], one["error"]):
            credentials = await credentials_of(one["pod_uid"], parse_normalized(one["image"]).repository)
            sentences[about] = await nearest_tags_sentence(images, one["image"], one["error"], credentials)
        if sentence := sentences.get(about):
            one["next_step"] = "; ".join(filter(None, (one["next_step"], sentence)))


def _is_missing_tag(image: str, failure: str) -> bool:
    try:
        reference = parse_normalized(image).with_default_tag()
    except ReferenceInvalidError:
        return False
    return reference.digest is None and f"{reference}: not found" in failure
