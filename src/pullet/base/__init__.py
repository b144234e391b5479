"""Errors, redaction, JSON value types and decoding into them: what every floor may use.

Modules, in reading order: errors, jsonvalue, decodable, redact, quote.
"""
