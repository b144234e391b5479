from __future__ import annotations

import os
from pathlib import Path

import pytest

from pullet.ociruntime.errors import ProcessUserError
from pullet.ociruntime.process_user import ProcessUser, open_in_rootfs, resolve_user


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nalice:x:10:20::/home/alice:/bin/sh\nbob:x:x:1::/:\n"
    )
    (root / "etc/group").write_text("root:x:0:\nalice:x:20:\nstaff:x:50:alice,root\nwheel:x:10:bob\n")
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ProcessUser(0, 0, (0, 50), "/root")),
        ("0", ProcessUser(0, 0, (0, 50), "/root")),
        ("alice", ProcessUser(10, 20, (20, 50), "/home/alice")),
        ("10", ProcessUser(10, 20, (20, 50), "/home/alice")),
        ("10:7", ProcessUser(10, 7, (7,), "/home/alice")),
        ("alice:wheel", ProcessUser(10, 10, (10,), "/home/alice")),
        ("12345", ProcessUser(12345, 0, (0,), "/")),
        ("12345:6", ProcessUser(12345, 6, (6,), "/")),
    ],
)
def test_users_as_an_image_writes_them(rootfs: Path, text: str, expected: ProcessUser) -> None:
    assert resolve_user(rootfs, text) == expected


def test_the_pod_adds_groups_and_replaces_the_primary_one(rootfs: Path) -> None:
    user = resolve_user(rootfs, "alice", gid=99, supplemental_groups=(50, 60))
    assert (user.gid, user.additional_gids) == (99, (99, 50, 60))
    strict = resolve_user(rootfs, "alice", supplemental_groups=(60,), ignores_memberships=True)
    assert strict.additional_gids == (20, 60)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("carol", "unable to find user carol: no matching entries in passwd file"),
        ("bob", "unable to find user bob: no matching entries in passwd file"),
        ("alice:none", "unable to find group none: no matching entries in group file"),
        ("4294967296", "uids and gids must be in range 0-2147483647, not 4294967296"),
    ],
)
def test_what_cannot_be_found_is_named(rootfs: Path, text: str, message: str) -> None:
    with pytest.raises(ProcessUserError) as caught:
        resolve_user(rootfs, text)
    assert str(caught.value) == message


def test_an_image_without_files_knows_numbers(tmp_path: Path) -> None:
    assert resolve_user(tmp_path, "") == ProcessUser(0, 0, (0,), "/")
    assert resolve_user(tmp_path, "5:6") == ProcessUser(5, 6, (6,), "/")


def read(rootfs: Path, name: str) -> bytes:
    with os.fdopen(open_in_rootfs(rootfs, name), "rb") as file:
        return file.read()


def test_links_lead_where_the_container_would_see_them(rootfs: Path) -> None:
    outside = rootfs.parent / "secret"
    outside.write_text("outside")
    (rootfs / "secret").write_text("inside")
    (rootfs / "etc/absolute").symlink_to("/secret")
    (rootfs / "etc/climbing").symlink_to("../../../../secret")
    (rootfs / "etc/deep").symlink_to("absolute")
    (rootfs / "link-to-etc").symlink_to("/etc")
    for name in ("etc/absolute", "etc/climbing", "etc/deep", "link-to-etc/absolute", "../../secret"):
        assert read(rootfs, name) == b"inside"


def test_links_in_a_circle_end(rootfs: Path) -> None:
    (rootfs / "etc/a").symlink_to("b")
    (rootfs / "etc/b").symlink_to("a")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="too many symbolic links"):
        open_in_rootfs(rootfs, "etc/a")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fifo_in_place_of_passwd_holds_nobody_up(rootfs: Path) -> None:
    (rootfs / "etc/passwd").unlink()
    os.mkfifo(rootfs / "etc/passwd")
    assert resolve_user(rootfs, "3") == ProcessUser(3, 0, (0,), "/")
