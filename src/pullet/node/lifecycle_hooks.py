"""postStart and preStop: a command, a GET or a pause.

Source: kubernetes pkg/kubelet/lifecycle/handlers.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pullet.base.errors import PulletError
from pullet.base.quote import go_quote
from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.kit.clock import Clock
from pullet.kube.container import ContainerView, LifecycleHandlerView
from pullet.kube.pod import PodView
from pullet.node.http_get import HTTPGetError, HTTPTarget, http_get
from pullet.policy.wording import go_list


class HookFailedError(PulletError):
    """The hook did not succeed."""

    reason: ClassVar[str] = "HookFailed"


class LifecycleHooks:
    """Runs hooks."""

    def __init__(self, *, runtime: RuntimeService, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock

    async def run(
        self, handler: LifecycleHandlerView, *, pod: PodView, container: ContainerView, container_id: str, pod_ip: str
    ) -> None:
        """Run it to its end; the caller sets the time limit by cancelling.

        Raises:
            HookFailedError: the command failed or the GET got no answer; any answer is good, whatever its status.
        """
        where = f"for Container {go_quote(container.name)} in Pod {go_quote(pod.description)} failed - error:"
        if handler.exec is not None:
            await self._exec(handler.exec.command, container_id, where)
        elif handler.http_get is not None:
            try:
                port = resolve_port(handler.http_get.port, container)
                await http_get(HTTPTarget.of_action(handler.http_get, port=port, pod_ip=pod_ip))
            except (HTTPGetError, HookFailedError) as error:
                raise HookFailedError(f"HTTP lifecycle hook ({handler.http_get.path}) {where} {error}") from error
        elif handler.sleep is not None:
            await self._clock.sleep(handler.sleep.seconds)

    async def _exec(self, command: Sequence[str], container_id: str, where: str) -> None:
        hook = f"Exec lifecycle hook ({go_list(command)}) {where}"
        try:
            result = await self._runtime.exec_sync(container_id, command, 0)
        except CriError as error:
            raise HookFailedError(f'{hook} {error.message}, message: ""') from error
        if result.exit_code:
            stderr, both = (text.decode("utf-8", "replace") for text in (result.stderr, result.stdout + result.stderr))
            ended = f"command '{' '.join(command)}' exited with {result.exit_code}: {stderr}"
            raise HookFailedError(f"{hook} {ended}, message: {go_quote(both)}")


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
