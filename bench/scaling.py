"""How a cold pull grows: with bytes, with the number of files at constant bytes, and its memory with the layer.

    python -m bench scaling [--megabytes 10,40,160,640,2560] [--files 100,1000,10000,100000,1000000] [--runs 3]

One-layer images from a seeded generator, docker-registry on loopback, the command without a running node, every pull
on a fresh file system. Writes scaling.json, and from it scaling-*.png (with matplotlib in a venv of its own).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from isal import igzip

from bench.images import CACHE, Layer, Layout
from bench.pull import fresh_filesystem, measure
from bench.pullers import Puller
from bench.registry import Registry

HERE = Path(__file__).parent
BLOCK = 512
FILE_BYTES_OF_SIZES = 256 * 1024  # the size of each file in the series over bytes
TAR_BYTES_OF_FILES = 1024 * 1_000_000  # of every image in the series over files: a header and a block for each of 10⁶
PER_DIRECTORY = 200


def put_generated(layout: Layout, files: int, file_bytes: int) -> Layer:
    """A layer of `files` files of `file_bytes` that compress about 2.5 times; never on disk uncompressed."""
    noise = random.Random(files)
    tokens = [noise.randbytes(noise.randint(1, 8)) for _ in range(3000)]
    source = b"".join(noise.choices(tokens, k=1_000_000))
    packed, tar_hash = layout.root / "packing", hashlib.sha256()
    padding = bytes(-file_bytes % BLOCK)
    with igzip.open(packed, "wb", compresslevel=1) as out:  # type: ignore[no-untyped-call]  # no types in it

        def put(data: bytes) -> None:
            tar_hash.update(data)
            out.write(data)

        for number in range(files):
            if number % PER_DIRECTORY == 0:
                directory = tarfile.TarInfo(f"d{number // PER_DIRECTORY}")
                directory.type, directory.mode = tarfile.DIRTYPE, 0o755
                put(directory.tobuf(tarfile.USTAR_FORMAT))
            info = tarfile.TarInfo(f"d{number // PER_DIRECTORY}/f{number}")
            info.size = file_bytes
            left, at = file_bytes, noise.randrange(len(source))
            pieces = [info.tobuf(tarfile.USTAR_FORMAT)]
            while left:
                pieces.append(source[at : at + left])
                left, at = left - len(pieces[-1]), 0
            put(b"".join(pieces) + padding)
        put(bytes(2 * BLOCK))
    with packed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = packed.stat().st_size
    packed.rename(layout.blobs / digest)
    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    return Layer(f"sha256:{digest}", size, f"sha256:{tar_hash.hexdigest()}", media_type)


def series(options: argparse.Namespace) -> dict[str, tuple[str, int, int, int]]:
    """Image name → (which series, its x, files, bytes per file)."""
    found = {}
    for megabytes in (int(text) for text in options.megabytes.split(",") if text):
        files = max(1, megabytes * 1_000_000 // (FILE_BYTES_OF_SIZES + BLOCK))
        found[f"bytes-{megabytes}"] = ("bytes", megabytes * 1_000_000, files, FILE_BYTES_OF_SIZES)
    for files in (int(text) for text in options.files.split(",") if text):
        found[f"files-{files}"] = ("files", files, files, TAR_BYTES_OF_FILES // files - BLOCK)
    return found


def draw(data: Path) -> None:
    """The plots, by a Python that has matplotlib."""
    venv = CACHE / "plots"
    if not (venv / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "-q", "matplotlib"], check=True)
    subprocess.run([venv / "bin" / "python", HERE / "plots.py", data, HERE], check=True)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench scaling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megabytes", default="10,40,160,640,2560", help="of the uncompressed layers")
    parser.add_argument("--files", default="100,1000,10000,100000,1000000")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fresh", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path, default=HERE / "scaling.json")
    options = parser.parse_args(argv)
    if os.geteuid():
        raise SystemExit("the benchmark mounts file systems: run it as root")
    puller = Puller("pullet", f"{Path(sys.executable).with_name('pullet')} images pull -q --root {{root}} {{ref}}")
    images, work = series(options), Path(tempfile.mkdtemp(prefix="bench-scaling-"))
    rows = []
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    try:
        layout = Layout(work / "oci")
        for name, (_, _, files, file_bytes) in images.items():
            # by a process of its own: what this one ever weighed would count as the peak of what it starts
            layout.put_image(name, [pool.submit(put_generated, layout, files, file_bytes).result()])
        pool.shutdown()
        with Registry(work / "registry") as registry:
            registry.push(layout.root, set(images))
            shutil.rmtree(layout.root)
            for name, (kind, x, files, file_bytes) in images.items():
                pulls = []
                for run in range(options.runs):
                    with fresh_filesystem(options.fresh, "16G") as place:
                        puller.start(place / "r")
                        pulls.append(measure(puller, registry, place / "r", name, kind, run, work / "log"))
                tar_bytes = files * (BLOCK + -(-file_bytes // BLOCK) * BLOCK)
                row = {
                    "series": kind, "x": x, "files": files, "tar_bytes": tar_bytes, "runs": options.runs,
                    "wall_seconds": statistics.median(one.wall_seconds for one in pulls),
                    "cpu_seconds": statistics.median(one.cpu_seconds for one in pulls),
                    "peak_bytes": max(one.peak_bytes for one in pulls),
                    "written_bytes": statistics.median(one.written_bytes for one in pulls),
                }  # fmt: skip
                rows.append(row)
                print(
                    f"| {kind} {x:,} | {row['wall_seconds']:.2f} s | {row['cpu_seconds']:.2f} CPU s "
                    f"| {row['peak_bytes'] / 1e6:.0f} MB peak | {row['written_bytes'] / tar_bytes:.3f} × written |",
                    flush=True,
                )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    options.json.write_text(json.dumps(rows, indent=1) + "\n")
    draw(options.json)
