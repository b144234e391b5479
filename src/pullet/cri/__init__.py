"""The waist between node and runtime: CRI's words as frozen values and async Protocols.

Modules, in reading order: image_types, types, services, errors, extensions, stats, maintenance, log_format. Names
follow those of cri-api's api.proto.
"""
