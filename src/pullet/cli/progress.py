"""A pull as it goes: a live display like `docker pull`'s on a terminal, plain lines when piped."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, TextIO

from pullet.cli.show import human_size, short_digest

BAR_WIDTH = 30


class PullDisplay:
    """Shows progress messages of any number of pulls; use as a context manager."""

    def __init__(self, out: TextIO | None = None, *, indent: str = "") -> None:
        self._out: TextIO | None = out or sys.stdout  # None: started with its output closed
        self._indent = indent
        self._live: Any = None
        self._pulls: dict[str, list[dict[str, Any]]] = {}
        self._told: set[tuple[str, str, str]] = set()

    def __enter__(self) -> Self:
        if self._out is not None and self._out.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._out, highlight=False), auto_refresh=False)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """A line that stays, above the moving part."""
        if self._live is not None:
            self._live.console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, file=self._out, flush=True)

    def update(self, message: dict[str, Any]) -> None:
        """Take one progress message."""
        image, layers = message["image"], message["layers"]
        self._pulls[image] = layers
        if self._live is not None:
            self._live.update("\n".join(self._lines()), refresh=True)
            return
        for layer in layers:
            if layer["phase"] in ("Already exists", "Pull complete"):
                key = (image, layer["digest"], layer["phase"])
                if key not in self._told:
                    self._told.add(key)
                    self.say(f"{self._indent}{short_digest(layer['digest'])}: {layer['phase']}")

    def done(self, image: str) -> None:
        """The pull of `image` ended: its lines stay as they are now."""
        layers = self._pulls.pop(image, [])
        if self._live is not None:
            for line in layer_lines(layers):
                self._live.console.print(self._indent + line, markup=False, soft_wrap=True)
            self._live.update("\n".join(self._lines()), refresh=True)

    def _lines(self) -> Iterable[str]:
        for image, layers in self._pulls.items():
            if len(self._pulls) > 1:
                yield image
            yield from (self._indent + line for line in layer_lines(layers))


def layer_lines(layers: list[dict[str, Any]]) -> list[str]:
    """One line per layer, in the words of `docker pull`."""
    return [f"{short_digest(layer['digest'])}: {_phase(layer)}" for layer in layers]


def _phase(layer: dict[str, Any]) -> str:
    phase, done, total = str(layer["phase"]), layer["done_bytes"], layer["total_bytes"]
    if phase != "Downloading" or not total:
        return phase
    filled = min(BAR_WIDTH, BAR_WIDTH * done // total)
    bar = ("=" * filled + ">")[:BAR_WIDTH].ljust(BAR_WIDTH)
    return f"{phase} [{bar}] {human_size(done):>7}/{human_size(total)}"
