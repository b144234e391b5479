"""The steps of each recorded scenario, as its commands.txt has them, with waits on what is seen instead of on time.

`images` are those whose requests belong to the scenario, so that scenarios can share one registry log. `node` says
which scenarios share a node: in their order here, since some find what an earlier one left there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import yaml
from tests.golden import compare
from tests.golden.compare import Aspect
from tests.golden.images import ImageSpec
from tests.golden.replay import Replay
from tests.golden.story import MOST_ATTEMPTS, MOST_TIMES


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


IMAGE_AND_POLICY = {
    "NAME": ".metadata.name",
    "IMAGE": ".spec.containers[0].image",
    "POLICY": ".spec.containers[0].imagePullPolicy",
}
IMAGE_ID = {"IMAGEID": ".status.containerStatuses[0].imageID"}
VOLUME = ".spec.volumes[0].image"


def _latest(replay: Replay) -> None:
    _one_after_the_other(replay)
    replay.columns(**IMAGE_AND_POLICY, **IMAGE_ID)


def _tagged(replay: Replay) -> None:
    _one_after_the_other(replay)
    replay.columns(**IMAGE_AND_POLICY)


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
    replay.wait_count("nginx-never-absent", "Error: ErrImageNeverPull", MOST_TIMES)
    for reason, message in (
        ("ErrImageNeverPull", 'Container image "nginx:1.16" is not present with pull policy of Never'),
        ("Failed", "Error: ErrImageNeverPull"),
    ):
        row = rf"Warning  {reason}  \S+ \(x[45] over \S+\)  kubelet  (?:spec\.\S+: )?{message}\n"
        replay.describes("nginx-never-absent", row)  # kubectl 1.36 says of which container
    replay.preload("nginx:1.16")
    replay.wait_running()


def _digest(replay: Replay) -> None:
    for number in range(7):
        replay.apply(number)
        replay.wait_running()
    replay.apply(7)
    replay.wait_rows("h-digest-missing", ["ErrImagePull"])
    replay.apply(8)
    replay.wait_status("i-tag-after-digest-pull", "Running")
    replay.columns(**IMAGE_AND_POLICY, STIMAGE=".status.containerStatuses[0].image", **IMAGE_ID)


def _all_at_once(replay: Replay) -> None:
    for number in range(len(replay.documents)):
        replay.apply(number)


def _moved_tag(replay: Replay) -> None:
    replay.preload("movenever:v1")
    for number in range(4):
        replay.apply(number)
        replay.wait_running()
    pods = ("movealways", "moveifnp", "movenever", "movedigest")
    for pod in pods:
        replay.logs(pod)
    replay.columns(**IMAGE_AND_POLICY, **IMAGE_ID)
    for pod in pods:
        replay.push(ImageSpec(name=f"{pod}:v1", text=f"{pod}-second", is_index=False, label=f"{pod}:v1#2"))
    replay.kubectl("delete", "pods", "--all", "--grace-period=1")
    replay.wait_gone()
    for number in range(4, 8):
        replay.apply(number)
        replay.wait_running()
    for pod in pods:
        replay.logs(pod)
    replay.columns(**IMAGE_AND_POLICY, **IMAGE_ID)


def _init_shared(replay: Replay) -> None:
    for number in range(3):
        replay.apply(number)
        replay.wait_running()
    replay.apply(3)
    replay.wait_rows("badinit", ["Init:ErrImagePull"])
    replay.apply(4)


def _private(replay: Replay) -> None:
    replay.follow(0, 18)
    replay.wait_count("c-missing-secret", "Error: ErrImagePull", MOST_ATTEMPTS)
    replay.apply(18)


def _registry_down(replay: Replay) -> None:
    replay.follow(0, len(replay.documents))


def _crash_loop(replay: Replay) -> None:
    for number, pod in enumerate(replay.pod_names()):
        replay.apply(number)
        replay.wait_rows(pod, ["Running"])  # two of them pull one image, each for itself


def _image_volume(replay: Replay) -> None:
    replay.apply(0)
    replay.wait_count("absent-never", "Error: ErrImageNeverPull", 2)
    for number, pod in enumerate(("absent-default", "present-default", "present-always", "present-never"), 1):
        replay.apply(number)
        replay.wait_status(pod, "Running")
        replay.logs(pod)
    for number in range(5, len(replay.documents)):
        replay.apply(number)
    replay.columns(NAME=".metadata.name", REF=f"{VOLUME}.reference", POLICY=f"{VOLUME}.pullPolicy")


POLICY_OF_TEMPLATE = "jsonpath={.spec.template.spec.containers[0].imagePullPolicy}"


def _always_pull_images(replay: Replay) -> None:
    for number in range(5):
        replay.apply(number)
        replay.wait_running()  # else the recording's order of requests is a matter of luck
    replay.rolled_out("d")
    replay.columns(**IMAGE_AND_POLICY, INIT=".spec.initContainers[0].imagePullPolicy", VOL=f"{VOLUME}.pullPolicy")
    replay.ask("get", "deploy", "d", "-o", POLICY_OF_TEMPLATE)
    replay.debug("p-ifnp", image="web:1.1", policy="IfNotPresent")
    replay.ask("get", "pod", "p-ifnp", "-o", "jsonpath={.spec.ephemeralContainers}")


def _deployment(replay: Replay) -> None:
    image = "/spec/template/spec/containers/0/imagePullPolicy"
    replay.apply(0)
    replay.rolled_out("web")
    for change in (
        ("set", "image", "deploy/web", "web=web:1.1"),
        ("rollout", "restart", "deploy/web"),
        ("patch", "deploy", "web", "--type=json", "-p", f'[{{"op":"replace","path":"{image}","value":"Always"}}]'),
        ("rollout", "restart", "deploy/web"),
    ):
        replay.kubectl(*change)
        replay.rolled_out("web")
    replay.kubectl("set", "image", "deploy/web", "web=web:9.9")
    replay.wait_count("web-<6>-<1>", "Error: ErrImagePull", 2)
    replay.kubectl("rollout", "undo", "deploy/web")
    replay.rolled_out("web")
    replay.ask("rollout", "history", "deploy/web")
    replay.kubectl("set", "image", "deploy/web", "web=busybox:latest")
    template = "{.spec.template.spec.containers[0]"
    replay.ask("get", "deploy", "web", "-o", f"jsonpath={template}.image}} {template}.imagePullPolicy}}")
    _change_plain_pod(replay)
    replay.rolled_out("web")


def _change_plain_pod(replay: Replay) -> None:
    def image(name: str) -> str:
        return f'{{"spec":{{"containers":[{{"name":"plain","image":"{name}"}}]}}}}'

    policy = "/spec/containers/0/imagePullPolicy"
    replay.apply(1)
    replay.wait_status("plain", "Running")
    replay.refused(
        "patch", "pod", "plain", "--type=json", "-p", f'[{{"op":"replace","path":"{policy}","value":"Always"}}]'
    )
    replay.kubectl("patch", "pod", "plain", "-p", image("web:1.1"))
    replay.wait_restarts("plain", 1)
    replay.kubectl("set", "image", "pod/plain", "plain=web:9.9")
    replay.wait_rows("plain", ["ErrImagePull", "CrashLoopBackOff"])
    replay.wait_count("plain", "Error: ErrImagePull", 2)
    replay.refused("patch", "pod", "plain", "-p", image(""))
    replay.kubectl("patch", "pod", "plain", "-p", image("busybox:latest"))
    replay.wait_status("plain", "Running")
    container = "{.spec.containers[0]"
    replay.ask("get", "pod", "plain", "-o", f"jsonpath={container}.image}} {container}.imagePullPolicy}}")


def _access(replay: Replay) -> None:
    names = [str(yaml.safe_load(document)["metadata"]["name"]) for document in replay.documents]
    recreated = names.index("right", names.index("n-other-tag-same-digest-secret"))
    replay.preload_as("registry.example.com/team/kep:1.1", user="alice", password="s3cret")
    replay.follow(0, recreated)
    replay.kubectl("delete", "secret", "right")
    replay.follow(recreated, len(names))


ADMITTED = ("busybox:1.36", "web:1.0", "data:v1", "web:1.1")
NGINX_DIGESTS = ("nginx:1.17.0", "nginx:1.17.1", "sha256:" + "0" * 64)
SCENARIOS: dict[str, tuple[Scenario, ...]] = {
    # each of them finds on the node what the one before left there
    "tags": (
        Scenario(name="01-latest-nopolicy", steps=_latest, images=("nginx:latest",)),
        Scenario(name="02-tag-nopolicy", steps=_tagged, images=("nginx:1.17.1",)),
        Scenario(name="03-always-tag-present", steps=_always_present, images=("nginx:1.17.1",)),
        Scenario(name="04-ifnotpresent", steps=_one_after_the_other, images=("nginx:1.19", "nginx:latest")),
        Scenario(name="05-never", steps=_never, images=("nginx:1.16", "nginx:1.17.1")),
    ),
    "missing": (
        Scenario(
            name="07-missing-tag",
            steps=_all_at_once,
            images=("nginx:1.17.5", "nginx:1.17.6"),
            given=("busybox:1.36",),
            requests=compare.requests_per_image,
        ),
    ),
    "invalid": (Scenario(name="09-invalid-name", steps=_all_at_once, images=()),),
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
            requests=compare.requests_per_image,
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
            requests=compare.requests_per_image,
        ),
    ),
    "private": (
        Scenario(
            name="08-private",
            steps=_private,
            images=tuple(f"team/app:{tag}" for tag in ("1.0", "1.1", "1.2", "1.3", "1.4", "9.9")),
            requests=compare.requests_per_image,
        ),
    ),
    "access": (
        Scenario(
            name="18-kep2535",
            steps=_access,
            images=tuple(f"team/kep:{tag}" for tag in ("1.0", "1.1", "1.5")),
            requests=compare.requests_per_image,
        ),
    ),
    "trouble": (
        Scenario(
            name="10-registry-down",
            steps=_registry_down,
            images=("err500:1.0", "err429:1.0", "err403:1.0"),
            requests=compare.requests_per_image,
        ),
    ),
    # its node has another admission plugin
    "always": (
        Scenario(
            name="13-alwayspullimages-on",
            steps=_always_pull_images,
            images=ADMITTED,
            given=ADMITTED,
            requests=compare.requests_per_image,
        ),
    ),
    # wants nginx:1.17.0 and nginx:1.17.1 absent, so it has a node of its own
    "digests": (Scenario(name="06-digest", steps=_digest, images=NGINX_DIGESTS),),
    # finds the images present that "deployment" and "volume" want absent
    "not-always": (
        Scenario(name="13-alwayspullimages-off", steps=_always_pull_images, images=ADMITTED, given=ADMITTED),
    ),
    "deployment": (
        Scenario(
            name="14-deployment",
            steps=_deployment,
            images=("web:1.0", "web:1.1", "web:9.9"),
            requests=compare.requests_per_image,
        ),
    ),
}
# nodes of their own for groups that cannot share the first: which, and how they are configured
OWN_NODE: dict[str, dict[str, object]] = {
    "digests": {"podSubnet": "10.89.0.0/16"},
    "always": {"podSubnet": "10.90.0.0/16", "enableAdmissionPlugins": ["AlwaysPullImages"]},
}
NODE_OF = {
    "digests": "digests",
    "not-always": "digests",
    "access": "digests",
    "always": "always",
}  # group -> its node, if not the first
