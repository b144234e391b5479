"""Whether a command is there, looked up before the OCI runtime is called, with the errors of runc's own look-up.

The runtime tells a missing command on the standard error of the process it could not start, where a user would take it
for the command's own words. Source: Go os/exec.LookPath, as runc's libcontainer uses it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

from pullet.store.safe_paths import open_in_root

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES})


def missing_executable(directory: Path, command: str) -> str:
    """Why `command` cannot be run in the container of this directory; empty when it can, or only the runtime can say.

    Blocking. Sees the container's own mounts, so the container must be running.
    """
    try:
        process = json.loads((directory / "config.json").read_bytes())["process"]
        root = os.open(f"/proc/{int((directory / 'init.pid').read_text())}/root", os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""  # it has just ended
    try:
        return _look_up(root, command, working_directory=process["cwd"], search_path=_search_path(process["env"]))
    except OSError:
        return ""
    finally:
        os.close(root)


def _look_up(root: int, command: str, *, working_directory: str, search_path: str) -> str:
    if "/" in command:
        problem = _problem(root, os.path.join(working_directory, command))
        if problem in (errno.ENOENT, errno.ENOTDIR):
            return f'exec: "{command}": stat {command}: {os.strerror(problem).lower()}'
        return f'exec: "{command}": {os.strerror(problem).lower()}' if problem else ""
    for directory in search_path.split(":"):
        if not _problem(root, os.path.join(working_directory, directory, command)):
            return ""
    return f'exec: "{command}": executable file not found in $PATH'


def _problem(root: int, path: str) -> int:
    """Why this file cannot be run, as an errno; 0: it can."""
    try:
        descriptor = open_in_root(root, os.fsencode(path), os.O_PATH)
    except OSError as error:
        if error.errno in _ABSENT:
            return error.errno or errno.ENOENT
        raise
    try:
        mode = os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    return 0 if mode & 0o111 else errno.EACCES


def _search_path(environment: list[str]) -> str:
    values = [item.partition("=")[2] for item in environment if item.startswith("PATH=")]
    return values[-1] if values else ""
