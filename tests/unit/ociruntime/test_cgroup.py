from __future__ import annotations

from pathlib import Path

from pullet.ociruntime import cgroup
from pullet.ociruntime.cgroup import CgroupMode


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_which_kind_of_machine(tmp_path: Path) -> None:
    assert cgroup.detect_mode(tmp_path) is CgroupMode.LEGACY
    write(tmp_path / "unified/cgroup.procs", "")
    write(tmp_path / "unified/cgroup.controllers", "\n")
    assert cgroup.detect_mode(tmp_path) is CgroupMode.HYBRID
    assert not cgroup.v2_keeps_controllers(tmp_path)
    write(tmp_path / "unified/cgroup.controllers", "hugetlb\n")
    assert cgroup.v2_keeps_controllers(tmp_path)
    write(tmp_path / "cgroup.controllers", "cpu memory\n")
    assert cgroup.detect_mode(tmp_path) is CgroupMode.UNIFIED


def test_out_of_memory_kills_of_v2_and_v1(tmp_path: Path) -> None:
    write(tmp_path / "two/a/memory.events", "low 0\noom 4\noom_kill 3\noom_group_kill 0\n")
    assert cgroup.oom_kill_count("/a", tmp_path / "two") == 3
    write(tmp_path / "one/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert cgroup.oom_kill_count("/a", tmp_path / "one") == 2
    assert cgroup.oom_kill_count("/gone", tmp_path / "one") == 0


def test_processes_of_the_group_and_below(tmp_path: Path) -> None:
    write(tmp_path / "memory/pods/a/cgroup.procs", "1\n2\n")
    write(tmp_path / "memory/pods/a/inner/cgroup.procs", "3\n")
    write(tmp_path / "pids/pods/a/cgroup.procs", "1\n")
    write(tmp_path / "pids/pods/b/cgroup.procs", "9\n")
    assert cgroup.processes("/pods/a", tmp_path) == {1, 2, 3}
    assert cgroup.processes("/", tmp_path) == set()


def test_v2_groups_are_killed_by_the_kernel(tmp_path: Path) -> None:
    write(tmp_path / "cgroup.controllers", "memory")
    write(tmp_path / "a/cgroup.kill", "")
    assert not cgroup.kill("/a", tmp_path)
    write(tmp_path / "a/cgroup.procs", "4194304\n")
    assert cgroup.kill("/a", tmp_path)
    assert (tmp_path / "a/cgroup.kill").read_text() == "1"


def test_empty_groups_are_removed_and_others_stay(tmp_path: Path) -> None:
    for name in ("memory/p/a", "pids/p/a", "pids/p/a/child", "memory/p/b"):
        (tmp_path / name).mkdir(parents=True)
    cgroup.remove_empty("/p/a", tmp_path)
    cgroup.remove_empty("/", tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["memory", "memory/p", "memory/p/b", "pids", "pids/p", "pids/p/a", "pids/p/a/child"]
