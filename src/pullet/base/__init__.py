"""Errors, redaction, records, JSON value types and decoding into them: what every floor may use.

Modules, in reading order: errors, values, jsonvalue, decodable, redact, quote.
"""
