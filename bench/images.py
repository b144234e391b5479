"""The image set of the pull benchmark, as one OCI layout, the same bytes every time from the same sources.

    base      1 layer     a Debian minimal system                      gzip
    python    3 layers    base + wheels from PyPI + an application     gzip; python-v2: another last layer
    python-zstd           the same                                     zstd
    node      3 layers    base + tens of thousands of npm's files      gzip
    big       1 layer     1 GiB of text, binaries, noise and zeros     gzip
    many      40 layers   small, with overwrites and whiteouts         gzip

Sources come through apt (debootstrap), pip and npm into bench/.cache; what cannot be had, or everything with
`--synthetic`, is made from a seeded generator in the same shape (counts of files, sizes, how well they compress).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent / ".cache"
EPOCH = 1_700_000_000
LEFT_OUT = {"var/cache/apt", "var/lib/apt/lists", "var/log", "proc", "sys", "dev", "run", "tmp", "debootstrap"}
WHEELS = ("numpy==1.26.4", "scipy==1.13.1", "pandas==2.2.2", "pyarrow==16.1.0", "matplotlib==3.9.0", "django==5.0.6")
PACKAGES = {"react-scripts": "5.0.1", "typescript": "4.9.5", "lodash": "4.17.21", "aws-sdk": "2.1500.0"}
IMAGES = ("base", "python", "python-zstd", "node", "big", "many")
COMPRESSORS = {"gzip": ["gzip", "-6", "-n", "-c"], "zstd": ["zstd", "-3", "-q", "-c"]}


@dataclass(frozen=True)
class Layer:
    """One layer in the layout."""

    digest: str
    size: int
    diff_id: str
    media_type: str


class Layout:
    """An OCI layout being written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def put_layer(self, tar: Path, compression: str) -> Layer:
        with tar.open("rb") as file:
            diff_id = hashlib.file_digest(file, "sha256").hexdigest()
        packed = self.root / "packing"
        with packed.open("wb") as out:
            subprocess.run([*COMPRESSORS[compression], tar], stdout=out, check=True)
        with packed.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = packed.stat().st_size
        packed.rename(self.blobs / digest)
        media_type = f"application/vnd.oci.image.layer.v1.tar+{compression}"
        return Layer(f"sha256:{digest}", size, f"sha256:{diff_id}", media_type)

    def put_image(self, name: str, layers: list[Layer]) -> None:
        config = {
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }  # fmt: skip
        oci = "application/vnd.oci.image"
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": {"mediaType": f"{oci}.config.v1+json", **self.put(json.dumps(config).encode())},
            "layers": [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in layers],
        }
        entry = {"mediaType": manifest["mediaType"], **self.put(json.dumps(manifest).encode())}
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        index = self.root / "index.json"
        entries = json.loads(index.read_text())["manifests"] if index.exists() else []
        others = [one for one in entries if one["annotations"] != entry["annotations"]]
        index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*others, entry]}))
        print(
            f"  {name}: {len(layers)} layers, {sum(layer.size for layer in layers) / 1e6:.1f} MB compressed", flush=True
        )


