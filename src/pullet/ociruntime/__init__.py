"""crun/runc: bundles, processes, cgroups, network namespaces, container logs."""
