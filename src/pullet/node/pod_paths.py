"""Where a pod's things lie below the node's root directory."""

from __future__ import annotations

from pathlib import Path

from pullet.kube.pod import PodView


class PodPaths:
    """Paths only; nothing is made here.

    <root>/pods/<uid>/volumes/kubernetes.io~<plugin>/<volume>   volume content
    <root>/pods/<uid>/volume-subpaths/<container>/<number>      bind mounts for subPath
    <root>/pods/<uid>/containers/<container>/<attempt>          termination message
    <root>/pods/<uid>/etc-hosts
    <root>/pods-logs/<namespace>_<name>_<uid>/<container>/<attempt>.log
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def pods(self) -> Path:
        """All pod directories."""
        return self.root / "pods"

    @property
    def all_logs(self) -> Path:
        """All log directories."""
        return self.root / "pods-logs"

    def pod(self, uid: str) -> Path:
        """One pod's directory."""
        return self.pods / uid

    def volumes(self, uid: str) -> Path:
        """The pod's volume directories, by plugin."""
        return self.pod(uid) / "volumes"

    def volume(self, uid: str, plugin: str, name: str) -> Path:
        """One volume; `plugin` is empty-dir, configmap, secret, downward-api or projected."""
        return self.volumes(uid) / f"kubernetes.io~{plugin}" / name

    def subpaths(self, uid: str) -> Path:
        """Bind mounts made for subPath."""
        return self.pod(uid) / "volume-subpaths"

    def termination_message(self, uid: str, container: str, attempt: int) -> Path:
        """The file behind terminationMessagePath."""
        return self.pod(uid) / "containers" / container / str(attempt)

    def hosts_file(self, uid: str) -> Path:
        """The managed /etc/hosts."""
        return self.pod(uid) / "etc-hosts"

    def logs(self, pod: PodView) -> Path:
        """The pod's log directory."""
        return self.all_logs / f"{pod.namespace}_{pod.name}_{pod.uid}"

    def log_file(self, pod: PodView, container: str, attempt: int) -> Path:
        """The log of one run of a container."""
        return self.logs(pod) / container / f"{attempt}.log"
