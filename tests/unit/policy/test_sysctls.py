"""Kernel parameters that pods may and may not set."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.kube.pod import PodView, parse_pod
from pullet.policy.sysctls import dotted_name, forbidden_sysctl, namespace_of_sysctl


def pod(name: str, **spec: Any) -> PodView:
    container = {"name": "c", "image": "i"}
    security = {"sysctls": [{"name": name, "value": "1"}]}
    return parse_pod(
        {"metadata": {"name": "p"}, "spec": {"containers": [container], "securityContext": security} | spec}
    )


@pytest.mark.parametrize(
    ("view", "allowed", "text"),
    [
        (pod("net.ipv4.tcp_syncookies"), (), ""),
        (pod("net/ipv4/tcp_syncookies"), (), ""),
        (pod("net.core.somaxconn"), (), 'forbidden sysctl: "net.core.somaxconn" not allowlisted'),
        (pod("net.core.somaxconn"), ("net.core.*",), ""),
        (pod("kernel.msgmax"), ("kernel.msg*",), ""),
        (pod("kernel.core_pattern"), ("kernel.*",), 'forbidden sysctl: "kernel.core_pattern" not allowlisted'),
        (
            pod("net.ipv4.tcp_syncookies", hostNetwork=True),
            (),
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
        (
            pod("kernel.shm_rmid_forced", hostIPC=True),
            (),
            'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
        ),
    ],
)
def test_what_a_pod_may_set(view: PodView, allowed: tuple[str, ...], text: str) -> None:
    assert forbidden_sysctl(view, allowed) == text


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("net.ipv4.conf.eth0/1.forwarding", "net"),
        ("net/ipv4/conf/eth0.1/forwarding", "net"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.sem", "ipc"),
        ("kernel.semaphores", ""),
        ("vm.swappiness", ""),
        ("fs/file-max", ""),
    ],
)
def test_whose_a_parameter_is(name: str, namespace: str) -> None:
    assert namespace_of_sysctl(name) == namespace


def test_both_notations_are_one_name() -> None:
    assert dotted_name("net/ipv4/conf/eth0.1/forwarding") == "net.ipv4.conf.eth0/1.forwarding"
