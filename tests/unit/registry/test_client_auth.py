from __future__ import annotations

import threading
from contextlib import closing

import pytest
from tests.unit.registry.clients import ALICE, NGINX, USERS, add_blob, blob, client_of, push, read_all

from pullet.base.redact import Secret
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.registry.auth import Credential
from pullet.registry.errors import (
    RegistryError,
    UnauthorizedError,
)
from pullet.registry.transport import Caller
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.registry_faults import FakeAuth, Fault


class TestBasic:
    def test_the_credential_is_sent_once_it_is_asked_for_and_at_once_from_then_on(self) -> None:
        with (
            FakeRegistry(auth=FakeAuth(scheme="basic", users=USERS)) as registry,
            closing(client_of(registry)) as client,
        ):
            push(registry)
            for _ in range(2):
                client.resolve(NGINX, Caller(credential=ALICE))
            assert [one.status for one in registry.log] == [401, 200, 200]
            assert "authorization" not in registry.log[0].headers

    def test_none(self) -> None:
        with (
            FakeRegistry(auth=FakeAuth(scheme="basic", users=USERS)) as registry,
            closing(client_of(registry)) as client,
        ):
            with pytest.raises(UnauthorizedError) as caught:
                client.resolve(NGINX, Caller())
            assert (caught.value.had_credential, caught.value.challenge) == (False, "basic")
            assert len(registry.log) == 1

    def test_wrong(self) -> None:
        wrong = Credential(username="alice", password=Secret("nope"))
        with (
            FakeRegistry(auth=FakeAuth(scheme="basic", users=USERS)) as registry,
            closing(client_of(registry)) as client,
        ):
            with pytest.raises(UnauthorizedError) as caught:
                client.resolve(NGINX, Caller(credential=wrong))
            assert caught.value.had_credential
            assert "nope" not in str(caught.value)
            assert len(registry.log) == 2

    def test_one_callers_credential_is_never_anothers(self) -> None:
        with (
            FakeRegistry(auth=FakeAuth(scheme="basic", users=USERS)) as registry,
            closing(client_of(registry)) as client,
        ):
            push(registry)
            client.resolve(NGINX, Caller(credential=ALICE))
            with pytest.raises(UnauthorizedError):
                client.resolve(NGINX, Caller())


class TestBearer:
    def test_an_anonymous_token_serves_all_requests_of_a_repository(self) -> None:
        auth = FakeAuth(scheme="bearer", allows_anonymous=True)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            image = push(registry)
            resolved = client.resolve(NGINX, Caller())
            client.fetch_manifest(NGINX, resolved.descriptor, Caller())
            for digest, content in image.blobs.items():
                assert (
                    read_all(client, Descriptor(media_type=mediatype.OCI_LAYER, digest=digest, size=len(content)))
                    == content
                )
            assert auth.token_requests == ["GET repository:library/nginx:pull"]

    def test_layers_that_start_together_share_a_token(self) -> None:
        auth = FakeAuth(scheme="bearer", users=USERS)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            descriptors = [add_blob(registry, blob(number)) for number in range(1, 9)]
            failures: list[BaseException] = []

            def fetch(descriptor: Descriptor) -> None:
                try:
                    read_all(client, descriptor, Caller(credential=ALICE))
                except RegistryError as error:
                    failures.append(error)

            threads = [threading.Thread(target=fetch, args=(one,)) for one in descriptors]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
            assert len(auth.token_requests) == 1

    def test_users_get_tokens_for_their_password(self) -> None:
        auth = FakeAuth(scheme="bearer", users=USERS)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            push(registry)
            with pytest.raises(UnauthorizedError) as caught:
                client.resolve(NGINX, Caller())
            assert caught.value.is_token_request
            client.resolve(NGINX, Caller(credential=ALICE))

    def test_identity_tokens_are_exchanged_by_post(self) -> None:
        auth = FakeAuth(scheme="bearer", identity_tokens=frozenset({"refresh"}))
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            push(registry)
            client.resolve(NGINX, Caller(credential=Credential(identity_token=Secret("refresh"))))
            assert auth.token_requests == ["POST repository:library/nginx:pull"]

    def test_registry_tokens_are_sent_as_they_are(self) -> None:
        auth = FakeAuth(scheme="bearer", allows_anonymous=True)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            push(registry)
            token = auth.issue("GET", "", b"", "")
            assert token is not None
            client.resolve(NGINX, Caller(credential=Credential(registry_token=Secret(token))))
            assert len(auth.token_requests) == 1

    def test_a_token_is_renewed_before_it_runs_out(self) -> None:
        auth = FakeAuth(scheme="bearer", allows_anonymous=True, token_seconds=0)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            push(registry)
            for _ in range(3):
                client.resolve(NGINX, Caller())
            assert [one.status for one in registry.log if one.method == "HEAD"] == [401, 200, 200, 200]
            assert len(auth.token_requests) == 3

    def test_a_revoked_token_is_renewed(self) -> None:
        auth = FakeAuth(scheme="bearer", allows_anonymous=True)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            push(registry)
            client.resolve(NGINX, Caller())
            auth.revoke_tokens()
            client.resolve(NGINX, Caller())
            assert [one.status for one in registry.log if one.method == "HEAD"] == [401, 200, 401, 200]

    def test_a_token_that_is_not_enough_is_not_asked_for_for_ever(self) -> None:
        auth = FakeAuth(scheme="bearer", allows_anonymous=True)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            challenge = f'Bearer realm="{registry.url}/token",error="insufficient_scope"'
            registry.inject(Fault(path="/manifests/", status=401, headers={"WWW-Authenticate": challenge}))
            with pytest.raises(UnauthorizedError) as caught:
                client.resolve(NGINX, Caller())
            assert (caught.value.challenge, caught.value.detail) == ("bearer", "insufficient_scope")
            assert len(registry.log) == 3

    def test_a_realm_that_is_no_url(self) -> None:
        auth = FakeAuth(scheme="bearer", realm="file:///etc/passwd")
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry)) as client:
            with pytest.raises(RegistryError) as error:
                client.resolve(NGINX, Caller(credential=ALICE))
            assert "no usable token server" in str(error.value)
