"""Who a process is: numbers for the names that an image config or a pod gives, from the image's own files.

`/etc/passwd` and `/etc/group` are opened inside the rootfs: a symbolic link of the image never leads outside.
Source: image-spec v1.1 config.md, "User"; moby/sys user, GetExecUser, for the rules of numbers and names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pullet.base.values import Value
from pullet.ociruntime.errors import ProcessUserError

MAX_ID: Final = (1 << 31) - 1
MAX_FILE_BYTES: Final = 4 << 20
MAX_LINKS: Final = 40


class ProcessUser(Value):
    """uid, primary gid and all further gids; `home` for $HOME."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


class _Account(Value):
    name: str
    uid: int
    gid: int
    home: str


def resolve_user(
    rootfs: Path,
    user: str,
    *,
    gid: int | None = None,
    supplemental_groups: Sequence[int] = (),
    ignores_memberships: bool = False,
) -> ProcessUser:
    """Resolve `user` ("", "uid", "name", "uid:gid", "name:group" …) against the rootfs. Blocking.

    `gid` overrides the primary group; `ignores_memberships`: whatever /etc/group says of the user. A number that is in
    no passwd file is itself, with group 0.

    Raises:
        ProcessUserError: a name that the image does not know, or a number out of range.
    """
    user_part, _, group_part = user.partition(":")
    accounts = list(_accounts(rootfs))
    account = _find_account(accounts, user_part)
    primary = account.gid
    groups = list(_groups(rootfs))
    if group_part:
        primary = _find_group(groups, group_part)
    if gid is not None:
        primary = _checked(gid)
    member_of = [number for name, number, members in groups if account.name and account.name in members]
    if group_part or ignores_memberships:
        member_of = []  # an explicit group replaces the memberships, as in Docker
    additional = dict.fromkeys([primary, *member_of, *supplemental_groups])
    return ProcessUser(account.uid, primary, tuple(additional), account.home or "/")


def _find_account(accounts: Sequence[_Account], text: str) -> _Account:
    number = _number(text) if text else 0
    for account in accounts:
        if account.name == text or (number is not None and account.uid == number):
            return account
    if number is None:
        raise ProcessUserError(f"unable to find user {text}: no matching entries in passwd file")
    return _Account("", _checked(number), 0, "/")


def _find_group(groups: Sequence[tuple[str, int, tuple[str, ...]]], text: str) -> int:
    number = _number(text)
    for name, gid, _members in groups:
        if name == text:
            return gid
    if number is None:
        raise ProcessUserError(f"unable to find group {text}: no matching entries in group file")
    return _checked(number)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _checked(number: int) -> int:
    if not 0 <= number <= MAX_ID:
        raise ProcessUserError(f"uids and gids must be in range 0-{MAX_ID}, not {number}")
    return number


def _accounts(rootfs: Path) -> Iterator[_Account]:
    for fields in _records(rootfs, "etc/passwd"):
        if len(fields) >= 6 and (uid := _number(fields[2])) is not None and (gid := _number(fields[3])) is not None:
            yield _Account(fields[0], uid, gid, fields[5])


def _groups(rootfs: Path) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for fields in _records(rootfs, "etc/group"):
        if len(fields) >= 4 and (gid := _number(fields[2])) is not None:
            yield fields[0], gid, tuple(filter(None, fields[3].split(",")))


def _records(rootfs: Path, name: str) -> Iterator[list[str]]:
    try:
        descriptor = open_in_rootfs(rootfs, name)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield line.strip().split(":")


def open_in_rootfs(rootfs: Path, name: str) -> int:
    """Open a file of the rootfs for reading, following links as the container would see them; gives a descriptor.

    Raises:
        OSError: absent, or too many links.
    """
    pending = [part for part in name.split("/") if part]
    opened = [os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    links = 0
    try:
        while pending:
            part = pending.pop(0)
            if part in (".", ""):
                continue
            if part == "..":
                if len(opened) > 1:
                    os.close(opened.pop())
                continue
            child = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened[-1])
            opened.append(child)
            if stat.S_ISLNK(os.fstat(child).st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(f"too many symbolic links on the way to {name}")
                target = os.readlink("", dir_fd=child)
                os.close(opened.pop())
                if target.startswith("/"):
                    while len(opened) > 1:
                        os.close(opened.pop())
                pending = target.split("/") + pending
        # Through /proc, because an O_PATH descriptor cannot be read from; O_NONBLOCK against a FIFO of the image.
        return os.open(f"/proc/self/fd/{opened[-1]}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        for descriptor in opened:
            os.close(descriptor)
