"""Where registry credentials come from and which one is tried first.

Modules, in reading order: docker_config (the file format), pull_secrets, credential_helper, provider_config,
provider_plugin, keyring (the three sources as one, in order).
"""
