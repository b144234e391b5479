"""Texts of events and waiting states, by release."""

from __future__ import annotations

import pytest

from pullet.base.errors import UsageError
from pullet.policy.wording import Wording, aggregate_errors, go_duration, human_size

NOW = Wording()
IMAGE = "nginx:1.17.5"
NOT_FOUND = (
    'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nginx:1.17.5": '
    "failed to resolve image: docker.io/library/nginx:1.17.5: not found"
)


def pulled(version: str, pull: float, total: float, size: int = 329530) -> str:
    return Wording(version).pulled("nginx:latest", pull_seconds=pull, total_seconds=total, size_bytes=size)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (NOW.pulling("nginx"), 'Pulling image "nginx"'),
        (
            NOW.pulled("crash:1.0", pull_seconds=0.3179, total_seconds=0.31799, size_bytes=329530),
            'Successfully pulled image "crash:1.0" in 317ms (317ms including waiting). Image size: 329530 bytes.',
        ),
        (
            NOW.already_present("nginx:1.17.1"),
            'Container image "nginx:1.17.1" already present on machine and can be accessed by the pod',
        ),
        (NOW.image_back_off(IMAGE), 'Back-off pulling image "nginx:1.17.5"'),
        (
            NOW.image_back_off_waiting(IMAGE, f"ErrImagePull: {NOT_FOUND}"),
            f'Back-off pulling image "nginx:1.17.5": ErrImagePull: {NOT_FOUND}',
        ),
        (NOW.image_back_off_waiting(IMAGE, ""), 'Back-off pulling image "nginx:1.17.5"'),
        (NOW.pull_failed(IMAGE, NOT_FOUND), f'Failed to pull image "nginx:1.17.5": {NOT_FOUND}'),
        (NOW.container_error("ErrImagePull"), "Error: ErrImagePull"),
        (
            NOW.invalid_image_name("Nginx:1", 'couldn\'t parse image name "Nginx:1": E'),
            'Failed to apply default image tag "Nginx:1": couldn\'t parse image name "Nginx:1": E',
        ),
        (NOW.inspect_failed("a:1", "boom"), 'Failed to inspect image "": boom'),
        (
            NOW.never_pull("nginx:1.16"),
            'Container image "nginx:1.16" is not present with pull policy of Never',
        ),
        (
            NOW.pull_secrets_missing(["a", "b"]),
            "Unable to retrieve some image pull secrets (a, b); attempting to pull the image may not succeed.",
        ),
        (
            NOW.pull_intent_failed("a:1", "disk full"),
            'Failed to record image pull intent for container image "a:1": disk full',
        ),
        (NOW.created("c"), "Container created"),
        (NOW.started("c"), "Container started"),
        (NOW.killing("c"), "Stopping container c"),
        (
            NOW.restart_back_off("c", "p_ns(uid)"),
            "Back-off restarting failed container c in pod p_ns(uid)",
        ),
        (
            NOW.restart_back_off_waiting("c", "p_ns(uid)", 300),
            "back-off 5m0s restarting failed container=c pod=p_ns(uid)",
        ),
        (NOW.sandbox_changed(), "Pod sandbox changed, it will be killed and re-created."),
        (NOW.pulling('a"b\\'), 'Pulling image "a\\"b\\\\"'),
    ],
)
def test_texts_of_the_default_release(text: str, wanted: str) -> None:
    assert text == wanted


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("1.23", 'Successfully pulled image "nginx:latest" in 15.434915091s'),
        ("1.28", 'Successfully pulled image "nginx:latest" in 15.434915091s (16.5s including waiting)'),
        ("1.29", 'Successfully pulled image "nginx:latest" in 15.434s (16.5s including waiting)'),
        (
            "v1.33.4",
            'Successfully pulled image "nginx:latest" in 15.434s (16.5s including waiting). Image size: 329530 bytes.',
        ),
    ],
)
def test_pulled_by_release(version: str, wanted: str) -> None:
    assert pulled(version, 15.434915091, 16.5) == wanted


def test_the_transcript_of_1_28() -> None:
    text = Wording("1.28").pulled("tomcat:8.0", pull_seconds=40.129798231, total_seconds=40.129811976, size_bytes=1)
    assert text == 'Successfully pulled image "tomcat:8.0" in 40.129798231s (40.129811976s including waiting)'


@pytest.mark.parametrize("version", ["1.23", "1.28", "1.36"])
def test_never_reads_the_same_in_every_release(version: str) -> None:
    text = 'Container image "nginx:1.17.5" is not present with pull policy of Never'
    assert Wording(version).never_pull("nginx:1.17.5") == text


@pytest.mark.parametrize(
    ("version", "created", "started"),
    [
        ("1.23", "Created container c", "Started container c"),
        ("1.31", "Created container c", "Started container c"),
        ("1.32", "Created container: c", "Started container c"),
        ("1.34", "Created container: c", "Started container c"),
        ("1.35", "Container created", "Container started"),
    ],
)
def test_created_and_started_by_release(version: str, created: str, started: str) -> None:
    assert (Wording(version).created("c"), Wording(version).started("c")) == (created, started)


