from __future__ import annotations

from pathlib import Path

import pytest

from pullet.ociruntime.cgroup import CgroupMode
from pullet.ociruntime.errors import RuntimeChangedError, RuntimeMissingError
from pullet.ociruntime.runtime import (
    NAMES,
    OciRuntime,
    explain_start_failure,
    find_runtime,
    last_message,
    signal_argument,
)


def program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_crun_is_taken_before_runc(tmp_path: Path) -> None:
    program(tmp_path / "runc")
    assert find_runtime(tmp_path / "state", search_path=str(tmp_path)).name == "runc"
    program(tmp_path / "crun")
    assert find_runtime(tmp_path / "state", search_path=str(tmp_path)).name == "crun"


def test_the_one_that_is_asked_for(tmp_path: Path) -> None:
    program(tmp_path / "crun")
    with pytest.raises(RuntimeMissingError, match=r"the OCI runtime runc is not in PATH\. .*apt-get install runc"):
        find_runtime(tmp_path / "state", wanted="runc", search_path=str(tmp_path))
    program(tmp_path / "runc")
    assert find_runtime(tmp_path / "state", wanted="runc", search_path=str(tmp_path)).name == "runc"


@pytest.mark.parametrize(("made_by", "file", "wanted"), [("crun", "status", "runc"), ("runc", "state.json", "crun")])
def test_containers_of_the_other_one_are_not_given_up(tmp_path: Path, made_by: str, file: str, wanted: str) -> None:
    for name in NAMES:
        program(tmp_path / name)
    container = tmp_path / "state" / "c1"
    container.mkdir(parents=True)
    (container / file).touch()
    with pytest.raises(RuntimeChangedError, match=rf"1 container.* made by {made_by}.*ociRuntime: {made_by}"):
        find_runtime(tmp_path / "state", wanted=wanted, search_path=str(tmp_path))
    assert find_runtime(tmp_path / "state", wanted=made_by, search_path=str(tmp_path)).name == made_by


def test_without_either_the_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match=r"neither crun nor runc is in PATH\..*apt-get install crun"):
        find_runtime(tmp_path, search_path=str(tmp_path))


def test_the_command_line_of_each() -> None:
    crun = OciRuntime(name="crun", path="/bin/crun", state_directory=Path("/s"), cgroup_mode=CgroupMode.UNIFIED)
    assert crun.command("kill", "x", log=Path("/l")) == [
        "/bin/crun", "--root", "/s", "--cgroup-manager", "cgroupfs", "--log", "/l", "--log-format", "json", "kill", "x"
    ]  # fmt: skip
    runc = OciRuntime(
        name="runc", path="/bin/runc", state_directory=Path("/s"), cgroup_mode=CgroupMode.LEGACY, prefix=("before",)
    )
    assert runc.command("state", "x") == ["before", "/bin/runc", "--root", "/s", "state", "x"]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (b'{"msg":"first","level":"error"}\n{"msg":"last","level":"error"}\n', "last"),
        (b"2026-01-01T00:00:00.123456Z: crun's own form\n", "crun's own form"),
        (b"plain\n", "plain"),
        (b"", "no message"),
    ],
)
def test_messages_lose_their_decoration(log: bytes, message: str) -> None:
    assert last_message(log) == message


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (
            b'{"level":"error","msg":"runc run failed: unable to start container process: exec: \\"nosuch\\": '
            b'executable file not found in $PATH","time":"2026-01-01T00:00:00Z"}\n',
            'runc create failed: unable to start container process: exec: "nosuch": executable file not found in $PATH',
        ),
        (
            b'{"msg":"executable file `nosuch` not found in $PATH: No such file or directory","level":"error"}\n',
            "executable file `nosuch` not found in $PATH: No such file or directory",
        ),
    ],
)
def test_a_start_that_fails_is_said_as_containerd_says_it(log: bytes, message: str) -> None:
    assert explain_start_failure(log) == (
        f"failed to create containerd task: failed to create shim task: OCI runtime create failed: {message}: unknown"
    )


@pytest.mark.parametrize(
    ("given", "argument"),
    [("", "SIGTERM"), ("SIGQUIT", "SIGQUIT"), ("quit", "SIGQUIT"), ("9", "9"), ("SIGRTMIN+3",) * 2],
)
def test_stop_signals(given: str, argument: str) -> None:
    assert signal_argument(given) == argument
