"""The waist between node and runtime: CRI's words as frozen values and async Protocols.

Modules, in reading order: types, services, errors, extensions, maintenance, log_format. Names follow cri-api's
api.proto.
"""
