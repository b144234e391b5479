"""Where the command begins.

Exit codes: 0 done; 1 it failed, the reason is on stderr; 2 the call itself was wrong; 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

OUTPUT_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main() -> None:
    """Run the command line and exit."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is not None or error.errno not in OUTPUT_ERRORS:
            raise
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        os._exit(1)  # or the interpreter would try once more


def _run() -> int:
    """The exit code. Imports here, where an interrupt is looked for."""
    from pullet.base.errors import PulletError, UsageError

    try:
        return _command()
    except PulletError as error:
        print(f"error: {getattr(error, 'message', error)}", file=sys.stderr)
        for label in ("cause", "next_step"):
            if text := getattr(error, label, ""):
                print(f"  {label.replace('_', ' ')}: {text}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _command() -> int:
    from pullet.cli.quick import pull_quickly

    if pull_quickly(sys.argv[1:]):
        print(end="", flush=True)
        os._exit(0)  # all is closed by now; to take the interpreter down would be a tenth of a small pull
    from pullet.cli.tree import run  # costs as much as the interpreter's own start

    return run()


if __name__ == "__main__":
    main()
