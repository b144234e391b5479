"""Scheduler and the built-in controllers, one file each."""
