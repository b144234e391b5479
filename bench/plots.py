"""Draws scaling.json: `plots.py DATA DIRECTORY`, run by a Python that has matplotlib (bench/scaling.py sees to it)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]  # in a venv of its own

mpl.use("Agg")
import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]  # after the backend

PLOTS = (
    ("bytes", "tar_bytes", 1e6, "uncompressed MB", "scaling-bytes.png", "cold pull: time against bytes"),
    ("files", "files", 1, "files (1 GB of tar each)", "scaling-files.png", "cold pull: time against files"),
)


def main(data: Path, out: Path) -> None:
    rows = json.loads(data.read_text())
    for series, key, unit, label, name, title in PLOTS:
        mine = [row for row in rows if row["series"] == series]
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        for what, style in (("wall_seconds", "o-"), ("cpu_seconds", "s--")):
            axes.loglog([row[key] / unit for row in mine], [row[what] for row in mine], style, label=what[:-8] + " s")
        axes.set(title=title, xlabel=label, ylabel="seconds")
        axes.set_ylim(bottom=0.1)
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        figure.savefig(out / name, dpi=100)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for series, key, style in (("bytes", "tar_bytes", "o-"), ("files", "files", "s--")):
        mine = [row for row in rows if row["series"] == series]
        label = "against MB of layer" if series == "bytes" else "against files (1 GB each)"
        unit = 1e6 if series == "bytes" else 1
        axes.semilogx([row[key] / unit for row in mine], [row["peak_bytes"] / 1e6 for row in mine], style, label=label)
    axes.set(title="cold pull: peak memory", xlabel="MB, or files", ylabel="peak RSS, MB")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(out / "scaling-memory.png", dpi=100)


main(Path(sys.argv[1]), Path(sys.argv[2]))
