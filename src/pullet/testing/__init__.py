"""Shipped test kit, imported by tests alone.

Modules, in reading order: clock, images, layer_tars, gnu_tar, tar_tools, directory_images, registry_faults,
fake_registry, proxy_server, fake_proxy, fake_socks, cri_calls, cri_image_fakes, cri_scripts, cri_fakes,
api_fakes, control_plane, api_load, openapi_requests.
"""
