"""The pull race: pullet against containerd, podman and skopeo+umoci, interleaved, every run on a fresh file system.

    python -m bench pull [--images base,python,node,big,many] [--runs 5] [--peer 'NAME=COMMAND with {root} {ref}']

A fresh ext4 per run, because ext4 creates files many times slower in the seconds after many were deleted: a run must
not pay for the removal of the last one. Prints medians of wall and CPU time, bytes written, peak memory, requests, and
the ratio of our wall time to each peer's inside the same run; beside them what this machine can do at all.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from isal import isal_zlib

from bench.aims import report_aims
from bench.images import CACHE, IMAGES, fetch_sources, generate
from bench.pullers import Puller, install_missing, known_pullers, peers
from bench.registry import Registry
from bench.rows import Row, median_ratio
from pullet.store.mounts import unmount_all_below

TICK = os.sysconf("SC_CLK_TCK")
PARTIAL = {"python": "python-v2"}
OURS = ("pullet", "pullet-node")  # the command alone, and the command asking a running node
KINDS = ("cold", "warm", "last layer changed")


def cost_of(process: int | None) -> tuple[float, int]:
    """CPU seconds and bytes written of a live process and its reaped children."""
    if process is None:
        return 0.0, 0
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    written = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{process}/io").read_text(), re.MULTILINE)
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICK, int(written[1]) if written else 0


def peak_of(process: int | None) -> int:
    if process is None:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def measure(puller: Puller, registry: Registry, root: Path, image: str, kind: str, run: int, log: Path) -> Row:
    command = shlex.split(puller.command(root, registry.reference(image)))
    os.sync()
    time.sleep(0.3)
    mark, before = registry.mark(), cost_of(puller.daemon)
    started = time.perf_counter()
    with log.open("ab") as out:
        # through a small shell, so that the peak is the command's own and not what this process weighed when forking
        child = subprocess.Popen(
            ["sh", "-c", 'exec "$@"', "sh", *command], stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    after = cost_of(puller.daemon)
    requests, body = registry.since(mark)
    if child.returncode:
        raise RuntimeError(f"{puller.name} {image}: exit {child.returncode}: {log.read_text(errors='replace')[-600:]}")
    return Row(
        puller.name, image, kind, run, wall, usage.ru_utime + usage.ru_stime + after[0] - before[0],
        usage.ru_oublock * 512 + after[1] - before[1], max(usage.ru_maxrss * 1024, peak_of(puller.daemon)),
        requests, body,
    )  # fmt: skip


@contextmanager
def fresh_filesystem(directory: Path, size: str) -> Iterator[Path]:
    """A new ext4 in a file of `directory`, mounted; unmounted and gone afterwards."""
    image = directory / f"bench-{os.getpid()}.img"
    place = Path(tempfile.mkdtemp(prefix="bench-fs-"))
    try:
        subprocess.run(["truncate", "-s", size, image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, place], check=True)
        yield place
    finally:
        unmount_all_below(place)
        image.unlink(missing_ok=True)
        place.rmdir()


def race(options: argparse.Namespace, pullers: list[Puller], images: list[str], registry: Registry) -> list[Row]:
    rows: list[Row] = []
    failed: set[tuple[str, str]] = set()
    logs = Path(tempfile.mkdtemp(prefix="bench-logs-"))
    for run in range(options.runs):
        for image in images:
            for puller in pullers if run % 2 == 0 else pullers[::-1]:
                if (puller.name, image) in failed:
                    continue
                log = logs / puller.name
                with fresh_filesystem(options.fresh, options.fresh_size) as place:
                    root = place / "r"
                    try:
                        puller.start(root)
                        pulls = [("cold", image), ("warm", image)]
                        if image in PARTIAL:
                            pulls.append(("last layer changed", PARTIAL[image]))
                        for kind, name in pulls:
                            rows.append(measure(puller, registry, root, name, kind, run, log))
                            keep(options.json, rows[-1])
                    except (RuntimeError, OSError) as error:
                        print(f"FAILED {error}", flush=True)
                        failed.add((puller.name, image))
                    finally:
                        puller.stop()
        print(f"run {run + 1} of {options.runs} done", flush=True)
    shutil.rmtree(logs)
    return rows


def keep(path: Path | None, row: Row) -> None:
    """Append one measured pull, so that a run cut short is not lost."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def report(rows: list[Row]) -> None:
    """The table: medians, and the median of the ratios inside each run."""
    columns = "n | wall s (min..max) | CPU s | written MB | peak MB | requests | body MB"
    print(f"\n| image | pull | tool | {columns} | " + " | ".join(f"{name} ÷ it" for name in OURS) + " |")
    print("|---" * (10 + len(OURS)) + "|")
    for kind in KINDS:
        for image in dict.fromkeys(row.image for row in rows if row.kind == kind):
            here = [row for row in rows if (row.kind, row.image) == (kind, image)]
            for tool in dict.fromkeys(row.tool for row in here):
                mine = {row.run: row for row in here if row.tool == tool}
                values = list(mine.values())
                walls = [row.wall_seconds for row in values]
                ratios = []
                for name in OURS:
                    ratio = median_ratio(here, name, tool, lambda row: row.wall_seconds) if tool not in OURS else None
                    ratios.append(f"**{ratio:.2f}**" if ratio is not None else "")
                print(
                    f"| {image} | {kind} | {tool} | {len(values)} "
                    f"| {statistics.median(walls):.2f} ({min(walls):.2f}..{max(walls):.2f}) "
                    f"| {statistics.median(row.cpu_seconds for row in values):.2f} "
                    f"| {statistics.median(row.written_bytes for row in values) / 1e6:.0f} "
                    f"| {statistics.median(row.peak_bytes for row in values) / 1e6:.0f} "
                    f"| {statistics.median(row.requests for row in values):.0f} "
                    f"| {statistics.median(row.body_bytes for row in values) / 1e6:.2f} | {' | '.join(ratios)} |"
                )


