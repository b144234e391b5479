"""Errors, redaction, JSON value types: what every floor may use.

Modules, in reading order: errors, jsonvalue, redact, quote.
"""
