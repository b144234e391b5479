"""OCI image-, distribution- and runtime-spec words: pure values, no I/O.

Modules, in reading order: digest, reference, mediatype, platform, descriptor, manifest, image_config, identity,
distribution, layer_entry, nearest_tags, image_builder.
"""
