"""Every text the node writes into events and waiting states, in the words of a chosen Kubernetes release.

Reasons are in kube.reasons; this module words them. `Wording("1.36")` is the default; older releases render older
transcripts (kubelet-images spec 26, 27). Where the exact release of a change is not known, the constant below says
`about`. Quoted strings are quoted as Go's %q does, durations printed as Go prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pullet.base.errors import UsageError
from pullet.base.quote import go_quote
from pullet.base.values import Value
from pullet.kube.duration import format_go_nanoseconds
from pullet.kube.reasons import ERR_IMAGE_PULL, REGISTRY_UNAVAILABLE, SIGNATURE_VALIDATION_FAILED

DEFAULT_KUBERNETES_VERSION = "1.36"

# First minor release with the newer wording.
_RESTART_BACKOFF_NAMES_CONTAINER = 26  # about
_PULLED_INCLUDING_WAITING = 27  # about
_REGISTRY_UNAVAILABLE_WITH_DETAIL = 28
_PULLED_TRUNCATED_TO_MS = 29  # about
_PULLED_WITH_SIZE = 30  # about
_BACKOFF_WITH_LAST_FAILURE = 32
_CREATED_WITH_COLON = 32
_INSPECT_FAILURE_WITHOUT_IMAGE = 32  # about
_CREATED_WITHOUT_NAME = 35
_PRESENT_AND_ACCESSIBLE = 35
_FREE_DISK_SPACE_NEW = 35

_NANOSECONDS = 1_000_000_000
_VERSION = re.compile(r"v?1\.(\d{1,3})(?:\.\d+)?(?:[-+].*)?", re.ASCII)


def parse_kubernetes_minor(version: str) -> int:
    """36 for `1.36`, `v1.36.2` and the like.

    Raises:
        UsageError: not a Kubernetes 1.x version.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise UsageError(
            f"kubernetesVersion {go_quote(version)} is not a Kubernetes release: write it as {go_quote('1.36')}"
        )
    return int(match[1])


def go_duration(seconds: float, *, truncate_to_ms: bool = False) -> str:
    """Seconds as Go prints a time.Duration: `1.234s`, `456ms`, `1m2.5s`, `2h0m4s`, `0s`."""
    nanoseconds = round(seconds * _NANOSECONDS)
    return format_go_nanoseconds(nanoseconds - nanoseconds % 1_000_000 if truncate_to_ms else nanoseconds)


