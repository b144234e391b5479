"""The steps of each recorded scenario, as its commands.txt has them, with waits on what is seen instead of on time.

`images` are those whose requests belong to the scenario, so that scenarios can share one registry log. `node` says
which scenarios share a node: in their order here, since some find what an earlier one left there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import yaml
from tests.golden import compare
from tests.golden.images import ImageSpec
from tests.golden.observation import Observation
from tests.golden.replay import Replay

Aspect: TypeAlias = Callable[[Observation, Observation], list[str]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One recording to replay. `given` are images on the node before it starts."""

    name: str
    steps: Callable[[Replay], None]
    images: tuple[str, ...]
    given: tuple[str, ...] = ()
    requests: Aspect = compare.requests
    statuses: Aspect = compare.statuses
    is_settled: bool = True  # whether its last state is one that stays, and can be compared


def _latest(replay: Replay) -> None:
    for number in range(3):
        replay.apply(number)
        replay.wait_running()


def _one_after_the_other(replay: Replay) -> None:
    for number in range(len(replay.documents)):
        replay.apply(number)
        replay.wait_running()


def _always_present(replay: Replay) -> None:
    replay.preload("nginx:1.17.1")
    replay.apply(0)
    replay.wait_running()


def _never(replay: Replay) -> None:
    replay.preload("nginx:1.17.1")
    replay.apply(0)
    replay.apply(1)
    replay.wait_status("nginx-never-present", "Running")
    replay.wait_count("nginx-never-absent", "ErrImageNeverPull", 4)
    replay.preload("nginx:1.16")
    replay.wait_running()


def _digest(replay: Replay) -> None:
    for number in range(7):
        replay.apply(number)
        replay.wait_running()
    replay.apply(7)
    replay.wait_status("h-digest-missing", "ErrImagePull")
    replay.apply(8)
    replay.wait_status("i-tag-after-digest-pull", "Running")
    replay.wait_status("h-digest-missing", "ImagePullBackOff")
    replay.wait_count("h-digest-missing", "Pulling", 2)


def _missing_tag(replay: Replay) -> None:
    for number in range(3):
        replay.apply(number)
    rows = ["ErrImagePull", "ImagePullBackOff"] * 2
    for pod in ("nginx", "nginx-always", "two"):
        replay.wait_rows(pod, rows, seconds=75)


def _invalid_names(replay: Replay) -> None:
    for number in range(len(replay.documents)):
        replay.apply(number)
    pods = [pod for pod in replay.pod_names() if pod not in ("underscoredomain", "leadspace", "trailspace")]
    for pod in pods:
        replay.wait_status(pod, "InvalidImageName")
        replay.wait_count(pod, "InspectFailed", 3)
    replay.wait_rows("underscoredomain", ["ErrImagePull", "ImagePullBackOff"])


def _moved_tag(replay: Replay) -> None:
    replay.preload("movenever:v1")
    for number in range(4):
        replay.apply(number)
        replay.wait_running()
    pods = ("movealways", "moveifnp", "movenever", "movedigest")
    for pod in pods:
        replay.logs(pod)
    for pod in pods:
        replay.push(ImageSpec(name=f"{pod}:v1", text=f"{pod}-second", is_index=False, label=f"{pod}:v1#2"))
    replay.kubectl("delete", "pods", "--all", "--grace-period=1")
    replay.wait_gone()
    for number in range(4, 8):
        replay.apply(number)
        replay.wait_running()
    for pod in pods:
        replay.logs(pod)


def _init_shared(replay: Replay) -> None:
    for number in range(3):
        replay.apply(number)
        replay.wait_running()
    replay.apply(3)
    replay.wait_status("badinit", "Init:ErrImagePull")
    replay.apply(4)
    replay.wait_status("sidecar", "Running")
    replay.wait_status("badinit", "Init:ImagePullBackOff")


FAILING_PRIVATE = (
    "a-no-secret",
    "b-wrong-secret",
    "c-missing-secret",
    "d-otherhost-secret",
    "e-opaque-secret",
    "l-right-but-tag-missing",
)


def _private(replay: Replay) -> None:
    replay.follow(0, 18)
    for pod in FAILING_PRIVATE:
        replay.wait_rows(pod, ["ErrImagePull", "ImagePullBackOff"])
    replay.apply(18)
    replay.wait_status("c-missing-secret", "Running")


def _registry_down(replay: Replay) -> None:
    replay.follow(0, len(replay.documents))
    for pod in replay.pod_names():
        replay.wait_rows(pod, ["ErrImagePull", "ImagePullBackOff"])


def _crash_loop(replay: Replay) -> None:
    replay.follow(0, len(replay.documents))
    for pod in replay.pod_names():
        replay.wait_restarts(pod, 3)


