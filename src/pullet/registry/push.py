"""Pushing an image that is whole in memory: what a demonstration or a test puts into a registry."""

from __future__ import annotations

import base64
import http.client
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from pullet.oci import mediatype
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage
from pullet.registry.errors import UnexpectedStatusError

TIMEOUT_SECONDS = 30


def push_image(
    registry: str, repository: str, tag: str, image: BuiltImage, *, user: tuple[str, str] | None = None
) -> Digest:
    """Push to the registry at the URL `registry` (plain http), with Basic if `user` is given. Blocking.

    As docker does: blobs that are missing, then manifests, then the tag. Gives the digest that the tag stands for.

    Raises:
        UnexpectedStatusError: any answer but the one the protocol wants.
        OSError, http.client.HTTPException: no answer.
    """
    host = urlsplit(registry).netloc
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)
    login = {} if user is None else {"Authorization": f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"}

    def ask(
        method: str, path: str, *wanted: HTTPStatus, body: bytes = b"", media_type: str = mediatype.OCTET_STREAM
    ) -> http.client.HTTPResponse:
        connection.request(method, path, body, {**login, "Content-Type": media_type})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status not in wanted:
            raise UnexpectedStatusError(
                host=host,
                method=method,
                url=f"{registry}{path}",
                status=answer.status,
                body=said.decode(errors="replace"),
            )
        return answer

    try:
        for digest, blob in image.blobs.items():
            there = ask("HEAD", f"/v2/{repository}/blobs/{digest}", HTTPStatus.OK, HTTPStatus.NOT_FOUND)
            if there.status == HTTPStatus.OK:
                continue
            begun = ask("POST", f"/v2/{repository}/blobs/uploads/", HTTPStatus.ACCEPTED)
            upload = urlsplit(begun.getheader("Location") or "")
            query = f"{upload.query}&" if upload.query else ""
            ask("PUT", f"{upload.path}?{query}digest={quote(str(digest))}", HTTPStatus.CREATED, body=blob)
        manifests = {str(digest): manifest for digest, manifest in image.manifests.items()}
        for reference, (media_type, raw) in {**manifests, tag: (image.descriptor.media_type, image.raw)}.items():
            path = f"/v2/{repository}/manifests/{reference}"
            ask("PUT", path, HTTPStatus.CREATED, body=raw, media_type=media_type)
    finally:
        connection.close()
    return image.descriptor.digest
