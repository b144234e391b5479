"""Mechanisms without field words: time, tasks, threads, SQLite, files, processes.

Modules, in reading order: clock, tasks, locks, worker_threads, sqlite, atomic_file, process, faults, logging, metrics.
"""