@pytest.mark.parametrize(
    ("wording", "is_long"),
    [
        (Wording("1.23"), False),
        (Wording("1.34"), False),
        (Wording("1.36"), True),
        (Wording("1.36", ensures_secret_pulled_images=False), False),
        (Wording("1.33", ensures_secret_pulled_images=True), True),
    ],
)
def test_present_images_by_release_and_gate(wording: Wording, is_long: bool) -> None:
    assert wording.already_present("a").endswith("and can be accessed by the pod") is is_long


def test_older_back_offs_were_plain() -> None:
    assert Wording("1.31").image_back_off_waiting("a", "ErrImagePull: x") == 'Back-off pulling image "a"'
    assert Wording("1.23").restart_back_off("c", "p") == "Back-off restarting failed container"
    assert Wording("1.28").inspect_failed("a:1", "boom") == 'Failed to inspect image "a:1": boom'


@pytest.mark.parametrize(
    ("version", "error", "reason", "message"),
    [
        ("1.36", "not found", "ErrImagePull", "not found"),
        (
            "1.36",
            "RegistryUnavailable: no route",
            "RegistryUnavailable",
            "image pull failed for a:1 because the registry is unavailable: no route",
        ),
        (
            "1.27",
            "RegistryUnavailable: no route",
            "RegistryUnavailable",
            "image pull failed for a:1 because the registry is unavailable.",
        ),
        (
            "1.36",
            "SignatureValidationFailed: who signed",
            "SignatureValidationFailed",
            "image pull failed for a:1 because the signature validation failed: who signed",
        ),
        ("1.36", "[RegistryUnavailable: a, b]", "ErrImagePull", "[RegistryUnavailable: a, b]"),
    ],
)
def test_pull_errors_are_told_by_their_prefix(version: str, error: str, reason: str, message: str) -> None:
    assert Wording(version).pull_error("a:1", error) == (reason, message)


@pytest.mark.parametrize(
    ("texts", "wanted"), [(["a"], "a"), (["a", "a"], "a"), (["a", "b", "a"], "[a, b]"), (["b", "a"], "[b, a]")]
)
def test_errors_of_several_credentials(texts: list[str], wanted: str) -> None:
    assert aggregate_errors(texts) == wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (0, "0s"),
        (1.234, "1.234s"),
        (0.456, "456ms"),
        (62.5, "1m2.5s"),
        (7384, "2h3m4s"),
        (10, "10s"),
        (0.0000015, "1.5µs"),
        (0.00000002, "20ns"),
        (3600, "1h0m0s"),
    ],
)
def test_go_durations(seconds: float, wanted: str) -> None:
    assert go_duration(seconds) == wanted


def test_durations_are_cut_not_rounded() -> None:
    assert go_duration(1.9999, truncate_to_ms=True) == "1.999s"
    assert go_duration(0.0009, truncate_to_ms=True) == "0s"


@pytest.mark.parametrize(
    ("size", "wanted"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (21474836480, "20.0 GiB"), (1 << 41, "2.0 TiB")],
)
def test_human_sizes(size: int, wanted: str) -> None:
    assert human_size(size) == wanted


def test_disk_space_by_release() -> None:
    def text(version: str) -> str:
        return Wording(version).free_disk_space_failed(
            usage_percent=90, capacity_bytes=1 << 30, to_free_bytes=100, freed_bytes=7
        )

    assert text("1.34") == (
        "Failed to garbage collect required amount of images. Attempted to free 100 bytes, "
        "but only found 7 bytes eligible to free."
    )
    assert text("1.36").startswith("Insufficient free disk space on the node's image filesystem (90% of 1.0 GiB used).")


@pytest.mark.parametrize("version", ["", "2.0", "latest", "1.36x", "1"])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match="is not a Kubernetes release"):
        Wording(version)


def test_errors_of_image_deletion() -> None:
    assert NOW.aged_images_failed(3600, ["in use"]) == (
        "wanted to free images older than 1h0m0s, encountered errors in image deletion: in use"
    )
    assert NOW.freeing_failed(wanted_bytes=10, freed_bytes=3, errors=["a", "b"]) == (
        "wanted to free 10 bytes, but freed 3 bytes space with errors in image deletion: [a, b]"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (NOW.sandbox_failed("E"), "Failed to create pod sandbox: E"),
        (NOW.invalid_disk_capacity(), "invalid capacity 0 on image filesystem"),
        (NOW.probe_failed("Liveness", "refused"), "Liveness probe failed: refused"),
        (NOW.post_start_hook_failed(), "PostStartHook failed"),
        (NOW.pre_create_hook_failed("E"), "Internal PreCreateContainer hook failed: E"),
        (NOW.pre_start_hook_failed("E"), "Internal PreStartContainer hook failed: E"),
    ],
)
def test_texts_of_sandbox_probes_and_hooks(text: str, wanted: str) -> None:
    assert text == wanted
