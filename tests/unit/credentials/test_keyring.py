"""The three sources of credentials as one: order, caches, helpers and exec providers that really run."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pullet.credentials.docker_config import DockerConfigInvalidError
from pullet.credentials.keyring import Keyring, NodeConfigFiles
from pullet.credentials.node_config_paths import NodeConfigPaths
from pullet.credentials.provider_config import ProviderConfigError, load_provider_configs, parse_provider_config
from pullet.credentials.provider_plugin import ExecProvider, ServiceAccountIdentity
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.secret import SecretView, parse_secret
from pullet.policy.credential_match import ServiceAccountSource, TrackedCredential
from pullet.testing.clock import FakeClock

V1 = "credentialprovider.kubelet.k8s.io/v1"


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    pool = WorkerThreads("test", 1)
    yield pool
    pool.close()


@pytest.fixture
async def group() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as tasks:
        yield tasks


def pull_secret(name: str, **logins: str) -> SecretView:
    auths = {
        host.replace("_", "."): {"auth": base64.b64encode(login.encode()).decode()} for host, login in logins.items()
    }
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    return parse_secret(
        {
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": data},
        }
    )


def script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def users(found: tuple[TrackedCredential, ...]) -> list[str]:
    return [each.auth.username for each in found]


def node_files(tmp_path: Path, threads: WorkerThreads, clock: FakeClock, config: dict[str, Any]) -> NodeConfigFiles:
    (tmp_path / "config.json").write_text(json.dumps(config))
    paths = NodeConfigPaths(config_json_dirs=(tmp_path,), dockercfg_dirs=(tmp_path,))
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    return NodeConfigFiles(paths, threads=threads, clock=clock, environment=environment)


def calls(tmp_path: Path) -> int:
    path = tmp_path / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


class Provider:
    """A provider program of shell that counts its runs and keeps its last request."""

    def __init__(self, tmp_path: Path, group: asyncio.TaskGroup, clock: FakeClock, **config: Any) -> None:
        self.path = tmp_path
        fields = {
            "name": "helper",
            "matchImages": ["*.r.io"],
            "defaultCacheDuration": "10m",
            "apiVersion": V1,
            "env": [{"name": "GREETING", "value": "configured"}],
            **config,
        }
        document = {"kind": "CredentialProviderConfig", "apiVersion": "kubelet.config.k8s.io/v1", "providers": [fields]}
        (parsed,) = parse_provider_config(json.dumps(document), where="test")
        environment = {**os.environ, "GREETING": "inherited"}
        self.exec = ExecProvider(
            parsed, bin_directory=tmp_path / "bin", clock=clock, group=group, environment=environment
        )

    def answers(self, body: str = "", *, auth: dict[str, Any] | None = None, **fields: Any) -> None:
        response = {
            "kind": "CredentialProviderResponse",
            "apiVersion": V1,
            "cacheKeyType": "Image",
            "auth": {"*.r.io": {"username": "from-provider", "password": "p"}} if auth is None else auth,
            **fields,
        }
        record = f"cat > {self.path}/request; echo x >> {self.path}/calls; echo $GREETING > {self.path}/greeting"
        script(self.path / "bin" / "helper", f"{record}\n{body}\ncat <<'EOF'\n{json.dumps(response)}\nEOF")

    @property
    def request(self) -> dict[str, Any]:
        request: dict[str, Any] = json.loads((self.path / "request").read_text())
        return request

    @property
    def calls(self) -> int:
        return calls(self.path)


@dataclass
class Account:
    """The service account of a pod."""

    name: str | None = "builder"
    annotations: dict[str, str] = field(default_factory=dict)
    value: str = "token-1"

    async def identity(self) -> ServiceAccountIdentity | None:
        if self.name is None:
            return None
        return ServiceAccountIdentity(namespace="ns", name=self.name, uid="sa-uid", annotations=self.annotations)

    async def token(self, audience: str) -> str:
        return f"{self.value} for {audience}"


# --- order ---


async def test_pod_secrets_come_first_then_the_node_then_providers(
    tmp_path: Path, threads: WorkerThreads, group: asyncio.TaskGroup
) -> None:
    clock = FakeClock()
    provider = Provider(tmp_path, group, clock)
    provider.answers()
    files = node_files(tmp_path, threads, clock, {"auths": {"*.r.io": {"username": "node", "password": "p"}}})
    keyring = Keyring(node_files=files, providers=[provider.exec])
    secrets = [pull_secret("a", a_r_io="first:p", other_io="other:p"), pull_secret("b", a_r_io="second:p")]
    found = await keyring.lookup("a.r.io/team/app", pull_secrets=secrets)
    assert users(found) == ["first", "second", "node", "from-provider"]
    assert [each.source is None for each in found] == [False, False, True, True]
    assert users(await keyring.lookup("a.r.io/team/app")) == ["node", "from-provider"]
    assert await keyring.lookup("docker.io/library/nginx") == ()


async def test_a_malformed_secret_fails_the_lookup() -> None:
    bad = parse_secret(
        {
            "metadata": {"name": "bad", "namespace": "ns"},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(b"{").decode()},
        }
    )
    with pytest.raises(DockerConfigInvalidError, match=r"secret ns/bad: \.dockerconfigjson: "):
        await Keyring().lookup("r.io/a", pull_secrets=[bad])


async def test_a_changed_login_counts_from_the_next_lookup_on(tmp_path: Path, threads: WorkerThreads) -> None:
    files = node_files(tmp_path, threads, FakeClock(), {"auths": {"r.io": {"username": "old", "password": "p"}}})
    assert users(await files.lookup("r.io/a")) == ["old"]
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r.io": {"username": "newer", "password": "p"}}}))
    assert users(await files.lookup("r.io/a")) == ["newer"]
    (tmp_path / "config.json").unlink()
    assert await files.lookup("r.io/a") == ()


# --- credential helpers ---

HELPER = 'read server; echo "$server" >> "$CALLS"; echo "{\\"Username\\":\\"%s\\",\\"Secret\\":\\"s\\"}"'


async def test_a_helper_is_asked_for_its_registry_and_remembered(tmp_path: Path, threads: WorkerThreads) -> None:
    script(tmp_path / "bin" / "docker-credential-keeper", HELPER % "kept")
    script(tmp_path / "bin" / "docker-credential-store", HELPER % "stored")
    config = {"auths": {"s.io": {}}, "credHelpers": {"r.io": "keeper"}, "credsStore": "store"}
    files = node_files(tmp_path, threads, FakeClock(), config)
    for _ in range(2):
        assert users(await files.lookup("r.io/a")) == ["kept"]
        assert users(await files.lookup("s.io/a")) == ["stored"]
        assert users(await files.lookup("docker.io/library/nginx")) == ["stored"]
    servers = (tmp_path / "calls").read_text().split()
    assert servers == ["r.io", "s.io", "https://index.docker.io/v1/"]


async def test_a_helper_is_asked_again_after_five_minutes(tmp_path: Path, threads: WorkerThreads) -> None:
    clock = FakeClock()
    script(tmp_path / "bin" / "docker-credential-store", HELPER % "stored")
    files = node_files(tmp_path, threads, clock, {"credsStore": "store"})
    for _ in range(2):
        await files.lookup("r.io/a")
        await clock.advance(300)
    assert calls(tmp_path) == 2


async def test_a_helpers_token_is_an_identity_token(tmp_path: Path, threads: WorkerThreads) -> None:
    script(tmp_path / "bin" / "docker-credential-store", HELPER % "<token>")
    files = node_files(tmp_path, threads, FakeClock(), {"credsStore": "store"})
    (found,) = await files.lookup("r.io/a")
    assert (found.auth.username, found.auth.identity_token.reveal()) == ("", "s")


@pytest.mark.parametrize("body", ["exit 1", "echo nonsense", None])
async def test_a_helper_that_fails_gives_nothing(tmp_path: Path, threads: WorkerThreads, body: str | None) -> None:
    if body is not None:
        script(tmp_path / "bin" / "docker-credential-store", body)
    files = node_files(tmp_path, threads, FakeClock(), {"credsStore": "store"})
    assert await files.lookup("r.io/a") == ()


# --- exec providers ---


async def test_the_request_names_the_repository_and_nothing_more(tmp_path: Path, group: asyncio.TaskGroup) -> None:
    provider = Provider(tmp_path, group, FakeClock())
    provider.answers()
    found = await provider.exec.fetch("a.r.io/team/app", None)
    assert provider.request == {"kind": "CredentialProviderRequest", "apiVersion": V1, "image": "a.r.io/team/app"}
    assert (tmp_path / "greeting").read_text() == "configured\n"
    ((key, credential),) = found
    assert (key, credential.auth.username) == ("*.r.io", "from-provider")
    assert credential.origin == "credential provider helper (key *.r.io)"


async def test_returned_keys_are_matched_again(tmp_path: Path, group: asyncio.TaskGroup) -> None:
    provider = Provider(tmp_path, group, FakeClock())
    provider.answers(auth={"b.r.io": {"username": "wrong", "password": "p"}, "a.r.io": {"username": "right"}})
    assert users(await Keyring(providers=[provider.exec]).lookup("a.r.io/x")) == ["right"]


@pytest.mark.parametrize(
    ("fields", "repositories", "runs"),
    [
        ({"cacheKeyType": "Image"}, ["a.r.io/x", "a.r.io/x", "a.r.io/y"], 2),
        ({"cacheKeyType": "Registry"}, ["a.r.io/x", "a.r.io/y", "b.r.io/x"], 2),
        ({"cacheKeyType": "Global"}, ["a.r.io/x", "b.r.io/y"], 1),
        ({"cacheDuration": "0s"}, ["a.r.io/x", "a.r.io/x"], 2),
    ],
)
async def test_answers_are_cached_by_their_key(
    tmp_path: Path, group: asyncio.TaskGroup, fields: dict[str, Any], repositories: list[str], runs: int
) -> None:
    provider = Provider(tmp_path, group, FakeClock())
    provider.answers(**fields)
    for repository in repositories:
        assert len(await provider.exec.fetch(repository, None)) == 1
    assert provider.calls == runs


async def test_a_cached_answer_expires(tmp_path: Path, group: asyncio.TaskGroup) -> None:
    clock = FakeClock()
    provider = Provider(tmp_path, group, clock)
    provider.answers(cacheDuration="5m")
    for advance, runs in ((0, 1), (299, 1), (2, 2)):
        await clock.advance(advance)
        await provider.exec.fetch("a.r.io/x", None)
        assert provider.calls == runs


async def test_concurrent_lookups_share_one_run(tmp_path: Path, group: asyncio.TaskGroup) -> None:
    provider = Provider(tmp_path, group, FakeClock())
    provider.answers("sleep 0.05", cacheDuration="0s")
    async with asyncio.TaskGroup() as lookups:
        tasks = [lookups.create_task(provider.exec.fetch("a.r.io/x", None)) for _ in range(5)]
    assert all(len(task.result()) == 1 for task in tasks)
    assert provider.calls == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("exit 3", {}),
        ("echo nonsense", {}),
        ("", {"apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1"}),
        ("", {"kind": "Other"}),
        ("", {"cacheKeyType": "Pod"}),
        ("", {"cacheDuration": "-5m"}),
        ("", {"cacheDuration": "soon"}),
        ("", {"unknown": 1}),
    ],
)
async def test_a_provider_that_fails_gives_nothing(
    tmp_path: Path, group: asyncio.TaskGroup, body: str, fields: dict[str, Any]
) -> None:
    provider = Provider(tmp_path, group, FakeClock())
    provider.answers(body, **fields)
    assert await provider.exec.fetch("a.r.io/x", None) == ()
    assert provider.calls == 1


def token_attributes(**fields: Any) -> dict[str, Any]:
    return {
        "serviceAccountTokenAudience": "r.io",
        "requireServiceAccount": True,
        "cacheType": "ServiceAccount",
        "requiredServiceAccountAnnotationKeys": ["r.io/role"],
        "optionalServiceAccountAnnotationKeys": ["r.io/hint"],
        **fields,
    }


async def test_service_account_mode_sends_a_token_and_tracks_the_account(
    tmp_path: Path, group: asyncio.TaskGroup
) -> None:
    provider = Provider(tmp_path, group, FakeClock(), tokenAttributes=token_attributes())
    provider.answers()
    account = Account(annotations={"r.io/role": "puller", "private": "no"})
    ((_, credential),) = await provider.exec.fetch("a.r.io/x", account)
    assert credential.source == ServiceAccountSource("ns", "builder", "sa-uid")
    assert provider.request["serviceAccountToken"] == "token-1 for r.io"
    assert provider.request["serviceAccountAnnotations"] == {"r.io/role": "puller"}
    account.value = "token-2"
    await provider.exec.fetch("a.r.io/x", account)
    assert provider.calls == 1
    account.annotations["r.io/role"] = "pusher"
    await provider.exec.fetch("a.r.io/x", account)
    assert provider.calls == 2


async def test_with_cache_type_token_each_token_asks_anew(tmp_path: Path, group: asyncio.TaskGroup) -> None:
    provider = Provider(tmp_path, group, FakeClock(), tokenAttributes=token_attributes(cacheType="Token"))
    provider.answers()
    for value in ("one", "one", "two"):
        await provider.exec.fetch("a.r.io/x", Account(annotations={"r.io/role": "x"}, value=value))
    assert provider.calls == 2


@pytest.mark.parametrize("account", [None, Account(name=None), Account()], ids=["none", "no account", "no annotation"])
async def test_without_what_it_needs_a_provider_is_not_run(
    tmp_path: Path, group: asyncio.TaskGroup, account: Account | None
) -> None:
    provider = Provider(tmp_path, group, FakeClock(), tokenAttributes=token_attributes())
    provider.answers()
    assert await provider.exec.fetch("a.r.io/x", account) == ()
    assert provider.calls == 0


async def test_the_token_must_not_come_back_as_password_of_an_account(tmp_path: Path, group: asyncio.TaskGroup) -> None:
    provider = Provider(tmp_path, group, FakeClock(), tokenAttributes=token_attributes())
    provider.answers(auth={"*.r.io": {"username": "u", "password": "token-1 for r.io"}})
    assert await provider.exec.fetch("a.r.io/x", Account(annotations={"r.io/role": "x"})) == ()


# --- provider configuration ---

GOOD = {"name": "helper", "matchImages": ["r.io"], "defaultCacheDuration": "12h", "apiVersion": V1}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "a/b"}, "must be a plain file name"),
        ({"name": "a b"}, "must be a plain file name"),
        ({"name": ".."}, "must be a plain file name"),
        ({"matchImages": []}, "at least one image pattern is required"),
        ({"defaultCacheDuration": None}, "defaultCacheDuration is required"),
        ({"defaultCacheDuration": "-1s"}, "must not be negative"),
        ({"defaultCacheDuration": "soon"}, 'invalid duration "soon"'),
        ({"apiVersion": "v1"}, 'apiVersion "v1" is unknown'),
        ({"extra": 1}, "unknown field"),
        ({"tokenAttributes": token_attributes(cacheType="Pod")}, 'cacheType "Pod" is unknown: one of Token'),
        ({"tokenAttributes": token_attributes(requireServiceAccount=False)}, "need requireServiceAccount: true"),
        (
            {"tokenAttributes": token_attributes(optionalServiceAccountAnnotationKeys=["r.io/role"])},
            "both required and optional: r.io/role",
        ),
        (
            {"apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1", "tokenAttributes": token_attributes()},
            "tokenAttributes need apiVersion",
        ),
    ],
)
def test_a_wrong_configuration_is_an_error_at_start(changes: dict[str, Any], text: str) -> None:
    provider = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    document = {"kind": "CredentialProviderConfig", "apiVersion": "kubelet.config.k8s.io/v1", "providers": [provider]}
    with pytest.raises(ProviderConfigError) as caught:
        parse_provider_config(json.dumps(document), where="providers.yaml")
    assert str(caught.value).startswith("providers.yaml: ")
    assert text in str(caught.value)


def test_a_directory_is_read_in_lexical_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "ignored.txt"):
        program = name.partition(".")[0]
        provider = {**GOOD, "name": program}
        document = {
            "kind": "CredentialProviderConfig",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "providers": [provider],
        }
        (tmp_path / name).write_text(json.dumps(document))
        script(tmp_path / "bin" / program, "true")
    assert [each.name for each in load_provider_configs(tmp_path, tmp_path / "bin")] == ["a", "b"]
    (tmp_path / "bin" / "b").unlink()
    with pytest.raises(ProviderConfigError, match="is not an executable file"):
        load_provider_configs(tmp_path, tmp_path / "bin")


def test_a_name_used_twice_is_refused() -> None:
    document = {"kind": "CredentialProviderConfig", "apiVersion": "kubelet.config.k8s.io/v1", "providers": [GOOD, GOOD]}
    with pytest.raises(ProviderConfigError, match='"helper" is used twice'):
        parse_provider_config(json.dumps(document), where="x")
