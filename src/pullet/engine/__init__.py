"""CRI in process: image service and runtime service.

Modules, in reading order: engine wires it all. Images: image_service, pull, pull_plan, pull_progress, pull_errors,
pull_advice, credential, errors, inspection, store_maintenance, archive_export, archive_import. Containers:
runtime_service, sandboxes, sandbox_files, containers, container_bundle, container_spec, container_mounts,
container_images, architecture, store_images, container_events, executable_lookup, streaming, state_files.
"""
