"""Warnings of an answer as HTTP headers, which must not grow with what a client sends.

Source: apiserver pkg/endpoints/filters/warning.go (what is shortened and what left out).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pullet.apiserver.routing import RequestInfo
from pullet.kube import scheme

_MAX_ALL = 4096  # characters
_MAX_ONE = 256  # characters, once they are too many together
_MAX_HEADERS = 90  # Python's http.client reads no answer with more than a hundred headers of all kinds
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_DEPRECATED = {
    scheme.ENDPOINTS: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}


def deprecations(info: RequestInfo) -> list[str]:
    """What a request is warned of for the kind it asks for alone."""
    text = _DEPRECATED.get(info.resource)
    return [text] if text else []


def warning_headers(texts: Iterable[str]) -> list[str]:
    """The values of the Warning headers: each text once, in order, within the limits."""
    unique = list(dict.fromkeys(texts))
    if sum(map(len, unique)) > _MAX_ALL:
        unique = _shortened(unique)
    return [_header(text) for text in unique[:_MAX_HEADERS]]


def _shortened(texts: Iterable[str]) -> list[str]:
    kept: list[str] = []
    length = 0
    for text in texts:
        if length >= _MAX_ALL:
            break
        kept.append(text[:_MAX_ONE])
        length += len(kept[-1])
    return kept


def _header(text: str) -> str:
    """UTF-8 as Go sends it, in the latin-1 that headers are kept in here."""
    escaped = _CONTROL.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'.encode(errors="replace").decode("latin-1")
