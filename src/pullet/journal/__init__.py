"""What every ensure-image pass saw, decided and did.

Modules, in reading order: pass_record (one pass), journal (the file they are appended to).
"""
