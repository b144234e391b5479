"""What a pod wants of AppArmor. Pure. Source: kubernetes pkg/security/apparmor, pkg/kubelet/lifecycle."""

from __future__ import annotations

from pullet.kube.pod import PodView


def unenforced_app_armor(pod: PodView) -> str:
    """Why a pod that wants to be confined by AppArmor is refused: no profile is ever applied here; empty otherwise."""
    profiles = [pod.spec.security_context.app_armor_profile]
    profiles += [container.security_context.app_armor_profile for container in pod.all_containers()]
    wants = any(profile is not None and profile.type != "Unconfined" for profile in profiles)
    return "Cannot enforce AppArmor: this node applies no profiles" if wants else ""
