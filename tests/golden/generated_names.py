"""Names that nobody chose: of ReplicaSets and their pods, replaced by numbers in the order of their creation.

`web-f876d9bd6-7r7f9` becomes `web-<1>-<1>`, so that a recording and a replay call the same pod the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from tests.golden.observation import EventSeen, Observation

_REPLICA_SET = re.compile(r"replica set (\S+) from ")
_CREATED = re.compile(r"Created pod: (\S+)")


def generated_names(events: Mapping[str, Sequence[EventSeen]]) -> dict[str, str]:
    """What stands for each generated name, as their makers' events tell it."""
    names: dict[str, str] = {}
    for maker, rows in events.items():
        if not any(row.reason == "ScalingReplicaSet" for row in rows):
            continue
        found = (_REPLICA_SET.search(row.message) for row in rows)
        sets = dict.fromkeys(one.group(1) for one in found if one is not None)
        for number, replica_set in enumerate(sets, 1):
            short = f"{maker}-<{number}>"
            created = (_CREATED.search(row.message) for row in events.get(replica_set, ()))
            pods = [one.group(1) for one in created if one is not None]
            names |= {pod: f"{short}-<{which}>" for which, pod in enumerate(pods, 1)}
            names |= {replica_set: short, replica_set.removeprefix(f"{maker}-"): f"<{number}>"}
    return names


def renamed(seen: Observation) -> Observation:
    """The observation with generated names replaced, wherever they stand.

    Which of two equal pods a ReplicaSet deletes first depends on when each got ready, so that is not said.
    """
    names = generated_names(seen.events)
    if not names:
        return seen
    text = json.dumps(seen.to_json(), ensure_ascii=False)
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    text = re.sub(r"(Deleted pod: [^\"]*)-<\d+>\"", r'\1-<one>"', text)
    new = Observation.from_json(json.loads(text))
    new.description = _pods_in_order(new.description)
    return new


def _pods_in_order(lines: Sequence[str]) -> list[str]:
    """`kubectl describe` goes by name: by the new ones."""
    pods: list[list[str]] = []
    for line in lines:
        if line.startswith("Name:"):
            pods.append([])
        pods[-1].append(line)
    return [line for pod in sorted(pods) for line in pod]