def _image_volume(replay: Replay) -> None:
    replay.apply(0)
    replay.wait_count("absent-never", "ErrImageNeverPull", 2)
    for number, pod in enumerate(("absent-default", "present-default", "present-always", "present-never"), 1):
        replay.apply(number)
        replay.wait_status(pod, "Running")
        replay.logs(pod)
    for number in range(5, len(replay.documents)):
        replay.apply(number)
    replay.wait_status("absent-never", "Running")
    for pod in ("missing", "latest-default"):
        replay.wait_rows(pod, ["ErrImagePull", "ImagePullBackOff"])


def _always_pull_images(replay: Replay) -> None:
    replay.follow(0, 4)
    replay.wait_running()


def _access(replay: Replay) -> None:
    names = [str(yaml.safe_load(document)["metadata"]["name"]) for document in replay.documents]
    recreated = names.index("right", names.index("n-other-tag-same-digest-secret"))
    preloaded = names.index("k-preloaded-nosecret-ifnp")
    replay.follow(0, preloaded)  # k and l want an image preloaded with credentials
    replay.follow(preloaded + 2, recreated)
    replay.kubectl("delete", "secret", "right")
    replay.follow(recreated, len(names))
    for pod in ("b-nosecret-ifnp", "g-wrong-secret-ifnp", "j-nosecret-always", "m-other-tag-same-digest-nosecret"):
        replay.wait_rows(pod, ["ErrImagePull", "ImagePullBackOff"])


NGINX_DIGESTS = ("nginx:1.17.0", "nginx:1.17.1", "sha256:" + "0" * 64)
SCENARIOS: dict[str, tuple[Scenario, ...]] = {
    # each of them finds on the node what the one before left there
    "tags": (
        Scenario(name="01-latest-nopolicy", steps=_latest, images=("nginx:latest",)),
        Scenario(name="02-tag-nopolicy", steps=_one_after_the_other, images=("nginx:1.17.1",)),
        Scenario(name="03-always-tag-present", steps=_always_present, images=("nginx:1.17.1",)),
        Scenario(name="04-ifnotpresent", steps=_one_after_the_other, images=("nginx:1.19", "nginx:latest")),
        Scenario(name="05-never", steps=_never, images=("nginx:1.16", "nginx:1.17.1")),
    ),
    "missing": (
        Scenario(
            name="07-missing-tag",
            steps=_missing_tag,
            images=("nginx:1.17.5", "nginx:1.17.6"),
            given=("busybox:1.36",),
            requests=compare.requests_per_image,
        ),
    ),
    "invalid": (Scenario(name="09-invalid-name", steps=_invalid_names, images=()),),
    "moved": (
        Scenario(
            name="11-moved-tag",
            steps=_moved_tag,
            images=("movealways:v1", "moveifnp:v1", "movenever:v1", "movedigest:v1"),
            given=("movealways:v1", "movedigest@<manifest movedigest:v1>"),
        ),
    ),
    "init": (
        Scenario(name="15-init-shared", steps=_init_shared, images=("busybox:1.33", "busybox:1.34", "busybox:nope")),
    ),
    "crash": (
        Scenario(
            name="12-crashloop",
            steps=_crash_loop,
            images=("crash:1.0", "crashifnp:1.0"),
            requests=compare.kinds_of_requests,
            statuses=compare.begun_statuses,
            is_settled=False,
        ),
    ),
    "volume": (
        Scenario(
            name="17-image-volume",
            steps=_image_volume,
            images=("data:v1", "data:v9", "data:latest"),
            given=("busybox:1.36",),
            requests=compare.kinds_of_requests,
        ),
    ),
    "private": (
        Scenario(
            name="08-private",
            steps=_private,
            images=tuple(f"team/app:{tag}" for tag in ("1.0", "1.1", "1.2", "1.3", "1.4", "9.9")),
            requests=compare.kinds_of_requests,
        ),
        Scenario(
            name="18-kep2535",
            steps=_access,
            images=tuple(f"team/kep:{tag}" for tag in ("1.0", "1.1", "1.5")),
            requests=compare.kinds_of_requests,
        ),
    ),
    "trouble": (
        Scenario(
            name="10-registry-down",
            steps=_registry_down,
            images=("err500:1.0", "err429:1.0", "err403:1.0"),
            requests=compare.kinds_of_requests,
        ),
    ),
    # its node has another admission plugin
    "always": (
        Scenario(
            name="13-alwayspullimages-on",
            steps=_always_pull_images,
            images=("busybox:1.36", "web:1.0", "data:v1"),
            given=("busybox:1.36", "web:1.0", "data:v1"),
            requests=compare.kinds_of_requests,
        ),
    ),
    # wants nginx:1.17.0 and nginx:1.17.1 absent, so it has a node of its own
    "digests": (Scenario(name="06-digest", steps=_digest, images=NGINX_DIGESTS),),
}
# groups with a node of their own, and how that is configured
OWN_NODE: dict[str, dict[str, object]] = {
    "digests": {"podSubnet": "10.89.0.0/16"},
    "always": {"podSubnet": "10.90.0.0/16", "enableAdmissionPlugins": ["AlwaysPullImages"]},
}
