"""Diagnosis: what is wrong with a training, its data or its samples, as one small function per check.

The functions take tensors and numbers, and return findings; `api.diagnose` and `api.diagnose_run` measure what they
need. Thresholds are in the functions' docstrings with their reasons. It may import everything below `core.cli`.
"""
