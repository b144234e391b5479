"""Where registry credentials come from and which one is tried first.

Modules, in reading order: node_config_paths, docker_config (the file format), login_file (logins of the node itself),
pull_secrets, credential_helper, provider_config, provider_plugin, keyring (the three sources as one, in order),
access_advice.
"""
