"""Where a node's own Docker config files may lie. Imports nothing, so that whoever has none pays nothing."""

from __future__ import annotations

from pathlib import Path

from pullet.base.values import Value

CONFIG_JSON = "config.json"
DOCKERCFG = ".dockercfg"


class NodeConfigPaths(Value):
    """Where the node's own config files are looked for, in order."""

    config_json_dirs: tuple[Path, ...] = ()
    dockercfg_dirs: tuple[Path, ...] = ()

    @classmethod
    def as_kubelet(cls, *, root: Path, working_directory: Path, home: Path) -> NodeConfigPaths:
        """The kubelet's places: its root, the working directory, the home, and the top of the file system."""
        top = Path("/")
        return cls(
            config_json_dirs=(root, working_directory, home / ".docker", top / ".docker"),
            dockercfg_dirs=(root, working_directory, home, top),
        )

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells one state of the files from another: inode, size and time of change of each. Blocking."""
        files = [
            *(directory / CONFIG_JSON for directory in self.config_json_dirs),
            *(directory / DOCKERCFG for directory in self.dockercfg_dirs),
        ]
        return tuple(map(_stamp, files))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
