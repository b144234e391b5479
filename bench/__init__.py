"""Benchmarks beside their peers; see README.md for recorded runs."""
