"""`python -m bench [NAME …]`: run the benchmarks, all or the named ones.

Whole processes are timed on real parts; ratios inside one run are what counts, absolute seconds drift with the machine.
"""

from __future__ import annotations

import importlib
import os
import sys

BENCHMARKS = ("node", "pull", "api", "scaling")


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a command that compiles its modules at each start is nobody's
    names = [argument for argument in sys.argv[1:] if argument in BENCHMARKS] or list(BENCHMARKS)
    options = [argument for argument in sys.argv[1:] if argument not in BENCHMARKS]
    for name in names:
        print(f"\n== {name}")
        importlib.import_module(f"bench.{name}").main(options if len(names) == 1 else [])


main()
