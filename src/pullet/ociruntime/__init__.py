"""OCI runtime: what makes a process a container on this machine, without a word of Kubernetes.

Modules, in reading order: errors, defaults, seccomp, process_user, runtime_spec, cgroup, namespaces, cni, runtime,
monitor, monitored_process, exec_session.
"""
