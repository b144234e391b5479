"""Who may use an image that is already there: records and the judgement over them."""

from __future__ import annotations

import pytest

from pullet.base.errors import UsageError
from pullet.base.redact import Secret
from pullet.cri.types import AuthConfig
from pullet.policy.credential_match import SecretSource, ServiceAccountSource, TrackedCredential, credential_hash
from pullet.policy.pull_record import (
    ImageAccess,
    PulledRecord,
    PullRecordInvalidError,
    RecordedSecret,
    access_of,
    decode_intent,
    decode_record,
    encode_intent,
    encode_record,
    merge_access,
    needs_rewrite,
    record_file_name,
)
from pullet.policy.pull_verification import (
    AccessFacts,
    Accessible,
    MustProve,
    MustPullResult,
    NeedsCredentials,
    VerificationPolicy,
    VerificationRule,
    check_access,
    check_credentials,
    parse_verification_rule,
)

IMAGE, NAME, REF = "registry.example.com/team/kep:1.0", "registry.example.com/team/kep", "sha256:b1"
THEN, NOW = "2026-11-20T18:19:13Z", "2026-11-20T18:21:56Z"
RIGHT, COPY, OTHER = (SecretSource("ns", name, f"uid-{name}") for name in ("right", "right-copy", "other"))


def login(source: SecretSource | ServiceAccountSource | None, password: str = "s3cret") -> TrackedCredential:
    auth = AuthConfig(username="alice", password=Secret(password))
    return TrackedCredential(auth=auth, source=source, hash=credential_hash(auth))


def recorded(access: ImageAccess | None, name: str = NAME) -> PulledRecord:
    return PulledRecord(image_ref=REF, last_updated_at=THEN, access={name: access} if access else {})


BY_RIGHT = access_of(login(RIGHT))


# --- policies ---


@pytest.mark.parametrize(
    ("policy", "preloaded", "pulled"),
    [
        ("NeverVerify", False, False),
        ("NeverVerifyPreloadedImages", False, True),
        ("AlwaysVerify", True, True),
        ("NeverVerifyAllowlistedImages", True, True),
    ],
)
def test_policies(policy: str, preloaded: bool, pulled: bool) -> None:
    rule = parse_verification_rule(policy)
    assert rule.requires_proof(IMAGE, pulled_by_kubelet=False) is preloaded
    assert rule.requires_proof(IMAGE, pulled_by_kubelet=True) is pulled


@pytest.mark.parametrize(
    ("pattern", "image", "is_allowed"),
    [
        ("ubuntu", "ubuntu:22.04", True),
        ("ubuntu", "docker.io/library/ubuntu", False),
        ("docker.io/library/ubuntu", "ubuntu", False),
        ("r.io/team/*", "r.io/team/app:1", True),
        ("r.io/team/*", "r.io/team/deep/app", True),
        ("r.io/team/*", "r.io/teams/app", False),
        ("r.io/team", "r.io/team/app", False),
        ("r.io/a", f"r.io/a@sha256:{'0' * 64}", True),
    ],
)
def test_allow_list(pattern: str, image: str, is_allowed: bool) -> None:
    rule = parse_verification_rule("NeverVerifyAllowlistedImages", [pattern])
    assert rule.requires_proof(image, pulled_by_kubelet=True) is not is_allowed


@pytest.mark.parametrize(
    "pattern", ["", " ", " a", "a ", "/*", "a*", "a/*/b", "*", "a:1", f"a@sha256:{'0' * 64}", "a/"]
)
def test_patterns_that_mean_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="preloadedImagesVerificationAllowlist"):
        parse_verification_rule("NeverVerifyAllowlistedImages", [pattern])


def test_a_list_without_its_policy_and_an_unknown_policy_are_refused() -> None:
    with pytest.raises(UsageError, match="is read only with policy NeverVerifyAllowlistedImages"):
        parse_verification_rule("AlwaysVerify", ["a"])
    with pytest.raises(UsageError, match='"Sometimes" is unknown: one of NeverVerify, '):
        parse_verification_rule("Sometimes")


# --- the answer without credentials ---

DEFAULT = VerificationRule()
ALWAYS = VerificationRule(VerificationPolicy.ALWAYS_VERIFY)