def human_size(size_bytes: int) -> str:
    """`512 B`, `1.5 KiB`, `20.0 GiB`, as FreeDiskSpaceFailed prints it (spec 17.3)."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def aggregate_errors(texts: Iterable[str]) -> str:
    """Several error texts as one: duplicates dropped, order kept, `[a, b]` when not just one is left (spec 8.3)."""
    distinct = list(dict.fromkeys(texts))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"


def go_list(names: Iterable[str]) -> str:
    """Names as Go prints a slice: `[a b]`."""
    return f"[{' '.join(names)}]"


class Wording(Value):
    """The texts of one Kubernetes release.

    `ensures_secret_pulled_images`: the gate KubeletEnsureSecretPulledImages; None is that release's default.
    """

    kubernetes_version: str = DEFAULT_KUBERNETES_VERSION
    ensures_secret_pulled_images: bool | None = None

    def __post_init__(self) -> None:
        parse_kubernetes_minor(self.kubernetes_version)

    @property
    def minor(self) -> int:
        """36 for 1.36."""
        return parse_kubernetes_minor(self.kubernetes_version)

    # --- events about an image (spec 27.1) ---

    def pulling(self, image: str) -> str:
        """Normal/Pulling."""
        return f"Pulling image {go_quote(image)}"

    def pulled(self, image: str, *, pull_seconds: float, total_seconds: float, size_bytes: int) -> str:
        """Normal/Pulled after a pull; `total_seconds` includes the wait in the pull queue."""
        truncate = self.minor >= _PULLED_TRUNCATED_TO_MS
        text = f"Successfully pulled image {go_quote(image)} in {go_duration(pull_seconds, truncate_to_ms=truncate)}"
        if self.minor >= _PULLED_INCLUDING_WAITING:
            text += f" ({go_duration(total_seconds, truncate_to_ms=truncate)} including waiting)"
        if self.minor >= _PULLED_WITH_SIZE:
            text += f". Image size: {size_bytes} bytes."
        return text

    def already_present(self, image: str) -> str:
        """Normal/Pulled without a pull."""
        text = f"Container image {go_quote(image)} already present on machine"
        ensures = self.ensures_secret_pulled_images
        if ensures is None:
            ensures = self.minor >= _PRESENT_AND_ACCESSIBLE
        return f"{text} and can be accessed by the pod" if ensures else text

    def image_back_off(self, image: str) -> str:
        """Normal/BackOff: the event never carries the last failure."""
        return f"Back-off pulling image {go_quote(image)}"

    def image_back_off_waiting(self, image: str, last_failure: str) -> str:
        """Waiting message of ImagePullBackOff; `last_failure` is `<reason>: <message>` or empty."""
        text = self.image_back_off(image)
        return f"{text}: {last_failure}" if last_failure and self.minor >= _BACKOFF_WITH_LAST_FAILURE else text

    def pull_failed(self, image: str, error: str) -> str:
        """Warning/Failed with the raw error of the pull."""
        return f"Failed to pull image {go_quote(image)}: {error}"

    def container_error(self, reason_or_message: str) -> str:
        """Warning/Failed `Error: …`: the reason for image errors, the message for the others."""
        return f"Error: {reason_or_message}"

    def invalid_image_name(self, image: str, error: str) -> str:
        """Warning/InspectFailed, and waiting message of InvalidImageName; `error` is parse_image_name's text."""
        return f"Failed to apply default image tag {go_quote(image)}: {error}"

    def inspect_failed(self, image: str, error: str) -> str:
        """Warning/InspectFailed, and waiting message of ImageInspectError. Recent releases name no image (a quirk)."""
        named = "" if self.minor >= _INSPECT_FAILURE_WITHOUT_IMAGE else image
        return f"Failed to inspect image {go_quote(named)}: {error}"

    def never_pull(self, image: str) -> str:
        """Warning/ErrImageNeverPull, and waiting message."""
        return f"Container image {go_quote(image)} is not present with pull policy of Never"

    def pull_intent_failed(self, image: str, error: str) -> str:
        """Waiting message when the pull intent could not be written; its reason is the error itself."""
        return f"Failed to record image pull intent for container image {go_quote(image)}: {error}"

    def pull_secrets_missing(self, names: Iterable[str]) -> str:
        """Warning/FailedToRetrieveImagePullSecret, on the pod."""
        return (
            f"Unable to retrieve some image pull secrets ({', '.join(names)}); "
            "attempting to pull the image may not succeed."
        )

    def pull_error(self, image: str, error: str) -> tuple[str, str]:
        """Waiting (reason, message) of a failed pull, told by the prefix of its text (spec 8.1)."""
        if error.startswith(REGISTRY_UNAVAILABLE):
            text = f"image pull failed for {image} because the registry is unavailable"
            has_detail = self.minor >= _REGISTRY_UNAVAILABLE_WITH_DETAIL
            return REGISTRY_UNAVAILABLE, text + (error.removeprefix(REGISTRY_UNAVAILABLE) if has_detail else ".")
        if error.startswith(SIGNATURE_VALIDATION_FAILED):
            rest = error.removeprefix(SIGNATURE_VALIDATION_FAILED)
            text = f"image pull failed for {image} because the signature validation failed"
            return SIGNATURE_VALIDATION_FAILED, text + rest
        return ERR_IMAGE_PULL, error

    # --- events about a container (spec 12.2, 15) ---

    def created(self, container: str) -> str:
        """Normal/Created."""
        if self.minor >= _CREATED_WITHOUT_NAME:
            return "Container created"
        return (
            f"Created container: {container}" if self.minor >= _CREATED_WITH_COLON else f"Created container {container}"
        )

    def started(self, container: str) -> str:
        """Normal/Started."""
        return "Container started" if self.minor >= _CREATED_WITHOUT_NAME else f"Started container {container}"

    def killing(self, container: str) -> str:
        """Normal/Killing without a more specific message."""
        return f"Stopping container {container}"

    def pre_create_hook_failed(self, error: str) -> str:
        """Warning/Failed."""
        return f"Internal PreCreateContainer hook failed: {error}"

    def pre_start_hook_failed(self, error: str) -> str:
        """Warning/Failed."""
        return f"Internal PreStartContainer hook failed: {error}"

    def post_start_hook_failed(self) -> str:
        """Warning/FailedPostStartHook."""
        return "PostStartHook failed"

    def pre_stop_hook_failed(self) -> str:
        """Warning/FailedPreStopHook."""
        return "PreStopHook failed"

    def restart_back_off(self, container: str, pod_description: str) -> str:
        """Warning/BackOff; `pod_description` is `name_namespace(uid)`."""
        if self.minor < _RESTART_BACKOFF_NAMES_CONTAINER:
            return "Back-off restarting failed container"
        return f"Back-off restarting failed container {container} in pod {pod_description}"

    def restart_back_off_waiting(self, container: str, pod_description: str, delay_seconds: float) -> str:
        """Waiting message of CrashLoopBackOff."""
        delay = go_duration(delay_seconds)
        return f"back-off {delay} restarting failed container={container} pod={pod_description}"

    def probe_failed(self, probe_type: str, output: str) -> str:
        """Warning/Unhealthy; `probe_type` is Liveness, Readiness or Startup."""
        return f"{probe_type} probe failed: {output}"

    def probe_warned(self, probe_type: str, output: str) -> str:
        """Warning/ProbeWarning: it succeeded, but somebody should look."""
        return f"{probe_type} probe warning: {output}"

    def probe_errored(self, probe_type: str, error: str) -> str:
        """Warning/Unhealthy: the probe itself could not run."""
        return f"{probe_type} probe errored and resulted in unknown state: {error}"

    # --- events about the sandbox ---

    def sandbox_changed(self) -> str:
        """Normal/SandboxChanged."""
        return "Pod sandbox changed, it will be killed and re-created."

    def sandbox_failed(self, error: str) -> str:
        """Warning/FailedCreatePodSandBox."""
        return f"Failed to create pod sandbox: {error}"

    # --- events about the node (spec 17) ---

    def invalid_disk_capacity(self) -> str:
        """Warning/InvalidDiskCapacity."""
        return "invalid capacity 0 on image filesystem"

    def free_disk_space_failed(
        self, *, usage_percent: int, capacity_bytes: int, to_free_bytes: int, freed_bytes: int
    ) -> str:
        """Warning/FreeDiskSpaceFailed."""
        if self.minor < _FREE_DISK_SPACE_NEW:
            return (
                f"Failed to garbage collect required amount of images. Attempted to free {to_free_bytes} bytes, "
                f"but only found {freed_bytes} bytes eligible to free."
            )
        return (
            f"Insufficient free disk space on the node's image filesystem ({usage_percent}% of "
            f"{human_size(capacity_bytes)} used). Failed to free sufficient space by deleting unused images "
            f"(freed {freed_bytes} bytes). Investigate disk usage, as it could be used by active images, logs, "
            "volumes, or other data."
        )

    def aged_images_failed(self, max_age_seconds: float, errors: Iterable[str]) -> str:
        """Error of a collection by age that could not delete everything."""
        return (
            f"wanted to free images older than {go_duration(max_age_seconds)}, "
            f"encountered errors in image deletion: {aggregate_errors(errors)}"
        )

    def freeing_failed(self, *, wanted_bytes: int, freed_bytes: int, errors: Iterable[str]) -> str:
        """Error of a collection for space that could not delete everything."""
        return (
            f"wanted to free {wanted_bytes} bytes, but freed {freed_bytes} bytes space "
            f"with errors in image deletion: {aggregate_errors(errors)}"
        )
