"""Short names of /etc/containers/registries.conf: what `centos` stands for on this machine.

Only the tables of aliases are read, as podman and CRI-O read them: registries.conf first, then registries.conf.d/*.conf
in the order of their names, a later alias over an earlier one, an empty one taking it back. Search lists
(`unqualified-search-registries`) are not: which registry answers first must not decide what runs.
Source: containers-registries.conf(5), "Short-Name Aliasing".
"""

from __future__ import annotations

import threading
import tomllib
from pathlib import Path
from typing import TypeAlias

import msgspec

from pullet.base.values import State
from pullet.oci.reference import Reference, ReferenceInvalidError, is_short_name, parse_normalized, parse_strict
from pullet.registry.errors import HostsConfigError

_Stamp: TypeAlias = tuple[tuple[str, int, int], ...]  # path, modification time, size


class ShortNames(State):
    """The aliases of one registries.conf (None: of none). Edits work without a restart. Thread-safe."""

    config_file: Path | None
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)
    _stamp: _Stamp = ()
    _aliases: dict[str, str] = msgspec.field(default_factory=dict)

    def expand(self, image: str) -> Reference:
        """`image` in full: by its alias if it is a short name that has one, else as Docker reads it. Blocking.

        Raises:
            ReferenceInvalidError: `image` does not parse.
            HostsConfigError: a file cannot be read or an alias is wrong; the text names both.
        """
        reference = parse_normalized(image)
        if self.config_file is None or not is_short_name(image):
            return reference
        alias = self._read(self.config_file).get(parse_strict(image).repository)
        if alias is None:
            return reference
        target = parse_strict(alias)
        return Reference(target.domain, target.path, reference.tag, reference.digest)

    def _read(self, file: Path) -> dict[str, str]:
        files = [file, *sorted(file.with_name(f"{file.name}.d").glob("*.conf"))]
        stamp = tuple((str(one), (stat := one.stat()).st_mtime_ns, stat.st_size) for one in files if one.is_file())
        with self._lock:
            if stamp != self._stamp:
                aliases: dict[str, str] = {}
                for path, _, _ in stamp:
                    aliases.update(_aliases_of(Path(path)))
                self._aliases, self._stamp = {name: full for name, full in aliases.items() if full}, stamp
            return self._aliases


def _aliases_of(file: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(file.read_text()).get("aliases", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HostsConfigError(f"{file}: {error}") from error
    if not isinstance(table, dict):
        raise HostsConfigError(f"{file}: `aliases` must be a table of short names and full names")
    for name, full in table.items():
        if not isinstance(full, str) or (full and not _is_full(full)):
            raise HostsConfigError(
                f"{file}: alias {name!r}: {full!r} is not a repository with its registry, such as quay.io/team/app"
            )
    return table


def _is_full(text: str) -> bool:
    try:
        reference = parse_strict(text)
    except ReferenceInvalidError:
        return False
    return not is_short_name(text) and reference.tag is None and reference.digest is None
