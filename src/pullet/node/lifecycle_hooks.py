"""postStart and preStop: a command, a GET, a TCP connect or a pause.

Source: kubernetes pkg/kubelet/lifecycle/handlers.go.
"""

from __future__ import annotations

from typing import ClassVar

from pullet.base.errors import PulletError
from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.kit.clock import Clock
from pullet.kube.container import ContainerView, HTTPGetActionView, LifecycleHandlerView
from pullet.node.http_get import HTTPGetError, http_get, insecure_tls


class HookFailedError(PulletError):
    """The hook did not succeed."""

    reason: ClassVar[str] = "HookFailed"


class LifecycleHooks:
    """Runs hooks."""

    def __init__(self, *, runtime: RuntimeService, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock

    async def run(
        self, handler: LifecycleHandlerView, *, container: ContainerView, container_id: str, pod_ip: str
    ) -> None:
        """Run it to its end; the caller sets the time limit by cancelling.

        Raises:
            HookFailedError: the command failed or the GET was not answered with success.
        """
        if handler.exec is not None:
            try:
                result = await self._runtime.exec_sync(container_id, handler.exec.command, 0)
            except CriError as error:
                raise HookFailedError(error.message) from error
            if result.exit_code:
                output = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
                raise HookFailedError(
                    f"command {' '.join(handler.exec.command)!r} exited with {result.exit_code}: {output}"
                )
        elif handler.http_get is not None:
            await self._get(handler.http_get, container, pod_ip)
        elif handler.sleep is not None:
            await self._clock.sleep(handler.sleep.seconds)

    async def _get(self, action: HTTPGetActionView, container: ContainerView, pod_ip: str) -> None:
        port = resolve_port(action.port, container)
        tls = insecure_tls() if action.scheme == "HTTPS" else None
        headers = {header.name: header.value for header in action.http_headers}
        try:
            answer = await http_get(action.host or pod_ip, port, action.path or "/", headers=headers, tls=tls)
        except HTTPGetError as error:
            raise HookFailedError(str(error)) from error
        if not 200 <= answer.status < 400:
            raise HookFailedError(f"HTTP hook answered {answer.status}")


def resolve_port(port: int | str, container: ContainerView) -> int:
    """A number as it is, a name from the container's ports.

    Raises:
        HookFailedError: no port has that name.
    """
    if isinstance(port, int):
        return port
    if port.isdecimal():
        return int(port)
    for each in container.ports:
        if each.name == port:
            return each.container_port
    raise HookFailedError(f"couldn't find port: {port!r}")
