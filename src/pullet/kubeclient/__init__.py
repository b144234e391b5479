"""Kubernetes API client for the programs: raw objects, reflector, event recorder."""
