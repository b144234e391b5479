"""The RuntimeDefault seccomp profile: what an ordinary container has no business calling is refused with EPERM.

A list of what is refused, where Docker's and containerd's profile lists what is allowed: the calls refused are the
same for the capabilities a container has, but a system call newer than this file is allowed here and not there.
Source: the kernel's system call table; Docker's documentation of the calls its profile blocks and why.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

EPERM: Final = 1
ENOSYS: Final = 38
CLONE_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}

_ALWAYS: Final = (
    "add_key",
    "get_kernel_syms",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "keyctl",
    "move_pages",
    "nfsservctl",
    "query_module",
    "request_key",
    "sysfs",
    "_sysctl",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
)

# Refused unless the container has the capability.
_BY_CAPABILITY: Final = {
    "CAP_SYS_ADMIN": (
        "fanotify_init",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "lookup_dcookie",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "pivot_root",
        "quotactl",
        "quotactl_fd",
        "setdomainname",
        "sethostname",
        "setns",
        "swapoff",
        "swapon",
        "umount",
        "umount2",
        "unshare",
    ),
    "CAP_SYS_BOOT": ("kexec_file_load", "kexec_load", "reboot"),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("create_module", "delete_module", "finit_module", "init_module"),
    "CAP_SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"),
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_TIME": ("clock_settime", "clock_settime64", "settimeofday", "stime"),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
    "CAP_SYSLOG": ("syslog",),
    "CAP_DAC_READ_SEARCH": ("open_by_handle_at",),
    "CAP_BPF": ("bpf",),
    "CAP_PERFMON": ("perf_event_open",),
}
_BROADER: Final = {"CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"}  # CAP_SYS_ADMIN implies these

_ARCHITECTURES: Final = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}


def default_profile(*, capabilities: Collection[str], machine: str) -> dict[str, Any]:
    """The `linux.seccomp` value for a container with these capabilities on this machine (`uname -m`)."""
    refused = list(_ALWAYS)
    for capability, calls in _BY_CAPABILITY.items():
        implied = capability in _BROADER and "CAP_SYS_ADMIN" in capabilities
        if capability not in capabilities and not implied:
            refused += calls
    rules: list[dict[str, Any]] = [_refuse(sorted(refused), EPERM)]
    if "CAP_SYS_ADMIN" not in capabilities:
        # clone3 hides its flags behind a pointer: say it is not there, libc then calls clone.
        rules.append(_refuse(["clone3"], ENOSYS))
        rules.extend(
            _refuse(["clone"], EPERM, {"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"})
            for flag in _single_bits(CLONE_NEW_NAMESPACES)
        )
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    if machine in _ARCHITECTURES:
        profile["architectures"] = list(_ARCHITECTURES[machine])
    return profile


def _single_bits(mask: int) -> list[int]:
    return [1 << position for position in range(mask.bit_length()) if mask >> position & 1]


def _refuse(names: list[str], errno: int, *args: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    if args:
        rule["args"] = list(args)
    return rule