@pytest.mark.parametrize(
    ("rule", "facts", "kind", "result"),
    [
        (DEFAULT, AccessFacts(image=IMAGE, image_ref=""), MustProve, MustPullResult.MUST_AUTHENTICATE),
        (DEFAULT, AccessFacts(image=IMAGE, image_ref=REF), Accessible, MustPullResult.POLICY_ALLOWED),
        (ALWAYS, AccessFacts(image=IMAGE, image_ref=REF), MustProve, MustPullResult.MUST_AUTHENTICATE),
        (
            DEFAULT,
            AccessFacts(image=IMAGE, image_ref=REF, has_intent=True),
            MustProve,
            MustPullResult.MUST_AUTHENTICATE,
        ),
        (DEFAULT, AccessFacts(image=IMAGE, image_ref=REF, read_error="corrupt"), MustProve, MustPullResult.ERROR),
        (
            DEFAULT,
            AccessFacts(image=IMAGE, image_ref=REF, record=recorded(ImageAccess(node_pods_accessible=True))),
            Accessible,
            MustPullResult.RECORD_FOUND,
        ),
        (
            DEFAULT,
            AccessFacts(image="other:1", image_ref=REF, record=recorded(ImageAccess(node_pods_accessible=True))),
            MustProve,
            MustPullResult.MUST_AUTHENTICATE,
        ),
        (
            DEFAULT,
            AccessFacts(image=IMAGE, image_ref=REF, record=recorded(None)),
            MustProve,
            MustPullResult.MUST_AUTHENTICATE,
        ),
    ],
    ids=["absent", "preloaded", "always", "in flight", "corrupt", "open", "other name", "empty record"],
)
def test_answers_that_need_no_credentials(
    rule: VerificationRule, facts: AccessFacts, kind: type, result: MustPullResult
) -> None:
    answer = check_access(rule, facts)
    assert isinstance(answer, kind)
    assert not isinstance(answer, NeedsCredentials)
    assert answer.result is result
    assert answer.reason


def test_a_recorded_secret_asks_for_the_pods_credentials() -> None:
    facts = AccessFacts(image=IMAGE, image_ref=REF, record=recorded(BY_RIGHT))
    assert check_access(DEFAULT, facts) == NeedsCredentials(BY_RIGHT)


# --- the answer with credentials ---


def test_the_same_secret_opens_and_teaches_nothing() -> None:
    answer = check_credentials(BY_RIGHT, [login(RIGHT)])
    assert isinstance(answer, Accessible)
    assert answer.learned is None


def test_a_copy_with_equal_content_opens_and_is_added() -> None:
    answer = check_credentials(BY_RIGHT, [login(OTHER, "wrong"), login(COPY)])
    assert isinstance(answer, Accessible)
    assert answer.learned == access_of(login(COPY))


def test_a_rotated_secret_opens_and_its_new_hash_is_kept() -> None:
    answer = check_credentials(BY_RIGHT, [login(RIGHT, "rotated")])
    assert isinstance(answer, Accessible)
    assert answer.learned is not None
    merged = merge_access(recorded(BY_RIGHT), image_ref=REF, name=NAME, access=answer.learned, now=NOW)
    assert merged.access[NAME] == access_of(login(RIGHT, "rotated"))


@pytest.mark.parametrize(
    "credentials",
    [[], [login(OTHER, "wrong")], [login(None)], [login(ServiceAccountSource("ns", "sa", "u"))]],
    ids=["none", "wrong", "the node's own", "a service account"],
)
def test_nothing_else_opens(credentials: list[TrackedCredential]) -> None:
    assert isinstance(check_credentials(BY_RIGHT, credentials), MustProve)


def test_a_hundred_recorded_secrets_are_enough() -> None:
    many = ImageAccess(
        secrets=tuple(RecordedSecret(SecretSource("ns", f"s{n:03}", "u"), f"hash{n}") for n in range(100))
    )
    by_coordinates = TrackedCredential(auth=AuthConfig(), source=SecretSource("ns", "s005", "u"), hash="new")
    assert isinstance(check_credentials(many, [by_coordinates]), MustProve)
    by_hash = TrackedCredential(auth=AuthConfig(), source=OTHER, hash="hash7")
    answer = check_credentials(many, [by_hash])
    assert isinstance(answer, Accessible)
    assert answer.learned is None


def test_empty_hashes_match_by_coordinates_only() -> None:
    access = ImageAccess(secrets=(RecordedSecret(RIGHT, ""),))
    assert isinstance(check_credentials(access, [TrackedCredential(auth=AuthConfig(), source=OTHER)]), MustProve)
    assert isinstance(check_credentials(access, [TrackedCredential(auth=AuthConfig(), source=RIGHT)]), Accessible)


