"""An image with its parts, for people."""

from __future__ import annotations

from collections import Counter

import msgspec

from pullet.cri.extensions import ImageDetails, LayerDetails
from pullet.oci.image_config import decode_image_config
from pullet.store.images import ImageRecord
from pullet.store.store import Store


def image_details(store: Store, image: ImageRecord) -> ImageDetails:
    """Layers with their sizes, and what of them other images use as well. Blocking."""
    raw = store.content.read(image.id)
    config = decode_image_config(raw).value
    users = Counter(diff_id for record in store.images.list() for diff_id in set(record.diff_ids))
    layers = []
    for layer in image.layers:
        kept = store.layers.get(layer.diff_id)
        size = kept.tar_bytes if kept is not None else 0
        layers.append(
            LayerDetails(
                digest=layer.digest,
                diff_id=layer.diff_id,
                media_type=layer.media_type,
                compressed_bytes=layer.size_bytes,
                uncompressed_bytes=size,
                shared_bytes=size if users[layer.diff_id] > 1 else 0,
            )
        )
    return ImageDetails(
        id=image.id,
        repo_tags=image.tags,
        repo_digests=image.digests,
        platform=str(config.platform),
        created=config.created or "",
        layers=tuple(layers),
        config=msgspec.json.decode(raw, type=dict[str, object]),
        is_pinned=image.is_pinned,
    )
