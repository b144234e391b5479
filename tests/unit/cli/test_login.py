"""`pullet login` and `pullet logout` as commands, against a registry that knows its users."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pullet.cli import login, logout
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.registry_faults import FakeAuth, Fault

PASSWORD = "pl4nted-s3cret"


def run_login(registry: FakeRegistry, root: Path, *, user: str = "bo", password: str = PASSWORD) -> Result:
    arguments = [registry.host, "-u", user, "--password-stdin", "--root", str(root), "--node", "one"]
    return CliRunner().invoke(login.command, arguments, input=f"{password}\n")


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_an_accepted_login_is_kept_and_used_up_by_logout(scheme: str, tmp_path: Path) -> None:
    with FakeRegistry(auth=FakeAuth(scheme=scheme, users={"bo": PASSWORD})) as registry:  # type: ignore[arg-type]  # the parametrisation gives both literals
        result = run_login(registry, tmp_path)
        path = tmp_path / "nodes" / "one" / "config.json"
        assert result.exit_code == 0, result.output
        assert f"logged in at {registry.host} as bo" in result.output
        assert list(json.loads(path.read_text())["auths"]) == [registry.host]
        assert path.stat().st_mode & 0o777 == 0o600
        arguments = [registry.host, "--root", str(tmp_path)]
        assert CliRunner().invoke(logout.command, arguments).exit_code == 0
        assert json.loads(path.read_text())["auths"] == {}
        again = CliRunner().invoke(logout.command, arguments)
        assert "has no login" in str(again.exception)


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_refused_login_is_not_kept_and_not_repeated_in_what_is_said(scheme: str, tmp_path: Path) -> None:
    with FakeRegistry(auth=FakeAuth(scheme=scheme, users={"bo": "other"})) as registry:  # type: ignore[arg-type]  # the parametrisation gives both literals
        result = run_login(registry, tmp_path)
    assert isinstance(result.exception, login.LoginFailedError)
    assert "401 Unauthorized" in str(result.exception)
    assert "check user and password" in result.exception.next_step
    assert PASSWORD not in result.output + str(result.exception)
    assert not (tmp_path / "nodes").exists()


def test_a_registry_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        registry.inject(Fault(path="/v2/", status=403, body=b'{"errors":[{"code":"DENIED","message":"blocked"}]}'))
        result = run_login(registry, tmp_path)
    assert f"login to {registry.host} failed" in str(result.exception)
    assert "blocked" in str(result.exception)


def test_a_registry_that_asks_nobody_is_pointed_out(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        result = run_login(registry, tmp_path)
    assert result.exit_code == 0
    assert "asks nobody who they are" in result.output


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        result = run_login(registry, tmp_path, password="")
        assert "the password is empty" in str(result.exception)
        assert registry.requests() == []
