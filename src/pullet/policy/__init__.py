"""Decisions: facts in, answer out. No I/O, no clock, no event loop."""