def test_only_the_first_service_account_counts() -> None:
    mine, other = ServiceAccountSource("ns", "mine", "u"), ServiceAccountSource("ns", "other", "u")
    access = ImageAccess(service_accounts=(mine,))
    assert isinstance(check_credentials(access, [login(mine), login(other)]), Accessible)
    assert isinstance(check_credentials(access, [login(other), login(mine)]), MustProve)


# --- records ---


def test_what_a_pull_proves() -> None:
    assert access_of(None) == access_of(login(None)) == ImageAccess(node_pods_accessible=True)
    assert access_of(login(RIGHT)).secrets[0].source == RIGHT
    account = ServiceAccountSource("ns", "sa", "u")
    assert access_of(login(account)) == ImageAccess(service_accounts=(account,))


def test_proofs_join_sorted_and_unique() -> None:
    record = merge_access(None, image_ref=REF, name=NAME, access=access_of(login(RIGHT)), now=THEN)
    record = merge_access(record, image_ref=REF, name=NAME, access=access_of(login(OTHER)), now=NOW)
    assert [each.source.name for each in record.access[NAME].secrets] == ["other", "right"]
    assert record.last_updated_at == NOW


def test_nothing_new_leaves_the_record_alone() -> None:
    record = recorded(BY_RIGHT)
    for access in (BY_RIGHT, None, ImageAccess()):
        assert merge_access(record, image_ref=REF, name=NAME, access=access, now=NOW) is record


def test_access_for_all_replaces_lists_and_is_never_narrowed() -> None:
    everyone = ImageAccess(node_pods_accessible=True)
    opened = merge_access(recorded(BY_RIGHT), image_ref=REF, name=NAME, access=everyone, now=NOW)
    assert opened.access[NAME] == everyone
    assert merge_access(opened, image_ref=REF, name=NAME, access=BY_RIGHT, now=NOW) is opened


def test_recovery_makes_a_record_that_proves_nothing() -> None:
    record = merge_access(None, image_ref=REF, name=NAME, access=None, now=NOW)
    assert record.access == {}
    assert isinstance(check_access(DEFAULT, AccessFacts(image=IMAGE, image_ref=REF, record=record)), MustProve)


# Written by a kubelet 1.36.
RECORD = (
    b'{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":'
    b'"2026-11-20T18:19:13Z","imageRef":"sha256:90d3d77b325d007f4b834975aca168046a835fad84e1d161bd78527933f8c631",'
    b'"credentialMapping":{"registry.example.com/team/app":{"kubernetesSecrets":[{"uid":'
    b'"80bbed2a-9124-4a00-aa96-b90c82ff4f7d","namespace":"s08-private","name":"right","credentialHash":'
    b'"84e602bef66066d26999b4f32a2afb963a80f8384d3cdf9145038d3c3da62d2b"}]}}}'
)
OPEN_RECORD = (
    b'{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":'
    b'"2026-11-20T18:14:15Z","imageRef":"sha256:66b868262c4f8dcac3c55ff4df7c621c706e7aca06cf460cee77f8c7bdb085f8",'
    b'"credentialMapping":{"nginx":{"nodePodsAccessible":true}}}'
)


@pytest.mark.parametrize("data", [RECORD, OPEN_RECORD])
def test_records_of_a_kubelet_survive_byte_for_byte(data: bytes) -> None:
    assert encode_record(decode_record(data)) == data


def test_the_file_name_is_the_kubelets() -> None:
    assert record_file_name("sha256:db55942a48a30a2d1ab39d7fa232fb4277c603f7b7aa22f806da8f033e99df1b") == (
        "sha256-04654c265182bc827c28c13bdbc8674342a3c83d9b8a57fc5a0965dcf14a6c42"
    )


def test_intents_round_trip() -> None:
    data = encode_intent("nginx:1")
    assert data == b'{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"nginx:1"}'
    assert decode_intent(data) == "nginx:1"


def test_an_alpha_record_is_read_and_wants_rewriting() -> None:
    old = RECORD.replace(b"v1beta1", b"v1alpha1")
    assert decode_record(old) == decode_record(RECORD)
    assert needs_rewrite(old)
    assert not needs_rewrite(RECORD)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        RECORD.replace(b"imageRef", b"imageref"),
        RECORD.replace(b"v1beta1", b"v9"),
        RECORD.replace(b"ImagePulledRecord", b"ImagePullIntent"),
        RECORD.replace(b'"kind"', b'"extra":1,"kind"'),
        b"\xff",
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(PullRecordInvalidError):
        decode_record(data)
