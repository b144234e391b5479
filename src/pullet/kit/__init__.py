"""Mechanisms without field words: time, tasks, threads, SQLite, files, processes.

Modules, in reading order: clock, tasks, locks, worker_threads, handover, byte_channel, buffer_ring, sqlite,
atomic_file, directory_size, process, secrecy, faults, logging.
"""
