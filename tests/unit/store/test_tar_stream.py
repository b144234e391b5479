"""The walk gives the same members however the tar is cut into pieces, and knows what it cannot read."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.oci.layer_entry import LayerEntryError
from pullet.store import tar_scan, tar_stream
from pullet.store.settings import UnpackLimits
from pullet.store.tar_header import TarFormatError, parse_number, parse_pax, pax_time
from pullet.store.tar_stream import TarMember, TarWalker
from pullet.testing.layer_tars import LayerTar


class Recorder:
    def __init__(self) -> None:
        self.members: list[TarMember] = []

    def add_file(self, path: bytes, mode: int, uid: int, gid: int, mtime: int, size: int, offset: int) -> None:
        self.add(
            TarMember(
                type=tar_stream.REGULAR,
                path=path,
                mode=mode,
                uid=uid,
                gid=gid,
                mtime=mtime,
                nanoseconds=0,
                size=size,
                offset=offset,
                stored_bytes=size,
            )
        )

    def add_files(self, above: bytes, names: list[bytes], inodes: memoryview) -> None:
        for file in tar_scan.files_of(above, names, inodes):
            self.add_file(*file)

    def next_number(self) -> int:
        return 1

    def add(self, member: TarMember) -> None:
        offset = member.offset if member.size else 0  # where nothing lies is nobody's concern
        self.members.append(msgspec.structs.replace(member, offset=offset))


def walk(
    data: bytes, size: int = 1 << 20, limits: UnpackLimits | None = None, *, compiled: bool = True
) -> list[TarMember]:
    recorder = Recorder()
    walker = TarWalker(recorder, limits or UnpackLimits(), compiled=compiled)
    for at in range(0, len(data), size):
        walker.feed(memoryview(bytearray(data[at : at + size])))
    walker.finish()
    return recorder.members


NAME = st.text(st.characters(blacklist_characters="\0/", codec="utf-8"), min_size=1, max_size=60).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) <= 255
)


@given(
    entries=st.lists(
        st.tuples(
            st.lists(NAME, min_size=1, max_size=5).map("/".join),
            st.binary(max_size=1500),
            st.integers(0, 0o7777),
            st.integers(0, (1 << 32) - 1),
            st.integers(0, 1 << 36),
        ),
        max_size=8,
    ),
    size=st.integers(1, 3000),
    tar_format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_members_of_any_tar_in_any_pieces(
    entries: list[tuple[str, bytes, int, int, int]], size: int, tar_format: int
) -> None:
    layer = LayerTar(tar_format)
    for name, content, mode, owner, mtime in entries:
        layer.file(name, content, mode=mode, owner=(owner, owner), mtime=mtime)
    data = layer.bytes()
    members = walk(data, size)
    assert [(m.path, m.mode, m.uid, m.gid, m.mtime, m.size) for m in members] == [
        (name.encode(), mode, owner, owner, mtime, len(content)) for name, content, mode, owner, mtime in entries
    ]
    assert [data[m.offset : m.offset + m.size] for m in members] == [content for _, content, _, _, _ in entries]


@given(data=st.binary(min_size=512, max_size=4000), position=st.integers(0, 3000), size=st.integers(1, 600))
def test_noise_is_refused_or_read_never_worse(data: bytes, position: int, size: int) -> None:
    tar = bytearray(LayerTar().file("a/b", b"x" * 700).link("l", "a").directory("d", xattrs={"user.x": b"1"}).bytes())
    tar[position : position + len(data)] = data
    with suppress(TarFormatError, LayerEntryError):
        walk(bytes(tar), size)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("../x", "out of the root"), ("a/../../x", "out of the root"), ("a/" + "n" * 256, "longer than 255"),
     ("/".join(["d" * 200] * 30), "longer than 4095")],
)  # fmt: skip
def test_names_that_are_refused(name: str, rule: str) -> None:
    with pytest.raises(LayerEntryError, match=rule):
        walk(LayerTar().file(name).bytes())
    with pytest.raises(LayerEntryError, match=rule):
        walk(LayerTar().link("x", name, is_hard=True).bytes())


def test_limits() -> None:
    limits = msgspec.structs.replace(UnpackLimits(), max_entries=3, max_metadata_bytes=4096, device_nodes_allowed=False)
    files = LayerTar()
    for number in range(4):
        files.file(f"{number}")
    with pytest.raises(LayerEntryError, match="more than 3 entries"):
        walk(files.bytes(), limits=limits)
    with pytest.raises(LayerEntryError, match="metadata record of"):
        walk(LayerTar().file("f", xattrs={"user.big": b"x" * 5000}).bytes(), limits=limits)
    with pytest.raises(LayerEntryError, match="device nodes"):
        walk(LayerTar().node("n", tarfile.CHRTYPE, device=(1, 3)).bytes(), limits=limits)


def test_tars_that_end_early() -> None:
    data = LayerTar().file("f", b"x" * 2000).bytes()
    for cut in (100, 512, 700, 2000, 2511):
        with pytest.raises(TarFormatError):
            walk(data[:cut])
    assert len(walk(data[:2560])) == 1  # no end blocks: fine, as with GNU tar
    assert len(walk(data[:2512])) == 1  # the last data lacks its padding: fine, as with Go's archive/tar


def test_absolute_names_and_dots_lie_below_the_root() -> None:
    members = walk(LayerTar().file("/etc/x").file("./a/./b").file("c/../d").directory("./").bytes())
    assert [member.path for member in members] == [b"etc/x", b"a/b", b"d", b""]


LONG = st.lists(st.text("ab.-é", min_size=1, max_size=40), min_size=1, max_size=6).map("/".join)


@given(
    entries=st.lists(
        st.tuples(
            st.tuples(st.sampled_from(["", "./", "/", "a/../"]), LONG, st.sampled_from(["", "/"])).map("".join),
            st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.AREGTYPE]),
            st.integers(0, 0o7777),
            st.integers(0, 0o7777777),
            st.integers(0, 1 << 33),
        ),
        max_size=6,
    ),
    tar_format=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]),
)
def test_the_short_way_reads_what_the_long_way_reads(
    entries: list[tuple[str, bytes, int, int, int]], tar_format: Literal[0, 1]
) -> None:
    packed = []
    for name, kind, mode, owner, mtime in entries:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, owner, owner // 2, mtime
        with suppress(ValueError):  # a name or time that the format cannot hold
            packed.append(info.tobuf(tar_format))
    note = tarfile.TarInfo.create_pax_global_header({"comment": "sends every header the long way"})
    short = outcome(b"".join(packed), compiled=False)
    assert short == outcome(note + b"".join(packed), compiled=False, shift=len(note))
    assert short == outcome(b"".join(packed), compiled=True)


@given(
    damage=st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from(
                [0, 90, 100, 107, 108, 116, 124, 135, 136, 147, 148, 156, 157, 166, 256, 257, 262, 345, 499]
            ),
            st.one_of(st.sampled_from(b"\0| |./|7|8|/|\x80|.wh.|..|5|2|1".split(b"|")),
                      st.binary(min_size=1, max_size=14)),
        ),
        max_size=4,
    ),
    mend=st.booleans(),
    size=st.sampled_from([512, 700, 1 << 20]),
)  # fmt: skip
def test_the_compiled_scanner_reads_what_python_reads(
    damage: list[tuple[int, int, bytes]], mend: bool, size: int
) -> None:
    """Headers as no program writes them: the members are the same, or the refusal is."""
    files = LayerTar().directory("d").file("d/" + "n" * 98, b"x").file("d/e", b"").file("f", b"y")
    tar = bytearray(files.link("d/l", "../target").bytes())
    headers = [0, 512, 1536, 2048, 3072]
    for number, at, new in damage:
        tar[headers[number] + at : headers[number] + at + len(new)] = new
    for at in headers if mend else ():
        tar[at + 148 : at + 156] = b" " * 8
        tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + 512])
    assert outcome(bytes(tar), compiled=True, size=size) == outcome(bytes(tar), compiled=False, size=size)


def outcome(data: bytes, *, compiled: bool, shift: int = 0, size: int = 1 << 20) -> list[TarMember] | str:
    """The members with offsets as if the tar began at `shift`, or why it is refused."""
    try:
        members = walk(data + bytes(1024), size, compiled=compiled)
    except (LayerEntryError, TarFormatError) as error:
        return str(error)
    return [msgspec.structs.replace(member, offset=member.offset - shift if member.size else 0) for member in members]


def test_times_in_gnu_headers_are_no_prefix() -> None:
    header = bytearray(tarfile.TarInfo("name").tobuf(tarfile.GNU_FORMAT))
    header[345:357] = b"14000000000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert [member.path for member in walk(bytes(header) + bytes(1024))] == [b"name"]


def test_global_headers_apply_until_changed() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"uname": "x"}) as tar:
        tar.addfile(tarfile.TarInfo("f"))
    assert [member.path for member in walk(buffer.getvalue())] == [b"f"]


def test_numbers() -> None:
    assert parse_number(b"0000644\0") == 0o644
    assert parse_number(b"   644 \0") == 0o644
    assert parse_number(b"\x80" + b"\0" * 6 + b"\xff") == 255
    assert parse_number(b"\xff" * 8) == -1
    assert parse_number(b"\0" * 8) == 0
    for field in (b"9999999\0", b"-000001\0", b"0x00001\0", b"1_00000\0"):
        with pytest.raises(TarFormatError):
            parse_number(field)


def test_times() -> None:
    assert pax_time(b"1.5", b"") == (1, 500_000_000)
    assert pax_time(b"-1.25", b"") == (-2, 750_000_000)
    assert pax_time(b"7.1234567899", b"") == (7, 123_456_789)
    assert pax_time(b"1e-09", b"") == (0, 1)
    assert pax_time(b"-2.5e-05", b"") == (-1, 999_975_000)
    with pytest.raises(TarFormatError):
        pax_time(b"soon", b"")


@pytest.mark.parametrize("data", [b"12 a=b", b"x a=b\n", b"6 ab\n", b"99 a=b\n", b"2 \n"])
def test_malformed_extended_records(data: bytes) -> None:
    with pytest.raises(TarFormatError):
        parse_pax(data)
