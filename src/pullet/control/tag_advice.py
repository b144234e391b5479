"""What to say beside a missing tag: the nearest ones there are.

Asked only when somebody reads about the failure, never by the pull itself, so that a node's pulls make no request that
another node's would not.
"""

from __future__ import annotations

from typing import Any

from pullet.cri.errors import CriError
from pullet.cri.extensions import TagSuggestions
from pullet.cri.image_types import AuthConfig, ImageSpec
from pullet.cri.services import ImageService
from pullet.oci.reference import ReferenceInvalidError, parse_normalized


async def nearest_tags_sentence(images: ImageService, image: str, failure: str, auth: AuthConfig | None) -> str:
    """A sentence for the advice; "" when `failure` is not about a missing tag or nothing near is there."""
    if not isinstance(images, TagSuggestions) or not _is_missing_tag(image, failure):
        return ""
    tags = await images.nearest_tags(ImageSpec(image), auth)
    return f"the nearest tags there are {', '.join(tags)}" if tags else ""


async def with_nearest_tags(error: CriError, images: ImageService, image: str, auth: AuthConfig | None) -> CriError:
    """The same error, its next step naming the nearest tags where it is about a missing one."""
    sentence = await nearest_tags_sentence(images, image, error.message, auth)
    if not sentence:
        return error
    return type(error)(error.message, cause=error.cause, next_step=f"{error.next_step}; {sentence}")


async def add_nearest_tags(passes: list[dict[str, Any]], images: ImageService) -> None:
    """Name the nearest tags in the next step of each container's newest pass; `passes` is newest first."""
    sentences: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for one in passes:
        key = one["container"], one["image"]
        if key in seen:
            continue
        seen.add(key)
        if one["image"] not in sentences:
            sentences[one["image"]] = await nearest_tags_sentence(images, one["image"], one["error"], None)
        if sentence := sentences[one["image"]]:
            one["next_step"] = "; ".join(filter(None, (one["next_step"], sentence)))


def _is_missing_tag(image: str, failure: str) -> bool:
    try:
        reference = parse_normalized(image).with_default_tag()
    except ReferenceInvalidError:
        return False
    return reference.digest is None and f"{reference}: not found" in failure