class Noise:
    """Seeded bytes that compress about as text (4×), binaries (2.5×) or not at all."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        words = [
            "".join(self.random.choices("etaoinshrdlucmfwypvbgk_", k=self.random.randint(2, 11))) for _ in range(4000)
        ]
        tokens = [self.random.randbytes(self.random.randint(1, 8)) for _ in range(3000)]
        self.sources = {
            "text": " ".join(self.random.choices(words, k=400_000)).encode(),
            "binary": b"".join(self.random.choices(tokens, k=500_000)),
            "noise": self.random.randbytes(1 << 22),
        }

    def bytes(self, count: int, kind: str = "text") -> bytes:
        if kind == "zeros":
            return bytes(count)
        source, out = self.sources[kind], bytearray()
        while len(out) < count:
            at = self.random.randrange(len(source) - 1)
            out += source[at : at + min(count - len(out), self.random.randint(200, 60_000))]
        return bytes(out)


class Tar:
    """A deterministic tar; parents get entries of their own."""

    def __init__(self, path: Path, tar_format: int = tarfile.PAX_FORMAT) -> None:
        self.tar = tarfile.open(path, "w", format=tar_format)  # noqa: SIM115  # closed by `generate`
        self.directories: set[str] = set()

    def add(self, name: str, *, content: bytes | None = None, **fields: Any) -> None:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            self.directory("/".join(parts[:depth]))
        info = self._info(name, fields)
        info.size = len(content or b"")
        self.tar.addfile(info, io.BytesIO(content or b""))

    def directory(self, name: str, **fields: Any) -> None:
        if name not in self.directories:
            self.directories.add(name)
            self.tar.addfile(self._info(name + "/", {"mode": 0o755, **fields, "type": tarfile.DIRTYPE}))

    @staticmethod
    def _info(name: str, fields: dict[str, Any]) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mtime, info.mode = EPOCH, 0o644
        for key, value in fields.items():
            setattr(info, key, value)
        return info

    def tree(self, root: Path, prefix: str = "") -> None:
        """A directory of this machine, hard links kept."""
        inodes: dict[tuple[int, int], str] = {}
        for directory, subdirectories, files in os.walk(root):
            relative = os.path.relpath(directory, root)
            relative = "" if relative == "." else relative + "/"
            subdirectories[:] = sorted(name for name in subdirectories if relative + name not in LEFT_OUT)
            for name in sorted(subdirectories + files):
                path, member = os.path.join(directory, name), prefix + relative + name
                status = os.lstat(path)
                fields: dict[str, Any] = {
                    "mode": stat.S_IMODE(status.st_mode),
                    "uid": status.st_uid,
                    "gid": status.st_gid,
                }
                if stat.S_ISDIR(status.st_mode):
                    self.directory(member, **fields)
                elif stat.S_ISLNK(status.st_mode):
                    self.add(member, type=tarfile.SYMTYPE, linkname=os.readlink(path))
                elif stat.S_ISREG(status.st_mode):
                    first = inodes.setdefault((status.st_dev, status.st_ino), member)
                    if first != member:
                        self.add(member, type=tarfile.LNKTYPE, linkname=first)
                    else:
                        self.add(member, content=Path(path).read_bytes(), **fields)


def fill_synthetic(tar: Tar, seed: int, prefix: str, files: int, median: int, large: int) -> None:
    """`files` small files in nested directories, and `large` binaries of some MB."""
    noise = Noise(seed)
    directories = [prefix]
    for number in range(max(1, files // 9)):
        above = noise.random.choice(directories[-400:])
        directories.append(
            f"{prefix if above.count('/') > 9 else above}/{('lib', 'pkg', 'src', 'dist')[number % 4]}{number}"
        )
    for number in range(files):
        size = min(int(noise.random.lognormvariate(0, 1.6) * median), 30 << 20)
        kind = noise.random.choice(("text", "text", "text", "binary"))
        tar.add(f"{noise.random.choice(directories)}/f{number}.js", content=noise.bytes(size, kind))
    for number in range(large):
        tar.add(
            f"{prefix}/lib{number}.so",
            content=noise.bytes(noise.random.randint(1 << 19, 5 << 20), "binary"),
            mode=0o755,
        )


def fill_base(tar: Tar, cache: Path, synthetic: bool) -> None:
    root = cache / "debian"
    if not synthetic and (root / "usr").is_dir():
        tar.tree(root)
        for name in ("proc", "sys", "dev", "run", "tmp"):
            tar.directory(name)
    else:
        fill_synthetic(tar, 1, "usr", 9500, 5000, 60)


def fill_wheels(tar: Tar, cache: Path, synthetic: bool) -> None:
    place, seen = "usr/local/lib/python3.11/site-packages", set()
    wheels = [] if synthetic else sorted((cache / "wheels").glob("*.whl"))
    if not wheels:
        fill_synthetic(tar, 2, place, 9000, 6000, 150)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if not info.is_dir() and info.filename not in seen:
                    seen.add(info.filename)
                    tar.add(f"{place}/{info.filename}", content=archive.read(info))


def fill_npm(tar: Tar, cache: Path, synthetic: bool) -> None:
    if not synthetic and (cache / "npm" / "node_modules").is_dir():
        tar.tree(cache / "npm", "srv/app/")
    else:
        fill_synthetic(tar, 3, "srv/app/node_modules", 45_000, 2500, 0)


def fill_application(tar: Tar, version: int) -> None:
    noise = Noise(100 + version)
    for number in range(120):
        tar.add(f"opt/app/src/mod{number}.py", content=noise.bytes(3000 + 37 * number))
    tar.add("opt/app/data.bin", content=noise.bytes(3 << 20, "binary"))
    tar.add("opt/app/data-hard.bin", type=tarfile.LNKTYPE, linkname="opt/app/data.bin")
    tar.add("usr/share/doc/.wh.git")
    tar.add("usr/share/man/.wh..wh..opq")


def fill_big(tar: Tar, total_bytes: int = 1 << 30) -> None:
    noise, done, number = Noise(5), 0, 0
    while done < total_bytes:
        size = min(noise.random.choice([1 << 16, 1 << 20, 1 << 22, 1 << 24, 1 << 26]), total_bytes - done)
        kind = noise.random.choices(("text", "binary", "noise", "zeros"), (45, 30, 15, 10))[0]
        tar.add(f"data/part{number:04}.{kind}", content=noise.bytes(size, kind))
        done, number = done + size, number + 1


def fill_small(tar: Tar, number: int) -> None:
    noise = Noise(1000 + number)
    for file in range(40):
        tar.add(f"opt/l{number}/f{file}.txt", content=noise.bytes(4000 + 100 * file))
    tar.add("etc/config", content=b"written by layer %d\n" % number)
    if number % 5 == 4:
        tar.add(f"opt/l{number - 2}/.wh.f3.txt")


def fetch_sources(cache: Path) -> None:
    """Debian, PyPI and npm material, each once; what cannot be reached is said and left to the generator."""
    debian, npm = str(cache / "debian"), str(cache / "npm")
    steps: tuple[tuple[Path, list[str]], ...] = (
        (cache / "debian", ["debootstrap", "--variant=minbase", "--include=git,python3,perl", "bookworm", debian]),
        (cache / "wheels", ["pip", "download", "-q", "--only-binary=:all:", "-d", str(cache / "wheels"), *WHEELS]),
        (cache / "npm" / "node_modules", ["npm", "install", "--prefix", npm, "--ignore-scripts", "--no-audit"]),
    )  # fmt: skip
    (cache / "npm").mkdir(parents=True, exist_ok=True)
    (cache / "npm" / "package.json").write_text(json.dumps({"name": "app", "dependencies": PACKAGES}))
    for made, command in steps:
        if made.exists():
            continue
        if shutil.which(command[0]) is None or subprocess.run(command, check=False).returncode:
            print(f"  {command[0]} brought nothing: the synthetic form stands in", flush=True)
            shutil.rmtree(made, ignore_errors=True)


def generate(names: list[str], out: Path, *, synthetic: bool, cache: Path = CACHE) -> None:
    """Write the images into the layout at `out`; those already there stay."""
    layout, made = Layout(out), {}
    scratch = out / "tars"
    scratch.mkdir(exist_ok=True)

    def layer(
        name: str, fill: Callable[[Tar], None], compression: str = "gzip", form: int = tarfile.PAX_FORMAT
    ) -> Layer:
        path = scratch / f"{name}.tar"
        if not path.exists():
            tar = Tar(path, form)
            fill(tar)
            tar.tar.close()
        if (name, compression) not in made:
            made[name, compression] = layout.put_layer(path, compression)
        return made[name, compression]

    def stack(image: str) -> Iterator[Layer]:
        kind, _, variant = image.partition("-")
        compression = "zstd" if variant == "zstd" else "gzip"
        if kind in {"base", "python", "node"}:
            yield layer("base", lambda tar: fill_base(tar, cache, synthetic), compression)
        if kind == "python":
            yield layer("wheels", lambda tar: fill_wheels(tar, cache, synthetic), compression)
        if kind == "node":
            yield layer("npm", lambda tar: fill_npm(tar, cache, synthetic), compression, tarfile.GNU_FORMAT)
        if kind in {"python", "node"}:
            version = 2 if variant == "v2" else 1
            yield layer(f"application{version}", lambda tar: fill_application(tar, version), compression)
        if kind == "big":
            yield layer("big", fill_big)
        if kind == "many":
            for number in range(40):
                yield layer(f"small{number}", lambda tar, number=number: fill_small(tar, number))  # type: ignore[misc]

    index = out / "index.json"
    there = index.read_text() if index.exists() else ""
    for name in names:
        if f'"{name}"' not in there:
            layout.put_image(name, list(stack(name)))
    shutil.rmtree(scratch)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.images", description=__doc__)
    parser.add_argument("--out", type=Path, default=CACHE / "oci")
    parser.add_argument("--images", default=",".join((*IMAGES, "python-v2")))
    parser.add_argument("--synthetic", action="store_true", help="use no package registry")
    options = parser.parse_args(argv)
    if not options.synthetic:
        fetch_sources(CACHE)
    generate(options.images.split(","), options.out, synthetic=options.synthetic)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
