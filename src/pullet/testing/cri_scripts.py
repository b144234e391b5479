"""Commands of which a fake knows the whole effect: lines out, seconds, exit code."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from pullet.base.values import State


class Script(State):
    """A command of which the whole effect is known: lines out, seconds, exit code."""

    lines: list[bytes] = msgspec.field(default_factory=list)
    seconds: float = 0.0
    exit_code: int = 0

    @classmethod
    def parse(cls, command: Sequence[str]) -> Script | None:
        """None when it is none of the words known here."""
        shell = len(command) >= 3 and command[0].rpartition("/")[2] == "sh" and command[1] == "-c"
        statements = [shlex.split(part) for part in command[2].split(";")] if shell else [list(command)]
        script = cls()
        for words in filter(None, statements):
            name, rest = words[0].rpartition("/")[2], words[1:]
            if name == "echo":
                script.lines.append(" ".join(rest).encode())
            elif name == "sleep" and rest and rest[0].replace(".", "").isdigit():
                script.seconds += float(rest[0])
            elif name in ("true", "false") or (name == "exit" and rest):
                script.exit_code = {"true": 0, "false": 1}.get(name, int(rest[0]) if rest and name == "exit" else 0)
                if name == "exit":
                    return script
            else:
                return None
        return script if statements and any(statements) else None
