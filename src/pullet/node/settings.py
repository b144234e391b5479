"""The node's settings: KubeletConfiguration spellings, defaults and rules (kubelet.config.k8s.io/v1beta1).

Source: kubelet-images spec 24 (pkg/kubelet/apis/config/v1beta1/defaults.go, validation/validation.go).
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.errors import UsageError
from pullet.kube.duration import parse_go_duration
from pullet.policy.eviction import DEFAULT_EVICTION_HARD, parse_thresholds
from pullet.policy.sysctls import namespace_of_sysctl

VERIFICATION_POLICIES = (
    "NeverVerify",
    "NeverVerifyPreloadedImages",
    "NeverVerifyAllowlistedImages",
    "AlwaysVerify",
)


class ConfigurationInvalidError(UsageError):
    """A setting is out of its range; all faults in one text."""

    reason: ClassVar[str] = "InvalidConfiguration"

    def __init__(self, problems: list[str]) -> None:
        text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        super().__init__(f"invalid configuration: {text}")
        self.problems = problems


class CrashLoopBackOffSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """`max_container_restart_period` is a Go duration, 1s to 300s."""

    max_container_restart_period: str = "300s"


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a KubeletConfiguration may say here. Durations are Go durations (`2m`, `1m30s`)."""

    sync_frequency: str = "1m"
    serialize_image_pulls: bool | None = None  # None: true unless maxParallelImagePulls > 1
    max_parallel_image_pulls: int | None = None
    registry_pull_qps: int = msgspec.field(default=5, name="registryPullQPS")
    registry_burst: int = 10
    event_record_qps: int = msgspec.field(default=50, name="eventRecordQPS")
    event_burst: int = 100
    image_minimum_gc_age: str = msgspec.field(default="2m", name="imageMinimumGCAge")
    image_maximum_gc_age: str = msgspec.field(default="0s", name="imageMaximumGCAge")
    image_gc_high_threshold_percent: int = msgspec.field(default=85, name="imageGCHighThresholdPercent")
    image_gc_low_threshold_percent: int = msgspec.field(default=80, name="imageGCLowThresholdPercent")
    eviction_hard: dict[str, str] = msgspec.field(default_factory=lambda: dict(DEFAULT_EVICTION_HARD))
    eviction_pressure_transition_period: str = "5m"
    node_status_max_images: int = 50
    node_status_update_frequency: str = "10s"
    node_status_report_frequency: str = "5m"
    node_lease_duration_seconds: int = 40
    image_pull_credentials_verification_policy: str = ""  # empty: NeverVerifyPreloadedImages while the gate is on
    preloaded_images_verification_allowlist: tuple[str, ...] = ()
    crash_loop_back_off: CrashLoopBackOffSettings = CrashLoopBackOffSettings()
    max_pods: int = 110
    cluster_domain: str = msgspec.field(default="cluster.local", name="clusterDomain")
    cluster_dns: tuple[str, ...] = msgspec.field(default=(), name="clusterDNS")
    resolv_conf: str = "/etc/resolv.conf"
    static_pod_path: str = ""
    allowed_unsafe_sysctls: tuple[str, ...] = ()  # names, or prefixes ending in *
    node_labels: dict[str, str] = msgspec.field(default_factory=dict)
    feature_gates: dict[str, bool] = msgspec.field(default_factory=dict)
    address: str = "127.0.0.1"
    port: int = 10250  # 0: any free one
    container_log_max_size: str = "10Mi"
    container_log_max_files: int = 5
    kubernetes_version: str = "1.36"  # whose wording events and messages use

    @property
    def is_serial(self) -> bool:
        """Whether images are pulled one at a time."""
        if self.serialize_image_pulls is not None:
            return self.serialize_image_pulls
        return self.max_parallel_image_pulls is None or self.max_parallel_image_pulls < 2

    @property
    def verifies_pulled_images(self) -> bool:
        """Gate KubeletEnsureSecretPulledImages: on by default since 1.35."""
        return self.feature_gates.get("KubeletEnsureSecretPulledImages", True)

    @property
    def verification_policy(self) -> str:
        """Who must prove access to an image that is present."""
        return self.image_pull_credentials_verification_policy or "NeverVerifyPreloadedImages"

    @property
    def sync_frequency_seconds(self) -> float:
        """`syncFrequency` in seconds."""
        return _seconds(self.sync_frequency)

    @property
    def image_minimum_gc_age_seconds(self) -> float:
        """`imageMinimumGCAge` in seconds."""
        return _seconds(self.image_minimum_gc_age)

    @property
    def image_maximum_gc_age_seconds(self) -> float:
        """`imageMaximumGCAge` in seconds; 0 is off."""
        return _seconds(self.image_maximum_gc_age)

    @property
    def eviction_pressure_transition_seconds(self) -> float:
        """`evictionPressureTransitionPeriod` in seconds."""
        return _seconds(self.eviction_pressure_transition_period)

    @property
    def max_restart_period_seconds(self) -> float:
        """`crashLoopBackOff.maxContainerRestartPeriod` in seconds."""
        return _seconds(self.crash_loop_back_off.max_container_restart_period)

    @property
    def node_status_update_seconds(self) -> float:
        """`nodeStatusUpdateFrequency` in seconds: how often the node looks whether its status changed."""
        return _seconds(self.node_status_update_frequency)

    @property
    def node_status_report_seconds(self) -> float:
        """`nodeStatusReportFrequency` in seconds: how often an unchanged status is written all the same."""
        return _seconds(self.node_status_report_frequency)

    def check(self) -> None:
        """Raise ConfigurationInvalidError if a field breaks its rule (spec 24)."""
        problems = [text for text in (*self._pull_problems(), *self._gc_problems()) if text]
        if problems:
            raise ConfigurationInvalidError(problems)

    def _pull_problems(self) -> list[str]:
        problems = []
        parallel = self.max_parallel_image_pulls
        if parallel is not None and parallel < 1:
            problems.append(f"maxParallelImagePulls {parallel} must be a positive number")
        if self.serialize_image_pulls and parallel is not None and parallel > 1:
            problems.append(
                "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) "
                "is set to false"
            )
        problems += [
            f"{name} {value} must not be a negative number"
            for name, value in (
                ("registryPullQPS", self.registry_pull_qps),
                ("registryBurst", self.registry_burst),
                ("eventRecordQPS", self.event_record_qps),
                ("eventBurst", self.event_burst),
            )
            if value < 0
        ]
        policy = self.image_pull_credentials_verification_policy
        if policy and policy not in VERIFICATION_POLICIES:
            problems.append(
                f"imagePullCredentialsVerificationPolicy {policy!r} must be one of {', '.join(VERIFICATION_POLICIES)}"
            )
        if policy and not self.verifies_pulled_images:
            problems.append(
                "imagePullCredentialsVerificationPolicy must be unset while feature gate "
                "KubeletEnsureSecretPulledImages is off"
            )
        if self.preloaded_images_verification_allowlist and policy != "NeverVerifyAllowlistedImages":
            problems.append(
                "preloadedImagesVerificationAllowlist needs imagePullCredentialsVerificationPolicy "
                "NeverVerifyAllowlistedImages"
            )
        return problems

    def _gc_problems(self) -> list[str]:
        problems = []
        high, low = self.image_gc_high_threshold_percent, self.image_gc_low_threshold_percent
        if not 0 <= high <= 100:
            problems.append(f"imageGCHighThresholdPercent {high} must be between 0 and 100")
        if not 0 <= low <= 100:
            problems.append(f"imageGCLowThresholdPercent {low} must be between 0 and 100")
        if low >= high:
            problems.append(f"imageGCLowThresholdPercent {low} must be less than imageGCHighThresholdPercent {high}")
        if self.image_minimum_gc_age_seconds < 0:
            problems.append(f"imageMinimumGCAge {self.image_minimum_gc_age} must not be negative")
        oldest = self.image_maximum_gc_age_seconds
        if oldest and oldest <= self.image_minimum_gc_age_seconds:
            problems.append(
                f"imageMaximumGCAge {self.image_maximum_gc_age} must be greater than "
                f"imageMinimumGCAge {self.image_minimum_gc_age}"
            )
        try:
            parse_thresholds(self.eviction_hard)
        except UsageError as error:
            problems.append(str(error))
        problems += [
            f"allowedUnsafeSysctls {name!r} is not of a pod's namespaces: only kernel.shm*, kernel.msg*, kernel.sem, "
            "fs.mqueue.* and net.* are"
            for name in self.allowed_unsafe_sysctls
            if not namespace_of_sysctl(name)
        ]
        if self.node_status_max_images < -1:
            problems.append(f"nodeStatusMaxImages {self.node_status_max_images} must be -1 or greater")
        if not 1 <= self.max_restart_period_seconds <= 300:
            period = self.crash_loop_back_off.max_container_restart_period
            problems.append(f"crashLoopBackOff.maxContainerRestartPeriod {period} must be between 1s and 300s")
        return problems


def load_settings(values: dict[str, Any]) -> NodeSettings:
    """Decoded YAML as checked settings; `kind` and `apiVersion` are tolerated.

    Raises:
        ConfigurationInvalidError: unknown field, wrong type, or a rule broken.
    """
    known = {name: value for name, value in values.items() if name not in ("kind", "apiVersion")}
    try:
        settings = msgspec.convert(known, decodable(NodeSettings))
        settings.check()
    except msgspec.ValidationError as error:
        raise ConfigurationInvalidError([str(error)]) from error
    return settings


def _seconds(duration: str) -> float:
    try:
        return parse_go_duration(duration).total_seconds()
    except ValueError as error:
        raise ConfigurationInvalidError([f"{duration!r} is not a duration such as 2m or 1m30s"]) from error