def report_limits(directory: Path) -> None:
    """What one core of this machine does, now, in MB of uncompressed bytes a second."""
    noise = random.Random(1)
    tokens = [noise.randbytes(noise.randint(1, 8)) for _ in range(3000)]
    data = b"".join(noise.choices(tokens, k=14_000_000))[: 64 << 20]
    packed = gzip.compress(data, 6)
    path = directory / f"bench-limit-{os.getpid()}"

    def write() -> None:
        path.write_bytes(data)

    print("\nlimits of one core, MB/s:", end=" ")
    for name, work in (
        ("sha256", lambda: hashlib.sha256(data).digest()),
        ("gunzip", lambda: isal_zlib.decompress(packed, 31)),
        ("write", write),
    ):
        started = time.perf_counter()
        work()
        print(f"{name} {len(data) / (time.perf_counter() - started) / 1e6:.0f}", end="  ")
    path.unlink()
    print()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench pull", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--images", default=",".join(IMAGES))
    parser.add_argument("--pullers", help="of those known, which; default: all")
    parser.add_argument("--containerd2", type=Path, metavar="DIRECTORY", help="race containerd 2 from there as well")
    for name, what in (
        ("peer", "another tool; {root}, {ref}, {host} are filled in"),
        ("daemon", "what a peer asks, run in the foreground; started before and ended after each run"),
        ("ready", "succeeds when that daemon can be asked"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], metavar="NAME=COMMAND", help=what)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--layout", type=Path, default=CACHE / "oci", help="an OCI layout with the images; made if need be"
    )
    parser.add_argument("--synthetic", action="store_true", help="make the images without any package registry")
    parser.add_argument(
        "--fresh", type=Path, default=Path(tempfile.gettempdir()), help="where the files of fresh file systems lie"
    )
    parser.add_argument("--fresh-size", default="9G")
    parser.add_argument("--json", type=Path, help="append every pull here as it is measured")
    options = parser.parse_args(argv)
    if os.geteuid():
        raise SystemExit("the pull race mounts file systems: run it as root")
    known = known_pullers(options.containerd2)
    pullers = [known[name] for name in options.pullers.split(",") if name] if options.pullers else [*known.values()]
    pullers = install_missing([*pullers, *peers(options.peer, options.daemon, options.ready)])
    images = options.images.split(",")
    wanted = [*images, *(PARTIAL[image] for image in images if image in PARTIAL)]
    print("preparing images", flush=True)
    index = options.layout / "index.json"
    there = index.read_text() if index.exists() else ""
    if not options.synthetic and any(f'"{name}"' not in there for name in wanted):
        fetch_sources(CACHE)
    generate(wanted, options.layout, synthetic=options.synthetic)
    work = Path(tempfile.mkdtemp(prefix="bench-registry-"))
    try:
        with Registry(work) as registry:
            registry.push(options.layout, set(wanted))
            rows = race(options, pullers, images, registry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report(rows)
    report_aims(rows)
    report_limits(options.fresh)
