"""Overlays of many layers and of odd names, by the mount calls of new kernels and by those of old ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pullet.store.errors import MountError
from pullet.store.mounts import MNT_DETACH, mounts_below, unmount
from pullet.store.overlay_mount import mount_by_one_string, mount_overlay, mount_singly, overlay_takes_layers_singly

pytestmark = pytest.mark.root

Mount = Callable[[Path, Sequence[Path], Path | None], None]


def singly(target: Path, lower: Sequence[Path], writable: Path | None) -> None:
    if not overlay_takes_layers_singly():
        with pytest.raises(OSError, match="Invalid argument"):
            mount_singly(target, [("lowerdir+", path) for path in lower], [])
        mount_overlay(target, lower, upper=writable and writable / "upper", work=writable and writable / "work")
        return
    pairs = [] if writable is None else [("upperdir", writable / "upper"), ("workdir", writable / "work")]
    mount_singly(target, [*(("lowerdir+", path) for path in lower), *pairs], [])


def by_one_string(target: Path, lower: Sequence[Path], writable: Path | None) -> None:
    pairs = [] if writable is None else [("upperdir", writable / "upper"), ("workdir", writable / "work")]
    mount_by_one_string(target, lower, pairs, [])


@pytest.fixture(params=[singly, by_one_string], ids=["singly", "by one string"])
def mounted_by(request: pytest.FixtureRequest) -> Mount:
    chosen: Mount = request.param
    return chosen


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    yield tmp_path
    for entry in mounts_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


def layers(place: Path, count: int, name: str) -> list[Path]:
    """Topmost first; each has a file of its own and its number in `top`."""
    made = []
    for number in range(count):
        layer = place / f"{name}{number:03}"
        layer.mkdir()
        (layer / f"file{number}").touch()
        (layer / "top").write_text(str(number))
        made.append(layer)
    return made


@pytest.mark.parametrize(
    "name", ["layer", "with:colon", "with,comma", "with\\backslash", "blank and é"], ids=lambda name: name.split("1")[0]
)
def test_the_topmost_wins_whatever_the_names(place: Path, mounted_by: Mount, name: str) -> None:
    lower = layers(place, 3, name)
    mounted_by(place / "root", lower, place)
    assert (place / "root" / "top").read_text() == "0"
    assert {f"file{number}" for number in range(3)} <= set(os.listdir(place / "root"))
    (place / "root" / "new").write_text("written")
    assert (place / "upper" / "new").read_text() == "written"


def test_a_hundred_and_fifty_layers(place: Path, mounted_by: Mount) -> None:
    mounted_by(place / "root", layers(place, 150, "x" * 64), None)
    assert (place / "root" / "top").read_text() == "0"
    assert len(os.listdir(place / "root")) == 151
    with pytest.raises(OSError, match="Read-only file system"):
        (place / "root" / "new").touch()


def test_more_than_an_old_kernel_takes(place: Path) -> None:
    with pytest.raises(OSError, match="400 layers are more than this kernel takes"):
        mount_by_one_string(place / "root", layers(place, 400, "layer"), [], [])
    assert not mounts_below(place)


def test_a_refusal_names_the_target(place: Path) -> None:
    with pytest.raises(MountError, match=f"cannot mount overlay of 2 layers at {place}/root"):
        mount_overlay(place / "root", [place / "nosuch", place / "upper"])
